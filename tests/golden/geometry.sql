-- subject geometry on default schemas in 15
CREATE SCHEMA postgis;
CREATE EXTENSION postgis SCHEMA postgis;
CREATE TABLE geometry.t (id int PRIMARY KEY, p postgis.geometry, q postgis.geometry(Point, 3187), g postgis.geography, pa postgis.geometry[], ga postgis.geography[]);
CREATE TABLE geometry.strict (id int PRIMARY KEY, p postgis.geometry NOT NULL, g postgis.geography NOT NULL);
-- from here
SET search_path = postgis, public;
INSERT INTO geometry.t VALUES (1, 'POINT(174.9479 -36.7208)', 'SRID=3187;POINT(174.9479 -36.7208)', 'POINT(169.1321 -44.7032)', ARRAY['POINT(1 2)'::geometry, NULL, 'SRID=4326;LINESTRING(0 0, 1 1)'], ARRAY['POINT(1 2)'::geography]), (2, NULL, NULL, NULL, NULL, NULL), (3, 'GEOMETRYCOLLECTION EMPTY', NULL, NULL, '{}', '{}');
INSERT INTO geometry.strict VALUES (1, 'POINT(1 2)', 'POINT(1 2)');
DELETE FROM geometry.strict;
RESET search_path;
