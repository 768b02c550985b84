"""Several relays on one outbox: one publishes, the others wait healthily and take over."""

import time

import pytest

from support import workload
from support.common import at_pace, eventually, stays_true
from support.consume import read_topics
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
LEASE = 2.0
OPTIONS = {"lease": "2s", "standby_interval": "200ms", "batch_events": 50}


def active(relays):
    """The relays that publish now."""
    return [r for r in relays if r.running() and r.metric("leader") == 1]


@pytest.fixture
def several(relay, kafka, database, prefix):
    """several(n) -> n relays, started; exactly one of them is active."""
    def run(count, **options):
        kafka.create_topic(f"{prefix}.order", partitions=3)
        workload.prepare(database, keys=20)
        relays = [relay({**OPTIONS, **options}).start() for _ in range(count)]
        eventually(lambda: len(active(relays)) == 1, what="one relay is active")
        return relays
    return run


def test_standby_is_ready_says_so_and_publishes_nothing(several, kafka, database, prefix):
    one, two = several(2)
    assert active([one, two]) == [one], "the first one stays active"
    database.execute("SELECT workload.place(1, 5)")
    one.wait_published(1)
    assert two.ready()[0], "a healthy standby is ready"
    assert two.published() == 0 and two.metric("pipeline_state", state="standby") == 1
    assert two.status()["pipelines"][0]["state"] == "standby"
    stays_true(lambda: two.published() == 0 and len(two.log_lines("(?i)standby")) <= 2, 1.0, "no line for every attempt")
    sessions = database.scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop_relay' AND datname = current_database() "
                               "AND backend_xmin IS NOT NULL AND state <> 'active'")
    assert sessions == 0, "a waiting standby does not hold back vacuum"


def test_three_relays_take_over_within_five_seconds_of_kill_9(several, kafka, database, prefix):
    relays = several(3)
    slowest = 0
    with workload.Writers(database, threads=3, keys=20):
        for _ in range(2):
            victim = active(relays)[0]
            victim.wait_published(victim.published() + 100)
            others = {id(r): r.published() for r in relays if r is not victim and r.running()}
            begin = time.monotonic()
            victim.kill()
            eventually(lambda: any(r.running() and r.published() > others.get(id(r), 1 << 60) for r in relays), 30,
                       what="another one publishes")
            slowest = max(slowest, time.monotonic() - begin)
            relays.remove(victim)
    assert slowest <= at_pace(5), f"take-over took {slowest:.1f} s"
    last = active(relays)[0]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="everything published")
    report = compare(read_truth(database), read_topics(kafka.brokers, f"{prefix}.order"))
    assert report.lost == 0 and report.phantoms == 0 and report.inversions == 0, str(report)
    last.stop()


def test_stopped_relay_is_replaced_within_its_lease_and_five_seconds(several, kafka, database, prefix):
    one, two = several(2)
    with workload.Writers(database, threads=3, keys=20):
        one.wait_published(200)
        begin = time.monotonic()
        one.pause()
        eventually(lambda: two.published() > 100, LEASE + 40, lambda: "the standby publishes\n" + two.log_tail())
        took = time.monotonic() - begin
        one.resume()
        eventually(lambda: one.metric("leader") == 0, 10, what="the woken relay knows that it is not the publisher any more")
        two.wait_published(two.published() + 200)
    assert took <= LEASE + at_pace(5), f"take-over took {took:.1f} s"
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="everything published")
    assert len(active([one, two])) == 1 and one.running() and two.running()
    report = compare(read_truth(database), read_topics(kafka.brokers, f"{prefix}.order"))
    assert report.lost == 0 and report.phantoms == 0 and report.inversions == 0, str(report)


def test_clean_stop_hands_over_at_once_and_without_duplicates(several, kafka, database, prefix):
    one, two = several(2)
    with workload.Writers(database, threads=3, keys=20):
        one.wait_published(200)
        one.stop(expect=0)
        two.wait_published(100, 3)   # not a lease later
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="everything published")
    compare(read_truth(database), read_topics(kafka.brokers, f"{prefix}.order")).assert_exact(duplicates=0)


def test_lost_lock_connection_never_leaves_two_publishers(several, kafka, database, prefix):
    relays = several(2)
    with workload.Writers(database, threads=3, keys=20):
        for _ in range(4):
            before = sum(r.published() for r in relays)
            database.terminate_backends()
            eventually(lambda: sum(r.published() for r in relays) > before + 100, 20, what="publishing goes on")
            assert len(active(relays)) <= 1
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="everything published")
    report = compare(read_truth(database), read_topics(kafka.brokers, f"{prefix}.order"))
    assert report.lost == 0 and report.phantoms == 0 and report.inversions == 0, str(report)
