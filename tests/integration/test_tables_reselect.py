"""toast = "reselect": large values that an UPDATE leaves alone are read again by the row's replica identity (row 62 of tests/TABLES.md)."""

import json
import threading

import psycopg2
import pytest

from support.common import eventually
from support.postgres import RELAY, SUPERUSER
from support.proxy import Proxy, answer_to, sql
from support.relay import outboxd
from support.tables import BIG, HELD, TOASTED, toasted_columns, toasted_values

RESELECT = {"snapshot": "never", "toast": "reselect"}
HEADER = "outboxd_reselected"
OTHER = "(SELECT string_agg(md5((-g)::text), '') FROM generate_series(1, 400) g)"
READ_AGAIN = {**TOASTED, "m": ("numeric", "(SELECT string_agg((hashint4(g) & 7)::text, '')::numeric FROM generate_series(1, 9000) g)")}
ROW = "id int PRIMARY KEY, note text, t text"
READS = r"COPY \(SELECT k\.n"


def reselected(change):
    return json.loads(change.headers[HEADER]) if HEADER in change.header_names else []


@pytest.fixture
def item(tables):
    """Table item, published, with one large row."""
    tables.create("item", ROW)
    tables.publish()
    return tables


def through(tables, proxy, **options):
    """A relay whose connections lead through the proxy."""
    config = tables.configured(**RESELECT, **options)
    config["database"]["dsn"] = tables.database.dsn(port=proxy.port)
    return tables._make(config=config)


def test_what_an_update_leaves_alone_is_read_again_as_it_was_sent(tables):
    execute = tables.database.execute
    columns, values = f"id int PRIMARY KEY, note text, {toasted_columns(READ_AGAIN)}", toasted_values(READ_AGAIN)
    tables.create("item", columns)
    tables.create("whole", columns, "ALTER TABLE whole REPLICA IDENTITY FULL")
    tables.publish()
    tables.relay(**RESELECT).start()
    for name in tables.names:
        execute(f"ALTER TABLE {name} ALTER m SET STORAGE EXTERNAL; INSERT INTO {name} VALUES (1, 'a', {values}); INSERT INTO {name} (id) VALUES (2)")
        execute(f"SELECT outbox.set_context(correlation_id => 'c-1', wal => true); UPDATE {name} SET note = 'b'")
        tables.records(name, 4)
        execute(f"UPDATE {name} SET t = NULL WHERE id = 1")
        tables.records(name, 5)     # read by its key of then
        execute(f"UPDATE {name} SET id = 3 WHERE id = 1")
    made, empty, held, still, cleared, deleted, stone, moved = tables.records("item", 8)
    large = {name: made["after"][name] for name in READ_AGAIN}
    assert all(len(json.dumps(value)) > 3000 for value in large.values())
    assert held["after"] == {"id": 1, "note": "b", **large} and reselected(held) == list(READ_AGAIN)
    assert held.header_names[4:] == ["correlation_id", HEADER] and held["before"] is None
    assert still["after"] == {**empty["after"], "note": "b"} and not reselected(still)
    assert cleared["after"] == {"id": 1, "note": "b", **large, "t": None}
    assert reselected(cleared) == [name for name in READ_AGAIN if name != "t"]
    assert moved["op"] == "c" and moved["after"] == {"id": 3, "note": "b", **large, "t": None}
    assert moved.header_names[0] == "__debezium.oldkey" and reselected(moved) == reselected(cleared)
    assert deleted["op"] == "d" and stone.tombstone and not reselected(deleted) and not reselected(stone)
    assert [reselected(change) for change in tables.records("whole", 8)] == [[]] * 8


def test_a_row_may_be_newer_or_gone_and_the_order_stays(item):
    item.execute(f"INSERT INTO item SELECT i, 'a', {BIG} FROM generate_series(1, 3) i")
    relay = item.relay(**RESELECT).start()
    relay.wait_log("STREAM_STARTED")
    relay.stop()
    item.execute("UPDATE item SET note = 'b'")
    item.execute(f"UPDATE item SET t = {OTHER} WHERE id = 2; UPDATE item SET note = 'c' WHERE id = 2; DELETE FROM item WHERE id = 3; UPDATE item SET t = 'x' WHERE id = 1")
    relay.start()
    changes = item.records("item", 8)
    newer = item.database.scalar(f"SELECT {OTHER}")
    assert [(change.key["id"], "-" if change.tombstone else change["op"]) for change in changes] == [
        (1, "u"), (2, "u"), (3, "u"), (2, "u"), (2, "u"), (3, "d"), (3, "-"), (1, "u")]
    first, second, third, fourth, fifth, _, _, last = changes
    assert first["after"] == {"id": 1, "note": "b", "t": "x"} == last["after"] and reselected(first) == ["t"] and not reselected(last)
    assert second["after"]["t"] == fourth["after"]["t"] == fifth["after"]["t"] == newer and reselected(second) == reselected(fifth) == ["t"]
    assert not reselected(fourth)
    assert third["after"] == {"id": 3, "note": "b", "t": HELD} and not reselected(third)


def test_rows_of_a_table_are_read_by_few_queries(item):
    item.create("other", ROW)
    item.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE other")
    for name in ("item", "other"):
        item.execute(f"INSERT INTO {name} SELECT i, 'a', {BIG} FROM generate_series(1, 40) i")
    with Proxy(item.database.server.port) as proxy:
        relay = through(item, proxy).start()
        relay.wait_log("STREAM_STARTED")
        relay.stop()
        reads = proxy.on(sql(READS), times=None).delay(0)
        item.execute("UPDATE item SET note = 'b'; UPDATE other SET note = 'b'")
        for number in range(1, 41):
            item.execute("UPDATE item SET note = 'c' WHERE id = %s", (number,))
        relay.start()
        changes = item.records("item", 80)
        assert all(reselected(change) == ["t"] for change in changes + item.records("other", 40))
        assert 2 <= reads.struck < 40, "one for each table of a batch, and neither for each row nor for each transaction"
        relay.stop()


def test_masks_hashes_and_cuts_apply_to_what_is_read_again(item):
    item.execute(f"ALTER TABLE item ADD hashed text, ADD cut text, ADD masked text, ADD secret text; INSERT INTO item SELECT 1, 'a', {BIG}, {BIG}, {BIG}, {BIG}, {BIG}")
    mapping = {"table": "public.item", "hash_columns": ["hashed"], "hash_salt": "salt", "truncate_columns": [{"column": "cut", "characters": 7}],
               "mask_columns": [{"column": "masked", "characters": 3}], "exclude_columns": ["secret"]}
    with Proxy(item.database.server.port) as proxy:
        secret = proxy.on(sql(READS + r"[^(]*(secret|masked)"), times=None).if_ever().cut()
        relay = through(item, proxy, mappings=[mapping]).start()
        relay.wait_log("STREAM_STARTED")
        item.execute("UPDATE item SET note = 'b'; UPDATE item SET t = 'x', hashed = hashed || '', cut = cut || '', masked = masked || ''")
        read, sent = item.records("item", 2)
        shown = ("hashed", "cut", "masked")
        assert {name: read["after"][name] for name in shown} == {name: sent["after"][name] for name in shown}
        assert len(read["after"]["hashed"]) == 64 and len(read["after"]["cut"]) == 7 and read["after"]["masked"] == "***" and "secret" not in read["after"]
        assert reselected(read) == ["t", "hashed", "cut"] and secret.struck == 0
        relay.stop()


def test_the_relay_needs_to_read_the_tables(item):
    relay = item.relay(**RESELECT)
    item.execute(f"REVOKE SELECT ON item FROM {RELAY}")
    text = outboxd("check", "-c", relay.config_path, expect=2).stdout
    assert f"role {RELAY} may not SELECT public.item, which toast = \"reselect\" needs" in text and f"GRANT SELECT ON public.item TO {RELAY};" in text
    item.execute(f"GRANT SELECT ON item TO {RELAY}; ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    text = outboxd("check", "-c", relay.config_path, expect=2).stdout
    assert "row-level security hides rows of public.item" in text and "toast = \"reselect\" would lack them" in text
    item.execute(f"ALTER TABLE item DISABLE ROW LEVEL SECURITY; INSERT INTO item VALUES (1, 'a', {BIG})")
    relay.start()
    item.execute("UPDATE item SET note = 'b'")
    item.records("item", 1)
    item.execute(f"REVOKE SELECT ON item FROM {RELAY}; UPDATE item SET note = 'c'; UPDATE item SET note = 'd'")
    relay.wait_log("RIGHT_SELECT|POSTGRES_PRIVILEGE")
    assert len(item.records("item")) == 1
    item.execute(f"GRANT SELECT ON item TO {RELAY}")
    changes = item.records("item", 3)
    assert [change["after"]["note"] for change in changes] == ["b", "c", "d"] and all(reselected(change) == ["t"] for change in changes)


def test_the_connection_that_it_reads_on_is_counted(item):
    relay = item.relay(**RESELECT)
    limit = 20
    item.execute(f'ALTER DATABASE "{item.database.name}" CONNECTION LIMIT {limit}', user=SUPERUSER)
    held = []
    with pytest.raises(psycopg2.OperationalError, match="too many connections"):
        while len(held) <= limit:
            held.append(item.database.connect())
    for _ in range(2):
        held.pop().close()
    text = outboxd("check", "-c", relay.config_path).stdout
    for connection in held:
        connection.close()
    assert f"outboxd run needs 3 connections to the database, and CONNECTION LIMIT of database {item.database.name} leaves 2" in text, text


@pytest.mark.parametrize("fault", ["keyed_rows:1:error", "keyed_rows:1:kill", "keyed_rows:2:error"])
def test_a_fault_while_rows_are_read_loses_nothing(item, fault):
    item.execute(f"INSERT INTO item SELECT i, 'a', {BIG} FROM generate_series(1, 30) i")
    relay = item.relay(**RESELECT, in_flight_events=40, batch_events=20).start()
    relay.wait_log("STREAM_STARTED")
    relay.stop()
    for note in "bcd":
        item.execute("UPDATE item SET note = %s", (note,))
    relay.start(wait_ready=False, fail_at=fault).wait_struck()
    if fault.endswith("kill"):
        relay.wait_exit()
        relay.start()
    eventually(lambda: len(item.records("item")) >= 90, 30, relay.log_tail)
    changes = item.records("item")
    assert all(reselected(change) == ["t"] for change in changes)
    for number in range(1, 31):
        notes = [change["after"]["note"] for change in changes if change.key["id"] == number]
        assert list(dict.fromkeys(notes)) == list("bcd")
    assert len(changes) == 90 or (fault.endswith("kill") and len(changes) <= 130)


def test_a_connection_that_is_lost_while_rows_are_read_repeats_nothing(item):
    item.execute(f"INSERT INTO item SELECT i, 'a', {BIG} FROM generate_series(1, 20) i")
    with Proxy(item.database.server.port) as proxy:
        relay = through(item, proxy, batch_events=10, in_flight_events=30).start()
        relay.wait_log("STREAM_STARTED")
        cut = proxy.on(answer_to(READS), nth=2).cut()
        for note in "bc":
            item.execute("UPDATE item SET note = %s", (note,))
        cut.wait()
        changes = item.records("item", 40)
        assert [(c.key["id"], c["after"]["note"]) for c in changes] == [(number, note) for note in "bc" for number in range(1, 21)]
        assert all(reselected(change) == ["t"] for change in changes)
        relay.stop()


def test_a_commit_that_nobody_sees_yet_is_waited_for(item):
    """The walsender sends it as soon as it is on disk; until a synchronous standby answers, its values cannot be read."""
    item.execute(f"INSERT INTO item VALUES (1, 'a', {BIG})")
    newer = item.database.scalar(f"SELECT {OTHER}")
    with Proxy(item.database.server.port) as proxy:
        relay = through(item, proxy, lease="30s").start()
        relay.wait_log("STREAM_STARTED")
        looks = proxy.on(answer_to("keyed_snapshot"), nth=3).alter(lambda message: None)
        with item.database.server.configured(synchronous_standby_names="nobody"):
            writer = threading.Thread(target=item.execute, args=(f"BEGIN; UPDATE item SET t = {OTHER}; UPDATE item SET note = 'b'; COMMIT",))
            writer.start()
            looks.wait()
            assert item.records("item") == []
        writer.join()
        sent, read = item.records("item", 2)
        assert sent["after"] == {"id": 1, "note": "a", "t": newer} and read["after"] == {"id": 1, "note": "b", "t": newer}
        assert reselected(read) == ["t"]
        relay.stop()


def test_tables_and_columns_that_are_others_by_now(item):
    for name in ("renamed", "gone", "swapped", "dropped", "retyped"):
        item.create(name, ROW)
        item.execute(f"ALTER PUBLICATION outboxd_catalog ADD TABLE {name}")
    for name in item.names:
        item.execute(f"INSERT INTO {name} VALUES (1, 'a', {BIG})")
    relay = item.relay(**RESELECT).start()
    relay.wait_log("STREAM_STARTED")
    relay.stop()
    for name in item.names:
        item.execute(f"UPDATE {name} SET note = 'b'")
    item.execute("ALTER TABLE renamed RENAME TO called; DROP TABLE gone; ALTER TABLE dropped DROP COLUMN t; ALTER TABLE retyped ALTER t TYPE int USING 7")
    item.execute(f"ALTER TABLE swapped RENAME TO away; CREATE TABLE swapped ({ROW}); INSERT INTO swapped VALUES (1, 'x', 'another'); GRANT SELECT ON swapped TO {RELAY}")
    item.execute("UPDATE item SET note = 'c'")
    relay.start(wait_ready=False)
    big = item.database.scalar(f"SELECT {BIG}")
    for name in ("item", "renamed", "swapped"):
        assert item.records(name, 1)[0]["after"] == {"id": 1, "note": "b", "t": big}, name
    for name in ("gone", "dropped", "retyped"):
        change = item.records(name, 1)[0]
        assert change["after"] == {"id": 1, "note": "b", "t": HELD} and not reselected(change), name
    assert item.records("item", 2)[1]["after"]["note"] == "c"


def test_rows_of_partitions_and_of_odd_keys(tables):
    execute = tables.database.execute
    execute("CREATE DOMAIN code AS text CHECK (length(VALUE) < 20); CREATE TYPE mood AS ENUM ('so so', 'it''s')")
    tables.create("parted", "a int, note text, t text, PRIMARY KEY (a)) PARTITION BY RANGE (a", "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)",
                  "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)")
    tables.create("odd", "\"Kü y\" code, b char(4), c mood, d timestamptz, e numeric(8, 3), f bytea, g float8, note text, t text, PRIMARY KEY (\"Kü y\", b, c, d, e, f, g)")
    tables.create("indexed", "id int PRIMARY KEY, other bigint NOT NULL, note text, t text",
                  "CREATE UNIQUE INDEX indexed_other ON indexed (other)", "ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_other")
    tables.create("child_of", ROW)
    tables.publish("parted", "odd", "indexed", "ONLY child_of")
    execute(f"CREATE TABLE child () INHERITS (child_of); INSERT INTO child_of VALUES (1, 'a', {BIG}); INSERT INTO child VALUES (1, 'child', 'small')")
    execute(f"INSERT INTO parted VALUES (1, 'a', {BIG}), (11, 'a', {OTHER}); INSERT INTO indexed VALUES (1, 1 << 40, 'a', {BIG})")
    execute(f"INSERT INTO odd VALUES (E'it''s\\\\ \\t', 'ab', 'it''s', '2024-02-29 12:00:00.000001+02', 1.5, '\\x5c00', 0.1, 'a', {BIG})")
    tables.relay([{"table": f"public.{name}"} for name in tables.names], **RESELECT).start().wait_log("STREAM_STARTED")
    for name in tables.names:
        execute(f"UPDATE {'ONLY ' if name == 'child_of' else ''}{name} SET note = 'b'")
    big, other = tables.database.execute(f"SELECT {BIG}, {OTHER}")[0]
    for name, expected in (("parted", [big, other]), ("odd", [big]), ("indexed", [big]), ("child_of", [big])):
        changes = tables.records(name, len(expected))
        assert [change["after"]["t"] for change in changes] == expected, name
        assert all(reselected(change) == ["t"] for change in changes)


def test_keys_of_types_that_pg_catalog_does_not_compare(tables):
    """By the equality of their own schema, which their index has: a citext is found by its index, too."""
    execute = tables.database.execute
    execute("CREATE EXTENSION citext; CREATE EXTENSION ltree")
    for name, kind in (("by_path", "ltree"), ("by_name", "citext")):
        tables.create(name, f"k {kind} PRIMARY KEY, note text, t text", f"INSERT INTO {name} VALUES ('Top.a', 'a', {BIG})")
    tables.publish()
    with Proxy(tables.database.server.port) as proxy:
        by_index = proxy.on(sql(r"t\.k OPERATOR\(public\.=\) k\.k0"), times=None).delay(0)
        relay = through(tables, proxy).start()
        relay.wait_log("STREAM_STARTED")
        for name in tables.names:
            execute(f"UPDATE {name} SET note = 'b'")
            change, = tables.records(name, 1)
            assert change["after"]["note"] == "b" and reselected(change) == ["t"], relay.log_tail()
        assert by_index.struck == 2
        relay.stop()


def test_a_table_that_somebody_locks_is_waited_for(item):
    item.execute(f"INSERT INTO item VALUES (1, 'a', {BIG})")
    relay = item.relay(**RESELECT).start()
    relay.wait_log("STREAM_STARTED")
    relay.stop()
    item.execute("UPDATE item SET note = 'b'")
    with item.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        relay.start(wait_ready=False)
        waits = "SELECT count(*) FROM pg_locks WHERE relation = 'item'::regclass AND NOT granted"
        eventually(lambda: item.database.scalar(waits) == 1, what="the relay waits for the lock")
        assert item.records("item") == []
    assert reselected(item.records("item", 1)[0]) == ["t"]


def test_rows_that_are_damaged_leave_placeholders_and_the_log_says_why(item):
    item.execute(f"INSERT INTO item VALUES (1, 'a', {BIG}), (2, 'a', 'small')")
    relay = item.relay(**RESELECT).start()
    relay.wait_log("STREAM_STARTED")
    relay.stop()
    item.execute("UPDATE item SET note = 'b' WHERE id = 1")
    toast = item.database.scalar("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'item'::regclass")
    item.execute(f"CREATE EXTENSION pg_surgery; SELECT heap_force_kill('{toast}', ARRAY(SELECT ctid FROM {toast}))", user=SUPERUSER)
    relay.start()
    item.execute("UPDATE item SET note = 'c' WHERE id = 2")
    damaged, other = item.records("item", 2)
    assert damaged["after"] == {"id": 1, "note": "b", "t": HELD} and not reselected(damaged)
    assert other["after"] == {"id": 2, "note": "c", "t": "small"}
    assert "missing chunk" in relay.wait_log("code=RESELECT_UNREAD.*public.item")[0]


def test_a_value_that_nothing_stands_for(tables):
    """A large numeric that may not be NULL has no placeholder."""
    number = "(SELECT string_agg((1 + random() * 8)::int::text, '')::numeric FROM generate_series(1, 9000) g)"
    tables.create("item", "id int PRIMARY KEY, note text, m numeric NOT NULL")
    tables.publish()
    tables.database.execute(f"ALTER TABLE item ALTER m SET STORAGE EXTERNAL; INSERT INTO item VALUES (1, 'a', {number}), (2, 'a', {number})")
    relay = tables.relay(on_poison="dead_letter", transaction_topic=True, decimal="string", **RESELECT)
    tables.kafka.create_topic(f"{tables.prefix}.transaction")
    relay.start().wait_log("STREAM_STARTED")
    relay.stop()
    tables.database.execute("UPDATE item SET note = 'b'; DELETE FROM item WHERE id = 2")
    relay.start()
    change = tables.records("item", 3)[0]
    assert change["after"]["m"] == str(tables.database.scalar("SELECT m FROM item")) and change["transaction"]["total_order"] == 1
    letter, = eventually(lambda: tables.database.execute("SELECT error_code, reason FROM outbox.dead_letter"), 20, relay.log_tail)
    assert letter[0] == "CHANGE_UNREADABLE" and "'m'" in letter[1]


def test_its_connection_that_is_lost_between_two_reads_is_opened_again(item):
    """An administrator, a firewall or idle_session_timeout may end it while nothing is read."""
    relay = item.relay(**RESELECT).start()
    idle = "state = 'idle' AND datname = current_database() AND query LIKE 'COPY (SELECT k.n%'"
    item.execute(f"INSERT INTO item VALUES (1, 'a', {BIG})")
    for n in range(1, 4):
        item.execute(f"UPDATE item SET note = '{n}'")
        changes = item.records("item", n + 1)
        assert changes[n]["after"] == {**changes[0]["after"], "note": str(n)} and reselected(changes[n]) == ["t"]
        pid = eventually(lambda: item.database.scalar(f"SELECT min(pid) FROM pg_stat_activity WHERE {idle}", user=SUPERUSER), 20, relay.log_tail)
        item.database.execute(f"SELECT pg_terminate_backend({pid})", user=SUPERUSER)
        eventually(lambda: not item.database.scalar(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}", user=SUPERUSER), 20, "it has ended")
    assert relay.running() and len(relay.log_lines("code=STARTING")) == 1
