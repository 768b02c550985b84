"""PostgreSQL restarts, stops, cuts connections or hangs: nothing lost, no duplicate while the relay lives, and no shutdown held up."""

import os
import signal
import time

import pytest

from conftest import soak
from support import workload
from support.common import at_pace, eventually
from support.consume import read_topics, wait_for_records
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def under_load(wal_relay, kafka, database, wal, prefix):
    """under_load(fault, times): writers run, the fault is called again and again with progress between; 0 lost, 0 duplicates."""
    def run(fault, times=3, pipeline=None, seed=1):
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        workload.prepare(database, keys=20, emit=workload.BOTH)
        one = wal_relay({"batch_events": 50, "messages": True, "retry_backoff_min": "20ms", "retry_backoff_max": "200ms",
                         **(pipeline or {})}).start()
        with workload.Writers(database, threads=4, keys=20, seed=seed):
            for _ in range(times):
                one.wait_published(one.published() + 150, 40)
                fault(one)
            one.wait_published(one.published() + 150, 40)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all marked\n" + one.log_tail())
        wal.wait_confirmed()
        compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=one.excused_repeats())
        assert one.running() and one.starts == 1
        return one
    return run


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_of_postgresql_under_load_loses_and_repeats_nothing(under_load, postgres, wal, mode):
    """The slot goes back to its last checkpoint; our own position goes into START_REPLICATION."""
    with wal.watch():
        one = under_load(lambda _: postgres.restart(mode), seed=1 if mode == "fast" else 2)
    assert one.metric("pg_reconnects_total") >= 3


@pytest.mark.parametrize("connection", ["walsender", "control", soak("both")])
def test_terminated_connection_under_load_loses_and_repeats_nothing(under_load, database, wal, connection):
    """Debezium: shouldReceiveChangesAfterConnectionRestart, shouldRecoverFromRetriableException."""
    fault = {"walsender": wal.terminate_sender, "control": wal.terminate_control, "both": database.terminate_backends}[connection]
    with wal.watch():
        under_load(lambda _: fault(), times=6, seed=3)


def test_walsender_killed_by_the_system_is_survived(under_load, wal):
    under_load(lambda _: os.kill(eventually(wal.sender, 10, "a walsender")["pid"], signal.SIGKILL), times=1, seed=4)


def test_kafka_kill_and_restart_under_load_loses_and_repeats_nothing(under_load, kafka):
    def fault(_):
        kafka.kill()
        kafka.start()
    under_load(fault, times=1, seed=5)


def test_walsender_that_hangs_is_left_and_the_stream_goes_on(under_load, wal):
    """SIGSTOP: the connection is up and silent. The relay hangs up by its own clock and waits for the slot."""
    def fault(one):
        pid = eventually(wal.sender, 10, "a walsender")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            one.wait_log("POSTGRES_SILENT")
        finally:
            os.kill(pid, signal.SIGCONT)
    under_load(fault, times=1, pipeline={"lease": "2s"}, seed=6)


def test_fast_shutdown_of_an_idle_postgresql_is_immediate(wal_relay, kafka, database, wal, postgres, prefix):
    """Debezium: shouldStopOnPostgresFastShutdown."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay().start()
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    wait_for_records(kafka.brokers, topic, 1)
    begin = time.monotonic()
    postgres.stop("fast", timeout=20)
    took = time.monotonic() - begin
    try:
        one.wait_not_ready("(?i)postgres|database|connect")
        assert one.http("/livez")[0] == 200
    finally:
        postgres.start()
    one.wait_ready()
    assert took < at_pace(3), f"the shutdown took {took:.1f} s"


def test_fast_shutdown_under_load_waits_only_for_acknowledgements(wal_relay, kafka, database, postgres, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    one = wal_relay().start()
    with workload.Writers(database, threads=4, keys=20):
        one.wait_published(200)
        begin = time.monotonic()
        postgres.stop("fast", timeout=30)
        took = time.monotonic() - begin
        postgres.start()
        one.wait_published(one.published() + 100, 40)
    assert took < at_pace(6), f"the shutdown took {took:.1f} s"
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, "all marked")
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=0)


@pytest.mark.parametrize("window", [10000, 20], ids=["window open", "window full"])
def test_fast_shutdown_with_a_dead_broker_is_held_up_no_longer_than_the_grace(wal_relay, kafka, database, wal, postgres, prefix, window):
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay({"pg_shutdown_grace": "2s", "in_flight_events": window, "batch_events": 5}).start()
    emit = "SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(%s, %s) n"
    database.execute(emit, (1, 1))
    wait_for_records(kafka.brokers, topic, 1)
    with kafka.away():
        database.execute(emit, (2, 500))
        eventually(lambda: one.metric("inflight_events") >= min(window, 499) // 2, what="events in flight")
        begin = time.monotonic()
        postgres.stop("fast", timeout=40)
        took = time.monotonic() - begin
        postgres.start()
        assert took < at_pace(5), f"the shutdown took {took:.1f} s\n{one.log_tail()}"
        assert one.running()
    found = [r.key for r in wait_for_records(kafka.brokers, topic, 500, 60)]
    assert found == [str(n).encode() for n in range(1, 501)]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, "all marked")
    assert len(read_topics(kafka.brokers, topic)) == 500, "no repeats while the relay lives"


def test_sigterm_with_the_broker_down_ends_at_the_deadline_with_exit_5(wal_relay, kafka, database, wal, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay(shutdown_timeout="1s").start()
    database.execute("SELECT outbox.emit('order.placed', 'order', '0', '{}')")
    wait_for_records(kafka.brokers, topic, 1)
    with kafka.away():
        database.execute("SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(1, 50) n")
        eventually(lambda: one.metric("inflight_events") >= 50, what="events in flight")
        one.signal(signal.SIGTERM)
        assert one.wait_exit(4) == 5, one.log_tail()
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "published by the next start")
    assert {r.key for r in read_topics(kafka.brokers, topic)} == {str(n).encode() for n in range(51)}


def test_postgresql_that_is_away_at_the_start_is_waited_for(wal_relay, kafka, database, wal, postgres, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    postgres.stop("fast")
    try:
        one = wal_relay().start(wait_ready=False)
        one.wait_not_ready("(?i)postgres|database|connect")
    finally:
        postgres.start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
