"""Transactions of the WAL: what commits is published in the order of commits, whole, and nothing else is."""

import io
import uuid

import pytest

from support.common import eventually, stays_true
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.relay import outboxd_binary

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(cursor_or_database, key, payload="{}", function="emit"):
    cursor_or_database.execute(f"SELECT outbox.{function}('order.placed', 'order', %s, %s)", (str(key), payload))


def keys(records):
    return [r.key.decode() for r in records]


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "200000000"})


def expect(kafka, topic, expected, timeout=20):
    """Exactly these keys, in this order, one partition."""
    assert keys(wait_for_records(kafka.brokers, topic, len(expected), timeout)) == expected


def test_transaction_of_a_thousand_rows_arrives_whole_and_in_order(wal_relay, kafka, database, topic):
    """Debezium: shouldProcessLargerTx."""
    wal_relay().start()
    database.execute("SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(1, 1000) n")
    expect(kafka, topic, [str(n) for n in range(1, 1001)])


@pytest.mark.parametrize("function", ["emit", "emit_message"])
def test_only_what_commits_is_published(wal_relay, kafka, database, topic, function):
    """Debezium: shouldNotReceiveMessagesOnTransactionRollback. Whole transactions, savepoints, nested ones, exceptions of plpgsql."""
    wal_relay({"messages": True}).start()
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        emit(cursor, "rolled back", function=function)
        connection.rollback()
        emit(cursor, "1", function=function)
        cursor.execute("SAVEPOINT a")
        emit(cursor, "undone", function=function)
        cursor.execute("SAVEPOINT b")
        emit(cursor, "undone inside", function=function)
        cursor.execute("RELEASE b")
        cursor.execute("ROLLBACK TO a")
        emit(cursor, "2", function=function)
        cursor.execute("SAVEPOINT c")
        emit(cursor, "3", function=function)
        cursor.execute("SAVEPOINT d")
        emit(cursor, "undone again", function=function)
        cursor.execute("ROLLBACK TO d")
        emit(cursor, "4", function=function)
        cursor.execute("RELEASE c")
        cursor.execute(f"DO $$ BEGIN PERFORM outbox.{function}('order.placed', 'order', 'exception', '{{}}'); RAISE 'no'; "
                       "EXCEPTION WHEN raise_exception THEN NULL; END $$")
        emit(cursor, "5", function=function)
        connection.commit()
        cursor.execute("SAVEPOINT all_of_it")
        emit(cursor, "a transaction of nothing", function=function)
        cursor.execute("ROLLBACK TO all_of_it")
        connection.commit()
    emit(database, "last")
    expect(kafka, topic, ["1", "2", "3", "4", "5", "last"])


def test_transactions_are_published_in_the_order_of_their_commits(wal_relay, kafka, database, topic):
    wal_relay({"position_headers": True}).start()
    one, two = database.connect(autocommit=False), database.connect(autocommit=False)
    with one.cursor() as first, two.cursor() as second:
        emit(first, "1-1")
        emit(second, "2-1")
        emit(first, "1-2")
        emit(second, "2-2")
        two.commit()
        emit(first, "1-3")
        emit(second, "3-1")
        one.commit()
        two.commit()
    expected = ["2-1", "2-2", "1-1", "1-2", "1-3", "3-1"]
    expect(kafka, topic, expected)
    headers = [headers_of(r) for r in read_topics(kafka.brokers, topic)]
    assert [h["outboxd_ordinal"] for h in headers] == ["1", "2", "1", "2", "3", "1"]
    one.close()
    two.close()


def test_prepared_transaction_is_published_at_commit_prepared(wal_relay, kafka, database, topic):
    one = wal_relay().start()
    names = ("kept", "dropped", "kept over a restart")
    for name in names:
        connection = database.connect(autocommit=False)
        connection.tpc_begin(f"{name} {database.name}")
        with connection.cursor() as cursor:
            emit(cursor, name)
        connection.tpc_prepare()
        connection.close()
    emit(database, "meanwhile")
    expect(kafka, topic, ["meanwhile"])
    database.execute(f"ROLLBACK PREPARED 'dropped {database.name}'")
    emit(database, "after the rollback")
    expect(kafka, topic, ["meanwhile", "after the rollback"])
    database.execute(f"COMMIT PREPARED 'kept {database.name}'")
    expect(kafka, topic, ["meanwhile", "after the rollback", "kept"])
    one.stop()
    one.start()
    database.execute(f"COMMIT PREPARED 'kept over a restart {database.name}'")
    expect(kafka, topic, ["meanwhile", "after the rollback", "kept", "kept over a restart"])
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")


def test_rows_that_share_a_place_in_the_wal_are_all_published(wal_relay, kafka, database, wal, topic):
    """Debezium: shouldNotLoseEventsWhenMultipleDmlEventsShareSameLsn. COPY writes many rows in one record."""
    wal.make_slot("outboxd_looking_on")
    one = wal_relay({"batch_events": 7, "position_headers": True}).start()
    connection = database.connect()
    with connection.cursor() as cursor:
        # Values for every column with a volatile default, else COPY writes its rows one by one.
        copy = "COPY outbox.event (event_id, event_type, aggregate_type, aggregate_id, payload, occurred_at) FROM STDIN"
        cursor.copy_expert(copy, io.StringIO("".join(f"{uuid.uuid4()}\torder.placed\torder\t{n}\t{{}}\t2026-01-02 03:04:05+00\n" for n in range(500))))
    connection.close()
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) "
                     "VALUES ('order.placed', 'order', 'a', '{}'), ('order.placed', 'order', 'b', '{}'), ('order.placed', 'order', 'c', '{}')")
    expected = [*map(str, range(500)), "a", "b", "c"]
    expect(kafka, topic, expected)
    places = [place for place, kind, _ in wal.changes("outboxd_looking_on") if kind == b"I"]
    assert len(places) == 503 and len(set(places)) < 100, "the rows share LSNs, else this shows nothing"
    ordinals = [int(headers_of(r)["outboxd_ordinal"]) for r in read_topics(kafka.brokers, topic)]
    assert ordinals == [*range(1, 501), 1, 2, 3]
    one.stop()


@pytest.mark.parametrize("then", ["DELETE FROM outbox.event", "UPDATE outbox.event SET payload = '\"changed\"', aggregate_id = 'changed'",
                                  "TRUNCATE outbox.event"], ids=["delete", "update", "truncate"])
def test_row_that_its_own_transaction_changes_is_published_as_it_was_inserted(wal_relay, kafka, database, topic, then):
    """The insert is the event: an outbox row may be deleted in the same transaction, so that the table stays empty."""
    one = wal_relay().start()
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        emit(cursor, "1", '"one"')
        emit(cursor, "2", '"two"')
        cursor.execute(then)
        emit(cursor, "3", '"three"')
        connection.commit()
    expect(kafka, topic, ["1", "2", "3"])
    assert [r.value for r in read_topics(kafka.brokers, topic)] == [b'"one"', b'"two"', b'"three"']
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="what is left is marked")
    assert one.metric("rewinds_total") == 0 and not one.log_lines(" error "), one.log_tail()


def test_later_changes_of_rows_are_no_events(wal_relay, kafka, database, wal, topic):
    one = wal_relay({"batch_events": 10}).start()
    for n in range(20):
        emit(database, n)
    expect(kafka, topic, [str(n) for n in range(20)])
    database.execute("UPDATE outbox.event SET payload = '1', published_at = NULL WHERE seq <= 5")
    database.execute("DELETE FROM outbox.event WHERE seq <= 10")
    database.execute("TRUNCATE outbox.event")
    emit(database, "last")
    expect(kafka, topic, [*map(str, range(20)), "last"])
    assert one.running()


@pytest.mark.own_broker
def test_rows_truncated_before_they_are_published_arrive_all_the_same(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    emit(database, "first")
    expect(kafka, topic, ["first"])
    with kafka.away():
        for n in range(30):
            emit(database, n)
        database.execute("TRUNCATE outbox.event")
    emit(database, "last")
    expect(kafka, topic, ["first", *map(str, range(30)), "last"], 40)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="the last is marked")
    assert one.running()


def test_other_tables_and_empty_transactions_are_passed_over(wal_relay, kafka, database, wal, topic):
    wal_relay().start()
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.orders (n int)")
        connection.commit()
        for n in range(50):
            cursor.execute("INSERT INTO orders VALUES (%s)", (n,))
            if n % 10 == 0:
                emit(cursor, n)
            connection.commit()
        cursor.execute("DROP TABLE orders")
        connection.commit()
    expect(kafka, topic, ["0", "10", "20", "30", "40"])


def test_partitioned_outbox_table_is_published_from_its_root(wal_relay, kafka, database, wal, topic):
    """An adopted table may be partitioned, also by partitions made while the relay runs."""
    database.execute("DROP PUBLICATION outboxd_orders; CREATE TABLE public.parts (LIKE outbox.event INCLUDING DEFAULTS INCLUDING IDENTITY) "
                     "PARTITION BY RANGE (seq); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (11); "
                     "GRANT SELECT, UPDATE, DELETE ON parts TO shop_relay")
    database.execute("CREATE PUBLICATION outboxd_orders FOR TABLE public.parts WITH (publish = 'insert', publish_via_partition_root = true)")
    insert = "INSERT INTO parts (event_type, aggregate_type, aggregate_id, payload) SELECT 'order.placed', 'order', n::text, '{}' FROM generate_series(%s, %s) n"
    database.execute(insert, (1, 4))
    wal_relay({"table": "public.parts"}).start()
    database.execute(insert, (5, 10))
    database.execute("CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (11) TO (1000)")
    database.execute(insert, (11, 20))
    expect(kafka, topic, [str(n) for n in range(1, 21)])


def test_large_transaction_passes_in_order_within_a_bound_of_memory(wal_relay, kafka, database, wal, topic):
    """200,000 rows here, 1,000,000 in tests/bench/wal. The slot stands still inside the transaction and moves at its end."""
    count = 200_000 if b"__asan_init" not in open(outboxd_binary(), "rb").read() else 40_000
    one = wal_relay({"on_publish": "keep"}, kafka={"properties": ["compression.type=lz4"]}).start()
    emit(database, "before")
    with wal.watch() as watch:
        database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) "
                         "SELECT 'order.placed', 'order', g::text, jsonb_build_object('n', g, 'pad', repeat('x', 100)) "
                         "FROM generate_series(1, %s) g", (count,))
        emit(database, "after")
        found = wait_for_records(kafka.brokers, topic, count + 2, 60)
        wal.wait_confirmed(timeout=30)
    assert keys(found) == ["before", *map(str, range(1, count + 1)), "after"]
    assert watch.moves["slot"] >= 1
    if not one.instrumented():
        assert one.memory_kb() < 128 * 1024, f"peak {one.memory_kb()} KiB"
    assert one.metric("rewinds_total") == 0


def test_row_of_sixty_megabytes_passes_within_a_bound_of_memory(wal_relay, kafka, database, wal, topic):
    """64 MB and six times the row; keep-alives are answered meanwhile."""
    size = 60_000_000
    one = wal_relay({"on_publish": "keep", "lease": "10s"}, kafka={"properties": ["message.max.bytes=200000000"]}).start()
    emit(database, "before")
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload_bytes) "
                     "VALUES ('order.placed', 'order', 'large', convert_to(repeat('0123456789', %s), 'UTF8'))", (size // 10,))
    emit(database, "after")
    found = wait_for_records(kafka.brokers, topic, 3, 60, properties={"fetch.message.max.bytes": 200_000_000, "receive.message.max.bytes": 250_000_000,
                                                                        "fetch.max.bytes": 200_000_000})
    assert keys(found) == ["before", "large", "after"]
    assert len(found[1].value) == size and found[1].value == b"0123456789" * (size // 10)
    if not one.instrumented():
        assert one.memory_kb() < 64 * 1024 + 6 * size // 1024, f"peak {one.memory_kb()} KiB"
    assert one.metric("pg_reconnects_total") == 0


def test_row_that_is_unmarked_by_hand_stays_with_its_operator(wal_relay, kafka, database, wal, topic):
    """The stream is read once: unlike with polling, only a new start by --new-slot looks at marks again."""
    wal_relay().start()
    emit(database, "one")
    expect(kafka, topic, ["one"])
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="it is marked")
    database.execute("UPDATE outbox.event SET published_at = NULL", user=SUPERUSER)
    emit(database, "two")
    expect(kafka, topic, ["one", "two"])
    eventually(lambda: database.scalar(UNPUBLISHED) == 1, what="the second is marked")
    stays_true(lambda: database.scalar(UNPUBLISHED) == 1, 0.5, "the row stays as the operator left it")
