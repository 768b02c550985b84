-- subject names on default schemas
CREATE TABLE names."a b" ("id" int PRIMARY KEY, "Mixed Case" text, "quo""te" text, "é€" text, "😀" text, "per.iod" int, "back\slash" int, """quoted""" int, "1st" int);
CREATE TABLE names.a_b (id int PRIMARY KEY);
CREATE TABLE names."Tä😀ble$" ("kéy" int PRIMARY KEY);
CREATE TABLE names."select" ("from" int PRIMARY KEY);
CREATE TABLE "Na-mes 2.x"."t" (id int PRIMARY KEY);
-- from here
INSERT INTO names."a b" VALUES (1, 'a', 'b', 'c', 'd', 1, 2, 3, 4);
INSERT INTO names.a_b VALUES (1);
INSERT INTO names."Tä😀ble$" VALUES (1);
INSERT INTO names."select" VALUES (1);
INSERT INTO "Na-mes 2.x"."t" VALUES (1);
UPDATE names."Tä😀ble$" SET "kéy" = 2;
