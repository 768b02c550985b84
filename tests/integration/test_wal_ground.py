"""The ground moves under capture = "wal": places that the server's log does not have, rows that come as published, first starts that die."""

import pytest

from conftest import soak
from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.proxy import BEGIN, COMMIT, KEEPALIVE, XLOGDATA, Proxy
from support.trial import Trial
from support.wal import SLOT

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
FAR = 1 << 40


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture
def proxy(database):
    with Proxy(database.server.port) as proxy:
        yield proxy


def emit(database, key):
    return database.scalar("SELECT outbox.emit('order.placed', 'order', %s, '{}')::text", (str(key),))


def keys(records):
    return [r.key.decode() for r in records]


# -- places (trials 1.6) --------------------------------------------------------------------------------------------------

LIES = {"keep-alive": (KEEPALIVE, {"wal_end": lambda n: n + FAR}),
        "start of data": (XLOGDATA, {"start": lambda n: n + FAR}),
        "end of data": (XLOGDATA, {"end": lambda n: n + FAR}),
        "begin": (BEGIN, {"final_lsn": lambda n: n + FAR}),
        "commit": (COMMIT, {"commit_lsn": lambda n: n + FAR}),
        "commit that goes back": (COMMIT, {"commit_lsn": lambda n: 7}),
        "begin that goes back": (BEGIN, {"final_lsn": lambda n: 7}),
        "end of a commit": (COMMIT, {"end_lsn": lambda n: n + FAR}),
        "end of a commit, not far": (COMMIT, {"end_lsn": lambda n: n + (1 << 24)}),
        "keep-alive, not far": (KEEPALIVE, {"wal_end": lambda n: n + (1 << 24)})}


@pytest.mark.parametrize("lie", [lie if lie in ("keep-alive", "start of data", "commit", "begin that goes back", "end of a commit, not far")
                                 else soak(lie) for lie in LIES])
def test_one_altered_message_loses_nothing(wal_relay, wal, database, kafka, topic, proxy, lie):
    one = wal_relay(dsn=database.dsn(port=proxy.port)).start()
    trial = Trial(database, one)
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 20)
    wal.wait_confirmed()
    what, how = LIES[lie]
    rule = proxy.on(what).alter(**how)
    with wal.watch(), trial:
        trial.emit(100)
        # What others write brings a keep-alive; beside a commit it would make the log as long as the lie says.
        eventually(lambda: rule.struck or (what is KEEPALIVE and wal.noise()), 30, "the message is altered")
        eventually(lambda: one.log_lines("PG_PROTOCOL"), 30, lambda: "it is a violation of the protocol\n" + one.log_tail())
        trial.emit(100)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all published\n" + one.log_tail())
        wal.wait_confirmed()
        assert wal.position()["lsn"] <= wal.now() and wal.confirmed() <= wal.now()
    result = trial.result(read_topics(kafka.brokers, topic))
    print(lie, result)
    result.assert_none_lost(duplicates=100)
    assert one.running()


def test_a_proxy_that_always_lies_stops_the_pipeline_with_the_remedy(wal_relay, wal, database, kafka, topic, proxy):
    one = wal_relay(dsn=database.dsn(port=proxy.port)).start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    position = wal.position()["lsn"]
    proxy.on(BEGIN, times=None).alter(final_lsn=lambda n: n + FAR)
    emit(database, 2)
    assert one.wait_exit(40) == 2, one.log_tail()
    assert one.log_lines("PG_PROTOCOL.*alters the data"), one.log_tail()
    assert wal.position()["lsn"] >= position and wal.confirmed() <= wal.now()
    two = wal_relay().start()
    assert keys(wait_for_records(kafka.brokers, topic, 2)) == ["1", "2"]
    assert two.running()


@pytest.mark.parametrize("column", ["lsn", "tx_lsn"])
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_a_stored_position_beyond_the_log_is_exit_4_and_new_slot_mends_it(wal_relay, wal, database, kafka, topic, column, on_publish):
    one = wal_relay({"on_publish": on_publish}).start()
    emit(database, "before")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    one.stop()
    database.execute(f"UPDATE outbox.position SET {column} = pg_current_wal_lsn() + 1099511627776::numeric, tx_ordinal = 1")
    for n in range(50):
        emit(database, n)
    one.start(wait_ready=False)
    assert one.wait_exit() == 4, one.log_tail()
    assert one.log_lines("POSITION_BEYOND_LOG.*--new-slot"), one.log_tail()
    two = wal_relay({"on_publish": on_publish}, args=["--new-slot"]).start()
    assert keys(wait_for_records(kafka.brokers, topic, 51)) == ["before", *map(str, range(50))]
    emit(database, "after")
    assert keys(wait_for_records(kafka.brokers, topic, 52))[-1] == "after"
    assert two.running() and wal.position()["lsn"] <= wal.now()


def test_new_slot_says_when_it_has_nothing_to_do_and_what_it_says_forces_it(wal_relay, wal, database, kafka, topic):
    one = wal_relay().start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    one.stop()
    two = wal_relay(args=["--new-slot"]).start()
    said = two.log_lines("NEW_SLOT_NOT_NEEDED")
    assert len(said) == 1 and f"pg_drop_replication_slot('{SLOT}')" in said[0], two.log_tail()
    two.stop()
    emit(database, 2)
    wal.drop_slot()
    three = wal_relay(args=["--new-slot"]).start()
    assert three.log_lines("GAP_ACCEPTED") and not three.log_lines("NEW_SLOT_NOT_NEEDED")
    assert keys(wait_for_records(kafka.brokers, topic, 2)) == ["1", "2"]


def test_new_slot_brings_back_a_row_that_somebody_unmarked(wal_relay, wal, database, kafka, topic):
    """The log has it, long ago: what the net says to run publishes it."""
    one = wal_relay({"unseen_after": "1s"}, monitor={"interval": "500ms"}).start()
    for n in range(5):
        emit(database, n)
    wait_for_records(kafka.brokers, topic, 5)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    wal.wait_confirmed()
    database.execute("UPDATE outbox.event SET published_at = NULL WHERE aggregate_id = '2'")
    one.wait_not_ready("EVENT_UNSEEN", 40)
    assert one.log_lines("EVENT_UNSEEN.*--new-slot"), one.log_tail()
    one.stop(expect=None)
    two = wal_relay(args=["--new-slot"]).start()
    assert two.log_lines("GAP_ACCEPTED.*gap=EVENT_UNSEEN"), two.log_tail()
    assert keys(wait_for_records(kafka.brokers, topic, 6)) == ["0", "1", "2", "3", "4", "2"]
    emit(database, 6)
    assert keys(wait_for_records(kafka.brokers, topic, 7))[-1] == "6"
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")


# -- numbers that go back (trials 1.11) -----------------------------------------------------------------------------------

@pytest.mark.parametrize("on_publish, busy", [("mark", True), ("delete", False), soak("mark", False), soak("delete", True), soak("keep", True)])
def test_restart_identity_loses_and_repeats_nothing(wal_relay, wal, database, kafka, topic, on_publish, busy):
    """The log knows no numbers. Busy: rows that are not marked yet go, and others get their numbers."""
    one = wal_relay({"on_publish": on_publish}).start()
    trial = Trial(database, one)
    trial.emit(3000)
    if not busy:
        one.wait_published(3000)
        eventually(lambda: one.metric("unmarked_events") == 0, what="all marked")
    database.server.execute("TRUNCATE outbox.event RESTART IDENTITY", dbname=database.name)
    for _ in range(50):
        trial.emit(100)
    one.wait_published(8000, 40)
    if on_publish != "keep":
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: "all marked\n" + one.log_tail())
    assert database.scalar("SELECT max(seq) FROM outbox.event") in ((None,) if on_publish == "delete" else (5000,))
    wal.wait_confirmed()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.wait_ready()


# -- rows that come as published (trials 1.13) ----------------------------------------------------------------------------

RESTORE = ("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload, published_at) "
           "SELECT 'order.placed', 'order', 'restored', '{}', '2020-01-01' FROM generate_series(1, 100)")


@pytest.mark.parametrize("capture", ["wal", "wal keep", "poll"])
def test_rows_that_come_as_published_are_neither_published_nor_marked(wal_relay, poll_relay, wal, database, kafka, topic, capture):
    one = poll_relay() if capture == "poll" else wal_relay({"on_publish": "keep"} if "keep" in capture else {})
    database.execute(RESTORE)
    one.start()
    emit(database, 1)
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT outbox.emit('order.placed', 'order', '2', '{}')")
        cursor.execute(RESTORE)
        cursor.execute("SELECT outbox.emit('order.placed', 'order', '3', '{}')")
    emit(database, 4)
    assert keys(wait_for_records(kafka.brokers, topic, 4)) == ["1", "2", "3", "4"]
    if capture != "wal keep":
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    assert database.scalar("SELECT count(*) FROM outbox.event WHERE published_at = '2020-01-01'") == 200
    one.stop()
    one.start()
    emit(database, 5)
    assert keys(wait_for_records(kafka.brokers, topic, 5)) == ["1", "2", "3", "4", "5"]


# -- generated columns (trials 1.14) --------------------------------------------------------------------------------------

def test_a_generated_column_that_is_used_is_refused(wal_relay, wal, database, kafka, topic):
    database.execute("ALTER TABLE outbox.event ADD COLUMN tenant text GENERATED ALWAYS AS (aggregate_id || '-t') STORED")
    emit(database, 1)
    one = wal_relay({"header_columns": ["tenant"]}).start(wait_ready=False)
    emit(database, 2)
    assert one.wait_exit() in (1, 2), one.log_tail()
    assert one.log_lines("tenant.*generated|generated.*tenant"), one.log_tail()
    unused = wal_relay().start()
    assert keys(wait_for_records(kafka.brokers, topic, 2)) == ["1", "2"]
    assert unused.running()


def test_a_column_that_becomes_generated_while_running_stops_before_it_is_lost(wal_relay, wal, database, kafka, topic):
    database.execute("ALTER TABLE outbox.event ADD COLUMN tenant text DEFAULT 'acme'")
    one = wal_relay({"header_columns": ["tenant"]}).start()
    emit(database, 1)
    assert headers_of(wait_for_records(kafka.brokers, topic, 1)[0])["tenant"] == "acme"
    database.execute("ALTER TABLE outbox.event DROP COLUMN tenant; "
                     "ALTER TABLE outbox.event ADD COLUMN tenant text GENERATED ALWAYS AS (aggregate_id || '-t') STORED")
    emit(database, 2)
    eventually(lambda: not one.running() or not one.ready()[0], 20, "it is loud")
    assert one.log_lines("generated"), one.log_tail()
    assert all("tenant" in headers_of(r) for r in read_topics(kafka.brokers, topic))


# -- first starts (trials 1.15) -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("slot, on_publish", [("an administrator's", "mark"), ("an administrator's", "keep"), ("its own", "delete"),
                                              soak("an administrator's", "delete"), soak("its own", "mark"), soak("its own", "keep")])
def test_a_first_start_that_is_killed_after_its_rows_are_done_repeats_none(wal_relay, wal, database, kafka, topic, on_publish, slot):
    if slot == "an administrator's":
        emit(database, "before")
        wal.make_slot()
    else:
        emit(database, "before")
    database.execute("SELECT outbox.emit('order.placed', 'order', (n % 10)::text, '{}') FROM generate_series(1, 3000) n")
    end = wal.now()
    one = wal_relay({"on_publish": on_publish}).start()
    wait_for_records(kafka.brokers, topic, 3001)
    if on_publish == "keep":
        eventually(lambda: not wal.position()["backfill"] and wal.position()["lsn"] >= end, 20, lambda: f"the position is there, is {wal.position()}")
    else:
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all are done")
    one.kill()
    wal.wait_inactive()
    one.start()
    emit(database, "after")
    records = wait_for_records(kafka.brokers, topic, 3002)
    assert records[-1].key == b"after" and len({headers_of(r)["ce_id"] for r in records}) == 3002
    wal.wait_confirmed()
    assert len(read_topics(kafka.brokers, topic)) == 3002


def test_rows_that_were_deleted_in_their_own_transaction_come_with_the_slot_of_an_administrator(wal_relay, wal, database, kafka, topic):
    emit(database, "before")
    wal.make_slot()
    database.execute("WITH e AS (SELECT outbox.emit('order.placed', 'order', 'brief', '{}') AS id) SELECT id FROM e")
    database.execute("DELETE FROM outbox.event WHERE aggregate_id = 'brief'")
    emit(database, "later")
    one = wal_relay().start()
    assert keys(wait_for_records(kafka.brokers, topic, 3)) == ["before", "brief", "later"]
    assert one.running()


FIRST_START = ["locked", "fetched", "producing", "enqueued", "delivered", "settled", "before_mark", "mark_sent", "marked", "streaming", "feedback_sent"]


# Quick: each point in one mode, by turns; with "mark" all of them in faults/test_failpoints.py.
@pytest.mark.parametrize("point, on_publish", [(point, mode) if n % 2 == turn else soak(point, mode) for n, point in enumerate(FIRST_START)
                                               for turn, mode in enumerate(["delete", "keep", "mark"])])
def test_a_first_start_that_dies_anywhere_loses_nothing(wal_relay, wal, database, kafka, topic, on_publish, point):
    database.execute("SELECT outbox.emit('order.placed', 'order', (n % 10)::text, '{}') FROM generate_series(1, 300) n")
    one = wal_relay({"on_publish": on_publish, "batch_events": 50, "in_flight_events": 200}, env={"OUTBOXD_FAILPOINTS": f"{point}:1:kill"})
    one.start(wait_ready=False)
    assert one.wait_exit(30) == -9, one.log_tail()
    eventually(lambda: not (wal.slot() or {}).get("active"), 20, "the slot is free")
    for n in range(20):
        emit(database, "after")
    two = wal_relay({"on_publish": on_publish, "batch_events": 50, "in_flight_events": 200}).start()
    records = wait_for_records(kafka.brokers, topic, 320)
    eventually(lambda: len({headers_of(r)["ce_id"] for r in read_topics(kafka.brokers, topic)}) == 320, 20, lambda: "all arrived\n" + two.log_tail())
    wal.wait_confirmed()
    records = read_topics(kafka.brokers, topic)
    assert len(records) - 320 <= 200, "at most what was in flight comes twice"
    assert wal.position()["backfill"] is False
