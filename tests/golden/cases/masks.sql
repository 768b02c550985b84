-- profiles ["plain", "schemas"]
-- debezium {"column.mask.with.5.chars": "public.p.m1,public.p.m2,public.p.m3", "column.mask.hash.v2.SHA-256.with.salt.S4lt": "public.p.h1,public.p.h2,public.p.h3", "column.truncate.to.3.chars": "public.p.t1,public.p.t2,public.p.t3", "message.key.columns": "public.q:b,a;public.r:u", "column.exclude.list": "public.s.x,public.s.y"}
-- mappings [{"table": "public.p", "operations": "cudt", "mask_columns": [{"column": "m1", "characters": 5}, {"column": "m2", "characters": 5}, {"column": "m3", "characters": 5}], "hash_columns": ["h1", "h2", "h3"], "hash_salt": "S4lt", "truncate_columns": [{"column": "t1", "characters": 3}, {"column": "t2", "characters": 3}, {"column": "t3", "characters": 3}]}, {"table": "public.q", "operations": "cudt", "key": ["b", "a"]}, {"table": "public.r", "operations": "cudt", "key": ["u"]}, {"table": "public.s", "operations": "cudt", "exclude_columns": ["x", "y"]}, {"table": "public.trial_mark", "operations": "cudt"}]
CREATE TABLE p (id int PRIMARY KEY, m1 text, m2 varchar(3) NOT NULL, m3 text DEFAULT 'secret', h1 text, h2 varchar(20) NOT NULL, h3 text DEFAULT 'dflt', t1 text, t2 varchar(2), t3 text NOT NULL DEFAULT 'abcdef');
CREATE TABLE q (id int PRIMARY KEY, a int, b text NOT NULL, v text);
CREATE TABLE r (u uuid, v text); ALTER TABLE r REPLICA IDENTITY FULL;
CREATE TABLE s (id int PRIMARY KEY, x text NOT NULL, y int, z text);
INSERT INTO p VALUES (1,'aaaaaaa','abc','x','h','hh','hhh','abcd','ab','abcdef'); INSERT INTO q VALUES (1,2,'b','v'); INSERT INTO r VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12','v'); INSERT INTO s VALUES (1,'x',2,'z');
-- from here
INSERT INTO p VALUES (2,NULL,'',NULL,NULL,'',NULL,NULL,NULL,'');
INSERT INTO p VALUES (3,'','é','é€','é','€€','😀','é€ü!','é','é€üä');
UPDATE p SET m1 = 'b' WHERE id = 1;
UPDATE p SET id = 7 WHERE id = 1;
DELETE FROM p;
INSERT INTO q VALUES (2,NULL,'c','v');
UPDATE q SET a = 5 WHERE id = 2;
UPDATE q SET v = 'w';
UPDATE q SET id = 10 WHERE id = 1;
DELETE FROM q;
INSERT INTO r VALUES (NULL,'x');
UPDATE r SET v = 'y';
UPDATE r SET u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13' WHERE u IS NULL;
DELETE FROM r;
INSERT INTO s VALUES (2,'x',2,'z');
UPDATE s SET y = 4;
UPDATE s SET id = 5 WHERE id = 1;
DELETE FROM s;
TRUNCATE p, q, r, s;
