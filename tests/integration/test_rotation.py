"""Rotation by rename: the old table is finished first, then the new one is published; nobody else publishes meanwhile."""

import pytest

from support.common import eventually, stays_true
from support.consume import read_topics
from support.postgres import SUPERUSER
from support.trial import Trial

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


def test_a_kill_in_the_middle_repeats_what_was_in_flight_alone(kafka, database, relay, topic):
    one = relay({**OPTIONS, "batch_events": 50, "in_flight_events": 100}).start()
    trial = Trial(database, one)
    trial.emit(20)
    one.wait_published(20)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= 100, 20, lambda: one.log_tail())
        rotate(database)
        trial.emit(MANY)
        one.wait_log("TABLE_ROTATED")
        one.kill()
    two = relay(OPTIONS).start()
    settled(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=100)
    assert database.scalar(OLD_WAITING, user=SUPERUSER) == 0
    two.stop()


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


def test_rotations_under_load(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    for turn in range(3):
        trial.emit(MANY)
        rotate(database, ROTATE.replace("event_2025", f"event_{turn}"))
        trial.emit(MANY)
        settled(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()
