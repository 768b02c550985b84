"""A topic that is missing, denied or retired stops its own events and no others, by both captures.

The waiting events leave memory and wait in their rows; when the topic is there they follow in order, nothing is lost and nothing
comes twice.
"""

import threading

import pytest

from conftest import CAPTURES, soak
from support.common import eventually, stays_true
from support.consume import headers_of, read_topics, wait_for_records

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"

both = pytest.mark.parametrize("capture", ["poll", "wal"])


@pytest.fixture
def make(relay, wal):
    """make(capture, {options}, ...) -> Relay."""
    return lambda capture, pipeline=None, **more: relay({**CAPTURES[capture], **(pipeline or {})}, **more)


def emit(database, aggregate, count, keys=5):
    """`count` events of each aggregate type given, by turns, each in a transaction of its own; the value is a number that ascends
    per aggregate type."""
    database.execute("CREATE TABLE IF NOT EXISTS public.drawn (aggregate text PRIMARY KEY, n int NOT NULL)")
    connection = database.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE PROCEDURE public.emit_some(types text[], many int, keys int) LANGUAGE plpgsql AS $$"
                " DECLARE t text; v int; BEGIN FOR i IN 1 .. many LOOP FOREACH t IN ARRAY types LOOP"
                " INSERT INTO public.drawn VALUES (t, 1) ON CONFLICT (aggregate) DO UPDATE SET n = drawn.n + 1 RETURNING n INTO v;"
                " PERFORM outbox.emit('order.placed', t, (v % keys)::text, to_jsonb(v)); COMMIT; END LOOP; END LOOP; END $$")
            cursor.execute("CALL public.emit_some(%s, %s, %s)", ([aggregate] if isinstance(aggregate, str) else aggregate, count, keys))
    finally:
        connection.close()


def numbers(records):
    return [int(r.value) for r in records]


def assert_exact(kafka, topic, count):
    """1 .. count, each once, those of a key in order."""
    records = read_topics(kafka.brokers, topic)
    assert sorted(numbers(records)) == list(range(1, count + 1)), f"{topic}: {len(records)} records, {count} events"
    last = {}
    for record in records:
        assert int(record.value) > last.get(record.key, 0), f"{topic}: key {record.key} went back to {record.value}"
        last[record.key] = int(record.value)
    assert len({headers_of(r)["ce_id"] for r in records}) == count


def wait_waiting(one, count, timeout=20):
    eventually(lambda: one.metric("waiting_events") == count, timeout,
               lambda: f"{count} events wait, have {one.metric('waiting_events')}\n{one.log_tail()}")


def all_marked(database, timeout=20):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked, left {database.scalar(UNPUBLISHED)}")


@both
def test_one_missing_topic_of_three_leaves_the_others_at_their_pace(make, kafka, database, prefix, capture):
    there, third, missing = (f"{prefix}.{name}" for name in ("there", "third", "missing"))
    kafka.create_topic(there, partitions=2), kafka.create_topic(third)
    one = make(capture, {"in_flight_events": 500, "batch_events": 100}).start()
    writer = threading.Thread(target=emit, args=(database, ["there", "missing", "third"], 1500))
    writer.start()
    one.wait_not_ready(missing)
    writer.join()
    one.wait_published(3000, 40)
    assert_exact(kafka, there, 1500)
    assert_exact(kafka, third, 1500)
    wait_waiting(one, 1500)
    assert one.metric("inflight_events") == 0, "they leave memory"
    assert one.metric("topic_waiting_events", topic=missing) == 1500 and one.metric("waiting_topics") == 1
    assert database.scalar(UNPUBLISHED) == 1500
    ok, reason = one.ready()
    assert not ok and "KAFKA_TOPIC_UNKNOWN" in reason and "outboxd check --create-topics" in reason and "all others are published" in reason
    waiting = one.status()["pipelines"][0]["waiting"]
    assert (waiting["events"], waiting["topics"], waiting["topic"], waiting["code"]) == (1500, 1, missing, "KAFKA_TOPIC_UNKNOWN")
    assert one.status()["pipelines"][0]["state"] == "running" and one.status()["pipelines"][0]["error"] is None
    assert len(one.log_lines(f"KAFKA_TOPIC_UNKNOWN.*{missing}")) == 1, "said once"
    kafka.create_topic(missing, partitions=2)
    one.wait_published(4500, 40)
    for topic in (there, third, missing):
        assert_exact(kafka, topic, 1500)
    all_marked(database)
    one.wait_ready()
    assert one.metric("waiting_events") == 0 and not one.metrics().has("outboxd_topic_waiting_events")
    assert "events=1500" in one.wait_log("TOPIC_READY")[0]


@both
def test_a_topic_that_is_made_while_its_events_come_gets_them_in_order(make, kafka, database, prefix, capture):
    there, late = kafka.create_topic(f"{prefix}.there"), f"{prefix}.late"
    one = make(capture, {"in_flight_events": 300, "batch_events": 50}).start()
    emit(database, ["late", "there"], 300)
    wait_waiting(one, 300)
    writer = threading.Thread(target=emit, args=(database, ["late", "there"], 1200))
    writer.start()
    kafka.create_topic(late, partitions=2)
    writer.join()
    one.wait_published(3000, 40)
    assert_exact(kafka, late, 1500)
    assert_exact(kafka, there, 1500)
    all_marked(database)


@both
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_while_they_wait_loses_and_repeats_none(make, kafka, database, wal, prefix, capture, end):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = make(capture, {"in_flight_events": 400, "batch_events": 100}).start()
    emit(database, ["there", "missing"], 1000)
    wait_waiting(one, 1000)
    eventually(lambda: database.scalar(UNPUBLISHED) == 1000, what="the others are marked")
    if capture == "wal":
        eventually(lambda: database.scalar("SELECT waiting FROM outbox.position"), what="the position says that rows wait")
        wal.wait_confirmed()
    (one.stop if end == "stop" else one.kill)()
    emit(database, ["there", "missing"], 100)
    one.start(wait_ready=False)
    wait_waiting(one, 1100)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 1100, 30, "the others go on")
    assert_exact(kafka, there, 1100)
    eventually(lambda: database.scalar(UNPUBLISHED) == 1100, what="the others are marked, so that a kill repeats none of them")
    if capture == "wal":
        wal.wait_confirmed()
    (one.stop if end == "stop" else one.kill)()
    kafka.create_topic(missing)
    one.start(wait_ready=False)
    eventually(lambda: len(read_topics(kafka.brokers, missing)) >= 1100, 30, lambda: "they follow\n" + one.log_tail())
    all_marked(database)
    for topic in (there, missing):
        assert_exact(kafka, topic, 1100)
    if capture == "wal":
        eventually(lambda: not database.scalar("SELECT waiting FROM outbox.position"), what="nothing waits any more")
    one.wait_ready()


@both
def test_postgresql_goes_away_while_they_wait(make, kafka, database, prefix, capture):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = make(capture).start()
    emit(database, ["there", "missing"], 500)
    wait_waiting(one, 500)
    for _ in range(3):
        assert database.terminate_backends() >= 1
        emit(database, ["there", "missing"], 100)
        eventually(lambda: one.metric("waiting_events") == database.scalar("SELECT n FROM drawn WHERE aggregate = 'missing'"),
                   30, lambda: f"all of them wait, {one.metric('waiting_events')}\n{one.log_tail()}")
    kafka.create_topic(missing)
    one.wait_published(1600, 30)
    for topic in (there, missing):
        assert_exact(kafka, topic, 800)
    all_marked(database)
    one.wait_ready()


@both
@pytest.mark.parametrize("operations", [(), ("DESCRIBE",)], ids=["unseen", "unwritable"])
def test_a_denied_topic_waits_until_it_is_granted(make, kafka, database, prefix, capture, operations):
    """Without DESCRIBE the look-up tells; with it only a record that is refused does."""
    there, denied = kafka.create_topic(f"{prefix}.there"), kafka.create_topic(f"{prefix}.denied")
    kafka.grant("relay", there, "WRITE", "DESCRIBE")
    if operations:
        kafka.grant("relay", denied, *operations)
    one = make(capture, brokers=kafka.sasl_brokers, kafka={"properties": kafka.sasl_properties("relay")}).start(wait_ready=False)
    emit(database, ["there", "denied"], 300)
    assert "KAFKA_TOPIC_DENIED" in one.wait_not_ready(denied)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 300, 30, lambda: "the others go on\n" + one.log_tail())
    assert_exact(kafka, there, 300)
    wait_waiting(one, 300)
    kafka.grant("relay", denied, "WRITE", "DESCRIBE")
    eventually(lambda: len(read_topics(kafka.brokers, denied)) >= 300, 60, lambda: "they follow\n" + one.log_tail())
    for topic in (there, denied):
        assert_exact(kafka, topic, 300)
    all_marked(database)
    one.wait_ready(30)
    assert database.scalar("SELECT count(*) FROM outbox.dead_letter") == 0


@pytest.mark.own_broker
@both
def test_a_retired_topic_keeps_nobody_waiting_when_the_broker_restarts(make, kafka, database, prefix, capture):
    there, retired = kafka.create_topic(f"{prefix}.there"), kafka.create_topic(f"{prefix}.retired")
    one = make(capture).start()
    emit(database, ["there", "retired"], 20)
    one.wait_published(40)
    kafka.delete_topic(retired)
    kafka.kill()
    emit(database, "there", 30)
    kafka.start()
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 50, 60, lambda: "the others go on\n" + one.log_tail())
    all_marked(database, 30)
    one.wait_ready(30)
    assert one.metric("waiting_events") == 0
    emit(database, ["there", "retired"], 10)
    one.wait_not_ready(retired)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 60, 30, "the others go on")


@both
def test_a_topic_deleted_under_load_and_made_again_loses_nothing(make, kafka, database, prefix, capture):
    there, gone = kafka.create_topic(f"{prefix}.there"), kafka.create_topic(f"{prefix}.gone")
    one = make(capture, {"in_flight_events": 300, "batch_events": 50}).start()
    emit(database, ["there", "gone"], 100)
    one.wait_published(200)
    writer = threading.Thread(target=emit, args=(database, ["there", "gone"], 1400))
    writer.start()
    kafka.delete_topic(gone)
    writer.join()
    eventually(lambda: one.metric("waiting_events") > 0, 30, lambda: "events wait\n" + one.log_tail())
    eventually(lambda: one.metric("waiting_events") == database.scalar(UNPUBLISHED), 40,
               lambda: f"the others are published\n{one.log_tail()}")
    waited = int(one.metric("waiting_events"))
    kafka.create_topic(gone)
    all_marked(database, 40)
    assert_exact(kafka, there, 1500)
    after = numbers(read_topics(kafka.brokers, gone))
    assert len(after) == len(set(after)) and set(after) >= set(range(1501 - waited, 1501)), "all that was not delivered before"


@both
def test_dead_letters_by_policy_only_after_a_minute(make, kafka, database, prefix, capture):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = make(capture, {"on_missing_topic": "dead_letter"}).start()
    emit(database, ["there", "missing"], 20)
    wait_waiting(one, 20)
    stays_true(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 0, 2.0, "a hiccup makes no dead letter")
    one.kill()
    one.start(wait_ready=False, env={"OUTBOXD_FAILPOINTS": "topic_missing:1:error"})  # the minute is over
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 20, 30, lambda: "set aside\n" + one.log_tail())
    emit(database, ["there", "missing"], 5)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 25, 30, "later ones at once")
    all_marked(database)
    letters = database.query("SELECT topic, error_code, event_id FROM outbox.dead_letter ORDER BY id")
    assert {row[:2] for row in letters} == {(missing, "KAFKA_TOPIC_UNKNOWN")} and len({row[2] for row in letters}) == 25
    assert_exact(kafka, there, 25)
    one.wait_ready()
    kafka.create_topic(missing)
    eventually(lambda: one.metric("topic_partitions", topic=missing) == 1, 70, "the topic was found")
    emit(database, "missing", 3)
    assert numbers(wait_for_records(kafka.brokers, missing, 3)) == [26, 27, 28]


@pytest.mark.soak
@both
def test_dead_letters_when_the_brokers_have_said_so_for_a_minute(make, kafka, database, prefix, capture):
    one = make(capture, {"on_missing_topic": "dead_letter"}).start()
    emit(database, "missing", 3)
    wait_waiting(one, 3)
    stays_true(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 0, 50.0, "not before", interval=1)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 3, 40, lambda: "then they are\n" + one.log_tail())


@pytest.mark.slow
@pytest.mark.parametrize("capture", ["poll", soak("wal")])
def test_more_topics_than_the_bound_wait_and_the_others_go_on(make, kafka, database, prefix, capture):
    there = kafka.create_topic(f"{prefix}.there")
    one = make(capture).start()
    emit(database, "there", 1)
    one.wait_published(1)
    database.execute("SELECT outbox.emit('order.placed', 'kind-' || n, '1', '{}') FROM generate_series(1, 2010) n")
    emit(database, "there", 20)
    one.wait_published(21, 60)
    wait_waiting(one, 2010, 60)
    assert one.running() and one.metric("waiting_topics") == 2000, "1999 missing ones, and the stand-in of the others"
    assert one.log_lines("TOPICS_TOO_MANY"), one.log_tail()
    assert_exact(kafka, there, 21)
    assert one.memory_kb() < 120 * 1024 or one.instrumented()


@pytest.mark.parametrize("slot", ["fits", "gone"])
def test_wal_new_slot_while_events_wait_loses_and_repeats_none(make, kafka, database, wal, prefix, slot):
    """A slot that fits stays; one that is gone is made again. Either way the table tells what waits."""
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = make("wal").start()
    emit(database, ["there", "missing"], 300)
    wait_waiting(one, 300)
    eventually(lambda: database.scalar(UNPUBLISHED) == 300, what="the others are marked")
    eventually(lambda: database.scalar("SELECT waiting FROM outbox.position"), what="the position says that rows wait")
    wal.wait_confirmed()
    one.stop()
    emit(database, ["there", "missing"], 50)
    if slot == "gone":
        wal.drop_slot()
    two = make("wal", args=["--new-slot"]).start(wait_ready=False)
    wait_waiting(two, 350)
    two.wait_log("NEW_SLOT_NOT_NEEDED" if slot == "fits" else "GAP_ACCEPTED")
    emit(database, ["there", "missing"], 50)
    wait_waiting(two, 400)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 400, 30, lambda: "the others go on\n" + two.log_tail())
    kafka.create_topic(missing)
    all_marked(database, 40)
    for topic in (there, missing):
        assert_exact(kafka, topic, 400)
    wal.wait_confirmed()
    two.wait_ready()


def emit_listened(database, aggregates, count, own=2):
    """As emit(), but of the first aggregate type every `own`-th row is deleted by the transaction that wrote it."""
    database.execute("CREATE TABLE IF NOT EXISTS public.drawn (aggregate text PRIMARY KEY, n int NOT NULL)")
    connection = database.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE PROCEDURE public.emit_listened(types text[], many int, own int) LANGUAGE plpgsql AS $$"
                " DECLARE t text; v int; BEGIN FOR i IN 1 .. many LOOP FOREACH t IN ARRAY types LOOP"
                " INSERT INTO public.drawn VALUES (t, 1) ON CONFLICT (aggregate) DO UPDATE SET n = drawn.n + 1 RETURNING n INTO v;"
                " PERFORM outbox.emit('order.placed', t, (v % 5)::text, to_jsonb(v));"
                " IF t = types[1] AND v % own = 0 THEN DELETE FROM outbox.event WHERE seq = (SELECT max(seq) FROM outbox.event); END IF;"
                " COMMIT; END LOOP; END LOOP; END $$")
            cursor.execute("CALL public.emit_listened(%s, %s, %s)", (aggregates, count, own))
    finally:
        connection.close()


def follows(one):
    eventually(lambda: one.status()["pipelines"][0]["slot"]["active"], 30, lambda: "it reads the WAL\n" + one.log_tail())
    return one


def assert_all_in_order(kafka, topic, count, twice):
    """1 .. count, those of a key in order of their first arrival; each once, unless `twice` is allowed."""
    if not twice:
        assert_exact(kafka, topic, count)
        return
    seen, last = set(), {}
    for record in read_topics(kafka.brokers, topic):
        n = int(record.value)
        assert n in seen or n > last.get(record.key, 0), f"{topic}: key {record.key} went back to {n}"
        seen.add(n)
        last[record.key] = max(n, last.get(record.key, 0))
    assert seen == set(range(1, count + 1)), f"{topic}: lost {sorted(set(range(1, count + 1)) - seen)}"


@pytest.mark.parametrize("end", [None, "stop", "kill"])
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_wal_events_whose_transaction_deleted_their_row_wait_in_memory(make, kafka, database, wal, prefix, on_publish, end):
    """Such an event is in the log alone: the position stays before it, whatever happens before its topic is there."""
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = follows(make("wal", {"on_publish": on_publish, "in_flight_events": 1000, "batch_events": 50}).start())
    emit_listened(database, ["missing", "there"], 60)
    assert missing in one.wait_not_ready(missing)
    one.wait_log("EVENTS_WITHOUT_ROW")
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 60, 30, lambda: "the others go on\n" + one.log_tail())
    wait_waiting(one, 60)
    emit_listened(database, ["missing", "there"], 60)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 120, 30, lambda: "the others go on\n" + one.log_tail())
    wait_waiting(one, 120)
    assert_exact(kafka, there, 120)
    assert not one.log_lines("SOURCE_LOST|PIPELINE_RECOVERED"), one.log_tail()
    if end:
        (one.stop if end == "stop" else one.kill)()
        emit_listened(database, ["missing", "there"], 20)
        one.start(wait_ready=False)
        wait_waiting(one, 140, 40)
        eventually(lambda: len(set(numbers(read_topics(kafka.brokers, there)))) == 140, 30, lambda: "the others go on\n" + one.log_tail())
        (one.stop if end == "stop" else one.kill)()
        one.start(wait_ready=False)
        wait_waiting(one, 140, 40)
    count = 140 if end else 120
    kafka.create_topic(missing)
    eventually(lambda: len(set(numbers(read_topics(kafka.brokers, missing)))) == count, 40, lambda: "they follow\n" + one.log_tail())
    one.wait_ready(40)
    if on_publish == "mark":
        all_marked(database)
    else:
        eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 0, 30, lambda: "all deleted\n" + one.log_tail())
    wal.wait_confirmed()
    assert_exact(kafka, missing, count)
    assert_all_in_order(kafka, there, count, twice=end is not None)


def test_wal_rows_that_somebody_deletes_while_they_wait_are_given_up(make, kafka, database, wal, prefix):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = follows(make("wal").start())
    emit(database, ["missing", "there"], 20)
    wait_waiting(one, 20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 20, what="the others are marked")
    wal.wait_confirmed()
    database.execute("DELETE FROM outbox.event WHERE published_at IS NULL AND (payload #>> '{}')::int <= 10")
    emit(database, ["missing", "there"], 10)
    wait_waiting(one, 30)
    kafka.create_topic(missing)
    all_marked(database)
    assert numbers(read_topics(kafka.brokers, missing)) == list(range(11, 31))
    assert_exact(kafka, there, 30)
    assert not one.log_lines("EVENTS_WITHOUT_ROW")
    one.wait_ready()


def test_wal_events_without_a_row_that_fill_the_window_are_said(make, kafka, database, prefix):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = follows(make("wal", {"in_flight_events": 100, "batch_events": 20}).start())
    emit_listened(database, ["missing", "there"], 300, own=1)
    assert missing in one.wait_not_ready("WAITING_EVENTS_FULL", 40)
    assert one.metric("inflight_events") <= 100 and one.metric("waiting_events") <= 100
    kafka.create_topic(missing)
    eventually(lambda: len(read_topics(kafka.brokers, missing)) >= 300, 60, lambda: "they follow\n" + one.log_tail())
    all_marked(database, 40)
    for topic in (there, missing):
        assert_exact(kafka, topic, 300)
    one.wait_ready(40)


def test_kept_rows_wait_in_memory_and_that_is_said_when_it_is_full(wal_relay, kafka, database, prefix):
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    one = wal_relay({"on_publish": "keep", "in_flight_events": 100, "batch_events": 20}).start()
    emit(database, ["there", "missing"], 20)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 20, 20, "the others go on while there is room")
    emit(database, ["there", "missing"], 200)
    reason = one.wait_not_ready("WAITING_EVENTS_FULL")
    assert missing in reason
    assert one.metric("inflight_events") <= 100
    kafka.create_topic(missing)
    eventually(lambda: len(read_topics(kafka.brokers, missing)) >= 220, 30, "they follow")
    for topic in (there, missing):
        assert_exact(kafka, topic, 220)
    one.wait_ready()


def test_kept_rows_from_before_the_slot_that_wait_hold_up_the_log_and_that_is_said(wal_relay, kafka, database, prefix):
    """How far the rows from before the slot are published is one number, so the log begins behind the last of them."""
    there, missing = kafka.create_topic(f"{prefix}.there"), f"{prefix}.missing"
    emit(database, ["there", "missing"], 5)
    one = wal_relay({"on_publish": "keep"}).start(wait_ready=False)
    eventually(lambda: len(read_topics(kafka.brokers, there)) >= 5, 30, lambda: "the others go on\n" + one.log_tail())
    emit(database, ["there", "missing"], 5)
    reason = one.wait_not_ready("WAITING_EVENTS_FULL")
    assert missing in reason and "before the WAL that follows" in reason and "all others are published" not in reason
    assert one.status()["pipelines"][0]["state"] == "stalled"
    kafka.create_topic(missing)
    eventually(lambda: len(read_topics(kafka.brokers, missing)) >= 10, 30, lambda: "they follow\n" + one.log_tail())
    for topic in (there, missing):
        assert_exact(kafka, topic, 10)
    one.wait_ready()


@pytest.mark.parametrize("sooner", [True, soak(False)], ids=["before an event is called poison", "within a minute"])
def test_more_partitions_than_before_are_said(poll_relay, kafka, database, prefix, sooner):
    from confluent_kafka.admin import NewPartitions
    topic = kafka.create_topic(f"{prefix}.order", partitions=3, config={"max.message.bytes": "3000"})
    one = poll_relay({"on_poison": "dead_letter"}).start()
    emit(database, "order", 1)
    one.wait_published(1)
    assert one.metric("topic_partitions", topic=topic) == 3
    kafka.admin().create_partitions([NewPartitions(topic, 12)])[topic].result(15)
    if sooner:
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', to_jsonb(repeat('x', 5000)))")
    line = one.wait_log(f"PARTITIONS_CHANGED.*{topic}", 75)[0]
    assert "was=3" in line and "is=12" in line
    assert one.metric("topic_partitions", topic=topic) == 12
