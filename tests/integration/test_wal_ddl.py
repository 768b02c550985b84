"""DDL on the outbox table while the relay runs: events are read with the columns of their own moment."""

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import SUPERUSER

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(cursor_or_database, key):
    cursor_or_database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{\"n\": 1}', event_version => 3, correlation_id => 'c', "
                               "headers => '{\"h\": 1}')", (str(key),))


def keys(records):
    return [r.key.decode() for r in records]


def plain(record):
    """Headers without what is different for every event."""
    return {k: v for k, v in headers_of(record).items() if k not in ("ce_id", "ce_time", "ce_subject")}


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


# One after another, on one relay. Those of ALTER TABLE that may stand in a transaction beside events do so.
CHANGES = {
    "add a column": "ALTER TABLE outbox.event ADD note text",
    "add a column with a default": "ALTER TABLE outbox.event ADD note_with_default text NOT NULL DEFAULT 'x'",
    "drop a column": "ALTER TABLE outbox.event DROP COLUMN more",
    "rename a column that is not used": "ALTER TABLE outbox.event RENAME other TO much_more",
    "drop and add again elsewhere": "ALTER TABLE outbox.event DROP COLUMN traceparent, ADD traceparent text",
    "int to bigint": "ALTER TABLE outbox.event ALTER event_version TYPE bigint",
    "text to varchar": "ALTER TABLE outbox.event ALTER correlation_id TYPE varchar(200)",
    "jsonb to json": "ALTER TABLE outbox.event ALTER payload TYPE json",
    "uuid to text": "ALTER TABLE outbox.event ALTER event_id DROP DEFAULT, ALTER event_id TYPE text",
    "type of an unused column": "ALTER TABLE outbox.event ALTER third DROP DEFAULT, ALTER third TYPE int USING 7",
    "an index": "CREATE INDEX ON outbox.event (aggregate_id)",
    "rewrite": "CLUSTER outbox.event USING event_pkey",
    "replica identity": "ALTER TABLE outbox.event REPLICA IDENTITY FULL",
    "vacuum full": "VACUUM FULL outbox.event",
}


def test_ddl_while_running_changes_no_record(wal_relay, kafka, database, wal, topic):
    database.execute("ALTER TABLE outbox.event ADD more text DEFAULT 'm', ADD other text DEFAULT 'm', ADD third text DEFAULT 'm'")
    one = wal_relay().start()
    emit(database, "first")
    wait_for_records(kafka.brokers, topic, 1)
    expected = ["first"]
    for change, sql in CHANGES.items():
        new = [f"{change} {n}" for n in range(4)]
        database.execute(sql)
        emit(database, new[0])
        if not sql.startswith(("CLUSTER", "VACUUM", "CREATE", "ALTER TABLE outbox.event ALTER", "ALTER TABLE outbox.event REPLICA")):
            with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
                emit(cursor, new[1])
                cursor.execute("ALTER TABLE outbox.event ADD again int DEFAULT 5")
                emit(cursor, new[2])
                cursor.execute("ALTER TABLE outbox.event DROP again")
                emit(cursor, new[3])
                connection.commit()
        else:
            for key in new[1:]:
                emit(database, key)
        expected += new
        one.wait_published(len(expected))
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, what=lambda change=change: f"all marked: {change}\n{one.log_tail()}")
        assert one.metric("rewinds_total") == 0, f"{change}\n{one.log_tail()}"
    records = wait_for_records(kafka.brokers, topic, len(expected))
    assert keys(records) == expected
    for record in records:
        assert plain(record) == plain(records[0]) and record.value == records[0].value, f"{record.key}: {plain(record)} {record.value}"
    assert one.starts == 1


@pytest.mark.own_broker
def test_ddl_while_the_relay_is_behind_is_read_as_of_each_event(wal_relay, kafka, database, wal, topic):
    """The change is older than the relay's reading: rows before and after it are both whole."""
    database.execute("ALTER TABLE outbox.event ADD tenant text DEFAULT 'old'")
    one = wal_relay({"header_columns": ["tenant"]}).start()
    emit(database, 0)
    wait_for_records(kafka.brokers, topic, 1)
    with kafka.away():
        emit(database, 1)
        database.execute("ALTER TABLE outbox.event DROP traceparent, ADD traceparent text, ALTER tenant TYPE varchar(9), "
                         "ALTER tenant SET DEFAULT 'new'")
        emit(database, 2)
        database.execute("ALTER TABLE outbox.event DROP tenant")
        database.execute("ALTER TABLE outbox.event ADD tenant int DEFAULT 42")
        emit(database, 3)
    records = wait_for_records(kafka.brokers, topic, 4, 40)
    assert [(r.key, headers_of(r)["tenant"]) for r in records] == [(b"0", "old"), (b"1", "old"), (b"2", "new"), (b"3", "42")]
    assert one.running()


def test_column_that_the_envelope_needs_and_that_is_gone_stops_loudly_and_skips_nothing(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    confirmed = wal.confirmed()
    database.execute("ALTER TABLE outbox.event RENAME aggregate_id TO agg_id")
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, agg_id, payload) VALUES ('order.placed', 'order', '2', '{}')")
    assert one.wait_exit() == 2
    assert one.log_lines("aggregate_id"), one.log_tail()
    assert keys(read_topics(kafka.brokers, topic)) == ["1"]
    # The remedy: the column's new name in the configuration.
    assert wal.confirmed() >= confirmed
    two = wal_relay({"columns": {"aggregate_id": "agg_id"}}).start()
    assert keys(wait_for_records(kafka.brokers, topic, 2)) == ["1", "2"]
    two.stop()


def test_table_that_is_dropped_and_made_again_is_noticed(wal_relay, kafka, database, wal, topic):
    """A new table is not in the publication: its events would be lost in silence."""
    one = wal_relay().start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    database.execute("CREATE TABLE outbox.copy (LIKE outbox.event INCLUDING ALL); DROP TABLE outbox.event CASCADE; "
                     "ALTER TABLE outbox.copy RENAME TO event; GRANT SELECT, DELETE, UPDATE (published_at) ON outbox.event TO outbox_relay")
    one.stop(expect=None)
    wal.wait_inactive()
    two = wal_relay().start(wait_ready=False)
    assert two.wait_exit() == 2
    assert two.log_lines("outboxd_orders"), two.log_tail()


@pytest.mark.parametrize("on_publish", ["mark", "keep"])
def test_a_column_renamed_and_renamed_back_is_passed_by_a_new_slot(wal_relay, kafka, database, wal, topic, on_publish):
    one = wal_relay({"on_publish": on_publish}).start()
    emit(database, "before")
    wait_for_records(kafka.brokers, topic, 1)
    database.execute("ALTER TABLE outbox.event RENAME aggregate_id TO agg_id", user=SUPERUSER)
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, agg_id, payload) VALUES ('order.placed', 'order', 'between', '{}')",
                     user=SUPERUSER)
    database.execute("ALTER TABLE outbox.event RENAME agg_id TO aggregate_id", user=SUPERUSER)
    emit(database, "after")
    assert one.wait_exit(60) == 2, one.log_tail()
    assert one.log_lines("COLUMN_MISSING.*If the table has the column again.*--new-slot"), one.log_tail()
    two = wal_relay({"on_publish": on_publish}, args=["--new-slot"]).start()
    again = ["before"] if on_publish == "keep" else []
    wait_for_records(kafka.brokers, topic, 3 + len(again))
    assert two.log_lines("GAP_ACCEPTED.*gap=COLUMN_MISSING"), two.log_tail()
    emit(database, "last")
    wait_for_records(kafka.brokers, topic, 4 + len(again))
    assert sorted(keys(read_topics(kafka.brokers, topic))) == sorted(["before", *again, "between", "after", "last"])
    two.stop()
    wal_relay({"on_publish": on_publish}).start()
    emit(database, "plain")
    wait_for_records(kafka.brokers, topic, 5 + len(again))
