"""The slot and the position: they follow what is acknowledged, keep up beside other work, and stand still when nothing happens."""

import contextlib
import threading

import pytest

from support.common import comes_to_rest, eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.wal import Reader, lsn, lsn_text


def emit(cursor_or_database, key):
    cursor_or_database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture
def begun(wal_relay, kafka, database, wal, topic):
    """A relay that has published one event, which is confirmed."""
    one = wal_relay().start()
    emit(database, "begun")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    return one


# PostgreSQL asks for a sign of life after half of the lease and a margin, and hangs up after the whole.
IMPATIENT = {"lease": "1s"}


def test_slot_is_confirmed_regularly_while_events_come(begun, kafka, database, wal, topic):
    """Debezium: shouldRegularlyFlushLsn. Also that it is at the commit's end, in front of nothing that is not acknowledged."""
    seen = set()
    with wal.watch():
        for n in range(60):
            emit(database, n)
            if n % 5 == 4:
                wal.wait_confirmed(timeout=5)
                seen.add(wal.confirmed())
    assert len(seen) >= 12


@pytest.mark.own_broker
def test_slot_never_passes_an_unacknowledged_event_however_much_else_is_written(begun, kafka, database, wal, topic):
    emit(database, "acknowledged")
    wait_for_records(kafka.brokers, topic, 2)
    wal.wait_confirmed()
    with kafka.away():
        emit(database, "unacknowledged")
        barrier = wal.now()
        eventually(lambda: begun.metric("inflight_events") >= 1, what="it was read")
        with wal.watch():
            wal.noise(3)
            stays_true(lambda: wal.confirmed() < barrier and wal.position()["lsn"] < barrier, 2.0, f"the slot stays below {lsn_text(barrier)}")
    wal.wait_confirmed(timeout=40)


@pytest.mark.parametrize("broker", ["up", pytest.param("down", marks=pytest.mark.own_broker)])
def test_slot_follows_beside_a_busy_table(begun, kafka, database, wal, topic, broker):
    """Debezium: shouldReceiveHeartbeatAlsoWhenChangingNonIncludedTable. With nothing in flight the broker does not matter."""
    with kafka.away() if broker == "down" else contextlib.nullcontext(), wal.watch():
        for _ in range(3):
            wal.noise(2)
            wal.wait_confirmed(timeout=15)
        slot = wal.slot()
        assert wal.now() - slot["restart_lsn"] < 32 << 20


def test_slot_follows_beside_a_busy_neighbour_database(begun, postgres, wal):
    neighbour = postgres.fresh_database("neighbour")
    try:
        with wal.watch():
            for _ in range(3):
                wal.noise(2, database=neighbour)
                wal.wait_confirmed(timeout=15)
    finally:
        neighbour.drop()


@pytest.mark.parametrize("activity", ["SELECT txid_current(), pg_switch_wal()", "CREATE TABLE public.ddl (n int)", "CREATE ROLE nobody_much; DROP ROLE nobody_much",
                                      "SELECT pg_logical_emit_message(false, 'foreign', repeat('x', 100000))", "SELECT txid_current()"])
def test_slot_follows_activity_that_has_nothing_for_us(begun, database, postgres, wal, activity):
    """Debezium: shouldFlushLsnOfUnmonitoredActivity, testEmptyChangesProducesHeartbeat."""
    with wal.watch():
        for statement in activity.split("; "):
            # Inside the transaction: later, the end of the WAL may be that of the relay's answer, which is no activity.
            place = lsn(postgres.execute(f"{statement}; SELECT pg_current_wal_insert_lsn()::text", dbname=database.name)[0][0])
        # A message outside of transactions ends at that place, and its transaction writes nothing; others end behind it.
        wal.wait_confirmed(place if "(false" in activity else place + 1, timeout=15)


def test_slot_follows_while_a_transaction_of_others_is_open(begun, database, wal):
    """An open transaction holds restart_lsn, not the confirmed position; and it is not lost."""
    open_one = database.connect(autocommit=False)
    with open_one.cursor() as cursor:
        emit(cursor, "open")
        wal.noise(2)
        wal.wait_confirmed(timeout=15)
        begun.stop()
        begun.start()
        open_one.commit()
    open_one.close()
    begun.wait_published(1)


@pytest.mark.slow
def test_idle_relay_writes_nothing(wal_relay, kafka, database, postgres, wal, topic):
    """Writing down an idle advance moves the WAL, which must not be a reason to write again. PostgreSQL itself logs its running
    transactions 15 s after any activity: the quiet time is longer than that. Autovacuum is activity of others, which is followed."""
    with postgres.configured(autovacuum="off"):
        eventually(lambda: not postgres.execute("SELECT 1 FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum%'"), 30,
                   "autovacuum has ended")
        wal_relay({"lease": "4s"}).start()  # it looks for activity four times in a lease
        emit(database, "begun")
        wait_for_records(kafka.brokers, topic, 1)
        wal.wait_confirmed()

        def written():
            return wal.position()["updated_at"]

        # What was done beyond the last look at the preconditions is written once more behind the next one.
        before = comes_to_rest(written, 4, 40, "the position, during looks at the preconditions and three at the log")
        wal_before = wal.now()
        stays_true(lambda: written() == before, 17, "the position is not written", interval=0.5)
        assert wal.now() - wal_before < 2000, f"{wal.now() - wal_before} bytes of WAL in 17 idle seconds"


def test_keep_alives_are_answered_with_an_empty_wal(wal_relay, kafka, database, wal, topic):
    """Debezium: testSendingHeartbeatsWithoutWalUpdates."""
    one = wal_relay(IMPATIENT).start()
    pid = eventually(wal.sender, 10, "the walsender is there")["pid"]
    stays_true(lambda: (wal.sender() or {}).get("pid") == pid, 3.0, "one walsender, all the time")
    assert one.metric("pg_reconnects_total") == 0


@pytest.mark.own_broker
def test_keep_alives_are_answered_while_the_broker_is_away_and_the_window_is_full(wal_relay, kafka, database, wal, topic):
    """Reading stops at in_flight_events; the sign of life must not."""
    one = wal_relay({**IMPATIENT, "in_flight_events": 20, "batch_events": 10}).start()
    emit(database, "first")
    wait_for_records(kafka.brokers, topic, 1)
    pid = wal.sender()["pid"]
    with kafka.away():
        database.execute("SELECT outbox.emit('order.placed', 'order', n::text, to_jsonb(repeat('x', 3000))) FROM generate_series(1, 3000) n")
        eventually(lambda: one.metric("inflight_events") >= 10, what="events in flight")
        stays_true(lambda: (wal.sender() or {}).get("pid") == pid, 4.0, "the same walsender, all the time")
    assert len(wait_for_records(kafka.brokers, topic, 3001, 60)) == 3001
    assert wal.sender()["pid"] == pid


def test_slot_held_by_another_reader_is_waited_for_and_taken_when_it_is_free(wal_relay, kafka, database, wal, topic, begun):
    """55006: replication slot is active for PID n."""
    begun.stop()
    wal.wait_inactive()
    reader = Reader(wal)
    try:
        one = wal_relay({"standby_interval": "100ms"}).start(wait_ready=False)
        emit(database, "two")
        eventually(lambda: one.log_lines("foreign-reader") or str(reader.pid) in one.http("/readyz")[1] + one.http("/status")[1], 10,
                   lambda: "it says who has the slot\n" + one.log_tail())
        stays_true(lambda: one.running() and one.published() == 0, 1.0, "it waits")
        assert len(one.log_lines("55006|is active")) <= 3, one.log_tail()
        one.wait_not_ready(f"(?s)is active for PID {reader.pid}.*pg_terminate_backend", 20)   # nobody publishes: it is no standby
        line, = one.log_lines(" warn .*code=POSTGRES_OBJECT_IN_USE")
        assert "is active" in line
    finally:
        reader.close()
    assert len(wait_for_records(kafka.brokers, topic, 2)) == 2
    one.wait_ready()


def test_position_is_not_confirmed_backwards_over_reconnects(begun, kafka, database, wal, topic):
    """Debezium: shouldNotMoveFlushLsnBackwardsWhenFlushingOlderLsn, shouldTolerateInvalidLSNValues (0 is never sent)."""
    stopping = threading.Event()

    def write():
        n = 0
        while not stopping.is_set():
            emit(database, n)
            n += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        with wal.watch():
            for turn in range(6):
                goal = begun.published() + 50
                begun.wait_published(goal)
                wal.terminate_sender() if turn % 2 else wal.terminate_control()
            begun.wait_published(begun.published() + 50)
    finally:
        stopping.set()
        writer.join(10)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 20, "all marked")
    records = read_topics(kafka.brokers, topic)
    assert len(records) == len({r.headers[1] for r in records}) == database.scalar("SELECT count(*) FROM outbox.event")
