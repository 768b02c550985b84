"""The ground moves while events wait: behind a row that is refused, or for a topic that is missing, some of them in no row at all.

Rotation, partitions that go, TRUNCATE, tables without event ids, kills. Each event arrives once and in order once it is mended, by both captures.
"""

import json
import re

import pytest

from conftest import CAPTURES, soak
from support.common import eventually
from support.consume import read_topics
from support.postgres import SUPERUSER
from support.wal import Wal

MANY = json.dumps({f"h{n}": n for n in range(300)})  # headers: more than the relay takes
ROTATE = """ALTER TABLE {table} RENAME TO old_one;
CREATE TABLE {table} (LIKE {schema}.old_one INCLUDING ALL);
ALTER TABLE {table} OWNER TO shop_owner;
GRANT SELECT, DELETE, UPDATE, INSERT ON {table} TO outbox_relay;"""

both = pytest.mark.parametrize("capture", ["poll", "wal"])


@pytest.fixture
def make(relay, wal):
    """make(capture, {options}, ...) -> Relay."""
    return lambda capture, pipeline=None, **more: relay({**CAPTURES[capture], **(pipeline or {})}, **more)


class Held:
    """A relay with topic `good`, and topic `bad` whose events wait."""

    def __init__(self, database, kafka, prefix, make, capture, why, table="outbox.event", pipeline=None, gone=None):
        self.database, self.kafka, self.prefix, self.capture, self.why, self.table = database, kafka, prefix, capture, why, table
        self.good, self.bad = kafka.create_topic(f"{prefix}.good", partitions=2), f"{prefix}.bad"
        if why == "row":
            kafka.create_topic(self.bad)
        self.make = lambda **more: make(capture, {"table": table, "batch_events": 100, **(pipeline or {})}, **more)
        self.one = self.make().start(wait_ready=False)
        if capture == "wal":
            eventually(lambda: (self.database.query("SELECT backfill FROM outbox.position") or [[True]])[0][0] is False, 30,
                       lambda: "it reads the WAL\n" + self.one.log_tail())
        self.insert("bad", [1, 2, 3])
        self.insert("bad", [4], **({"headers": MANY} if why == "row" else {}))
        if gone:
            self.insert_and_delete("bad", [5, 6])
        self.insert("bad", range(7, 10))
        self.insert("good", range(101, 111))
        self.wait(4 + 2 * bool(gone) if why == "row" else 7 + 2 * bool(gone))
        self.expected = [1, 2, 3, 4, *([5, 6] if gone else []), 7, 8, 9]
        self.expected_good = list(range(101, 111))
        eventually(lambda: sorted(self.numbers(self.good)) == list(range(101, 111)), 20, lambda: "others go on\n" + self.one.log_tail())

    def _sql(self, n, aggregate, columns):
        row = {"event_type": "order.placed", "aggregate_type": aggregate, "aggregate_id": "k", "payload": json.dumps({"n": n}), **columns}
        return f"INSERT INTO {self.table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))}) RETURNING seq", tuple(row.values())

    def insert(self, aggregate, numbers, **columns):
        for n in numbers:
            self.database.execute(*self._sql(n, aggregate, columns))

    def insert_and_delete(self, aggregate, numbers, **columns):
        connection = self.database.connect(autocommit=False)
        with connection, connection.cursor() as cursor:
            for n in numbers:
                cursor.execute(*self._sql(n, aggregate, columns))
                cursor.execute(f"DELETE FROM {self.table} WHERE seq = %s", cursor.fetchone())
        connection.close()

    def more(self, numbers, good=()):
        self.insert("bad", numbers)
        self.insert("good", good)
        self.expected += list(numbers)
        self.expected_good += list(good)

    def numbers(self, topic):
        return [json.loads(r.value)["n"] for r in read_topics(self.kafka.brokers, topic)]

    def wait(self, count, timeout=30):
        eventually(lambda: self.one.metric("waiting_events") == count, timeout,
                   lambda: f"{count} events wait, have {self.one.metric('waiting_events')}\n{self.one.log_tail(60)}")

    def again(self, how="kill", **more):
        (self.one.kill if how == "kill" else self.one.stop)()
        self.one = self.make(**more).start(wait_ready=False)

    def others_go_on(self):
        eventually(lambda: set(self.numbers(self.good)) == set(self.expected_good), 30,
                   lambda: f"others go on: {self.numbers(self.good)}\n{self.one.log_tail(60)}")

    def mend(self, *tables):
        if self.why == "row":
            for table in tables or [self.table]:
                self.database.execute(f"UPDATE {table} SET headers = NULL WHERE headers IS NOT NULL", user=SUPERUSER)
        else:
            self.kafka.create_topic(self.bad)

    def over(self, *tables, timeout=40, duplicates=0):
        for table in tables or [self.table]:
            left = f"SELECT count(*) FROM {table} WHERE published_at IS NULL"
            eventually(lambda: self.database.scalar(left, user=SUPERUSER) == 0, timeout,
                       lambda: f"all of {table} marked, left {self.database.scalar(left, user=SUPERUSER)}\n{self.one.log_tail(60)}")
        eventually(lambda: set(self.numbers(self.bad)) >= set(self.expected), 20,
                   lambda: f"all of {self.expected} came: {self.numbers(self.bad)}\n{self.one.log_tail(60)}")
        self.one.wait_ready(timeout)
        found = self.numbers(self.bad)
        first = list(dict.fromkeys(found))
        assert first == self.expected, f"{found}\n{self.one.log_tail(60)}"
        assert len(found) - len(first) <= duplicates, f"{found}\n{self.one.log_tail(60)}"
        good = self.numbers(self.good)
        assert set(good) == set(self.expected_good) and len(good) - len(set(good)) <= duplicates, good
        assert self.one.metric("held_rows") == 0 and self.one.metric("waiting_events") == 0


def in_one(database, *statements):
    connection = database.connect(SUPERUSER, autocommit=False)
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


CASES = [(capture, why, gone) for capture in ("poll", "wal") for why in ("row", "topic") for gone in (False, True) if capture == "wal" or not gone]
QUICK = {"the rotated table": {("poll", "row", False, "kill"), ("wal", "topic", True, None), ("wal", "row", False, "kill")},
         "the truncated table": {("poll", "topic", False, None), ("wal", "row", True, "kill")},
         "the number": {("poll", "row", False, None), ("wal", "topic", True, "kill")}}


def every(what, ends):
    """Each case with each end, of which those of QUICK are quick."""
    return pytest.mark.parametrize("capture, why, gone, end", [case if case in QUICK[what] else soak(*case) for case in
                                                               ((*case, end) for case in CASES for end in ends)])


@every("the rotated table", [None, "stop", "kill"])
def test_the_table_is_rotated(make, kafka, database, wal, prefix, capture, why, gone, end):
    held = Held(database, kafka, prefix, make, capture, why, gone=gone)
    rotate = ROTATE.format(table="outbox.event", schema="outbox")
    in_one(database, *[s for s in rotate.split("\n") if s], *(["ALTER PUBLICATION outboxd_orders ADD TABLE outbox.event"] if capture == "wal" else []))
    held.more([10, 11], [111, 112])
    if end:
        held.again(end)
    if gone:  # they are in the log alone, and stand before the new table's
        assert "must be published before the WAL that follows" in held.one.wait_not_ready("WAITING_EVENTS_FULL")
    else:
        held.others_go_on()
        held.wait(len(held.expected) - (3 if why == "row" else 0))
    held.more([12], [113])
    held.mend("outbox.old_one")
    held.over("outbox.old_one", "outbox.event", duplicates=30 if end else 0)


@every("the truncated table", [None, "kill"])
def test_the_table_is_truncated(make, kafka, database, wal, prefix, capture, why, gone, end):
    held = Held(database, kafka, prefix, make, capture, why, gone=gone)
    database.execute("TRUNCATE outbox.event")
    held.more([10, 11], [111, 112])
    if end:
        held.again(end)
    if why == "topic":
        held.mend()
    eventually(lambda: {10, 11} <= set(held.numbers(held.bad)), 60, lambda: f"they come: {held.numbers(held.bad)}\n{held.one.log_tail(60)}")
    if gone:
        assert {5, 6} <= set(held.numbers(held.bad)), held.one.log_tail(60)
    held.one.wait_ready(40)


NUMBERED = """CREATE TABLE public.plain (seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY, event_type text NOT NULL,
    aggregate_type text NOT NULL, aggregate_id text, payload jsonb, headers jsonb, published_at timestamptz);
    CREATE INDEX ON public.plain (seq) WHERE published_at IS NULL; GRANT SELECT, UPDATE, DELETE ON public.plain TO outbox_relay;
    ALTER PUBLICATION outboxd_orders ADD TABLE public.plain"""


@every("the number", [None, "kill"])
def test_a_table_whose_number_is_its_only_id(make, kafka, database, wal, prefix, capture, why, gone, end):
    database.execute(NUMBERED)
    held = Held(database, kafka, prefix, make, capture, why, table="public.plain", pipeline={"columns": {"event_id": "seq"}}, gone=gone)
    if end:
        held.again(end)
        held.wait(len(held.expected) - (3 if why == "row" else 0))
    held.more([10, 11], [111])
    held.mend()
    held.over(duplicates=30 if end else 0)


LEAF_QUICK = {("poll", "row", False), ("wal", "topic", True)}
PARTS = """CREATE SCHEMA parts; CREATE SEQUENCE parts.event_seq; CREATE TABLE parts.event (LIKE outbox.event INCLUDING DEFAULTS) PARTITION BY RANGE (seq);
ALTER TABLE parts.event ALTER seq SET DEFAULT nextval('parts.event_seq');
CREATE TABLE parts.p1 PARTITION OF parts.event FOR VALUES FROM (0) TO (4);
CREATE TABLE parts.p2 PARTITION OF parts.event FOR VALUES FROM (4) TO ({two});
CREATE TABLE parts.p3 PARTITION OF parts.event FOR VALUES FROM ({two}) TO (1000);
GRANT USAGE ON SCHEMA parts TO shop_relay; GRANT SELECT, UPDATE, DELETE ON parts.event TO shop_relay;"""


@pytest.mark.parametrize("capture, why, gone", [case if case in LEAF_QUICK else soak(*case) for case in CASES])
@pytest.mark.parametrize("root, end", [(False, None), soak(True, "kill")])
@pytest.mark.parametrize("way", [soak("DETACH"), "DROP", soak("DETACH and ATTACH")])
def test_the_leaf_with_the_held_row_goes(make, kafka, database, wal, prefix, capture, why, gone, root, way, end):
    """It is as if its rows were deleted: the others go on. Rows that come back with their partition are read by polling; the log has them no
    more, which is said with the way out."""
    database.execute(PARTS.format(two=7 if gone else 5))  # p2: the held row, and what is gone
    if capture == "wal":
        database.execute("DROP PUBLICATION outboxd_orders; CREATE PUBLICATION outboxd_orders FOR TABLE parts.event "
                         f"WITH (publish = 'insert', publish_via_partition_root = {root})")
    held = Held(database, kafka, prefix, make, capture, why, table="parts.event", pipeline={"unseen_after": "2s"}, gone=gone)
    if end:
        held.one.kill()
    database.execute("DROP TABLE parts.p2" if way == "DROP" else "ALTER TABLE parts.event DETACH PARTITION parts.p2")
    held.more([10, 11], [111])
    if end:
        held.one = held.make().start(wait_ready=False)
    if why == "topic":
        held.mend()
    came = lambda: set(held.numbers(held.bad))  # noqa: E731
    eventually(lambda: {10, 11} <= came(), 40, lambda: f"they come: {came()}\n{held.one.log_tail(60)}")
    if way == "DETACH and ATTACH":
        if why == "row":
            database.execute("UPDATE parts.p2 SET headers = NULL")
        database.execute(f"ALTER TABLE parts.event ATTACH PARTITION parts.p2 FOR VALUES FROM (4) TO ({7 if gone else 5})")
        if capture == "wal" and 4 not in came():
            said = held.one.wait_not_ready("EVENT_UNSEEN", 60)
            drop = re.search("SELECT pg_drop_replication_slot.*?;", said).group(0)
            held.one.stop()
            database.execute(drop, user=SUPERUSER)
            held.one = held.make(args=["--new-slot"]).start(wait_ready=False)
        eventually(lambda: 4 in came(), 40, lambda: f"it comes: {came()}\n{held.one.log_tail(60)}")
    eventually(lambda: database.scalar("SELECT count(*) FROM parts.event WHERE published_at IS NULL") == 0, 40, lambda: f"marked\n{held.one.log_tail(60)}")
    assert came() >= set(held.expected) - {4}
    if not end:
        assert len(held.numbers(held.bad)) == len(came())
    held.one.wait_ready(40)


@pytest.mark.parametrize("capture, why, gone", [soak(*case) for case in CASES])
def test_the_server_is_another_one(relay, kafka, pair, pair_database, prefix, capture, why, gone):
    """A promoted standby that has everything: what waits in rows waits on; what the log alone had goes with the log, which is said."""
    if capture == "wal":
        Wal(pair_database)
    held = Held(pair_database, kafka, prefix, lambda capture, pipeline, **more: relay({**CAPTURES[capture], **pipeline}, dsn=pair_database.dsn(), **more),
                capture, why, gone=gone)
    left = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
    if not gone:  # else nothing behind those is marked
        eventually(lambda: pair_database.scalar(left) == (4 if why == "row" else 7), 20, "others marked")
    pair.catch_up()
    pair.promote()
    held.more([10], [111])
    if capture == "wal":
        assert held.one.wait_exit(60) == 4, held.one.log_tail()
        held.one = held.make(args=["--new-slot"]).start(wait_ready=False)
        assert "rows that others have deleted since are lost" in held.one.wait_log("GAP_ACCEPTED")[0]
    if gone:
        held.expected = [n for n in held.expected if n not in (5, 6)]
    held.others_go_on()
    held.wait(len(held.expected) - (3 if why == "row" else 0))
    held.mend()
    held.over(duplicates=30 if gone else 0)
