"""What happens to rows, and the interleavings that break simpler pollers."""

import pytest

from support import workload
from support.common import eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.verify import compare, read_truth
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(cursor_or_database, key, payload="{}", aggregate="order"):
    cursor_or_database.execute("SELECT outbox.emit('order.placed', %s, %s, %s)", (aggregate, str(key), payload))


def test_mark_sets_published_at_once_the_broker_has_the_record(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    before = database.scalar("SELECT clock_timestamp()")
    for n in range(5):
        emit(database, n)
    relay().start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all rows marked")
    assert len(read_topics(kafka.brokers, topic)) == 5
    assert database.scalar("SELECT min(published_at) FROM outbox.event") > before
    assert database.scalar("SELECT count(*) FROM outbox.event") == 5


@pytest.mark.own_broker
def test_nothing_is_marked_while_the_broker_is_away(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, "before")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="first row marked")
    with kafka.away():
        for n in range(20):
            emit(database, n)
        eventually(lambda: one.metric("inflight_events") >= 20, what="rows were read and handed to the producer")
        stays_true(lambda: database.scalar(UNPUBLISHED) == 20, 1.0, "no row is marked without an acknowledgement")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="marked after the broker is back")
    assert len(read_topics(kafka.brokers, topic)) == 21


def test_delete_removes_published_rows(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    for n in range(8):
        emit(database, n)
    database.execute("UPDATE outbox.event SET published_at = now() - interval '1 year' WHERE seq = 1")      # of a time with on_publish = "mark"
    relay({"on_publish": "delete"}).start()
    assert len(wait_for_records(kafka.brokers, topic, 7)) == 7
    eventually(lambda: database.execute("SELECT seq FROM outbox.event") == [(1,)], what="rows are gone, but for one that was marked before")


def test_retain_prunes_marked_rows_only_when_they_are_old(captured, capture, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    for n in range(30):
        emit(database, n)
    database.execute("UPDATE outbox.event SET published_at = now() - interval '1 hour' WHERE seq <= 20")
    one = captured({"retain": "30m", "batch_events": 8, **({"sweep_interval": "200ms"} if capture == "poll" else {})}).start()
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 10, what=lambda: "old rows pruned\n" + one.log_tail())
    assert database.scalar("SELECT min(seq) FROM outbox.event") == 21
    one.wait_published(10)
    stays_true(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 10, 0.6, "younger rows stay")
    assert len(read_topics(kafka.brokers, topic)) == 10


def test_row_that_is_unmarked_by_hand_is_published_again(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    for n in range(4):
        emit(database, n)
    relay({"sweep_interval": "300ms"}).start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all rows marked")
    database.execute("UPDATE outbox.event SET published_at = NULL WHERE aggregate_id = '2'")
    records = wait_for_records(kafka.brokers, topic, 5)
    assert [r.key for r in records][4] == b"2"
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="marked again")


def test_rows_of_rolled_back_transactions_and_savepoints_are_never_published(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    relay().start()
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        emit(cursor, "rolled back")
        connection.rollback()
        emit(cursor, "kept")
        cursor.execute("SAVEPOINT s")
        emit(cursor, "undone")
        cursor.execute("ROLLBACK TO s")
        emit(cursor, "kept too")
        connection.commit()
    emit(database, "last")
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 3)] == [b"kept", b"kept too", b"last"]


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_late_commit_of_a_lower_number_is_published_and_keeps_its_keys_order(relay, kafka, database, prefix, on_publish):
    """A transaction draws seq 1, others commit 2..n and are published, then it commits: 1 must not be lost, and what its key emits
    after it must come after it, however far ahead the relay has read."""
    topic = kafka.create_topic(f"{prefix}.order")
    relay({"on_publish": on_publish, "batch_events": 3}).start()
    late = database.connect(autocommit=False)
    with late.cursor() as cursor:
        emit(cursor, "slow", "1")
        for n in range(40):
            emit(database, f"quick-{n}")
        assert len(wait_for_records(kafka.brokers, topic, 40)) == 40
        late.commit()
        emit(cursor, "slow", "2")
        late.commit()
    late.close()
    records = wait_for_records(kafka.brokers, topic, 42)
    assert [r.value for r in records if r.key == b"slow"] == [b"1", b"2"]
    assert len(records) == 42


def test_late_commit_behind_a_pipelined_fetch_keeps_key_order(relay, kafka, database, prefix):
    """Trap one: while fetches follow each other, a low number of a key commits just before the next number of the same key. A scan
    that only goes forward sends the second one first. Many small overlapping transactions on few keys, tiny batches."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=8)
    one = relay({"batch_events": 5, "poll_interval_min": "1ms", "poll_interval_max": "2ms"}).start()
    with workload.Writers(database, threads=8, keys=8, longest_ms=6, pause_ms=0):
        eventually(lambda: one.published() >= 1500, 60, lambda: f"1500 published, have {one.published()}\n" + one.log_tail())
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="everything published")
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact()


def test_low_water_bound_does_not_pass_a_transaction_that_is_still_open(relay, kafka, database, prefix):
    """Trap two: numbers above an open transaction's are published, marked and swept; the bound of the scan must wait for it, also when
    it is prepared and its session is gone."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay({"sweep_interval": "100ms", "batch_events": 10}).start()
    open_one, prepared = database.connect(autocommit=False), database.connect(autocommit=False)
    prepared.tpc_begin("late-two-phase")
    with open_one.cursor() as cursor, prepared.cursor() as cursor2:
        emit(cursor, "open")
        emit(cursor2, "prepared")
        prepared.tpc_prepare()
        prepared.close()
        for n in range(100):
            emit(database, n)
        one.wait_published(100)
        # Several sweeps pass, with traffic that gives the bound every reason to move.
        sweeps = 0
        while sweeps < 12:
            emit(database, "traffic")
            one.wait_published(101 + sweeps)
            stays_true(one.running, 0.1)
            sweeps += 1
        open_one.commit()
        wait_for_records(kafka.brokers, topic, 113)
    open_one.close()
    stays_true(one.running, 0.5)
    database.execute("COMMIT PREPARED 'late-two-phase'")
    keys = [r.key for r in wait_for_records(kafka.brokers, topic, 114)]
    assert keys.count(b"open") == 1 and keys.count(b"prepared") == 1 and len(keys) == 114


def test_asynchronous_commit_is_held_back_until_its_wal_is_flushed(relay, kafka, postgres, database, prefix):
    """A crash of PostgreSQL may take back a commit of synchronous_commit = off that was already visible: publishing it early makes a
    phantom. The WAL writer is slowed down and the server crashed before it comes by."""
    topic = kafka.create_topic(f"{prefix}.order")
    with postgres.configured(restart=True, wal_writer_delay="10s", wal_writer_flush_after=0, autovacuum="off"):
        one = relay().start()
        emit(database, "durable")
        wait_for_records(kafka.brokers, topic, 1)
        writer = database.connect(autocommit=False)
        with writer.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            emit(cursor, "asynchronous")
            writer.commit()
            cursor.execute("SELECT count(*), pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() FROM outbox.event")
            assert cursor.fetchone() == (2, True), "the row is visible and its WAL is not on disk yet"
        postgres.stop("immediate")
        postgres.start()
        rows = [r[0] for r in database.query("SELECT aggregate_id FROM outbox.event ORDER BY seq")]
        one.wait_ready()
        emit(database, "afterwards")
        wait_for_records(kafka.brokers, topic, len(rows) + 1)
        assert [r.key.decode() for r in read_topics(kafka.brokers, topic)] == [*rows, "afterwards"]


def test_asynchronous_commit_is_published_soon_without_help(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    relay().start()
    writer = database.connect(autocommit=False)
    with writer.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        emit(cursor, "asynchronous")
        writer.commit()
    writer.close()
    wait_for_records(kafka.brokers, topic, 1, timeout=5)


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_every_committed_event_arrives_once_in_order_and_byte_for_byte(relay, kafka, database, prefix, on_publish):
    """The small version of the closing measurement (tests/faults/torture.py)."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=6)
    workload.prepare(database)
    one = relay({"on_publish": on_publish, "batch_events": 500}).start()
    events = workload.Pgbench(database, 2000, clients=4, seed=7).run()
    one.wait_published(events, 60)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, what="everything marked")
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact()
    assert database.scalar("SELECT count(*) FROM outbox.event") == (events if on_publish == "mark" else 0)


def test_backlog_larger_than_the_limits_of_memory_is_worked_off(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    database.execute("SELECT outbox.emit('order.placed', 'order', (n % 50)::text, to_jsonb(repeat('x', 2000) || n)) "
                     "FROM generate_series(1, 5000) n")
    one = relay({"in_flight_events": 300, "in_flight_bytes": "256KiB", "batch_events": 100, "batch_bytes": "64KiB"}).start()
    peak = 0

    def done():
        nonlocal peak
        peak = max(peak, one.metric("inflight_events"))
        return one.published() >= 5000
    eventually(done, 60, what=lambda: f"5000 published, have {one.published()}")
    assert 0 < peak <= 300
    assert len(read_topics(kafka.brokers, topic)) == 5000


def test_table_in_another_schema_made_by_migrate_is_polled(relay, kafka, empty_database, prefix):
    from support.relay import migrate
    migrate(empty_database, "--schema", "Mail Box")
    empty_database.execute('GRANT outbox_relay TO shop_relay; '
                           'SELECT "Mail Box".emit(\'order.placed\', \'order\', \'1\', \'{}\')')
    kafka.create_topic(f"{prefix}.order")
    relay({"table": '"Mail Box".event'}, dsn=empty_database.dsn()).start()
    assert len(wait_for_records(kafka.brokers, f"{prefix}.order", 1)) == 1


def test_sequence_with_a_cache_is_refused_because_it_breaks_order(relay, kafka, database, prefix):
    database.execute("ALTER TABLE outbox.event ALTER seq SET CACHE 10")
    one = relay().start(wait_ready=False)
    assert one.wait_exit() in (1, 2)
    assert one.log_lines("CACHE"), one.log_tail()


@pytest.mark.own_broker
def test_deleted_row_is_no_error(captured, capture, kafka, database, prefix):
    """An operator removes rows while they are in flight: their records may be out, the relay goes on."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured().start()
    emit(database, "first")
    wait_for_records(kafka.brokers, topic, 1)
    with kafka.away():
        for n in range(10):
            emit(database, n)
        eventually(lambda: one.metric("inflight_events") >= 10, what="rows in flight")
        database.execute("DELETE FROM outbox.event WHERE seq <= 5", user=SUPERUSER)
    emit(database, "last")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, what="the rest is marked")
    if capture == "wal":
        Wal(database, publication=None, role=None).wait_confirmed()
    records = read_topics(kafka.brokers, topic)
    assert len(records) == 12 and records[-1].key == b"last"
    assert one.running()
