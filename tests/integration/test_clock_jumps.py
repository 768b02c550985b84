"""A wall clock that is stepped by an hour, of the relay's machine or of the server: nothing is lost or repeated, lag and lease do not jump."""

import os

import pytest

from conftest import CAPTURES, grant_memberships, soak
from support.clock import SteppedClock
from support.common import eventually, stays_true
from support.consume import read_topics
from support.postgres import APP, PostgresServer
from support.relay import migrate
from support.trial import Trial
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
OPTIONS = {"lease": "3s", "standby_interval": "200ms", "unseen_after": "2s", "sweep_interval": "500ms", "retain": "10m"}
HOUR = 3600


@pytest.fixture(scope="module")
def server_clock(work_directory):
    directory = os.path.join(work_directory, "clock-server")
    os.makedirs(directory)
    return SteppedClock(directory)


@pytest.fixture(scope="module")
def server(work_directory, server_clock):
    """A server whose clock the tests step."""
    server = PostgresServer(os.path.join(work_directory, "postgresql-clock"), settings={"min_wal_size": "32MB"})
    with server_clock.everywhere():
        server.start()
    server.create_roles()
    yield server
    server.remove()


@pytest.fixture
def database(server, server_clock):
    server_clock.step(0)
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    yield database
    server_clock.step(0)
    database.drop()


@pytest.fixture
def begun(relay, database, kafka, prefix, tmp_path):
    """begun(capture) -> (relay, trial, topic, the relay's clock): the first events are published and marked."""
    def begin(capture):
        if capture == "wal":
            Wal(database)
        topic = kafka.create_topic(f"{prefix}.order", partitions=2)
        clock = SteppedClock(str(tmp_path))
        one = relay({**CAPTURES[capture], **OPTIONS}, env=clock.environment, monitor={"lag_objective": "5s"}).start()
        trial = Trial(database, one)
        trial.emit(20)
        all_marked(database, one)
        return one, trial, topic, clock
    return begin


def all_marked(database, one):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: f"all marked\n{one.log_tail()}")


@pytest.mark.own_broker
@pytest.mark.parametrize("whose, seconds, capture", [
    ("relay", HOUR, "wal"), ("server", -HOUR, "poll"), soak("relay", HOUR, "poll"), soak("relay", -HOUR, "poll"), soak("relay", -HOUR, "wal"),
    soak("server", HOUR, "poll"), soak("server", HOUR, "wal"), soak("server", -HOUR, "wal")])
def test_a_step_changes_nothing(begun, kafka, database, server_clock, capture, seconds, whose):
    one, trial, topic, clock = begun(capture)
    with trial:
        (clock if whose == "relay" else server_clock).step(seconds)
        trial.emit(20)
        all_marked(database, one)
        stays_true(lambda: one.ready()[0] and one.metric("leader") == 1, 4, lambda: "longer than the lease it is the owner\n" + one.log_tail())
        assert one.metric("lag_seconds") < 5, one.metric("lag_seconds")
        with kafka.away():
            trial.emit(20)
            eventually(lambda: one.metric("lag_seconds") > 0.5, 20, "the lag is seen")
            assert one.metric("lag_seconds") < 120, one.metric("lag_seconds")
            (clock if whose == "relay" else server_clock).step(0)
            trial.emit(20)
            stays_true(lambda: one.metric("lag_seconds") < 120, 2, lambda: f"lag {one.metric('lag_seconds')}")
        all_marked(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not one.log_lines(" (warn|error) .*(LEASE|UNSEEN|HISTORY|OWNER)"), one.log_tail()
    one.wait_ready()


@pytest.mark.parametrize("capture", ["poll", soak("wal")])
def test_a_stranger_at_the_lock_is_named_after_a_lease_whatever_the_clock_says(relay, kafka, database, prefix, tmp_path, capture):
    if capture == "wal":
        Wal(database)
    kafka.create_topic(f"{prefix}.order")
    connection = database.connect(user=APP)
    key = database.scalar("SELECT 'outbox.event'::regclass::oid::int")
    connection.cursor().execute("SELECT pg_advisory_lock(1869968482, %s)", (key,))
    clock = SteppedClock(str(tmp_path))
    one = relay({**CAPTURES[capture], **OPTIONS}, env=clock.environment).start(wait_ready=False)
    eventually(lambda: one.metrics().total("outboxd_precondition_broken", code="LOCK_HELD_BY_STRANGER") == 1, 20, lambda: one.log_tail())
    clock.step(-HOUR)
    one.wait_not_ready("LOCK_HELD_BY_STRANGER", 20)
    connection.close()
    one.wait_ready()
