"""Somebody holds a lock on the outbox: whoever publishes keeps the right to, marks when the lock is gone, and repeats nothing."""

import contextlib
import time

import psycopg2
import pytest

from support.common import eventually, stays_true
from support.consume import read_topics
from support.postgres import SUPERUSER
from support.trial import Trial

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
OPTIONS = {"lease": "1s", "standby_interval": "200ms"}


@contextlib.contextmanager
def locked(database, sql):
    connection = database.connect(SUPERUSER, autocommit=False)
    connection.cursor().execute(f"SET application_name = 'somebody'; {sql}")
    try:
        yield
    finally:
        with contextlib.suppress(psycopg2.Error):
            connection.rollback()
        connection.close()


@pytest.fixture
def topic(kafka, prefix):
    name = f"{prefix}.order"
    kafka.create_topic(name, partitions=3)
    return name


def leaders(relays):
    return [r for r in relays if r.metric("leader") == 1]


@pytest.mark.own_broker
@pytest.mark.slow
def test_a_lock_that_outlasts_many_leases_makes_no_takeover_and_no_duplicate(captured, kafka, database, topic):
    relays = [captured(OPTIONS).start() for _ in range(2)]
    eventually(lambda: len(leaders(relays)) == 1, 20, "one is active")
    owner = leaders(relays)[0]
    trial = Trial(database, relays)
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "the first are marked")
    with kafka.away():
        trial.emit(100)       # before the lock, for which an INSERT would wait, too
        eventually(lambda: owner.metric("inflight_events") >= 100, 20, lambda: owner.log_tail())
        lock = locked(database, "LOCK TABLE outbox.event IN SHARE MODE")
        lock.__enter__()
    begin = time.monotonic()
    owner.wait_published(120)
    owner.wait_log("MARK_BLOCKED.*somebody.*ShareLock")
    stays_true(lambda: leaders(relays) == [owner] and owner.ready()[0], 10.0, "the owner keeps the right to publish")
    assert database.scalar(UNPUBLISHED) == 100
    lock.__exit__(None, None, None)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: "marked\n" + owner.log_tail())
    owner.wait_log("MARK_UNBLOCKED")
    assert time.monotonic() - begin > 10
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "and on")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert len(owner.log_lines("MARK_BLOCKED")) == 1, "said once"
    assert not owner.log_lines("LEASE_|reconnect") and owner.metric("reconnects_total") == 0, owner.log_tail()
    for one in relays:
        one.stop()


@pytest.mark.own_broker
def test_the_first_mark_of_a_session_waits_like_any_other(captured, kafka, database, topic):
    """The statement is prepared by then, which takes the same lock."""
    with kafka.away():
        one = captured(OPTIONS).start(wait_ready=False)
        trial = Trial(database, one)
        trial.emit(50)
        eventually(lambda: one.metric("inflight_events") >= 50, 20, lambda: one.log_tail())
        lock = locked(database, "LOCK TABLE outbox.event IN SHARE ROW EXCLUSIVE MODE")
        lock.__enter__()
    one.wait_log("MARK_BLOCKED.*somebody")
    one.wait_published(50)
    stays_true(lambda: one.metric("leader") == 1, 4.0, "it stays the publisher")
    lock.__exit__(None, None, None)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: "marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


def test_a_lock_that_keeps_readers_out_costs_nothing_but_time(captured, kafka, database, topic):
    one = captured(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "the first are marked")
    with locked(database, "LOCK TABLE outbox.event IN ACCESS EXCLUSIVE MODE"):
        stays_true(lambda: one.metric("leader") == 1, 4.0, "it stays the publisher")
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: "marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert one.metric("reconnects_total") == 0, one.log_tail()
    one.stop()


@pytest.mark.own_broker
def test_a_row_that_somebody_locked_holds_back_its_statement_and_no_lease(captured, kafka, database, topic):
    one = captured(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "the first are marked")
    with kafka.away():
        trial.emit(20)
        eventually(lambda: one.metric("inflight_events") >= 20, 20, lambda: one.log_tail())
        lock = locked(database, "SELECT FROM outbox.event ORDER BY seq DESC LIMIT 1 FOR UPDATE")
        lock.__enter__()
    one.wait_log("MARK_BLOCKED")
    stays_true(lambda: one.metric("leader") == 1, 4.0, "it stays the publisher")
    lock.__exit__(None, None, None)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: "marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


@pytest.mark.parametrize("wait", ["", "NOWAIT"])
def test_a_lock_that_a_trigger_of_the_table_waits_for_is_one_of_somebody(captured, kafka, database, topic, wait):
    """One that it does not wait for is what the trigger says: it is mended by nobody's patience."""
    database.execute(f"""CREATE TABLE outbox.counter (n int); INSERT INTO outbox.counter VALUES (0);
        CREATE FUNCTION outbox.count_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN PERFORM FROM outbox.counter FOR UPDATE {wait}; RETURN NULL; END $$;
        CREATE TRIGGER count_it AFTER UPDATE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.count_it()""", user=SUPERUSER)
    one = captured(OPTIONS).start()
    trial = Trial(database, one)
    with locked(database, "SELECT FROM outbox.counter FOR UPDATE"):
        trial.emit(20)
        one.wait_published(20)
        if wait:
            one.wait_not_ready("MARK_REJECTED")
        else:
            one.wait_log("MARK_BLOCKED")
            stays_true(lambda: one.ready()[0], 4.0, "it waits, and is well")
    one.wait_ready()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "marked\n" + one.log_tail())
    assert bool(one.log_lines("MARK_REJECTED")) == bool(wait) and bool(one.log_lines("MARK_BLOCKED")) != bool(wait), one.log_tail()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()
