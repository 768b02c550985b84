-- subject text on default schemas first second third
CREATE TABLE text.t (id int PRIMARY KEY, t text, v varchar(20), v0 varchar, c char(5), c1 char, n name, x xml, j json, jb jsonb, u uuid, ba bytea, q "char");
-- from here
INSERT INTO text.t VALUES (1, 'text', 'varchar', 'varchar', 'ab', 'x', 'name', '<a>1</a>', '{"a" : [1, 2.50, null]}', '{"bar": "baz", "a": 1.50}', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '\x010203', 'q');
INSERT INTO text.t VALUES (2, '', '', '', '', '', '', '', '""', '""', '00000000-0000-0000-0000-000000000000', '', '');
INSERT INTO text.t (id) VALUES (3);
INSERT INTO text.t (id, t) VALUES (4, E'quote " back \\ slash / tab \t line \n return \r feed \f bell \x07 back \b vt \x0b esc \x1b del \x7f end');
INSERT INTO text.t (id, t, v) VALUES (5, E'\u00e9 \u20ac \U0001F600 \U00010000 \U0010FFFF \u2028 \u2029 \u0085 \u00a0 \ufeff \uffff', E'\U0001F600');
INSERT INTO text.t (id, t) VALUES (6, E'\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1c\x1d\x1e\x1f');
INSERT INTO text.t (id, jb, j) VALUES (7, '{"k": "\u00e9\ud83d\ude00 \u0001 <\/b>"}', E'{"k":\n "\\u00e9",\t"k": 1e3}');
INSERT INTO text.t (id, ba) VALUES (8, '\x00'), (9, '\xff'), (10, '\xfbefbeff'), (11, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'), (12, convert_to('plain', 'UTF8'));
INSERT INTO text.t (id, t) VALUES (13, repeat('long ', 60)), (14, '{"not": "json"}'), (15, 'NULL'), (16, ' blanks ');
UPDATE text.t SET t = 'changed' WHERE id = 1;
DELETE FROM text.t WHERE id = 4;
