"""capture = "tables" under faults: what is in the topics is what was done to the tables, whatever dies."""

import pytest

from conftest import soak
from support.table_load import TableLoad

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
