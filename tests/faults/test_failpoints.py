"""The relay dies, or a step fails, at every fail point: nothing lost, nothing inverted, repeats within what was in flight.

K and W numbers are those of the fault matrix (tests/README.md); the table in relay/base/failpoint.c says where each point lies and whether it
can fail without dying. Relay.start(fail_at=...) makes a test fail whose point never strikes.
"""

import pytest

from conftest import CAPTURES, soak
from support import workload
from support.common import eventually
from support.consume import read_topics
from support.verify import compare, read_truth
from support.wal import Wal

EVENTS = 500
IN_FLIGHT = 100
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
# name -> (number in the fault matrix, passages to let go by before it strikes, repeats allowed after a kill: what can be out and not yet marked)
COMMON = {
    "connect": ("K1", 0, 0),
    "locked": ("K2", 0, 0),
    "producing": ("K3", 4, IN_FLIGHT),
    "enqueued": ("K4", 3, IN_FLIGHT),
    "delivered": ("K5", 5, IN_FLIGHT),
    "settled": ("K6", 5, IN_FLIGHT),
    "before_mark": ("K9", 2, IN_FLIGHT),
    "mark_sent": ("K10", 2, IN_FLIGHT),
    "marked": ("K7", 2, IN_FLIGHT),
}
# With "wal", events come while it runs, in transactions of 1 to 150.
POINTS = {
    "poll": {**COMMON, "fetched": ("K8", 3, IN_FLIGHT)},
    "wal": {**COMMON, "streaming": ("W1", 0, 0), "in_transaction": ("W2", 20, IN_FLIGHT), "feedback_sent": ("W3", 2, IN_FLIGHT)},
}
CANNOT_FAIL = ("producing", "delivered", "settled")
AT_START = ("connect", "locked", "streaming")
BACKOFF = {"retry_backoff_min": "20ms", "retry_backoff_max": "200ms"}


def cases(*on_publish, fails=False):
    """(capture, on_publish, name) of every point of both captures; on_publish as (for poll, for wal). Quick: one mode of each point, by turns."""
    return [(pytest.param if number % len(modes) == turn else soak)(capture, mode, name, id=f"{capture}-{mode}-{name}")
            for capture, modes in zip(("poll", "wal"), on_publish) for turn, mode in enumerate(modes)
            for number, name in enumerate(POINTS[capture]) if not (fails and name in CANNOT_FAIL)]


@pytest.fixture
def point_run(relay, kafka, database, prefix):
    """Prepares EVENTS on 20 keys and a relay with small batches; returns (relay, check). With "wal" its slot has begun, and the events, rows
    and messages, lie behind it."""
    def run(capture, on_publish):
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        wal = Wal(database) if capture == "wal" else None
        workload.prepare(database, keys=20, emit=workload.BOTH if wal else workload.ROWS)
        one = relay({**CAPTURES[capture], **BACKOFF, "on_publish": on_publish, "batch_events": IN_FLIGHT // 5, "in_flight_events": IN_FLIGHT,
                     **({"messages": True} if wal else {})})
        if wal:
            one.start()
            wal.wait_begun()
            one.stop()
        for size in (1, 150, 1, 20, 2, 150, 3, 1, 75, 50, 46, 1) if wal else (EVENTS,):
            database.execute(f"SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, {size}) n")
        last = wal and wal.now()

        def check(duplicates):
            if wal:
                wal.wait_confirmed(last, 30)
            if on_publish != "keep":
                eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all published\n" + one.log_tail())
            report = compare(read_truth(database), read_topics(kafka.brokers, topic))
            assert report.committed == EVENTS
            report.assert_exact(duplicates=duplicates)
        return one, check
    return run


@pytest.mark.parametrize("capture,on_publish,name", cases(("mark", "delete"), ("mark", "keep")))
def test_killed_at_fail_point(point_run, capture, on_publish, name):
    one, check = point_run(capture, on_publish)
    _, skip, allowed = POINTS[capture][name]
    one.start(wait_ready=False, fail_at=f"{name}:{skip + 1}:kill").wait_struck()
    one.start()
    check(allowed)
    one.stop()


@pytest.mark.parametrize("capture,on_publish,name", cases(("mark",), ("mark",), fails=True))
def test_step_that_fails_is_taken_again_without_repeats(point_run, capture, on_publish, name):
    """action `error`: the step behaves as failed, the relay lives and rewinds."""
    one, check = point_run(capture, on_publish)
    _, skip, _ = POINTS[capture][name]
    one.start(wait_ready=False, fail_at=f"{name}:{skip + 1}:error").wait_struck()
    check(0)
    one.wait_ready()
    assert one.metric("events_replayed_total") == 0
    one.stop()


@pytest.mark.parametrize("list_, why", [("nonsense", "name:count:action is wanted"), ("befor_mark:1:kill", "no such fail point"),
                                        ("settled:1:error", "no effect for the action error")])
def test_a_fail_point_that_would_do_nothing_is_refused_at_the_start(relay, list_, why):
    one = relay()
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": list_})
    assert one.wait_exit() == 1
    one.fail_at = []    # they cannot strike
    assert why in one.log_text() and list_ in one.log_text()


@pytest.mark.parametrize("name", ["connect", "locked", "fetched", "producing", "enqueued", "settled", "before_mark", "mark_sent", "marked",
                                  "streaming"])
def test_wal_killed_at_fail_point_of_the_first_start(relay, kafka, database, prefix, name):
    """Rows are there before the slot: whatever step the relay dies at, the next start publishes each of them."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    wal = Wal(database)
    workload.prepare(database, keys=20)
    place = "SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 300) n"
    database.execute(place)
    one = relay({**CAPTURES["wal"], "batch_events": IN_FLIGHT // 5, "in_flight_events": IN_FLIGHT})
    one.start(wait_ready=False, fail_at=f"{name}:{1 if name in AT_START else 2}:kill")
    if name != "connect":
        database.execute(place.replace("300", "100"))
    one.wait_struck()
    database.execute(place.replace("300", "50"))
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
    wal.wait_confirmed()
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=0 if name in AT_START else IN_FLIGHT)


@pytest.mark.parametrize("name", ["locked", "fetched", "mark_sent", "marked", "streaming"])
def test_wal_step_of_the_first_start_that_fails_is_taken_again(relay, kafka, database, prefix, name):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    wal = Wal(database)
    workload.prepare(database, keys=20)
    database.execute("SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 300) n")
    one = relay({**CAPTURES["wal"], **BACKOFF, "batch_events": IN_FLIGHT // 5, "in_flight_events": IN_FLIGHT})
    one.start(wait_ready=False, fail_at=f"{name}:{1 if name in AT_START else 2}:error").wait_struck()
    wal.wait_begun()
    database.execute("SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 100) n")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=0)
