"""Rows that the server cannot print, among others: those alone are refused, whatever plan reads the table, and all others are published once.

An enum whose label is gone from the catalog is cheap to make and fails at its row's value, not at its place in the table."""

import collections

import pytest

from conftest import CAPTURES, soak
from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.postgres import OWNER, RELAY, SUPERUSER
from support.wal import Wal, drop_slots

pytestmark = pytest.mark.by_turns

TABLE = """CREATE TYPE public.kind AS ENUM ('good', 'gone');
CREATE TABLE public.big (seq bigserial PRIMARY KEY, event_id text NOT NULL DEFAULT gen_random_uuid(), event_type public.kind NOT NULL DEFAULT 'good',
    aggregate_type text NOT NULL DEFAULT 'order', aggregate_id text NOT NULL, payload jsonb NOT NULL DEFAULT '{}', published_at timestamptz);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.big TO """ + RELAY + "; ALTER TABLE public.big OWNER TO " + OWNER
ROWS = 60
BAD = {"first": [1], "last": [ROWS], "several": [1, 2, 3, 30, 31, 59, ROWS], "all": list(range(1, ROWS + 1))}
LETTERS = "SELECT seq FROM outbox.dead_letter ORDER BY seq"


def fill(database, rows, bad):
    database.execute("INSERT INTO public.big (aggregate_id, event_type) SELECT n::text, CASE WHEN n = ANY(%s) THEN 'gone' ELSE 'good' END::public.kind "
                     "FROM generate_series(1, %s) n", (bad, rows), user=SUPERUSER)


def forget(database):
    database.execute("DELETE FROM pg_catalog.pg_enum WHERE enumlabel = 'gone'", user=SUPERUSER)


def adopt(relay, database, capture, rows, bad, **options):
    database.execute(TABLE, user=SUPERUSER)
    fill(database, rows, bad)
    if bad:
        forget(database)
    if capture == "wal":
        Wal(database, table="public.big")
    return relay({**CAPTURES[capture], "table": "public.big", "on_poison": "dead_letter", **options})


def published(kafka, topic):
    return collections.Counter(int(record.key) for record in read_topics(kafka.brokers, topic))


@pytest.mark.parametrize("where", ["last", "several", soak("first"), soak("all")])
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_rows_that_cannot_be_read_are_set_aside_and_no_others(relay, kafka, database, prefix, capture, where):
    topic = kafka.create_topic(f"{prefix}.order")
    one = adopt(relay, database, capture, ROWS, BAD[where], batch_events=16).start(wait_ready=False)
    eventually(lambda: database.scalar("SELECT count(*) FROM public.big WHERE published_at IS NULL", user=SUPERUSER) == 0, 60, what=lambda: one.log_tail())
    assert database.query(LETTERS) == [(seq,) for seq in BAD[where]], one.log_tail()
    database.execute("INSERT INTO public.big (aggregate_id) VALUES ('100')", user=SUPERUSER)
    good = [seq for seq in range(1, ROWS + 1) if seq not in BAD[where]] + [100]
    wait_for_records(kafka.brokers, topic, len(good))
    assert published(kafka, topic) == collections.Counter(good)
    one.wait_ready()


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_those_of_a_table_that_was_renamed_are_named_with_it(relay, kafka, database, prefix, capture):
    """Rows from before the slot: what the log holds of such a row no server can send."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = adopt(relay, database, capture, 3, [], batch_events=16).start()
    wait_for_records(kafka.brokers, topic, 3)
    one.stop()
    fill(database, 20, [2, 20])
    database.execute("ALTER TABLE public.big RENAME TO big_old; CREATE TABLE public.big (LIKE public.big_old INCLUDING ALL); "
                     f"ALTER TABLE public.big OWNER TO {OWNER}; GRANT ALL ON public.big TO {RELAY}; INSERT INTO public.big (aggregate_id) VALUES ('100')",
                     user=SUPERUSER)
    forget(database)
    if capture == "wal":
        drop_slots(database)
        database.execute("ALTER PUBLICATION outboxd_orders ADD TABLE public.big")
        one.args.append("--new-slot")
    one.start(wait_ready=False)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter WHERE reason LIKE '%%of %%big_old%%'") == 2, 60, what=lambda: one.log_tail())
    assert database.query(LETTERS) == [(5,), (23,)]
    wait_for_records(kafka.brokers, topic, 3 + 18 + 1, timeout=60)
    assert published(kafka, topic) == collections.Counter([1, 2, 3, 100] + [n for n in range(1, 20) if n != 2])
    one.wait_ready()
