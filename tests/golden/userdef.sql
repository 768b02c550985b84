-- subject userdef on default schemas first
CREATE TYPE userdef.mood AS ENUM ('sad', 'ok', 'hap''py', 'com,ma');
CREATE DOMAIN userdef.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN userdef.more AS userdef.positive;
CREATE DOMAIN userdef.money2 AS numeric(8,2);
CREATE DOMAIN userdef.short AS varchar(7);
CREATE DOMAIN userdef.stamp3 AS timestamp(3);
CREATE DOMAIN userdef.list AS int[];
CREATE TYPE userdef.pair AS (a int, b text);
CREATE TYPE userdef.span AS RANGE (subtype = float8);
CREATE TABLE userdef.t (id int PRIMARY KEY, m userdef.mood, ms userdef.mood[], p userdef.positive, q userdef.more, d userdef.money2, s userdef.short, st userdef.stamp3, l userdef.list, pr userdef.pair, sp userdef.span, ps userdef.positive[]);
CREATE TABLE userdef.strict (id userdef.positive PRIMARY KEY, m userdef.mood NOT NULL, d userdef.money2 NOT NULL);
-- from here
INSERT INTO userdef.t VALUES (1, 'sad', '{sad,ok}', 1, 2, 3.5, 'abc', '2020-01-01 00:00:00.5', '{1,2}', '(1,x)', '[1,2)', '{4}'), (2, 'hap''py', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, NULL, '{ok,NULL}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO userdef.strict VALUES (1, 'ok', 1.25);
DELETE FROM userdef.strict;
ALTER TYPE userdef.mood ADD VALUE 'wild' BEFORE 'ok';
-- catalog
INSERT INTO userdef.t (id, m) VALUES (4, 'wild');
