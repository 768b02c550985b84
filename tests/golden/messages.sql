-- subject messages on default schemas first second third
CREATE TABLE messages.t (id int PRIMARY KEY);
-- from here
SELECT pg_logical_emit_message(true, 'foo', 'bar');
SELECT pg_logical_emit_message(false, 'foo', 'alone');
INSERT INTO messages.t VALUES (1);
BEGIN;
INSERT INTO messages.t VALUES (2);
SELECT pg_logical_emit_message(true, 'é"quote', 'in ü');
SELECT pg_logical_emit_message(false, 'overtakes', '\x00ff'::bytea);
INSERT INTO messages.t VALUES (3);
COMMIT;
INSERT INTO messages.t VALUES (4);
SELECT pg_logical_emit_message(true, '', '');
