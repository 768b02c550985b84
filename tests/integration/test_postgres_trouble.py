"""PostgreSQL restarts, stops, cuts connections, hangs or forgets us: nothing lost, no duplicate while the relay lives, and no shutdown held up. By
polling and from the WAL, rows and messages by turns."""

import contextlib
import os
import signal
import time

import pytest

from conftest import soak
from support import workload
from support.common import at_pace, eventually
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.verify import compare, read_truth
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def look(database):
    """The slot and the position of the WAL, as an observer sees them."""
    return Wal(database, publication=None, role=None)


@pytest.fixture
def under_load(captured, capture, kafka, database, look, prefix):
    """under_load(fault, times): writers run, the fault is called again and again with progress between, and meets events on their way; 0 lost,
    0 duplicates. With "wal" the rules of the slot are watched all the time."""
    def run(fault, times=3, pipeline=None, seed=1):
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        from_wal = capture == "wal"
        workload.prepare(database, keys=20, emit=workload.BOTH if from_wal else workload.ROWS)
        one = captured({"batch_events": 50, "messages": True if from_wal else None, "retry_backoff_min": "20ms", "retry_backoff_max": "200ms",
                        **(pipeline or {})})
        with look.watch() if from_wal else contextlib.nullcontext():
            one.start()
            with workload.Writers(database, threads=4, keys=20, seed=seed, pause_ms=60):
                for _ in range(times):
                    one.wait_published(one.published() + 50, 40)
                    eventually(lambda: one.metric("window_events") > 0, what=one.log_tail, interval=0.002)
                    fault(one)
                one.wait_published(one.published() + 50, 40)
            eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())
            if from_wal:
                look.wait_confirmed()
        compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=one.excused_repeats())
        assert one.running() and one.starts == 1
        return one
    return run


def test_fast_restart_under_load_loses_and_repeats_nothing(under_load, postgres):
    """The slot goes back to its last checkpoint; our own position goes into START_REPLICATION."""
    one = under_load(lambda _: postgres.restart("fast"))
    assert one.metric("pg_reconnects_total") >= 3


def test_immediate_restart_under_load_loses_and_repeats_nothing(under_load, postgres):
    one = under_load(lambda _: postgres.restart("immediate"), seed=2)
    assert one.metric("pg_reconnects_total") >= 3


@pytest.mark.parametrize("capture, connection, on_publish", [("poll", "all", "mark"), ("poll", "all", "delete"), ("wal", "walsender", "mark"),
                                                             ("wal", "control", "mark"), soak("wal", "all", "mark")])
def test_terminated_connections_under_load_lose_and_repeat_nothing(under_load, database, look, connection, on_publish):
    """Debezium: shouldReceiveChangesAfterConnectionRestart, shouldRecoverFromRetriableException."""
    fault = {"walsender": look.terminate_sender, "control": look.terminate_control, "all": database.terminate_backends}[connection]
    under_load(lambda _: fault(), times=5, pipeline={"on_publish": on_publish}, seed=3)


@pytest.mark.own_broker
@pytest.mark.by_turns
def test_kafka_kill_and_restart_under_load_loses_and_repeats_nothing(under_load, kafka):
    def fault(_):
        kafka.kill()
        kafka.start()
    under_load(fault, times=1, seed=4)


@pytest.mark.parametrize("capture", ["poll"])
def test_crashed_backend_of_the_relay_is_survived(under_load, database, postgres):
    def fault(_):
        pids = [r[0] for r in postgres.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'shop_relay' AND datname = %s", (database.name,))]
        os.kill(pids[0], signal.SIGKILL)
    under_load(fault, times=1, seed=5)


@pytest.mark.parametrize("capture", ["wal"])
def test_walsender_killed_by_the_system_is_survived(under_load, look):
    under_load(lambda _: os.kill(eventually(look.sender, 10, "a walsender")["pid"], signal.SIGKILL), times=1, seed=4)


@pytest.mark.parametrize("capture", ["wal"])
def test_walsender_that_hangs_is_left_and_the_stream_goes_on(under_load, look):
    """SIGSTOP: the connection is up and silent. The relay hangs up by its own clock and waits for the slot."""
    def fault(one):
        pid = eventually(look.sender, 10, "a walsender")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            one.wait_log("POSTGRES_SILENT")
        finally:
            os.kill(pid, signal.SIGCONT)
    under_load(fault, times=1, pipeline={"lease": "2s"}, seed=6)


def test_fast_shutdown_of_an_idle_postgresql_is_immediate(captured, kafka, database, postgres, prefix):
    """Debezium: shouldStopOnPostgresFastShutdown."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured().start()
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


def test_wal_fast_shutdown_under_load_waits_only_for_acknowledgements(wal_relay, kafka, database, postgres, prefix):
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


@pytest.mark.own_broker
@pytest.mark.parametrize("window", [10000, 20], ids=["window open", "window full"])
def test_wal_fast_shutdown_with_a_dead_broker_is_held_up_no_longer_than_the_grace(wal_relay, kafka, database, wal, postgres, prefix, window):
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


@pytest.mark.own_broker
def test_wal_sigterm_with_the_broker_down_ends_at_the_deadline_with_exit_5(wal_relay, kafka, database, wal, prefix):
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


def test_postgresql_that_is_away_at_the_start_is_waited_for(captured, kafka, database, postgres, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    postgres.stop("fast")
    try:
        one = captured()
        one.start(wait_ready=False)
        one.wait_not_ready("(?i)postgres|database|connect")
    finally:
        postgres.start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1


def test_table_that_is_not_there_stops_the_relay_with_a_remedy(relay, kafka, empty_database, prefix):
    empty_database.execute("GRANT CREATE ON SCHEMA public TO shop_relay")
    one = relay(dsn=empty_database.dsn()).start(wait_ready=False)
    assert one.wait_exit(20) == 2
    assert one.log_lines("outboxd migrate"), one.log_tail()


def test_missing_privilege_stops_the_relay_and_names_it(relay, kafka, database, prefix):
    database.execute("REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay")
    kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay().start(wait_ready=False)
    assert one.wait_exit(20) == 2
    assert one.log_lines("(?i)permission|privilege|GRANT"), one.log_tail()


def test_lock_on_the_table_delays_and_does_not_break(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay({"lease": "1s"}).start()
    locker = database.connect(SUPERUSER, autocommit=False)
    with locker.cursor() as cursor:
        cursor.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        cursor.execute("LOCK TABLE outbox.event IN ACCESS EXCLUSIVE MODE")
        one.wait_log("POSTGRES_SILENT|(?i:timeout|cancel)", 10)
        locker.commit()
    locker.close()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    one.wait_ready()
