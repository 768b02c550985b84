"""Polling the kinds of outbox that people have: partitioned (with sub-partitions, and leaves whose columns are ordered otherwise), inherited, with
names that need quotes, with a number that is there twice. Partitions come and go under load."""

import contextlib
import json
import threading

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records

# aggregate_version is the partition: "week 1", "week 2", ...
PARTITIONED = """
CREATE SEQUENCE public.events_seq;
CREATE TABLE public.events (LIKE outbox.event INCLUDING DEFAULTS) PARTITION BY RANGE (aggregate_version);
ALTER TABLE public.events ALTER seq SET DEFAULT nextval('public.events_seq'), ALTER aggregate_version SET NOT NULL,
    ADD PRIMARY KEY (seq, aggregate_version);
ALTER SEQUENCE public.events_seq OWNED BY public.events.seq;
CREATE INDEX ON public.events (seq) WHERE published_at IS NULL;
CREATE TABLE public.events_1 PARTITION OF public.events FOR VALUES FROM (1) TO (2);
CREATE TABLE public.events_2 PARTITION OF public.events FOR VALUES FROM (2) TO (3) PARTITION BY HASH (seq);
CREATE TABLE public.events_2_a PARTITION OF public.events_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.events_2_b PARTITION OF public.events_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE public.events_3 (published_at timestamptz, payload jsonb, extra_gone int, seq bigint NOT NULL DEFAULT nextval('public.events_seq'),
    headers jsonb, aggregate_version bigint NOT NULL, aggregate_id text, aggregate_type text NOT NULL, event_type text NOT NULL,
    event_id uuid NOT NULL DEFAULT outbox.new_event_id(), payload_bytes bytea, content_type text, topic text, traceparent text,
    causation_id text, correlation_id text, event_version int NOT NULL DEFAULT 1, occurred_at timestamptz NOT NULL DEFAULT clock_timestamp());
ALTER TABLE public.events_3 DROP extra_gone;
ALTER TABLE public.events ATTACH PARTITION public.events_3 FOR VALUES FROM (3) TO (4);
GRANT SELECT, UPDATE, DELETE ON public.events TO outbox_relay;
"""
UNPUBLISHED = "SELECT count(*) FROM public.events WHERE published_at IS NULL"


def insert(cursor, key, n, week=1, table="public.events", **more):
    columns = {"event_type": "order.placed", "aggregate_type": "order", "aggregate_id": key, "aggregate_version": week,
               "payload": json.dumps({"n": n}), **more}
    cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})", list(columns.values()))


def numbers(records, key=None):
    return [json.loads(r.value)["n"] for r in records if key is None or r.key == key.encode()]


def assert_exact(records, count):
    ids = [headers_of(r)["ce_id"] for r in records]
    assert len(ids) == len(set(ids)) == count
    for key in {r.key.decode() for r in records}:
        assert numbers(records, key) == sorted(numbers(records, key))


@pytest.fixture
def partitioned(database):
    database.execute(PARTITIONED)
    return database


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_partitions_come_and_go_under_load(relay, kafka, partitioned, prefix, on_publish):
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    one = relay({"table": "public.events", "on_publish": on_publish}).start()
    done, failures, sent = threading.Event(), [], []

    def write(number):
        try:
            connection = partitioned.connect(autocommit=False)
            n = 0
            while not done.is_set():
                with connection.cursor() as cursor:
                    for _ in range(5):
                        n += 1
                        insert(cursor, f"k{number}", n, week=1 + n % 3)
                if n % 10 == 0:
                    done.wait(0.01)
                connection.commit()
            connection.close()
            sent.append(n)
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for week in range(10, 22):
            partitioned.execute(f"CREATE TABLE public.events_{week} (LIKE public.events INCLUDING ALL)")
            with contextlib.closing(partitioned.connect()) as connection, connection.cursor() as cursor:
                insert(cursor, f"w{week}", 1, week=week, table=f"public.events_{week}")  # it comes with rows
                cursor.execute(f"ALTER TABLE public.events ATTACH PARTITION public.events_{week} FOR VALUES FROM ({week}) TO ({week + 1})")
                insert(cursor, f"w{week}", 2, week=week)
            eventually(lambda: partitioned.scalar(f"SELECT count(*) FROM public.events WHERE aggregate_version = {week} AND published_at IS NULL") == 0,
                       what="the new partition is published")
            if week % 3 == 0:
                partitioned.execute(f"DROP TABLE public.events_{week}")
            elif week % 3 == 1:
                partitioned.execute(f"ALTER TABLE public.events DETACH PARTITION public.events_{week}")
            else:
                partitioned.execute(f"ALTER TABLE public.events DETACH PARTITION public.events_{week} CONCURRENTLY")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    total = sum(sent) + 24
    one.wait_published(total, 30)
    eventually(lambda: partitioned.scalar(UNPUBLISHED) == 0, what="everything marked")
    assert_exact(read_topics(kafka.brokers, topic), total)
    assert not one.log_lines("ROWS_VANISHED")


def test_a_number_that_is_there_twice_is_two_events(relay, kafka, partitioned, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    relay({"table": "public.events"}).start()
    connection = partitioned.connect(autocommit=False)
    with connection.cursor() as cursor:
        for n in range(1, 101):  # together
            insert(cursor, "a", n, week=1, seq=n)
            insert(cursor, "b", n, week=3, seq=n)
        connection.commit()
        wait_for_records(kafka.brokers, topic, 200)
        for n in range(101, 111):  # one after the other was published
            insert(cursor, "a", n, week=1, seq=n)
            connection.commit()
            wait_for_records(kafka.brokers, topic, 100 + n)
        for n in range(101, 111):
            insert(cursor, "b", n, week=3, seq=n)
            connection.commit()
    connection.close()
    records = wait_for_records(kafka.brokers, topic, 220)
    assert_exact(records, 220)
    eventually(lambda: partitioned.scalar(UNPUBLISHED) == 0, what="everything marked")


def test_a_leaf_may_be_the_outbox(relay, kafka, partitioned, prefix):
    """Its writers lock the partitioned table first, and draw the number before they lock the leaf."""
    topic = kafka.create_topic(f"{prefix}.order")
    partitioned.execute("GRANT SELECT, UPDATE ON public.events_1 TO outbox_relay")
    one = relay({"table": "public.events_1"}).start()
    late = partitioned.connect(autocommit=False)
    with late.cursor() as cursor:
        insert(cursor, "k", 1)
        for n in range(50):
            with contextlib.closing(partitioned.connect()) as connection, connection.cursor() as other:
                insert(other, f"q{n}", n)
        one.wait_published(50)
        one.wait_looks(10)
        late.commit()
    late.close()
    wait_for_records(kafka.brokers, topic, 51)
    assert not one.log_lines("ROWS_SWEPT"), "the gap was given up while its writer ran"


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_children_that_inherit_are_read_and_marked_and_their_writers_fence(relay, kafka, database, prefix, on_publish):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("""
        CREATE SEQUENCE public.events_seq;
        CREATE TABLE public.events (LIKE outbox.event INCLUDING DEFAULTS);
        ALTER TABLE public.events ALTER seq SET DEFAULT nextval('public.events_seq');
        CREATE INDEX ON public.events (seq) WHERE published_at IS NULL;
        CREATE TABLE public.events_child () INHERITS (public.events);
        CREATE INDEX ON public.events_child (seq) WHERE published_at IS NULL;
        CREATE TABLE public.events_grandchild () INHERITS (public.events_child);
        GRANT SELECT, UPDATE, DELETE ON public.events TO outbox_relay""")
    one = relay({"table": "public.events", "on_publish": on_publish}).start()
    late = database.connect(autocommit=False)
    with late.cursor() as cursor, contextlib.closing(database.connect()) as connection, connection.cursor() as other:
        insert(cursor, "k", 1, table="public.events_grandchild")
        for n in range(60):
            insert(other, f"q{n % 7}", n, table=("public.events", "public.events_child", "public.events_grandchild")[n % 3])
        one.wait_published(60)
        one.wait_looks(10)
        late.commit()
        insert(cursor, "k", 2)
        late.commit()
    late.close()
    records = wait_for_records(kafka.brokers, topic, 62)
    assert_exact(records, 62)
    assert not one.log_lines("ROWS_SWEPT"), "the gap was given up while its writer ran"
    left = "0" if on_publish == "delete" else "count(*)"
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="everything marked")
    assert database.scalar(f"SELECT count(*) = {left} FROM public.events")


def test_names_that_need_quotes_everywhere(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("""
        CREATE SCHEMA "Order ""s'\\%";
        CREATE TABLE "Order ""s'\\%"."Out;Box -- %s" ("Se""q %d" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Id'" uuid DEFAULT gen_random_uuid(),
            "Type" text, "Agg" text, "Key $1" text, "Pay{}load" jsonb, "Published At" timestamptz);
        CREATE INDEX ON "Order ""s'\\%"."Out;Box -- %s" ("Se""q %d") WHERE "Published At" IS NULL;
        GRANT USAGE ON SCHEMA "Order ""s'\\%" TO outbox_relay;
        GRANT SELECT, UPDATE ON "Order ""s'\\%"."Out;Box -- %s" TO outbox_relay""")
    quoted = '"Order ""s\'\\%"."Out;Box -- %s"'
    columns = {"seq": 'Se"q %d', "event_id": "Id'", "event_type": "Type", "aggregate_type": "Agg", "aggregate_id": "Key $1", "payload": "Pay{}load",
               "published_at": "Published At", **{c: "" for c in ("event_version", "aggregate_version", "payload_bytes", "content_type",
               "correlation_id", "causation_id", "traceparent", "headers", "topic", "occurred_at")}}
    relay({"table": quoted, "columns": columns, "topic": topic, "key": "${Key $1}", "batch_events": 7}).start()
    connection = database.connect(autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute(f'INSERT INTO {quoted} ("Type", "Agg", "Key $1", "Pay{{}}load") '.replace("%", "%%") +
                       "SELECT 'order.placed', 'order', 'k' || i, jsonb_build_object('n', i) FROM generate_series(1, 100) i", ())
        connection.commit()
        wait_for_records(kafka.brokers, topic, 100)
        cursor.execute(f'UPDATE {quoted} SET "Published At" = NULL WHERE "Se""q %d" = 3'.replace("%", "%%"), ())
        connection.commit()
    connection.close()
    assert numbers(wait_for_records(kafka.brokers, topic, 101))[-1] == 3


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
@pytest.mark.parametrize("ids", ["uuid", "text"])
def test_rows_between_those_that_are_marked_are_left_alone(relay, kafka, database, prefix, ids, on_publish):
    """Many numbers close together are marked in one walk from the first to the last. The event ids are all the same: they tell nothing apart."""
    topic = kafka.create_topic(f"{prefix}.order")
    if ids == "text":
        database.execute("ALTER TABLE outbox.event ALTER event_id DROP DEFAULT, ALTER event_id TYPE text")
    database.execute("INSERT INTO outbox.event (event_id, event_type, aggregate_type, aggregate_id, published_at) SELECT "
                     "'6f1b7a52-0000-7000-8000-000000000001', 'order.placed', 'order', i::text, CASE WHEN i % 3 = 0 THEN timestamptz '2020-01-01' END "
                     "FROM generate_series(1, 300) i")
    one = relay({"on_publish": on_publish}).start()
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 20, lambda: one.log_tail())
    assert database.scalar("SELECT count(*) FROM outbox.event WHERE published_at = '2020-01-01' AND aggregate_id::int % 3 = 0") == 100
    assert database.scalar("SELECT count(*) FROM outbox.event") == (300 if on_publish == "mark" else 100)
    assert one.metric("rows_marked_total") == 200
    assert len(read_topics(kafka.brokers, topic)) == 200
    assert not one.log_lines("ROWS_"), one.log_tail()
