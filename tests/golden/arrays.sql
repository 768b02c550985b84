-- subject arrays on default schemas first second third
CREATE TABLE arrays.t (id int PRIMARY KEY, i2 int2[], i4 int4[], i8 int8[], b bool[], f4 float4[], f8 float8[], n numeric[], n10 numeric(10,2)[], t text[], v varchar(10)[], c char(10)[], u uuid[], j json[], jb jsonb[], d date[], ti time[], ts timestamp[], tz timestamptz[], tt timetz[], ba bytea[], o oid[], inet inet[], r int4range[]);
CREATE TABLE arrays.odd (id int PRIMARY KEY, m money[], bits bit(3)[], vb varbit[], iv interval[], x xml[], na name[], p point[], mac macaddr[], ci cidr[], tsr tsrange[], tv tsvector[], one bit[]);
-- from here
INSERT INTO arrays.t VALUES (1, '{1,2}', '{1,-2,NULL}', '{9223372036854775807}', '{t,f,NULL}', '{1.5,NULL,NaN}', '{1e10,-0.0,Infinity}', '{1.10,22.2200,100,NULL}', '{1.1,NULL,-3.30}', '{a,"b c","d,e","q\"uo\\te",NULL,"NULL",""}', '{x,é}', '{cone,NULL}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}', ARRAY['{"a": [1]}', NULL]::json[], ARRAY['{"a": [1]}', '"x"']::jsonb[], '{2016-11-04,NULL,1969-12-31}', '{13:51:30.123456,24:00,NULL}', '{"2016-11-04 13:51:30.123456",NULL}', '{"2016-11-04 13:51:30.123456+02",NULL}', '{13:51:30.123789+02,NULL,11:00+00}', ARRAY['\x0102'::bytea, NULL, ''::bytea], '{1,4294967295}', '{10.0.0.1,::1/64}', '{"[1,5)",empty}');
INSERT INTO arrays.t VALUES (2, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
INSERT INTO arrays.t (id) VALUES (3);
INSERT INTO arrays.t (id, i4, t) VALUES (4, '{{1,2},{3,4}}', '{{a,b},{c,d}}'), (5, '[0:1]={5,6}', '[2:3]={x,y}');
INSERT INTO arrays.t (id, n, n10) VALUES (6, '{NaN,1}', '{NaN}'), (7, '{0,-1,1e20}', '{0}');
INSERT INTO arrays.t (id, d, ts, tz) VALUES (8, '{infinity,-infinity}', '{infinity,-infinity}', '{infinity,-infinity}');
INSERT INTO arrays.odd VALUES (1, '{1.10}', '{101}', '{1,11}', '{1 day}', '{<a/>}', '{n}', '{"(1,2)"}', '{08:00:2b:01:02:03}', '{10.0.0.0/8}', '{"[2020-01-01,2020-01-02)"}', '{"''a'':1"}', '{1}');
DELETE FROM arrays.t WHERE id = 1;
