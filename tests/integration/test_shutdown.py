"""Stopping: SIGTERM drains, a second one does not wait, and a deadline is a deadline."""

import signal
import socket
import time

import pytest

from support import workload
from support.common import at_pace, eventually
from support.consume import read_topics
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def backlog(database, count, size=10):
    database.execute("SELECT outbox.emit('order.placed', 'order', (n %% 40)::text, to_jsonb(repeat('x', %s) || n), aggregate_version => n) "
                     "FROM generate_series(1, %s) n", (size, count))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_the_keys_of_a_terminal_drain_too(relay, kafka, database, prefix, number):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    backlog(database, 500)
    one.wait_published(1)
    one.signal(number)
    assert one.wait_exit() == 0, one.log_tail()
    assert one.log_lines(f"code=STOPPING .*{number.name}: draining") and one.log_lines("code=STOPPED")
    published = database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NOT NULL")
    assert len(read_topics(kafka.brokers, topic)) == published, "what was sent is marked"


def test_sigterm_under_load_drains_and_the_next_start_repeats_nothing(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    one = relay({"batch_events": 50})
    with workload.Writers(database, threads=4, keys=20):
        for n in range(4):
            one.start()
            one.wait_published(200)
            one.stop(expect=0)
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="the rest is published")
    assert one.stop() == 0
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=0)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_clean_and_quick_when_idle(relay, kafka, database, prefix, sig):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    one.signal(sig)
    assert one.wait_exit(10) == 0, "long before shutdown_timeout"
    left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop_relay' AND datname = current_database()"
    eventually(lambda: database.scalar(left) == 0, what="PostgreSQL has seen that the connections are closed")


@pytest.mark.own_broker
def test_sigterm_with_kafka_away_ends_at_the_deadline_with_exit_5(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay(shutdown_timeout="1s").start()
    backlog(database, 1)
    one.wait_published(1)
    with kafka.away():
        backlog(database, 50)
        eventually(lambda: one.metric("inflight_events") >= 50, what="events in flight")
        begin = time.monotonic()
        one.signal(signal.SIGTERM)
        code = one.wait_exit(40)
        took = time.monotonic() - begin
    assert code == 5 and 0.9 <= took < at_pace(10), f"exit {code} after {took:.1f} s\n{one.log_tail()}"
    assert database.scalar(UNPUBLISHED) == 50, "nothing is marked that was not acknowledged"
    two = relay().start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, what="published by the next one")
    assert {r.value for r in read_topics(kafka.brokers, topic)} == \
        {r[0].encode() for r in database.query("SELECT payload::text FROM outbox.event")}
    two.stop()


@pytest.mark.own_broker
def test_second_sigterm_exits_at_once(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay(shutdown_timeout="60s").start()
    backlog(database, 1)
    one.wait_published(1)
    with kafka.away():
        backlog(database, 20)
        eventually(lambda: one.metric("inflight_events") >= 20, what="events in flight")
        one.signal(signal.SIGTERM)
        one.wait_log("(?i)drain|stopping|shut")
        assert one.running()
        one.signal(signal.SIGTERM)
        assert one.wait_exit(2) != 0   # the drain would take 60 s


def test_stop_while_postgresql_is_away_is_quick(relay, kafka, database, postgres, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay(shutdown_timeout="5s").start()
    postgres.stop("fast")
    try:
        one.wait_not_ready()
        one.signal(signal.SIGTERM)
        assert one.wait_exit(8) == 0
    finally:
        postgres.start()


def test_systemd_is_told_ready_stopping_and_watchdog(relay, kafka, database, prefix, tmp_path):
    kafka.create_topic(f"{prefix}.order")
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        one = relay(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}).start()
        said = ""
        while not ("READY=1" in said and said.count("WATCHDOG=1") >= 3):
            said += s.recv(4096).decode() + "\n"
        one.signal(signal.SIGTERM)
        while "STOPPING=1" not in said:
            said += s.recv(4096).decode() + "\n"
        assert one.wait_exit() == 0
    assert said.index("READY=1") < said.index("STOPPING=1")
