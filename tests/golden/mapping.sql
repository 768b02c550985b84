-- subject mapping on masked keyed cut chosen routed
CREATE TYPE mapping.mood AS ENUM ('sad', 'ok');
CREATE TABLE mapping.person (id int PRIMARY KEY, code text NOT NULL, region char(3) DEFAULT 'eu', phone varchar(20), pin text NOT NULL, nick text DEFAULT 'none', initials char(3), email varchar(40), login text NOT NULL, tag text DEFAULT 'dflt', stamp char(70), short varchar(3), long varchar(9), story text, note text NOT NULL DEFAULT 'noted down', feel mapping.mood, hashed mapping.mood);
CREATE TABLE mapping.whole (LIKE mapping.person INCLUDING ALL);
ALTER TABLE mapping.person SET (toast_tuple_target = 128);
ALTER TABLE mapping.whole REPLICA IDENTITY FULL;
DO $$ DECLARE c record; BEGIN FOR c IN SELECT attrelid::regclass AS r, attname FROM pg_attribute WHERE attrelid IN ('mapping.person'::regclass, 'mapping.whole'::regclass) AND attnum > 0 AND atttypid = 'text'::regtype LOOP EXECUTE format('ALTER TABLE %s ALTER %I SET STORAGE EXTERNAL', c.r, c.attname); END LOOP; END $$;
-- from here
INSERT INTO mapping.person VALUES (1, 'c1', 'us', '+1 555', '1234', 'nick', 'ab', 'a@example.org', 'login', 'tag', 'stamp', 'abc', 'abcdefghi', 'once upon', 'a note', 'ok', 'sad');
INSERT INTO mapping.person (id, code, pin, login) VALUES (2, 'c2', '', '');
INSERT INTO mapping.person VALUES (3, 'c3', NULL, NULL, 'é€😀', NULL, NULL, NULL, 'é€😀', NULL, NULL, NULL, NULL, 'abcd😀', 'é€"\abc', NULL, NULL);
UPDATE mapping.person SET phone = '2' WHERE id = 1;
UPDATE mapping.person SET code = 'c4' WHERE id = 1;
UPDATE mapping.person SET id = 4 WHERE id = 1;
DELETE FROM mapping.person WHERE id = 2;
INSERT INTO mapping.person (id, code, pin, nick, login, tag, story, note) VALUES (5, 'c5', repeat('p', 400), repeat('n', 400), repeat('l', 400), repeat('t', 400), repeat('s', 400), repeat('o', 400));
UPDATE mapping.person SET phone = '3' WHERE id = 5;
INSERT INTO mapping.whole VALUES (1, 'c1', 'us', '+1 555', '1234', 'nick', 'ab', 'a@example.org', 'login', 'tag', 'stamp', 'abc', 'abcdefghi', 'once upon', repeat('o', 9), 'ok', 'sad');
UPDATE mapping.whole SET phone = '2';
UPDATE mapping.whole SET code = 'c4', region = NULL;
UPDATE mapping.whole SET id = 4;
DELETE FROM mapping.whole;
TRUNCATE mapping.whole;
