"""The relay dies, or a step fails, at every fail point: nothing lost, nothing inverted, repeats within what was in flight.

K numbers are those of the fault matrix; relay/base/failpoint.h says where each point lies.
"""

import signal

import pytest

from conftest import CAPTURES
from support import workload
from support.common import eventually
from support.consume import read_topics
from support.verify import compare, read_truth
from support.wal import Wal

IN_FLIGHT = 200
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
# name -> (K number, passages to let go by before it strikes, repeats allowed: what can be out and not yet marked)
POINTS = {
    "connect": ("K1", 0, 0),
    "locked": ("K2", 0, 0),
    "fetched": ("K8", 3, IN_FLIGHT),
    "producing": ("K3", 4, IN_FLIGHT),
    "enqueued": ("K4", 3, IN_FLIGHT),
    "delivered": ("K5", 5, IN_FLIGHT),
    "settled": ("K6", 5, IN_FLIGHT),
    "before_mark": ("K9", 2, IN_FLIGHT),
    "mark_sent": ("K10", 2, IN_FLIGHT),
    "marked": ("K7", 2, IN_FLIGHT),
}
# The same for capture = "wal". Events come while it runs, in transactions of 1 to 300.
WAL_POINTS = {
    "connect": ("K1", 0, 0),
    "locked": ("K2", 0, 0),
    "streaming": ("W1", 0, 0),
    "in_transaction": ("W2", 20, IN_FLIGHT),
    "producing": ("K3", 4, IN_FLIGHT),
    "enqueued": ("K4", 3, IN_FLIGHT),
    "delivered": ("K5", 5, IN_FLIGHT),
    "settled": ("K6", 5, IN_FLIGHT),
    "before_mark": ("K9", 2, IN_FLIGHT),
    "mark_sent": ("K10", 2, IN_FLIGHT),
    "marked": ("K7", 2, IN_FLIGHT),
    "feedback_sent": ("W3", 2, IN_FLIGHT),
}


@pytest.fixture
def point_run(relay, kafka, database, prefix):
    """Prepares 1,000 events on 20 keys and a relay with small batches; returns (relay, check)."""
    def run(on_publish):
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        workload.prepare(database, keys=20)
        database.execute("SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 1000) n")
        one = relay({"on_publish": on_publish, "batch_events": 40, "in_flight_events": IN_FLIGHT,
                     "retry_backoff_min": "20ms", "retry_backoff_max": "200ms"})

        def check(duplicates):
            eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all published\n" + one.log_tail())
            report = compare(read_truth(database), read_topics(kafka.brokers, topic))
            report.assert_exact(duplicates=duplicates)
            return report
        return one, check
    return run


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_killed_at_fail_point(point_run, name, on_publish):
    one, check = point_run(on_publish)
    _, skip, allowed = POINTS[name]
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": f"{name}:{skip + 1}:kill"})
    assert one.wait_exit(20) == -signal.SIGKILL, f"fail point {name} was not passed\n{one.log_tail()}"
    one.start()
    check(allowed)
    one.stop()


@pytest.mark.parametrize("name", POINTS)
def test_step_that_fails_is_taken_again_without_repeats(point_run, name):
    """action `error`: the step behaves as failed, the relay lives and rewinds."""
    one, check = point_run("mark")
    _, skip, _ = POINTS[name]
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": f"{name}:{skip + 1}:error"})
    check(0)
    one.wait_ready()
    one.stop()


def test_unreadable_fail_point_is_refused(point_run):
    one, _ = point_run("mark")
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": "nonsense"})
    assert one.wait_exit() == 1


@pytest.fixture
def wal_point_run(relay, kafka, database, prefix):
    """Prepares a slot that has begun and 1,000 events behind it, rows and messages in transactions of 1 to 300; (relay, check)."""
    def run(on_publish):
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        wal = Wal(database)
        workload.prepare(database, keys=20, emit=workload.BOTH)
        one = relay({**CAPTURES["wal"], "on_publish": on_publish, "messages": True, "batch_events": 40, "in_flight_events": IN_FLIGHT,
                     "retry_backoff_min": "20ms", "retry_backoff_max": "200ms"}).start()
        wal.wait_begun()
        one.stop()
        for size in (1, 300, 1, 40, 2, 300, 5, 1, 150, 100, 99, 1):
            database.execute(f"SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, {size}) n")
        last = wal.now()

        def check(duplicates):
            wal.wait_confirmed(last, 30)
            if on_publish != "keep":
                eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
            report = compare(read_truth(database), read_topics(kafka.brokers, topic))
            report.assert_exact(duplicates=duplicates)
            return report
        return one, check
    return run


@pytest.mark.parametrize("name", WAL_POINTS)
@pytest.mark.parametrize("on_publish", ["mark", "keep"])
def test_wal_killed_at_fail_point(wal_point_run, name, on_publish):
    one, check = wal_point_run(on_publish)
    _, skip, allowed = WAL_POINTS[name]
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": f"{name}:{skip + 1}:kill"})
    assert one.wait_exit(20) == -signal.SIGKILL, f"fail point {name} was not passed\n{one.log_tail()}"
    one.start()
    check(allowed)
    one.stop()


@pytest.mark.parametrize("name", WAL_POINTS)
def test_wal_step_that_fails_is_taken_again_without_repeats(wal_point_run, name):
    one, check = wal_point_run("mark")
    _, skip, _ = WAL_POINTS[name]
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": f"{name}:{skip + 1}:error"})
    check(0)
    one.wait_ready()
    one.stop()


@pytest.mark.parametrize("name", ["connect", "locked", "fetched", "producing", "enqueued", "settled", "before_mark", "mark_sent", "marked",
                                  "streaming"])
def test_wal_killed_at_fail_point_of_the_first_start(relay, kafka, database, prefix, name):
    """Rows are there before the slot: whatever step the relay dies at, the next start publishes each of them."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    wal = Wal(database)
    workload.prepare(database, keys=20)
    place = "SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 600) n"
    database.execute(place)
    one = relay({**CAPTURES["wal"], "batch_events": 40, "in_flight_events": IN_FLIGHT})
    passage = 1 if name in ("connect", "locked", "streaming") else 2
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": f"{name}:{passage}:kill"})
    if name != "connect":
        database.execute(place.replace("600", "200"))
    assert one.wait_exit(20) == -signal.SIGKILL, f"fail point {name} was not passed\n{one.log_tail()}"
    database.execute(place.replace("600", "100"))
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
    wal.wait_confirmed()
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=IN_FLIGHT)
