-- subject extensions on default schemas first
CREATE EXTENSION hstore SCHEMA extensions;
CREATE EXTENSION citext SCHEMA extensions;
CREATE EXTENSION ltree SCHEMA extensions;
CREATE EXTENSION isn SCHEMA extensions;
CREATE TABLE extensions.t (id int PRIMARY KEY, h extensions.hstore, c extensions.citext, l extensions.ltree, la extensions.ltree[], ca extensions.citext[], lq extensions.lquery, i extensions.isbn, ha extensions.hstore[]);
CREATE TABLE extensions.strict (id int PRIMARY KEY, h extensions.hstore NOT NULL, c extensions.citext NOT NULL, l extensions.ltree NOT NULL);
-- from here
SET search_path = extensions, public;
INSERT INTO extensions.t VALUES (1, 'key1=>val1,key2=>NULL', 'MiXed', 'Top.Science', '{Top.A,Top.B}', '{A,b}', 'Top.*', '0-393-04002-X', '{"a=>1"}');
INSERT INTO extensions.t (id, h) VALUES (2, ''), (3, '"a b"=>"c \"d\" \\ e", ""=>"", "é😀"=>"€"'), (4, 'a=>1,b=>2,c=>3,aa=>4,bb=>5,cc=>6,k1=>7,k2=>8,k10=>9,k11=>10,zeta=>11,alpha=>12,omega=>13,mu=>14'), (5, NULL), (6, E'"line\nbreak"=>"tab\tx"'), (7, '"Aa"=>"1","BB"=>"2","AaAa"=>"3","BBBB"=>"4","AaBB"=>"5"');
INSERT INTO extensions.t (id, la) VALUES (8, '{Top.A,NULL}'), (9, '{}');
INSERT INTO extensions.strict VALUES (1, 'a=>1', 'x', 'a.b');
DELETE FROM extensions.strict;
RESET search_path;
