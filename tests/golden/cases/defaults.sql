-- profiles ["plain", "schemas", "first", "second", "third", "fourth"]
-- corrected texts: .*\.l: (null|theirs)
CREATE TYPE mood AS ENUM ('sad','ok','it''s','a,b');
CREATE DOMAIN pos AS int DEFAULT 7 CHECK (VALUE > 0);
CREATE DOMAIN pos2 AS pos;
CREATE DOMAIN email AS text DEFAULT 'a@b' NOT NULL;
CREATE DOMAIN dnum AS numeric(8,3) DEFAULT 1.5;
CREATE FUNCTION f_int() RETURNS int LANGUAGE sql AS 'SELECT 4';
CREATE SEQUENCE sq;
CREATE TABLE ints (id int PRIMARY KEY, a int DEFAULT -1, b int DEFAULT (-1), c int DEFAULT +5, d int DEFAULT '42', e int DEFAULT 4::int, f int DEFAULT 1+2, g int DEFAULT f_int(), h int DEFAULT 2147483647, i int DEFAULT -2147483648, j bigint DEFAULT 9223372036854775807, k bigint DEFAULT -9223372036854775808, l bigint DEFAULT 5::int, m smallint DEFAULT -32768, n smallint DEFAULT 3::smallint, o int DEFAULT NULL, p int DEFAULT NULL::int, q int DEFAULT 1.0, r int DEFAULT 1.6::int, s bigint DEFAULT 1e3, u oid DEFAULT 17, v int DEFAULT abs(-3), w int DEFAULT CASE WHEN true THEN 1 ELSE 2 END, x int DEFAULT nextval('sq'), y int DEFAULT length('abc'), z int DEFAULT ascii('a'), aa int DEFAULT '-3', ab bigint DEFAULT '-3', ac smallint DEFAULT '-3');
CREATE TABLE ints_nn (id int PRIMARY KEY, a int NOT NULL DEFAULT -1, c int NOT NULL DEFAULT +5, d int NOT NULL DEFAULT '42', f int NOT NULL DEFAULT 1+2, g int NOT NULL DEFAULT f_int(), j bigint NOT NULL DEFAULT 9223372036854775807, l bigint NOT NULL DEFAULT 5::int, m smallint NOT NULL DEFAULT -32768, x int NOT NULL DEFAULT nextval('sq'), q int NOT NULL DEFAULT 1.0);
CREATE TABLE texts (id int PRIMARY KEY, a text DEFAULT '', b text DEFAULT 'plain', c text DEFAULT 'with ''quote''', d text DEFAULT E'tab\tnl\nbs\\', e text DEFAULT 'a::b', f text DEFAULT 'x'::text, g varchar(10) DEFAULT 'v', h varchar DEFAULT 'v''w', i char(4) DEFAULT 'c', j char DEFAULT 'q', k "char" DEFAULT 'z', l name DEFAULT 'nm', m text DEFAULT NULL, n text DEFAULT NULL::text, o varchar(5) DEFAULT NULL::varchar, p text DEFAULT upper('a'), q text DEFAULT 'a'||'b', r text DEFAULT current_user, s text DEFAULT session_user, t text DEFAULT 5, u text DEFAULT now()::text, v text DEFAULT 'é€😀', w text DEFAULT '"dq"', x text DEFAULT '{"a":1}', y text DEFAULT 'NULL', z text DEFAULT current_date::text, aa text DEFAULT concat('x','y'), ab text DEFAULT '(paren)', ac text DEFAULT ' lead trail ', ad text DEFAULT 'now()', ae varchar(3) DEFAULT 'abc'::varchar(3), af text DEFAULT 'a' COLLATE "C", ag bpchar DEFAULT 'bp', ah text DEFAULT current_setting('x.y', true), ai text DEFAULT gen_random_uuid()::text, aj text DEFAULT 'true', ak text DEFAULT E'\\x41', al text DEFAULT md5('x'), am text DEFAULT $$it's$$, an text DEFAULT current_database());
CREATE TABLE texts_nn (id int PRIMARY KEY, a text NOT NULL DEFAULT '', c text NOT NULL DEFAULT 'with ''quote''', i char(4) NOT NULL DEFAULT 'c', p text NOT NULL DEFAULT upper('a'), q text NOT NULL DEFAULT 'a'||'b', n text NOT NULL DEFAULT NULL::text, k "char" NOT NULL DEFAULT 'z');
CREATE TABLE bools (id int PRIMARY KEY, a bool DEFAULT true, b bool DEFAULT false, c bool DEFAULT 't', d bool DEFAULT 'yes'::bool, e bool DEFAULT (1=1), f bool DEFAULT (NOT true), g bool DEFAULT NULL::bool, h bit DEFAULT '0', i bit(1) DEFAULT B'1', j bit(8) DEFAULT B'00000001', k bit(4) DEFAULT X'A', l varbit DEFAULT B'101', m varbit(5) DEFAULT '11', n bit(8) DEFAULT '10000000'::bit(8), o bit(70) DEFAULT repeat('1',70)::bit(70), p bit(3) DEFAULT 5::bit(3));
CREATE TABLE bools_nn (id int PRIMARY KEY, a bool NOT NULL DEFAULT true, e bool NOT NULL DEFAULT (1=1), i bit(1) NOT NULL DEFAULT B'1', j bit(8) NOT NULL DEFAULT B'00000001', l varbit NOT NULL DEFAULT B'101');
CREATE TABLE nums (id int PRIMARY KEY, a numeric DEFAULT 0, b numeric DEFAULT 1.50, c numeric DEFAULT -1.50, d numeric(10,2) DEFAULT 0, e numeric(10,2) DEFAULT 0.00, f numeric(10,2) DEFAULT -1.5, g numeric(10,2) DEFAULT '1.555', h numeric(10,2) DEFAULT 1.5::numeric, i numeric(5) DEFAULT 3, j numeric(38,10) DEFAULT 123456789012345678901234.5, k numeric DEFAULT 'NaN', l numeric(4,2) DEFAULT NULL::numeric, m numeric(10,2) DEFAULT 1+1, n float8 DEFAULT 0, o float8 DEFAULT -1.5, p float8 DEFAULT 1e10, q float8 DEFAULT 'NaN', r float8 DEFAULT 'Infinity', s float8 DEFAULT 1, t float4 DEFAULT 0.1, u float4 DEFAULT -3, v float8 DEFAULT pi(), w float8 DEFAULT random(), x money DEFAULT 0, y money DEFAULT '$1.50', z money DEFAULT -3, aa numeric(10,2) DEFAULT round(1.5), ab numeric(10,2) DEFAULT 100, ac numeric(10,2) DEFAULT '7', ad numeric DEFAULT '7.10', ae float8 DEFAULT '2', af numeric(3,2) DEFAULT 1e0, ag numeric DEFAULT 1e20, ah numeric(30,2) DEFAULT 1e20, ai float8 DEFAULT 1e308, aj float4 DEFAULT 1e-40);
CREATE TABLE nums_nn (id int PRIMARY KEY, a numeric NOT NULL DEFAULT 0, d numeric(10,2) NOT NULL DEFAULT 0, f numeric(10,2) NOT NULL DEFAULT -1.5, m numeric(10,2) NOT NULL DEFAULT 1+1, n float8 NOT NULL DEFAULT 0, o float8 NOT NULL DEFAULT -1.5, v float8 NOT NULL DEFAULT pi(), x money NOT NULL DEFAULT 0, u float4 NOT NULL DEFAULT -3);
-- from here
INSERT INTO ints(id) VALUES (1);
INSERT INTO ints_nn(id) VALUES (1);
INSERT INTO texts(id) VALUES (1);
INSERT INTO texts_nn(id,n) VALUES (1,'');
INSERT INTO bools(id) VALUES (1);
INSERT INTO bools_nn(id) VALUES (1);
INSERT INTO nums(id) VALUES (1);
INSERT INTO nums_nn(id) VALUES (1);
DELETE FROM ints;
DELETE FROM ints_nn;
DELETE FROM texts;
DELETE FROM texts_nn;
DELETE FROM bools;
DELETE FROM bools_nn;
DELETE FROM nums;
DELETE FROM nums_nn;
