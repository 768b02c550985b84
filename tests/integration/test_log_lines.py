"""An outage, a poison flood, a connection that comes and goes: the log says so, in a bounded number of lines."""

import re

import pytest

from conftest import soak
from support.common import eventually
from support.consume import wait_for_records
from support.postgres import RELAY

QUICK = {"retry_backoff_min": "10ms", "retry_backoff_max": "30ms"}
LIMIT_LINES = 10  # relay/base/log_limit.h


def emit(database, key, aggregate="order"):
    database.execute("SELECT outbox.emit('order.placed', %s, %s, '{}')", (aggregate, str(key)))


def new_lines(one, before):
    return one.log_lines()[before:]


@pytest.mark.own_broker
def test_a_dead_broker_makes_few_lines_for_many_attempts(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay(QUICK, kafka={"properties": ["reconnect.backoff.ms=10", "reconnect.backoff.max.ms=30", "debug=broker"]}).start()
    emit(database, "first")
    one.wait_published(1)
    before = len(one.log_lines())
    kafka.kill()
    try:
        for n in range(200):
            emit(database, n)
        one.wait_not_ready()
        heard = one.metric("pg_connected")
        assert heard == 1
        since = one.status()["pipelines"][0]["error"]
        assert since is not None
        eventually(lambda: one.status()["pipelines"][0]["error"]["repeated"] >= 5, 60, lambda: f"many attempts {one.status()['pipelines'][0]['error']}")
    finally:
        kafka.start()
    wait_for_records(kafka.brokers, topic, 201, timeout=60)
    eventually(lambda: one.log_lines("PIPELINE_RECOVERED"), what="it is said that it is over")
    lines = new_lines(one, before)
    assert 2 <= len(lines) <= 12, "\n".join(lines)
    assert not [line for line in lines if "KAFKA_LOG" in line], "librdkafka's own lines are not for the log"


def test_a_dead_database_makes_few_lines_for_many_attempts(captured, kafka, postgres, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured(QUICK).start()
    emit(database, "first")
    one.wait_published(1)
    before = len(one.log_lines())
    attempts = one.metric("pg_reconnects_total")
    postgres.stop("immediate")
    try:
        eventually(lambda: one.metric("pg_reconnects_total") >= attempts + 100, 60, "a hundred attempts")
    finally:
        postgres.start()
    one.wait_ready(60)
    emit(database, "last")
    wait_for_records(kafka.brokers, topic, 2, timeout=60)
    lines = new_lines(one, before)
    assert 2 <= len(lines) <= 15, "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("capture", ["poll", soak("wal")])   # what counts the lines knows no capture
def test_a_connection_that_comes_and_goes_makes_few_lines(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured(QUICK).start()
    emit(database, "first")
    one.wait_published(1)
    before = len(one.log_lines())
    for n in range(40):
        attempts = one.metric("pg_reconnects_total")
        database.terminate_backends()
        eventually(lambda: one.metric("pg_reconnects_total") > attempts and one.ready()[0], 60, f"back after cut {n}")
    emit(database, "last")
    wait_for_records(kafka.brokers, topic, 2)
    one.stop()
    lines = new_lines(one, before)
    unsteady = [line for line in lines if "PIPELINE_UNSTEADY" in line]
    assert unsteady, "\n".join(lines)
    assert len([line for line in lines if " warn " in line]) <= LIMIT_LINES + 8, "\n".join(lines)
    assert len(lines) <= 70, "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("capture, count", [("poll", 4000), soak("poll", 10000), soak("wal", 10000)])
def test_thousands_of_poison_events_make_few_lines_and_all_are_counted(captured, count, kafka, database, prefix):
    """All of them fit into the window: a quiet minute, in which letters are stored and none is read, would end the burst."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured({"in_flight_events": 20000, "on_unrouted": "dead_letter", "topic": "", "routes": [{"aggregate_type": "order", "topic": topic}]}).start()
    database.execute("SELECT outbox.emit('thing.made', 'thing', n::text, '{}') FROM generate_series(1, %s) n", (count,))
    emit(database, "behind")
    wait_for_records(kafka.brokers, topic, 1, timeout=90)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == count, 90, "all are set aside")
    eventually(lambda: one.metric("events_dead_lettered_total", pipeline="orders", reason="unrouted") == count, what="the relay has heard that they are stored")
    assert one.metric("events_dead_lettered_total") == count == one.status()["pipelines"][0]["dead_lettered_total"]
    one.stop()
    lines = one.log_lines("EVENT_SET_ASIDE")
    summed = [int(m.group(1)) for m in (re.search(r" events=(\d+)", line) for line in lines) if m]
    assert len(lines) - len(summed) == LIMIT_LINES and sum(summed) == count - LIMIT_LINES, "\n".join(lines)
    assert len(lines) <= LIMIT_LINES + 10, "\n".join(lines)


def test_failed_deliveries_are_counted_with_topic_and_reason(relay, kafka, database, prefix):
    """The limit is lowered after the relay has read it, so that the broker refuses."""
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "100000"})
    one = relay({"on_poison": "dead_letter"}).start()
    emit(database, "warm")
    one.wait_published(1)
    kafka.alter_topic(topic, max_message_bytes=3000)
    database.execute("SELECT outbox.emit('order.placed', 'order', 'big', to_jsonb(repeat('x', 5000)))")
    eventually(lambda: one.metric("events_dead_lettered_total", reason="too_large") == 1, what="set aside")
    assert one.metric("events_failed_total", pipeline="orders", topic=topic, reason="too_large") >= 1
    assert one.metric("events_failed_total") == one.metric("events_failed_total", reason="too_large")
    assert RELAY not in one.http("/metrics")[1]
