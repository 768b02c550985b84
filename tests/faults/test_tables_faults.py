"""capture = "tables" under faults: what is in the topics is what was done to the tables, whatever dies."""

import random

import psycopg2
import pytest

from conftest import soak
from support.common import eventually
from support.table_load import TableLoad
from support.tables import SLOT
from support.wal import Wal

# name -> (passage at which it strikes, kills that may repeat)
POINTS = {"connect": (1, 0), "locked": (1, 0), "streaming": (1, 0), "in_transaction": (21, 1), "producing": (5, 1), "enqueued": (4, 1), "delivered": (6, 1),
          "settled": (6, 1), "before_mark": (3, 1), "mark_sent": (3, 1), "marked": (3, 1), "feedback_sent": (3, 1)}
CANNOT_FAIL = ("producing", "delivered", "settled")
BACKOFF = {"retry_backoff_min": "20ms", "retry_backoff_max": "200ms"}
SIZES = (1, 300, 1, 40, 2, 300, 5, 1, 150, 100, 99, 1)


@pytest.fixture
def load(tables):
    return TableLoad(tables)


@pytest.fixture
def behind(load):
    """A relay that is stopped, with transactions behind its position."""
    relay = load.relay(**BACKOFF).start()
    load.turn(size=30)
    load.wait_arrived(relay)
    relay.stop()
    for number, size in enumerate(SIZES):
        load.turn(me=number % 3, size=size)
        if number % 4 == 2:
            load.cut()
    return relay


@pytest.mark.parametrize("name", POINTS)
def test_killed_at_fail_point(load, behind, name):
    at, kills = POINTS[name]
    behind.start(wait_ready=False, fail_at=f"{name}:{at}:kill").wait_struck()
    behind.start()
    load.turn(size=20)
    load.compare(behind, kills)


@pytest.mark.parametrize("name", [soak(name) if number % 2 else name for number, name in enumerate(n for n in POINTS if n not in CANNOT_FAIL)])
def test_step_that_fails_is_taken_again_without_repeats(load, behind, name):
    behind.start(wait_ready=False, fail_at=f"{name}:{POINTS[name][0]}:error").wait_struck()
    load.turn(size=20)
    load.compare(behind)
    behind.wait_ready()
    assert behind.metric("events_replayed_total") == 0


@pytest.mark.parametrize("seed, kills", [(1, 4), soak(2, 12), soak(3, 12)])
def test_kills_at_any_moment_under_load(load, seed, kills):
    """Each client begins with a transaction of 5,000 statements."""
    dice = random.Random(seed)
    relay = load.relay(**BACKOFF).start()
    with load.running(clients=3, big=5000):
        for _ in range(kills):
            load.wait_committed(dice.randint(5, 60))
            relay.kill()
            relay.start()
    load.compare(relay, kills)


def test_connections_that_are_cut_make_no_repeats(load, tables):
    wal = Wal(tables.database)
    relay = load.relay(**BACKOFF).start()
    with load.running():
        for cut in (lambda: wal.terminate_sender(SLOT), wal.terminate_control, tables.database.terminate_backends, lambda: wal.terminate_sender(SLOT)):
            load.wait_committed(30)
            cut()
    load.compare(relay)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_restarts(load, postgres, mode):
    relay = load.relay(**BACKOFF).start()
    with load.running():
        load.wait_committed(40)
        postgres.restart(mode)
        load.wait_committed(40)
    load.compare(relay)
    assert relay.starts == 1 and relay.running()


def test_the_broker_hangs_and_dies(load, kafka):
    relay = load.relay(**BACKOFF).start()
    with load.running():
        load.wait_committed(40)
        with kafka.away():
            load.wait_committed(40)
        load.wait_committed(40)
        kafka.kill()
        load.wait_committed(20)
        kafka.start()
    load.compare(relay, kills=relay.excused_repeats() and 1)
