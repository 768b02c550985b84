"""Which tables the mappings of capture = "tables" mean, and what must hold of them: `outboxd check` on a real server."""

import os

import pytest

from conftest import oldest_and_newest
from support.fetch import POSTGRES_VERSIONS
from support.mapped import PUBLICATION, SECOND, Checked, checker, made_database, made_server, own_database, published, run
from support.postgres import RELAY, SUPERUSER


@pytest.fixture(scope="module")
def server(work_directory):
    """Its roles are changed here."""
    with made_server(os.path.join(work_directory, "postgresql-mapped")) as server:
        yield server


database = pytest.fixture(own_database)
check = pytest.fixture(checker)


# -- which tables -----------------------------------------------------------------------------------------------------------


def test_names_and_patterns_mean_what_sql_means(check, database):
    database.execute("""CREATE SCHEMA "Odd ""one"; CREATE TABLE shop.orders (id int PRIMARY KEY); CREATE TABLE shop."Orders" (id int PRIMARY KEY);
        CREATE TABLE shop.order_1 (id int PRIMARY KEY); CREATE TABLE shop."a.b*c" (id int PRIMARY KEY); CREATE TABLE shop.azc (id int PRIMARY KEY);
        CREATE TABLE shop."Ünï täble" (id int PRIMARY KEY); CREATE TABLE "Odd ""one"."q""t" (id int PRIMARY KEY)""")

    def meant(*mappings):
        return set(check(*mappings, expect=2, snapshot="never").tables())

    assert meant("SHOP.ORDERS") == {"shop.orders"}
    assert meant('shop."Orders"') == {'shop."Orders"'}
    assert meant('shop."a.b*c"') == {'shop."a.b*c"'}
    assert meant("shop.a*c") == {'shop."a.b*c"', "shop.azc"}
    assert meant("shop.a[!x-y]c") == {"shop.azc"}
    assert meant("shop.order_?") == {"shop.order_1"}
    assert meant("shop.[a-o]*") == {"shop.orders", "shop.order_1", 'shop."a.b*c"', "shop.azc"}
    assert meant('"Odd ""one".*') == {'"Odd ""one"."q""t"'}
    assert meant("odd*.*") == set(), "a pattern is folded: it means no letter that is written otherwise"
    assert meant("shop.?nï?täble") == {'shop."Ünï täble"'}
    assert len(meant("*.*")) == 7, "neither PostgreSQL's tables nor those of the outbox"


def test_what_is_no_table_is_said(check, database):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY); CREATE VIEW shop.v AS SELECT 1 AS a")
    checked = check("shop.orderz", "shop.v", "outbox.position", "pg_catalog.pg_class", "nix.*", expect=2)
    assert "database: mapping 'shop.orderz': no such table exists in database" in checked.text
    assert "mapping 'shop.v' is not a table but a view" in checked.text
    assert "mappings 'outbox.position', 'pg_catalog.pg_class': temporary tables, tables of PostgreSQL itself" in checked.text
    assert "warning: mapping 'nix.*' matches no table at present" in checked.text


def test_a_table_has_one_mapping(check, database):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY)")
    assert "table shop.orders belongs to two mappings, 'shop.*' and 'shop.orders'" in check("shop.*", "shop.orders", expect=2).text


def test_partitions_come_under_their_root(check, database):
    database.execute("""CREATE TABLE shop.part (id int, d int, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
        CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES FROM (0) TO (10);
        CREATE TABLE shop.part_2 PARTITION OF shop.part FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (d);
        CREATE TABLE shop.part_2a PARTITION OF shop.part_2 FOR VALUES FROM (10) TO (20)""")
    run(database, check("shop.part*", expect=2).script())
    checked = check("shop.part*", "shop.part_1")
    assert set(checked.tables()) == {"shop.part"}
    assert "warning: mapping 'shop.part_1': this is a partition of a table that another mapping captures" in checked.text
    assert "rows of shop.part_1 come under the name of shop.part, which no mapping matches" in check("shop.part_1", expect=2).text
    database.execute(f"ALTER PUBLICATION {PUBLICATION} SET (publish_via_partition_root = false)", user=SUPERUSER)
    run(database, check("shop.part", expect=2).remedy("so nothing comes under the name of shop.part"))
    check("shop.part")


# -- the publications ---------------------------------------------------------------------------------------------------------


def test_the_sql_block_is_all_that_is_missing_and_breaks_no_application(check, database, server):
    database.execute(f"""CREATE SCHEMA "Other"; CREATE TABLE shop.orders (id int PRIMARY KEY, v text); CREATE TABLE shop.log (v text);
        CREATE TABLE "Other"."T" (id int PRIMARY KEY DEFERRABLE, v text); CREATE TABLE shop.whole (v text); ALTER TABLE shop.whole REPLICA IDENTITY FULL;
        CREATE TABLE shop.child () INHERITS (shop.orders);
        REVOKE SELECT ON shop.orders FROM {RELAY}; INSERT INTO shop.log VALUES ('a'); INSERT INTO "Other"."T" VALUES (1); INSERT INTO shop.child VALUES (1)""")
    checked = check("shop.*", '"Other".*', expect=2)
    assert f'publication "{PUBLICATION}" does not exist' in checked.text
    assert checked.tables()["shop.orders"] == "key id; deletes with the primary key; no SELECT"
    assert checked.tables()["shop.whole"] == "no key; updates and deletes with the whole old row (FULL)"
    assert checked.tables()["shop.log"] == "no key; inserts only: it has no usable replica identity"
    run(database, checked.script())
    assert published(database, PUBLICATION) == {"orders", "whole"}
    assert published(database, SECOND) == {"log", "T", "child"}
    database.execute("""UPDATE shop.log SET v = 'b'; UPDATE "Other"."T" SET v = 'b'; UPDATE shop.child SET v = 'b'; DELETE FROM shop.log""")
    after = check("shop.*", '"Other".*')
    assert after.script() == []
    assert 'warning: updates and deletes of "Other"."T", shop.child, shop.log are not captured' in after.text


def test_a_table_that_is_not_published_is_added_where_it_belongs(check, database):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY)")
    run(database, check("shop.*", expect=2).script())
    check("shop.*")
    database.execute("CREATE TABLE shop.more (id int PRIMARY KEY); CREATE TABLE shop.log (v text)")
    checked = check("shop.*", expect=2)
    remedy = checked.remedy(f'publication "{PUBLICATION}" does not publish shop.log, shop.more: no change of it is captured')
    assert remedy == f'ALTER PUBLICATION "{PUBLICATION}" ADD TABLE ONLY shop.more; ALTER PUBLICATION "{SECOND}" ADD TABLE ONLY shop.log;'
    run(database, remedy)
    checked = check("shop.*")
    database.execute("ALTER TABLE shop.log REPLICA IDENTITY FULL")
    run(database, check("shop.*").remedy("the table has a replica identity, but only publication"))
    assert published(database, PUBLICATION) == {"orders", "more", "log"} and published(database, SECOND) == {"log"}


@pytest.mark.parametrize("wide", [False, True])
def test_an_application_whose_updates_are_refused_is_helped(check, database, wide):
    database.execute("CREATE TABLE shop.log (v text); INSERT INTO shop.log VALUES ('a')")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR {'ALL TABLES' if wide else 'TABLE shop.log'}", user=SUPERUSER)
    remedy = check("shop.*", expect=2).remedy("PostgreSQL refuses every UPDATE and DELETE of the application in shop.log")
    assert "ALTER TABLE shop.log REPLICA IDENTITY FULL;" in remedy
    if wide:
        assert "PUBLICATION" not in remedy, "one table cannot be taken out"
        database.execute("ALTER TABLE shop.log REPLICA IDENTITY FULL")
    else:
        run(database, remedy.split("only inserts: ")[1])
    database.execute("UPDATE shop.log SET v = 'b'")
    check("shop.*")


@pytest.mark.parametrize("hides, problem", [("(id)", "a column list of the publication hides columns of shop.orders"),
                                            ("WHERE (id > 1)", "a row filter of the publication hides rows of shop.orders")])
def test_what_the_publication_hides(check, database, hides, problem):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, v text)")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders {hides}", user=SUPERUSER)
    remedy = check("shop.orders", expect=2).remedy(problem)
    assert "stops with exit code 4" in remedy and "continue with outboxd run --new-slot" in remedy
    run(database, remedy.split("COMMIT;")[0].removeprefix("BEGIN;"))
    check("shop.orders")


@pytest.mark.parametrize("published_too", [True, False])
@pytest.mark.parametrize("entry, more, problem", [
    ("(id)", {}, "a column list of the publication hides columns of shop.orders"),
    ("WHERE (id > 1)", {"filter": "id > 2"}, "publishes shop.orders with another row filter than the mapping's"),
    ("", {}, "PostgreSQL refuses every UPDATE and DELETE of the application in shop.orders")])
def test_what_inherits_stays_where_it_is_when_its_parent_leaves_a_publication(check, database, entry, more, problem, published_too):
    """It is a table of its own, in a publication or in none."""
    database.execute(f"""CREATE TABLE shop.orders (id int NOT NULL{' PRIMARY KEY' if entry else ''}, v text);
        CREATE TABLE shop.child (PRIMARY KEY (id)) INHERITS (shop.orders)""")
    child = ", shop.child" if published_too else ""
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE ONLY shop.orders {entry}{child}", user=SUPERUSER)
    mappings = [{"table": "shop.orders", **more}, "shop.child"][:2 if published_too else 1]
    remedy = check(*mappings, expect=2).remedy(problem)
    run(database, remedy.split("only inserts: ")[-1].split("COMMIT;")[0].removeprefix("BEGIN;"))
    assert published(database, PUBLICATION) == {"orders"} & {"orders" if entry else ""} | {"child"} & {"child" if child else ""}
    check(*mappings)


def test_operations_that_are_not_published(check, database):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY)")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders WITH (publish = 'insert')", user=SUPERUSER)
    assert "does not publish all operations that the mappings capture of shop.orders" in check("shop.orders", expect=2).text
    check({"table": "shop.orders", "operations": "c"})


def test_unlogged_tables_have_no_stream(check, database):
    database.execute("CREATE UNLOGGED TABLE shop.fast (id int PRIMARY KEY)")
    run(database, check("shop.*", expect=2).script())
    assert "warning: shop.fast is unlogged: the WAL does not contain changes of it" in check("shop.*").text


# -- keys and rights -------------------------------------------------------------------------------------------------------------


def test_a_delete_that_lacks_the_key_is_said(check, database):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, customer int NOT NULL)")
    run(database, check("shop.*", expect=2).script())
    checked = check({"table": "shop.orders", "key": ["customer"]})
    assert "warning: a delete of shop.orders does not have the key (customer)" in checked.text
    assert "does not have the key" not in check("shop.orders").text
    database.execute("ALTER TABLE shop.orders REPLICA IDENTITY FULL")
    assert "does not have the key" not in check({"table": "shop.orders", "key": ["customer"]}).text


@pytest.mark.parametrize("option, why", [
    ({"key": ["id", "note"]}, "column 'note' cannot be in the key: rows of the table do not have it"),
    ({"key": ["twice"]}, "column 'twice' cannot be in the key: rows of the table do not have it"),
    ({"mask_columns": [{"column": "id", "characters": 3}], "key": ["v"]}, "mask_columns name column 'id', whose values are no text")])
def test_a_mapping_that_one_of_its_tables_cannot_follow_is_said_before_its_first_row(check, database, option, why):
    """In the relay's own words: it would stop there."""
    database.execute("""CREATE TABLE shop.orders (id int PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2) STORED);
        CREATE TABLE shop.other (id text PRIMARY KEY, v text, note text, twice int)""")
    run(database, check("shop.*", expect=2).script())
    checked = check({"table": "shop.*", **option}, expect=1)
    assert f"configuration: mapping 'shop.*', table 'shop.orders': {why}" in checked.text
    assert "table 'shop.other'" not in checked.text and set(checked.tables()) == {"shop.other"}


def test_of_many_tables_that_a_mapping_cannot_follow_a_few_are_named(check, database):
    database.execute("".join(f"CREATE TABLE shop.t{number} (id int PRIMARY KEY, size int);" for number in range(5)))
    run(database, check("shop.*", expect=2).script())
    checked = check({"table": "shop.*", "hash_columns": ["size"], "hash_salt": "s"}, expect=1)
    assert checked.text.count("hash_columns name column 'size'") == 3
    assert "correct the mapping" in checked.remedy("mapping 'shop.*' cannot be followed for 2 more tables")


def test_a_key_that_is_a_typing_error_is_refused_by_its_name(check, database):
    database.execute("CREATE TABLE shop.orders (id int PRIMARY KEY)")
    run(database, check("shop.*", expect=2).script())
    assert "mapping 'shop.*': key names column 'idd', which none of its tables has" in check({"table": "shop.*", "key": ["idd"]}, expect=2).text


def test_who_reads_rows_again_is_granted_what_it_needs(check, database):
    database.execute(f"CREATE TABLE shop.orders (id int PRIMARY KEY, v text); REVOKE SELECT ON shop.orders FROM {RELAY}")
    assert not any("SELECT" in line for line in check("shop.*", expect=2, snapshot="never").script())
    again = {"snapshot": "never", "toast": "reselect"}
    run(database, check("shop.*", expect=2, **again).script())
    check("shop.*", **again)


def test_a_snapshot_needs_rights_and_the_stream_none(check, database, server):
    database.execute(f"""CREATE TABLE shop.orders (id int PRIMARY KEY, owner text); REVOKE SELECT ON shop.orders FROM {RELAY};
        REVOKE USAGE ON SCHEMA shop FROM {RELAY}""")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders", user=SUPERUSER)
    check("shop.*", snapshot="never")
    remedy = check("shop.*", expect=2).remedy(f"role {RELAY} may not SELECT shop.orders, which a snapshot needs")
    assert remedy == f"GRANT USAGE ON SCHEMA shop TO {RELAY}; GRANT SELECT ON shop.orders TO {RELAY};"
    run(database, remedy)
    database.execute(f"REVOKE SELECT ON shop.orders FROM {RELAY}; GRANT SELECT (id, owner) ON shop.orders TO {RELAY}")
    check("shop.*")
    database.execute("ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY")
    check("shop.*", snapshot="never")
    remedy = check("shop.*", expect=2).remedy(f"row-level security hides rows of shop.orders from role {RELAY}")
    assert remedy == f"ALTER ROLE {RELAY} BYPASSRLS;"
    run(database, remedy)
    try:
        check("shop.*")
    finally:
        server.execute(f"ALTER ROLE {RELAY} NOBYPASSRLS")


def test_what_remembers_the_snapshot_must_be_there_and_open(check, database, server):
    database.execute(f"CREATE TABLE shop.orders (id int PRIMARY KEY); CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders", user=SUPERUSER)
    database.execute(f"GRANT SELECT ON shop.orders TO {RELAY}", user=SUPERUSER)
    check("shop.*")
    database.execute("REVOKE ALL ON outbox.captured_table FROM outbox_relay", user=SUPERUSER)
    check("shop.*", snapshot="never")
    remedy = check("shop.*", expect=2).remedy(f"role {RELAY} may not read and write outbox.captured_table, which the first snapshot needs")
    assert remedy == "GRANT SELECT, INSERT, UPDATE ON outbox.captured_table TO outbox_relay;"
    run(database, remedy)
    check("shop.*")
    database.execute("ALTER TABLE outbox.captured_table ENABLE ROW LEVEL SECURITY", user=SUPERUSER)
    remedy = check("shop.*", expect=2).remedy(f"row-level security hides rows of outbox.captured_table from role {RELAY}")
    assert remedy == f"ALTER ROLE {RELAY} BYPASSRLS; or ALTER TABLE outbox.captured_table DISABLE ROW LEVEL SECURITY;"
    run(database, remedy.split(" or ")[1])
    check("shop.*")
    server.execute("CREATE ROLE passer_by")
    try:
        owner = database.scalar("SELECT tableowner FROM pg_tables WHERE tablename = 'captured_table'")
        database.execute("ALTER TABLE outbox.captured_table OWNER TO passer_by", user=SUPERUSER)
        checked = check("shop.*", expect=2)
        assert checked.remedy("table outbox.captured_table, which the first snapshot needs, does not exist") == "outboxd migrate"
        assert "outbox.captured_table looks like a table or view of outboxd, but outboxd does not use it" in checked.text
        database.execute(f"ALTER TABLE outbox.captured_table OWNER TO {owner}", user=SUPERUSER)
    finally:
        server.execute("DROP ROLE passer_by")
    check("shop.*")


@pytest.mark.parametrize("major", oldest_and_newest(POSTGRES_VERSIONS))
def test_every_version_says_the_same(work_directory, tmp_path, major):
    with made_server(os.path.join(work_directory, f"postgresql-mapped-{major}"), major=major) as server:
        database = made_database(server)
        database.execute("""CREATE TABLE shop.orders (id int PRIMARY KEY); CREATE TABLE shop.log (v text);
            CREATE TABLE shop.part (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES FROM (0) TO (10)""")
        run(database, Checked(database, tmp_path, ["shop.*"], expect=2).script())
        checked = Checked(database, tmp_path, ["shop.*"])
        assert set(checked.tables()) == {"shop.orders", "shop.log", "shop.part"} and checked.script() == []
        assert ("correlation    none" in checked.text) == (major == "13")
