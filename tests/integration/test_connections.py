"""PostgreSQL goes away for a moment or for longer than the lease, with or without a broker that hangs meanwhile. While no other relay
publishes in between, nothing is sent twice, and what might be is counted."""

import contextlib
import time

import pytest

from conftest import soak
from support.common import eventually
from support.consume import read_topics
from support.trial import Trial

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def until(deadline):
    """Lets the rest of an outage pass: its length is what is tried."""
    while time.monotonic() < deadline:
        time.sleep(0.05)


def outage(postgres, seconds, mode):
    begin = time.monotonic()
    postgres.stop(mode)
    until(begin + seconds)
    postgres.start()


def finished(database, one, timeout=60):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked\n{one.log_tail(40)}")


def in_flight_on_the_wire(one, trial, count):
    """Events that are read and sent while the broker does not answer."""
    trial.emit(count)
    eventually(lambda: one.metric("inflight_events") >= count, what="the events are with the producer")


@pytest.mark.own_broker
@pytest.mark.parametrize("seconds", [14, soak(25)])
def test_a_hanging_broker_and_a_restart_of_postgres_make_no_duplicates(captured, postgres, kafka, database, prefix, seconds):
    """Trial 1.18: the broker hangs for longer than a rewind used to wait (10 s)."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = captured().start()
    trial = Trial(database, one)
    trial.emit(300)
    one.wait_published(300)
    with kafka.away():
        begin = time.monotonic()
        in_flight_on_the_wire(one, trial, 50)
        postgres.restart("immediate")
        one.wait_not_ready("KAFKA_NO_ACKNOWLEDGEMENT", 30)
        until(begin + seconds)
        assert not one.log_lines("SINK_DID_NOT_SETTLE")
    finished(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=one.excused_repeats())
    assert one.metric("events_replayed_total") == one.excused_repeats()
    one.wait_ready()


@pytest.mark.parametrize("hangs", [pytest.param(False, id="broker_answers"), pytest.param(True, id="broker_hangs", marks=pytest.mark.own_broker)])
@pytest.mark.parametrize("lease, away", [pytest.param("5s", 1.5, id="within_the_lease"), pytest.param("1s", 3, id="beyond_the_lease"),
                                         soak("10s", 5, id="5_s"), soak("10s", 60, id="60_s")])
def test_postgres_away_makes_no_duplicates(captured, postgres, kafka, database, prefix, lease, away, hangs):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = captured({"lease": lease}).start()
    trial = Trial(database, one)
    trial.emit(300)
    one.wait_published(300)
    with kafka.away() if hangs else contextlib.nullcontext():
        if hangs:
            in_flight_on_the_wire(one, trial, 50)
        else:
            trial.emit(2000)
        outage(postgres, away, "immediate")
        if hangs:
            eventually(lambda: one.log_lines("KAFKA_NO_ACKNOWLEDGEMENT"), 30, lambda: f"said\n{one.log_tail()}")
    finished(database, one)
    trial.emit(20)
    finished(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    print(f"PostgreSQL away for {away} s, lease {lease}, broker {'hangs' if hangs else 'answers'}: {result}")
    result.assert_none_lost(duplicates=one.excused_repeats())
    assert one.metric("events_replayed_total") == one.excused_repeats()
    assert one.metric("producer_recreated_total") == len(one.log_lines("KAFKA_PRODUCER_FATAL"))


@pytest.mark.own_broker
def test_nothing_leaves_beyond_the_lease_until_the_lock_is_back(captured, postgres, kafka, database, prefix):
    """The broker is back, PostgreSQL is not: another relay might publish."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured({"lease": "1s", "in_flight_events": 5000}, kafka={"properties": ["batch.num.messages=10"]}).start()
    trial = Trial(database, one)
    trial.emit(300)
    one.wait_published(300)
    with kafka.away():
        in_flight_on_the_wire(one, trial, 3000)  # 300 requests, of which five go out to a broker that does not answer
        eventually(lambda: kafka.unread() >= 1000, 20, lambda: f"requests are on the wire: {kafka.unread()} bytes\n{one.log_tail()}")
        postgres.stop("immediate")
        until(time.monotonic() + 3)
    try:
        # Five requests of ten were on the wire when the broker stopped, and one more was made.
        def count():
            return len(read_topics(kafka.brokers, topic)) - 300

        eventually(lambda: count() >= 10, what="what was on the wire is written")
        eventually(lambda: count() == count(), what="nothing more leaves")
        assert count() <= 60, f"{count()} left"
    finally:
        postgres.start()
    finished(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=one.excused_repeats())
    assert one.metric("events_replayed_total") == one.excused_repeats()


@pytest.mark.own_broker
def test_what_another_relay_may_have_sent_is_given_back_and_counted(relay, postgres, kafka, database, prefix):
    """Two relays: the first is cut off with records at a broker that hangs; the second takes over."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    one = relay({"lease": "1s", "standby_interval": "200ms"}).start()
    trial = Trial(database, one)
    trial.emit(300)
    one.wait_published(300)
    two = relay({"lease": "1s", "standby_interval": "200ms"}).start()
    with kafka.away():
        in_flight_on_the_wire(one, trial, 50)
        one.pause()
        eventually(lambda: two.log_lines("PIPELINE_ACTIVE"), 30, lambda: f"the second takes over\n{two.log_tail()}")
    finished(database, two)
    one.resume()
    one.wait_log("PIPELINE_STANDBY", 30)
    trial.emit(100)
    finished(database, two)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(duplicates=50, inverted=50)
