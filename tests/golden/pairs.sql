-- subject pairs on default first
CREATE TABLE pairs.t (id int, d date, t time, ts timestamp, n numeric(6,2), iv interval, PRIMARY KEY (id, d, t, ts));
INSERT INTO pairs.t VALUES (1, '2025-05-05', '01:02:03.456789', '2025-05-05 01:02:03.456789', 1, '1 day');
-- from here
UPDATE pairs.t SET id = 2;
UPDATE pairs.t SET d = '1970-01-01', t = '00:00', ts = '1970-01-01 00:00';
UPDATE pairs.t SET d = '1970-01-02', t = '23:59:59.999999', ts = '1970-01-01 12:00';
UPDATE pairs.t SET d = '1969-12-31', t = '24:00', ts = '2025-05-05 00:00';
UPDATE pairs.t SET d = '1500-01-01', ts = '1500-01-01 01:00';
UPDATE pairs.t SET d = '0044-03-15 BC', ts = '0044-03-15 10:00 BC';
UPDATE pairs.t SET d = '20000-01-01', ts = '20000-01-01 10:00';
UPDATE pairs.t SET ts = '1960-01-01 10:11:12.123';
UPDATE pairs.t SET d = 'infinity', ts = 'infinity';
UPDATE pairs.t SET d = '-infinity', ts = '-infinity';
UPDATE pairs.t SET id = 3;
