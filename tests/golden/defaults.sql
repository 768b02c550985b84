-- subject defaults on default schemas first
CREATE TYPE defaults.mood AS ENUM ('sad', 'ok');
CREATE TABLE defaults.zeros (id int PRIMARY KEY, i2 int2 NOT NULL, i8 int8 NOT NULL, f4 float4 NOT NULL, f8 float8 NOT NULL, b bool NOT NULL, n numeric NOT NULL, n10 numeric(10,2) NOT NULL, m money NOT NULL, t text NOT NULL, c char(3) NOT NULL, u uuid NOT NULL, e defaults.mood NOT NULL, j json NOT NULL, jb jsonb NOT NULL, x xml NOT NULL, ba bytea NOT NULL, b1 bit NOT NULL, b3 bit(3) NOT NULL, d date NOT NULL, ti time NOT NULL, t3 time(3) NOT NULL, ts timestamp NOT NULL, ts3 timestamp(3) NOT NULL, tz timestamptz NOT NULL, tz0 timestamptz(0) NOT NULL, tt timetz NOT NULL, iv interval NOT NULL, a int[] NOT NULL, h extensions.hstore NOT NULL, p point NOT NULL, r int4range NOT NULL, ip inet NOT NULL, tv tsvector NOT NULL);
CREATE TABLE defaults.literals (id int PRIMARY KEY, i int DEFAULT 1, i8 int8 DEFAULT -5, i2 int2 DEFAULT '3', o oid DEFAULT 4, f4 float4 DEFAULT 1.5, f8 float8 DEFAULT 2.5, b bool DEFAULT true, n numeric DEFAULT 1.5, n10 numeric(10,2) DEFAULT 1.5, n5 numeric(5) DEFAULT 7, m money DEFAULT 1.5, t text DEFAULT 'text', q text DEFAULT 'it''s', v varchar(5) DEFAULT 'v', c char(5) DEFAULT 'ab', u uuid DEFAULT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', e defaults.mood DEFAULT 'ok', j json DEFAULT '{"a":1}', jb jsonb DEFAULT '{"a": 1}', ba bytea DEFAULT '\x01', b1 bit DEFAULT B'1', b3 bit(3) DEFAULT B'101', d date DEFAULT '2020-01-02', ti time DEFAULT '01:02:03', t3 time(3) DEFAULT '01:02:03.5', ts timestamp DEFAULT '2020-01-02 03:04:05', ts3 timestamp(3) DEFAULT '2020-01-02 03:04:05.5', tz timestamptz DEFAULT '2020-01-02 03:04:05+00', tt timetz DEFAULT '01:02:03+00', iv interval DEFAULT '1 day', ia int[] DEFAULT '{1,2}', h extensions.hstore DEFAULT 'a=>1', ip inet DEFAULT '10.0.0.1', x xml DEFAULT '<a/>', p point DEFAULT '(1,2)', nul text DEFAULT NULL);
CREATE TABLE defaults.functions (id bigserial PRIMARY KEY, at timestamp DEFAULT now(), tz timestamptz DEFAULT now(), d date DEFAULT current_date, u uuid DEFAULT gen_random_uuid(), t text DEFAULT lower('ABC'), e int DEFAULT 1 + 2, f float8 DEFAULT random(), r text DEFAULT current_user, n numeric(5,2) DEFAULT random(), b bool DEFAULT (1 = 1), i8 int8 NOT NULL DEFAULT nextval('defaults.functions_id_seq'), tt time DEFAULT localtime, neg int DEFAULT '-3'::integer, cast_ text DEFAULT 'a'::varchar);
CREATE TABLE defaults.strict (id int PRIMARY KEY, t text NOT NULL DEFAULT 'x', i int NOT NULL DEFAULT 3, g int GENERATED ALWAYS AS (id * 2) STORED);
-- from here
INSERT INTO defaults.zeros VALUES (1, 1, 1, 1, 1, true, 1, 1, 1, 't', 'c', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ok', '1', '1', '<a/>', '\x01', '1', '111', '2020-01-01', '01:00', '01:00', '2020-01-01', '2020-01-01', '2020-01-01 00:00+00', '2020-01-01 00:00+00', '01:00+00', '1 day', '{1}', 'a=>1', '(1,2)', '[1,2)', '10.0.0.1', 'a');
DELETE FROM defaults.zeros;
INSERT INTO defaults.literals (id) VALUES (1);
INSERT INTO defaults.literals VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DELETE FROM defaults.literals WHERE id = 1;
INSERT INTO defaults.functions (id, at, tz, d, u, f, n, tt) VALUES (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DELETE FROM defaults.functions;
INSERT INTO defaults.strict (id) VALUES (1);
UPDATE defaults.strict SET i = 4;
DELETE FROM defaults.strict;
ALTER TABLE defaults.strict ADD COLUMN added text DEFAULT 'late', ALTER COLUMN i SET DEFAULT 9;
-- catalog
INSERT INTO defaults.strict (id) VALUES (2);
ALTER TABLE defaults.strict DROP COLUMN t, ALTER COLUMN i TYPE bigint, ALTER COLUMN added SET NOT NULL;
-- catalog
UPDATE defaults.strict SET i = 5000000000;
ALTER TABLE defaults.strict RENAME COLUMN added TO renamed;
-- catalog
UPDATE defaults.strict SET renamed = 'x';
