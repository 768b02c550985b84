"""What becomes of events that were set aside: outboxd dead list, show, requeue, discard; by poll and from the WAL."""

import json
import os
import pty
import subprocess
import threading

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import APP, OWNER, RELAY
from support.relay import clean_environment, outboxd, outboxd_binary

pytestmark = pytest.mark.by_turns

COUNT = "SELECT count(*) FROM outbox.dead_letter"
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
ASIDE = {"on_poison": "dead_letter", "on_unrouted": "dead_letter"}
BIG = '{"text": "' + "ä" * 2500 + '", "number": 1.50}'


def emit(database, key, payload="{}", aggregate="order", event_type="order.placed", **more):
    extra = "".join(f", {name} => %s" for name in more)
    return str(database.scalar(f"SELECT outbox.emit(%s, %s, %s, %s{extra})", (event_type, aggregate, key, payload, *more.values()), user=APP))


def wait_aside(database, count, one):
    eventually(lambda: database.scalar(COUNT) == count, what=lambda: f"{count} are set aside\n{one.log_tail()}")


def dead(one, *args, expect=0, **more):
    return outboxd("dead", args[0], "-c", one.config_path, *args[1:], expect=expect, **more)


def listed(one, *args):
    return json.loads(dead(one, "list", "--json", *args).stdout)["dead_letters"]


def ids(one, *args):
    return [str(letter["id"]) for letter in listed(one, *args)]


def same_record(shown, record):
    """The record that was refused and the one that arrived are the same, byte for byte."""
    was = shown["record"]
    assert record.topic == was["topic"]
    assert (record.key or b"").decode() == (was["key"] or {"text": ""})["text"]
    assert record.value == was["value"]["text"].encode()
    assert headers_of(record) == {h["name"]: h["value"] for h in was["headers"]}


def test_a_poison_event_is_listed_shown_and_requeued_byte_for_byte(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    one = captured(ASIDE).start()
    event_id = emit(database, "big", BIG, aggregate_version=7, headers='{"tenant": "nörd"}', correlation_id="c-1", content_type="application/x",
                    occurred_at="2026-02-03 04:05:06.789012+00", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    emit(database, "small", "{}")
    wait_aside(database, 1, one)
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 1)] == [b"small"]

    lines = dead(one, "list").stdout.splitlines()
    assert len(lines) == 2 and lines[0].split()[0] == "id"
    for word in ("orders", "order.placed", "big", "RECORD_TOO_LARGE"):
        assert word in lines[1], lines
    number, = ids(one)
    text = dead(one, "show", number).stdout
    # The line in the log says how to see it.
    aside, = one.log_lines("code=EVENT_SET_ASIDE")
    assert f'hint="outboxd dead show {event_id} prints all of it' in aside and dead(one, "show", event_id).stdout.splitlines()[1:] == text.splitlines()[1:]
    for word in (event_id, "c-1", "application/x", "2026-02-03T04:05:06.789012Z", "max.message.bytes", "remedy", "ce_id", "more bytes: --json", topic):
        assert word in text, f"{word}\n{text}"
    shown = json.loads(dead(one, "show", number, "--json").stdout)
    assert shown["event"]["payload"] == database.scalar("SELECT payload::text FROM outbox.event WHERE event_id = %s", (event_id,))
    assert shown["code"] == "RECORD_TOO_LARGE" and shown["remedy"] and shown["attempts"] == 1

    one.stop()
    kafka.alter_topic(topic, max_message_bytes=100000)
    before = database.scalar("SELECT to_jsonb(e) - 'seq' - 'published_at' FROM outbox.event e WHERE event_id = %s", (event_id,))
    assert f"requeued {number} orders order.placed 'big' (event {event_id})" in dead(one, "requeue", number).stdout
    rows = database.query(f"SELECT to_jsonb(e) - 'seq' - 'published_at', published_at FROM outbox.event e WHERE event_id = '{event_id}' ORDER BY seq")
    assert [r[0] for r in rows] == [before, before] and rows[1][1] is None, "a new row with every column as it was"
    assert database.scalar(COUNT) == 0
    one.start()
    record = wait_for_records(kafka.brokers, topic, 2)[1]
    assert headers_of(record)["ce_id"] == event_id
    same_record(shown, record)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="the new row is marked")
    assert len(read_topics(kafka.brokers, topic)) == 2 and database.scalar(COUNT) == 0


def test_an_unrouted_event_is_requeued_once_a_route_is_there(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    options = {**ASIDE, "topic": "", "routes": [{"aggregate_type": "order", "topic": topic}]}
    one = captured({**options, "on_publish": "delete"}).start()
    event_id = emit(database, "17", '{"a": [1, 2]}', aggregate="thing", event_type="unwanted.thing")
    wait_aside(database, 1, one)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 0, what="the row is deleted: only the dead letter has it")
    assert listed(one)[0]["code"] == "EVENT_UNROUTED" and json.loads(dead(one, "show", *ids(one), "--json").stdout)["record"]["topic"] is None
    one.stop()
    two = captured({**ASIDE, "topic": topic, "on_publish": "delete"})
    dead(two, "requeue", "--all")
    two.start()
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    assert (record.key, record.value, headers_of(record)["ce_id"]) == (b"17", b'{"a": [1, 2]}', event_id)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 0, what="deleted after it was published")


def test_a_running_relay_picks_a_requeued_event_up_behind_newer_ones_of_its_key(captured, kafka, database, prefix):
    """A compacted topic refuses records without a key until its policy is another one."""
    topic = kafka.create_topic(f"{prefix}.order", config={"cleanup.policy": "compact"})
    one = captured(ASIDE).start()
    first = emit(database, None, '{"n": 1}')
    wait_aside(database, 1, one)
    kafka.alter_topic(topic, cleanup_policy="delete")
    second = emit(database, None, '{"n": 2}')
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="settled")
    assert [headers_of(r)["ce_id"] for r in wait_for_records(kafka.brokers, topic, 1)] == [second]
    dead(one, "requeue", "--all")
    assert [headers_of(r)["ce_id"] for r in wait_for_records(kafka.brokers, topic, 2)] == [second, first]


def test_a_requeued_event_that_fails_again_is_set_aside_again(captured, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    one = captured(ASIDE).start()
    event_id = emit(database, "big", BIG)
    wait_aside(database, 1, one)
    first, = ids(one)
    assert "becomes a new dead letter" in dead(one, "requeue", first).stderr
    wait_aside(database, 1, one)
    said = one.log_lines("EVENT_SET_ASIDE")
    assert len(said) == 2 and all(f"event_id={event_id}" in line and f"outboxd dead show {event_id}" in line for line in said), said
    assert ids(one) != [first] and listed(one)[0]["event_id"] == event_id
    eventually(lambda: one.metric("events_dead_lettered_total", pipeline="orders", reason="too_large") == 2, what="both are counted")


def fill(database, count, pipeline="orders", code="RECORD_TOO_LARGE", table="outbox.dead_letter"):
    """Dead letters as the relay writes them."""
    database.execute(
        f"INSERT INTO {table} (pipeline, event_id, event, reason, error_class, error_code, record_key, record_value, record_headers, at) "
        "SELECT %s, md5(n::text)::uuid, jsonb_build_object('seq', NULL, 'event_id', md5(n::text)::uuid::text, 'event_type', 'order.placed', "
        "'event_version', '1', 'aggregate_type', 'order', 'aggregate_id', 'key' || n, 'payload', '{}', "
        "'occurred_at', '2026-02-03T04:05:06.789Z'), 'no', 'poison', %s, '\\x00ff', '\\xfffe', '[]', now() - n * interval '1 s' "
        "FROM generate_series(1, %s) n", (pipeline, code, count))


def test_the_list_is_limited_filtered_and_newest_first(relay, database):
    one = relay()
    assert dead(one, "list").stdout == "no dead letters\n"
    fill(database, 60)
    fill(database, 3, pipeline="others", code="EVENT_UNROUTED")
    lines = dead(one, "list").stdout.splitlines()
    assert len(lines) == 52 and "13 older dead letters are not shown" in lines[-1]
    numbers = [int(line.split()[0]) for line in lines[1:-1]]
    assert numbers == list(range(63, 13, -1))
    assert len(dead(one, "list", "--limit", "2").stdout.splitlines()) == 4
    assert [x["pipeline"] for x in listed(one, "--pipeline", "others")] == ["others"] * 3
    assert len(listed(one, "--code", "RECORD_TOO_LARGE", "--limit", "1000")) == 60
    assert listed(one, "--code", "EVENT_UNROUTED", "--pipeline", "orders") == []
    text = dead(one, "show", "1").stdout
    assert "hex 00ff" in text and "hex fffe" in text, text
    shown = json.loads(dead(one, "show", "1", "--json").stdout)
    assert shown["record"]["value"] == {"bytes": 2, "hex": "fffe"}


def test_without_a_file_the_dsn_is_enough(database):
    fill(database, 2, pipeline="outbox")
    assert len(outboxd("dead", "list", "--dsn", database.dsn(), expect=0).stdout.splitlines()) == 3
    outboxd("dead", "requeue", "--all", "--dsn", database.dsn(), expect=0)
    assert database.scalar(UNPUBLISHED) == 2


@pytest.mark.parametrize("args, word", [
    ((), "list, show, requeue or discard"), (("bury",), "not 'bury'"), (("show",), "which"), (("requeue",), "which"), (("discard", "--yes"), "which"),
    (("requeue", "1", "--all"), "either ids or --all"), (("show", "x"), "x: no such dead letter"), (("show", "-1"), "usage"),
    (("requeue", "99999999999999999999"), "an id is a number"),
    (("list", "7"), "no ids"), (("list", "--limit", "0"), "--limit"), (("discard", "1"), "--yes"), (("show", "--all"), "show takes ids"),
    (("requeue", "1", "--code", "X"), "--code")])
def test_wrong_usage_is_refused_with_the_reason(database, args, word):
    fill(database, 1)
    result = outboxd("dead", *args[:1], "--dsn", database.dsn(), *args[1:], expect=1) if args else outboxd("dead", expect=1)
    assert word in result.stderr and database.scalar(COUNT) == 1, result.stderr


def test_an_id_that_is_not_there_is_said_and_the_others_are_done(relay, database):
    one = relay()
    fill(database, 3)
    for verb, more in (("show", ()), ("requeue", ()), ("discard", ("--yes",))):
        assert "999: no such dead letter" in dead(one, verb, "999", *more, expect=1).stderr
    result = dead(one, "requeue", "1", "999", "2", expect=1)
    assert "999: no such dead letter" in result.stderr and len(result.stdout.splitlines()) == 2
    assert ids(one) == ["3"]


def test_discard_deletes_what_it_names_and_nothing_else(relay, database):
    one = relay()
    fill(database, 4)
    fill(database, 2, pipeline="others")
    assert "discarded 2 orders order.placed 'key2'" in dead(one, "discard", "2", "--yes").stdout
    assert ids(one) == ["6", "5", "4", "3", "1"]
    outcome = [json.loads(line) for line in dead(one, "discard", "--all", "--pipeline", "others", "--yes", "--json").stdout.splitlines()]
    assert [(o["id"], o["outcome"]) for o in outcome] == [(5, "discarded"), (6, "discarded")]
    assert ids(one) == ["4", "3", "1"] and database.scalar("SELECT count(*) FROM outbox.event") == 0


def test_discard_without_a_terminal_shows_what_it_would_ask_and_no_usage(relay, database):
    one = relay()
    fill(database, 2)
    said = dead(one, "discard", "--all", expect=1).stderr
    assert "'key1'" in said and "[y/N]" in said and said.splitlines()[-1].endswith("add --yes") and "usage:" not in said, said
    assert database.scalar(COUNT) == 2


def test_a_piped_list_is_whole(relay, database):
    one = relay()
    fill(database, 1)
    database.execute("UPDATE outbox.dead_letter SET reason = repeat('because ', 40) || 'the end'")
    assert dead(one, "list").stdout.splitlines()[1].endswith("the end")


@pytest.mark.parametrize("answer, left", [(b"n\n", 2), (b"\n", 2), (b"y\n", 0)])
def test_discard_asks_on_a_terminal(relay, database, answer, left):
    one = relay()
    fill(database, 2)
    controller, terminal = pty.openpty()
    try:
        process = subprocess.Popen([outboxd_binary(), "dead", "discard", "--all", "-c", one.config_path], stdin=terminal, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=clean_environment())
        os.write(controller, answer)
        _, said = process.communicate(timeout=30)
    finally:
        os.close(controller)
        os.close(terminal)
    assert b"'key1'" in said and b"'key2'" in said and b"[y/N]" in said, said
    assert database.scalar(COUNT) == left and process.returncode == (0 if left == 0 else 1)


def test_a_forged_message_cannot_be_requeued_and_can_be_discarded(wal_relay, kafka, database, wal, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = wal_relay({"messages": True, **ASIDE}).start()
    database.execute("SELECT pg_logical_emit_message(true, 'outboxd.event', 'forged')")
    emit(database, "fine", "{}")
    wait_aside(database, 1, one)
    number, = ids(one)
    result = dead(one, "requeue", "--all", expect=1)
    assert f"{number}: the dead letter is not an event" in result.stderr and f"outboxd dead discard {number}" in result.stderr
    assert "forged" in dead(one, "show", number).stdout or "666f7267" in dead(one, "show", number).stdout
    assert ids(one) == [number] and database.scalar("SELECT count(*) FROM outbox.event") == 1
    dead(one, "discard", number, "--yes")


def test_an_event_of_emit_message_is_requeued_as_a_row(wal_relay, kafka, database, prefix):
    topic = f"{prefix}.order"
    kafka.create_topic(topic, config={"max.message.bytes": "3000"})
    one = wal_relay({"messages": True, **ASIDE}).start()
    event_id = str(database.scalar("SELECT outbox.emit_message('order.placed', 'order', '1', NULL, payload_bytes => %s)", (b"\x00\xff" * 2000,), user=APP))
    wait_aside(database, 1, one)
    one.stop()
    kafka.alter_topic(topic, max_message_bytes=100000)
    dead(one, "requeue", "--all")
    one.start()
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    assert record.value == b"\x00\xff" * 2000 and headers_of(record)["ce_id"] == event_id


ADOPTED = {"seq": "position", "event_id": "id", "event_type": "type", "aggregate_type": "aggregatetype", "aggregate_id": "aggregateid",
           "payload": "body", "published_at": "sent", "occurred_at": "created", "event_version": "", "aggregate_version": "", "payload_bytes": "",
           "content_type": "", "correlation_id": "", "causation_id": "", "traceparent": "", "headers": "", "topic": ""}


@pytest.fixture
def adopted(database):
    """Somebody's own outbox: other names, a unique id, columns that become headers (one is called like a field of ours)."""
    database.execute("""
        CREATE TABLE public.messages (position bigserial PRIMARY KEY, id uuid UNIQUE NOT NULL DEFAULT gen_random_uuid(), type text, aggregatetype text,
            aggregateid text, body text, tenant text NOT NULL, topic numeric(6, 2), sent timestamp, created timestamp DEFAULT now());
        GRANT SELECT, INSERT, UPDATE, DELETE ON messages TO shop_relay; GRANT USAGE ON messages_position_seq TO shop_relay""")
    return database


def test_an_adopted_table_gets_its_event_back_under_its_own_names(relay, kafka, adopted, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    options = {**ASIDE, "table": "public.messages", "columns": ADOPTED, "header_columns": ["tenant", "topic"], "topic": topic}
    one = relay(options).start()
    adopted.execute("INSERT INTO messages (type, aggregatetype, aggregateid, body, tenant, topic, created) "
                    "VALUES ('placed', 'order', '1', repeat('no json ', 1000), 'nörd', 1.5, '2026-02-03 04:05:06.789012')")
    wait_aside(adopted, 1, one)
    number, = ids(one)
    shown = json.loads(dead(one, "show", number, "--json").stdout)
    assert shown["event"]["header_columns"] == {"tenant": "nörd", "topic": "1.50"}
    one.stop()
    kafka.alter_topic(topic, max_message_bytes=100000)
    before = adopted.query("SELECT to_jsonb(m) - 'position' - 'sent' FROM messages m")
    assert "its old row was replaced" in dead(one, "requeue", number).stdout
    assert adopted.query("SELECT to_jsonb(m) - 'position' - 'sent' FROM messages m") == before
    assert adopted.query("SELECT position, sent FROM messages")[0][1] is None
    one.start()
    same_record(shown, wait_for_records(kafka.brokers, topic, 1)[0])


def test_what_a_table_cannot_take_stays_a_dead_letter_with_the_reason(relay, adopted, database):
    one = relay({"table": "public.messages", "columns": ADOPTED, "topic": "a"})
    fill(database, 2)
    database.execute("UPDATE outbox.dead_letter SET event = event - 'event_version'")
    result = dead(one, "requeue", "--all", expect=2)
    assert result.stderr.count("tenant") == 2 and database.scalar(COUNT) == 2, "each is tried; the column without a default is named"
    database.execute("UPDATE outbox.dead_letter SET event = event || '{\"traceparent\": \"x\"}' WHERE id = 1")
    assert "traceparent" in dead(one, "requeue", "1", expect=1).stderr
    assert "no pipeline 'others'" in (fill(database, 1, pipeline="others"), dead(one, "requeue", "3", expect=1))[1].stderr


@pytest.mark.parametrize("table", ["event", "dead_letter"])
@pytest.mark.parametrize("how", ["trigger", "rule"])
def test_what_swallows_a_requeue_loses_and_repeats_nothing(relay, database, table, how):
    one = relay()
    fill(database, 2)
    verb = {"event": "INSERT", "dead_letter": "DELETE"}[table]
    if how == "trigger":
        database.execute("CREATE FUNCTION outbox.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
                         f"CREATE TRIGGER swallow BEFORE {verb} ON outbox.{table} FOR EACH ROW EXECUTE FUNCTION outbox.swallow()")
    else:
        database.execute(f"CREATE RULE swallow AS ON {verb} TO outbox.{table} DO INSTEAD NOTHING")
    said = dead(one, "requeue", "--all", expect=None)
    assert said.returncode in (1, 2) and table in said.stderr, said.stderr
    assert database.scalar(COUNT) == 2 and database.scalar("SELECT count(*) FROM outbox.event") == 0
    if how == "trigger":
        assert said.stderr.count("discards it") == 2, said.stderr
    database.execute(f"DROP {how} swallow ON outbox.{table}")
    dead(one, "requeue", "--all")
    assert database.scalar(COUNT) == 0 and database.scalar("SELECT count(*) FROM outbox.event") == 2


def test_two_people_who_requeue_the_same_publish_it_once(relay, database):
    one = relay()
    fill(database, 1)
    connection = database.connect(autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM outbox.dead_letter WHERE id = 1 FOR UPDATE")
        results = []
        people = [threading.Thread(target=lambda v=v: results.append((v[0], dead(one, *v, expect=None))))
                  for v in (("requeue", "1"), ("requeue", "1"), ("discard", "1", "--yes"))]
        for person in people:
            person.start()
        eventually(lambda: waiting(database) == 3, what=lambda: "all wait for the row: %s %s" % (results, database.server.execute(
            "SELECT application_name, wait_event_type, query FROM pg_stat_activity WHERE datname = %s", (database.name,))))
        connection.rollback()
        for person in people:
            person.join(60)
    connection.close()
    assert sorted(r.returncode for _, r in results) == [0, 1, 1]
    assert sum("no such dead letter any more" in r.stderr for _, r in results) == 2
    winner = next(v for v, r in results if r.returncode == 0)
    assert database.scalar("SELECT count(*) FROM outbox.event") == (1 if winner == "requeue" else 0)


def waiting(database):
    return int(database.server.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'outboxd dead' AND wait_event_type = 'Lock' "
                                       "AND datname = %s", (database.name,))[0][0])


def test_missing_rights_are_named_with_the_grant(relay, database):
    one = relay()
    fill(database, 1)
    database.execute("REVOKE ALL ON outbox.event, outbox.dead_letter FROM outbox_relay")
    database.execute("GRANT SELECT ON outbox.dead_letter TO outbox_relay")
    dead(one, "list")
    assert f"ON outbox.dead_letter TO {RELAY}" in dead(one, "requeue", "1", expect=2).stderr
    assert f"ON outbox.dead_letter TO {RELAY}" in dead(one, "discard", "1", "--yes", expect=2).stderr
    database.execute("GRANT UPDATE, DELETE ON outbox.dead_letter TO outbox_relay")
    text = dead(one, "requeue", "1", expect=2).stderr
    assert f'GRANT INSERT, DELETE ON "outbox"."event" TO {RELAY}' in text, text
    assert database.scalar(COUNT) == 1
    database.execute("REVOKE ALL ON outbox.dead_letter FROM outbox_relay")
    assert f"GRANT outbox_relay TO {RELAY}; or GRANT SELECT" in dead(one, "list", expect=2).stderr


def test_a_database_without_the_table_or_out_of_reach_is_said(relay, database, empty_database, postgres):
    assert "outboxd migrate" in outboxd("dead", "list", "--dsn", empty_database.dsn(OWNER), expect=2).stderr
    assert outboxd("dead", "list", "--dsn", "host=127.0.0.1 port=1 dbname=x", expect=2).stderr.startswith("outboxd dead: ")


def test_pipelines_with_tables_of_their_own_must_be_named(relay, database, kafka):
    from support.relay import configuration
    database.execute("CREATE SCHEMA mine; CREATE TABLE mine.event (LIKE outbox.event INCLUDING ALL); CREATE TABLE mine.dead_letter "
                     "(LIKE outbox.dead_letter INCLUDING ALL); GRANT USAGE ON SCHEMA mine TO shop_relay; GRANT ALL ON ALL TABLES IN SCHEMA mine TO shop_relay")
    one = relay(config=configuration(database.dsn(), kafka.brokers, pipelines=[
        {"name": "orders", "topic": "a"}, {"name": "others", "table": "mine.event", "topic": "b"}]))
    fill(database, 1)
    fill(database, 2, pipeline="others", table="mine.dead_letter")
    assert "mine.dead_letter" in dead(one, "list", expect=1).stderr
    assert len(listed(one, "--pipeline", "others")) == 2 and len(listed(one, "--pipeline", "orders")) == 1
    dead(one, "requeue", "1", "--pipeline", "others")
    assert database.scalar("SELECT count(*) FROM mine.event") == 1 and database.scalar(COUNT) == 1


QUOTED = """CREATE TABLE public."Out Box" ("Position" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Event Id" uuid NOT NULL DEFAULT gen_random_uuid(),
 "type" text NOT NULL, "Agg""Type" varchar(40) NOT NULL, "agg id" text, body json, "Tenant's" text, region char(6), amount numeric, "seen at" timestamp,
 "Sent" timestamptz); GRANT ALL ON public."Out Box" TO shop_relay"""
QUOTED_COLUMNS = {"seq": "Position", "event_id": "Event Id", "event_type": "type", "aggregate_type": 'Agg"Type', "aggregate_id": "agg id", "payload": "body",
                  "occurred_at": "seen at", "published_at": "Sent", "event_version": "", "aggregate_version": "", "payload_bytes": "", "content_type": "",
                  "correlation_id": "", "causation_id": "", "traceparent": "", "headers": "", "topic": ""}


@pytest.mark.parametrize("big", [False, True], ids=["small", "big"])
def test_a_letter_of_an_adopted_table_is_its_row_whatever_its_columns_are_called(poll_relay, kafka, database, prefix, big):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute(QUOTED)
    options = {**ASIDE, "table": 'public."Out Box"', "columns": QUOTED_COLUMNS, "header_columns": ["Tenant's", "region", "amount"], "topic": "",
               "routes": [{"aggregate_type": "none", "topic": topic}]}
    one = poll_relay(options).start()
    database.execute('INSERT INTO "Out Box" ("type", "Agg""Type", "agg id", body, "Tenant\'s", region, amount, "seen at") VALUES '
                     "(%s, 'a', 'käse', %s, %s, 'eu', 1.500, '2026-02-03 04:05:06.5')",
                     ("t", '{"a":  1, "a": 2, "p": "' + "x" * (9_000_000 if big else 1) + '"}', "y" * (5_000_000 if big else 3)))
    wait_aside(database, 1, one)
    one.stop()
    number, = ids(one)
    dead(one, "show", number, "--json")
    dead(one, "requeue", number)
    text = 'convert_to((to_jsonb(o) - \'Position\' - \'Sent\' - \'body\')::text || body::text, \'UTF8\')'
    assert database.query(f'SELECT count(*)::int, count(DISTINCT {text})::int FROM public."Out Box" o')[0] == (2, 1)


@pytest.mark.parametrize("odd", [None, "refused", "swallowed"])
def test_many_letters_at_once_are_their_rows_in_order(captured, kafka, database, prefix, odd):
    """They are copied together; one that the table does not take is the only one, however many are beside it."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured({**ASIDE, "topic": "", "routes": [{"aggregate_type": "none", "topic": topic}], "in_flight_events": 2000}).start()
    if odd:
        does = "RETURN NULL" if odd == "swallowed" else "RAISE 'no' USING ERRCODE = '23514'"
        database.execute("CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.event ->> 'aggregate_id' = '300' THEN "
                         f"{does}; END IF; RETURN new; END$$; CREATE TRIGGER odd BEFORE INSERT ON outbox.dead_letter FOR EACH ROW EXECUTE FUNCTION odd()")
    database.execute("INSERT INTO outbox.event (event_type, event_version, aggregate_type, aggregate_id, payload, payload_bytes, headers, correlation_id) "
                     "SELECT CASE WHEN n % 2 = 0 THEN 't' ELSE 'ü' END, 1 + n % 3, CASE WHEN n = 300 THEN 'its own' ELSE 't' || n % 7 END, n, "
                     "CASE WHEN n % 5 > 0 THEN jsonb_build_object('n', n, "
                     "'a', repeat('ä', n)) END, CASE WHEN n % 5 = 0 THEN decode(repeat('00ff', n), 'hex') END, CASE WHEN n % 4 = 0 THEN '{\"h\": \"1\"}'::jsonb END, "
                     "CASE WHEN n % 11 = 0 THEN E'a\\nb' END FROM generate_series(1, 500) n ORDER BY n")
    wait_aside(database, 500 - bool(odd), one)
    if odd:
        assert "DEAD_LETTER_REFUSED" in one.wait_not_ready("DEAD_LETTER_REFUSED")
        assert database.query("SELECT aggregate_id FROM outbox.event WHERE seq NOT IN (SELECT seq FROM outbox.dead_letter)") == [("300",)]
        database.execute("DROP TRIGGER odd ON outbox.dead_letter")
        eventually(lambda: database.scalar(COUNT) == 500, 60, lambda: "it follows\n" + one.log_tail())
        one.wait_ready(60)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what=lambda: "all are marked\n" + one.log_tail())
    columns = ("event_id", "event_type", "event_version", "aggregate_type", "aggregate_id", "payload", "payload_bytes", "headers", "correlation_id",
               "content_type", "topic")
    values = ", ".join(f"'\\x' || encode({c}, 'hex')" if c == "payload_bytes" else f"{c}::text" for c in columns)
    texts = ", ".join(f"d.event ->> '{c}'" for c in columns)
    assert database.scalar(f"SELECT count(*) FROM outbox.event o JOIN outbox.dead_letter d USING (seq) WHERE ROW({texts}) IS DISTINCT FROM "
                           f"(SELECT ROW({values}) FROM outbox.event e WHERE e.seq = o.seq) OR d.event_id <> o.event_id::text OR NOT event_whole "
                           "OR (d.event ->> 'occurred_at')::timestamptz <> o.occurred_at OR (d.event ->> 'seq')::bigint <> o.seq") == 0
    assert database.scalar("SELECT count(DISTINCT seq) FROM outbox.dead_letter") == database.scalar(COUNT) == 500
    assert database.scalar("SELECT count(*) FROM (SELECT seq < lag(seq) OVER (ORDER BY id) AS back FROM outbox.dead_letter WHERE event ->> 'aggregate_id' <> '300') s WHERE back") == 0
    assert database.query("SELECT DISTINCT error_code, topic, attempts, pipeline FROM outbox.dead_letter") == [("EVENT_UNROUTED", None, 1, "orders")]
    one.stop()
    dead(one, "requeue", "--all")
    assert database.query(f"SELECT count(*)::int, count(DISTINCT ROW({values}))::int FROM outbox.event") == [(1000, 500)]


def test_many_letters_of_an_adopted_table_are_its_rows(poll_relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute(QUOTED)
    options = {**ASIDE, "table": 'public."Out Box"', "columns": QUOTED_COLUMNS, "header_columns": ["Tenant's", "region", "amount"], "topic": "",
               "routes": [{"aggregate_type": "none", "topic": topic}]}
    one = poll_relay(options).start()
    database.execute('INSERT INTO "Out Box" ("type", "Agg""Type", "agg id", body, "Tenant\'s", region, amount, "seen at") SELECT '
                     "'t', 'a', 'käse' || n, ('{\"a\":  1, \"a\": ' || n || '}')::json, 'ü' || n, NULLIF('eu' || n % 2, 'eu0'), n / 8.0, now() FROM generate_series(1, 100) n")
    wait_aside(database, 100, one)
    one.stop()
    dead(one, "requeue", "--all")
    text = 'convert_to((to_jsonb(o) - \'Position\' - \'Sent\' - \'body\')::text || body::text, \'UTF8\')'
    assert database.query(f'SELECT count(*)::int, count(DISTINCT {text})::int FROM public."Out Box" o')[0] == (200, 100)


def test_a_row_that_is_gone_and_a_message_are_kept_whole_too(wal_relay, kafka, database, prefix):
    """Deleted in its own transaction, and never there: the bytes come from the relay, each large one as it is."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay({**ASIDE, "messages": True, "topic": "", "routes": [{"aggregate_type": "none", "topic": topic}]}).start()
    big = "ä" * 4_500_000
    with database.connect() as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload_bytes, correlation_id) VALUES "
                           "('t', 'order', 'käse', convert_to(%s, 'UTF8'), %s)", (big, "ö" * 2_200_000))
            cursor.execute("DELETE FROM outbox.event")
        connection.commit()
    database.execute("SELECT outbox.emit_message('t', 'order', 'k', jsonb_build_object('p', repeat('ü', 100)))")
    wait_aside(database, 2, one)
    assert database.query("SELECT event_whole, event ->> 'aggregate_id' FROM outbox.dead_letter ORDER BY id") == [(True, "käse"), (True, "k")]
    for column, value in (("payload_bytes", big), ("correlation_id", "ö" * 2_200_000)):
        assert database.scalar(f"SELECT convert_from(event_large_values[array_position(event_large, '{column}')], 'UTF8') = %s FROM outbox.dead_letter "
                               "ORDER BY id LIMIT 1", (value,))
    one.stop()
    dead(one, "requeue", "--all")
    assert database.query("SELECT convert_from(payload_bytes, 'UTF8') = %s, correlation_id = %s FROM outbox.event WHERE aggregate_id = 'käse'",
                          (big, "ö" * 2_200_000)) == [(True, True)]


@pytest.mark.parametrize("name", ["€" * 800, "x" * 601 + "𝄞" * 100, "ä" * 400], ids=["three", "four", "two"])
def test_a_reason_is_cut_between_characters(captured, kafka, database, prefix, name):
    one = captured(ASIDE).start()
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) VALUES ('t', %s, '1', '{}')", (name,))
    wait_aside(database, 1, one)
    reason = database.scalar("SELECT reason FROM outbox.dead_letter")
    assert "\ufffd" not in reason and name[:50] in reason
    assert database.scalar("SELECT event ->> 'aggregate_type' FROM outbox.dead_letter") == name


def test_a_letter_that_is_not_whole_is_not_requeued(relay, database):
    one = relay()
    fill(database, 1)
    database.execute("UPDATE outbox.dead_letter SET event_whole = false, seq = 7")
    text = dead(one, "requeue", "1", expect=1).stderr
    assert "does not contain the complete event (seq 7)" in text and "published_at" in text
    assert "incomplete" in dead(one, "show", "1").stdout
    assert json.loads(dead(one, "show", "1", "--json").stdout)["event_whole"] is False and database.scalar(COUNT) == 1
