"""Ordinary tables as a stream (capture = "tables"): what their changes become, beside what PostgreSQL's tables say."""

import json
import re

from support.common import eventually
from support.relay import outboxd
from support.tables import SLOT
from support.wal import Wal

ITEM = "id int PRIMARY KEY, name text NOT NULL, price numeric(8,2) DEFAULT 1.50, note text"


def ops(changes):
    return ["-" if change.tombstone else change["op"] for change in changes]


def test_each_change_is_a_record_of_its_key(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (1, 'cup', 2.25, NULL)")
    tables.database.execute("UPDATE item SET name = 'mug' WHERE id = 1")
    tables.database.execute("DELETE FROM item WHERE id = 1")
    created, updated, deleted, tombstone = tables.records("item", 4)
    assert ops([created, updated, deleted, tombstone]) == ["c", "u", "d", "-"]
    assert [change.key for change in (created, updated, deleted, tombstone)] == [{"id": 1}] * 4
    assert created["before"] is None and created["after"] == {"id": 1, "name": "cup", "price": "AOE=", "note": None}
    assert updated["before"] is None and updated["after"]["name"] == "mug"
    assert deleted["before"] == {"id": 1, "name": "", "price": "AJY=", "note": None} and deleted["after"] is None
    source = created["source"]
    assert (source["version"], source["connector"], source["name"]) == ("3.6.1.Final", "postgresql", tables.prefix)
    assert (source["db"], source["schema"], source["table"], source["snapshot"]) == (tables.database.name, "public", "item", "false")
    assert list(created) == ["before", "after", "source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"]
    assert created.header_names == [f"__debezium.context.{name}" for name in ("connectorLogicalName", "taskId", "connectorName", "runId")]
    assert created.headers == tombstone.headers and created.headers["__debezium.context.connectorLogicalName"] == tables.prefix


def test_a_key_that_changes_is_a_delete_and_a_create(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (1, 'cup')")
    tables.database.execute("UPDATE item SET id = 2 WHERE id = 1")
    _, deleted, tombstone, created = tables.records("item", 4)
    assert ops([deleted, tombstone, created]) == ["d", "-", "c"]
    assert [change.key["id"] for change in (deleted, tombstone, created)] == [1, 1, 2]
    assert deleted.headers["__debezium.newkey"] == '{"id":2}' and created.headers["__debezium.oldkey"] == '{"id":1}'
    assert tombstone.header_names[0] == "__debezium.newkey"


def test_rolled_back_changes_are_none(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.relay(snapshot="never").start()
    with tables.database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (1, 'kept'); SAVEPOINT a; INSERT INTO item VALUES (2, 'gone'); ROLLBACK TO a")
        cursor.execute("INSERT INTO item VALUES (3, 'kept')")
        connection.commit()
        cursor.execute("INSERT INTO item VALUES (4, 'gone')")
        connection.rollback()
    tables.database.execute("INSERT INTO item VALUES (5, 'kept')")
    assert [change["after"]["id"] for change in tables.records("item", 3)] == [1, 3, 5]


def test_truncate_is_left_out_unless_it_is_asked_for(tables):
    tables.create("quiet", ITEM)
    tables.create("loud", ITEM)
    tables.publish()
    tables.relay([{"table": "public.quiet"}, {"table": "public.loud", "operations": "cudt"}], snapshot="never").start()
    tables.database.execute("INSERT INTO quiet VALUES (1, 'a'); INSERT INTO loud VALUES (1, 'a')")
    tables.database.execute("TRUNCATE quiet, loud")
    tables.database.execute("INSERT INTO quiet VALUES (2, 'b'); INSERT INTO loud VALUES (2, 'b')")
    assert ops(tables.records("quiet", 2)) == ["c", "c"]
    loud = tables.records("loud", 3)
    assert ops(loud) == ["c", "t", "c"] and loud[1].key is None and loud[1]["after"] is None


def test_columns_come_and_go_while_it_runs(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.relay(snapshot="never").start()
    for sql in ("INSERT INTO item VALUES (1, 'a')", "ALTER TABLE item ADD COLUMN size int DEFAULT 7", "INSERT INTO item VALUES (2, 'b')",
                "ALTER TABLE item RENAME COLUMN note TO remark", "INSERT INTO item VALUES (3, 'c')", "ALTER TABLE item DROP COLUMN price",
                "INSERT INTO item VALUES (4, 'd')", "ALTER TABLE item ALTER COLUMN size TYPE text", "UPDATE item SET size = 'big' WHERE id = 4"):
        tables.database.execute(sql)
    after = [change["after"] for change in tables.records("item", 5)]
    assert [list(row) for row in after] == [["id", "name", "price", "note"], ["id", "name", "price", "note", "size"],
                                            ["id", "name", "price", "remark", "size"], ["id", "name", "remark", "size"],
                                            ["id", "name", "remark", "size"]]
    assert after[1]["size"] == 7 and after[4]["size"] == "big"


def test_what_is_not_mapped_is_not_published(tables):
    tables.create("item", ITEM)
    tables.create("secret", ITEM, topic=False)
    tables.publish()
    relay = tables.relay([{"table": "public.item"}], snapshot="never").start()
    tables.database.execute("INSERT INTO secret VALUES (1, 'x'); INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)
    assert "secret" not in relay.log_text()


def test_nothing_is_lost_or_repeated_over_a_clean_restart(tables):
    tables.create("item", ITEM)
    tables.publish()
    for batch in range(3):
        relay = tables.relay(snapshot="never").start()
        tables.database.execute("INSERT INTO item SELECT g, 'n' || g FROM generate_series(%s, %s) g", (batch * 200 + 1, batch * 200 + 100))
        tables.records("item", batch * 200 + 100)
        relay.stop()
        tables.database.execute("INSERT INTO item SELECT g, 'n' || g FROM generate_series(%s, %s) g", (batch * 200 + 101, batch * 200 + 200))
    tables.relay(snapshot="never").start()
    assert [change["after"]["id"] for change in tables.records("item", 600)] == list(range(1, 601))


def test_a_kill_in_the_middle_of_a_transaction_repeats_at_most_what_was_in_flight(tables):
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(snapshot="never", in_flight_events=200, batch_events=50).start()
    tables.database.execute("INSERT INTO item SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g")
    tables.records("item", 500)
    relay.kill()
    tables.relay(snapshot="never", in_flight_events=200, batch_events=50).start()
    changes = tables.records("item", 20000)
    seen = [change["after"]["id"] for change in changes]
    eventually(lambda: set(range(1, 20001)) <= {c["after"]["id"] for c in tables.records("item")}, 30, "all of them are there")
    changes = tables.records("item")
    seen = [change["after"]["id"] for change in changes]
    assert list(dict.fromkeys(seen)) == list(range(1, 20001)) and len(seen) <= 20200
    by_id = {}
    for change in changes:      # repeated records differ in their clock alone
        value = {k: v for k, v in json.loads(change.raw[1]).items() if not k.startswith("ts_")}
        assert by_id.setdefault(change["after"]["id"], value) == value


def test_transactions_are_told_and_counted_after_a_kill_in_the_middle(tables):
    tables.create("item", ITEM)
    tables.publish()
    topic = tables.kafka.create_topic(f"{tables.prefix}.transaction")
    options = {"snapshot": "never", "transaction_topic": True, "in_flight_events": 200, "batch_events": 50}
    relay = tables.relay(**options).start()
    tables.database.execute("INSERT INTO item SELECT g, 'x' FROM generate_series(1, 5000) g")
    tables.records("item", 300)
    relay.kill()
    tables.relay(**options).start()
    orders = {}
    eventually(lambda: len({c["after"]["id"] for c in tables.records("item")}) == 5000, 30, "all of them are there")
    for change in tables.records("item"):
        orders.setdefault(change["after"]["id"], set()).add((change["transaction"]["total_order"], change["transaction"]["data_collection_order"]))
    assert orders == {n: {(n, n)} for n in range(1, 5001)}
    told = tables.records(topic, 2)
    assert told[0]["status"] == "BEGIN" and told[-1]["status"] == "END"
    assert told[-1]["event_count"] == 5000 and told[-1]["data_collections"] == [{"data_collection": "public.item", "event_count": 5000}]


def test_heartbeats_come_while_nothing_happens(tables):
    tables.create("item", ITEM)
    tables.publish()
    topic = tables.kafka.create_topic(f"__debezium-heartbeat.{tables.prefix}")
    tables.relay(snapshot="never", heartbeat_interval="200ms").start()
    beat = tables.records(topic, 3)[2]
    assert beat.key == {"serverName": tables.prefix} and list(beat) == ["ts_ms"]


def test_correlation_of_the_transaction_is_on_its_changes(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.relay(snapshot="never").start()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with tables.database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (1, 'before')")
        cursor.execute("SELECT outbox.set_context('order-7', 'command-3', %s, wal => true)", (trace,))
        cursor.execute("INSERT INTO item VALUES (2, 'behind')")
        cursor.execute("SAVEPOINT a; SELECT outbox.set_context('other', wal => true); INSERT INTO item VALUES (3, 'gone'); ROLLBACK TO a")
        cursor.execute("DELETE FROM item WHERE id = 2")
        connection.commit()
    tables.database.execute("INSERT INTO item VALUES (4, 'the next transaction')")
    first, second, deleted, tombstone, last = tables.records("item", 5)
    named = ["correlation_id", "causation_id", "traceparent"]
    assert [change.header_names[4:] for change in (first, second, deleted, tombstone, last)] == [[], named, named, named, []]
    assert [deleted.headers[name] for name in named] == ["order-7", "command-3", trace]
    assert (first["after"]["id"], second["after"]["id"], last["after"]["id"]) == (1, 2, 4)


def test_a_label_that_an_enum_gets_is_in_the_schema_of_its_first_row(tables):
    tables.database.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    tables.create("person", "id int PRIMARY KEY, now mood, before mood[]")
    tables.publish()
    tables.relay(snapshot="never", schemas=True).start()
    tables.database.execute("INSERT INTO person VALUES (1, 'sad', '{ok}')")
    tables.records("person", 1)
    tables.database.execute("ALTER TYPE mood ADD VALUE 'happy' AFTER 'ok'")
    tables.database.execute("INSERT INTO person VALUES (2, 'happy', NULL); INSERT INTO person VALUES (3, NULL, '{happy}')")
    changes = tables.records("person", 3)
    assert [change["after"]["now"] for change in changes] == ["sad", "happy", None]
    allowed = [json.loads(change.raw[1])["schema"]["fields"][1]["fields"][1]["parameters"]["allowed"] for change in changes]
    assert allowed == ["sad,ok", "sad,ok,happy", "sad,ok,happy"]


def test_rows_of_a_table_that_is_gone_by_now_are_published(tables):
    tables.create("item", ITEM)
    tables.create("other", ITEM)
    tables.publish()
    tables.relay(snapshot="never").start().stop()
    tables.database.execute("INSERT INTO item VALUES (7, 'left behind'); UPDATE item SET note = 'x'; DELETE FROM item")
    tables.database.execute("DROP TABLE item")
    tables.database.execute("INSERT INTO other VALUES (1, 'a')")
    tables.relay(snapshot="never").start()
    tables.records("other", 1)
    changes = tables.records("item", 4)
    assert ops(changes) == ["c", "u", "d", "-"] and [change.key for change in changes] == [{"id": 7}] * 4
    assert changes[0]["after"]["name"] == "left behind"


def test_rows_go_by_the_name_and_types_of_their_time(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.kafka.create_topic(tables.topic("thing"))
    tables.relay(snapshot="never").start().stop()
    tables.database.execute("INSERT INTO item VALUES (1, 'a', 2.5)")
    tables.database.execute("ALTER TABLE item RENAME TO thing")
    tables.database.execute("INSERT INTO thing VALUES (2, 'b', 3.5)")
    tables.database.execute("ALTER TABLE thing ALTER COLUMN price TYPE text, ALTER COLUMN price DROP DEFAULT")
    tables.database.execute("INSERT INTO thing VALUES (3, 'c', 'dear')")
    tables.relay(snapshot="never").start()
    assert [change["after"]["id"] for change in tables.records("item", 1)] == [1]
    second, third = tables.records("thing", 2)
    assert (second["after"]["price"], third["after"]["price"]) == ("AV4=", "dear")


def test_a_table_that_is_added_to_the_publication_is_captured_from_then_on(tables):
    tables.create("item", ITEM)
    tables.publish("item")
    relay = tables.relay([{"table": "public.item"}, {"table": "public.n*"}], snapshot="never").start()
    tables.create("newcomer", ITEM)
    tables.database.execute("INSERT INTO newcomer VALUES (1, 'too early')")
    tables.database.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE newcomer; INSERT INTO newcomer VALUES (2, 'in time')")
    assert [change["after"]["id"] for change in tables.records("newcomer", 1)] == [2]
    relay.wait_log("code=TABLES_ADDED")
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)
    assert not relay.log_lines(" error ")


def test_a_table_that_was_seen_before_it_was_published_is_said_to_be_captured_from_then_on(tables):
    tables.create("item", ITEM)
    tables.publish("item")
    relay = tables.relay([{"table": "public.item"}, {"table": "public.n*"}], snapshot="never").start()
    tables.create("newcomer", ITEM)
    relay.wait_log("code=PUBLICATION_PROVEN")      # a look fell between the two, and what it saw is noted
    tables.database.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE newcomer; INSERT INTO newcomer VALUES (2, 'in time')")
    assert [change["after"]["id"] for change in tables.records("newcomer", 1)] == [2]
    assert "public.newcomer" in relay.wait_log("code=TABLES_ADDED")[0]


def test_a_table_that_was_out_of_the_publication_for_a_while_is_a_gap(tables):
    tables.create("item", ITEM)
    tables.create("other", ITEM)
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    tables.records("item", 1)
    relay.stop()
    tables.database.execute("ALTER PUBLICATION outboxd_catalog DROP TABLE item")
    tables.database.execute("INSERT INTO item VALUES (2, 'missed')")
    tables.database.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE item")
    relay = tables.relay(snapshot="never").start(wait_ready=False)
    assert relay.wait_exit() == 4
    assert relay.log_lines("code=PUBLICATION_CHANGED.*public.item")
    tables.relay(snapshot="never", args=["--new-slot"]).start()
    tables.database.execute("INSERT INTO item VALUES (3, 'c')")
    assert [change["after"]["id"] for change in tables.records("item", 2)] == [1, 3]


def test_the_transaction_before_is_told_over_a_restart_and_beside_the_log_of_others(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.database.execute("CREATE TABLE noise (n int)")
    wal = Wal(tables.database, publication=None)
    relay = tables.relay([{"table": "public.item"}], snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    first, = tables.records("item", 1)
    assert first.place[0] is None
    ended = wal.now()
    tables.database.execute("INSERT INTO noise SELECT generate_series(1, 1000)")
    wal.wait_confirmed(name=SLOT)
    relay.stop()
    tables.relay([{"table": "public.item"}], snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (2, 'b')")
    second = tables.records("item", 2)[1]
    assert int(first.place[1]) < int(second.place[0]) <= ended < int(second.place[1])


def test_a_table_that_somebody_makes_under_a_pattern_stops_nobody(tables):
    tables.create("item", ITEM)
    tables.publish()
    tables.database.execute("CREATE TABLE stray (n int); INSERT INTO stray VALUES (1)")
    relay = tables.relay().start(wait_ready=False)
    relay.wait_not_ready("MAPPED_NOT_PUBLISHED|does not publish public.stray")
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    assert ops(tables.records("item", 1)) == ["c"]
    tables.database.execute("DROP TABLE stray")
    relay.wait_ready()
    relay.stop()
    tables.database.execute("CREATE TABLE other_stray (n int)")
    named = tables.relay([{"table": "public.item"}, {"table": "public.other_stray"}]).start(wait_ready=False)
    assert named.wait_exit() == 2 and named.log_lines("MAPPED_NOT_PUBLISHED")


def test_status_and_metrics_have_a_line_for_each_table(tables):
    tables.create("item", ITEM)
    tables.create("other", ITEM)
    tables.database.execute("INSERT INTO item SELECT g, 'x' FROM generate_series(1, 50) g")
    tables.publish()
    relay = tables.relay().start()
    tables.database.execute("INSERT INTO item VALUES (51, 'a'); UPDATE item SET name = 'b' WHERE id = 51")
    tables.records("item", 52)
    status = relay.status()["pipelines"][0]
    read, = status["tables"]
    assert (read["table"], read["changes"]) == ("public.item", 2) and read["bytes"] > 0 and read["last_change"]
    assert {(t["table"], t["state"], t["rows"]) for t in status["snapshot"]["tables"]} == {("public.item", "published", 50), ("public.other", "published", 0)}
    assert relay.metric("table_changes_total", table="public.item") == 2
    screen = outboxd("status", "-c", relay.config_path, expect=0).stdout
    assert re.search(r"public\.item +2 +\S+ \w*B +\d\d:\d\d:\d\d +published, 50 rows", screen), screen
