"""Kafka says no, or nothing at all: wait, say so once, go on when mended; set aside or stop as configured."""

import json
import re

import pytest

from support.common import eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.kafka import SASL_USERS
from support.relay import NO_QUARANTINE

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(database, key, payload="{}", aggregate="order", event_type="order.placed"):
    database.execute("SELECT outbox.emit(%s, %s, %s, %s)", (event_type, aggregate, str(key), payload))


def test_unknown_topic_waits_says_so_once_and_goes_on_when_it_is_created(relay, kafka, database, prefix):
    topic = f"{prefix}.order"
    emit(database, "early")
    one = relay().start(wait_ready=False)
    reason = one.wait_not_ready(topic)
    assert re.search("(?i)exist|unknown topic", reason), reason
    assert len(one.wait_log(f"KAFKA_TOPIC_UNKNOWN.*{topic}")) == 1
    emit(database, "waiting")
    stays_true(lambda: len(one.log_lines("KAFKA_TOPIC_UNKNOWN")) == 1, 1.5, "said once")
    assert database.scalar(UNPUBLISHED) == 2 and database.scalar("SELECT count(*) FROM outbox.dead_letter") == 0
    assert topic not in kafka.admin().list_topics(timeout=5).topics, "topics are never created by accident"
    kafka.create_topic(topic)
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"early", b"waiting"]
    one.wait_ready()
    assert one.log_lines("TOPIC_READY"), one.log_tail()


def test_topic_that_is_deleted_while_running_is_waited_for(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1)
    one = relay().start()
    wait_for_records(kafka.brokers, topic, 1)
    kafka.delete_topic(topic)
    emit(database, 2)
    one.wait_not_ready(topic)
    kafka.create_topic(topic)
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 1)] == [b"2"]
    one.wait_ready()


def test_unknown_topic_of_one_event_does_not_lose_events_of_others(relay, kafka, database, prefix):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    for n in range(6):
        emit(database, n, aggregate="there" if n % 2 == 0 else "missing")
    one = relay().start(wait_ready=False)
    one.wait_not_ready(missing)
    kafka.create_topic(missing)
    assert [r.key for r in wait_for_records(kafka.brokers, missing, 3)] == [b"1", b"3", b"5"]
    assert [r.key for r in wait_for_records(kafka.brokers, there, 3)] == [b"0", b"2", b"4"]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")
    assert len(read_topics(kafka.brokers, [there, missing])) == 6, "no duplicates"


@pytest.mark.own_broker
@pytest.mark.slow
def test_broker_that_is_down_is_waited_for_with_flat_memory_and_no_duplicates(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    emit(database, "first")
    one = relay({"in_flight_events": 500, "batch_events": 200}, env=NO_QUARANTINE).start()
    one.wait_published(1)
    kafka.kill()
    try:
        database.execute("SELECT outbox.emit('order.placed', 'order', n::text, to_jsonb(repeat('x', 1000))) "
                         "FROM generate_series(1, 3000) n")
        eventually(lambda: one.metric("inflight_events") >= 400, what="nearly the limit of events in flight is read")
        reason = one.wait_not_ready("(?i)kafka|broker")
        assert reason
        before = one.memory_kb("VmRSS")
        stays_true(lambda: one.metric("inflight_events") <= 500 and one.http("/livez")[0] == 200, 2.0, "bounded and alive")
        assert one.memory_kb("VmRSS") < before + 8192
        assert len(one.log_lines("(?i)level=error|error ")) <= 3, one.log_tail()
    finally:
        kafka.start()
    one.wait_published(3001, 40)
    one.wait_ready()
    assert len(read_topics(kafka.brokers, topic)) == 3001


@pytest.mark.own_broker
def test_broker_that_is_not_there_at_the_start_is_waited_for(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1)
    kafka.kill()
    try:
        one = relay().start(wait_ready=False)
        one.wait_not_ready("(?i)kafka|broker")
    finally:
        kafka.start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    one.wait_ready()


def test_missing_permission_is_waited_for_and_granted_without_restart(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1)
    one = relay(brokers=kafka.sasl_brokers, kafka={"properties": kafka.sasl_properties("relay")}).start(wait_ready=False)
    # Without the right to write anything there is no idempotent producer either: both reasons come by turns.
    one.wait_not_ready("(?i)authori")
    one.wait_log(f"KAFKA_TOPIC_DENIED.*{topic}.*Grant WRITE")
    kafka.grant("relay", topic, "WRITE", "DESCRIBE")
    assert len(wait_for_records(kafka.brokers, topic, 1, timeout=30)) == 1
    one.wait_ready()
    assert database.scalar("SELECT count(*) FROM outbox.dead_letter") == 0
    assert SASL_USERS["relay"] not in one.log_text() and SASL_USERS["relay"] not in json.dumps(one.status())


def test_wrong_password_is_said_without_the_password(relay, kafka, database, prefix):
    emit(database, 1)
    properties = [p if not p.startswith("sasl.password") else "sasl.password=wrong-hush-hush" for p in kafka.sasl_properties()]
    one = relay(brokers=kafka.sasl_brokers, kafka={"properties": properties}).start(wait_ready=False)
    one.wait_not_ready("(?i)authenticat|kafka|broker")
    one.wait_log("(?i)authenticat")
    assert "hush" not in one.log_text() and "hush" not in json.dumps(one.status())
    assert "hush" not in open(f"/proc/{one.pid}/cmdline", "rb").read().decode()


BIG = '"' + "x" * 5000 + '"'


def oversize(database, kafka, prefix, config="max.message.bytes"):
    topic = kafka.create_topic(f"{prefix}.order", config={config: "3000"})
    for n in range(3):
        emit(database, n)
    emit(database, "too big", BIG)
    for n in range(3, 20):
        emit(database, n)
    return topic


def test_oversized_record_holds_its_topic_with_its_reason_and_loses_nothing_behind_it(relay, kafka, database, prefix):
    topic = oversize(database, kafka, prefix)
    one = relay({"batch_events": 8}).start(wait_ready=False)
    assert "max.message.bytes" in one.wait_not_ready("RECORD_TOO_LARGE")
    eventually(lambda: one.metric("waiting_events") == 18, what="those behind it wait")
    one.stop()
    there = [r.key.decode() for r in read_topics(kafka.brokers, topic)]
    marked = [r[0] for r in database.query("SELECT aggregate_id FROM outbox.event WHERE published_at IS NOT NULL")]
    assert set(marked) <= set(there) and "too big" not in there, "nothing is marked that Kafka does not have"
    assert database.scalar("SELECT count(*) FROM outbox.dead_letter") == 0
    kafka.alter_topic(topic, max_message_bytes=100000)
    two = relay().start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="everything published after the topic was mended")
    assert sorted(r.key.decode() for r in read_topics(kafka.brokers, topic)) == sorted(["too big", *map(str, range(20))])
    two.stop()


def test_oversized_record_is_set_aside_with_its_reason_and_the_others_flow(relay, kafka, database, prefix):
    topic = oversize(database, kafka, prefix)
    one = relay({"on_poison": "dead_letter", "batch_events": 8}).start()
    records = wait_for_records(kafka.brokers, topic, 20)
    assert [r.key.decode() for r in records] == [str(n) for n in range(20)]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="the source is told")
    columns = [r[0] for r in database.query("SELECT attname FROM pg_attribute WHERE attrelid = 'outbox.dead_letter'::regclass AND attnum > 0")]
    row = dict(zip(columns, database.query("SELECT * FROM outbox.dead_letter")[0]))
    assert database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1
    text = " ".join(str(v) for v in row.values())
    assert row["pipeline"] == "orders" and "too big" in text, row
    assert one.metric("events_dead_lettered_total") == 1
    assert one.ready()[0]


def test_record_that_only_the_broker_refuses_is_isolated_from_its_batch(relay, kafka, database, prefix):
    """The limit is lowered after the relay has read it, so the broker rejects the whole batch."""
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "100000"})
    one = relay({"on_poison": "dead_letter"}, kafka={"properties": ["linger.ms=200"]}).start()
    emit(database, "warm")
    one.wait_published(1)
    kafka.alter_topic(topic, max_message_bytes=3000)
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        for n in range(12):
            cursor.execute("SELECT outbox.emit('order.placed', 'order', %s, %s)", (str(n), BIG if n == 5 else "{}"))
        connection.commit()
    records = wait_for_records(kafka.brokers, topic, 12, timeout=40)
    keys = [r.key.decode() for r in records]
    assert set(keys) == {"warm", *(str(n) for n in range(12) if n != 5)}
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="set aside")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all settled")


def test_compacted_topic_refuses_a_record_without_key_as_poison(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"cleanup.policy": "compact"})
    emit(database, "1")
    database.execute("SELECT outbox.emit('order.placed', 'order', NULL, '{}')")
    emit(database, "2")
    relay({"on_poison": "dead_letter"}).start()
    assert {r.key for r in wait_for_records(kafka.brokers, topic, 2, timeout=40)} == {b"1", b"2"}
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="set aside")


def unrouted(database, kafka, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1)
    emit(database, 2, event_type="unwanted.thing", aggregate="thing")
    emit(database, 3)
    return topic, {"topic": "", "routes": [{"aggregate_type": "order", "topic": topic}]}


def test_unrouted_event_waits_and_is_named(relay, kafka, database, prefix):
    topic, options = unrouted(database, kafka, prefix)
    one = relay(options).start(wait_ready=False)
    assert "aggregate type thing" in one.wait_not_ready("EVENT_UNROUTED")
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"1", b"3"]
    one.stop()
    assert database.scalar("SELECT published_at IS NULL FROM outbox.event WHERE aggregate_id = '2'")
    there = {r.key.decode() for r in read_topics(kafka.brokers, topic)}
    marked = {r[0] for r in database.query("SELECT aggregate_id FROM outbox.event WHERE published_at IS NOT NULL")}
    assert marked <= there and "2" not in there


def test_unrouted_event_is_dropped_and_counted(relay, kafka, database, prefix):
    topic, options = unrouted(database, kafka, prefix)
    one = relay({**options, "on_unrouted": "drop"}).start()
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"1", b"3"]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="the dropped row is settled")
    assert one.metric("events_dropped_total") == 1


def test_unrouted_event_is_set_aside(relay, kafka, database, prefix):
    topic, options = unrouted(database, kafka, prefix)
    relay({**options, "on_unrouted": "dead_letter"}).start()
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"1", b"3"]
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="set aside")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="settled")


def test_template_that_makes_an_impossible_topic_is_unroutable_not_a_crash(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1)
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) "
                     "VALUES ('order.placed', 'no topic: spaces & umlauts ä', '2', '{}')")
    emit(database, 3)
    relay({"on_unrouted": "dead_letter", "on_poison": "dead_letter"}).start()
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"1", b"3"]
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="set aside")


def test_one_pipeline_waits_and_the_other_goes_on(relay, kafka, database, prefix):
    good, bad = kafka.create_topic(f"{prefix}.good"), kafka.create_topic(f"{prefix}.bad", config={"max.message.bytes": "1000"})
    database.execute("CREATE TABLE public.second (LIKE outbox.event INCLUDING ALL); GRANT SELECT, UPDATE ON second TO shop_relay")
    emit(database, "big", BIG)
    database.execute("INSERT INTO second (event_type, aggregate_type, aggregate_id, payload) VALUES ('a', 'b', '1', '{}')")
    from support.relay import configuration
    config = configuration(database.dsn(), kafka.brokers, pipelines=[
        {"name": "orders", "topic": bad}, {"name": "others", "table": "public.second", "topic": good}])
    one = relay(config=config).start(wait_ready=False)
    assert "orders" in one.wait_not_ready("orders")
    assert len(wait_for_records(kafka.brokers, good, 1)) == 1
    database.execute("INSERT INTO second (event_type, aggregate_type, aggregate_id, payload) VALUES ('a', 'b', '2', '{}')")
    assert len(wait_for_records(kafka.brokers, good, 2)) == 2
    eventually(lambda: one.metric("held_rows", pipeline="orders") == 1, 20, one.log_tail)
    assert one.metric("held_rows", pipeline="others") == 0


@pytest.mark.parametrize("property_,word", [
    ("acks=1", "acks"), ("request.required.acks=0", "acks"), ("enable.idempotence=false", "enable.idempotence"),
    ("message.timeout.ms=30000", "message.timeout.ms"), ("max.in.flight.requests.per.connection=20", "max.in.flight"),
    ("retries=0", "retries"), ("partitioner=random", "partitioner"), ("no.such.property=1", "no.such.property"),
    ("compression.type=brotli", "brotli")])
def test_property_that_breaks_a_guarantee_is_refused_by_name(relay, kafka, database, prefix, property_, word):
    one = relay(kafka={"properties": [property_]}).start(wait_ready=False)
    assert one.wait_exit(20) == 1
    lines = one.log_lines(word.replace(".", r"\."))
    assert lines, one.log_tail()


def test_any_other_property_is_passed_through(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1, json.dumps("x" * 2000))
    relay(kafka={"properties": ["compression.type=zstd", "linger.ms=1", "client.rack=here"]}).start()
    wait_for_records(kafka.brokers, topic, 1)


def test_a_waiting_relay_says_still_waiting_only_now_and_then(relay, kafka, database, prefix):
    emit(database, 1)
    one = relay({"retry_backoff_min": "20ms", "retry_backoff_max": "50ms"}).start(wait_ready=False)
    one.wait_not_ready(prefix)
    stays_true(lambda: len(one.log_lines(f"{prefix}")) <= 2, 2.0, "no line for every attempt")
    assert one.running()
