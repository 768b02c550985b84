"""The same event by polling, from the WAL, as a message, and from the first start's snapshot: one record, byte for byte."""

import json
import time

import pytest

from support.consume import headers_of, wait_for_records
from support.postgres import APP, RELAY, SUPERUSER, Database
from support.relay import migrate
from support.verify import partition_of
from support.wal import Wal

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ARGUMENTS = {"event_type": "text", "aggregate_type": "text", "aggregate_id": "text", "payload": "jsonb", "event_version": "int",
             "aggregate_version": "bigint", "correlation_id": "text", "causation_id": "text", "traceparent": "text", "headers": "jsonb",
             "event_id": "uuid", "occurred_at": "timestamptz", "content_type": "text", "payload_bytes": "bytea", "topic": "text"}

# What differs from a plain event, by kind.
KINDS = {
    "plain": {},
    "everything": {"event_version": 7, "aggregate_version": 9_000_000_000_000_000_000, "correlation_id": "checkout", "causation_id": "cart",
                   "traceparent": TRACE, "headers": '{"tenant": "north", "n": 3, "b": true, "l": [1, null], "o": {"k": "v"}, "e": ""}',
                   "content_type": "application/vnd.shop+json", "topic": "a.topic-of_its.own"},
    "tombstone": {"payload": None},
    "the value null": {"payload": "null"},
    "a string": {"payload": '"line\\nfeed \\u0001 \\"quoted\\" \\\\ tab\\t"'},
    "numbers": {"payload": '[1.10, 12345678901234567890.123456789, 1e-7, -0, 1e30, 0.30000000000000004]'},
    "keys of an object in their stored order": {"payload": '{"bb": 1, "a": 2, "ccc": {"z": 1, "y": 2}, "a": 3}'},
    "every byte": {"payload": None, "payload_bytes": bytes(range(256)) * 2, "content_type": "application/x-all"},
    "no bytes": {"payload": None, "payload_bytes": b""},
    "bytes that look like escapes": {"payload": None, "payload_bytes": b"\\x00\\\\\\n\x00"},
    "no key": {"aggregate_id": None},
    "empty key": {"aggregate_id": ""},
    "unicode": {"aggregate_id": "äöü 茶 😀", "event_type": "size.changed", "payload": '{"é": "茶 😀 \\u00e9"}',
                "headers": '{"schlüssel": "Ä"}', "correlation_id": "å", "causation_id": "😀"},
    "quotes": {"aggregate_id": "o'neill \"x\" \\ $1 %s", "correlation_id": "'", "causation_id": "\\"},
    "stored out of line": {"payload": json.dumps({"blob": "äx" * 60_000}, ensure_ascii=False)},
    "incompressible bytes": {"payload": None, "payload_bytes": bytes((i * i * 31 + i // 7) % 256 for i in range(90_000))},
    "negative numbers": {"event_version": -1, "aggregate_version": "-9223372036854775808"},
    "to the microsecond": {"occurred_at": "2026-02-03 04:05:06.789012+00"},
    "whole second": {"occurred_at": "2026-02-03 04:05:06+00"},
    "trailing zeros": {"occurred_at": "2026-02-03 04:05:06.7+00"},
    "just before 2000": {"occurred_at": "1999-12-31 23:59:59.999999+00"},
    "just after 1970": {"occurred_at": "1970-01-01 00:00:00.001+00"},
    "before 1970": {"occurred_at": "1969-12-31 23:59:59.999999+00"},
    "before Christ": {"occurred_at": "0044-03-15 12:00:00+00 BC"},
    "far away": {"occurred_at": "9999-12-31 23:59:59.999999+00"},
    "five digits of year": {"occurred_at": "12026-01-01 00:00:00+00"},
}
PLAIN = {"event_type": "order.placed", "aggregate_type": "order", "aggregate_id": "17", "payload": '{"total": 42.50}'}


def emit_all(database, function):
    """One event of each kind in a transaction of its own; event ids and times are the same for every function."""
    connection = database.connect(APP)
    with connection.cursor() as cursor:
        for n, changes in enumerate(KINDS.values()):
            given = {"event_id": f"01900000-0000-7000-8000-{n:012d}", "occurred_at": f"2026-11-01 10:00:{n:02d}.{n + 1:06d}+00",
                     **PLAIN, **changes}
            call = ", ".join(f"{name} => %({name})s::{ARGUMENTS[name]}" for name in given)
            cursor.execute(f"SELECT outbox.{function}({call})", given)
    connection.close()


def same_or_now(one, other, begin_ms):
    """Timestamps are equal, or both the time of publishing (Kafka would refuse the event's own)."""
    return one == other or min(one, other) >= begin_ms


def assert_same_records(expected, found, what, begin_ms, names):
    assert len(found) == len(expected), f"{what}: {len(found)} records, expected {len(expected)}"
    for name, a, b in zip(names, expected, found):
        where = f"{what}, {name}"
        assert b.key == a.key and b.value == a.value, f"{where}: {b.key!r} {b.value!r:.300}, expected {a.key!r} {a.value!r:.300}"
        assert b.headers == a.headers, f"{where}: headers {b.headers}, expected {a.headers}"
        assert b.timestamp_type == a.timestamp_type, where
        assert b.partition == a.partition or a.key is None, f"{where}: partition {b.partition}, expected {a.partition}"  # no key: any
        assert same_or_now(a.timestamp, b.timestamp, begin_ms), f"{where}: timestamp {b.timestamp}, expected {a.timestamp}"


def in_order(records, order):
    """Records by the order in which their ids were emitted; partitions mix them."""
    return sorted(records, key=lambda r: order.index(headers_of(r)["ce_id"]))


@pytest.fixture
def topics(kafka, prefix):
    """topics(name) -> a topic of 7 partitions that keeps any time."""
    return lambda name: kafka.create_topic(f"{prefix}.{name}", partitions=7, config={"retention.ms": "-1"})


def test_row_message_snapshot_and_poll_give_identical_records(wal_relay, poll_relay, kafka, database, wal, topics):
    begin_ms = int(time.time() * 1000) - 1000
    ids = [f"01900000-0000-7000-8000-{n:012d}" for n in range(len(KINDS))]

    def collect(name, relay):
        found = wait_for_records(kafka.brokers, name, len(KINDS))
        if (wal.slot() or {}).get("active"):
            wal.wait_confirmed()  # else the stop may come in front of the last transaction's end, and the next relay repeat its event
        relay.stop()
        return in_order(found, ids)

    rows = topics("rows")
    one = wal_relay({"topic": rows, "on_publish": "keep"}).start()
    emit_all(database, "emit")
    from_rows = collect(rows, one)

    messages = topics("messages")
    one = wal_relay({"topic": messages, "on_publish": "keep", "messages": True}).start()
    emit_all(database, "emit_message")
    from_messages = collect(messages, one)

    polled = topics("polled")
    from_poll = collect(polled, poll_relay({"topic": polled}).start())

    wal.drop_slot()
    database.execute("DELETE FROM outbox.position; UPDATE outbox.event SET published_at = NULL")
    snapshot = topics("snapshot")
    from_snapshot = collect(snapshot, wal_relay({"topic": snapshot}).start())

    assert [r.key for r in from_poll] == [None if (k := {**PLAIN, **c}["aggregate_id"]) is None else k.encode() for c in KINDS.values()]
    assert_same_records(from_poll, from_rows, "rows of the WAL", begin_ms, KINDS)
    assert_same_records(from_poll, from_messages, "messages", begin_ms, KINDS)
    assert_same_records(from_poll, from_snapshot, "rows of the first start", begin_ms, KINDS)
    for r in from_rows:
        if r.key is not None:
            assert r.partition == partition_of(r.key, 7), f"key {r.key!r} is where Java clients look for it"


def test_plain_headers_are_identical_too(wal_relay, poll_relay, kafka, database, wal, topics):
    begin_ms = int(time.time() * 1000) - 1000
    ids = [f"01900000-0000-7000-8000-{n:012d}" for n in range(len(KINDS))]
    found = {}
    for name, make, options in (("rows", wal_relay, {"on_publish": "keep", "messages": True}), ("polled", poll_relay, {})):
        topic = topics(name)
        one = make({"topic": topic, "headers": "plain", **options}).start()
        if name == "rows":
            emit_all(database, "emit")
        found[name] = sorted(wait_for_records(kafka.brokers, topic, len(KINDS)),
                             key=lambda r: ids.index(headers_of(r)["event_id"]))
        one.stop()
    assert_same_records(found["polled"], found["rows"], "plain headers", begin_ms, KINDS)


# Types whose ::text differs from what the type's output function prints, or depends on settings of the session.
EXTRAS = {
    "flag": ("bool", "true"), "amount": ("numeric(12,4)", "12.5"), "seen": ("timestamptz", "'2026-05-06 07:08:09.5+02'"),
    "never": ("timestamptz", "'infinity'"), "old": ("timestamp", "'0044-03-15 12:00 BC'"), "day": ("date", "'2026-05-06'"),
    "span": ("interval", "'1 year 2 days -03:04:05.5'"), "address": ("inet", "'10.0.0.1'"), "net": ("inet", "'10.1.0.0/16'"),
    "range_": ("cidr", "'10.1.0.0/16'"), "code": ("char(5)", "'ab'"), "one_char": ('"char"', "'x'"), "label": ("name", "'a name'"),
    "ref": ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"), "state": ("mood", "'in a hurry'"), "tags": ("text[]", """'{a,"b c",NULL,"q\\"x"}'"""),
    "grid": ("int[]", "'{{1,2},{3,4}}'"), "flags": ("bool[]", "'{t,f}'"), "codes": ("char(3)[]", "'{a,bc}'"), "ratio": ("float8", "0.1::float8 + 0.2"),
    "small": ("float4", "1.0/3"), "blob": ("bytea", "'\\x00ff5c'"), "doc": ("json", """'{"b": 1,  "a": [ ]}'"""), "docb": ("jsonb", """'{"b": 1, "a": 1.0}'"""),
    "bits": ("bit varying(8)", "B'101'"), "big": ("bigint", "-5"), "many": ("timestamptz[]", "'{2026-01-02 03:04:05+00}'"),
    "dom": ("short_text", "'domain'"), "yes": ("yes_no", "true"), "short": ("short_code", "'ab'"), "host": ("a_host", "'10.0.0.1'"),
    "limited": ("varchar(3)", "'äöü'"), "empty": ("text", "''"), "place": ("point", "'(1.5,2)'"),
    "span_of": ("int4range", "'[1,5)'"), "two_of": ("pair", "ROW(true, 'x y')"), "ident": ("oid", "42"), "tree": ("xml", "'<a/>'"),
}
ADOPTED_COLUMNS = {"seq": "position", "event_id": "id", "event_type": "type", "aggregate_type": "aggregatetype",
                   "aggregate_id": "aggregateid", "payload": "body", "published_at": "sent", "occurred_at": "created",
                   "event_version": "", "aggregate_version": "", "payload_bytes": "", "content_type": "", "correlation_id": "",
                   "causation_id": "", "traceparent": "", "headers": "meta", "topic": ""}


def test_columns_of_any_type_on_an_adopted_table_become_identical_headers(wal_relay, poll_relay, kafka, database, topics, prefix):
    """bool, char(n) and inet print differently through ::text; dates, bytes and floats by settings of the session."""
    names = list(EXTRAS)
    database.execute("CREATE TYPE mood AS ENUM ('calm', 'in a hurry'); CREATE DOMAIN short_text AS text CHECK (length(VALUE) < 10); "
                     "CREATE DOMAIN yes_no AS bool; CREATE DOMAIN code AS char(5); CREATE DOMAIN short_code AS code; CREATE DOMAIN a_host AS inet; "
                     "CREATE TYPE pair AS (a bool, b text); "
                     "CREATE TABLE public.messages (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid, type varchar(40), "
                     "aggregatetype varchar(40), aggregateid int, body json, sent timestamptz, created timestamptz, meta jsonb, "
                     + ", ".join(f"{n} {t}" for n, (t, _) in EXTRAS.items()) + "); GRANT SELECT, UPDATE ON messages TO shop_relay")
    database.execute("ALTER PUBLICATION outboxd_orders SET TABLE public.messages")
    insert = (f"INSERT INTO messages (id, type, aggregatetype, aggregateid, body, created, meta, {', '.join(names)}) VALUES (gen_random_uuid(), "
              "'placed', 'order', %s, %s, %s, %s, {})")
    options = {"table": "public.messages", "columns": ADOPTED_COLUMNS, "header_columns": names}
    rows = topics("rows")
    one = wal_relay({**options, "topic": rows, "on_publish": "keep"}).start()
    begin_ms = int(time.time() * 1000) - 1000
    filled = insert.format(", ".join(v for _, v in EXTRAS.values()))
    empty = insert.format(", ".join("NULL" for _ in EXTRAS))
    database.execute(filled.replace("%s, %s, %s, %s", "1, '{\"b\":  1}', '2026-01-02 03:04:05.25+00', '{\"k\": \"v\"}'"))
    database.execute(empty.replace("%s, %s, %s, %s", "2, NULL, '2026-01-02 03:04:06+00', NULL"))
    database.execute(filled.replace("%s, %s, %s, %s", "3, 'null', '-infinity', '{}'"))
    from_wal = wait_for_records(kafka.brokers, rows, 3)
    one.stop()
    polled = topics("polled")
    poll_relay({**options, "topic": polled}).start()
    from_poll = wait_for_records(kafka.brokers, polled, 3)
    by_key = lambda records: sorted(records, key=lambda r: r.key)  # noqa: E731
    assert_same_records(by_key(from_poll), by_key(from_wal), "adopted table", begin_ms, ["filled", "NULL", "infinity"])
    headers = headers_of(by_key(from_wal)[0])
    assert (headers["flag"], headers["code"], headers["address"], headers["amount"]) == ("true", "ab", "10.0.0.1/32", "12.5000")
    assert set(names) <= set(headers), "every column is a header"
    assert not set(names) & set(headers_of(by_key(from_wal)[1])), "NULL is no header"


def test_database_in_latin1_gives_utf8_records(wal_relay, poll_relay, kafka, postgres, topics, prefix):
    name = f"latin1_{prefix.replace('-', '_')}"
    postgres.execute(f"CREATE DATABASE \"{name}\" OWNER shop_owner ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    latin = Database(postgres, name)
    try:
        migrate(latin)
        latin.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")
        Wal(latin)
        found, begin_ms = {}, int(time.time() * 1000) - 1000
        for topic, make, options in (("rows", wal_relay, {"on_publish": "keep", "messages": True}), ("polled", poll_relay, {})):
            name_of = topics(topic)
            one = make({"topic": name_of, **options}, dsn=latin.dsn()).start()
            if topic == "rows":
                for function in ("emit", "emit_message"):
                    latin.execute(f"SELECT outbox.{function}('size', 'order', 'schlüssel', '{{\"ä\": \"ö\"}}', correlation_id => 'ü', "
                                  f"event_id => '01900000-0000-7000-8000-000000000001', occurred_at => '2026-01-02 03:04:05+00')", user=APP)
            found[topic] = wait_for_records(kafka.brokers, name_of, 2 if topic == "rows" else 1)
            one.stop()
        assert found["polled"][0].key == "schlüssel".encode()
        assert_same_records(found["polled"] * 2, found["rows"], "LATIN1", begin_ms, ["row", "message"])
    finally:
        latin.drop()


def test_position_headers_name_the_commit_and_the_place_in_it(wal_relay, kafka, database, wal, topics):
    topic = topics("orders")
    wal_relay({"topic": topic, "position_headers": True, "messages": True}).start()
    with database.connect(SUPERUSER, autocommit=False) as connection, connection.cursor() as cursor:
        for transaction in range(3):
            for n in range(1, 5):
                cursor.execute("SAVEPOINT s")
                cursor.execute("SELECT outbox.emit('order.placed', 'undone', 'undone', '{}')")
                cursor.execute("ROLLBACK TO s")
                function = "emit" if n % 2 else "emit_message"
                cursor.execute(f"SELECT outbox.{function}('order.placed', 'order', 'k', %s)", (str(transaction * 4 + n),))
            connection.commit()
    headers = [headers_of(r) for r in wait_for_records(kafka.brokers, topic, 12)]
    assert [h["outboxd_ordinal"] for h in headers] == ["1", "2", "3", "4"] * 3, "aborted work is not counted"
    lsns = [h["outboxd_lsn"] for h in headers]
    assert len(set(lsns)) == 3 and [lsns[i] for i in (0, 4, 8)] == lsns[::4] and lsns[:4] == [lsns[0]] * 4
    assert database.scalar("SELECT bool_and(a < b) FROM (SELECT l::pg_lsn a, lead(l::pg_lsn) OVER () b FROM unnest(%s::text[]) l) x WHERE b IS NOT NULL",
                           (lsns[::4],))
    assert database.scalar("SELECT bool_and(l::pg_lsn::text = l) FROM unnest(%s::text[]) l", (lsns,)), "as PostgreSQL prints it"
    assert not any("outboxd_seq" in h for h in headers)
