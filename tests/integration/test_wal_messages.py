"""The outbox without a table: messages in the WAL. Ours become events, others are passed over, forged ones do no harm."""

import struct

import pytest

from support.common import eventually, stays_true
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import APP, SUPERUSER
from support.relay import migrate, outboxd
from support.wal import PREFIX

TEXTS = ("event_id", "event_type", "event_version", "aggregate_type", "aggregate_id", "aggregate_version", "payload", "payload_bytes",
         "content_type", "correlation_id", "causation_id", "traceparent", "headers", "topic")
EVENT = {"event_id": "01900000-0000-7000-8000-000000000001", "event_type": "order.placed", "event_version": "1", "aggregate_type": "order",
         "aggregate_id": "17", "payload": "{}", "correlation_id": "c"}


def content(occurred_at=0, **texts):
    """The documented layout: count of fields, then each with its length (-1: NULL), big-endian."""
    fields = [None, struct.pack(">q", occurred_at)]
    fields += [None if texts.get(name) is None else texts[name].encode() for name in TEXTS]
    return struct.pack(">h", len(fields)) + b"".join(
        struct.pack(">i", -1) if f is None else struct.pack(">i", len(f)) + f for f in fields)


def message(database, transactional, prefix, body, user=SUPERUSER):
    database.execute("SELECT pg_logical_emit_message(%s, %s, %s::bytea)", (transactional, prefix, body), user=user)


def keys(records):
    return [r.key.decode() for r in records]


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


def test_message_carries_the_documented_content(database, wal):
    """What outbox.emit_message writes: the layout that any client may write, too."""
    wal.make_slot("outboxd_reading")
    event_id = str(database.scalar(
        "SELECT outbox.emit_message('order.placed', 'order', '17', '{\"b\": 1.50,  \"a\": [1,2]}', occurred_at => '2026-02-03 04:05:06.789012+00', "
        "aggregate_version => 9, headers => '{\"k\":1}')", user=APP))
    rows = database.execute("SELECT data FROM pg_logical_slot_peek_binary_changes('outboxd_reading', NULL, NULL, 'proto_version', '1', "
                            "'publication_names', 'outboxd_orders', 'messages', 'true')", user=SUPERUSER)
    found = [bytes(d) for d, in rows if bytes(d)[:1] == b"M"]
    assert len(found) == 1
    flags, _, rest = found[0][1], found[0][2:10], found[0][10:]
    name, rest = rest.split(b"\x00", 1)
    body = rest[4:]
    assert (flags, name, struct.unpack(">I", rest[:4])[0]) == (1, PREFIX.encode(), len(body)), "transactional, our prefix"
    expected_at = database.scalar("SELECT (extract(epoch FROM timestamptz '2026-02-03 04:05:06.789012+00' - timestamptz '2000-01-01 00:00+00') "
                                  "* 1000000)::bigint")
    assert body == content(int(expected_at), event_id=event_id, event_type="order.placed", event_version="1", aggregate_type="order",
                           aggregate_id="17", aggregate_version="9", payload='{"a": [1, 2], "b": 1.50}', correlation_id=event_id,
                           headers='{"k": 1}')


def test_message_of_another_client_with_the_documented_content_is_an_event(wal_relay, kafka, database, topic):
    wal_relay({"messages": True}).start()
    message(database, True, PREFIX, content(occurred_at=0, **EVENT))
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    headers = headers_of(record)
    assert (record.key, record.value) == (b"17", b"{}")
    assert headers["ce_time"].startswith("2000-01-01T00:00:00") and headers["ce_id"] == EVENT["event_id"]


def test_messages_are_ignored_unless_they_are_enabled(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    database.execute("SELECT outbox.emit_message('order.placed', 'order', 'message', '{}')", user=APP)
    database.execute("SELECT outbox.emit('order.placed', 'order', 'row', '{}')", user=APP)
    assert keys(wait_for_records(kafka.brokers, topic, 1)) == ["row"]
    wal.wait_confirmed()
    assert keys(read_topics(kafka.brokers, topic)) == ["row"] and one.published() == 1


OTHERS = [(False, PREFIX), (True, "outboxd.context"), (True, "outboxd.event2"), (True, "outboxd"), (True, ""), (True, "OUTBOXD.EVENT"), (False, "foreign"),
          (True, "foreign")]


def test_other_messages_are_passed_over(wal_relay, kafka, database, wal, topic):
    """Debezium: LogicalDecodingMessageIT. A message outside of transactions is there even when its transaction rolls back."""
    one = wal_relay({"messages": True}).start()
    expected = []
    for number, (transactional, prefix_) in enumerate(OTHERS):
        message(database, transactional, prefix_, content(**EVENT))
        message(database, transactional, prefix_, b"")
        message(database, transactional, prefix_, bytes(range(256)))
        connection = database.connect(autocommit=False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(%s, %s, 'rolled back')", (transactional, prefix_))
            connection.rollback()
            cursor.execute("SELECT outbox.emit_message('order.placed', 'order', %s, '{}')", (f"in between {number}",))
            cursor.execute("SELECT pg_logical_emit_message(%s, %s, 'x')", (transactional, prefix_))
            connection.commit()
        connection.close()
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (f"last {number}",))
        expected += [f"in between {number}", f"last {number}"]
        one.wait_published(len(expected))
        assert (one.metric("events_failed_total"), one.published()) == (0, len(expected)), f"{transactional} {prefix_!r}\n{one.log_tail()}"
    assert keys(wait_for_records(kafka.brokers, topic, len(expected))) == expected
    wal.wait_confirmed()
    assert one.metric("events_failed_total") == 0 and one.published() == len(expected)


def test_rows_and_messages_of_one_transaction_keep_their_order(wal_relay, kafka, database, topic):
    wal_relay({"messages": True}).start()
    with database.connect(APP, autocommit=False) as connection, connection.cursor() as cursor:
        for n in range(40):
            cursor.execute(f"SELECT outbox.{'emit' if n % 3 else 'emit_message'}('order.placed', 'order', %s, '{{}}')", (str(n),))
        connection.commit()
    assert keys(wait_for_records(kafka.brokers, topic, 40)) == [str(n) for n in range(40)]


def test_messages_use_the_transactions_context(wal_relay, kafka, database, topic):
    wal_relay({"messages": True}).start()
    with database.connect(APP, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT outbox.set_context('checkout-9', 'command-9', NULL)")
        cursor.execute("SELECT outbox.emit_message('order.placed', 'order', '1', '{}')")
        connection.commit()
    headers = headers_of(wait_for_records(kafka.brokers, topic, 1)[0])
    assert (headers["ce_correlationid"], headers["ce_causationid"]) == ("checkout-9", "command-9")


WHOLE = content(**EVENT)
FORGED = {
    "empty": b"", "one byte": b"\x00", "a text": b"hello world, not an event", "cut short": WHOLE[:-3], "cut in a length": WHOLE[:40],
    "one byte more": WHOLE + b"\x00", "too many fields": struct.pack(">h", 17) + WHOLE[2:] + struct.pack(">i", -1),
    "too few fields": struct.pack(">h", 15) + WHOLE[2:-4], "no fields": struct.pack(">h", 0), "negative count": struct.pack(">h", -1),
    "length beyond the end": WHOLE[:2] + struct.pack(">i", 0x7FFFFFFF) + WHOLE[6:], "length of -2": WHOLE[:2] + struct.pack(">i", -2) + WHOLE[6:],
    "time of 4 bytes": struct.pack(">h", 16) + struct.pack(">i", -1) + struct.pack(">i", 4) + b"\x00" * 4 + struct.pack(">i", -1) * 14,
    "all NULL": struct.pack(">h", 16) + struct.pack(">i", -1) * 16,
    "not UTF-8": content(**EVENT).replace(b"order.placed", b"order.\xff\xfe\x00ced"),
    "headers that are no object": content(**{**EVENT, "headers": "[1]"}),
    "headers that are no JSON": content(**{**EVENT, "headers": "{"}),
    "too large": content(**{**EVENT, "payload": '"' + "x" * 1_500_000 + '"'}),
    "key too large": content(**{**EVENT, "aggregate_id": "k" * 1_500_000}),
}


@pytest.mark.parametrize("template", ["by type", "constant"])
def test_forged_message_is_set_aside_and_the_rest_goes_on(wal_relay, kafka, database, wal, topic, template):
    """Any role may write a message with our prefix; also a topic that is the same for every event must not get its bytes. One relay meets each kind."""
    one = wal_relay({"messages": True, **({"topic": topic} if template == "constant" else {})}).start()
    expected = []
    for count, (kind, body) in enumerate(FORGED.items(), 1):
        for place in ("before", "after"):
            database.execute("SELECT outbox.emit_message('order.placed', 'order', %s, '{}')", (f"{place} {kind}",))
            expected.append(f"{place} {kind}")
            if place == "before":
                message(database, True, PREFIX, body)
        one.wait_published(2 * count)
        eventually(lambda count=count: database.scalar("SELECT count(*) FROM outbox.dead_letter") == count,
                   what=lambda kind=kind: f"'{kind}' is set aside\n" + one.log_tail())
    assert keys(wait_for_records(kafka.brokers, topic, len(expected))) == expected
    wal.wait_confirmed()
    assert one.metric("events_dead_lettered_total") == len(FORGED) and one.ready()[0]


@pytest.mark.parametrize("policy", ["stop", "dead_letter"])
def test_forged_message_stops_nobody_whatever_the_policies_say(wal_relay, kafka, database, wal, topic, policy):
    one = wal_relay({"messages": True, "on_poison": policy, "on_unrouted": policy}).start()
    database.execute("SELECT outbox.emit_message('order.placed', 'order', 'before', '{}')")
    for transactional in (True, False):
        for body in [b"", b"{}", b'{"event_type": "order.paid"}', bytes(range(256)), content(), content(**{**EVENT, "event_type": ""})]:
            message(database, transactional, PREFIX, body, user=APP)
    database.execute("SELECT outbox.emit_message('order.placed', 'order', 'after', '{}')")
    assert keys(wait_for_records(kafka.brokers, topic, 2)) == ["before", "after"]
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 6, what=lambda: "each is set aside\n" + one.log_tail())
    wal.wait_confirmed()
    lsn = r"message 1 of the transaction that commits at [0-9A-F]+/[0-9A-F]+: "
    assert database.scalar("SELECT count(*) FROM outbox.dead_letter WHERE error_code = 'MESSAGE_MALFORMED' AND reason ~ %s", (lsn,)) == 6
    assert database.scalar("SELECT count(DISTINCT reason) FROM outbox.dead_letter") == 6, "each names its own place"
    assert one.running() and one.ready()[0]


def test_messages_that_anyone_may_write_are_refused_until_they_are_guarded(wal_relay, kafka, database, wal, topic):
    granted = {"messages": True, "messages_from": "granted"}
    one = wal_relay(granted)
    one.start(wait_ready=False)
    assert one.wait_exit() == 2
    line, = one.log_lines("code=MESSAGES_OPEN")
    assert "every role of this database may execute pg_logical_emit_message" in line and "outboxd migrate --guard-messages" in line
    assert "every role of this database may execute pg_logical_emit_message" in outboxd("check", "-c", one.config_path, expect=2).stdout
    migrate(database, "--guard-messages", user=SUPERUSER)
    assert "pg_logical_emit_message" not in outboxd("check", "-c", one.config_path, expect=None).stdout
    two = wal_relay(granted).start()
    database.execute("SELECT outbox.emit_message('order.placed', 'order', 'guarded', '{}')", user=APP)
    assert keys(wait_for_records(kafka.brokers, topic, 1)) == ["guarded"]
    opened = "pg_logical_emit_message(boolean, text, bytea%s)" % (", boolean" if int(database.server.major) >= 17 else "")
    database.execute(f"GRANT EXECUTE ON FUNCTION {opened} TO PUBLIC", user=SUPERUSER)
    eventually(lambda: not two.ready()[0], what="the watch sees it")
    assert "pg_logical_emit_message" in two.ready()[1]
    database.execute(f"REVOKE EXECUTE ON FUNCTION {opened} FROM PUBLIC", user=SUPERUSER)
    eventually(lambda: two.ready()[0], what="mended")


def test_messages_alone_mark_nothing_and_move_the_slot(wal_relay, kafka, database, wal, topic):
    one = wal_relay({"messages": True, "on_publish": "keep"}).start()
    for n in range(100):
        database.execute("SELECT outbox.emit_message('order.placed', 'order', %s, '{}')", (str(n),))
    assert keys(wait_for_records(kafka.brokers, topic, 100)) == [str(n) for n in range(100)]
    wal.wait_confirmed()
    assert database.scalar("SELECT count(*) FROM outbox.event") == 0
    one.kill()
    wal.wait_inactive()
    one.start()
    stays_true(lambda: one.published() == 0, 0.5, "nothing comes again")
