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
