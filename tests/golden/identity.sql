-- subject identity on default schemas
CREATE TABLE identity.full_ (id int PRIMARY KEY, a text, b int DEFAULT 5);
ALTER TABLE identity.full_ REPLICA IDENTITY FULL;
CREATE TABLE identity.nothing (id int PRIMARY KEY, a text);
ALTER TABLE identity.nothing REPLICA IDENTITY NOTHING;
CREATE TABLE identity.indexed (id int PRIMARY KEY, k int NOT NULL, a text);
CREATE UNIQUE INDEX indexed_k ON identity.indexed (k);
ALTER TABLE identity.indexed REPLICA IDENTITY USING INDEX indexed_k;
CREATE TABLE identity.only_index (k int NOT NULL, a text NOT NULL, b text);
CREATE UNIQUE INDEX only_index_k ON identity.only_index (k);
ALTER TABLE identity.only_index REPLICA IDENTITY USING INDEX only_index_k;
-- from here
INSERT INTO identity.full_ VALUES (1, 'a', 1), (2, NULL, NULL);
UPDATE identity.full_ SET a = 'b';
UPDATE identity.full_ SET id = 3 WHERE id = 1;
UPDATE identity.full_ SET a = a;
DELETE FROM identity.full_;
INSERT INTO identity.nothing VALUES (1, 'a');
INSERT INTO identity.indexed VALUES (1, 10, 'a'), (2, 20, 'b');
UPDATE identity.indexed SET a = 'c' WHERE id = 1;
UPDATE identity.indexed SET k = 11 WHERE id = 1;
UPDATE identity.indexed SET id = 3 WHERE id = 2;
DELETE FROM identity.indexed;
INSERT INTO identity.only_index VALUES (1, 'a', 'b');
UPDATE identity.only_index SET a = 'c';
UPDATE identity.only_index SET k = 2;
DELETE FROM identity.only_index;
