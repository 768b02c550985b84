-- subject truncate on default schemas
CREATE TABLE truncate.a (id int PRIMARY KEY);
CREATE TABLE truncate.b (id int PRIMARY KEY, a int REFERENCES truncate.a);
CREATE TABLE truncate.c (x int);
-- from here
INSERT INTO truncate.a VALUES (1);
TRUNCATE truncate.a, truncate.b, truncate.c;
TRUNCATE truncate.a CASCADE;
BEGIN;
INSERT INTO truncate.c VALUES (1);
TRUNCATE truncate.c RESTART IDENTITY;
INSERT INTO truncate.c VALUES (2);
COMMIT;
