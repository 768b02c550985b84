-- profiles ["plain", "schemas", "first", "second"]
-- corrected (k|d): .*\.(nm|ab):
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube; CREATE EXTENSION seg; CREATE EXTENSION isn; CREATE EXTENSION intarray;
CREATE TYPE comp AS (a int, b text);
CREATE TYPE mood AS ENUM ('sad','ok');
CREATE TYPE frange AS RANGE (subtype = float8);
CREATE DOMAIN dint AS int; CREATE DOMAIN ddint AS dint CHECK (VALUE < 100); CREATE DOMAIN dnum AS numeric(6,2); CREATE DOMAIN dnum0 AS numeric; CREATE DOMAIN dvc AS varchar(7); CREATE DOMAIN dch AS char(4); CREATE DOMAIN dts AS timestamp(3); CREATE DOMAIN dtsz AS timestamptz(2); CREATE DOMAIN dtm AS time(3); CREATE DOMAIN djson AS jsonb; CREATE DOMAIN duuid AS uuid; CREATE DOMAIN dbool AS bool; CREATE DOMAIN dbit AS bit(5); CREATE DOMAIN dvb AS varbit(5); CREATE DOMAIN dby AS bytea; CREATE DOMAIN darr AS text[]; CREATE DOMAIN ddate AS date; CREATE DOMAIN div AS interval; CREATE DOMAIN dcit AS citext; CREATE DOMAIN dhs AS hstore; CREATE DOMAIN dinet AS inet; CREATE DOMAIN dmoney AS money; CREATE DOMAIN dpt AS point; CREATE DOMAIN drng AS int4range; CREATE DOMAIN dcomp AS comp; CREATE DOMAIN doid AS oid; CREATE DOMAIN dtz AS timetz; CREATE DOMAIN dxml AS xml; CREATE DOMAIN dname AS name; CREATE DOMAIN dqc AS "char"; CREATE DOMAIN dlt AS ltree; CREATE DOMAIN dnn AS int NOT NULL; CREATE DOMAIN df4 AS float4; CREATE DOMAIN di2 AS int2; CREATE DOMAIN dts0 AS timestamp; CREATE DOMAIN ddnum AS dnum;
CREATE TABLE d (id int PRIMARY KEY, a dint, b ddint, c dnum, c0 dnum0, d dvc, e dch, f dts, g dtsz, h dtm, i djson, j duuid, k dbool, l dbit, m dvb, n dby, o darr, p ddate, q div, r dcit, s dhs, t dinet, u dmoney, v dpt, w drng, x dcomp, y doid, z dtz, aa dxml, ab dname, ac dqc, ad dlt, ae dnn, af df4, ag di2, ah dts0, ai ddnum, aj dint[], ak dnum[], al dvc[]);
CREATE TABLE dd (id dint PRIMARY KEY, a dnum NOT NULL, b dvc NOT NULL, c dts NOT NULL, d ddint NOT NULL, e duuid NOT NULL, f djson NOT NULL, g dbit NOT NULL, h darr NOT NULL, i dtsz NOT NULL, j div NOT NULL, k dbool NOT NULL, l dmoney NOT NULL, m dinet NOT NULL, n dcit NOT NULL, o ddnum NOT NULL);
CREATE TABLE k (id int PRIMARY KEY, c1 char, c5 char(5), qc "char", nm name, x xml, tv tsvector, b1 bit, b5 bit(5), b64 bit(64), vb varbit, vb1 varbit(1), vb8 varbit(8), i inet, c cidr, m macaddr, m8 macaddr8, o oid, u uuid, j json, jb jsonb, h hstore, ct citext, l ltree, lq lquery, ltq ltxtquery, cu cube, sg seg, isbn isbn, issn issn, ean ean13, upc upc, r4 int4range, r8 int8range, rn numrange, rts tsrange, rtz tstzrange, rd daterange, mr4 int4multirange, mrd datemultirange, fr frange, p point, ln line, ls lseg, bx box, pa path, po polygon, ci circle, cp comp, rec regclass, rp regprocedure, rt regtype, rns regnamespace, tq tsquery, lsn pg_lsn, snap pg_snapshot, tsnap txid_snapshot, x8 xid8, xi xid, ci2 cid, ti tid, ov oidvector, iv int2vector, jp jsonpath, rc refcursor, acl aclitem);
INSERT INTO k (id, c5) VALUES (0, 'ab');
INSERT INTO d (id, ae) VALUES (0, 1);
-- from here
INSERT INTO d VALUES (1,1,2,3.5,3.50,'vc','ch','2020-01-01 00:00:00.123','2020-01-01 00:00:00.12+00','10:11:12.123','{"a": 1}','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12',true,'10101','101','\x01ff','{a,NULL}','2020-01-01','1 day 01:02:03.5','CiT','a=>1','10.0.0.1',1.5,'(1,2)','[1,5)',NULL,17,'10:11:12+02','<a/>','nm','q','a.b',5,1.5,3,'2020-01-01 00:00:00.123456',7.5,'{1}','{1.5}','{a}');
INSERT INTO d (id, ae) VALUES (2, 1);
UPDATE d SET a = 5 WHERE id = 1;
DELETE FROM d WHERE id = 1;
INSERT INTO dd VALUES (1,1,'b','2020-01-01',5,'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12','{}','10101','{a}','2020-01-01 00:00+00','1 day',true,1.5,'::1','x',2.5);
UPDATE dd SET id = 2;
DELETE FROM dd;
INSERT INTO k VALUES (1,'x','ab','z','nm','<a>é</a>','''a'':1 ''b'':2','1','10101',repeat('10',32)::bit(64),'1','1','11','10.1.2.3/8','10.0.0.0/8','08-00-2b-01-02-03','08:00:2b:ff:fe:01:02:03',17,'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12','{ "a" : 1.0, "b": 12345678901234567890, "c":"\u00e9\ud83d\ude00" }','{"a":1.0,"b":12345678901234567890123456789.10,"c":"\u00e9\ud83d\ude00","d":1e100}','a=>NULL,"b c"=>"q\"q"','CiText','a.b.c','a.*','a & b','(1,2,3)','1.5','0-393-04002-X','1436-4522','978-0-393-04002-9','220356483481','[1,5]','(1,)','(1.50,2.5]','[2020-01-01,)','(,2020-01-01 00:00+02]','[2020-01-01,2020-02-01]','{[1,3),[5,6)}','{[2020-01-01,2020-02-01)}','[1,2)','(1.5,-2)','{1,2,3}','[(1,2),(3,4)]','((1,2),(3,4))','[(1,2),(3,4)]','((1,2),(3,4),(5,6))','<(1,2),3>','(1,x)','pg_class','abs(int)','int4','public','a & b','0/16B3748','10:20:10,14','10:20:10,14','77','5','6','(1,2)','1 2','3 4','$.a[*]',NULL,NULL);
INSERT INTO k (id, c1, c5, qc, nm, b1, vb, vb1, vb8, jb, h, p, j) VALUES (2,'','','','','0','','0','00000000','[]','','(Infinity,NaN)', '"\u0041"');
INSERT INTO k (id, c5, qc, vb8, p, m8, i, b5) VALUES (3,'ab   ',E'\\200','1','(1e-5,1e20)','08:00:2b:01:02:03','10.0.0.1/32','00000');
INSERT INTO k (id, j, jb, x) VALUES (4, E'[1,\n 2]', '"\u2028 \u007f"', 'text <b/> text');
INSERT INTO k (id, tv, h, ct) VALUES (5, 'fat:2A cat:3B,4', '"é"=>"ü","x"=>"NULL", "NULL"=>NULL, "a\\b"=>"c\\d", "k,"=>"v=>w"', E'quote '' " \\');
UPDATE k SET c5 = 'c' WHERE id = 1;
DELETE FROM k WHERE id = 1;
