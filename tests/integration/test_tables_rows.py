"""What a change of a row becomes, by replica identity, key, name and columns (rows 38 to 56 of tests/TABLES.md)."""

import contextlib
import json

from support.postgres import RELAY, SUPERUSER

ITEM = "id int PRIMARY KEY, name text, note text"
NEVER = {"snapshot": "never"}


def shape(changes):
    """[(kind, key, before, after)]"""
    return [("-" if c.tombstone else c["op"], c.key, c.get("before"), c.get("after")) for c in changes]


def test_what_an_update_and_a_delete_carry_by_replica_identity(tables):
    execute = tables.database.execute
    tables.create("by_key", ITEM)
    tables.create("by_all", ITEM, "ALTER TABLE by_all REPLICA IDENTITY FULL")
    tables.create("by_index", "id int PRIMARY KEY, name text NOT NULL, note text", "CREATE UNIQUE INDEX by_name ON by_index (name)",
                  "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_name")
    tables.create("keyless", "id int, name text, note text", "ALTER TABLE keyless REPLICA IDENTITY FULL")
    tables.create("nothing", ITEM, "ALTER TABLE nothing REPLICA IDENTITY NOTHING")
    tables.publish("by_key", "by_all", "by_index", "keyless", second=("nothing",))
    tables.relay(**NEVER).start()
    for name in tables.names:
        execute(f"INSERT INTO {name} VALUES (1, 'a', 'n')")
        execute(f"UPDATE {name} SET note = 'm'")
        execute(f"UPDATE {name} SET note = note")
        execute(f"DELETE FROM {name}")
    key, one = {"id": 1}, {"id": 1, "name": "a", "note": "n"}
    two, none = {**one, "note": "m"}, {"id": 1, "name": None, "note": None}
    assert shape(tables.records("by_key", 5)) == [("c", key, None, one), ("u", key, None, two), ("u", key, None, two), ("d", key, none, None), ("-", key, None, None)]
    assert shape(tables.records("by_all", 5)) == [("c", key, None, one), ("u", key, one, two), ("u", key, two, two), ("d", key, two, None), ("-", key, None, None)]
    zero = {"id": 0}        # the old row has the index alone
    assert shape(tables.records("by_index", 5)) == [("c", key, None, one), ("u", key, None, two), ("u", key, None, two),
                                                    ("d", zero, {"id": 0, "name": "a", "note": None}, None), ("-", zero, None, None)]
    assert shape(tables.records("keyless", 5)) == [("c", None, None, one), ("u", None, one, two), ("u", None, two, two), ("d", None, two, None), ("-", None, None, None)]
    assert tables.records("keyless")[4].raw == (None, None)
    assert shape(tables.records("nothing", 1)) == [("c", key, None, one)]


def test_the_key_follows_the_primary_key(tables):
    execute = tables.database.execute
    tables.create("item", ITEM)
    tables.publish()
    tables.relay(schemas=True, **NEVER).start()
    execute("INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)       # the key is the catalog's of now
    execute("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name, id)")
    execute("INSERT INTO item VALUES (2, 'b')")
    tables.records("item", 2)
    execute("ALTER TABLE item RENAME COLUMN id TO number")
    execute("ALTER TABLE item ALTER COLUMN name SET DEFAULT 'none'")
    execute("INSERT INTO item VALUES (3, 'c')")
    changes = tables.records("item", 3)
    assert [change.key["payload"] for change in changes] == [{"id": 1}, {"name": "b", "id": 2}, {"name": "c", "number": 3}]
    fields = [[(f["field"], f["type"], f.get("default")) for f in change.key["schema"]["fields"]] for change in changes]
    assert fields == [[("id", "int32", None)], [("name", "string", None), ("id", "int32", None)], [("name", "string", "none"), ("number", "int32", None)]]


def test_a_column_of_a_composite_key_changes(tables):
    tables.create("line", "part text, id int, note text, PRIMARY KEY (part, id)")
    tables.publish()
    tables.relay(**NEVER).start()
    tables.database.execute("INSERT INTO line VALUES ('a', 1, 'x'), ('b', 2, 'y')")
    tables.database.execute("UPDATE line SET part = CASE part WHEN 'a' THEN 'c' ELSE part END, note = 'z'")
    changes = tables.records("line", 6)
    assert [("-" if c.tombstone else c["op"], c.key["part"]) for c in changes] == [("c", "a"), ("c", "b"), ("d", "a"), ("-", "a"), ("c", "c"), ("u", "b")]
    assert json.loads(changes[2].headers["__debezium.newkey"]) == {"part": "c", "id": 1} == changes[4].key


def test_what_statements_become(tables):
    """COPY, ON CONFLICT, foreign keys that cascade, MERGE of one row twice in one transaction, TRUNCATE of several, with CASCADE."""
    execute = tables.database.execute
    tables.create("parent", "id int PRIMARY KEY, n int")
    tables.create("child", "id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE")
    tables.publish()
    tables.relay([{"table": "public.*", "operations": "cudt"}], **NEVER).start()
    execute("INSERT INTO parent VALUES (1, 0), (2, 0); INSERT INTO child VALUES (10, 1), (20, 2)")
    execute("INSERT INTO parent VALUES (1, 9) ON CONFLICT DO NOTHING")
    execute("INSERT INTO parent VALUES (1, 9) ON CONFLICT (id) DO UPDATE SET n = parent.n + 1; UPDATE parent SET n = n + 1 WHERE id = 1")
    execute("UPDATE parent SET id = 3 WHERE id = 1")
    execute("DELETE FROM parent WHERE id = 2")
    execute("TRUNCATE parent CASCADE")
    parents, children = tables.records("parent", 10), tables.records("child", 6)
    assert [("-" if c.tombstone else c["op"], c.key and c.key["id"]) for c in parents] == [
        ("c", 1), ("c", 2), ("u", 1), ("u", 1), ("d", 1), ("-", 1), ("c", 3), ("d", 2), ("-", 2), ("t", None)]
    assert [("-" if c.tombstone else c["op"], c.key and c.key["id"]) for c in children] == [("c", 10), ("c", 20), ("u", 10), ("d", 20), ("-", 20), ("t", None)]
    assert parents[3]["after"]["n"] == 2 and children[2]["after"] == {"id": 10, "parent": 3}
    assert [parents[-1]["source"][name] for name in ("lsn", "txId")] == [children[-1]["source"][name] for name in ("lsn", "txId")]


def test_sequence_tells_the_order_of_commits(tables):
    """The transaction that begins first commits last."""
    tables.create("item", ITEM)
    tables.create("other", ITEM)
    tables.publish()
    tables.relay(**NEVER).start()
    with tables.database.connect(autocommit=False) as first, tables.database.connect(autocommit=False) as second, first.cursor() as one, second.cursor() as two:
        one.execute("INSERT INTO item VALUES (1, 'begins first')")
        two.execute("INSERT INTO item VALUES (2, 'commits first'); INSERT INTO other VALUES (1, 'x')")
        second.commit()
        one.execute("INSERT INTO item VALUES (3, 'commits last')")
        first.commit()
    tables.database.execute("INSERT INTO item VALUES (4, 'behind')")
    changes = tables.records("item", 4)
    assert [change["after"]["id"] for change in changes] == [2, 1, 3, 4]
    ends, lsns = zip(*[change.place for change in changes])
    assert ends[0] is None and ends[1] == ends[2] and int(ends[2]) < int(ends[3])
    assert [int(lsn) for lsn in lsns] == [change["source"]["lsn"] for change in changes] and int(lsns[1]) < int(lsns[0])
    other, = tables.records("other", 1)
    assert other["source"]["txId"] == changes[0]["source"]["txId"] and other["source"]["ts_us"] == changes[0]["source"]["ts_us"]


def test_names_with_capitals_blanks_and_backslashes_and_tables_that_are_new_or_renamed(tables):
    execute = tables.database.execute
    execute(r'CREATE TABLE "Back\slash" (id int PRIMARY KEY, "A" text, a text); CREATE TABLE plain (id int PRIMARY KEY)')
    execute(rf'GRANT SELECT ON "Back\slash", plain TO {RELAY}')
    odd, moved = (tables.kafka.create_topic(f"{tables.prefix}.public.{name}") for name in ("Back_slash", "moved"))
    tables.kafka.create_topic(tables.topic("plain"))
    tables.publish(r'"Back\slash"', "plain")
    tables.relay(**NEVER).start()
    execute(r"""INSERT INTO "Back\slash" VALUES (1, 'capital', 'small'); INSERT INTO plain VALUES (1)""")
    execute("ALTER TABLE plain RENAME TO moved; INSERT INTO moved VALUES (2)")
    change, = tables.records(odd, 1)
    assert change["after"] == {"id": 1, "A": "capital", "a": "small"} and change["source"]["table"] == "Back\\slash"
    assert [c["after"]["id"] for c in tables.records("plain", 1)] == [1]
    assert [c["after"]["id"] for c in tables.records(moved, 1)] == [2]


def test_columns_and_keys_are_as_the_mapping_says(tables):
    tables.create("item", ITEM, "ALTER TABLE item REPLICA IDENTITY FULL")
    tables.create("other", ITEM)
    tables.publish()
    tables.relay([{"table": "public.item", "key": ["name"], "columns": ["name", "id"]}, {"table": "public.other", "exclude_columns": ["note"]}], **NEVER).start()
    tables.database.execute("INSERT INTO item VALUES (1, 'a', 'x'); INSERT INTO other VALUES (1, 'a', 'x')")
    tables.database.execute("UPDATE item SET name = 'b'; UPDATE item SET note = 'y'; DELETE FROM item")
    changes = tables.records("item", 7)
    assert [("-" if c.tombstone else c["op"], c.key) for c in changes] == [
        ("c", {"name": "a"}), ("d", {"name": "a"}), ("-", {"name": "a"}), ("c", {"name": "b"}), ("u", {"name": "b"}), ("d", {"name": "b"}), ("-", {"name": "b"})]
    assert changes[0]["after"] == {"id": 1, "name": "a"} == {**changes[4]["before"], "name": "a"}
    assert tables.records("other", 1)[0]["after"] == {"id": 1, "name": "a"}


def test_the_origin_of_a_transaction_is_on_its_changes_alone(tables):
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(in_flight_events=200, batch_events=50, **NEVER).start()
    name = f'north "pole" {tables.database.name}'
    with contextlib.closing(tables.database.connect(SUPERUSER)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_replication_origin_create(%s)", (name,))
        try:
            cursor.execute("INSERT INTO item VALUES (1, 'here')")
            cursor.execute("SELECT pg_replication_origin_session_setup(%s)", (name,))
            cursor.execute("BEGIN; SELECT pg_replication_origin_xact_setup('0/ABC', now()); INSERT INTO item SELECT g, 'far' FROM generate_series(2, 2000) g; COMMIT")
            cursor.execute("SELECT pg_replication_origin_session_reset()")
            cursor.execute("INSERT INTO item VALUES (2001, 'here')")
            tables.records("item", 300)
            relay.kill()
            relay.start()
            tables.records("item", 2001)
            told = {change["after"]["id"]: (change["source"]["origin"], change["source"]["origin_lsn"]) for change in tables.records("item")}
        finally:
            cursor.execute("SELECT pg_replication_origin_drop(%s)", (name,))
    assert [told[1], told[2001]] == [(None, None)] * 2 and {told[n] for n in range(2, 2001)} == {(name, 0xABC)}
