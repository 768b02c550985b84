"""Databases that are not in UTF-8. SQL_ASCII takes any bytes: an event with odd ones is poison that is named, and holds up nobody else.
LATIN1 and the like are converted: records carry UTF-8."""

import struct

import pytest

from conftest import CAPTURES, grant_memberships
from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import OWNER, SUPERUSER, Database
from support.relay import migrate, outboxd
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def database(postgres, request):
    """A migrated database in this encoding."""
    encoding = getattr(request, "param", "SQL_ASCII")
    name = postgres.fresh_database("odd").name
    postgres.execute(f'DROP DATABASE "{name}"')
    postgres.execute(f'CREATE DATABASE "{name}" OWNER {OWNER} TEMPLATE template0 ENCODING \'{encoding}\' LC_COLLATE \'C\' LC_CTYPE \'C\'')
    database = Database(postgres, name)
    migrate(database)
    grant_memberships(database)
    yield database
    database.drop()


@pytest.fixture(params=["poll", "wal"])
def any_relay(request, relay, database):
    if request.param == "wal":
        Wal(database)
    return lambda pipeline=None, **more: relay({**CAPTURES[request.param], **(pipeline or {})}, **more)


def insert(database, key, payload='{"n": 1}', **more):
    """Texts may be bytes: they arrive in the database as they are."""
    columns = {"event_type": "order.placed", "aggregate_type": "order", "aggregate_id": key, "payload": payload, **more}
    values = ", ".join("convert_from('\\x{}', 'SQL_ASCII'){}".format((v if isinstance(v, bytes) else v.encode()).hex(),
                                                                   "::jsonb" if c in ("payload", "headers") else "") for c, v in columns.items())
    return database.scalar(f"INSERT INTO outbox.event ({', '.join(columns)}) VALUES ({values}) RETURNING seq")


ODD = {"key": (b"caf\xe9", {}, "aggregate_id"), "payload": ("p", {"payload": b'{"name": "caf\xe9"}'}, "payload"),
       "correlation": ("c", {"correlation_id": b"\xff\xfe"}, "correlation_id"), "headers": ("h", {"headers": b'{"city": "K\xf6ln"}'}, "headers"),
       "cut": ("u", {"payload": b'{"name": "\xe2\x82"}'}, "payload"), "type": ("t", {"aggregate_type": b"ord\xe9r"}, "aggregate_type")}


def test_an_event_with_odd_bytes_is_set_aside_and_named(any_relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = any_relay({"on_poison": "dead_letter"}).start()
    seqs = {}
    for name, (key, more, _) in ODD.items():
        seqs[name] = insert(database, key, **more)
        insert(database, "good", '{"city": "Köln €"}', correlation_id="Ä€")
    records = wait_for_records(kafka.brokers, topic, len(ODD))
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what=lambda: "everything is marked\n" + one.log_tail())
    assert {r.key for r in read_topics(kafka.brokers, topic)} == {b"good"}
    assert all(r.value == '{"city": "Köln €"}'.encode() and headers_of(r)["ce_correlationid"] == "Ä€" for r in records)
    letters = {row[0]: row for row in database.query("SELECT seq, error_code, reason, convert_to(event::text, 'SQL_ASCII') FROM outbox.dead_letter")}
    for name, (_, _, column) in ODD.items():
        _, code, reason, event = letters[seqs[name]]
        assert code == "TEXT_NOT_UTF8" and f"column '{column}' of the event with seq {seqs[name]} " in reason
        assert "\ufffd" in bytes(event).decode()
    shown = outboxd("dead", "list", "-c", one.config_path, expect=0)
    assert "TEXT_NOT_UTF8" in shown.stdout
    assert outboxd("dead", "show", str(database.scalar("SELECT min(id) FROM outbox.dead_letter")), "-c", one.config_path, expect=0).stdout
    assert one.running()


def test_by_default_its_topic_waits_and_the_relay_names_the_event(any_relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    seq = insert(database, b"caf\xe9")
    one = any_relay().start(wait_ready=False)
    assert f"1 event waits for topic '{prefix}.order', all others are published" in one.wait_not_ready("TEXT_NOT_UTF8") and one.running()
    assert f"column 'aggregate_id' of the event with seq {seq} is not valid UTF-8" in one.log_text()
    found = outboxd("check", "-c", one.config_path)
    assert f"seq {seq}" in found.stdout + found.stderr and "not valid UTF-8" in found.stdout + found.stderr


@pytest.mark.parametrize("database", ["LATIN1", "WIN1252"], indirect=True)
def test_records_carry_utf8_whatever_the_database(any_relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = any_relay({"on_poison": "dead_letter", "header_columns": ["causation_id"]}).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', 'Köln', '{\"café\": \"Ñandú\"}',"
                     " correlation_id => 'Größe', causation_id => 'naïve', headers => '{\"stadt\": \"Zürich\"}')")
    record, = wait_for_records(kafka.brokers, topic, 1)
    headers = headers_of(record)
    assert record.key.decode() == "Köln" and record.value.decode() == '{"café": "Ñandú"}'
    assert headers["ce_correlationid"] == "Größe" and headers["stadt"] == "Zürich" and headers["causation_id"] == "naïve"
    # Poison whose reason and headers hold what this database has no form for.
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload)"
                     " VALUES ('order.placed', 'zu groß / ß', 'é', '{}')")
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what=one.log_tail)
    event, reason = database.query("SELECT event ->> 'aggregate_type', reason FROM outbox.dead_letter")[0]
    assert event == "zu groß / ß" and "zu gro" in reason
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="everything is marked")


# What to write into each text column, in the encoding of the database.
TEXTS = {"LATIN1": "Größe é".encode("latin-1"), "UTF8": "Größe €𝄞\x01".encode(), "SQL_ASCII": b"caf\xe9 \xff\xc3"}


@pytest.mark.parametrize("database", sorted(TEXTS), indirect=True)
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_a_letter_is_the_row_byte_for_byte_and_so_is_what_is_requeued(any_relay, kafka, database, prefix, long):
    """Also values that stand apart, being longer than 4 MiB."""
    encoding = database.scalar("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")
    odd = TEXTS[encoding]
    many = odd * (4_300_000 // len(odd) + 1) if long else odd
    quoted = odd.replace(b"\x01", b"")
    options = {"on_poison": "dead_letter", "on_unrouted": "dead_letter", "topic": "", "event_bytes_max": "64MiB",
               "routes": [{"aggregate_type": "none", "topic": f"{prefix}.order"}]}
    one = any_relay(options).start()
    seq = insert(database, odd, b'{"p": "' + quoted + b'"}', event_type=odd, correlation_id=many, causation_id=odd, traceparent=odd,
                 content_type=odd, headers=b'{"h": "' + quoted + b'"}')
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, 30, what=one.log_tail)
    assert database.scalar("SELECT event_whole FROM outbox.dead_letter")
    number = str(database.scalar("SELECT id FROM outbox.dead_letter"))
    assert outboxd("dead", "show", number, "-c", one.config_path, expect=0).stdout
    one.stop()
    assert "requeued" in outboxd("dead", "requeue", number, "-c", one.config_path, expect=0).stdout
    columns = ("event_id", "event_type", "event_version", "aggregate_type", "aggregate_id", "aggregate_version", "payload", "payload_bytes",
               "content_type", "correlation_id", "causation_id", "traceparent", "headers", "topic", "occurred_at")
    differ = [c for c in columns if not database.scalar(f"SELECT count(*) = 2 AND count(DISTINCT coalesce({c}::text, '-')) = 1 FROM outbox.event")]
    assert not differ and database.scalar(f"SELECT count(*) FROM outbox.event WHERE seq > {seq} AND published_at IS NULL") == 1


@pytest.mark.parametrize("database", ["WIN1252"], indirect=True)
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_a_row_that_the_server_cannot_send_is_found_among_others_and_refused(relay, kafka, database, prefix, on_publish):
    """A byte that WIN1252 leaves undefined: every fetch with it fails."""
    topic = kafka.create_topic(f"{prefix}.order")
    bad = []
    for n in range(1, 41):
        odd = n in (13, 14, 40)
        seq = insert(database, "k", b'{"n": "\x81"}' if odd else f'{{"n": {n}}}')
        bad += [seq] if odd else []
    one = relay({"on_poison": "dead_letter", "on_publish": on_publish}).start()
    records = wait_for_records(kafka.brokers, topic, 37)
    assert [r.value for r in records] == [f'{{"n": {n}}}'.encode() for n in range(1, 41) if n not in (13, 14, 40)]
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 3, what=one.log_tail)
    letters = database.query("SELECT seq, error_code, event_whole, convert_to(event ->> 'payload', 'WIN1252') FROM outbox.dead_letter ORDER BY seq")
    assert [(s, c, w, bytes(p)) for s, c, w, p in letters] == [(s, "EVENT_UNREADABLE", True, b'{"n": "\x81"}') for s in bad]
    assert all(f"number {s} of outbox.event" in one.log_text() for s in bad)
    assert one.running() and not one.log_lines("POSTGRES_CONNECTION_LOST")


@pytest.mark.parametrize("size", [2 * 1000 * 1000, 5 * 1000 * 1000])
@pytest.mark.parametrize("database", ["LATIN1"], indirect=True)
def test_a_message_with_characters_that_the_database_lacks_is_set_aside_whole(relay, kafka, database, prefix, size):
    """A message is in UTF-8 whatever the database is in: no column of text can hold it, and no row keeps it."""
    Wal(database)
    kafka.create_topic(f"{prefix}.order")
    one = relay({**CAPTURES["wal"], "messages": True, "on_poison": "dead_letter"}).start()
    texts = ["01900000-0000-7000-8000-000000000001", "order.€", "1", "order", "€𝄞", None, "é"]
    fields = [None, struct.pack(">q", 0)] + [None if t is None else t.encode() for t in texts]
    head = struct.pack(">h", 16) + b"".join(struct.pack(">i", -1) if f is None else struct.pack(">i", len(f)) + f for f in fields)
    database.execute("SELECT pg_logical_emit_message(true, 'outboxd.event', %s::bytea || int4send(%s) || convert_to(repeat('x', %s), 'UTF8') || %s::bytea)",
                     (head, size, size, struct.pack(">i", -1) * 6), user=SUPERUSER)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what=lambda: one.log_tail())
    event, whole, names, values = database.query("SELECT event, event_whole, event_large, event_large_values FROM outbox.dead_letter")[0]
    kept = dict(zip(names, map(bytes, values)))
    assert whole and event["event_type"] in (None, "order.?") and kept["aggregate_id"] == "€𝄞".encode() and kept["event_type"] == "order.€".encode()
    assert size == len(kept.get("payload_bytes") or bytes.fromhex(event["payload_bytes"][2:]))
    one.wait_ready()
