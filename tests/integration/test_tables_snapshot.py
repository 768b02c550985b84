"""The first snapshot of capture = "tables": rows that were there before the stream, and what meets it."""

import threading

import pytest

from support.common import eventually
from support.postgres import RELAY, SUPERUSER

ITEM = "id int PRIMARY KEY, name text, note text"
CHUNK = 16 << 20    # bytes of a table that are read at once (SNAPSHOT_CHUNK_BLOCKS)


def rows(changes):
    return [change for change in changes if change.get("op") == "r"]


def markers(changes):
    return [change["source"]["snapshot"] for change in rows(changes)]


def test_rows_come_first_with_debezium_s_markers_and_the_stream_follows(tables):
    for name in ("a", "b", "c", "d"):
        tables.create(name, ITEM)
    tables.database.execute("INSERT INTO a SELECT i, 'a' FROM generate_series(1, 3) i; INSERT INTO c VALUES (7, 'one', NULL)")
    tables.database.execute("INSERT INTO d SELECT i, 'd' FROM generate_series(1, 4) i")
    tables.publish()
    relay = tables.relay().start()
    first = tables.records("a", 3)
    assert markers(first) == ["first", "true", "last_in_data_collection"]
    assert markers(tables.records("c", 1)) == ["last_in_data_collection"]
    last = tables.records("d", 4)
    assert markers(last) == ["first_in_data_collection", "true", "true", "last"]
    assert tables.records("b") == []
    sources = [change["source"] for change in first + last]
    assert len({(source["lsn"], source["txId"], source["ts_us"]) for source in sources}) == 1
    assert sources[0]["sequence"] == f'[null,"{sources[0]["lsn"]}"]' and sources[0]["xmin"] is None
    assert first[0]["before"] is None and first[0]["after"] == {"id": 1, "name": "a", "note": None} and first[0]["transaction"] is None
    assert first[0].key == {"id": 1}
    relay.wait_log("STREAM_STARTED")
    tables.database.execute("INSERT INTO b VALUES (1, 'new'); DELETE FROM a WHERE id = 2")
    assert [change["op"] for change in tables.records("b", 1)] == ["c"]
    assert tables.records("a", 5)[3]["op"] == "d"


TYPES = {
    "smallint": "-32768", "bigint": "9223372036854775807", "boolean": "true", "real": "1.5", "double precision": "-0.1", "numeric": "'123.4500'",
    "numeric(10,2)": "-7.25", "money": "12.34", "text": "E'tab\\t line\\n back\\\\ quote\" \\u00e9\\U0001F600'", "varchar(20)": "''", "char(5)": "'ab'",
    "bytea": "'\\x00ff5c0a'", "date": "'2024-02-29'", "time": "'12:34:56.789012'", "timetz": "'12:34:56+02'", "timestamp": "'1582-10-04 01:02:03.4'",
    "timestamptz": "'2024-02-29 12:00:00.123456+02'", "interval": "'1 year 2 mons 3 days 04:05:06.7'", "uuid": "'00000000-0000-0000-0000-000000000001'",
    "json": "'{\"a\": [1, null]}'", "jsonb": "'{\"a\": \"\\\\n\"}'", "xml": "'<a/>'", "inet": "'10.0.0.1/24'", "cidr": "'10.0.0.0/8'",
    "macaddr": "'08:00:2b:01:02:03'", "bit(3)": "'101'", "varbit": "'1'", "point": "'(1,2)'", "int4range": "'[1,5)'", "tstzrange": "'[2020-01-01,)'",
    "int[]": "'{1,NULL,3}'", "text[]": "'{a,\"b,c\",NULL,\"\\\\N\"}'", "numeric[]": "'{1.10}'", "timestamptz[]": "'{2020-01-01 00:00:00+00}'",
    "oid": "42", "mood": "'so so'", "positive": "5",
}


def test_a_row_of_the_snapshot_says_what_the_stream_says_of_it(tables):
    database = tables.database
    database.execute("CREATE TYPE mood AS ENUM ('bad', 'so so', 'good'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(TYPES))
    tables.create("typed", f"id int PRIMARY KEY, {columns}, doubled int GENERATED ALWAYS AS (id * 2) STORED")
    database.execute(f"INSERT INTO typed VALUES (1, {', '.join(TYPES.values())}), (2{', NULL' * len(TYPES)})")
    database.execute("INSERT INTO typed (id, c16, c20) VALUES (3, 'infinity', '-infinity')".replace("c16", f"c{list(TYPES).index('date')}")
                     .replace("c20", f"c{list(TYPES).index('timestamptz')}"))
    tables.publish()
    tables.relay().start().wait_log("STREAM_STARTED")
    database.execute("UPDATE typed SET id = id")
    changes = tables.records("typed", 6)
    assert [change["op"] for change in changes] == ["r"] * 3 + ["u"] * 3
    for read, updated in zip(changes[:3], changes[3:]):
        assert read["after"] == updated["after"] and list(read["after"]) == list(updated["after"])
        assert read.key == updated.key


@pytest.mark.parametrize("workers", [1, 3])
def test_writers_during_the_snapshot_leave_the_topic_with_what_the_table_has(tables, workers):
    """A row to a page and some 40 MB of pages: three chunks."""
    count = 5000
    tables.create("item", ITEM, "ALTER TABLE item SET (fillfactor = 10)")
    tables.create("other", ITEM)
    tables.database.execute(f"INSERT INTO item SELECT i, 'old', repeat('x', 700) FROM generate_series(1, {count}) i")
    assert tables.database.scalar("SELECT pg_relation_size('item')") > 2 * CHUNK
    tables.database.execute("INSERT INTO other SELECT i, 'old', NULL FROM generate_series(1, 500) i")
    tables.publish()
    over, turn = threading.Event(), 0

    def write():
        nonlocal turn
        cursor = tables.database.connect().cursor()
        while not over.wait(0.002):
            turn += 1
            cursor.execute(
                f"UPDATE item SET name = 'new', note = repeat('y', 700) WHERE id BETWEEN {turn * 7} AND {turn * 7 + 2}; "
                f"DELETE FROM item WHERE id = {count - turn}; INSERT INTO item VALUES ({2 * count + turn}, 'new', NULL); "
                f"DELETE FROM other WHERE id = {turn}")
        cursor.connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        relay = tables.relay(snapshot_workers=workers)
        eventually(lambda: turn > 0, what="it writes")
        relay.start(wait_ready=False).wait_log("code=SNAPSHOT_STARTED")
        before = turn
        relay.wait_log("STREAM_STARTED", 60)
        assert turn > before, "nothing was written during the snapshot"
    finally:
        over.set()
        writer.join()
    marks = markers(tables.wait_state("item", 60)) + markers(tables.wait_state("other"))
    assert marks.count("first") == marks.count("last") == 1
    assert not relay.log_lines("SNAPSHOT_TABLE_CHANGED")
    assert relay.status()["pipelines"][0]["snapshot"]["state"] == "complete"


@pytest.mark.parametrize("point", ["snapshot_chunk:2:kill", "snapshot_end:1:kill"])
def test_a_kill_in_the_snapshot_costs_the_tables_alone_that_were_not_done(tables, point):
    for name in ("a", "b"):
        tables.create(name, ITEM)
        tables.database.execute(f"INSERT INTO {name} SELECT i, 'old', NULL FROM generate_series(1, 50) i")
    tables.publish()
    relay = tables.relay()
    relay.start(wait_ready=False, fail_at=point).wait_struck()
    slot = tables.database.execute("SELECT restart_lsn, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'outboxd_catalog'")
    assert len(slot) == 1
    tables.database.execute("DELETE FROM a WHERE id <= 10; DELETE FROM b WHERE id <= 10; UPDATE b SET name = 'new' WHERE id = 11")
    done = {name for name, in tables.database.execute("SELECT table_name FROM outbox.captured_table")}
    relay.start().wait_log("STREAM_STARTED", 30)
    for name in ("a", "b"):
        tables.wait_state(name)
        if name in done:
            assert len(rows(tables.records(name))) == 50
    assert {name for name, in tables.database.execute("SELECT table_name FROM outbox.captured_table")} == {"a", "b"}
    if point.startswith("snapshot_end"):
        assert done == {"a", "b"}


def test_a_rest_that_is_empty_by_then_ends_the_snapshot_without_a_last_row(tables):
    """The last row was published before the kill, as that of its table: to mark one as the last would be to send it again."""
    tables.create("a", ITEM)
    tables.create("b", ITEM, topic=False)
    for name in ("a", "b"):
        tables.database.execute(f"INSERT INTO {name} SELECT i, 'old', NULL FROM generate_series(1, 3) i")
    tables.publish()
    relay = tables.relay()
    relay.start(wait_ready=False)
    eventually(lambda: tables.database.execute("SELECT table_name FROM outbox.captured_table") == [("a",)], 20, relay.log_tail)
    relay.kill()
    tables.database.execute("DELETE FROM b")
    tables.kafka.create_topic(tables.topic("b"))
    relay.start().wait_log("STREAM_STARTED", 30)
    assert [change["op"] for change in tables.records("b", 6) if not change.tombstone] == ["d"] * 3
    assert markers(tables.records("a")) == ["first", "true", "last_in_data_collection"]
    assert relay.log_lines("code=SNAPSHOT_COMPLETE") and relay.status()["pipelines"][0]["snapshot"]["state"] == "complete"


def test_metrics_show_how_far_it_is(tables):
    """The topic of b is missing, so the snapshot stays where it is."""
    tables.create("a", ITEM)
    tables.create("b", ITEM, topic=False)
    for name, count in (("a", 3), ("b", 5)):
        tables.database.execute(f"INSERT INTO {name} SELECT i, 'old', NULL FROM generate_series(1, {count}) i")
    tables.database.execute("ANALYZE a; ANALYZE b")
    tables.publish()
    relay = tables.relay()
    relay.start(wait_ready=False)
    names = ("running", "tables", "tables_published", "rows", "rows_expected", "done_ratio")
    eventually(lambda: [relay.metric(f"snapshot_{name}") for name in names] == [1, 2, 1, 8, 8, 1], 20, relay.log_tail)
    assert [relay.metric("snapshot_table_rows", table=f"public.{name}") for name in ("a", "b")] == [3, 5]
    assert [relay.metric("snapshot_table_published", table=f"public.{name}") for name in ("a", "b")] == [1, 0]
    bytes_of = [relay.metric("snapshot_table_bytes", table=f"public.{name}") for name in ("a", "b")]
    assert 0 < bytes_of[0] < bytes_of[1] and relay.metric("snapshot_bytes") == sum(bytes_of)
    assert relay.metrics().has("outboxd_snapshot_retained_wal_bytes") and relay.metric("snapshot_duration_seconds") > 0
    tables.kafka.create_topic(tables.topic("b"))
    relay.wait_log("STREAM_STARTED", 30)
    assert [relay.metric(f"snapshot_{name}") for name in ("running", "tables_published", "seconds_left")] == [0, 2, 0]
    assert not relay.metrics().has("outboxd_snapshot_retained_wal_bytes")
    relay.stop()
    relay.start()
    assert relay.metric("snapshot_running") == 0 and not relay.metrics().has("outboxd_snapshot_table_rows")


def test_metrics_of_a_table_that_is_dropped_go_with_it(tables):
    """With another connection, the snapshot is planned anew without it; the topic of c is missing, so that it does not end."""
    for name, count in (("a", 3), ("b", 5), ("c", 7)):
        tables.create(name, ITEM, f"INSERT INTO {name} SELECT i, 'old', NULL FROM generate_series(1, {count}) i", topic=name != "c")
    tables.publish()
    relay = tables.relay()
    relay.start(wait_ready=False)
    eventually(lambda: relay.metric("snapshot_tables_published") == 2, 20, relay.log_tail)
    tables.database.execute("DROP TABLE a")
    tables.database.terminate_backends()
    eventually(lambda: relay.metric("snapshot_tables") == 2, 20, relay.log_tail)
    eventually(lambda: relay.metric("snapshot_table_rows", table="public.c") == 7, 20, relay.log_tail)
    shown = {dict(labels)["table"]: rows for (name, labels), rows in relay.metrics().items() if name == "outboxd_snapshot_table_rows"}
    assert set(shown) == {"public.b", "public.c"} and shown["public.c"] == 7


@pytest.mark.own_broker
@pytest.mark.parametrize("workers", [1, 3])
def test_a_connection_lost_while_rows_are_in_flight_records_no_table_before_its_rows(tables, kafka, workers):
    """What was in flight then comes back while the tables are read anew: it must not count for these."""
    names = ("a", "b", "c")
    for name in names:
        tables.create(name, ITEM)
        tables.database.execute(f"INSERT INTO {name} SELECT i, 'old', repeat('x', 100) FROM generate_series(1, 2000) i")
    tables.publish()
    relay = tables.relay(snapshot_workers=workers, in_flight_events=400, batch_events=50)
    with kafka.away():
        relay.start(wait_ready=False)
        eventually(lambda: relay.metric("inflight_events") > 0, 30, relay.log_tail)
        assert tables.database.terminate_backends() >= 1
        eventually(lambda: relay.log_lines("POSTGRES_"), 20, relay.log_tail)
    done = eventually(lambda: tables.database.execute("SELECT table_name, rows FROM outbox.captured_table"), 30, relay.log_tail)
    relay.kill()
    assert done
    for name, count in done:
        assert count == 2000 == len(tables.state(name))
    relay.start().wait_log("STREAM_STARTED", 30)
    for name in names:
        tables.wait_state(name)


@pytest.mark.parametrize("statement, changed", [
    ("TRUNCATE b", True), ("VACUUM FULL b", True), ("ALTER TABLE b ALTER id TYPE bigint", True), ("ALTER TABLE b DROP COLUMN note", True),
    ("ALTER TABLE b ADD COLUMN size int DEFAULT 3", True), ("VACUUM b", False)])
def test_a_table_that_is_another_one_by_now_is_read_again(tables, statement, changed):
    """The topic of the first table is missing, and with it the room for the second one: nothing of that is read before the statement."""
    tables.create("a", ITEM, topic=False)
    tables.create("b", ITEM)
    tables.database.execute("INSERT INTO a SELECT i, 'a', NULL FROM generate_series(1, 200) i; INSERT INTO b SELECT i, 'b', NULL FROM generate_series(1, 20) i")
    tables.publish()
    relay = tables.relay(in_flight_events=100, batch_events=10)
    relay.start(wait_ready=False)
    relay.wait_log("WAITING_EVENTS_FULL")
    tables.database.execute(statement)
    tables.kafka.create_topic(tables.topic("a"))
    relay.wait_log("STREAM_STARTED", 60)
    assert bool(relay.log_lines("SNAPSHOT_TABLE_CHANGED.*public.b")) == changed
    tables.wait_state("a")
    tables.wait_state("b")
    marks = markers(tables.records("a")) + markers(tables.records("b"))
    assert marks.count("last") == 1


def test_partitions_come_under_the_name_of_their_root(tables):
    tables.create("m", "id int, kind text, note text, PRIMARY KEY (kind, id)) PARTITION BY LIST (kind", topic=False)
    tables.database.execute("CREATE TABLE m_a PARTITION OF m FOR VALUES IN ('a')")
    tables.database.execute("CREATE TABLE m_b (note text, kind text NOT NULL, id int NOT NULL)")  # columns in another order
    tables.database.execute("ALTER TABLE m ATTACH PARTITION m_b FOR VALUES IN ('b')")
    tables.database.execute("INSERT INTO m VALUES (1, 'a', 'x'), (2, 'b', 'y')")
    tables.kafka.create_topic(tables.topic("m"))
    tables.publish("m")
    tables.relay().start().wait_log("STREAM_STARTED")
    assert [change["after"] for change in tables.records("m", 2)] == [{"id": 1, "kind": "a", "note": "x"}, {"id": 2, "kind": "b", "note": "y"}]
    assert markers(tables.records("m")) == ["first", "last"]


def test_what_inherits_is_a_table_of_its_own(tables):
    tables.create("p", ITEM)
    tables.database.execute("CREATE TABLE q () INHERITS (p); ALTER TABLE q ADD PRIMARY KEY (id); GRANT SELECT ON q TO " + RELAY)
    tables.names.append("q")
    tables.kafka.create_topic(tables.topic("q"))
    tables.database.execute("INSERT INTO p VALUES (1, 'p'); INSERT INTO q VALUES (2, 'q')")
    tables.publish()
    tables.relay().start().wait_log("STREAM_STARTED")
    assert [change["after"]["id"] for change in tables.records("p", 1) + tables.records("q", 1)] == [1, 2]


def test_an_empty_database_goes_on_at_once(tables):
    tables.create("a", ITEM)
    tables.publish()
    tables.relay().start().wait_log("STREAM_STARTED")
    tables.database.execute("INSERT INTO a VALUES (1, 'x')")
    assert [change["op"] for change in tables.records("a", 1)] == ["c"]


def test_the_snapshot_alone_ends_with_exit_code_0_and_without_a_slot(tables):
    tables.create("a", ITEM)
    tables.database.execute("INSERT INTO a VALUES (1, 'x')")
    tables.publish()
    relay = tables.relay(snapshot="initial_only")
    for _ in range(2):
        relay.start(wait_ready=False)
        assert relay.wait_exit(30) == 0
        relay.wait_log("SNAPSHOT_ONLY")
    assert len(tables.records("a")) == 1
    assert tables.database.execute("SELECT FROM pg_replication_slots WHERE slot_name = 'outboxd_catalog'") == []


@pytest.mark.parametrize("mode, code", [("when_needed", None), ("initial", 4)])
def test_a_lost_slot_is_a_new_snapshot_where_that_was_agreed_to(tables, mode, code):
    tables.create("a", ITEM)
    tables.database.execute("INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    tables.publish()
    relay = tables.relay(snapshot=mode)
    relay.start().wait_log("STREAM_STARTED")
    relay.stop()
    # The walsender of a relay that has ended may still be there for a moment.
    eventually(lambda: tables.database.scalar("SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'outboxd_catalog'", user=SUPERUSER),
               what="nobody reads the slot")
    tables.database.execute("SELECT pg_drop_replication_slot('outboxd_catalog')", user=SUPERUSER)
    tables.database.execute("DELETE FROM a WHERE id = 1")
    relay.start(wait_ready=False)
    if code is not None:
        assert relay.wait_exit(30) == code
        return
    assert "deletes" in relay.wait_log("GAP_ACCEPTED")[0]
    eventually(lambda: len(relay.log_lines("STREAM_STARTED")) == 2, 20, relay.log_tail)
    assert [change["after"]["id"] for change in tables.records("a", 3)] == [1, 2, 2]


def test_who_keeps_the_slot_from_being_made_is_named(tables):
    tables.create("a", ITEM)
    tables.publish()
    with tables.database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO a VALUES (1, 'x'); SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        relay = tables.relay().start(wait_ready=False)
        assert f"process {pid} of user" in relay.wait_log("SLOT_UNFINISHED", 10)[0]
        connection.commit()
    relay.wait_log("STREAM_STARTED")
    assert [change["op"] for change in tables.records("a", 1)] == ["r"]
