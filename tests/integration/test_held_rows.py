"""A row that cannot be published as it is holds back the events of its topic, or of its aggregate type, and no others, by both captures.

It goes on by itself, in order, when the row is mended or removed or the topic takes it; nothing is lost and nothing comes twice.
"""

import json

import pytest

from conftest import CAPTURES, soak
from support.common import eventually, stays_true
from support.consume import headers_of, read_topics
from support.postgres import OWNER
from support.relay import outboxd

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
LETTERS = "SELECT count(*) FROM outbox.dead_letter"
BIG = json.dumps({"n": 0, "text": "x" * 5000})
MANY = json.dumps({f"h{n}": n for n in range(300)})  # headers: more than the relay takes

both = pytest.mark.parametrize("capture", ["poll", "wal"])


class Kind:
    """What is wrong with the row, and the ways to mend it: SQL about the row, or of the topic."""
    def __init__(self, code, columns, update, topic=None, raised=None, aggregate="bad", env=None, waits_for=None):
        self.code, self.columns, self.update, self.topic, self.raised = code, columns, update, topic or {}, raised
        self.aggregate, self.env, self.waits_for = aggregate, env, waits_for


KINDS = {
    "headers": Kind("HEADERS_INVALID", {"headers": MANY}, "headers = '{}'"),
    "size": Kind("RECORD_TOO_LARGE", {"payload": BIG}, "payload = '{\"n\": 0}'", {"max.message.bytes": "3000"}, {"max_message_bytes": 100000}),
    "key": Kind("RECORD_KEY_MISSING", {"aggregate_id": None}, "aggregate_id = 'k'", {"cleanup.policy": "compact"}, {"cleanup_policy": "delete"}),
    "name": Kind("TOPIC_NAME_INVALID", {"aggregate_type": "b a d"}, "aggregate_type = 'bad'", aggregate="b a d", waits_for="(aggregate type b a d)"),
    "broker": Kind("RECORD_REFUSED", {"aggregate_id": None}, "aggregate_id = 'k'", {"cleanup.policy": "compact"},
                   env={"OUTBOXD_FAILPOINTS": "stale_limits:1:error"}),
}


@pytest.fixture
def make(relay, wal):
    """make(capture, {options}, ...) -> Relay."""
    return lambda capture, pipeline=None, **more: relay({**CAPTURES[capture], **(pipeline or {})}, **more)


def insert(database, aggregate, numbers, **columns):
    """One event of the aggregate type for each number, each in a transaction of its own; the sequence number of the last."""
    seq = None
    for n in numbers:
        row = {"event_type": "order.placed", "aggregate_type": aggregate, "aggregate_id": str(n % 5), "payload": json.dumps({"n": n}), **columns}
        names = ", ".join(row)
        seq = database.scalar(f"INSERT INTO outbox.event ({names}) VALUES ({', '.join(['%s'] * len(row))}) RETURNING seq", tuple(row.values()))
    return seq


def numbers(kafka, topic):
    return [json.loads(r.value)["n"] for r in read_topics(kafka.brokers, topic)]


def assert_exact(kafka, topic, expected):
    """These, each once, those of a key in order."""
    records = read_topics(kafka.brokers, topic)
    found = [json.loads(r.value)["n"] for r in records]
    assert sorted(found) == sorted(expected), f"{topic}: {found}"
    assert len({headers_of(r)["ce_id"] for r in records}) == len(expected)
    last = {}
    for record, n in zip(records, found):
        assert n > last.get(record.key, -1), f"{topic}: key {record.key} went back to {n}: {found}"
        last[record.key] = n


def wait_held(one, count, timeout=30):
    eventually(lambda: one.metric("waiting_events") == count, timeout,
               lambda: f"{count} events wait, have {one.metric('waiting_events')}\n{one.log_tail()}")


def all_marked(database, one, timeout=40):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked, left {database.scalar(UNPUBLISHED)}\n{one.log_tail()}")


def assert_over(one, timeout=40):
    one.wait_ready(timeout)
    assert one.metric("held_rows") == 0 and one.metric("waiting_events") == 0
    assert not one.metrics().has("outboxd_topic_waiting_events")


def hold(make, kafka, database, prefix, capture, kind, before=3, behind=7, pipeline=None):
    """Topics `bad` and `good`, events of both, and in the midst of `bad` a row of the kind: (relay, its seq, the topics)."""
    good = kafka.create_topic(f"{prefix}.good", partitions=2)
    bad = kafka.create_topic(f"{prefix}.bad", partitions=1, config=kind.topic)
    one = make(capture, {"batch_events": 100, **(pipeline or {})}, env=kind.env).start(wait_ready=False)
    if capture == "wal":  # what is in the table before the slot is made is published first, as a whole
        eventually(lambda: one.status()["pipelines"][0]["slot"]["active"], 30, lambda: "it reads the WAL\n" + one.log_tail())
    insert(database, kind.aggregate if kind.waits_for is None else "good", range(1, before + 1))
    seq = insert(database, kind.aggregate, [0], **kind.columns)
    insert(database, kind.aggregate, range(before + 1, before + behind + 1))
    insert(database, "good", range(101, 121))
    return one, seq, bad, good


# Each kind is mended by both captures; of the other ways out, each by one of them in turn. All of them together are for soak.
OTHER_WAYS = [("headers", "delete", "poll"), ("headers", "mark", "wal"), ("size", "raise", "wal"), ("key", "raise", "poll")]
MENDS = [(pytest.param if mend == "update" or (name, mend, capture) in OTHER_WAYS else soak)(*(name, mend, capture), id=f"{name}-{mend}-{capture}")
         for name in KINDS for mend in ("update", "delete", "mark", "raise") if mend != "raise" or KINDS[name].raised for capture in ("poll", "wal")]


@pytest.mark.parametrize("name, mend, capture", MENDS)
def test_only_its_topic_waits_and_goes_on_once_it_is_mended(make, kafka, database, prefix, capture, name, mend):
    kind = KINDS[name]
    one, seq, bad, good = hold(make, kafka, database, prefix, capture, kind)
    event_id = database.scalar("SELECT event_id::text FROM outbox.event WHERE seq = %s", (seq,))
    wait_held(one, 8)
    reason = one.wait_not_ready(kind.code)
    for word in (f"seq {seq}", event_id, kind.waits_for or bad, "all others are published", 'on_poison = "dead_letter"', "row is corrected or deleted"):
        assert word in reason, f"{word}: {reason}"
    extra = [1, 2, 3] if kind.waits_for else []
    eventually(lambda: len(numbers(kafka, good)) == 20 + len(extra), 30, lambda: "the others go on\n" + one.log_tail())
    assert_exact(kafka, good, extra + list(range(101, 121)))
    assert numbers(kafka, bad) == ([] if kind.waits_for else [1, 2, 3])
    assert one.metric("held_rows") == 1 and one.metric("inflight_events") == 0
    assert one.status()["pipelines"][0]["state"] == "running"
    eventually(lambda: database.scalar(UNPUBLISHED) == 8, what="the others are marked")
    if mend == "update":
        # Those behind it have the name, too: whoever mends it mends them all.
        where = "aggregate_type = 'b a d'" if kind.waits_for else f"seq = {seq}"
        database.execute(f"UPDATE outbox.event SET {kind.update} WHERE {where}")
    elif mend == "delete":
        database.execute(f"DELETE FROM outbox.event WHERE {'aggregate_type = %s' if kind.waits_for else 'seq = %s'}", (kind.aggregate if kind.waits_for else seq,))
    elif mend == "mark":
        database.execute(f"UPDATE outbox.event SET published_at = now() WHERE {'aggregate_type = %s' if kind.waits_for else 'seq = %s'}",
                         (kind.aggregate if kind.waits_for else seq,))
    else:
        kafka.alter_topic(bad, **kind.raised)
    all_marked(database, one)
    assert_over(one)
    came = [0] if mend in ("update", "raise") else []
    before = [] if kind.waits_for else [1, 2, 3]
    behind = [] if kind.waits_for and not came else list(range(4, 11))
    found = numbers(kafka, bad)
    assert sorted(found) == sorted(before + came + behind), found
    if came:
        assert found.index(0) < found.index(4), "in its order"
    assert [n for n in found if n] == before + behind
    assert len(one.log_lines(f"warn.*code={kind.code}.*seq {seq},.*all others are published")) == 1, "said once\n" + one.log_tail()
    assert one.log_lines("HELD_ROW_MENDED"), one.log_tail()
    insert(database, "bad" if not kind.waits_for or mend == "update" else "good", range(11, 21), aggregate_id="k")
    all_marked(database, one)
    assert one.starts == 1 and database.scalar(LETTERS) == 0


@both
@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("name", ["headers", soak("size"), soak("name")])
def test_a_restart_holds_it_again_and_repeats_none(make, kafka, database, wal, prefix, capture, name, end):
    kind = KINDS[name]
    one, seq, bad, good = hold(make, kafka, database, prefix, capture, kind)
    wait_held(one, 8)
    eventually(lambda: database.scalar(UNPUBLISHED) == 8, what="the others are marked")
    if capture == "wal":
        eventually(lambda: database.scalar("SELECT waiting FROM outbox.position"), what="the position says that rows wait")
        wal.wait_confirmed()
    for turn in range(2):
        (one.stop if end == "stop" else one.kill)()
        insert(database, kind.aggregate, range(11 + 5 * turn, 16 + 5 * turn))
        insert(database, "good", [121 + turn])
        one.start(wait_ready=False)
        wait_held(one, 13 + 5 * turn)
        assert f"seq {seq}," in one.wait_not_ready(kind.code)
        eventually(lambda turn=turn: database.scalar(UNPUBLISHED) == 13 + 5 * turn, what="the others are marked")
    (one.stop if end == "stop" else one.kill)()
    database.execute(f"UPDATE outbox.event SET {kind.update} WHERE {'aggregate_type = %s' if kind.waits_for else 'seq = %s'}",
                     (kind.aggregate if kind.waits_for else seq,))
    one.start(wait_ready=False)
    all_marked(database, one)
    extra = [1, 2, 3]
    found = numbers(kafka, bad)
    assert found == ([] if kind.waits_for else extra) + [0, *range(4, 21)], found
    assert_exact(kafka, good, (extra if kind.waits_for else []) + list(range(101, 123)))
    assert_over(one)


@both
def test_a_configuration_that_sets_it_aside_lets_the_others_go(make, kafka, database, prefix, capture):
    one, _, bad, _ = hold(make, kafka, database, prefix, capture, KINDS["headers"])
    wait_held(one, 8)
    one.stop()
    two = make(capture, {"on_poison": "dead_letter"}).start()
    all_marked(database, two)
    assert numbers(kafka, bad) == list(range(1, 11)) and database.scalar(LETTERS) == 1
    two.wait_ready()


@both
def test_of_two_in_one_topic_the_first_is_named_then_the_other(make, kafka, database, prefix, capture):
    one, first, bad, _ = hold(make, kafka, database, prefix, capture, KINDS["headers"])
    second = insert(database, "bad", [50], headers=MANY)
    insert(database, "bad", range(51, 60))
    wait_held(one, 18)
    assert f"seq {first}," in one.wait_not_ready("HEADERS_INVALID") and one.metric("held_rows") == 1
    database.execute("UPDATE outbox.event SET headers = '{}' WHERE seq = %s", (first,))
    assert f"seq {second}," in one.wait_not_ready(f"seq {second},", 30)
    eventually(lambda: numbers(kafka, bad) == [1, 2, 3, 0, *range(4, 11)], 30, lambda: f"up to the second, {numbers(kafka, bad)}\n{one.log_tail()}")
    wait_held(one, 10)
    database.execute("DELETE FROM outbox.event WHERE seq = %s", (second,))
    all_marked(database, one)
    assert numbers(kafka, bad) == [1, 2, 3, 0, *range(4, 11), *range(51, 60)]
    assert_over(one)


@both
@pytest.mark.slow
@pytest.mark.parametrize("removed", [False, True])
def test_a_reread_that_takes_long_ends_no_hold(make, kafka, database, prefix, capture, removed):
    """It is tried while somebody keeps all readers out: that it does not come for long says nothing about it."""
    one, seq, bad, _ = hold(make, kafka, database, prefix, capture, KINDS["headers"])
    wait_held(one, 8)
    eventually(lambda: database.scalar(UNPUBLISHED) == 8, what="the others are marked")
    connection = database.connect(autocommit=False, user=OWNER)
    with connection, connection.cursor() as cursor:
        if removed:
            cursor.execute("DELETE FROM outbox.event WHERE seq = %s", (seq,))
        cursor.execute("LOCK TABLE outbox.event IN ACCESS EXCLUSIVE MODE")
        eventually(lambda: one.metric("waiting_events") == 0, 30, lambda: "it is tried\n" + one.log_tail())
        stays_true(lambda: one.metric("held_rows") == 1, 14.0, lambda: "it is held\n" + one.log_tail(), interval=0.2)
    connection.close()
    if removed:
        all_marked(database, one)
        assert numbers(kafka, bad) == list(range(1, 11))
        assert_over(one)
        assert len(one.log_lines("HELD_ROW_MENDED")) == 1, one.log_tail()
        return
    wait_held(one, 8)
    assert one.metric("held_rows") == 1
    assert len(one.log_lines("warn.*code=HEADERS_INVALID.*all others are published")) == 1 and not one.log_lines("HELD_ROW_MENDED"), one.log_tail()


@both
def test_a_thousand_events_wait_behind_it_and_leave_memory(make, kafka, database, prefix, capture):
    one, seq, bad, good = hold(make, kafka, database, prefix, capture, KINDS["headers"], pipeline={"in_flight_events": 200, "batch_events": 50})
    database.execute("SELECT outbox.emit('order.placed', a, (n % 5)::text, jsonb_build_object('n', n)) FROM generate_series(1001, 2000) n, "
                     "unnest(array['bad', 'good']) a ORDER BY n", user=OWNER)
    wait_held(one, 1008)
    eventually(lambda: database.scalar(UNPUBLISHED) == 1008, 30, "the others are marked")
    assert_exact(kafka, good, [*range(101, 121), *range(1001, 2001)])
    assert one.metric("inflight_events") == 0
    database.execute("UPDATE outbox.event SET headers = NULL WHERE seq = %s", (seq,))
    all_marked(database, one)
    assert numbers(kafka, bad) == [1, 2, 3, 0, *range(4, 11), *range(1001, 2001)]
    assert_over(one)


@both
def test_in_a_burst_of_three_topics_order_holds_and_nothing_is_lost(make, kafka, database, prefix, capture):
    topics = [kafka.create_topic(f"{prefix}.{name}", partitions=2) for name in ("one", "two", "three")]
    bad = [700, 2500, 4001]
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload, headers) SELECT 'order.placed', "
                     "(array['one', 'two', 'three'])[n %% 3 + 1], (n %% 7)::text, jsonb_build_object('n', n), "
                     "CASE WHEN n = ANY(%s) THEN %s::jsonb END FROM generate_series(0, 4999) n ORDER BY n", (bad, MANY))
    one = make(capture, {"in_flight_events": 500, "batch_events": 100}).start(wait_ready=False)
    one.wait_not_ready("HEADERS_INVALID")
    held = [n for n in range(5000) if any(n >= b and n % 3 == b % 3 for b in bad)]
    wait_held(one, len(held), 40)
    assert one.metric("held_rows") == 2, "700 and 2500 are of one topic, 4001 of another"
    eventually(lambda: database.scalar(UNPUBLISHED) == len(held), 30, "the others are marked")
    one.kill()
    database.execute("UPDATE outbox.event SET headers = NULL WHERE (payload->>'n')::int = ANY(%s)", (bad[:1],))
    one.start(wait_ready=False)
    eventually(lambda: one.metric("held_rows") == 2 and database.scalar(UNPUBLISHED) < len(held), 30, "the first was mended")
    database.execute("UPDATE outbox.event SET headers = NULL WHERE headers IS NOT NULL")
    all_marked(database, one, 60)
    for remainder, topic in enumerate(topics):
        assert_exact(kafka, topic, [n for n in range(5000) if n % 3 == remainder])
    assert_over(one)


@both
def test_an_unrouted_event_holds_its_aggregate_type(make, kafka, database, prefix, capture):
    topic = kafka.create_topic(f"{prefix}.order")
    one = make(capture, {"topic": "", "routes": [{"event_type": "order.*", "topic": topic}]}).start(wait_ready=False)
    seq = insert(database, "order", [1], event_type="unknown")
    insert(database, "order", [2])
    insert(database, "other", [3])
    reason = one.wait_not_ready("EVENT_UNROUTED")
    assert f"seq {seq}," in reason and "aggregate type order" in reason
    eventually(lambda: numbers(kafka, topic) == [3], 20, "those of another type go on")
    wait_held(one, 2)
    database.execute("UPDATE outbox.event SET event_type = 'order.known' WHERE seq = %s", (seq,))
    all_marked(database, one)
    assert numbers(kafka, topic) == [3, 1, 2]
    assert_over(one)


def test_what_is_kept_in_no_row_waits_in_memory_up_to_the_limit(make, kafka, database, prefix):
    kind = KINDS["size"]
    one, _, bad, good = hold(make, kafka, database, prefix, "wal", kind, pipeline={"on_publish": "keep", "in_flight_events": 60, "batch_events": 10})
    reason = one.wait_not_ready("RECORD_TOO_LARGE")
    assert "row is corrected" not in reason and "max.message.bytes" in reason
    eventually(lambda: len(numbers(kafka, good)) == 20, 30, lambda: f"the others go on, {numbers(kafka, good)} {one.status()['pipelines'][0]}")
    insert(database, "bad", range(11, 71))
    one.wait_not_ready("WAITING_EVENTS_FULL", 40)
    assert numbers(kafka, bad) == [1, 2, 3]
    kafka.alter_topic(bad, max_message_bytes=100000)
    eventually(lambda: len(numbers(kafka, bad)) == 71, 40, lambda: "they follow\n" + one.log_tail())
    assert numbers(kafka, bad) == [1, 2, 3, 0, *range(4, 71)]
    one.wait_ready(40)
    assert one.starts == 1


@pytest.mark.parametrize("end", [None, "kill"])
@pytest.mark.parametrize("gone", ["it", "one behind it"])
def test_wal_what_its_transaction_deleted_waits_in_memory(make, kafka, database, wal, prefix, gone, end):
    """Refused and in no row, or behind a refused one and in no row: it is in the log alone, and comes when it is mended."""
    kind = KINDS["size"]
    one, seq, bad, good = hold(make, kafka, database, prefix, "wal", KINDS["size"], before=3, behind=0) if gone == "one behind it" else \
        hold(make, kafka, database, prefix, "wal", Kind("RECORD_TOO_LARGE", {}, "", kind.topic), before=2, behind=0)
    deleted = {"aggregate_type": "bad", "aggregate_id": "1", "event_type": "order.placed", "payload": BIG if gone == "it" else json.dumps({"n": 4})}
    names, values = ", ".join(deleted), tuple(deleted.values())
    connection = database.connect(autocommit=False)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO outbox.event ({names}) VALUES (%s, %s, %s, %s) RETURNING seq", values)
        cursor.execute("DELETE FROM outbox.event WHERE seq = %s", cursor.fetchone())
    connection.close()
    insert(database, "bad", [5, 6], aggregate_id="1")
    insert(database, "good", [121])
    one.wait_log("EVENTS_WITHOUT_ROW")
    one.wait_not_ready("RECORD_TOO_LARGE")
    wait_held(one, 4 if gone == "one behind it" else 3)
    eventually(lambda: len(numbers(kafka, good)) == 21, 30, lambda: "the others go on\n" + one.log_tail())
    if end:
        one.kill()
        one.start(wait_ready=False)
        wait_held(one, 4 if gone == "one behind it" else 3)
    insert(database, "bad", [7], aggregate_id="1")
    kafka.alter_topic(bad, max_message_bytes=100000)
    all_marked(database, one)
    found = numbers(kafka, bad)
    assert found == ([1, 2, 3, 0, 4, 5, 6, 7] if gone == "one behind it" else [1, 2, 0, 0, 5, 6, 7]), found
    assert set(numbers(kafka, good)) == set(range(101, 122))
    if not end:
        assert_exact(kafka, good, range(101, 122))
    assert_over(one)
    wal.wait_confirmed()


# Dead letters that cannot be stored.

REFUSALS = {
    "right": ("REVOKE INSERT ON outbox.dead_letter FROM outbox_relay", "GRANT INSERT ON outbox.dead_letter TO outbox_relay"),
    "row security": ("ALTER TABLE outbox.dead_letter ENABLE ROW LEVEL SECURITY", "ALTER TABLE outbox.dead_letter DISABLE ROW LEVEL SECURITY"),
    "table": ("ALTER TABLE outbox.dead_letter RENAME TO elsewhere", "ALTER TABLE outbox.elsewhere RENAME TO dead_letter"),
    "check": ("ALTER TABLE outbox.dead_letter ADD CONSTRAINT mine CHECK (pipeline = 'other') NOT VALID",
              "ALTER TABLE outbox.dead_letter DROP CONSTRAINT mine"),
    "trigger": ("CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$; "
                "CREATE TRIGGER no BEFORE INSERT ON outbox.dead_letter FOR EACH ROW EXECUTE FUNCTION public.no()",
                "DROP TRIGGER no ON outbox.dead_letter"),
    "lock": ("CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE lock_not_available; END $$; "
             "CREATE TRIGGER no BEFORE INSERT ON outbox.dead_letter FOR EACH ROW EXECUTE FUNCTION public.no()",
             "DROP TRIGGER no ON outbox.dead_letter"),
    "swallowed": ("CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
                  "CREATE TRIGGER no BEFORE INSERT ON outbox.dead_letter FOR EACH ROW EXECUTE FUNCTION public.no()",
                  "DROP TRIGGER no ON outbox.dead_letter"),
    "rule": ("CREATE RULE no AS ON INSERT TO outbox.dead_letter DO INSTEAD NOTHING", "DROP RULE no ON outbox.dead_letter"),
}


# The two that PostgreSQL says least about by both captures, the others by one.
QUICK = (("right", "poll"), ("trigger", "wal"), *((how, capture) for how in ("row security", "swallowed") for capture in ("poll", "wal")))


@pytest.mark.slow
@pytest.mark.parametrize("how, capture", [(pytest.param if (how, capture) in QUICK else soak)(how, capture, id=f"{how}-{capture}")
                                          for how in REFUSALS for capture in ("poll", "wal")])
def test_a_dead_letter_that_cannot_be_stored_holds_its_topic(make, kafka, database, prefix, capture, how):
    refuse, mend = REFUSALS[how]
    good, bad = kafka.create_topic(f"{prefix}.good"), kafka.create_topic(f"{prefix}.bad")
    one = make(capture, {"on_poison": "dead_letter"}).start()
    database.execute(refuse)
    seq = insert(database, "bad", [0], headers=MANY)
    reason = one.wait_not_ready("DEAD_LETTER_REFUSED")
    assert f"seq {seq}," in reason and "dead_letter" in reason and bad in reason
    insert(database, "bad", range(1, 6))
    insert(database, "good", range(101, 121))
    eventually(lambda: len(numbers(kafka, good)) == 20, 30, lambda: "the others go on\n" + one.log_tail())
    wait_held(one, 6)
    stays_true(lambda: numbers(kafka, bad) == [] and one.running(), 6.0, "it is tried again, and what is behind it waits", interval=0.5)
    database.execute(mend)
    all_marked(database, one, 60)
    assert numbers(kafka, bad) == list(range(1, 6)) and database.scalar(LETTERS) == 1
    assert_over(one)
    assert one.starts == 1 and outboxd("dead", "list", "-c", one.config_path, expect=0).stdout.count("HEADERS_INVALID") == 1
