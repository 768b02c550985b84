"""Rotation by rename: the old table is finished first, then the new one is published; nobody else publishes meanwhile."""

import pytest

from support.common import eventually, stays_true
from support.consume import read_topics
from support.postgres import SUPERUSER
from support.trial import Trial
from support.wal import drop_slots

OPTIONS = {"lease": "3s", "standby_interval": "200ms"}
ROTATE = """BEGIN;
ALTER TABLE outbox.event RENAME TO event_2025;
CREATE TABLE outbox.event (LIKE outbox.event_2025 INCLUDING ALL);
ALTER TABLE outbox.event OWNER TO shop_owner;
GRANT SELECT, DELETE, UPDATE ON outbox.event TO outbox_relay;
COMMIT"""
WAITING = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
OLD_WAITING = "SELECT count(*) FROM outbox.event_2025 WHERE published_at IS NULL"
MANY = 200


@pytest.fixture
def topic(kafka, prefix):
    name = f"{prefix}.order"
    kafka.create_topic(name, partitions=3)
    return name


def rotate(database, sql=ROTATE):
    for statement in sql.split(";\n"):
        assert statement
    connection = database.connect(SUPERUSER, autocommit=False)
    with connection, connection.cursor() as cursor:
        for statement in sql.removeprefix("BEGIN;\n").removesuffix(";\nCOMMIT").split(";\n"):
            cursor.execute(statement)
    connection.close()


def settled(database, one):
    eventually(lambda: database.scalar(WAITING) == 0, 60, lambda: "the new table is published\n" + one.log_tail())


@pytest.mark.own_broker
def test_the_old_table_is_finished_then_the_new_one_is_published(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with trial:
        with kafka.away():
            trial.emit(MANY)
            eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
            rotate(database)
            trial.emit(MANY)
            two = relay(OPTIONS).start()
            eventually(lambda: two.metric("pipeline_state", state="standby") == 1, 20, lambda: two.log_tail())
            stays_true(lambda: two.metric("leader") == 0, 2.0, "a relay that starts now stands by")
        settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0, "the old table's rows are marked there"
    assert len(one.log_lines("TABLE_ROTATED")) + len(two.log_lines("TABLE_ROTATED")) == 1, one.log_tail()
    assert not one.log_lines("HISTORY_CHANGED|ROWS_"), one.log_tail()
    assert trial.quiet < 10, f"quiet for {trial.quiet} s"
    old = database.scalar("SELECT count(*) FROM outbox.publisher WHERE table_id = 'outbox.event_2025'::regclass", user=SUPERUSER)
    assert old == 0, "its row is gone"
    trial.emit(20)
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()
    two.stop()


def test_a_restart_in_the_middle_goes_on_with_the_old_table(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    trial.emit(MANY)
    rotate(database)
    trial.emit(MANY)
    two = relay({**OPTIONS, "batch_events": 50}).start()
    settled(database, two)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost()
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0
    two.wait_log("TABLE_ROTATED.*event_2025")
    assert not two.log_lines("HISTORY_CHANGED"), two.log_tail()
    two.stop()


@pytest.mark.own_broker
def test_a_kill_in_the_middle_repeats_what_was_in_flight_alone(kafka, database, relay, topic):
    one = relay({**OPTIONS, "batch_events": 50, "in_flight_events": 100}).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        # A look waits until a quarter of what may be in flight fits.
        eventually(lambda: one.metric("inflight_events") > 75, 20, lambda: f"in flight, have {one.metric('inflight_events')}\n{one.log_tail()}")
        rotate(database)
        trial.emit(MANY)
        one.wait_log("TABLE_ROTATED")
        one.kill()
    two = relay(OPTIONS).start()
    settled(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=100)
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0
    two.stop()


@pytest.mark.own_broker
def test_a_rename_whose_table_is_made_later_loses_nothing(kafka, database, relay, topic):
    """Two transactions: for a moment no table has the name."""
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rename, rest = ROTATE.split(";\n", 2)[1:]
        database.execute(rename, user=SUPERUSER)
        one.wait_log("TABLE_ROTATED")
    eventually(lambda: database.scalar(OLD_WAITING, user=SUPERUSER) == 0, 30, lambda: "finished\n" + one.log_tail())
    rotate(database, "BEGIN;\n" + rest)
    trial.emit(MANY)
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


@pytest.mark.own_broker
def test_a_standby_of_before_the_rename_publishes_neither_table(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    eventually(lambda: one.metric("leader") == 1, 20, "the first is active")
    two = relay(OPTIONS).start()
    trial = Trial(database, [one, two])
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rotate(database)
        trial.emit(MANY)
        one.wait_log("TABLE_ROTATED")
        stays_true(lambda: two.metric("leader") == 0, 2.0, "it stands by")
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0
    one.stop()
    two.stop()


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_rotations_under_load(kafka, database, relay, topic, on_publish):
    one = relay({**OPTIONS, "on_publish": on_publish}).start()
    trial = Trial(database, one)
    for turn in range(3):
        trial.emit(MANY)
        rotate(database, ROTATE.replace("event_2025", f"event_{turn}"))
        trial.emit(MANY)
        settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    if on_publish == "delete":
        assert database.scalar("SELECT count(*) FROM outbox.event_2", user=SUPERUSER) == 0
    one.stop()


def two_renames(database, trial):
    trial.emit(MANY)
    rotate(database, ROTATE.replace("event_2025", "event_a"))
    trial.emit(MANY)
    rotate(database, ROTATE.replace("event_2025", "event_b"))
    trial.emit(MANY)


def left(database, table):
    return database.scalar(f"SELECT count(*) FROM outbox.{table} WHERE published_at IS NULL", user=SUPERUSER)


def test_two_renames_while_the_relay_is_down_lose_nothing(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    two_renames(database, trial)
    two = relay(OPTIONS).start()
    settled(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert (left(database, "event_a"), left(database, "event_b")) == (0, 0)
    assert database.scalar("SELECT count(*) FROM outbox.publisher", user=SUPERUSER) == 1
    two.stop()


def test_a_table_between_that_cannot_be_proven_is_said_and_the_remedy_publishes_it(kafka, database, relay, topic):
    """Each rename in a transaction of its own: the catalog does not tell what came between."""
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    trial.emit(MANY)
    for name in ("event_a", "event_b"):
        rename, rest = ROTATE.replace("event_2025", name).split(";\n", 2)[1:]
        database.execute(rename, user=SUPERUSER)
        rotate(database, "BEGIN;\n" + rest)
        trial.emit(MANY)
    two = relay(OPTIONS).start(wait_ready=False)
    assert two.wait_exit() == 2
    assert two.log_lines(rf"OLD_TABLE_UNKNOWN.*outbox\.event_b \({MANY} rows\)"), two.log_tail()
    assert two.log_lines("INSERT INTO outbox.publisher"), two.log_tail()
    database.execute("INSERT INTO outbox.publisher (table_id, pipeline, table_name, generation) "
                     "VALUES ('outbox.event_b'::regclass, 'orders', 'outbox.event', gen_random_uuid())", user=SUPERUSER)
    three = relay(OPTIONS).start()
    settled(database, three)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert (left(database, "event_a"), left(database, "event_b")) == (0, 0)
    three.stop()


@pytest.mark.own_broker
def test_without_rights_on_the_old_table_it_waits_for_the_grant(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rotate(database, ROTATE.replace("COMMIT", "CREATE SCHEMA archive;\nALTER TABLE outbox.event_2025 SET SCHEMA archive;\nCOMMIT"))
        trial.emit(MANY)
    eventually(lambda: one.log_lines("OLD_TABLE_DENIED.*GRANT USAGE ON SCHEMA archive TO"), 30, lambda: one.log_tail())
    eventually(lambda: not one.ready()[0], 20, "it is loud")
    stays_true(lambda: database.scalar(WAITING) == MANY, 2.0, "the new table waits")
    database.execute("GRANT USAGE ON SCHEMA archive TO outbox_relay", user=SUPERUSER)
    settled(database, one)
    one.wait_ready()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert database.scalar("SELECT count(*) FROM archive.event_2025 WHERE published_at IS NULL", user=SUPERUSER) == 0
    one.stop()


def test_an_old_table_that_was_dropped_is_said_and_counted(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    rotate(database)
    database.execute("DROP TABLE outbox.event_2025 CASCADE", user=SUPERUSER)
    trial.emit(20)
    two = relay(OPTIONS).start()
    settled(database, two)
    assert two.log_lines("TABLE_DROPPED"), two.log_tail()
    assert two.metric("old_tables_dropped_total") == 1
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    two.stop()


def test_events_that_wait_for_their_topic_hold_up_no_other(kafka, database, relay, topic, prefix):
    one = relay({**OPTIONS, "on_missing_topic": "wait"}).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    late = Trial(database, one)
    late.emit(30, aggregate="late")
    eventually(lambda: one.metric("waiting_events") == 30, 120, lambda: "they wait\n" + one.log_tail())
    rotate(database)
    trial.emit(MANY)
    eventually(lambda: database.scalar(WAITING) == 0, 60, lambda: "the new table is published\n" + one.log_tail())
    assert one.log_lines("TABLE_LEFT"), one.log_tail()
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 30
    assert one.metric("waiting_events") == 30
    late.emit(30, aggregate="late")
    trial.emit(20)
    eventually(lambda: database.scalar(WAITING) == 30, 60, lambda: "those of the topic wait, the others do not\n" + one.log_tail())
    kafka.create_topic(f"{prefix}.late", partitions=3)
    eventually(lambda: database.scalar(OLD_WAITING, user=SUPERUSER) == 0, 90, lambda: "the old ones are published\n" + one.log_tail())
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    late.result(read_topics(kafka.brokers, f"{prefix}.late")).assert_none_lost()
    assert not one.log_lines("HISTORY_CHANGED|ROWS_"), one.log_tail()
    one.stop()


def rotate_to(database, name):
    rotate(database, ROTATE.replace("event_2025", name))


def noted(database):
    return {row[0] for row in database.execute("SELECT table_id::regclass::text FROM outbox.publisher", user=SUPERUSER)}


@pytest.mark.own_broker
def test_a_second_rotation_before_the_first_is_finished_loses_no_table(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rotate_to(database, "event_a")
        trial.emit(MANY)
        one.wait_log("TABLE_ROTATED.*event_a")
        for name in ("event_b", "event_c"):
            rotate_to(database, name)
            trial.emit(MANY)
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert [left(database, name) for name in ("event_a", "event_b", "event_c")] == [0, 0, 0]
    eventually(lambda: noted(database) == {"outbox.event"}, 20, lambda: f"only the present one: {noted(database)}")
    one.stop()


@pytest.mark.own_broker
def test_a_second_rotation_after_a_restart_in_the_middle_loses_no_table(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    trial.emit(MANY)
    rotate_to(database, "event_a")
    trial.emit(MANY)
    with kafka.away():
        one.start(wait_ready=False)
        one.wait_log("TABLE_ROTATED.*event_a")
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        for name in ("event_b", "event_c"):
            before = noted(database)
            rotate_to(database, name)
            trial.emit(MANY)
            eventually(lambda: noted(database) != before and "outbox.event" in noted(database), 20, lambda: f"noted: {noted(database)}")
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert [left(database, name) for name in ("event_a", "event_b", "event_c")] == [0, 0, 0]
    one.stop()


PRECREATED = """CREATE TABLE outbox.next_1 (LIKE outbox.event INCLUDING ALL);
CREATE TABLE outbox.next_2 (LIKE outbox.event INCLUDING ALL);
ALTER TABLE outbox.next_1 OWNER TO shop_owner;
ALTER TABLE outbox.next_2 OWNER TO shop_owner;
GRANT SELECT, DELETE, UPDATE ON outbox.next_1, outbox.next_2 TO outbox_relay"""


@pytest.mark.own_broker
def test_tables_that_were_made_in_advance_are_noted_while_they_have_the_name(kafka, database, relay, topic):
    """The catalog tells nothing of these: the relay's own notes do."""
    rotate(database, PRECREATED)
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        for turn in (1, 2):
            rotate(database, f"ALTER TABLE outbox.event RENAME TO event_{turn};\nALTER TABLE outbox.next_{turn} RENAME TO event")
            eventually(lambda: "outbox.event" in noted(database), 20, lambda: f"it is noted: {noted(database)}")
            trial.emit(MANY)
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert (left(database, "event_1"), left(database, "event_2")) == (0, 0)
    one.stop()


@pytest.mark.own_broker
@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_a_rotation_that_is_undone_strands_no_table(kafka, database, relay, topic, killed):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        rotate_to(database, "event_a")
        eventually(lambda: "outbox.event" in noted(database), 20, lambda: f"it is noted: {noted(database)}")
        trial.emit(MANY)
        if killed:
            one.kill()
        rotate(database, "ALTER TABLE outbox.event RENAME TO event_b;\nALTER TABLE outbox.event_a RENAME TO event")
        trial.emit(MANY)
        if killed:
            one.start(wait_ready=False)
    eventually(lambda: left(database, "event_b") == 0, 60, lambda: "the short-lived one is published\n" + one.log_tail())
    settled(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    assert not result.lost
    assert len(result.duplicated) <= (MANY if killed else 0)
    trial.emit(20)
    settled(database, one)
    assert not trial.result(read_topics(kafka.brokers, topic)).lost
    one.stop()


@pytest.mark.own_broker
def test_a_rename_while_the_first_mark_is_prepared_is_followed(kafka, database, relay, topic):
    """PREPARE waits for the lock of the rename, and is answered after it."""
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        connection = database.connect(SUPERUSER, autocommit=False)
        cursor = connection.cursor()
        for statement in ROTATE.removeprefix("BEGIN;\n").removesuffix(";\nCOMMIT").split(";\n"):
            cursor.execute(statement)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%PREPARE outboxd_mark%%' AND pid <> pg_backend_pid()"
    eventually(lambda: database.scalar(waits.replace("%%", "%"), user=SUPERUSER) > 0, 30, "PREPARE waits")
    connection.commit()
    connection.close()
    trial.emit(20)
    eventually(lambda: database.scalar(OLD_WAITING, user=SUPERUSER) == 0, 30, lambda: "the old table is marked\n" + one.log_tail())
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


def test_a_pipeline_with_another_name_finishes_the_old_table(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    trial.emit(MANY)
    rotate(database)
    trial.emit(MANY)
    two = relay({**OPTIONS, "name": "orders2"}).start()
    settled(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0
    two.stop()


EATS = """CREATE FUNCTION outbox.eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER eat BEFORE UPDATE OR DELETE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.eat()"""


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_trigger_that_swallows_marks_is_said(kafka, database, relay, topic, capture, on_publish, request):
    options = {**OPTIONS, "on_publish": on_publish}
    if capture == "wal":
        request.getfixturevalue("wal")
        options.update(capture="wal", poll_interval_max=None, mark_interval="20ms")
    one = relay(options).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    settled(database, one)
    database.execute(EATS, user=SUPERUSER)
    trial.emit(50)
    one.wait_log("MARKS_IGNORED.*50 published rows of .*event.* (UPDATE|DELETE)")
    eventually(lambda: not one.ready()[0], 20, "it is loud")
    assert database.scalar(WAITING) == 50
    database.execute("DROP TRIGGER eat ON outbox.event", user=SUPERUSER)
    settled(database, one)
    one.wait_ready()
    trial.emit(20)
    settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not one.log_lines("ROWS_VANISHED|ROWS_REPLACED"), one.log_tail()
    one.stop()


WAL = {**OPTIONS, "capture": "wal", "poll_interval_max": None, "mark_interval": "20ms"}
ROTATE_PUBLISHED = ROTATE.replace("COMMIT", "ALTER PUBLICATION outboxd_orders ADD TABLE outbox.event;\nCOMMIT")


def test_a_rotation_between_polling_and_the_log_loses_nothing(kafka, database, relay, topic, wal):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    trial.emit(MANY)
    rotate(database, ROTATE_PUBLISHED)
    trial.emit(MANY)
    two = relay(WAL).start()
    settled(database, two)
    eventually(lambda: database.scalar(OLD_WAITING, user=SUPERUSER) == 0, 30, lambda: "the old one is finished\n" + two.log_tail())
    trial.emit(20)
    settled(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    eventually(lambda: noted(database) == {"outbox.event"}, 20, lambda: f"{noted(database)}\n{two.log_tail()}")
    two.stop()


@pytest.mark.parametrize("polled_before", [False, True])
def test_a_rotation_between_the_log_and_polling_loses_nothing(kafka, database, relay, topic, wal, polled_before):
    trial = Trial(database)
    if polled_before:
        zero = relay(OPTIONS).start()
        trial.emit(20)
        zero.wait_published(20)
        zero.stop()
    one = relay(WAL).start()
    trial.emit(20)
    one.wait_published(20)
    one.stop()
    trial.emit(MANY)
    rotate(database, ROTATE_PUBLISHED)
    trial.emit(MANY)
    drop_slots(database)
    database.execute("DELETE FROM outbox.position WHERE pipeline = 'orders'", user=SUPERUSER)
    two = relay(OPTIONS).start()
    settled(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0
    two.stop()


def test_events_that_wait_in_two_old_tables_stop_nothing(kafka, database, relay, topic, prefix):
    one = relay({**OPTIONS, "on_missing_topic": "wait"}).start()
    trial = Trial(database, one)
    late = Trial(database, one)
    late.emit(10, aggregate="late")
    eventually(lambda: one.metric("waiting_events") == 10, 120, lambda: "they wait\n" + one.log_tail())
    for count, name in enumerate(("event_a", "event_b", "event_c"), 2):
        rotate_to(database, name)
        trial.emit(30)
        late.emit(10, aggregate="late")
        eventually(lambda: database.scalar(WAITING) == 10, 60, lambda: "the others are published\n" + one.log_tail())
        eventually(lambda: one.metric("waiting_events") == 10 * count, 30,
                   lambda: f"each is counted once: {one.metric('waiting_events')}\n" + one.log_tail())
    said = len(one.log_lines("code=TABLE_LEFT"))
    one.kill()
    one.start(wait_ready=False)
    trial.emit(30)
    eventually(lambda: one.metric("waiting_events") == 40, 60, lambda: "again\n" + one.log_tail())
    eventually(lambda: database.scalar(WAITING) == 10, 60, lambda: "the others are published\n" + one.log_tail())
    assert said == 3, one.log_tail()
    kafka.create_topic(f"{prefix}.late", partitions=3)
    eventually(lambda: [left(database, name) for name in ("event_a", "event_b", "event_c")] == [0, 0, 0], 90,
               lambda: "the old ones are published\n" + one.log_tail())
    settled(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    assert not result.lost and not result.inverted
    late.result(read_topics(kafka.brokers, f"{prefix}.late")).assert_none_lost()
    eventually(lambda: one.metric("waiting_events") == 0, 30, lambda: one.log_tail())
    one.stop()
