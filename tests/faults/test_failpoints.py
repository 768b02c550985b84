"""The relay dies, or a step fails, at every fail point: nothing lost, nothing inverted, repeats within what was in flight.

K numbers are those of the fault matrix; relay/base/failpoint.h says where each point lies.
"""

import signal

import pytest

from support import workload
from support.common import eventually
from support.consume import read_topics
from support.verify import compare, read_truth

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
