"""A table that is another by the time its changes are read: the log tells of then, the catalog of now."""

import json

import pytest

from support.common import eventually
from support.relay import outboxd
from support.tables import ids


@pytest.fixture
def late(tables):
    """A table item(id, name) whose rows are inserted, changed and deleted before the statement of a test; the relay reads all of it afterwards."""
    def read(statement, *more):
        tables.create("item", "id int PRIMARY KEY, name text NOT NULL", *more)
        tables.create("other", "id int PRIMARY KEY")
        tables.publish()
        relay = tables.relay(snapshot="never").start()
        relay.stop()
        tables.database.execute("INSERT INTO item VALUES (1, 'a'); UPDATE item SET name = 'b'; UPDATE item SET id = 5; DELETE FROM item")
        tables.database.execute(f"{statement}; INSERT INTO other VALUES (1)")
        relay.start(wait_ready=False)
        tables.records("other", 1)
        return tables.records("item", 7)
    return read


@pytest.mark.parametrize("statement", ["CREATE SCHEMA away; ALTER TABLE item SET SCHEMA away", "ALTER TABLE item RENAME TO hidden",
                                       "ALTER TABLE whole ATTACH PARTITION item FOR VALUES IN (1)"])
def test_what_was_committed_before_a_table_went_elsewhere_is_captured_by_its_name_of_then(tables, statement):
    """The relay learns of the table only afterwards: what it means is told by the log, not by the catalog of now."""
    tables.create("whole", "id int PRIMARY KEY, name text) PARTITION BY LIST (id")
    tables.create("item", "id int PRIMARY KEY, name text")
    tables.create("other", "id int PRIMARY KEY")
    tables.publish()
    mappings = [{"table": f"public.{name}"} for name in ("whole", "i*", "other")]
    relay = tables.relay(snapshot="never", mappings=mappings).start()
    relay.stop()
    tables.database.execute("INSERT INTO item VALUES (1, 'a'); UPDATE item SET name = 'b'")
    tables.database.execute(f"{statement}; INSERT INTO other VALUES (1)")
    relay.start(wait_ready=False)
    tables.records("other", 1)
    assert [change["op"] for change in tables.records("item", 2)] == ["c", "u"]


def test_what_was_committed_before_a_table_was_renamed_is_captured_by_a_mapping_of_its_new_name(tables):
    """A relay that was stopped at the old name: nothing of the table is missing, and each row is in the topic of its time."""
    tables.create("item", "id int PRIMARY KEY")
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=[{"table": "public.item"}]).start()
    relay.stop()
    tables.database.execute("INSERT INTO item VALUES (1)")
    tables.database.execute("ALTER TABLE item RENAME TO product; INSERT INTO product VALUES (2)")
    assert relay.start(wait_ready=False).wait_exit(30) == 2
    assert relay.log_lines("code=MAPPED_NO_TABLE")
    tables.kafka.create_topic(tables.topic("product"))
    tables.relay(snapshot="never", mappings=[{"table": "public.product"}]).start()
    assert ids(tables.records("product", 1)) == [2]
    assert ids(tables.records("item", 1)) == [1]


@pytest.mark.parametrize("statement", [
    "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)",
    "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD COLUMN uid uuid PRIMARY KEY DEFAULT gen_random_uuid()",
    "ALTER TABLE item RENAME id TO number",
    "ALTER TABLE item DROP COLUMN id; ALTER TABLE item ADD PRIMARY KEY (name)",
    "ALTER TABLE item DROP CONSTRAINT item_pkey; ALTER TABLE item REPLICA IDENTITY FULL",
    "DROP TABLE item"])
def test_records_have_the_key_that_the_table_had_then(late, statement):
    """Else a row would have two keys, or none, and whoever compacts the topic keeps what was deleted."""
    assert [change.key for change in late(statement)] == [{"id": 1}] * 4 + [{"id": 5}] * 3


@pytest.mark.parametrize("identity", ["FULL", "USING INDEX by_name"])
def test_a_key_that_was_no_replica_identity_goes_by_its_names_of_then(late, identity):
    records = late("ALTER TABLE item RENAME id TO number", "CREATE UNIQUE INDEX by_name ON item (name)", f"ALTER TABLE item REPLICA IDENTITY {identity}")
    assert records[0].key == {"id": 1} and records[0]["after"] == {"id": 1, "name": "a"}


HIDES = {"mask_columns": ({"mask_columns": [{"column": "{}", "characters": 3}]}, "***"), "exclude_columns": ({"exclude_columns": ["{}"]}, None),
         "truncate_columns": ({"truncate_columns": [{"column": "{}", "characters": 1}]}, "s"),
         "hash_columns": ({"hash_columns": ["{}"], "hash_salt": "s"}, "1e42c7c4f1a1"), "columns": ({"columns": ["id", "{}"]}, "secret")}


def mapping(option, column):
    return [{"table": "public.*", **json.loads(json.dumps(HIDES[option][0]).replace("{}", column))}]


def shown(change):
    return next((value for name, value in change["after"].items() if name != "id"), None)


@pytest.mark.parametrize("option", HIDES)
def test_a_column_that_is_renamed_stays_as_hidden_as_it_was(tables, option):
    """While the relay runs; after a restart the mapping must know the name; and for what was committed under the old name the new one counts."""
    tables.create("item", "id int PRIMARY KEY, name text NOT NULL")
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=mapping(option, "name")).start()
    tables.database.execute("INSERT INTO item VALUES (1, 'secret')")
    before = shown(tables.records("item", 1)[0])
    assert before == HIDES[option][1] or (option == "hash_columns" and len(before) == 64)
    tables.database.execute("ALTER TABLE item RENAME name TO title; ALTER TABLE item ADD extra int")
    tables.database.execute("INSERT INTO item VALUES (2, 'secret')")
    assert shown(tables.records("item", 2)[1]) == before
    relay.stop()
    assert relay.start(wait_ready=False).wait_exit(30) == 2
    assert f"{option} names column 'name', which none of its tables has" in relay.log_lines("code=MAPPED_NO_COLUMN")[-1]
    later = tables.relay(snapshot="never", mappings=mapping(option, "title")).start()
    later.stop()
    tables.database.execute("INSERT INTO item VALUES (3, 'secret')")
    tables.database.execute("ALTER TABLE item RENAME title TO label")
    tables.relay(snapshot="never", mappings=mapping(option, "label")).start()
    assert shown(tables.records("item", 3)[2]) == before


def test_a_key_that_is_renamed_is_still_the_key(tables):
    """Also when the relay meets the table after that; after a restart the mapping must know the name."""
    tables.create("item", "id int, name text PRIMARY KEY")
    tables.publish()
    named = [{"table": "public.*", "key": ["name"]}]
    relay = tables.relay(snapshot="never", mappings=named).start()
    tables.database.execute("ALTER TABLE item RENAME name TO title; INSERT INTO item VALUES (1, 'a')")
    assert tables.records("item", 1)[0].key == {"title": "a"}
    relay.stop()
    assert relay.start(wait_ready=False).wait_exit(30) == 2
    assert "key names column 'name', which none of its tables has" in relay.log_lines("code=MAPPED_NO_COLUMN")[-1]


@pytest.mark.parametrize("column, code, said, exits", [
    ("naem", "MAPPED_NO_COLUMN", "mask_columns names column 'naem'", 2),
    ("size", "MAPPING_COLUMN", "mask_columns name column 'size', whose values are no text", 1)])
def test_a_reload_that_hides_what_it_cannot_publishes_nothing(tables, column, code, said, exits):
    tables.create("item", "id int PRIMARY KEY, name text NOT NULL, size int")
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=mapping("mask_columns", "name")).start()
    tables.database.execute("INSERT INTO item VALUES (1, 'secret')")
    tables.records("item", 1)
    relay.reload(tables.configured(mapping("mask_columns", column), snapshot="never"), until=None)
    tables.database.execute("INSERT INTO item VALUES (2, 'secret')")
    assert relay.wait_exit(30) == exits
    assert said in relay.log_lines(f"code={code}")[-1]
    assert {shown(change) for change in tables.records("item")} == {"***"}


SECRET = "id int PRIMARY KEY, note text, secret varchar(20), size int"
RENAME = "ALTER TABLE item RENAME secret TO hidden"


@pytest.mark.parametrize("statement", ["ALTER TABLE item DROP note", "ALTER TABLE item DROP size", "ALTER TABLE item ALTER hidden TYPE text", "ALTER TABLE item ADD secret text",
                                       "ALTER TABLE item RENAME note TO secret; ALTER TABLE item ADD extra int"])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_renamed_column_is_known_by_its_number_whatever_else_is_altered(tables, stopped, statement):
    """Names, types and places of then and of now differ; the numbers of columns never do."""
    tables.create("item", SECRET)
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=mapping("mask_columns", "secret")).start()
    tables.database.execute("INSERT INTO item VALUES (1, 'n', 'confidential', 1)")
    tables.records("item", 1)
    if stopped:
        relay.stop()
        tables.database.execute("INSERT INTO item VALUES (2, 'n', 'confidential', 1)")
    tables.database.execute(f"{RENAME}; {statement}")
    tables.database.execute("INSERT INTO item (id, hidden) VALUES (3, 'confidential')")
    if stopped:
        tables.relay(snapshot="never", mappings=mapping("mask_columns", "hidden")).start()
    records = tables.records("item", 3 if stopped else 2)
    assert records[0]["after"] == {"id": 1, "note": "n", "secret": "***", "size": 1}
    assert not any("confidential" in str(dict(change)) for change in records)


def test_a_column_that_was_renamed_before_its_first_row_is_hidden(tables):
    tables.create("item", SECRET)
    tables.publish()
    tables.relay(snapshot="never", mappings=mapping("mask_columns", "secret")).start()
    tables.database.execute(f"{RENAME}; INSERT INTO item VALUES (1, 'n', 'confidential', 1)")
    assert tables.records("item", 1)[0]["after"] == {"id": 1, "note": "n", "hidden": "***", "size": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_column_that_is_renamed_during_the_snapshot_is_hidden_in_it_and_behind_it(tables, workers):
    """The topic of the first table is missing, and with it the room for the second one."""
    tables.create("a", SECRET, topic=False)
    tables.create("item", SECRET)
    tables.database.execute("INSERT INTO a SELECT i, 'n', 'confidential', 1 FROM generate_series(1, 200) i; INSERT INTO item VALUES (1, 'n', 'confidential', 1)")
    tables.publish()
    relay = tables.relay(in_flight_events=100, batch_events=10, snapshot_workers=workers, mappings=mapping("mask_columns", "secret"))
    relay.start(wait_ready=False).wait_log("WAITING_EVENTS_FULL")
    tables.database.execute(f"{RENAME}; INSERT INTO item VALUES (2, 'n', 'confidential', 1)")
    tables.kafka.create_topic(tables.topic("a"))
    relay.wait_log("STREAM_STARTED", 60)
    tables.database.execute("INSERT INTO item VALUES (3, 'n', 'confidential', 1)")
    eventually(lambda: len(tables.state("item")) == 3, 30, relay.log_tail)
    assert not any("confidential" in str(dict(change)) for change in tables.records("item") + tables.records("a"))


def test_a_chain_of_names_hides_by_each_of_them(tables):
    tables.create("item", SECRET)
    tables.publish()
    tables.relay(snapshot="never", mappings=mapping("mask_columns", "secret")).start().stop()
    tables.database.execute("INSERT INTO item VALUES (1, 'n', 'confidential', 1)")
    tables.database.execute(RENAME)
    tables.relay(snapshot="never", mappings=mapping("mask_columns", "hidden")).start()
    tables.records("item", 1)
    tables.database.execute("ALTER TABLE item RENAME hidden TO third; INSERT INTO item VALUES (2, 'n', 'confidential', 1)")
    assert not any("confidential" in str(dict(change)) for change in tables.records("item", 2))


def test_a_column_that_was_dropped_is_not_shown_for_one_that_came_since(tables):
    tables.create("item", "id int PRIMARY KEY, secret text")
    tables.publish()
    tables.relay(snapshot="never", mappings=mapping("exclude_columns", "secret")).start().stop()
    tables.database.execute("INSERT INTO item VALUES (1, 'confidential')")
    tables.database.execute("ALTER TABLE item DROP secret; ALTER TABLE item ADD mail text")
    tables.relay(snapshot="never", mappings=mapping("columns", "mail")).start()
    assert tables.records("item", 1)[0]["after"] == {"id": 1}


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_composite_key_keeps_its_order_when_a_column_is_renamed_and_another_added(tables, identity):
    tables.create("item", "a int, b int, PRIMARY KEY (b, a)", f"ALTER TABLE item REPLICA IDENTITY {identity}")
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    relay.stop()
    tables.database.execute("INSERT INTO item VALUES (1, 2)")
    tables.database.execute("ALTER TABLE item RENAME b TO c; ALTER TABLE item ADD d int")
    relay.start()
    assert list(tables.records("item", 1)[0].key.items()) == [("b", 2), ("a", 1)]


def test_a_column_that_no_table_has_stops_the_start_and_one_that_some_have_does_not(tables):
    tables.create("item", "id int PRIMARY KEY, name text")
    tables.create("person", "id int PRIMARY KEY, mail text")
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=mapping("mask_columns", "mailbox"))
    assert relay.start(wait_ready=False).wait_exit(30) == 2
    check = outboxd("check", "-c", relay.config_path)
    assert check.returncode == 2 and "mask_columns names column 'mailbox'" in check.stdout
    tables.relay(snapshot="never", mappings=mapping("mask_columns", "mail")).start()
    tables.database.execute("INSERT INTO person VALUES (1, 'secret'); INSERT INTO item VALUES (1, 'name')")
    assert shown(tables.records("person", 1)[0]) == "***" and shown(tables.records("item", 1)[0]) == "name"


@pytest.mark.parametrize("mapping, why", [
    ({"key": ["name"]}, r"table 'public.other': column 'name' cannot be in the key"),
    ({"mask_columns": [{"column": "size", "characters": 3}]}, r"table 'public.item': mask_columns name column 'size', whose values are no text")])
def test_a_start_refuses_what_a_table_cannot_follow_before_its_first_row(tables, mapping, why):
    tables.create("item", "id int PRIMARY KEY, name text NOT NULL, size int")
    tables.create("other", "id int PRIMARY KEY, size text")
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=[{"table": "public.*", **mapping}])
    assert relay.start(wait_ready=False).wait_exit(30) == 1
    assert relay.log_lines(f"code=MAPPING_COLUMN.*{why}")
    assert tables.database.scalar("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
    assert outboxd("check", "-c", relay.config_path, expect=1).stdout.count(why.split(": ")[-1]) == 1


@pytest.mark.parametrize("snapshot, exits", [("never", None), ("initial", 1)])
def test_a_table_that_comes_in_a_snapshot_alone_is_looked_at_too(tables, snapshot, exits):
    """No log has an unlogged table."""
    tables.create("item", "id int PRIMARY KEY, size text")
    tables.publish()
    tables.create("other", "id int PRIMARY KEY, size int", "ALTER TABLE other SET UNLOGGED")
    relay = tables.relay(snapshot=snapshot, mappings=[{"table": "public.*", "mask_columns": [{"column": "size", "characters": 3}]}])
    relay.start(wait_ready=False)
    if exits:
        assert relay.wait_exit(30) == exits and relay.log_lines("code=MAPPING_COLUMN.*public.other")
        assert tables.records("item") == []
    else:
        relay.wait_ready()


def test_a_table_that_nobody_publishes_stops_no_start(tables):
    tables.create("item", "id int PRIMARY KEY, size text")
    tables.publish()
    tables.create("other", "id int PRIMARY KEY, size int")
    relay = tables.relay(snapshot="never", mappings=[{"table": "public.*", "mask_columns": [{"column": "size", "characters": 3}]}]).start()
    tables.database.execute("INSERT INTO item VALUES (1, 'large')")
    assert tables.records("item", 1)[0]["after"] == {"id": 1, "size": "***"}
    relay.stop()


def test_a_table_that_is_altered_while_the_relay_runs_stops_it_with_its_next_row_alone(tables):
    """A connection that is lost asks nothing of what was known at the start."""
    tables.create("item", "id int PRIMARY KEY, size text")
    tables.create("other", "id int PRIMARY KEY, size text")
    tables.publish()
    relay = tables.relay(snapshot="never", mappings=[{"table": "public.*", "mask_columns": [{"column": "size", "characters": 3}]}]).start()
    tables.database.execute("ALTER TABLE other ALTER size TYPE int USING 1")
    tables.database.terminate_backends()
    tables.database.execute("INSERT INTO item VALUES (1, 'large')")
    assert tables.records("item", 1)[0]["after"] == {"id": 1, "size": "***"}
    tables.database.execute("INSERT INTO other VALUES (1, 7)")
    assert relay.wait_exit(30) == 1
    assert relay.log_lines("code=MAPPING_COLUMN.*table 'public.other'") and tables.records("other") == []


@pytest.mark.parametrize("ddl, shown", [
    ("DROP note; ALTER TABLE item ADD remark text NOT NULL DEFAULT 'd'", None),
    ("RENAME note TO old; ALTER TABLE item ADD note text DEFAULT 'd'", None),
    ("RENAME note TO remark; ALTER TABLE item ALTER remark SET DEFAULT 'd'", None),
    ("ALTER note SET DEFAULT 'd'", "d")])
def test_a_null_is_never_the_default_of_another_column(tables, ddl, shown):
    """Of the column itself it is, as Debezium writes it."""
    tables.create("item", "id int PRIMARY KEY, note text")
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)
    relay.stop()
    tables.database.execute(f"INSERT INTO item VALUES (2, NULL); ALTER TABLE item {ddl}; INSERT INTO item (id) VALUES (3)")
    relay.start()
    assert tables.records("item", 3)[1]["after"] == {"id": 2, "note": shown}


def test_a_key_that_has_another_name_by_now_is_still_not_null(tables):
    tables.create("item", "id int PRIMARY KEY, note text")
    tables.publish()
    relay = tables.relay(snapshot="never", schemas=True).start()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)
    relay.stop()
    tables.database.execute("INSERT INTO item VALUES (2, 'b'); ALTER TABLE item RENAME id TO number")
    relay.start()
    first, second = (change.key["schema"] for change in tables.records("item", 2))
    assert first == second and not second["fields"][0]["optional"]
