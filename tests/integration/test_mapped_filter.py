"""The filter of a mapping before anything is captured: which ones PostgreSQL can use, what the publications have, the SQL that is printed."""

import os

import psycopg2
import pytest

from conftest import soak
from support.mapped import PUBLICATION, SECOND, Checked, checker, made_database, made_server, own_database, run
from support.postgres import RELAY, SUPERUSER

ORDERS = "CREATE TABLE shop.orders (id int PRIMARY KEY, status text, note text)"
WHOLE = "ALTER TABLE shop.orders REPLICA IDENTITY FULL"
PAID = {"table": "shop.orders", "filter": "status <> 'draft'"}


@pytest.fixture(scope="module")
def server(work_directory):
    with made_server(os.path.join(work_directory, "postgresql-filter")) as server:
        yield server


database = pytest.fixture(own_database)
check = pytest.fixture(checker)


def filters(database):
    return dict(database.execute("SELECT tablename::text, rowfilter FROM pg_publication_tables WHERE pubname IN (%s, %s)", (PUBLICATION, SECOND)))


def test_the_sql_of_check_has_the_filter_and_breaks_no_application(check, database):
    database.execute(f"""{ORDERS}; {WHOLE}; CREATE TABLE shop.log (v text, kind int); INSERT INTO shop.orders VALUES (1, 'new', 'a');
        INSERT INTO shop.log VALUES ('a', 1); CREATE TABLE shop.plain (id int PRIMARY KEY);
        CREATE TABLE shop.part (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE shop.part_eu PARTITION OF shop.part FOR VALUES IN ('eu'); CREATE TABLE shop.part_us PARTITION OF shop.part FOR VALUES IN ('us')""")
    mappings = [PAID, {"table": "shop.log", "filter": "kind = 1"}, "shop.plain", {"table": "shop.par*", "filter": "region = 'eu'"}]
    checked = check(*mappings, expect=2)
    assert "publication \"outboxd_orders\" does not exist" in checked.text
    assert "the statements that outboxd check prints under \"sql\"" in checked.remedy("does not exist")
    assert "filter         only rows with status <> 'draft'" in checked.text and "TRUNCATE is not filtered" in checked.text
    assert "PostgreSQL refuses to drop these columns or to change their type" in checked.text
    run(database, checked.script())
    assert filters(database) == {"orders": "(status <> 'draft'::text)", "part": "(region = 'eu'::text)", "plain": None, "log": "(kind = 1)"}
    database.execute("UPDATE shop.orders SET note = 'b'; DELETE FROM shop.orders; UPDATE shop.log SET kind = 2; INSERT INTO shop.part VALUES (1, 'eu')")
    database.execute("UPDATE shop.part SET region = 'us'")
    assert check(*mappings).script() == []
    with pytest.raises(psycopg2.Error, match="depend"):
        database.execute("ALTER TABLE shop.orders DROP COLUMN status")
    with pytest.raises(psycopg2.Error, match="publication WHERE"):
        database.execute("ALTER TABLE shop.orders ALTER status TYPE varchar(9)")


# A filter, and whether PostgreSQL takes it as a row filter. "ours": it would, but it is more than a condition; "not told": only PostgreSQL refuses it.
CONDITIONS = {
    "id > 3": True, "status <> 'draft' AND note IS NOT NULL": True, "made > now()": False, "made > '2020-01-01'": True, "made::date = '2020-01-01'": False,
    "id = (SELECT 1)": False, "id IN (SELECT 1)": False, "EXISTS (SELECT 1)": False, "random() > 0.5": False, "nextval('shop.s') > 1": False,
    "(id = 1 AND status = 'a') OR (id = 1 AND status = 'b')": True, "true": True, "false": True, "NULL": True, "NOT (id = 1 OR status = 'x')": True,
    "active": True, "active IS NOT TRUE": True, "id IN (1, 2, 3)": True, "status LIKE 'a%' OR lower(status) = 'x'": True,
    "CASE WHEN id > 3 THEN active ELSE false END": True, "(id, status) = (1, 'a')": True, "current_user = status": False, "id": False,
    "extract(year FROM made) = 2020": False, "id BETWEEN 1 AND 5 AND NOT (status = 'a')": True, "status COLLATE \"C\" > 'x'": True, "amount > 3.5": True,
    "code = 'abc'": True, "more.id > 3": True, "more IS NOT NULL": "not told", "mood = 'ok'": False, "ctid IS NOT NULL": False, "nowhere > 3": False,
    "count(*) > 1": False, "id > $1": False, "id > 'x'": False, "id > 3 --": False, "id > 3 /* x": False, "id > 3; SELECT 1": False, "true) OR (false": False,
    "1 = 1) --": "ours", "true); DROP TABLE IF EXISTS shop.more; --": "ours",
    "shop.f(id)": "not told", "tags[1] = 'a'": "not told", "note::int > 3": "not told", "(id, status) < (1, 'a')": True,
    "tags @> ARRAY['a']": True, "status ~ '^a'": True,
}
MORE = """CREATE TABLE {} (id int PRIMARY KEY, status text, note varchar(9), active bool, made timestamptz, amount numeric(8,2), code char(4) COLLATE "C",
    mood shop.mood, tags text[])"""


@pytest.mark.parametrize("major", [None, "16", soak("17"), "18"])
def test_postgresql_takes_what_check_lets_pass(work_directory, tmp_path, major):
    """Each condition on a table of its own, beside what PostgreSQL says of it."""
    with made_server(os.path.join(work_directory, f"postgresql-conditions-{major}"), **({"major": major} if major else {})) as server:
        database = made_database(server)
        database.execute("CREATE TYPE shop.mood AS ENUM ('ok'); CREATE SEQUENCE shop.s")
        database.execute("CREATE FUNCTION shop.f(int) RETURNS bool IMMUTABLE LANGUAGE sql RETURN $1 > 3")
        database.execute("CREATE PUBLICATION probe", user=SUPERUSER)
        mappings = []
        for number, (condition, takes) in enumerate(CONDITIONS.items()):
            table = f"shop.t{number}"
            database.execute(MORE.format(table) + f"; ALTER TABLE {table} REPLICA IDENTITY FULL")
            mappings.append({"table": table, "filter": condition.replace("more.", f"t{number}.").replace("more IS", f"t{number} IS")})
            try:
                database.execute(f"ALTER PUBLICATION probe ADD TABLE {table} WHERE ({mappings[-1]['filter']})", user=SUPERUSER)
                taken = True
            except psycopg2.Error:
                taken = False
            assert taken == (takes not in (False, "not told")), condition
        database.execute(MORE.format("shop.more"))
        checked = Checked(database, tmp_path, mappings, expect=2)
        refused = {number for number in range(len(mappings)) if f"cannot use the filter of shop.t{number}: " in checked.text}
        assert refused == {number for number, takes in enumerate(CONDITIONS.values()) if takes in (False, "ours")}
        assert database.scalar("SELECT to_regclass('shop.more')") is not None
        assert "id > 3; SELECT 1: cannot insert multiple commands into a prepared statement" in checked.text, "the second one was not even parsed"
        printed = " ".join(checked.script())
        assert all((f"ONLY shop.t{number} WHERE" in printed) == (number not in refused) for number in range(len(mappings)))


def test_columns_outside_of_the_replica_identity(check, database):
    """The reason, the columns, and each of the remedies."""
    database.execute(f"{ORDERS}; CREATE UNIQUE INDEX id_status ON shop.orders (id, status); ALTER TABLE shop.orders ALTER COLUMN status SET NOT NULL")
    many = {"table": "shop.orders", "filter": "status <> 'draft' AND id > 3 AND note IS NULL"}
    problem = "the filter of shop.orders uses columns outside of its replica identity ({}): PostgreSQL would refuse every UPDATE and DELETE"
    checked = check(many, expect=2)
    assert problem.format("status, note") in checked.text and "ONLY shop.orders" not in " ".join(checked.script())
    assert problem.format("status") in check(PAID, expect=2).text
    inserts = check({**PAID, "operations": "c"}, expect=2)
    assert f'CREATE PUBLICATION "{SECOND}" FOR TABLE ONLY shop.orders WHERE (status <> \'draft\')' in " ".join(inserts.script())
    database.execute("ALTER TABLE shop.orders REPLICA IDENTITY USING INDEX id_status")
    assert problem.format("note") in check(many, expect=2).text
    run(database, check(PAID, expect=2).script())
    check(PAID)
    database.execute("INSERT INTO shop.orders VALUES (1, 'a'); UPDATE shop.orders SET note = 'x'")


def test_a_table_of_which_no_column_may_be_in_a_filter(check, database):
    database.execute("CREATE TYPE shop.mood AS ENUM ('ok'); CREATE TABLE shop.moods (mood shop.mood)")
    assert "cannot use the filter of shop.moods: mood = 'ok': column \"mood\" does not exist" in check({"table": "shop.moods", "filter": "mood = 'ok'"}, expect=2).text
    run(database, check({"table": "shop.moods", "filter": "true"}, expect=2).script())
    check({"table": "shop.moods", "filter": "true"})


def test_an_index_that_only_includes_a_column_does_not_cover_it(check, database):
    database.execute(f"{ORDERS}; ALTER TABLE shop.orders DROP CONSTRAINT orders_pkey; ALTER TABLE shop.orders ADD PRIMARY KEY (id) INCLUDE (status)")
    assert "outside of its replica identity (status)" in check(PAID, expect=2).text


def test_each_partition_must_cover_the_filter(check, database):
    database.execute("""CREATE TABLE shop.part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE shop.part_1 PARTITION OF shop.part
        FOR VALUES FROM (0) TO (10); CREATE TABLE shop.part_2 PARTITION OF shop.part FOR VALUES FROM (10) TO (20); ALTER TABLE shop.part_1 REPLICA IDENTITY FULL""")
    mapping = {"table": "shop.part", "filter": "v > 0"}
    assert "the filter of shop.part uses columns outside of its replica identity (v)" in check(mapping, expect=2).text
    database.execute("ALTER TABLE shop.part_2 REPLICA IDENTITY FULL")
    run(database, check(mapping, expect=2).script())
    check(mapping)
    database.execute("ALTER TABLE shop.part_1 REPLICA IDENTITY DEFAULT; INSERT INTO shop.part VALUES (1, 1), (11, 1); UPDATE shop.part SET v = 2 WHERE id = 11")
    with pytest.raises(psycopg2.Error, match="not part of the replica identity"):
        database.execute("UPDATE shop.part SET v = 2 WHERE id = 1")
    assert "PostgreSQL refuses every UPDATE and DELETE of the application in shop.part (v)" in check(mapping, expect=2).text


@pytest.mark.parametrize("written", ["status != 'draft'", "(( status  <>\n'draft' ))", "(status <> 'draft'::text)", "orders.status <> 'draft'::text"])
def test_the_same_filter_in_other_words_is_the_same(check, database, written):
    database.execute(f"{ORDERS}; {WHOLE}")
    run(database, check(PAID, expect=2).script())
    check({"table": "shop.orders", "filter": written})


@pytest.mark.parametrize("has, said", [
    ("", "publishes shop.orders without the filter of the mapping: status <> 'draft'"),
    ("WHERE (id > 1)", "with another row filter than the mapping's: it has (id > 1), the mapping has status <> 'draft'"),
    ("WHERE (status <> 'Draft')", "it has (status <> 'Draft'::text), the mapping has status <> 'draft'"),
    ("(id, status, note)", "publishes shop.orders without the filter of the mapping")])
def test_another_filter_is_replaced_by_the_sql_that_is_printed(check, database, has, said):
    database.execute(f"{ORDERS}; ALTER TABLE shop.orders REPLICA IDENTITY {'DEFAULT' if 'note' in has else 'FULL'}; ALTER TABLE shop.orders ALTER note SET NOT NULL")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders {has}; CREATE PUBLICATION {SECOND} WITH (publish = 'insert')", user=SUPERUSER)
    database.execute(WHOLE)
    remedy = check(PAID, expect=2).remedy(said)
    assert "exit code 4" in remedy and "--new-slot" in remedy
    run(database, remedy.split("COMMIT;")[0].removeprefix("BEGIN;"))
    check(PAID)
    assert filters(database) == {"orders": "(status <> 'draft'::text)"}
    assert "and the mapping has no filter" in check("shop.orders", expect=2).text


def test_both_publications_must_have_it(check, database):
    """PostgreSQL sends a row that one of them lets pass."""
    database.execute(f"{ORDERS}; {WHOLE}")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders WHERE (status <> 'draft');"
                     f"CREATE PUBLICATION {SECOND} FOR TABLE shop.orders WITH (publish = 'insert')", user=SUPERUSER)
    run(database, check(PAID, expect=2).remedy(f'"{SECOND}" publishes shop.orders without').split("COMMIT;")[0].removeprefix("BEGIN;"))
    check(PAID)


@pytest.mark.parametrize("of", ["ALL TABLES", "TABLES IN SCHEMA shop"])
def test_a_publication_of_everything_can_have_none(check, database, of):
    database.execute(f"{ORDERS}; {WHOLE}")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR {of}", user=SUPERUSER)
    assert "it cannot have the filter of shop.orders" in check(PAID, expect=2).text


def test_a_table_that_gets_an_identity_moves_with_its_filter(check, database):
    database.execute("CREATE TABLE shop.log (v text, kind int)")
    mapping = {"table": "shop.log", "filter": "kind = 1"}
    run(database, check(mapping, expect=2).script())
    checked = check(mapping)
    assert "prints under \"sql\"" in checked.remedy("updates and deletes of shop.log are not captured")
    database.execute("ALTER TABLE shop.log REPLICA IDENTITY FULL")
    assert 'only publication "outboxd_orders_inserts" publishes it' in check(mapping).text
    run(database, check(mapping).script())
    assert database.scalar("SELECT count(*) FROM pg_publication_tables WHERE rowfilter = '(kind = 1)'") == 2
    assert check(mapping).script() == []


def test_neither_rights_nor_locks_are_needed(check, database):
    """Nothing is read from the table to judge its filter."""
    database.execute(f"{ORDERS}; {WHOLE}; REVOKE ALL ON shop.orders FROM {RELAY}; REVOKE USAGE ON SCHEMA shop FROM {RELAY}")
    run(database, check(PAID, expect=2, snapshot="never").script())
    check(PAID, snapshot="never")


@pytest.mark.parametrize("major", [soak("13"), "14"])
def test_before_postgresql_15_a_filter_is_refused_by_name(work_directory, tmp_path, major):
    with made_server(os.path.join(work_directory, f"postgresql-filter-{major}"), major=major) as server:
        database = made_database(server)
        database.execute(f"{ORDERS}; {WHOLE}")
        database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE shop.orders", user=SUPERUSER)
        checked = Checked(database, tmp_path, [PAID], expect=2)
        assert checked.remedy(f"a mapping has a filter, which needs PostgreSQL 15 or later; this is PostgreSQL {major}") == (
            "Leave out filter, and let the consumers filter.")
        Checked(database, tmp_path, ["shop.orders"])
