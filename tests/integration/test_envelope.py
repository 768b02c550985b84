"""What a row becomes on Kafka: key, value, headers, timestamp, partition."""

import datetime
import json

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import APP
from support.verify import parse_time, partition_of, to_ms

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def emit(database, *args, **named):
    """outbox.emit as the application calls it; the event id."""
    names = "".join(f", {k} => %({k})s" for k in named)
    for n, value in enumerate(args):
        named[f"a{n}"] = value
    places = ", ".join(f"%(a{n})s" for n in range(len(args)))
    return str(database.scalar(f"SELECT outbox.emit({places}{names})", named, user=APP))


@pytest.fixture
def first(relay, kafka, database, prefix):
    """first(emit arguments, pipeline={...}) -> (event id, the one record that arrives at <prefix>.order)."""
    def run(*args, pipeline=None, **named):
        kafka.create_topic(f"{prefix}.order")
        event_id = emit(database, *args, **named)
        relay(pipeline).start()
        records = wait_for_records(kafka.brokers, f"{prefix}.order", 1)
        assert len(records) == 1
        return event_id, records[0]
    return run


def test_first_event_arrives_with_exactly_the_cloudevents_headers(first, database):
    at = datetime.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=datetime.timezone.utc)
    now = datetime.datetime.now(datetime.timezone.utc)
    at = (now - datetime.timedelta(hours=1)).replace(microsecond=789012)
    event_id, record = first("order.placed", "order", "17", '{"total": 42.50, "items": [{"sku": "tea", "qty": 2}], "note": "Grüße"}',
                             event_version=2, aggregate_version=5, correlation_id="checkout-17", causation_id="cart-17",
                             traceparent=TRACE, occurred_at=at, headers='{"tenant": "north"}')
    headers = headers_of(record)
    assert parse_time(headers.pop("ce_time")) == at
    assert headers == {
        "ce_specversion": "1.0", "ce_id": event_id, "ce_source": "/shop/orders", "ce_type": "order.placed", "ce_subject": "17",
        "content-type": "application/json", "ce_correlationid": "checkout-17", "ce_causationid": "cart-17",
        "ce_aggregatetype": "order", "ce_aggregateversion": "5", "ce_eventversion": "2", "traceparent": TRACE, "tenant": "north"}
    assert record.key == b"17"
    assert record.value == database.scalar("SELECT payload::text FROM outbox.event").encode()
    assert record.timestamp == to_ms(at)


def test_headers_that_are_unset_are_left_out(first):
    event_id, record = first("order.placed", "order", "17", "{}")
    assert set(headers_of(record)) == {
        "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "content-type", "ce_correlationid",
        "ce_aggregatetype", "ce_eventversion"}
    assert headers_of(record)["ce_correlationid"] == event_id, "an event without context begins its own correlation"


def test_plain_headers_carry_the_same_facts_under_plain_names(first):
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5)
    event_id, record = first("order.placed", "order", "17", "{}", event_version=2, aggregate_version=5, correlation_id="c-1",
                             causation_id="c-0", traceparent=TRACE, occurred_at=at, headers='{"tenant": "north"}',
                             pipeline={"headers": "plain"})
    headers = headers_of(record)
    assert parse_time(headers.pop("occurred_at")) == at
    assert headers == {"event_id": event_id, "event_type": "order.placed", "event_version": "2", "aggregate_type": "order",
                       "aggregate_id": "17", "aggregate_version": "5", "correlation_id": "c-1", "causation_id": "c-0",
                       "content_type": "application/json", "traceparent": TRACE, "tenant": "north"}


def test_null_payload_is_a_tombstone(first):
    _, record = first("order.erased", "order", "17", None)
    assert record.value is None and record.key == b"17"
    assert "content-type" not in headers_of(record), "there is no data to describe"


def test_jsonb_null_is_the_value_null(first):
    _, record = first("order.blank", "order", "17", "null")
    assert record.value == b"null"


def test_empty_payload_bytes_are_an_empty_value_and_no_tombstone(first):
    _, record = first("order.scanned", "order", "17", None, payload_bytes=b"")
    assert record.value == b""
    assert headers_of(record)["content-type"] == "application/octet-stream"


def test_payload_bytes_travel_untouched(first):
    every_byte = bytes(range(256)) * 3
    _, record = first("order.scanned", "order", "17", None, payload_bytes=every_byte, content_type="image/png")
    assert record.value == every_byte
    assert headers_of(record)["content-type"] == "image/png"


def test_value_is_what_postgresql_prints(first, database):
    text = '{"z": 1.10, "a": 12345678901234567890.123456789, "e": 1e-7, "u": "\\u00e9\\t\\"\\\\ 茶 😀", "z": 2.50, "n": null, "l": [1, [], {}]}'
    _, record = first("order.placed", "order", "17", text)
    printed = database.scalar("SELECT payload::text FROM outbox.event")
    assert record.value == printed.encode() and b"2.50" in record.value


def test_large_payload_arrives_whole(first, database):
    _, record = first("order.placed", "order", "17", json.dumps({"blob": "äx" * 250_000}, ensure_ascii=False))
    assert record.value == database.scalar("SELECT payload::text FROM outbox.event").encode()


def test_row_headers_keep_text_as_it_is_and_send_other_values_as_json(first):
    _, record = first("order.placed", "order", "17", "{}",
                      headers='{"tenant": "north \\"7\\" Ä", "retries": 3, "flag": true, "list": [1, 2], "empty": ""}')
    headers = headers_of(record)
    assert headers["tenant"] == 'north "7" Ä' and headers["empty"] == ""
    assert headers["retries"] == "3" and headers["flag"] == "true" and json.loads(headers["list"]) == [1, 2]


def test_correlation_and_causation_come_from_the_transactions_context(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    with database.connect(APP, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT outbox.set_context('checkout-9', 'command-9', %s)", (TRACE,))
        cursor.execute("SELECT outbox.emit('order.placed', 'order', 'in context', '{}')")
        cursor.execute("SELECT outbox.emit('order.placed', 'order', 'explicit', '{}', correlation_id => 'mine')")
        cursor.execute("SAVEPOINT s")
        cursor.execute("SELECT outbox.set_context('other', 'other', NULL)")
        cursor.execute("SELECT outbox.emit('order.placed', 'order', 'undone', '{}')")
        cursor.execute("ROLLBACK TO s")
        cursor.execute("SELECT outbox.emit('order.placed', 'order', 'after savepoint', '{}')")
        connection.commit()
        cursor.execute("SELECT outbox.emit('order.placed', 'order', 'next transaction', '{}')")
        connection.commit()
    relay().start()
    records = {r.key.decode(): headers_of(r) for r in wait_for_records(kafka.brokers, f"{prefix}.order", 4)}
    assert set(records) == {"in context", "explicit", "after savepoint", "next transaction"}
    for key in ("in context", "after savepoint"):
        assert (records[key]["ce_correlationid"], records[key]["ce_causationid"], records[key]["traceparent"]) \
            == ("checkout-9", "command-9", TRACE)
    assert (records["explicit"]["ce_correlationid"], records["explicit"]["ce_causationid"]) == ("mine", "command-9")
    last = records["next transaction"]
    assert last["ce_correlationid"] == last["ce_id"] and "ce_causationid" not in last and "traceparent" not in last


def test_timestamp_publish_uses_the_time_of_publishing(first):
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=5)
    _, record = first("order.placed", "order", "17", "{}", occurred_at=at, pipeline={"timestamp": "publish"})
    assert record.timestamp > to_ms(at) + 4 * 3600_000
    assert parse_time(headers_of(record)["ce_time"]) == at


def test_time_that_kafka_would_refuse_becomes_the_publish_time(first):
    future = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)
    _, record = first("order.placed", "order", "17", "{}", occurred_at=future)
    assert record.timestamp < to_ms(future) - 24 * 3600_000
    assert parse_time(headers_of(record)["ce_time"]) == future


def test_event_that_topic_retention_would_expire_at_once_gets_the_publish_time(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order", config={"retention.ms": "3600000"})
    old = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=30)
    emit(database, "order.placed", "order", "17", "{}", occurred_at=old)
    relay().start()
    record = wait_for_records(kafka.brokers, f"{prefix}.order", 1)[0]
    assert record.timestamp > to_ms(old) + 29 * 24 * 3600_000
    assert parse_time(headers_of(record)["ce_time"]) == old


def test_partitions_are_those_java_clients_choose(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=7)
    keys = [f"k{n}" for n in range(60)] + ["", "21", "foobar", "äöü 茶", "a-little-bit-long-string"]
    for key in keys:
        emit(database, "order.placed", "order", key, "{}")
    relay().start()
    records = wait_for_records(kafka.brokers, topic, len(keys))
    assert {r.key.decode() for r in records} == set(keys)
    for r in records:
        assert r.partition == partition_of(r.key, 7), f"key {r.key!r}"


def test_null_aggregate_id_makes_a_record_without_key(first, database):
    _, record = first("order.placed", "order", None, "{}")
    assert record.key is None and "ce_subject" not in headers_of(record)


def test_position_headers_add_the_sequence_number(first, database):
    _, record = first("order.placed", "order", "17", "{}", pipeline={"position_headers": True})
    assert headers_of(record)["outboxd_seq"] == str(database.scalar("SELECT seq FROM outbox.event"))


def test_routes_templates_and_keys_choose_where_an_event_goes(relay, kafka, database, prefix):
    topics = [f"{prefix}.payments", f"{prefix}.v-order", f"{prefix}.cart.other"]
    for topic in topics:
        kafka.create_topic(topic)
    emit(database, "payment.received", "order", "1", "{}")
    emit(database, "order.placed", "order", "2", "{}", correlation_id="c2")
    emit(database, "cart.filled", "cart", "3", "{}")
    relay({"topic": prefix + ".${aggregate_type}.other",
           "routes": [{"event_type": "payment.*", "topic": topics[0]},
                      {"aggregate_type": "ord?r", "event_type": "order.*", "topic": prefix + ".v-${aggregate_type}",
                       "key": "${correlation_id}/$${x}/${aggregate_id}"}]}).start()
    found = {r.topic: r for r in wait_for_records(kafka.brokers, topics, 3)}
    assert {t: r.key for t, r in found.items()} == {topics[0]: b"1", topics[1]: b"c2/${x}/2", topics[2]: b"3"}


def test_row_topic_is_used_only_when_it_is_allowed(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    kafka.create_topic(f"{prefix}.mine")
    emit(database, "order.placed", "order", "1", "{}", topic=f"{prefix}.mine")
    refusing = relay().start()
    wait_for_records(kafka.brokers, f"{prefix}.order", 1)
    refusing.stop()
    emit(database, "order.placed", "order", "2", "{}", topic=f"{prefix}.mine")
    relay({"allow_row_topic": True}).start()
    assert [r.key for r in wait_for_records(kafka.brokers, f"{prefix}.mine", 1)] == [b"2"]


def test_more_columns_become_headers_by_name(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    database.execute("ALTER TABLE outbox.event ADD tenant text, ADD priority int")
    emit(database, "order.placed", "order", "1", "{}")
    database.execute("UPDATE outbox.event SET tenant = 'north', priority = 7")
    relay({"header_columns": ["tenant", "priority"]}).start()
    headers = headers_of(wait_for_records(kafka.brokers, f"{prefix}.order", 1)[0])
    assert headers["tenant"] == "north" and headers["priority"] == "7"


def test_adopted_table_with_other_column_names_is_polled(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    database.execute("""
        CREATE TABLE public.messages (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid DEFAULT gen_random_uuid(),
            type text, aggregatetype text, aggregateid text, body text, sent timestamptz, created timestamptz DEFAULT now());
        INSERT INTO messages (type, aggregatetype, aggregateid, body) VALUES ('placed', 'order', '1', '<not json>');
        GRANT SELECT, UPDATE ON messages TO shop_relay""")
    columns = {"seq": "position", "event_id": "id", "event_type": "type", "aggregate_type": "aggregatetype",
               "aggregate_id": "aggregateid", "payload": "body", "published_at": "sent", "occurred_at": "created",
               "event_version": "", "aggregate_version": "", "payload_bytes": "", "content_type": "", "correlation_id": "",
               "causation_id": "", "traceparent": "", "headers": "", "topic": ""}
    relay({"table": "public.messages", "columns": columns, "topic": prefix + ".${aggregatetype}"}).start()
    record = wait_for_records(kafka.brokers, f"{prefix}.order", 1)[0]
    assert (record.key, record.value) == (b"1", b"<not json>")
    assert headers_of(record)["ce_type"] == "placed"
    eventually(lambda: database.scalar("SELECT sent IS NOT NULL FROM messages"), what="the row is marked")


def test_order_of_a_key_is_kept_within_and_across_transactions(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    for n in range(1, 31):
        emit(database, "order.changed", "order", str(n % 5), str(n), aggregate_version=n)
    relay({"batch_events": 4}).start()
    by_key = {}
    for r in wait_for_records(kafka.brokers, topic, 30):
        by_key.setdefault(r.key, []).append(int(r.value))
    assert len(by_key) == 5 and all(v == sorted(v) for v in by_key.values()), by_key
    assert len(read_topics(kafka.brokers, topic)) == 30
