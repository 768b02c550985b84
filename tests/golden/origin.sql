-- subject origin on default schemas
CREATE TABLE origin.t (id int PRIMARY KEY, a text);
-- from here
SELECT pg_replication_origin_create('no"rth');
INSERT INTO origin.t VALUES (1, 'here');
SELECT pg_replication_origin_session_setup('no"rth');
INSERT INTO origin.t VALUES (2, 'elsewhere, without a place');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/ABCDEF01', '2020-02-03 04:05:06.789+00');
INSERT INTO origin.t VALUES (3, 'elsewhere');
UPDATE origin.t SET id = 4 WHERE id = 3;
SELECT pg_logical_emit_message(true, 'origin', 'elsewhere');
COMMIT;
BEGIN;
SELECT pg_replication_origin_xact_setup('1/2', '2020-02-03 04:05:07+00');
TRUNCATE origin.t;
COMMIT;
SELECT pg_replication_origin_session_reset();
INSERT INTO origin.t VALUES (5, 'here');
SELECT pg_logical_emit_message(false, 'origin', 'here');
SELECT pg_replication_origin_drop('no"rth');
