"""Heartbeats, transactions, logical messages and metrics of capture = "tables" (rows 85 to 92 of tests/TABLES.md)."""

import base64


from support.common import eventually
from support.tables import SLOT
from support.wal import Wal

ITEM = "id int PRIMARY KEY, name text, note text"
NEVER = {"snapshot": "never"}


def test_heartbeats_come_while_only_others_write_and_behind_what_was_sent(tables):
    tables.create("item", ITEM)
    tables.create("other", ITEM, topic=False)
    tables.publish("item")
    topic = tables.kafka.create_topic(f"__debezium-heartbeat.{tables.prefix}")
    relay = tables.relay([{"table": "public.item"}], heartbeat_interval="100ms", **NEVER).start()
    wal = Wal(tables.database, "unused")
    for number in range(3):
        seen = len(tables.records(topic))
        tables.database.execute(f"INSERT INTO other VALUES ({number}, 'x'); CREATE TABLE ddl_{number} (a int)")
        tables.records(topic, seen + 2)
        wal.wait_confirmed(name=SLOT)
    beats = tables.records(topic)
    assert {change.key["serverName"] for change in beats} == {tables.prefix} and not any(change.header_names for change in beats)
    times = [change["ts_ms"] for change in beats]
    assert times == sorted(times)
    relay.stop()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    relay.start()
    assert len(tables.records("item", 1)) == 1
    assert "item" not in tables.database.scalar("SELECT coalesce(string_agg(reason, ' '), '') FROM outbox.dead_letter")


def test_transactions_tell_begin_counts_and_end(tables):
    for name in ("a", "b", "quiet"):
        tables.create(name, ITEM)
    tables.publish()
    topic = tables.kafka.create_topic(f"{tables.prefix}.transaction")
    tables.relay([{"table": "public.a"}, {"table": "public.b", "operations": "cudt"}], transaction_topic=True, **NEVER).start()
    execute = tables.database.execute
    execute("INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'x'); UPDATE a SET id = 2; DELETE FROM a; TRUNCATE b")
    execute("INSERT INTO quiet VALUES (1, 'nobody wants it')")
    execute("INSERT INTO b VALUES (2, 'y')")
    begin, end, second, last = tables.records(topic, 4)
    a, b = tables.records("a", 6), tables.records("b", 3)
    assert [change["status"] for change in (begin, end, second, last)] == ["BEGIN", "END"] * 2
    counts = {one["data_collection"]: one["event_count"] for one in end["data_collections"]}
    assert end["event_count"] == 6 and counts == {"public.a": 4, "public.b": 2}
    assert begin.key == {"id": begin["id"]} and begin["event_count"] is None and begin["data_collections"] is None
    xid = str(a[0]["source"]["txId"])
    assert {change["id"].split(":")[0] for change in (begin, end)} == {xid} and begin["ts_ms"] == end["ts_ms"] == a[0]["source"]["ts_ms"]
    blocks = [(c["op"], c["transaction"]["total_order"], c["transaction"]["data_collection_order"]) for c in a + b[:2] if not c.tombstone]
    assert blocks == [("c", 1, 1), ("d", 3, 2), ("c", 4, 3), ("d", 5, 4), ("c", 2, 1), ("t", 6, 2)]
    assert all(c["transaction"]["id"] == f"{xid}:{c['source']['lsn']}" for c in a + b[:2] if not c.tombstone)
    assert b[2]["transaction"]["total_order"] == 1 and last["event_count"] == 1 and len(tables.records(topic)) == 4


def test_logical_messages_are_records_of_their_own_topic(tables):
    tables.create("item", ITEM)
    tables.publish()
    topic = tables.kafka.create_topic(f"{tables.prefix}.message")
    relay = tables.relay(messages=True, **NEVER).start()
    execute = tables.database.execute
    execute("INSERT INTO item VALUES (1, 'a'); SELECT pg_logical_emit_message(true, 'foo', 'bar')")
    execute("SELECT pg_logical_emit_message(false, 'alone', '\\x00ff'::bytea)")
    execute("SELECT outbox.set_context('c-1', wal => true); SELECT pg_logical_emit_message(true, '', '')")
    first, second, third = tables.records(topic, 3)
    assert [change.key for change in (first, second, third)] == [{"prefix": "foo"}, {"prefix": "alone"}, {"prefix": ""}]
    assert [base64.b64decode(change["message"]["content"]) for change in (first, second, third)] == [b"bar", b"\x00\xff", b""]
    assert list(first) == ["op", "ts_ms", "source", "transaction", "message"] and first["op"] == "m" and not first.header_names
    item, = tables.records("item", 1)
    assert first["source"]["txId"] == item["source"]["txId"] and second["source"]["txId"] is None
    assert first["source"]["schema"] == first["source"]["table"] == ""
    Wal(tables.database, "unused").wait_confirmed(name=SLOT)
    relay.kill()
    relay.start()
    execute("INSERT INTO item VALUES (2, 'b')")
    assert len(tables.records("item", 2)) == 2
    assert sum(change.key["prefix"] != "test" for change in tables.records(topic)) == 3, "what was confirmed is not sent again"


def test_metrics_and_status_tell_what_it_does(tables):
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(**NEVER).start()
    tables.database.execute("INSERT INTO item SELECT g, 'x' FROM generate_series(1, 50) g")
    tables.records("item", 50)
    eventually(lambda: relay.metric("events_published_total") == 50, 10, "50 are counted")
    assert relay.metric("leader") == 1 and relay.metric("events_replayed_total") == 0
    pipeline, = relay.status()["pipelines"]
    assert pipeline["name"] == "catalog" and pipeline["capture"] == "tables", pipeline
    Wal(tables.database, "unused").wait_confirmed(name=SLOT)
    eventually(lambda: relay.metric("window_events") == 0, 10, "nothing is in flight")


def test_beats_whose_topic_is_missing_do_not_pile_up(tables):
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(heartbeat_interval="20ms", **NEVER).start()
    relay.wait_log("KAFKA_TOPIC_UNKNOWN.*heartbeat")
    for number in range(1, 31):     # each takes longer than an interval
        tables.database.execute(f"INSERT INTO item VALUES ({number}, 'a')")
        tables.records("item", number)
    eventually(lambda: relay.metric("events_published_total") == 30, 10, "30 are counted")
    assert relay.metric("window_events") <= 31     # the rows stay out behind one beat
    topic = tables.kafka.create_topic(f"__debezium-heartbeat.{tables.prefix}")
    tables.records(topic, 3)


def test_a_missing_topic_of_heartbeats_does_not_hold_the_slot(tables):
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(heartbeat_interval="50ms", **NEVER).start()
    relay.wait_log("KAFKA_TOPIC_UNKNOWN.*heartbeat")
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)
    Wal(tables.database, "unused").wait_confirmed(name=SLOT, timeout=10)
