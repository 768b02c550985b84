"""capture = "tables" when something around it is not as it should be: topics, slot, publication, replica identity, partitions."""

import contextlib
import json
import re

import psycopg2
import pytest

from support.common import eventually
from support.postgres import RELAY, SUPERUSER
from support.relay import outboxd
from support.tables import PUBLICATION, SLOT, ids
from support.wal import Wal

ITEM = "id int PRIMARY KEY, name text NOT NULL, note text"


@pytest.fixture
def item(tables):
    """Table item, published."""
    tables.create("item", ITEM)
    tables.publish()
    return tables


def insert(tables, *numbers, name="item", note="NULL"):
    for number in numbers:
        tables.database.execute(f"INSERT INTO {name} VALUES ({number}, 'n{number}', {note})")


def test_a_missing_topic_holds_its_own_table_alone(tables):
    tables.create("item", ITEM)
    tables.create("late", ITEM, topic=False)
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    insert(tables, 1, 2, name="late")
    insert(tables, 1, 2)
    assert ids(tables.records("item", 2)) == [1, 2]
    relay.wait_log("KAFKA_TOPIC_UNKNOWN.*late")
    relay.kill()
    relay.start(wait_ready=False)     # it is not, once it has read of that table again
    insert(tables, 3)
    tables.database.execute("UPDATE late SET note = 'x' WHERE id = 1; DELETE FROM late WHERE id = 2")
    tables.kafka.create_topic(tables.topic("late"))
    late = tables.records("late", 5)
    assert [(c.key["id"], "-" if c.tombstone else c["op"]) for c in late] == [(1, "c"), (2, "c"), (1, "u"), (2, "d"), (2, "-")]
    eventually(lambda: ids(tables.records("item"))[-1] == 3, 10, "the other table goes on")
    assert len(tables.records("item")) <= 5


def test_a_missing_topic_may_be_set_aside(tables):
    tables.create("item", ITEM)
    tables.create("late", ITEM, topic=False)
    tables.publish()
    relay = tables.relay(snapshot="never", on_missing_topic="dead_letter")
    relay.start(env={"OUTBOXD_FAILPOINTS": "topic_missing:1:error"})     # the minute is over
    insert(tables, 1, name="late")
    insert(tables, 1)
    assert ids(tables.records("item", 1)) == [1]
    eventually(lambda: tables.database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, 20, relay.log_tail)
    row = tables.database.execute("SELECT to_jsonb(d) FROM outbox.dead_letter d")[0][0]
    assert "late" in json.dumps(row), row


def found_by_its_place(tables, relay, letter):
    """The change of the dead letter stands between those before and behind it, as the log line, the list and the letter itself say."""
    before, behind = (change["source"]["lsn"] for change in tables.records("small"))
    lsn = letter["event"]["lsn"]
    high, low = lsn.split("/")
    assert before < (int(high, 16) << 32) + int(low, 16) < behind
    line = relay.wait_log("code=EVENT_SET_ASIDE")[0]
    assert f"at {lsn}," in line and "dead requeue" in line
    assert f" {lsn} " in outboxd("dead", "list", "-c", relay.config_path, expect=0).stdout
    listed, = json.loads(outboxd("dead", "list", "--json", "-c", relay.config_path, expect=0).stdout)["dead_letters"]
    assert listed["lsn"] == lsn
    shown = outboxd("dead", "show", str(listed["id"]), "-c", relay.config_path, expect=0).stdout
    assert f"lsn               {lsn}\n  ordinal           {letter['event']['ordinal']}\n" in shown


@pytest.mark.parametrize("policy", ["stop", "dead_letter"])
def test_a_row_over_the_limit_of_its_topic(tables, policy):
    tables.create("item", ITEM)
    tables.create("small", ITEM, topic=False)
    tables.kafka.create_topic(tables.topic("small"), config={"max.message.bytes": "20000"})
    tables.publish()
    relay = tables.relay(snapshot="never", on_poison=policy).start()
    insert(tables, 1, name="small")
    insert(tables, 2, name="small", note="(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1500) g)")
    insert(tables, 3, name="small")
    insert(tables, 1, 2)
    assert ids(tables.records("item", 2)) == [1, 2]
    if policy == "stop":
        relay.wait_log("small")
        assert ids(tables.records("small")) == [1]
        tables.kafka.alter_topic(tables.topic("small"), **{"max.message.bytes": "200000"})
        assert ids(tables.records("small", 3)) == [1, 2, 3]
    else:
        assert ids(tables.records("small", 2)) == [1, 3]
        letter, = tables.database.execute("SELECT to_jsonb(d) FROM outbox.dead_letter d")[0]
        assert letter["reason"] and "small" in json.dumps(letter), letter
        found_by_its_place(tables, relay, letter)


def test_paused_it_sends_nothing_and_resumed_it_sends_all(item):
    relay = item.relay(snapshot="never").start()
    insert(item, 1)
    item.records("item", 1)
    outboxd("pause", "-c", relay.config_path, expect=0)
    relay.wait_log("PAUSED")
    insert(item, 2, 3)
    relay.kill()
    relay.start(wait_ready=False)
    eventually(lambda: relay.status()["pipelines"][0]["state"] == "paused", 20, relay.log_tail)
    assert ids(item.records("item")) == [1]
    outboxd("resume", "-c", relay.config_path, expect=0)
    assert ids(item.records("item", 3)) == [1, 2, 3]


def test_another_mapping_holds_from_the_reload_on(item):
    item.create("other", ITEM)
    item.database.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE other")
    relay = item.relay([{"table": "public.item"}], snapshot="never").start()
    insert(item, 1)
    insert(item, 1, name="other")
    item.records("item", 1)
    Wal(item.database, "unused").wait_confirmed(name=SLOT)     # what no mapping means is read, too
    relay.reload(item.configured([{"table": "public.item", "exclude_columns": ["note"]}, {"table": "public.other"}], snapshot="never"))
    relay.wait_ready()
    insert(item, 2)
    insert(item, 2, name="other")
    first, second = item.records("item", 2)
    assert list(first["after"]) == ["id", "name", "note"] and list(second["after"]) == ["id", "name"]
    assert ids(item.records("other", 1)) == [2]


def test_a_slot_that_is_dropped_moved_or_made_again_stops_it(item):
    wal = Wal(item.database, PUBLICATION + "_unused")
    relay = item.relay(snapshot="never").start()
    for number, tamper in enumerate((lambda: wal.drop_slot_under_the_reader(SLOT), wal_moved(item, relay, wal), wal_made_again(item, relay, wal)), 1):
        insert(item, number * 10)
        eventually(lambda: ids(item.records("item"))[-1] == number * 10, 20, relay.log_tail)
        tamper()
        if not relay.running() and relay.process.returncode == 0:
            relay.start(wait_ready=False)
        assert relay.wait_exit() == 4, relay.log_tail()
        relay.args.append("--new-slot")
        relay.start()
        relay.args.remove("--new-slot")
    insert(item, 99)
    eventually(lambda: ids(item.records("item"))[-1] == 99, 20, relay.log_tail)


def wal_moved(item, relay, wal):
    def moved():
        relay.stop()
        insert(item, 21)
        wal.advance_slot(SLOT)
    return moved


def wal_made_again(item, relay, wal):
    def made_again():
        relay.stop()
        wal.drop_slot(SLOT)
        insert(item, 31)
        wal.make_slot(SLOT)
    return made_again


def test_a_publication_that_is_dropped_while_it_runs_is_loud(item):
    relay = item.relay(snapshot="never").start()
    insert(item, 1)
    item.records("item", 1)
    item.database.execute("DROP PUBLICATION outboxd_catalog")
    insert(item, 2)
    relay.wait_log("(error|warn ).*outboxd_catalog")
    eventually(lambda: not relay.running() or not relay.ready()[0], 20, relay.log_tail)


def test_the_replica_identity_changes_while_it_runs(item):
    relay = item.relay(snapshot="never").start()
    item.database.execute("INSERT INTO item VALUES (1, 'a', 'x')")
    item.database.execute("UPDATE item SET name = 'b'")
    item.database.execute("ALTER TABLE item REPLICA IDENTITY FULL")
    item.database.execute("UPDATE item SET name = 'c'")
    item.database.execute("CREATE UNIQUE INDEX item_name ON item (name); ALTER TABLE item REPLICA IDENTITY USING INDEX item_name")
    item.database.execute("UPDATE item SET name = 'd'")
    item.database.execute("ALTER TABLE item REPLICA IDENTITY DEFAULT")
    item.database.execute("DELETE FROM item")
    changes = item.records("item", 6)
    before = [change["before"] for change in changes if not change.tombstone]
    assert before[:3] == [None, None, {"id": 1, "name": "b", "note": "x"}]
    assert not relay.log_lines(" error "), relay.log_tail()
    item.database.execute("INSERT INTO item VALUES (2, 'a', 'x')")
    item.database.execute("ALTER TABLE item REPLICA IDENTITY NOTHING")
    insert(item, 3)
    eventually(lambda: 3 in [c["after"]["id"] for c in item.records("item") if c.get("after")], 20, relay.log_tail)
    relay.wait_log("item.*identity")


def test_partitions_come_and_go_and_make_records_of_the_root(tables):
    tables.create("part", "id int, at int, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at",
                  "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10)")
    tables.publish("part")
    relay = tables.relay([{"table": "public.part"}], snapshot="never").start()
    execute = tables.database.execute
    execute("INSERT INTO part VALUES (1, 1, 'a')")
    execute("CREATE TABLE part_2 (note text, at int NOT NULL, id int NOT NULL, PRIMARY KEY (id, at)); INSERT INTO part_2 VALUES ('own', 11, 2)")
    execute("ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20)")
    execute("INSERT INTO part VALUES (3, 12, 'c')")
    execute("UPDATE part SET at = 13 WHERE id = 1")
    execute("UPDATE part_2 SET note = 'd' WHERE id = 3")
    execute("ALTER TABLE part DETACH PARTITION part_1; INSERT INTO part_1 VALUES (9, 9, 'alone')")
    execute("DELETE FROM part WHERE id = 3")
    changes = tables.records("part", 8)
    assert [("-" if c.tombstone else c["op"], c.key["id"], c.key["at"]) for c in changes] == [
        ("c", 1, 1), ("c", 3, 12), ("d", 1, 1), ("-", 1, 1), ("c", 1, 13), ("u", 3, 12), ("d", 3, 12), ("-", 3, 12)]
    assert all(list(c["after"]) == ["id", "at", "note"] and c["source"]["table"] == "part" for c in changes if c.get("after"))
    relay.wait_ready()
    assert not relay.log_lines(" error ")


def test_row_security_does_not_hide_changes_of_the_stream(item):
    item.database.execute("ALTER TABLE item ENABLE ROW LEVEL SECURITY; ALTER TABLE item FORCE ROW LEVEL SECURITY; CREATE POLICY p ON item USING (id > 100)")
    relay = item.relay(snapshot="never").start()
    item.database.execute("INSERT INTO item VALUES (1, 'a'), (101, 'b')", user=SUPERUSER)
    assert ids(item.records("item", 2)) == [1, 101], relay.log_tail()


def test_odd_names_reach_topics_and_records(tables):
    execute = tables.database.execute
    for sql in ('CREATE SCHEMA "Odd schema"', 'CREATE TABLE "Odd schema"."Täble ""q"" $1" ("Id" int, "a b" text, "é\'\\" text, PRIMARY KEY ("Id"))',
                f'GRANT USAGE ON SCHEMA "Odd schema" TO {RELAY}'):
        execute(sql)
    topic = tables.kafka.create_topic(f"{tables.prefix}.Odd_schema.T_ble__q___1")
    tables.names.append('"Odd schema"."Täble ""q"" $1"')
    tables.publish()
    tables.relay([{"table": '"Odd schema"."Täble ""q"" $1"'}], snapshot="never").start()
    execute("""INSERT INTO "Odd schema"."Täble ""q"" $1" VALUES (1, 'x', E'tab\\t \\u2028 \\U0001F600')""")
    change, = tables.records(topic, 1)
    assert change.key == {"Id": 1} and change["after"] == {"Id": 1, "a b": "x", "é'\\": "tab\t \u2028 \U0001F600"}
    assert change["source"]["schema"] == "Odd schema" and change["source"]["table"] == 'Täble "q" $1'
    assert b"\\uD83D\\uDE00" in change.raw[1]


def test_updates_of_a_table_without_identity_stay_possible_and_its_inserts_are_sent(tables):
    tables.create("diary", "at int, note text")
    tables.create("item", ITEM)
    tables.publish("item", second=("diary",))
    relay = tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO diary VALUES (1, 'a'); UPDATE diary SET note = 'b'; DELETE FROM diary; INSERT INTO diary VALUES (2, 'c')")
    first, second = tables.records("diary", 2)
    assert (first["after"]["note"], second["after"]["at"], first.key, first["op"]) == ("a", 2, None, "c")
    relay.wait_log("MAPPED_INSERTS_ONLY.*diary")


def test_more_than_memory_holds_for_a_missing_topic_is_said_and_none_is_lost(tables):
    """The log alone has them, so what is read stays until the topic is there; nothing else can be read meanwhile."""
    tables.create("item", ITEM)
    tables.create("late", ITEM, topic=False)
    tables.publish()
    relay = tables.relay(snapshot="never", in_flight_events=500, batch_events=100).start()
    tables.database.execute("INSERT INTO late SELECT g, 'x' FROM generate_series(1, 3000) g")
    insert(tables, 1)
    relay.wait_not_ready("WAITING_EVENTS_FULL")
    line = relay.log_lines("code=WAITING_EVENTS_FULL")[0]
    error = relay.status()["pipelines"][0]["error"]
    assert error["code"] == "WAITING_EVENTS_FULL"
    for said in (line, f"{error['message']} {error['hint']}", outboxd("status", "-c", relay.config_path).stdout):
        waiting, = map(int, re.findall(r"(\d+) events wait in memory", said))
        assert 400 < waiting <= 500, "a further batch of 100 does not fit"
        assert tables.topic("late") in said and "--create-topics" in said, said
    relay.kill()
    relay.start(wait_ready=False)
    relay.wait_not_ready("WAITING_EVENTS_FULL")
    tables.kafka.create_topic(tables.topic("late"))
    assert ids(tables.records("late", 3000)) == list(range(1, 3001))
    assert ids(tables.records("item", 1)) == [1]
    relay.wait_ready()


@pytest.mark.parametrize("policy", ["stop", "dead_letter"])
def test_a_row_over_the_pipeline_s_limit_names_table_key_and_place(tables, policy):
    tables.create("item", ITEM)
    tables.create("other", ITEM)
    tables.publish()
    relay = tables.relay(snapshot="never", on_poison=policy, event_bytes_max="1MiB").start()
    insert(tables, 1, note="repeat('abc', 1000000)")
    insert(tables, 2)
    insert(tables, 2, name="other")
    assert ids(tables.records("other", 1)) == [2]
    line, = relay.wait_log("public.item" if policy == "stop" else "code=EVENT_SET_ASIDE")
    assert all(part in line for part in ("change 'c' of public.item", r'{\"id\":1}', "at 0/", "3000")), line
    if policy == "dead_letter":
        assert ids(tables.records("item", 1)) == [2]
        return
    relay.stop()
    raised = tables.relay(snapshot="never", event_bytes_max="8MiB")
    tables.kafka.alter_topic(tables.topic("item"), **{"max.message.bytes": "8000000"})
    raised.start()
    assert ids(tables.records("item", 2)) == [1, 2]


def test_prepared_transactions_come_when_they_are_committed(item):
    relay = item.relay(snapshot="never").start()
    with contextlib.closing(item.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO item VALUES (1, 'prepared')")
        cursor.execute("PREPARE TRANSACTION 'one'")
        insert(item, 2)
        item.records("item", 1)
        relay.kill()
        relay.start()
        cursor.execute("COMMIT PREPARED 'one'")
    assert list(dict.fromkeys(ids(item.records("item", 2)))) == [2, 1]


def test_a_table_that_inherits_is_one_of_its_own_and_one_that_leaves_the_mapping_is_none(tables):
    tables.create("parent", "id int PRIMARY KEY")
    tables.create("child", "PRIMARY KEY (id)) INHERITS (parent")
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2); UPDATE parent SET id = id + 10; INSERT INTO item VALUES (1, 'a')")
    assert [change.key["id"] for change in tables.records("parent", 4)] == [1, 1, 1, 11]
    assert [change.key["id"] for change in tables.records("child", 4)] == [2, 2, 2, 12]
    tables.database.execute("CREATE SCHEMA away; ALTER TABLE item SET SCHEMA away; INSERT INTO away.item VALUES (7, 'b'); INSERT INTO parent VALUES (100)")
    tables.records("parent", 5)
    assert ids(tables.records("item", 1)) == [1] and relay.running()


def test_a_slot_whose_log_was_removed_stops_it(item, postgres):
    relay = item.relay(snapshot="never").start()
    insert(item, 1)
    item.records("item", 1)
    relay.stop()
    wal = Wal(item.database, "unused")
    with postgres.configured(max_slot_wal_keep_size="1MB"):
        def lost():
            wal.noise()
            postgres.execute("SELECT pg_switch_wal()")
            postgres.execute("CHECKPOINT")
            return wal.slot(SLOT)["wal_status"] == "lost"
        eventually(lost, 30, "the slot is lost")
        relay.start(wait_ready=False)
        assert relay.wait_exit() == 4 and relay.log_lines("code=SLOT_LOST")


def test_a_table_made_again_is_captured_once_it_is_published(tables):
    tables.create("item", ITEM)
    tables.create("other", ITEM)
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    insert(tables, 1)
    tables.records("item", 1)
    tables.database.execute("DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, other text); INSERT INTO item VALUES (2, 'not published')")
    relay.wait_log("MAPPED_NOT_PUBLISHED.*public.item")
    insert(tables, 1, name="other")
    tables.records("other", 1)
    tables.database.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE item; INSERT INTO item VALUES (3, 'x')")
    assert [change["after"] for change in tables.records("item", 2)] == [{"id": 1, "name": "n1", "note": None}, {"id": 3, "other": "x"}]


def test_a_table_that_gets_an_identity_is_moved_as_the_log_says(tables):
    """What the warning tells to run is run, and costs nothing."""
    tables.create("item", ITEM)
    tables.create("diary", "at int, note text")
    tables.publish("item", second=("diary",))
    relay = tables.relay(snapshot="never").start()
    line = relay.wait_log("code=MAPPED_INSERTS_ONLY.*diary")[0]
    tables.database.execute("INSERT INTO diary VALUES (1, 'a')")
    tables.records("diary", 1)
    first, then = (part.strip().replace('\\"', '"') for part in line.split("or run: ")[1].rstrip('"').split("then:"))
    tables.database.execute(first)
    tables.database.execute(then)
    tables.database.execute("INSERT INTO diary VALUES (2, 'b')")
    tables.database.execute("UPDATE diary SET note = 'c' WHERE at = 2")
    assert [(change["op"], change["after"]["at"]) for change in tables.records("diary", 3)] == [("c", 1), ("c", 2), ("u", 2)]
    relay.wait_ready()


@pytest.fixture
def diary(tables):
    """A relay, and a table that has just lost its primary key: what the log tells to run (identity; into the second publication; out of the first)."""
    tables.create("item", ITEM)
    tables.create("diary", "at int PRIMARY KEY, note text")
    tables.publish()
    relay = tables.relay(snapshot="never").start()
    tables.database.execute("INSERT INTO diary VALUES (1, 'a')")
    tables.records("diary", 1)
    assert not relay.log_lines("code=PUBLICATION_PROVEN")
    tables.database.execute("ALTER TABLE diary DROP CONSTRAINT diary_pkey")
    line = relay.wait_log("code=PUBLICATION_IDENTITY.*diary")[0]
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
        tables.database.execute("UPDATE diary SET note = 'x'")
    said = line.split("or run: ")[1].replace('\\"', '"').rstrip('"')
    full, move = said.split(" or capture only inserts: ")
    into, out_of = move.split(" /* wait until a running relay has logged PUBLICATION_PROVEN */ ")
    return relay, full, into, out_of


def of_diary(tables, count):
    return [(change["op"], change["after"]["at"]) for change in tables.records("diary", count)]


def test_a_table_that_loses_its_identity_gets_the_full_one(tables, diary):
    relay, full, _, _ = diary
    tables.database.execute(full)
    tables.database.execute("UPDATE diary SET note = 'b'; INSERT INTO diary VALUES (2, 'c')")
    assert of_diary(tables, 3) == [("c", 1), ("u", 1), ("c", 2)]
    relay.wait_ready()


def test_a_table_that_loses_its_identity_is_captured_by_its_inserts(tables, diary):
    """As the log says, with a row at each step: none is missed, and the application is free at the end."""
    relay, _, into, out_of = diary
    for n, statement in ((2, into), (3, out_of)):
        tables.database.execute(statement)
        tables.database.execute(f"INSERT INTO diary VALUES ({n}, 'b')")
        eventually(lambda: len(relay.log_lines("code=PUBLICATION_PROVEN")) == n - 1, 20, relay.log_tail)
    tables.database.execute("UPDATE diary SET note = 'c'; INSERT INTO diary VALUES (4, 'd'); INSERT INTO item VALUES (1, 'i', 'n')")
    assert of_diary(tables, 4) == [("c", 1), ("c", 2), ("c", 3), ("c", 4)]
    assert len(tables.records("item", 1)) == 1
    relay.stop()
    relay.start()
    tables.database.execute("INSERT INTO diary VALUES (5, 'e')")
    assert of_diary(tables, 5)[4:] == [("c", 5)]


def test_a_table_that_is_moved_while_nobody_looks_is_a_gap(tables, diary):
    """Whether it was out of both for a moment, nothing shows."""
    relay, _, into, out_of = diary
    relay.stop()
    tables.database.execute(into)
    tables.database.execute(out_of)
    relay.start(wait_ready=False)
    assert relay.wait_exit(30) == 4
    assert "diary" in relay.log_lines("error.*PUBLICATION_CHANGED")[0]


def test_ddl_inside_a_transaction_and_names_that_change_places(item):
    item.create("other", ITEM)
    item.database.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE other")
    relay = item.relay(snapshot="never").start()
    item.database.execute("BEGIN; INSERT INTO item VALUES (1, 'a'); ALTER TABLE item ADD COLUMN x int; INSERT INTO item VALUES (2, 'b', NULL, 5); "
                          "SAVEPOINT s; ALTER TABLE item DROP COLUMN note; INSERT INTO item VALUES (3, 'n', 6); ROLLBACK TO s; INSERT INTO item VALUES (4, 'd', NULL, 7); "
                          "ALTER TABLE item RENAME COLUMN note TO remark; UPDATE item SET remark = 'q' WHERE id = 1; "
                          "ALTER TABLE item ALTER COLUMN x TYPE text; UPDATE item SET x = 'z' WHERE id = 2; COMMIT")
    assert [change["after"] for change in item.records("item", 5)] == [
        {"id": 1, "name": "a", "note": None}, {"id": 2, "name": "b", "note": None, "x": 5}, {"id": 4, "name": "d", "note": None, "x": 7},
        {"id": 1, "name": "a", "remark": "q", "x": None}, {"id": 2, "name": "b", "remark": None, "x": "z"}]
    item.database.execute("BEGIN; INSERT INTO item VALUES (10, 'item'); INSERT INTO other VALUES (10, 'other'); ALTER TABLE item RENAME TO held; "
                          "ALTER TABLE other RENAME TO item; ALTER TABLE held RENAME TO other; INSERT INTO item VALUES (11, 'other'); INSERT INTO other VALUES (11, 'item'); COMMIT")
    assert [(change["after"]["id"], change["after"]["name"]) for change in item.records("item", 7)[5:]] == [(10, "item"), (11, "other")]
    assert [(change["after"]["id"], change["after"]["name"]) for change in item.records("other", 2)] == [(10, "other"), (11, "item")]
    assert relay.running() and not relay.log_lines(" error ")
