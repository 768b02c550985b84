-- subject generated on default schemas in 18
-- columns that the publication sends although they are generated: their expression is read as if it were a default
CREATE TABLE generated.t (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, told text GENERATED ALWAYS AS ('no. ' || a::text) STORED, low text GENERATED ALWAYS AS (lower(a::text)) STORED, never int GENERATED ALWAYS AS (a * 3) VIRTUAL);
CREATE TABLE generated.keyed (a int, k text GENERATED ALWAYS AS ('k' || a::text) STORED PRIMARY KEY);
-- from here
ALTER PUBLICATION golden SET (publish_generated_columns = stored);
INSERT INTO generated.t (id, a) VALUES (1, 2), (2, NULL);
UPDATE generated.t SET a = 3 WHERE id = 1;
DELETE FROM generated.t WHERE id = 1;
INSERT INTO generated.keyed (a) VALUES (1);
ALTER PUBLICATION golden SET (publish_generated_columns = none);
