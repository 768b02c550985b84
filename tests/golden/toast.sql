-- subject toast on default schemas
CREATE TABLE toast.t (id int PRIMARY KEY, a int, t text, v varchar, c char(3000), j json, jb jsonb, x xml, ba bytea, n numeric, h extensions.hstore, ta text[], ia int[], bia bigint[], da date[], ua uuid[], ja json[], jba jsonb[], baa bytea[], na numeric[], ba2 boolean[], ra real[], vb varbit, ci extensions.citext, tza timestamptz[]);
CREATE TABLE toast.filled (id int PRIMARY KEY, a int, t text NOT NULL, ba bytea);
ALTER TABLE toast.filled REPLICA IDENTITY FULL;
CREATE TABLE toast.strict (id int PRIMARY KEY, a int, t text NOT NULL DEFAULT 'dflt', ba bytea NOT NULL);
DO $$ DECLARE c record; BEGIN FOR c IN SELECT attrelid::regclass AS r, attname FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid WHERE attrelid IN ('toast.t'::regclass, 'toast.filled'::regclass, 'toast.strict'::regclass) AND attnum > 0 AND t.typlen = -1 AND t.typname <> 'numeric' LOOP EXECUTE format('ALTER TABLE %s ALTER %I SET STORAGE EXTERNAL', c.r, c.attname); END LOOP; END $$;
INSERT INTO toast.t VALUES (1, 1, repeat('t', 3000), repeat('v', 3000), 'c', to_json(repeat('j', 3000)), to_jsonb(repeat('j', 3000)), xmlparse(content repeat('x', 3000)), decode(repeat('ab', 3000), 'hex'), ('1' || repeat('7', 6000))::numeric, extensions.hstore('k', repeat('h', 3000)), ARRAY[repeat('t', 3000)], (SELECT array_agg(g) FROM generate_series(1, 1000) g), (SELECT array_agg(g) FROM generate_series(1, 1000) g), (SELECT array_agg('2020-01-01'::date) FROM generate_series(1, 1000) g), (SELECT array_agg('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid) FROM generate_series(1, 1000) g), ARRAY[to_json(repeat('j', 3000))], ARRAY[to_jsonb(repeat('j', 3000))], ARRAY[decode(repeat('ab', 3000), 'hex')], (SELECT array_agg(g::numeric) FROM generate_series(1, 1000) g), (SELECT array_agg(true) FROM generate_series(1, 4000) g), (SELECT array_agg(1.5::real) FROM generate_series(1, 1000) g), repeat('1', 30000)::varbit, repeat('c', 3000), (SELECT array_agg('2020-01-01 00:00+00'::timestamptz) FROM generate_series(1, 1000) g));
INSERT INTO toast.filled VALUES (1, 1, repeat('t', 3000), decode(repeat('ab', 3000), 'hex'));
INSERT INTO toast.strict VALUES (1, 1, repeat('t', 3000), decode(repeat('ab', 3000), 'hex'));
-- from here
UPDATE toast.t SET a = 2;
UPDATE toast.t SET id = 2;
UPDATE toast.t SET t = NULL, v = 'short';
UPDATE toast.filled SET a = 2;
UPDATE toast.strict SET a = 2;
