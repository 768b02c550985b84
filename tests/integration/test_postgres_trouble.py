"""PostgreSQL restarts, cuts connections, forgets us: nothing lost, and no duplicate while the relay lives."""

import os
import signal

import pytest

from support import workload
from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def under_load(relay, kafka, database, prefix):
    """under_load(fault, times): writers run, the fault is called again and again with progress between; 0 lost, 0 duplicates."""
    def run(fault, times=3, pipeline=None, seed=1):
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        workload.prepare(database, keys=20)
        one = relay({"batch_events": 50, "retry_backoff_min": "20ms", "retry_backoff_max": "200ms", **(pipeline or {})}).start()
        with workload.Writers(database, threads=4, keys=20, seed=seed):
            for _ in range(times):
                goal = one.published() + 150
                one.wait_published(goal, 40)
                fault(one)
            one.wait_published(one.published() + 150, 40)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())
        compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=one.excused_repeats())
        assert one.running() and one.starts == 1
        return one
    return run


def test_fast_restart_under_load_loses_and_repeats_nothing(under_load, postgres):
    one = under_load(lambda _: postgres.restart("fast"))
    assert one.metric("pg_reconnects_total") >= 3


def test_immediate_restart_under_load_loses_and_repeats_nothing(under_load, postgres):
    under_load(lambda _: postgres.restart("immediate"), seed=2)


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_terminated_connections_under_load_lose_and_repeat_nothing(under_load, database, on_publish):
    under_load(lambda _: database.terminate_backends(), times=8, pipeline={"on_publish": on_publish}, seed=3)


def test_kafka_kill_and_restart_under_load_loses_and_repeats_nothing(under_load, kafka):
    def fault(_):
        kafka.kill()
        kafka.start()
    under_load(fault, times=1, seed=4)


def test_crashed_backend_of_the_relay_is_survived(under_load, database, postgres):
    def fault(_):
        pids = [r[0] for r in postgres.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'shop_relay' AND datname = %s", (database.name,))]
        os.kill(pids[0], signal.SIGKILL)
    under_load(fault, times=1, seed=5)


def test_shutdown_of_postgresql_is_not_held_up_by_the_relay(relay, kafka, database, postgres, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    postgres.stop("fast", timeout=10)
    try:
        one.wait_not_ready("(?i)postgres|database|connect")
        assert one.http("/livez")[0] == 200
    finally:
        postgres.start()
    one.wait_ready()


def test_postgresql_that_is_away_at_the_start_is_waited_for(relay, kafka, database, postgres, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    postgres.stop("fast")
    try:
        one = relay().start(wait_ready=False)
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
