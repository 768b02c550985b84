"""Rotation by rename with capture = "wal": the old table's rows are published and marked there, then the new one's (trial 1.10)."""

import pytest

from support.common import eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.trial import Trial
from support.wal import PUBLICATION

SOON = {"interval": "500ms"}
ADD = f"ALTER PUBLICATION {PUBLICATION} ADD TABLE outbox.event"
MANY = 200


def rotation(old="event_2025", add=ADD):
    return [f"ALTER TABLE outbox.event RENAME TO {old}",
            f"CREATE TABLE outbox.event (LIKE outbox.{old} INCLUDING ALL)",
            "ALTER TABLE outbox.event OWNER TO shop_owner",
            "GRANT SELECT, DELETE, UPDATE ON outbox.event TO outbox_relay"] + ([add] if add else [])


@pytest.fixture
def topic(kafka, prefix):
    name = f"{prefix}.order"
    kafka.create_topic(name, partitions=3)
    return name


def rotate(database, old="event_2025", add=ADD):
    connection = database.connect(SUPERUSER, autocommit=False)
    with connection, connection.cursor() as cursor:
        for statement in rotation(old, add):
            cursor.execute(statement)
    connection.close()


def waiting(database, table="event"):
    return database.scalar(f"SELECT count(*) FROM outbox.{table} WHERE published_at IS NULL", user=SUPERUSER)


def rows(database, table="event"):
    return database.scalar(f"SELECT count(*) FROM outbox.{table}", user=SUPERUSER)


def begun(one, trial, kafka, topic, wal):
    one.start()
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 20)
    wal.wait_confirmed()


def done(database, on_publish, table):
    return (rows if on_publish == "delete" else waiting)(database, table) == 0


def table_id(database):
    return database.scalar("SELECT table_id::regclass::text FROM outbox.position", user=SUPERUSER)


@pytest.mark.own_broker
@pytest.mark.parametrize("on_publish", ["mark", "delete", "keep"])
@pytest.mark.parametrize("live", [True, False], ids=["live", "down"])
def test_the_old_table_is_finished_then_the_new_one_is_published(kafka, database, wal_relay, wal, topic, on_publish, live):
    options = {"on_publish": on_publish}
    one = wal_relay(options, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    if live:
        with trial:
            with kafka.away():
                trial.emit(MANY)
                eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
                rotate(database)
                trial.emit(MANY)
            wait_for_records(kafka.brokers, topic, 20 + 2 * MANY, 60)
    else:
        one.stop()
        trial.emit(MANY)
        rotate(database)
        trial.emit(MANY)
        one = wal_relay(options, monitor=SOON).start()
    wait_for_records(kafka.brokers, topic, 20 + 2 * MANY, 60)
    trial.emit(20)
    eventually(lambda: table_id(database) == "outbox.event", 30, lambda: "the old table is finished\n" + one.log_tail())
    wait_for_records(kafka.brokers, topic, 40 + 2 * MANY, 60)
    if on_publish != "keep":
        eventually(lambda: done(database, on_publish, "event"), 30, lambda: "the new table is published\n" + one.log_tail())
        assert done(database, on_publish, "event_2025"), one.log_tail()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert one.log_lines("TABLE_ROTATED.*event_2025") and one.log_lines("TABLE_FINISHED.*event_2025"), one.log_tail()
    assert not one.log_lines("ROWS_|HISTORY_CHANGED|PUBLICATION_PROVEN"), one.log_tail()
    if live:
        assert trial.quiet < 10, f"quiet for {trial.quiet} s"
    one.wait_ready()
    one.stop()
    trial.emit(20)
    two = wal_relay(options, monitor=SOON).start()
    wait_for_records(kafka.brokers, topic, 60 + 2 * MANY, 60)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not two.log_lines("TABLE_ROTATED"), two.log_tail()


def settled(database, one, *tables):
    for table in (*tables, "event"):
        eventually(lambda: waiting(database, table) == 0, 60, lambda: f"{table} is published\n" + one.log_tail())


@pytest.mark.own_broker
def test_a_kill_in_the_middle_repeats_what_was_in_flight_alone(kafka, database, wal_relay, wal, topic):
    options = {"batch_events": 50, "in_flight_events": 100}
    one = wal_relay(options, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= 50, 20, lambda: one.log_tail())
        rotate(database)
        trial.emit(MANY)
        one.kill()
    wal.wait_inactive()
    two = wal_relay(options, monitor=SOON).start()
    settled(database, two, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=100)


def test_kills_all_through_rotations_lose_nothing(kafka, database, wal_relay, wal, topic):
    options = {"batch_events": 20, "in_flight_events": 40}
    one = wal_relay(options, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    for turn in range(4):
        trial.emit(MANY)
        rotate(database, f"event_{turn}")
        trial.emit(MANY)
        eventually(lambda: waiting(database, f"event_{turn}") < MANY * (4 - turn) // 4, 30, lambda: "it comes on\n" + one.log_tail())
        one.kill()
        wal.wait_inactive()
        one = wal_relay(options, monitor=SOON).start()
    settled(database, one, *(f"event_{turn}" for turn in range(4)))
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=4 * 40)
    eventually(lambda: table_id(database) == "outbox.event", 30, lambda: "all are finished\n" + one.log_tail())


@pytest.mark.parametrize("on_publish", ["mark", "delete", "keep"])
def test_rotations_under_load(kafka, database, wal_relay, wal, topic, on_publish):
    one = wal_relay({"on_publish": on_publish}, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    for turn in range(3):
        for _ in range(10):
            trial.emit(20)
        rotate(database, f"event_{turn}")
        for _ in range(10):
            trial.emit(20)
        wait_for_records(kafka.brokers, topic, 20 + 400 * (turn + 1), 60)
    if on_publish == "mark":
        settled(database, one, "event_0", "event_1", "event_2")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not one.log_lines("ROWS_|HISTORY_CHANGED"), one.log_tail()


def test_two_renames_while_the_relay_is_down_lose_nothing(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    one.stop()
    for name in ("event_a", "event_b"):
        trial.emit(MANY)
        rotate(database, name)
    trial.emit(MANY)
    two = wal_relay(monitor=SOON).start()
    settled(database, two, "event_a", "event_b")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    eventually(lambda: table_id(database) == "outbox.event", 30, lambda: "all are finished\n" + two.log_tail())


def test_two_renames_that_the_catalog_does_not_link_are_told_by_the_log(kafka, database, wal_relay, wal, topic):
    """Each rename in a transaction of its own."""
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    one.stop()
    for name in ("event_a", "event_b"):
        trial.emit(MANY)
        for statement in rotation(name):
            database.execute(statement, user=SUPERUSER)
    trial.emit(MANY)
    two = wal_relay(monitor=SOON).start()
    settled(database, two, "event_a", "event_b")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not two.log_lines("ROWS_"), two.log_tail()


@pytest.mark.own_broker
def test_a_rename_whose_table_is_made_later_loses_nothing(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    rename, *rest = rotation()
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        database.execute(rename, user=SUPERUSER)
        eventually(lambda: not one.ready()[0], 20, "no table has the name: it is loud")
        for statement in rest:
            database.execute(statement, user=SUPERUSER)
        trial.emit(MANY)
    settled(database, one, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


@pytest.mark.own_broker
def test_what_is_still_written_to_the_old_table_is_published_and_marked_there(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    database.execute("CREATE VIEW outbox.writers AS SELECT * FROM outbox.event; GRANT INSERT ON outbox.writers TO shop_owner", user=SUPERUSER)
    with kafka.away():
        rotate(database)
        trial.emit(MANY)
        late = database.execute("INSERT INTO outbox.writers (event_id, event_type, aggregate_type, aggregate_id, payload, occurred_at, seq) "
                                "OVERRIDING SYSTEM VALUE SELECT gen_random_uuid(), 'order.placed', 'order', 'late', '{}', now(), 1000000 + n "
                                "FROM generate_series(1, 20) n RETURNING 'late', event_id::text", user=SUPERUSER)
        trial.expect(late)
        trial.emit(20)
    settled(database, one, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not one.log_lines("ROWS_"), one.log_tail()


@pytest.mark.own_broker
def test_a_new_table_that_is_not_published_stops_until_it_is(kafka, database, wal_relay, wal, topic):
    """What was inserted before that is not in the log: a gap, which --new-slot closes, with what is left in the old table."""
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rotate(database, add=None)
        trial.emit(MANY)
        eventually(lambda: one.log_lines("PUBLICATION_INCOMPLETE.*ALTER PUBLICATION"), 20, lambda: one.log_tail())
        eventually(lambda: not one.ready()[0], 20, "it is loud")
    database.execute(ADD, user=SUPERUSER)
    assert one.wait_exit(60) == 4, one.log_tail()
    two = wal_relay(args=["--new-slot"], monitor=SOON).start()
    settled(database, two, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=MANY)


def test_where_rows_are_kept_a_new_table_that_was_published_later_is_a_gap(kafka, database, wal_relay, wal, topic):
    """Nothing tells what was inserted before."""
    one = wal_relay({"on_publish": "keep"}, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    one.stop()
    rotate(database, add=None)
    trial.emit(20)
    database.execute(ADD, user=SUPERUSER)
    two = wal_relay({"on_publish": "keep"}, monitor=SOON).start(wait_ready=False)
    assert two.wait_exit(60) == 4, two.log_tail()
    three = wal_relay({"on_publish": "keep"}, args=["--new-slot"], monitor=SOON).start()
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 80, 60)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=20)
    eventually(lambda: table_id(database) == "outbox.event", 30, lambda: "the position knows\n" + three.log_tail())


@pytest.mark.own_broker
@pytest.mark.parametrize("what", ["ALL TABLES", "TABLES IN SCHEMA outbox"])
@pytest.mark.parametrize("on_publish", ["mark", "keep"])
def test_a_publication_of_all_tables_needs_nothing_added(kafka, database, wal_relay, wal, topic, on_publish, what):
    database.execute(f"DROP PUBLICATION {PUBLICATION}; CREATE PUBLICATION {PUBLICATION} FOR {what} WITH (publish = 'insert')", user=SUPERUSER)
    one = wal_relay({"on_publish": on_publish}, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        rotate(database, add=None)
        trial.emit(MANY)
    wait_for_records(kafka.brokers, topic, 20 + 2 * MANY, 60)
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 40 + 2 * MANY, 60)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    if on_publish == "mark":
        settled(database, one, "event_2025")


@pytest.mark.own_broker
def test_a_partitioned_table_takes_the_place_of_a_plain_one(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        connection = database.connect(SUPERUSER, autocommit=False)
        with connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE outbox.event RENAME TO event_2025")
            cursor.execute("CREATE TABLE outbox.event (LIKE outbox.event_2025 INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (seq)")
            cursor.execute("CREATE TABLE outbox.event_p1 PARTITION OF outbox.event FOR VALUES FROM (0) TO (1000000)")
            cursor.execute("CREATE UNIQUE INDEX ON outbox.event (seq)")
            cursor.execute("ALTER TABLE outbox.event OWNER TO shop_owner")
            cursor.execute("GRANT SELECT, DELETE, UPDATE ON outbox.event TO outbox_relay")
            cursor.execute(ADD)
        connection.close()
        trial.emit(MANY)
    settled(database, one, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


@pytest.mark.own_broker
def test_the_old_table_taken_out_in_the_same_transaction_is_finished_all_the_same(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        rotate(database, add=f"ALTER PUBLICATION {PUBLICATION} SET TABLE outbox.event")
        trial.emit(MANY)
    settled(database, one, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


@pytest.mark.own_broker
def test_without_rights_on_the_old_table_it_waits_for_the_grant(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        rotate(database, add=f"{ADD}; CREATE SCHEMA archive; ALTER TABLE outbox.event_2025 SET SCHEMA archive")
        trial.emit(MANY)
    eventually(lambda: one.log_lines("OLD_TABLE_DENIED.*GRANT USAGE ON SCHEMA archive TO"), 30, lambda: one.log_tail())
    eventually(lambda: not one.ready()[0], 20, "it is loud")
    stays_true(lambda: waiting(database) == MANY, 2.0, "the new table waits")
    database.execute("GRANT USAGE ON SCHEMA archive TO outbox_relay", user=SUPERUSER)
    settled(database, one)
    one.wait_ready()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert database.scalar("SELECT count(*) FROM archive.event_2025 WHERE published_at IS NULL", user=SUPERUSER) == 0


def test_an_old_table_that_was_dropped_is_published_from_the_log(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    one.stop()
    trial.emit(MANY)
    rotate(database)
    database.execute("DROP TABLE outbox.event_2025 CASCADE", user=SUPERUSER)
    trial.emit(MANY)
    two = wal_relay(monitor=SOON).start()
    settled(database, two)
    wait_for_records(kafka.brokers, topic, 20 + 2 * MANY)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert two.log_lines("TABLE_DROPPED") and two.metric("old_tables_dropped_total") == 1, two.log_tail()
    eventually(lambda: table_id(database) == "outbox.event", 30, lambda: "the position knows\n" + two.log_tail())


def test_rows_of_the_old_table_that_the_log_does_not_have_are_a_gap(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    one.stop()
    missed = trial.emit(20)
    database.execute("UPDATE outbox.event SET published_at = now() WHERE published_at IS NULL", user=SUPERUSER)
    two = wal_relay(monitor=SOON).start()
    wal.wait_confirmed()
    two.stop()
    database.execute("UPDATE outbox.event SET published_at = NULL WHERE event_id = ANY(%s::uuid[])", (missed,), user=SUPERUSER)
    rotate(database)
    trial.emit(MANY)
    three = wal_relay(monitor=SOON).start(wait_ready=False)
    assert three.wait_exit(60) == 4, three.log_tail()
    assert three.log_lines("OLD_TABLE_UNFINISHED.*20 rows of outbox.event_2025"), three.log_tail()
    four = wal_relay(args=["--new-slot"], monitor=SOON).start()
    settled(database, four, "event_2025")


def test_events_that_wait_for_their_topic_hold_up_no_other(kafka, database, wal_relay, wal, topic, prefix):
    one = wal_relay({"on_missing_topic": "wait"}, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    late = Trial(database, one)
    late.emit(30, aggregate="late")
    eventually(lambda: one.metric("waiting_events") == 30, 120, lambda: "they wait\n" + one.log_tail())
    rotate(database)
    trial.emit(MANY)
    late.emit(30, aggregate="late")
    trial.emit(20)
    eventually(lambda: waiting(database) == 30, 60, lambda: "those of the topic wait, the others do not\n" + one.log_tail())
    assert waiting(database, "event_2025") == 30
    one.kill()
    wal.wait_inactive()
    two = wal_relay({"on_missing_topic": "wait"}, monitor=SOON).start(wait_ready=False)  # 503: events wait
    two.wait_log("PIPELINE_ACTIVE", 30)
    eventually(lambda: two.metric("waiting_events") == 60, 120, lambda: "they wait\n" + two.log_tail())
    kafka.create_topic(f"{prefix}.late", partitions=3)
    settled(database, two, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=220)
    late.result(read_topics(kafka.brokers, f"{prefix}.late")).assert_none_lost()
    eventually(lambda: table_id(database) == "outbox.event", 60, lambda: "finished\n" + two.log_tail())


def test_an_old_table_that_is_dropped_while_its_events_wait_is_said_once(kafka, database, wal_relay, wal, topic, prefix):
    one = wal_relay({"on_missing_topic": "wait"}, monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    late = Trial(database, one)
    late.emit(10, aggregate="late")
    eventually(lambda: one.metric("waiting_events") == 10, 120, lambda: "they wait\n" + one.log_tail())
    rotate(database)
    trial.emit(30)
    eventually(lambda: waiting(database) == 0, 60, lambda: "the new table goes on\n" + one.log_tail())
    assert one.log_lines("TABLE_ROTATED"), one.log_tail()
    database.execute("DROP TABLE outbox.event_2025 CASCADE", user=SUPERUSER)
    late.forget([event for _, event in late.expected])
    late.emit(10, aggregate="late")
    kafka.create_topic(f"{prefix}.late", partitions=3)
    wait_for_records(kafka.brokers, f"{prefix}.late", 10)
    trial.emit(30)
    eventually(lambda: waiting(database) == 0, 60, lambda: "it goes on\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    late.result(read_topics(kafka.brokers, f"{prefix}.late")).assert_none_lost()
    assert len(one.log_lines("TABLE_DROPPED.*had not been read")) == 1, one.log_tail()
    assert one.metric("old_tables_dropped_total") == 1
    started = len(one.log_lines("STREAM_STARTED"))
    assert database.terminate_backends() > 0
    eventually(lambda: len(one.log_lines("STREAM_STARTED")) > started, 60, lambda: "another session\n" + one.log_tail())
    assert len(one.log_lines("TABLE_DROPPED")) == 1, one.log_tail()


@pytest.mark.own_broker
def test_a_relay_that_starts_in_the_middle_stands_by(kafka, database, wal_relay, wal, topic):
    one = wal_relay(monitor=SOON)
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rotate(database)
        trial.emit(MANY)
        eventually(lambda: database.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
                                           "objid = 'outbox.event'::regclass::oid", user=SUPERUSER) == 1, 20, "the lock of the new table is taken")
        two = wal_relay(monitor=SOON).start()
        stays_true(lambda: two.metric("leader") == 0, 2.0, "it stands by")
    settled(database, one, "event_2025")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
