"""What becomes of the rows: marked, deleted or kept, behind the acknowledged position and never in front of the broker."""

import time

import pytest

from conftest import soak
from support import workload
from support.common import eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
LEFT = "SELECT count(*), min(seq), max(seq), (SELECT max(seq) FROM outbox.event), min(occurred_at), max(occurred_at) FROM outbox.event WHERE published_at IS NULL"


def emit(cursor_or_database, key):
    cursor_or_database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order", partitions=3)


@pytest.mark.parametrize("on_publish,rows,unpublished", [("mark", 40, 0), ("delete", 0, 0), ("keep", 40, 40)])
def test_on_publish_marks_deletes_or_keeps(wal_relay, kafka, database, wal, topic, on_publish, rows, unpublished):
    one = wal_relay({"on_publish": on_publish}).start()
    before = database.scalar("SELECT clock_timestamp()")
    for n in range(40):
        emit(database, n)
    wait_for_records(kafka.brokers, topic, 40)
    eventually(lambda: (database.scalar("SELECT count(*) FROM outbox.event"), database.scalar(UNPUBLISHED)) == (rows, unpublished),
               what=lambda: f"{rows} rows, {unpublished} unpublished\n" + one.log_tail())
    wal.wait_confirmed()
    if on_publish == "mark":
        assert database.scalar("SELECT min(published_at) FROM outbox.event") > before
    assert database.scalar("SELECT count(*) FROM outbox.event") == rows
    assert len(read_topics(kafka.brokers, topic)) == 40


def test_keep_needs_no_right_to_change_the_table(wal_relay, kafka, database, wal, topic):
    database.execute("REVOKE UPDATE, DELETE ON outbox.event FROM outbox_relay; REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay")
    wal_relay({"on_publish": "keep"}).start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()


@pytest.mark.own_broker
def test_nothing_is_marked_noted_or_confirmed_while_the_broker_is_away(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    emit(database, "before")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="the first is marked")
    wal.wait_confirmed()
    with kafka.away():
        barrier = wal.now()
        for n in range(20):
            emit(database, n)
        eventually(lambda: one.metric("inflight_events") >= 20, what="events were read and handed to the producer")
        wal.noise()
        stays_true(lambda: database.scalar(UNPUBLISHED) == 20 and wal.confirmed() <= barrier + 1024 and wal.position()["lsn"] <= barrier + 1024, 1.5,
                   "no mark, no position and no confirmation without an acknowledgement")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, "marked after the broker is back")
    wal.wait_confirmed()
    assert len(read_topics(kafka.brokers, topic)) == 21


@pytest.mark.parametrize("emit_by, on_publish", [(workload.ROWS, "mark"), (workload.ROWS, "keep"), (workload.BOTH, "delete"), soak(workload.ROWS, "delete"),
                                                 soak(workload.BOTH, "mark"), soak(workload.BOTH, "keep")])
def test_every_committed_event_arrives_once_in_order_and_byte_for_byte(wal_relay, kafka, database, wal, topic, on_publish, emit_by):
    """The small version of the closing measurement (tests/faults/torture.py), with the rules of the slot watched all the time."""
    workload.prepare(database, emit=emit_by)
    # A position follows the looks at the preconditions.
    one = wal_relay({"on_publish": on_publish, "batch_events": 500, "messages": emit_by == workload.BOTH}, monitor={"interval": "200ms"}).start()
    with wal.watch() as watch:
        events = workload.Pgbench(database, 1500, clients=4, seed=7).run()
        one.wait_published(events, 60)
        wal.wait_confirmed()
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact()
    assert watch.moves["slot"] >= 3 and watch.moves["position"] >= 3, f"the slot moves while events come: {watch.moves}"
    rows = database.scalar("SELECT count(*) FROM outbox.event")
    assert rows == 0 if on_publish == "delete" else rows > 0
    if on_publish == "mark":
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 10, lambda: f"all marked, {database.query(LEFT)}")


def test_marks_are_batched_behind_the_stream(wal_relay, kafka, database, wal, topic):
    """One statement marks many events: mark_interval bounds how often."""
    wal_relay({"mark_interval": "500ms", "messages": False}).start()
    begin = time.monotonic()
    with wal.watch() as watch:
        for n in range(200):
            emit(database, n)
        wait_for_records(kafka.brokers, topic, 200)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 10, lambda: f"all marked, {database.query(LEFT)}")
    times = database.scalar("SELECT count(DISTINCT xmin::text) FROM outbox.event")
    most = (time.monotonic() - begin) / 0.5 + 3
    assert times <= min(most, 60), f"200 events were marked by {times} transactions in {most - 3:.0f} intervals"
    assert watch.moves["position"] <= min(most, 60) + 10


def test_locked_rows_delay_marks_and_nothing_else(wal_relay, kafka, database, wal, topic):
    """An operator locks the table: the stream goes on, keep-alives are answered, marks follow when the lock is gone."""
    locker = database.connect(SUPERUSER, autocommit=False)
    try:
        one = wal_relay({"lease": "1s"}).start()
        emit(database, "before")
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="the first is marked")
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE outbox.event IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute("SELECT outbox.emit('order.placed', 'order', 'by the locker', '{}')")
            wal.noise()
            stays_true(one.running, 2.5)
            pid = wal.sender()["pid"]
            locker.commit()
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: "all marked\n" + one.log_tail())
        wal.wait_confirmed()
        assert wal.sender()["pid"] == pid and len(read_topics(kafka.brokers, topic)) == 2
    finally:
        locker.close()
