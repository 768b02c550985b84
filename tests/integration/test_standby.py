"""Several relays on one outbox, by polling and from the WAL: one publishes, the others wait healthily and take over."""

import time

import pytest

from support import workload
from support.common import at_pace, eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.relay import configuration
from support.verify import compare, read_truth
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
LEASE = 2.0
OPTIONS = {"lease": "2s", "standby_interval": "200ms", "batch_events": 50}


def active(relays):
    """The relays that publish now."""
    return [r for r in relays if r.running() and r.metric("leader") == 1]


@pytest.fixture
def several(captured, kafka, database, prefix):
    """several(n) -> n relays, started; exactly one of them is active."""
    def run(count, **options):
        kafka.create_topic(f"{prefix}.order", partitions=3)
        workload.prepare(database, keys=20)
        relays = [captured({**OPTIONS, **options}).start() for _ in range(count)]
        eventually(lambda: len(active(relays)) == 1, what="one relay is active")
        return relays
    return run


@pytest.fixture
def check(kafka, database, prefix):
    """Everything is published; the report of the checker, without loss or inversion."""
    def run():
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, "everything published")
        report = compare(read_truth(database), read_topics(kafka.brokers, f"{prefix}.order"))
        assert report.lost == 0 and report.phantoms == 0 and report.inversions == 0, str(report)
        return report
    return run


def test_standby_is_ready_says_so_and_publishes_nothing(several, database, capture):
    one, two = several(2)
    assert active([one, two]) == [one], "the first one stays active"
    database.execute("SELECT workload.place(1, 5)")
    one.wait_published(1)
    two.wait_ready()    # a healthy standby is ready
    assert two.published() == 0 and two.metric("pipeline_state", state="standby") == 1
    assert two.status()["pipelines"][0]["state"] == "standby"
    if capture == "wal":
        assert Wal(database, publication=None, role=None).sender()["application_name"] == "shop/orders"
    holder = " ".join(two.log_lines("(?i)standby"))
    sessions = database.query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'shop/orders%%'", user="postgres")
    assert any(str(pid) in holder for pid, in sessions), f"{sessions}: {holder}"
    stays_true(lambda: two.published() == 0 and len(two.log_lines("(?i)standby")) <= 2, 1.0, "no line for every attempt")
    held = database.scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop_relay' AND datname = current_database() "
                           "AND backend_type = 'client backend' AND backend_xmin IS NOT NULL AND state <> 'active'")
    assert held == 0, "a waiting standby does not hold back vacuum"


def test_the_last_write_of_a_relay_that_was_killed_is_no_other_history(captured, kafka, database, prefix, capture):
    """It lands while another relay takes over: before its claim has an answer, or after that has given up. The session that writes is played by one of
    ours, since a real one rarely takes so long."""
    topic = kafka.create_topic(f"{prefix}.order")
    kept = {"on_publish": "keep"} if capture == "wal" else {}   # where relays share the lock, the row alone tells who publishes
    relays = [captured({**OPTIONS, **kept}).start() for _ in range(2)]
    claim_waits = ("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'shop_relay' AND wait_event_type = 'Lock' "
                   "AND query ~ 'writes'")
    sent = []

    def emit(key):
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (key,))
        sent.append(key.encode())
        eventually(lambda: list(dict.fromkeys(record.key for record in read_topics(kafka.brokers, topic))) == sent, what=f"{sent}", interval=0.2)

    for answered in (True, False):
        one = eventually(lambda: active(relays), what="one relay is active")[0]
        two = next(relay for relay in relays if relay is not one)
        emit(f"before {answered}")
        with database.connect("postgres", autocommit=False) as late, late.cursor() as cursor:
            cursor.execute(f"UPDATE outbox.{'position' if capture == 'wal' else 'publisher'} SET writes = writes + 1")
            assert cursor.rowcount == 1
            one.kill()
            if answered:
                eventually(lambda: database.query(claim_waits, user="postgres"), what="its claim waits for the row", interval=0.005)
            else:
                two.wait_log("POSTGRES_LOCK_TIMEOUT")
            late.commit()
        eventually(lambda two=two: two.metric("leader") == 1, what=lambda two=two: "it takes over\n" + two.log_tail())
        emit(f"after {answered}")
        assert not two.log_lines("HISTORY_CHANGED|SLOT_OTHER_HISTORY"), two.log_tail()
        one.start()


def test_three_relays_take_over_within_five_seconds_of_kill_9(several, database, check):
    relays = several(3)
    slowest = 0
    with workload.Writers(database, threads=3, keys=20, pause_ms=50):
        for _ in range(2):
            victim = active(relays)[0]
            victim.wait_published(victim.published() + 50)
            others = {id(r): r.published() for r in relays if r is not victim and r.running()}
            begin = time.monotonic()
            victim.kill()
            eventually(lambda: any(r.running() and r.published() > others.get(id(r), 1 << 60) for r in relays), 30,
                       what="another one publishes")
            slowest = max(slowest, time.monotonic() - begin)
            relays.remove(victim)
    assert slowest <= at_pace(5), f"take-over took {slowest:.1f} s"
    last = active(relays)[0]
    check()
    last.stop()


def test_stopped_relay_is_replaced_within_its_lease_and_five_seconds(several, database, check):
    one, two = several(2)
    with workload.Writers(database, threads=3, keys=20, pause_ms=50):
        one.wait_published(60)
        begin = time.monotonic()
        one.pause()
        eventually(lambda: two.published() > 50, LEASE + 40, lambda: "the standby publishes\n" + two.log_tail())
        took = time.monotonic() - begin
        one.resume()
        eventually(lambda: one.metric("leader") == 0, 10, what="the woken relay knows that it is not the publisher any more")
        two.wait_published(two.published() + 60)
    assert took <= LEASE + at_pace(5), f"take-over took {took:.1f} s"
    check()
    assert len(active([one, two])) == 1 and one.running() and two.running()


def test_clean_stop_hands_over_at_once_and_without_duplicates(several, database, check):
    one, two = several(2)
    with workload.Writers(database, threads=3, keys=20, pause_ms=50):
        one.wait_published(60)
        one.stop(expect=0)
        two.wait_published(50, 3)   # not a lease later
    check().assert_exact(duplicates=0)


@pytest.mark.parametrize("capture, connection", [("poll", "all"), ("wal", "control"), ("wal", "replication")])
def test_lost_lock_connection_never_leaves_two_publishers(several, database, check, connection):
    relays = several(2)
    cut = {"all": database.terminate_backends, "control": Wal(database, publication=None, role=None).terminate_control,
           "replication": Wal(database, publication=None, role=None).terminate_sender}[connection]
    with workload.Writers(database, threads=3, keys=20, pause_ms=50):
        for _ in range(4):
            before = sum(r.published() for r in relays)
            cut()
            eventually(lambda: sum(r.published() for r in relays) > before + 40, 20, what="publishing goes on")
            assert len(active(relays)) <= 1
    check()


def test_polling_and_wal_on_one_table_keep_each_other_out(wal_relay, poll_relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = wal_relay(OPTIONS).start()
    eventually(lambda: one.metric("leader") == 1, what="the first is active")
    two = poll_relay(OPTIONS).start()
    for n in range(20):
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(n),))
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all published")
    assert two.published() == 0 and two.metric("pipeline_state", state="standby") == 1
    one.stop()
    eventually(lambda: two.metric("leader") == 1, 10, "the poller takes over")
    assert len(read_topics(kafka.brokers, f"{prefix}.order")) == 20


def test_two_wal_pipelines_that_keep_rows_read_one_table_side_by_side(relay, kafka, database, wal, prefix):
    topics = [kafka.create_topic(f"{prefix}.{n}") for n in ("orders", "audit")]
    Wal(database, publication="outboxd_audit", role=None)
    one = relay(config=configuration(database.dsn(), kafka.brokers, pipelines=[
        {"name": name, "capture": "wal", "on_publish": "keep", "table": "outbox.event", "topic": topic}
        for name, topic in zip(("orders", "audit"), topics)])).start()
    for n in range(20):
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(n),))
    for topic in topics:
        assert [r.key for r in wait_for_records(kafka.brokers, topic, 20)] == [str(n).encode() for n in range(20)]
    assert one.metric("leader", pipeline="orders") == one.metric("leader", pipeline="audit") == 1
