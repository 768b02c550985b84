-- profiles ["transactions"]
-- ever larger transactions: the map of Debezium never becomes smaller
DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', i); EXECUTE format('CREATE TABLE "Ü %s" (id int PRIMARY KEY)', i); END LOOP; END $$;
CREATE FUNCTION fill(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP EXECUTE format('INSERT INTO t%s SELECT coalesce(max(id),0)+1 FROM t%s', i, i); END LOOP; END $$;
CREATE FUNCTION fill2(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP EXECUTE format('INSERT INTO "Ü %s" SELECT coalesce(max(id),0)+1 FROM "Ü %s"', i, i); END LOOP; END $$;
-- from here
SELECT fill2(7);
SELECT fill(12);
BEGIN;
SELECT fill(11);
SELECT pg_logical_emit_message(true, 'a', 'b');
SELECT pg_logical_emit_message(true, 'a', 'b');
COMMIT;
BEGIN;
SELECT pg_logical_emit_message(true, 'a', 'b');
SELECT fill(12);
COMMIT;
SELECT fill(13);
SELECT fill(24);
SELECT fill(25);
BEGIN;
SELECT pg_logical_emit_message(true, 'a', g::text) FROM generate_series(1, 30) g;
SELECT fill2(6);
COMMIT;
SELECT fill(50);
SELECT fill(100), fill2(100);
