"""capture = "wal" starts: publication, slot and position come to be, and what was there before is neither lost nor repeated."""

import contextlib
import re

import pytest

from support import workload
from support.common import eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.postgres import OWNER, RELAY, SUPERUSER
from support.relay import outboxd
from support.trial import Trial
from support.verify import compare, read_truth
from support.wal import PIPELINE, PUBLICATION, SLOT, Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(cursor_or_database, key, payload="{}"):
    cursor_or_database.execute("SELECT outbox.emit('order.placed', 'order', %s, %s)", (str(key), payload))


def keys(records):
    return [r.key.decode() for r in records]


def finish(one, database, kafka, topic):
    """Everything is published and marked; the report of the checker."""
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())
    return compare(read_truth(database), read_topics(kafka.brokers, topic))


def test_numbers_that_go_down_are_said_before_rows_of_before_the_slot_are_published(wal_relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("ALTER SEQUENCE outbox.event_seq_seq MINVALUE -1000 INCREMENT -1 START -1 RESTART", user=SUPERUSER)
    emit(database, "one"), emit(database, "two")
    one = wal_relay().start()
    assert keys(wait_for_records(kafka.brokers, topic, 2)) == ["two", "one"], "as is said"
    line = one.wait_log("SEQUENCE_DESCENDS")[0]
    assert " warn " in line and "those from before the slot" in line and "INCREMENT 1 NO CYCLE" in line
    assert one.log_tail(1000).index("SEQUENCE_DESCENDS") < one.log_tail(1000).index("FIRST_PUBLISHED")
    emit(database, "three"), emit(database, "four")
    assert keys(wait_for_records(kafka.brokers, topic, 4))[2:] == ["three", "four"], "the log has its own order"
    assert "can descend or start over" in outboxd("check", "-c", one.config_path).stdout


def test_first_start_makes_publication_slot_and_position_when_the_role_may(relay, kafka, database, postgres, prefix):
    kafka.create_topic(f"{prefix}.order")
    Wal(database, publication=None, role=OWNER)
    try:
        one = relay({"capture": "wal", "poll_interval_max": None}, dsn=database.dsn(OWNER)).start()
        wal = Wal(database, publication=None, role=None)
        assert database.execute("SELECT pubinsert, pubupdate, pubdelete, pubtruncate, puballtables FROM pg_publication WHERE pubname = %s",
                                (PUBLICATION,)) == [(True, False, False, False, False)]
        assert database.execute("SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s", (PUBLICATION,)) \
            == [("outbox", "event")]
        wal.wait_active()
        slot = wal.slot()
        assert (slot["plugin"], slot["database"], slot["temporary"], slot["active"]) == ("pgoutput", database.name, False, True)
        position = wal.position()
        assert position["slot"] == SLOT and position["backfill"] is False and position["lsn"] >= slot["confirmed_flush_lsn"], position
        assert position["system_id"] == postgres.execute("SELECT system_identifier::text FROM pg_control_system()")[0][0]
        assert position["timeline"] == 1
        emit(database, "one")
        assert keys(wait_for_records(kafka.brokers, f"{prefix}.order", 1)) == ["one"]
        one.stop()
        assert wal.slot() is not None, "a clean stop keeps the slot"
    finally:
        postgres.execute(f"ALTER ROLE {OWNER} NOREPLICATION")


def test_without_the_right_to_replicate_the_relay_stops_and_prints_what_an_administrator_runs(relay, kafka, database, postgres, prefix):
    kafka.create_topic(f"{prefix}.order")
    Wal(database, role=None)
    postgres.execute(f"ALTER ROLE {RELAY} NOREPLICATION")
    one = relay({"capture": "wal", "poll_interval_max": None}).start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines(rf'ALTER ROLE .{{0,2}}{RELAY}.{{0,2}} REPLICATION;'), one.log_tail()
    assert database.scalar("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0


def test_without_the_right_to_publish_the_relay_stops_and_prints_what_an_administrator_runs(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    Wal(database, publication=None)
    one = relay({"capture": "wal", "poll_interval_max": None}).start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines(f'CREATE PUBLICATION .{{0,2}}{PUBLICATION}.{{0,2}} FOR TABLE'), one.log_tail()
    assert database.scalar("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0, \
        "the publication comes before the slot"


@pytest.mark.parametrize("publication", [
    "FOR TABLE outbox.dead_letter WITH (publish = 'insert')",
    "FOR TABLE outbox.event WITH (publish = 'update, delete')",
    "FOR TABLE outbox.event (seq, event_id) WITH (publish = 'insert')",
    "FOR TABLE outbox.event WHERE (seq < 10) WITH (publish = 'insert')"], ids=["other-table", "no-inserts", "columns", "rows"])
def test_publication_that_would_lose_events_is_refused(relay, kafka, database, prefix, publication):
    topic = kafka.create_topic(f"{prefix}.order")
    Wal(database, publication=None)
    database.execute("ALTER TABLE outbox.event REPLICA IDENTITY FULL")
    database.execute(f"CREATE PUBLICATION {PUBLICATION} {publication}")
    emit(database, "one")
    one = relay({"capture": "wal", "poll_interval_max": None}).start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines(PUBLICATION), one.log_tail()
    assert read_topics(kafka.brokers, topic) == []


def test_publication_of_more_than_inserts_gives_each_event_once(relay, kafka, database, prefix):
    """An adopted publication may publish everything: updates (also our own marks), deletes and truncation are no events."""
    topic = kafka.create_topic(f"{prefix}.order")
    Wal(database, publication=None)
    database.execute(f"ALTER TABLE outbox.event REPLICA IDENTITY FULL; CREATE PUBLICATION {PUBLICATION} FOR TABLE outbox.event, outbox.dead_letter")
    one = relay({"capture": "wal", "poll_interval_max": None}).start()
    for n in range(20):
        emit(database, n)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what=lambda: "all marked\n" + one.log_tail())
    database.execute("DELETE FROM outbox.event WHERE seq < 5; UPDATE outbox.event SET payload = '1'; TRUNCATE outbox.event")
    emit(database, "last")
    assert keys(wait_for_records(kafka.brokers, topic, 21)) == [*map(str, range(20)), "last"]


def test_rows_from_before_the_first_start_are_published_once_and_first(wal_relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    for n in range(300):
        emit(database, f"before-{n}")
    database.execute("UPDATE outbox.event SET published_at = now() WHERE seq <= 20")
    one = wal_relay({"batch_events": 50}).start()
    for n in range(30):
        emit(database, f"after-{n}")
    expected = [f"before-{n}" for n in range(20, 300)] + [f"after-{n}" for n in range(30)]
    assert keys(wait_for_records(kafka.brokers, topic, len(expected))) == expected
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what=lambda: "all marked\n" + one.log_tail())
    one.stop()
    one.start()
    emit(database, "last")
    assert keys(wait_for_records(kafka.brokers, topic, len(expected) + 1)) == [*expected, "last"]


def test_transaction_open_while_the_slot_is_made_is_published_exactly_once(wal_relay, kafka, database, wal, prefix):
    """PostgreSQL makes the slot only when every transaction of that moment has ended. What they wrote, and what commits while the slot
    waits, belongs to the snapshot; what begins meanwhile and ends later belongs to the stream."""
    topic = kafka.create_topic(f"{prefix}.order")
    first, second = database.connect(autocommit=False), database.connect(autocommit=False)
    with first.cursor() as early, second.cursor() as late:
        emit(early, "early 1")
        one = wal_relay().start(wait_ready=False)
        wal.wait_slot()
        assert wal.confirmed() is None, "the slot waits for the transaction"
        emit(database, "meanwhile")
        emit(late, "late 1")
        emit(early, "early 2")
        assert one.http("/livez")[0] == 200 and not one.ready()[0]
        first.commit()
        # The slot waits for what began meanwhile, too, or it takes that from the stream: either is right.
        stays_true(one.running, 0.3)
        emit(late, "late 2")
        second.commit()
    first.close()
    second.close()
    one.wait_ready()
    emit(database, "last")
    assert sorted(keys(wait_for_records(kafka.brokers, topic, 6))) == sorted(["early 1", "early 2", "meanwhile", "late 1", "late 2", "last"])
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")
    assert len(read_topics(kafka.brokers, topic)) == 6


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_first_start_under_load_loses_and_repeats_nothing(wal_relay, kafka, database, prefix, seed):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    database.execute("SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 500) n")
    with workload.Writers(database, threads=6, keys=20, seed=seed, longest_ms=20, pause_ms=0):
        one = wal_relay({"batch_events": 40}).start()
        one.wait_published(900, 40)
    finish(one, database, kafka, topic).assert_exact(duplicates=0)


def test_switch_from_polling_to_wal_and_back_under_load_loses_and_repeats_nothing(wal_relay, poll_relay, kafka, database, wal, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    polling, tailing = poll_relay(), wal_relay()
    with workload.Writers(database, threads=4, keys=20):
        for one in (polling, tailing, polling):
            one.start()
            one.wait_published(300, 40)
            one.stop(expect=0)
        polling.start()
    finish(polling, database, kafka, topic).assert_exact(duplicates=0)


# What README tells those who go back to polling for good: the slot would keep WAL, and bring again what polling published.
LEAVE_WAL = f"""SELECT pg_drop_replication_slot('{SLOT}');
DELETE FROM outbox.position WHERE pipeline = '{PIPELINE}';"""


@pytest.mark.parametrize("slot", ["kept", "dropped"])
def test_polling_for_a_while_between_two_times_of_wal(wal_relay, poll_relay, kafka, database, wal, prefix, slot):
    """Nothing is lost either way. A slot that was kept brings what polling published again, all of it and in order; without slot and
    position the relay makes both again, and nothing comes twice."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    polling, tailing = poll_relay(), wal_relay()
    with workload.Writers(database, threads=4, keys=20):
        arrived = [0]
        for one in (tailing, polling, tailing):
            if one is polling and slot == "dropped":
                database.execute(LEAVE_WAL, user=SUPERUSER)
                assert wal.slot() is None and wal.position() is None
            one.start()
            one.wait_published(300, 40)
            one.stop(expect=0)
            arrived.append(len(read_topics(kafka.brokers, topic)))
        tailing.start()
    by_polling = arrived[2] - arrived[1]
    report = finish(tailing, database, kafka, topic)
    if slot == "dropped":
        report.assert_exact(duplicates=0)
    else:
        report.assert_exact(duplicates=by_polling)
        assert report.duplicates == by_polling, "all that polling published, which is why README says to drop the slot"


def test_slot_made_by_hand_is_adopted_and_its_rows_are_published_once(wal_relay, kafka, database, wal, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, "before the slot")
    wal.make_slot()
    for n in range(50):
        emit(database, f"since {n}")
    one = wal_relay({"batch_events": 20}).start()
    assert one.log_lines("SLOT_ADOPTED"), one.log_tail()
    emit(database, "last")
    expected = ["before the slot", *[f"since {n}" for n in range(50)], "last"]
    assert keys(wait_for_records(kafka.brokers, topic, len(expected))) == expected
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")
    wal.wait_confirmed()
    assert keys(read_topics(kafka.brokers, topic)) == expected


def test_lost_position_starts_from_where_the_slot_stands(wal_relay, kafka, database, wal, prefix):
    """Debezium: shouldStartConsumingFromSlotLocation (offsets lost, slot kept)."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay().start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()  # else the stop may come in front of the transaction's end, and the slot, too
    one.stop()
    emit(database, 2)
    database.execute("DELETE FROM outbox.position")
    emit(database, 3)
    one.start()
    emit(database, 4)
    assert keys(wait_for_records(kafka.brokers, topic, 4)) == ["1", "2", "3", "4"]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")
    assert keys(read_topics(kafka.brokers, topic)) == ["1", "2", "3", "4"]


PROGRESS = {"mark": "SELECT count(*) FROM outbox.event WHERE published_at IS NOT NULL", "keep": "SELECT coalesce(max(backfill_seq), 0) FROM outbox.position"}


@pytest.mark.parametrize("on_publish", PROGRESS)
def test_kill_in_the_middle_of_the_rows_of_the_first_start_repeats_at_most_what_was_in_flight(wal_relay, kafka, database, wal, prefix, on_publish):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    database.execute("SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 3000) n")
    one = wal_relay({"on_publish": on_publish, "batch_events": 40, "in_flight_events": 200}).start(wait_ready=False)
    eventually(lambda: database.scalar(PROGRESS[on_publish]) > 200, 20, "some rows are published", interval=0.001)
    one.kill()
    assert wal.position()["backfill"] is True, "killed too late"
    wal.wait_inactive()
    database.execute("SELECT workload.place(1 + n % 20, n * 7) FROM generate_series(1, 100) n")
    one.start()
    eventually(lambda: wal.position()["backfill"] is False, 20, "the first start is over")
    wait_for_records(kafka.brokers, topic, database.scalar("SELECT count(*) FROM outbox.event"))
    wal.wait_confirmed()
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=200)


def test_rows_from_after_the_slot_keep_their_place_among_messages_when_the_first_start_is_killed(wal_relay, kafka, database, wal, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', 'before', '{}') FROM generate_series(1, 2000)")
    one = wal_relay({"messages": True, "batch_events": 40, "in_flight_events": 200}).start(wait_ready=False)
    eventually(lambda: database.scalar(PROGRESS["mark"]) > 200, 20, "some rows are published", interval=0.001)
    one.kill()
    assert wal.position()["backfill"] is True, "killed too late"
    wal.wait_inactive()
    for n in range(0, 20, 2):
        database.execute("SELECT outbox.emit_message('order.placed', 'order', 'mixed', %s)", (str(n),))
        emit(database, "mixed", str(n + 1))
    one.start()
    records = eventually(lambda: mixed if len(mixed := [r for r in read_topics(kafka.brokers, topic) if r.key == b"mixed"]) >= 20 else None, 30,
                         "all of the key arrived", interval=0.2)
    assert [int(r.value) for r in records] == list(range(20))


def test_no_transaction_is_left_open_after_the_first_start(wal_relay, kafka, database, prefix):
    """Debezium: shouldCloseTransactionsAfterSnapshot. The snapshot of the slot would hold back vacuum."""
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1)
    wal_relay().start()
    wait_for_records(kafka.brokers, topic, 1)
    eventually(lambda: database.scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = current_database() AND "
                                       "(state LIKE 'idle in transaction%%' OR backend_xmin IS NOT NULL)", (RELAY,), user=SUPERUSER) == 0,
               10, "no session of the relay holds a snapshot")


@pytest.mark.parametrize("end", ["kill", "SIGTERM"])
@pytest.mark.parametrize("holder", ["open", "prepared"])
def test_a_slot_that_waits_for_a_transaction_is_said_and_a_restart_meanwhile_is_no_gap(wal_relay, kafka, database, wal, prefix, holder, end):
    """The server goes on creating the slot of a relay that is gone, as long as the transaction lasts; then it is there, or taken back."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay()
    trial = Trial(database, one)
    trial.emit(10)
    connection = database.connect(autocommit=False)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT outbox.emit('order.placed', 'order', 'late', '{}')")
        late = cursor.fetchone()[0]
        if holder == "prepared":
            cursor.execute(f"PREPARE TRANSACTION '{database.name}'")
        one.start(wait_ready=False)
        reason = one.wait_not_ready("SLOT_UNFINISHED")
        assert "pg_prepared_xacts" in reason and len(one.log_lines("code=SLOT_UNFINISHED")) == 1
        assert one.published() == 0
        one.kill() if end == "kill" else one.stop(expect=None)
        trial.emit(10)
        one.start(wait_ready=False)
        one.wait_not_ready("SLOT_UNFINISHED")
        stays_true(one.running, 1, "it waits")
        if holder == "prepared":
            database.execute(f"COMMIT PREPARED '{database.name}'")
        else:
            connection.commit()
    trial.expect([("late", late)])
    one.wait_ready()
    trial.emit(10)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30,
               lambda: "all published\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not one.log_lines("SLOT_MISSING|GAP"), one.log_tail()


@pytest.mark.parametrize("way", ["renamed", "over", "both"])
@pytest.mark.parametrize("options", [{"on_publish": "keep"}, {"messages": True}], ids=["keep", "messages"])
def test_a_pipeline_that_was_renamed_is_a_gap_and_each_way_out_is_as_printed(wal_relay, kafka, database, wal, prefix, options, way):
    """A new name has neither slot nor position: kept rows would all come again, and messages since the old slot's place would be lost."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay(options).start()
    trial = Trial(database, one)
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 20)
    wal.wait_confirmed()
    one.stop()
    message = database.scalar("SELECT outbox.emit_message('order.placed', 'order', 'message', '{}')::text") if "messages" in options else None
    trial.emit(10)
    database.execute("CREATE PUBLICATION outboxd_renamed FOR TABLE outbox.event WITH (publish = 'insert')")
    two = wal_relay({**options, "name": "renamed"}).start(wait_ready=False)
    assert two.wait_exit() == 4, two.log_tail()
    hint = re.search(r'code=PIPELINE_RENAMED .* hint="((?:[^"\\]|\\.)*)"', two.log_text()).group(1).replace('\\"', '"')
    assert hint in outboxd("check", "-c", two.config_path, expect=4).stdout.replace("\n", " ")
    sql = re.findall(r"(?:UPDATE|SELECT|DELETE) [^;]*;", hint)
    if way == "renamed":
        database.execute(sql[0], user=SUPERUSER)
        two = wal_relay({**options, "name": "renamed", "slot": SLOT, "publication": PUBLICATION}).start()
        message and trial.expect([("message", message)])
    elif way == "over":
        database.execute(sql[1], user=SUPERUSER)
        database.execute(sql[2], user=SUPERUSER)
        two = wal_relay({**options, "name": "renamed"}).start()
    else:
        two = wal_relay({**options, "name": "renamed"}, args=["--new-slot"]).start()
        assert two.log_lines("GAP_ACCEPTED"), two.log_tail()
    trial.emit(5)
    eventually(lambda: not trial.result(read_topics(kafka.brokers, topic)).lost, 20, lambda: "all published\n" + two.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0 if way == "renamed" or message else 20)


def test_a_pipeline_that_was_renamed_is_said_where_the_table_tells_all(wal_relay, kafka, database, wal, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay().start()
    trial = Trial(database, one)
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    one.stop()
    trial.emit(10)
    database.execute("CREATE PUBLICATION outboxd_renamed FOR TABLE outbox.event WITH (publish = 'insert')")
    two = wal_relay({"name": "renamed"})
    assert "pg_drop_replication_slot('outboxd_orders')" in outboxd("check", "-c", two.config_path, expect=0).stdout
    two.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    assert len(two.log_lines("code=PIPELINE_RENAMED .*outboxd_orders")) == 1, two.log_tail()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
