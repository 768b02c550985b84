"""An outbox that is divided: partitions with either root option, ATTACH, DETACH and DROP under load, tables that inherit. capture = "wal"."""

import threading
import time
import uuid

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import OWNER, RELAY
from support.wal import PUBLICATION, Wal

COLUMNS = ("seq bigint NOT NULL DEFAULT nextval('parts.event_seq'), event_id uuid NOT NULL DEFAULT gen_random_uuid(), event_type text, "
           "event_version int, aggregate_type text, aggregate_id text, aggregate_version bigint, payload jsonb, payload_bytes bytea, "
           "content_type text, correlation_id text, causation_id text, traceparent text, headers jsonb, topic text, "
           "occurred_at timestamptz DEFAULT clock_timestamp(), published_at timestamptz")
INSERT = ("INSERT INTO parts.event (event_type, aggregate_type, aggregate_id, payload) SELECT 'order.placed', 'order', (n %% 7)::text, "
          "jsonb_build_object('n', n) FROM generate_series(%s, %s) n RETURNING event_id::text")
LAST = 24   # of the partitions that come and go under load, and one more: each has a hundred numbers
UNPUBLISHED = "SELECT count(*) FROM parts.event WHERE published_at IS NULL"


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture
def parts(database):
    """A table that is partitioned by number, two thousand a partition, the second with its columns in another order and one dropped."""
    database.execute(f"CREATE SCHEMA parts; CREATE SEQUENCE parts.event_seq; CREATE TABLE parts.event ({COLUMNS}) PARTITION BY RANGE (seq); "
                     f"GRANT USAGE ON SCHEMA parts TO {RELAY}; GRANT SELECT, UPDATE, DELETE ON parts.event TO {RELAY}")
    database.execute("CREATE TABLE parts.p1 PARTITION OF parts.event FOR VALUES FROM (0) TO (100)")
    turned = ", ".join(["gone text", *reversed(COLUMNS.split(", "))])
    database.execute(f"CREATE TABLE parts.p2 ({turned}); ALTER TABLE parts.p2 DROP COLUMN gone; "
                     "ALTER TABLE parts.event ATTACH PARTITION parts.p2 FOR VALUES FROM (100) TO (200)")
    return database


@pytest.fixture(params=["by the leaves", "by the root", "all tables"])
def published(request, parts):
    """The publication, with either root option, and of all tables."""
    wal = Wal(parts, publication=None)
    if request.param == "all tables":
        parts.server.execute("SELECT 1")
        parts.execute(f"CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES WITH (publish = 'insert')", user="postgres")
    else:
        root = "true" if request.param == "by the root" else "false"
        parts.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE parts.event WITH (publish = 'insert', publish_via_partition_root = {root})")
    return wal


@pytest.fixture
def parts_relay(relay, published):
    return lambda options=None, **more: relay({"capture": "wal", "poll_interval_max": None, "mark_interval": "20ms", "lease": "3s",
                                               "table": "parts.event", **(options or {})}, **more)


def ids(records):
    return [headers_of(r)["ce_id"] for r in records]


def insert(database, first, last):
    return [row[0] for row in database.execute(INSERT, (first, last), user=OWNER)]


def test_rows_of_every_partition_are_published_once_and_marked(parts_relay, parts, kafka, topic):
    expected = insert(parts, 1, 150)
    one = parts_relay().start()
    expected += insert(parts, 151, 199)
    assert ids(wait_for_records(kafka.brokers, topic, 199)) == expected
    eventually(lambda: parts.scalar(UNPUBLISHED) == 0, 20, "all are marked")
    parts.execute("CREATE TABLE parts.p3 PARTITION OF parts.event FOR VALUES FROM (200) TO (300)")
    expected += insert(parts, 200, 220)
    assert ids(wait_for_records(kafka.brokers, topic, 220)) == expected, one.log_tail()
    one.stop()
    expected += insert(parts, 221, 240)
    one.start()
    assert ids(wait_for_records(kafka.brokers, topic, 240)) == expected, one.log_tail()
    eventually(lambda: parts.scalar(UNPUBLISHED) == 0, 20, "all are marked")


def test_rows_of_partitions_read_alike_whatever_the_order_of_their_columns(parts_relay, parts, kafka, topic):
    one = parts_relay({"header_columns": ["topic"]}).start()
    parts.execute("INSERT INTO parts.event (seq, event_type, aggregate_type, aggregate_id, payload, correlation_id, headers, event_version) "
                  "SELECT n, 'order.placed', 'order', 'k', '{\"a\": 1}', 'c-1', '{\"h\": \"v\"}', 3 FROM unnest('{1,150}'::bigint[]) n")
    first, second = wait_for_records(kafka.brokers, topic, 2)
    drop = {"ce_id", "ce_time"}
    strip = lambda r: {k: v for k, v in headers_of(r).items() if k not in drop}
    assert (first.key, first.value, strip(first)) == (second.key, second.value, strip(second))
    assert one.running()


def test_attach_detach_and_drop_under_load_lose_and_repeat_nothing(parts_relay, published, parts, kafka, topic, request):
    """Partitions come and go while a writer writes; a detached one has rows that were committed before.

    A publication of all tables does not tell a partition that left before its first row was read from any other table: there the first is awaited.
    """
    of_all = request.node.callspec.params["published"] == "all tables"
    one = parts_relay().start()
    expected, moved, stop = [], [], threading.Event()
    for n in range(2, LAST):
        parts.execute(f"CREATE TABLE parts.q{n} (LIKE parts.p1 INCLUDING DEFAULTS)")

    def move():
        """q2 holds 200 to 299, and so on: attached ahead of the writer, detached or dropped behind it."""
        for n in range(2, LAST):
            parts.execute(f"ALTER TABLE parts.event ATTACH PARTITION parts.q{n} FOR VALUES FROM ({n * 100}) TO ({n * 100 + 100})")
            eventually(lambda: stop.is_set() or parts.scalar("SELECT last_value FROM parts.event_seq") > (n - 1) * 100 + 50, 60, "the writer goes on")
            if n > 4:
                if of_all:
                    eventually(lambda: stop.is_set() or one.published() > (n - 2) * 100 + 20, 60, "the relay has read rows of it")
                how = ["ALTER TABLE parts.event DETACH PARTITION parts.q%d", "ALTER TABLE parts.event DETACH PARTITION parts.q%d CONCURRENTLY",
                       "DROP TABLE parts.q%d"][n % 3]
                parts.execute(how % (n - 2))
                moved.append(how)
            if stop.is_set():
                return
    mover = threading.Thread(target=move, daemon=True)
    mover.start()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and len(expected) < 1500:
        where = parts.scalar("SELECT last_value FROM parts.event_seq")
        top = parts.scalar("SELECT max(substring(inhrelid::regclass::text FROM 'q(\\d+)')::int) FROM pg_inherits "
                           "WHERE inhparent = 'parts.event'::regclass") or 1
        if where + 25 < top * 100 + 100:
            expected += insert(parts, len(expected) + 1, len(expected) + 20)
    stop.set()
    mover.join(30)
    assert not mover.is_alive() and len(expected) >= 500 and len(moved) >= 3, (len(expected), len(moved))
    found = ids(wait_for_records(kafka.brokers, topic, len(expected), timeout=40))
    assert sorted(found) == sorted(expected), one.log_tail()
    assert found == expected, "in the order of their commits"
    assert one.running()


@pytest.mark.parametrize("end", ["DETACH", "DROP"])
def test_rows_of_a_partition_that_left_while_the_relay_was_down(parts_relay, published, parts, kafka, topic, end, request):
    one = parts_relay().start()
    expected = insert(parts, 1, 10)
    wait_for_records(kafka.brokers, topic, 10)
    one.stop()
    one.kill() if one.running() else None
    gone = insert(parts, 11, 20)
    parts.execute("ALTER TABLE parts.event DETACH PARTITION parts.p1" + ("; DROP TABLE parts.p1" if end == "DROP" else ""))
    parts.execute("SELECT setval('parts.event_seq', 150)")
    after = insert(parts, 21, 30)
    one.start()
    if "all tables" in request.node.name and "root" not in request.node.name:
        wait_for_records(kafka.brokers, topic, 20)
        assert one.log_lines("RELATION_SKIPPED"), "it cannot be told from other tables, and is said"
        assert ids(read_topics(kafka.brokers, topic)) == expected + after
        return
    assert ids(wait_for_records(kafka.brokers, topic, 30)) == expected + gone + after, one.log_tail()


def test_other_tables_of_the_publication_are_left_out(parts_relay, published, parts, kafka, topic):
    parts.execute("CREATE TABLE public.invoice (id int); CREATE TABLE public.copy (LIKE parts.event INCLUDING DEFAULTS)")
    if not parts.scalar("SELECT puballtables FROM pg_publication"):
        parts.execute(f"ALTER PUBLICATION {PUBLICATION} ADD TABLE public.invoice, public.copy")
    one = parts_relay().start()
    parts.execute("INSERT INTO public.invoice SELECT generate_series(1, 10)")
    parts.execute("INSERT INTO public.copy (event_type, aggregate_type, aggregate_id, payload) VALUES ('order.placed', 'order', 'not', '{}')")
    expected = insert(parts, 1, 10)
    assert ids(wait_for_records(kafka.brokers, topic, 10)) == expected
    assert one.running() and len(read_topics(kafka.brokers, topic)) == 10


def test_tables_that_inherit_and_are_published_are_the_outbox(relay, database, kafka, topic):
    database.execute("CREATE TABLE public.child () INHERITS (outbox.event)")
    database.execute(f"GRANT SELECT, UPDATE ON public.child TO {RELAY}")
    Wal(database)
    database.execute("INSERT INTO public.child (seq, event_id, event_type, aggregate_type, aggregate_id, payload) VALUES "
                     "(9001, gen_random_uuid(), 'order.placed', 'order', 'before', '{}')")
    one = relay({"capture": "wal", "poll_interval_max": None, "mark_interval": "20ms", "lease": "3s"}).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', 'parent', '{}')")
    database.execute("INSERT INTO public.child (seq, event_id, event_type, aggregate_type, aggregate_id, payload) VALUES "
                     "(9002, %s, 'order.placed', 'order', 'child', '{}')", (str(uuid.uuid4()),))
    assert [r.key.decode() for r in wait_for_records(kafka.brokers, topic, 3)] == ["before", "parent", "child"]
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 20, lambda: "all marked\n" + one.log_tail())


def test_an_adopted_table_that_lacks_columns_is_not_taken_for_a_stranger(parts_relay, published, parts, kafka, topic):
    """Its own messages in the log are asked about, and what the server answers says nothing about parts."""
    for column in ("traceparent", "causation_id", "aggregate_version", "topic"):
        parts.execute(f"ALTER TABLE parts.event DROP COLUMN {column}")
    one = parts_relay().start()
    expected = insert(parts, 1, 150)
    assert ids(wait_for_records(kafka.brokers, topic, 150)) == expected, one.log_tail()
    assert not one.log_lines("RELATION_SKIPPED") and not one.log_lines("PARTITION_DETACHED"), one.log_tail()
