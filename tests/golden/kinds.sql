-- subject kinds on default schemas first
-- ranges, network, bits, geometry, text search, system types
CREATE TABLE kinds.ranges (id int PRIMARY KEY, i4 int4range, i8 int8range, nr numrange, tsr tsrange, tzr tstzrange, dr daterange, im int4multirange);
CREATE TABLE kinds.network (id int PRIMARY KEY, a inet, c cidr, m macaddr, m8 macaddr8);
CREATE TABLE kinds.bits (id int PRIMARY KEY, b1 bit(1), b bit(2), b7 bit(7), b24 bit(24), b65 bit(65), v varbit, v9 varbit(9));
CREATE TABLE kinds.geometry (id int PRIMARY KEY, p point, l line, s lseg, b box, pa path, po polygon, c circle);
CREATE TABLE kinds.system (id int PRIMARY KEY, tv tsvector, tq tsquery, lsn pg_lsn, snap pg_snapshot, x xid, x8 xid8, ci cid, ti tid, rc regclass, rt regtype, jp jsonpath, ov oidvector, iv int2vector, ts txid_snapshot);
-- from here
INSERT INTO kinds.ranges VALUES (1, '[1,5]', '[1,)', '(1.5,2.5]', '["2019-03-31 15:30:00",infinity)', '["2019-03-31 15:30:00+00",)', '[2019-03-31,)', '{[1,3),[5,7)}'), (2, 'empty', '(,)', 'empty', '(,)', 'empty', 'empty', '{}'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO kinds.network VALUES (1, '192.168.1.5', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'), (2, '::1/64', '2001:db8::/32', NULL, NULL);
INSERT INTO kinds.bits VALUES (1, '1', '11', '1000000', '000000110000001000000001', '1' || repeat('0', 63)::text::bit(63)::text::bit(64), '101', '100000001'), (2, '0', '00', '0000000', repeat('0', 24)::bit(24), repeat('1', 65)::bit(65), '', ''), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (4, '1', '01', '0000001', '100000000000000000000000', repeat('0', 65)::bit(65), '1111000011110000', '0'), (5, '1', '10', '0101010', '000000000000000011111111', repeat('01', 33)::bit(65), '10000000', '11111111');
INSERT INTO kinds.geometry VALUES (1, '(1,2.5)', '{1,2,3}', '[(1,2),(3,4)]', '(3,4),(1,2)', '((1,1),(2,2))', '((0,0),(1,1),(2,0))', '<(1,2),3>'), (2, '(-0.0,1e300)', NULL, NULL, NULL, NULL, NULL, NULL), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO kinds.system VALUES (1, 'a fat cat', 'fat <-> cat', '16/B374D848', '10:20:10,14', '7', '8', '9', '(1,2)', 'pg_class', 'int4', '$.a', '1 2', '3 4', '10:20:10,14');
DELETE FROM kinds.bits WHERE id = 1;
