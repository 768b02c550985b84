-- subject transactions on transactions
CREATE TABLE transactions.a (id int PRIMARY KEY);
CREATE TABLE transactions.b (id int PRIMARY KEY);
CREATE TABLE transactions.c (id int);
-- from here
INSERT INTO transactions.a VALUES (1);
BEGIN;
INSERT INTO transactions.a VALUES (2);
INSERT INTO transactions.b VALUES (1), (2);
INSERT INTO transactions.a VALUES (3);
INSERT INTO transactions.c VALUES (3);
UPDATE transactions.b SET id = 4 WHERE id = 1;
DELETE FROM transactions.a WHERE id = 3;
COMMIT;
TRUNCATE transactions.a, transactions.b, transactions.c;
BEGIN;
SAVEPOINT s;
INSERT INTO transactions.a VALUES (5);
ROLLBACK TO s;
INSERT INTO transactions.a VALUES (6);
COMMIT;
BEGIN;
INSERT INTO transactions.a VALUES (7);
SELECT pg_logical_emit_message(true, 'note', 'inside');
SELECT pg_logical_emit_message(false, 'note', 'outside');
INSERT INTO transactions.a VALUES (8);
COMMIT;
SELECT pg_logical_emit_message(true, 'note', 'alone');
