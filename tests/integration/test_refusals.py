"""What a topic or its broker does not accept: known beforehand, it never leaves; else the refused request is taken apart, and no event
overtakes another of its key. By poll and from the WAL."""

import json

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import APP
from support.relay import outboxd
from support.trial import Trial

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
ASIDE = "SELECT count(*) FROM outbox.dead_letter"
DEAD = {"on_poison": "dead_letter"}


def backlog(database, count, bad, sql="NULL", keys=50):
    """`count` events in one transaction, on keys in turn; those whose number is in `bad` get the key `sql` and are set aside.

    The trial knows the others."""
    trial = Trial(database)
    rows = database.execute(
        f"SELECT CASE WHEN n = ANY(%s) THEN NULL ELSE (n %% %s)::text END, outbox.emit('order.placed', 'order', "
        f"CASE WHEN n = ANY(%s) THEN {sql} ELSE (n %% %s)::text END, jsonb_build_object('n', n))::text "
        "FROM generate_series(1, %s) n ORDER BY n", (bad, keys, bad, keys, count), user=APP)
    trial.expect([row for row in rows if row[0] is not None])
    return trial


def finished(database, aside, one, timeout=60):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0 and database.scalar(ASIDE) == aside, timeout,
               lambda: f"{aside} set aside, have {database.scalar(ASIDE)}; unpublished {database.scalar(UNPUBLISHED)}\n{one.log_tail()}")


def test_records_without_key_never_leave_for_a_compacted_topic(captured, kafka, database, prefix):
    """Trial 1.9: a backlog with 1 in 997 without key."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3, config={"cleanup.policy": "compact"})
    bad = list(range(5, 6000, 997))
    trial = backlog(database, 6000, bad)
    one = captured(DEAD).start()
    finished(database, len(bad), one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert one.metric("refused_requests_total") == 0 and one.metric("rewinds_total") == 0
    assert one.metric("events_overtaken_total") == 0
    assert {row[0] for row in database.query("SELECT DISTINCT reason FROM outbox.dead_letter")} != set()
    assert one.log_lines("RECORD_KEY_MISSING")


@pytest.mark.parametrize("config, sql", [
    ({"cleanup.policy": "compact"}, "NULL"),
    ({"max.message.bytes": "40000"}, "repeat(md5(n::text), 1500)"),
], ids=["no_key", "size"])
def test_what_only_the_broker_knows_is_found_by_halves_and_nothing_overtakes(captured, kafka, database, prefix, config, sql):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3, config=config)
    bad = [3, 4, 2000, 2777, 5999]
    trial = backlog(database, 6000, bad, sql)
    properties = ["batch.size=35000"] if "max.message.bytes" in config else []
    one = captured(DEAD, kafka={"properties": properties}, env={"OUTBOXD_FAILPOINTS": "stale_limits:1:error"}).start(wait_ready=False)
    finished(database, len(bad), one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    refused = one.metric("refused_requests_total")
    assert len(bad) <= refused <= len(bad) * 14, f"{refused} refused requests: of at most 1,000 events, 10 halves and some"
    assert one.metric("events_overtaken_total") == 0 and one.metric("events_replayed_total") == 0
    assert one.metric("producer_recreated_total") == 0


def test_a_time_that_only_the_broker_refuses_is_replaced(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"message.timestamp.after.max.ms": "3600000"})
    one = captured(DEAD).start()
    trial = Trial(database, one)
    trial.emit(5)
    one.wait_published(5)
    kafka.alter_topic(topic, message_timestamp_after_max_ms=1000)
    rows = database.query("SELECT (n %% 3)::text, outbox.emit('order.placed', 'order', (n %% 3)::text, '{}', occurred_at => now() + "
                          "CASE WHEN n = 40 THEN interval '10 min' ELSE '0' END)::text FROM generate_series(1, 100) n ORDER BY n", ())
    trial.expect(rows)
    finished(database, 0, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert one.metric("timestamps_replaced_total") >= 1


def test_a_topic_that_sets_the_time_itself_gets_any_time(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={
        "message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "1000", "message.timestamp.after.max.ms": "1000"})
    for when in ("now() - interval '3 days'", "now() + interval '3 days'", "'1969-01-01'", "'0044-03-15 BC'"):
        database.execute(f"SELECT outbox.emit('order.placed', 'order', '1', '{{}}', occurred_at => {when})")
    one = relay(DEAD).start()
    assert len(wait_for_records(kafka.brokers, topic, 4)) == 4
    assert database.scalar(ASIDE) == 0 and one.metric("refused_requests_total") == 0


def test_times_that_no_topic_takes_are_replaced(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"retention.ms": "-1"})
    for when in ("'1969-12-31 23:59:59.9Z'", "'0044-03-15 BC'", "'294276-12-31'", "'1970-01-01 00:00:00Z'"):
        database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload, occurred_at) "
                         f"VALUES ('order.placed', 'order', '1', '{{}}', {when})")
    one = relay(DEAD).start()
    assert len(wait_for_records(kafka.brokers, topic, 4)) == 4
    assert database.scalar(ASIDE) == 0 and one.metric("refused_requests_total") == 0


BIG = json.dumps("x" * 5000)


def test_a_raised_limit_is_followed_without_a_restart(captured, kafka, database, prefix):
    """Trial 1.17: the hint says to raise max.message.bytes, then requeue."""
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    one = captured(DEAD).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', 'big', %s)", (BIG,))
    finished(database, 1, one)
    kafka.alter_topic(topic, max_message_bytes=100000)
    outboxd("dead", "requeue", "-c", one.config_path, "--all", "--yes", expect=0)
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 1)] == [b"big"]
    finished(database, 0, one)
    kafka.alter_topic(topic, max_message_bytes=3000)
    database.execute("SELECT outbox.emit('order.placed', 'order', 'big again', %s)", (BIG,))
    finished(database, 1, one)
    kafka.alter_topic(topic, max_message_bytes=100000)
    database.execute("SELECT outbox.emit('order.placed', 'order', 'and again', %s)", (BIG,))
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"big", b"and again"]
    assert one.starts == 1


def test_a_topic_that_becomes_compacted_refuses_the_events_without_key_alone(captured, kafka, database, prefix):
    """The limits changed a moment ago: what is not known yet is found out, what was found out is known."""
    topic = kafka.create_topic(f"{prefix}.order", config={"cleanup.policy": "delete"})
    one = captured(DEAD).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', NULL, '{}')")
    one.wait_published(1)
    kafka.alter_topic(topic, cleanup_policy="compact")
    bad = [10, 500, 501, 1500]
    trial = backlog(database, 2000, bad)
    finished(database, len(bad), one)
    records = [r for r in read_topics(kafka.brokers, topic) if r.key is not None]
    trial.result(records).assert_none_lost()
    assert one.metric("events_overtaken_total") == 0
    assert len({headers_of(r)["ce_id"] for r in records}) == 2000 - len(bad)


def test_a_backlog_of_nothing_but_refused_events_is_set_aside_one_by_one(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"cleanup.policy": "compact"})
    trial = backlog(database, 60, list(range(1, 60)))
    one = relay(DEAD, env={"OUTBOXD_FAILPOINTS": "stale_limits:1:error"}).start(wait_ready=False)
    finished(database, 59, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


def test_a_refusal_that_holds_the_topic_names_the_event_and_sends_nothing_behind_it(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"cleanup.policy": "compact"})
    backlog(database, 500, [321], keys=1)
    one = captured(env={"OUTBOXD_FAILPOINTS": "stale_limits:1:error"}).start(wait_ready=False)
    assert "seq 321," in one.wait_not_ready("RECORD_REFUSED", 30)
    eventually(lambda: one.metric("waiting_events") == 180 and database.scalar(UNPUBLISHED) == 180, 30, lambda: one.log_tail())
    assert [json.loads(r.value)["n"] for r in read_topics(kafka.brokers, topic)] == list(range(1, 321))
    assert database.scalar(UNPUBLISHED) == 500 - 320
