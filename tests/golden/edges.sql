-- subject edges on all
-- what Java's arithmetic makes of values at the ends of their types, and of defaults that are such values
CREATE TYPE edges.mood AS ENUM ('ok', 'it''s');
CREATE DOMAIN edges.needed AS int NOT NULL;
CREATE TABLE edges.intervals (id int PRIMARY KEY, i interval, d interval DEFAULT '00:00:01.235', f interval DEFAULT make_interval(days => 3));
CREATE TABLE edges.stamps (id int PRIMARY KEY, ts timestamp, ts3 timestamp(3), list timestamp[]);
CREATE TABLE edges.endless (id int PRIMARY KEY, d date DEFAULT 'infinity', d2 date DEFAULT '-infinity', t time DEFAULT '24:00', t0 time(0) DEFAULT '24:00', ts timestamp DEFAULT 'infinity', ts2 timestamp DEFAULT '-infinity', ts3 timestamp(3) DEFAULT 'infinity', tz timestamptz DEFAULT 'infinity', tz2 timestamptz DEFAULT '-infinity');
CREATE TABLE edges.literals (id int PRIMARY KEY, lines text DEFAULT E'a\nb', second text DEFAULT (E'a\nb' || 'c'), m edges.mood DEFAULT 'it''s', n numeric(6,2) DEFAULT '1.555', nan numeric DEFAULT 'NaN', nan2 numeric(6,2) DEFAULT 'NaN', b bit(3) DEFAULT 5::bit(3), x edges.needed, y edges.needed DEFAULT 3);
CREATE TABLE edges.money_key (b bool, m money, f float8, g float4, PRIMARY KEY (b, m, f, g));
CREATE TABLE edges.unsent (id int PRIMARY KEY, a int, ba bytea, baa bytea[], da date[]);
ALTER TABLE edges.unsent SET (toast_tuple_target = 128);
ALTER TABLE edges.unsent ALTER ba SET STORAGE EXTERNAL, ALTER baa SET STORAGE EXTERNAL, ALTER da SET STORAGE EXTERNAL;
INSERT INTO edges.unsent VALUES (1, 1, decode(repeat('ab', 300), 'hex'), ARRAY[decode(repeat('ab', 300), 'hex')], (SELECT array_agg('2020-01-01'::date) FROM generate_series(1, 80)));
-- from here
INSERT INTO edges.intervals VALUES (1, '00:00:01.235'), (2, '-00:00:01.235'), (3, '00:01:01.735'), (4, '1 day 02:03:03.47'), (5, '00:00:00.000001'), (6, '-1 mon +00:00:17.000003'), (7, '00:00:59.999999'), (8, '12:34:02.736');
INSERT INTO edges.intervals VALUES (9, NULL, NULL, NULL);
INSERT INTO edges.stamps VALUES (1, '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999'), (2, '4713-01-01 00:00 BC', '4713-01-01 00:00 BC'), (3, '2262-04-11 23:47:16.854775', '2262-04-12'), (4, '1677-09-21 00:12:43.145225', '1677-09-21'), (5, '1677-09-22', '1969-12-31 23:59:59.999'), (6, NULL, NULL);
INSERT INTO edges.stamps (id, list) VALUES (7, '{"2300-01-01",NULL,"2020-01-01"}');
INSERT INTO edges.endless VALUES (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO edges.literals (id, x) VALUES (1, 2);
INSERT INTO edges.literals VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 5, 6);
DELETE FROM edges.literals WHERE id = 1;
INSERT INTO edges.money_key VALUES (true, 1.5, 1e10, 1.5);
UPDATE edges.money_key SET b = false, m = -1234.5, f = 'NaN', g = '-Infinity';
UPDATE edges.unsent SET a = 2;
