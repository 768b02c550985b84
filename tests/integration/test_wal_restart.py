"""The relay stops, dies and comes back: it goes on where it stood, whatever the last thing in the WAL was."""

import pytest

from conftest import soak
from support import workload
from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(cursor_or_database, key, function="emit"):
    cursor_or_database.execute(f"SELECT outbox.{function}('order.placed', 'order', %s, '{{}}')", (str(key),))


def keys(records):
    return [r.key.decode() for r in records]


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture
def begun(wal_relay, kafka, database, wal, topic):
    """A relay that has published the event "begun", which the slot has confirmed; and expect(keys): exactly these after that one."""
    one = wal_relay({"messages": True}).start()
    emit(database, "begun")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()

    def expect(*expected):
        found = wait_for_records(kafka.brokers, topic, 1 + len(expected))
        assert keys(found) == ["begun", *map(str, expected)]
    return one, expect


def test_stop_in_the_middle_of_a_transaction_and_resume(wal_relay, kafka, database, wal, topic):
    """Debezium: stopInTheMiddleOfTxAndResume. A stop drains what the broker has, and the rest of the transaction comes after it."""
    one = wal_relay({"batch_events": 10, "in_flight_events": 10}).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(1, 2000) n")
    one.wait_published(20)
    one.stop(expect=0)
    stopped_at = len(read_topics(kafka.brokers, topic))
    assert 20 <= stopped_at < 2000, "the stop was in the middle"
    one.start()
    assert keys(wait_for_records(kafka.brokers, topic, 2000, 40)) == [str(n) for n in range(1, 2001)]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    wal.wait_confirmed()
    assert len(read_topics(kafka.brokers, topic)) == 2000


@pytest.mark.parametrize("messages", [False, True], ids=["rows", "messages"])
def test_kill_in_the_middle_of_a_large_transaction_repeats_only_the_window(wal_relay, kafka, database, wal, topic, messages):
    """Its events that were acknowledged and noted are known by their place in the transaction."""
    window, events = 200, 8000
    one = wal_relay({"batch_events": 50, "in_flight_events": window, "messages": messages, "position_headers": True}).start()
    function = "emit_message" if messages else "emit"
    database.execute(f"SELECT outbox.{function}('order.placed', 'order', n::text, '{{}}') FROM generate_series(1, {events}) n")
    one.wait_published(2 * window)
    eventually(lambda: (wal.position() or {}).get("tx_ordinal"), 20, "a place inside the transaction is noted", interval=0.001)
    before = one.published()
    one.kill()
    assert before < events, "killed too late"
    wal.wait_inactive()
    one.start()
    wal.wait_confirmed(timeout=60)
    records = read_topics(kafka.brokers, topic)
    found = [int(k) for k in keys(records)]
    assert set(found) == set(range(1, events + 1))
    repeats = len(found) - events
    assert repeats <= window, f"{repeats} repeats, at most {window} allowed"
    first = list(dict.fromkeys(found))
    assert first == sorted(first), "first arrivals are in order"
    assert all(headers_of(r)["outboxd_ordinal"] == r.key.decode() for r in records), "the ordinal is the same after the restart"


def test_transaction_that_is_open_over_a_restart_is_published_at_its_commit(begun, database):
    """Debezium: restartConnectorInTheMiddleOfUncommittedTx."""
    one, expect = begun
    open_one = database.connect(autocommit=False)
    with open_one.cursor() as cursor:
        emit(cursor, "tx-1-1")
        emit(database, "tx-2-1")
        expect("tx-2-1")
        one.stop()
        emit(cursor, "tx-1-2")
        emit(database, "tx-2-2")
        one.start()
        emit(database, "tx-2-3")
        expect("tx-2-1", "tx-2-2", "tx-2-3")
        emit(cursor, "tx-1-3")
        open_one.commit()
    expect("tx-2-1", "tx-2-2", "tx-2-3", "tx-1-1", "tx-1-2", "tx-1-3")
    open_one.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_interleaved_transactions_survive_restarts(wal_relay, kafka, database, wal, prefix, how):
    """Debezium: shouldNotLoseDataOnRestartWithInterleavedTransactions (dbz#76)."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20, emit=workload.BOTH)
    one = wal_relay({"messages": True, "batch_events": 30, "in_flight_events": 100})
    restarts = 4
    one.start()
    wal.wait_begun()
    one.stop()  # the slot is there: messages from before it would be nobody's
    with workload.Writers(database, threads=6, keys=20, longest_ms=25, pause_ms=30):
        for _ in range(restarts):
            one.start()
            one.wait_published(100, 30)
            one.stop(expect=0) if how == "stop" else one.kill()
            wal.wait_inactive()
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
    wal.wait_confirmed()
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=0 if how == "stop" else 100 * restarts)


def test_kill_in_the_middle_of_rows_that_share_a_place_loses_none(wal_relay, kafka, database, wal, topic):
    """Debezium: shouldNotLoseEventsWhenMultipleDmlEventsShareSameLsn, with the death between two of them."""
    one = wal_relay({"batch_events": 10, "in_flight_events": 20}).start()
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) "
                     "SELECT 'order.placed', 'order', n::text, '{}' FROM generate_series(1, 4000) n")
    one.wait_published(40)
    one.kill()
    wal.wait_inactive()
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
    found = [int(k) for k in keys(read_topics(kafka.brokers, topic))]
    assert set(found) == set(range(1, 4001)) and len(found) <= 4020
    first = list(dict.fromkeys(found))
    assert first == sorted(first)


def test_what_is_written_while_the_relay_is_down_arrives(begun, database, wal):
    """Debezium: shouldReceiveMissedChangesWhileDown, shouldResumeFromLastReceivedLSN."""
    one, expect = begun
    for round_ in range(3):
        if round_ == 1:
            wal.wait_confirmed()  # a kill repeats what is not noted yet
            one.kill()
        else:
            one.stop()
        emit(database, f"down {round_}")
        one.start()
    emit(database, "up")
    expect("down 0", "down 1", "down 2", "up")


@pytest.mark.own_broker
def test_what_was_acknowledged_does_not_come_again_and_the_rest_does(wal_relay, kafka, database, wal, topic):
    """Debezium: shouldNotReceiveSameChangesIfFlushed, shouldReceiveSameChangesIfNotFlushed."""
    one = wal_relay(shutdown_timeout="1s").start()
    for n in range(10):
        emit(database, n)
    wait_for_records(kafka.brokers, topic, 10)
    wal.wait_confirmed()
    one.kill()
    wal.wait_inactive()
    one.start()
    emit(database, 10)
    assert keys(wait_for_records(kafka.brokers, topic, 11)) == [str(n) for n in range(11)], "acknowledged and noted: no repeats, even after kill -9"
    wal.wait_confirmed()
    confirmed = wal.confirmed()
    with kafka.away():
        emit(database, "unacknowledged")
        eventually(lambda: one.metric("inflight_events") >= 1, what="the event was read")
        one.stop(expect=5)
        wal.wait_inactive()
        barrier = wal.now()
    assert wal.confirmed() < barrier and wal.confirmed() >= confirmed
    one.start()
    assert "unacknowledged" in keys(wait_for_records(kafka.brokers, topic, 12))


LAST = {
    "message outside of transactions": "SELECT pg_logical_emit_message(false, 'outboxd.event', 'not ours')",
    "foreign message": "SELECT pg_logical_emit_message(true, 'foreign', 'not ours')",
    "message of ours": "SELECT outbox.emit_message('order.placed', 'order', 'message', '{}')",
    "another table": "CREATE TABLE IF NOT EXISTS public.t (n int); INSERT INTO t VALUES (1)",
    "truncation": "TRUNCATE outbox.event",
    "rolled back": "BEGIN; SELECT outbox.emit('order.placed', 'order', 'no', '{}'); ROLLBACK",
    "update": "UPDATE outbox.event SET payload = '2'",
    "an event and then a message": "SELECT outbox.emit('order.placed', 'order', 'event', '{}'); SELECT pg_logical_emit_message(true, 'foreign', 'x')",
}
PUBLISHED = {"message of ours": ["message"], "an event and then a message": ["event"]}


@pytest.mark.parametrize("how, last", [(how, last) if n % 2 == turn else soak(how, last)
                                       for turn, how in enumerate(["stop", "kill"]) for n, last in enumerate(LAST)])
def test_restart_resumes_whatever_came_last(begun, database, postgres, wal, last, how):
    """Debezium: shouldResumeStreamingAfterRestartWhenLastEventWasNonTransactionalMessage, ...AfterMessageBetweenTransactions,
    shouldNotReemitConsumedLogicalMessageAfterRestart, shouldHandleMessageOperationInWalPositionSearch."""
    one, expect = begun
    emit(database, 1)
    expect(1)
    postgres.psql(LAST[last], dbname=database.name)
    expect(1, *PUBLISHED.get(last, []))
    wal.wait_confirmed()
    one.stop() if how == "stop" else one.kill()
    wal.wait_inactive()
    emit(database, 2)
    one.start()
    emit(database, 3)
    expect(1, *PUBLISHED.get(last, []), 2, 3)
    wal.wait_confirmed()
    expect(1, *PUBLISHED.get(last, []), 2, 3)


def test_slot_that_falls_back_while_the_relay_is_down_repeats_nothing(wal_relay, kafka, database, wal, postgres, topic):
    """A crash of PostgreSQL takes the slot back to its last checkpoint; outbox.position knows better."""
    one = wal_relay(monitor={"interval": "200ms"}).start()
    emit(database, 0)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    postgres.execute("CHECKPOINT")
    early = wal.confirmed()
    for n in range(1, 50):
        emit(database, n)
    wait_for_records(kafka.brokers, topic, 50)
    late = wal.wait_confirmed()
    one.stop()
    postgres.restart("immediate")
    assert early <= wal.confirmed() < late, "the slot fell back, else this shows nothing"
    one.start()
    emit(database, 50)
    assert keys(wait_for_records(kafka.brokers, topic, 51)) == [str(n) for n in range(51)]
    wal.wait_confirmed()
    assert len(read_topics(kafka.brokers, topic)) == 51


def test_update_of_the_schema_while_down_is_followed(wal_relay, kafka, database, wal, topic):
    """Debezium: shouldReceiveUpdateSchemaAfterConnectionRestart."""
    one = wal_relay().start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    one.stop()
    emit(database, 2)
    database.execute("ALTER TABLE outbox.event ADD tenant text DEFAULT 'north', DROP COLUMN causation_id CASCADE, ADD causation_id text")
    emit(database, 3)
    one.start()
    emit(database, 4)
    records = wait_for_records(kafka.brokers, topic, 4)
    assert keys(records) == ["1", "2", "3", "4"]
    assert len({frozenset(headers_of(r)) for r in records}) == 1
