"""outbox.emit_message: the same event as outbox.emit makes, in the write-ahead log alone."""

import contextlib
import os
import struct

import psycopg2
import psycopg2.errors
import pytest

from conftest import oldest_and_newest
from support.fetch import POSTGRES_VERSIONS
from support.postgres import APP, OWNER, RELAY, SUPERUSER, Database, PostgresServer
from support.relay import migrate

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT_ID = "01900000-0000-7000-8000-000000000001"
TIME = "2026-02-03 04:05:06.789012+00"
# What the relay selects from the table, in the order of relay/outbox/row.c, but for seq, which a message has not.
ROW = ("NULL::bigint, occurred_at, event_id::text, event_type, event_version::text, aggregate_type, aggregate_id, aggregate_version::text, "
       "payload::text, payload_bytes, content_type, correlation_id, causation_id, traceparent, headers::text, topic")
FIELDS = ("seq occurred_at event_id event_type event_version aggregate_type aggregate_id aggregate_version payload payload_bytes "
          "content_type correlation_id causation_id traceparent headers topic").split()


class Log:
    """A slot of pgoutput that is only looked at: the messages of the committed transactions since it was made."""

    def __init__(self, database):
        self.database, self.slot = database, f"look_{database.name}"
        database.execute("CREATE PUBLICATION nothing", user=SUPERUSER)
        database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (self.slot,), user=SUPERUSER)

    def drop(self):
        self.database.execute("SELECT pg_drop_replication_slot(%s)", (self.slot,), user=SUPERUSER)

    def messages(self):
        """(transactional, prefix, content) of each message, in order of commit."""
        rows = self.database.execute(
            "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1', 'publication_names', 'nothing', "
            "'messages', 'true')", (self.slot,), user=SUPERUSER)
        return [self._message(bytes(data)) for data, in rows if bytes(data)[:1] == b"M"]

    @staticmethod
    def _message(data):
        prefix, rest = data[10:].split(b"\0", 1)
        length, = struct.unpack(">i", rest[:4])
        assert len(rest) == 4 + length
        return data[1] & 1 == 1, prefix.decode(), rest[4:]

    def contents(self):
        messages = self.messages()
        assert all(m[:2] == (True, "outboxd.event") for m in messages)
        return [content for _, _, content in messages]

    def events(self):
        return [fields(content) for content in self.contents()]


def fields(content):
    """A message taken apart by its documented layout."""
    count, = struct.unpack(">h", content[:2])
    assert count == len(FIELDS)
    at, event = 2, {}
    for name in FIELDS:
        length, = struct.unpack(">i", content[at:at + 4])
        at += 4
        event[name] = None if length == -1 else content[at:at + length]
        at += max(length, 0)
    assert at == len(content)
    return event


def table_rows(database):
    """The rows of the table as COPY writes them for the relay, in order."""
    with contextlib.closing(database.connect(OWNER)) as connection, connection.cursor() as cursor:
        connection.set_client_encoding("UTF8")
        with open(os.path.join(os.environ.get("TMPDIR", "/tmp"), f"copy-{database.name}"), "w+b") as f:
            os.unlink(f.name)
            cursor.copy_expert(f"COPY (SELECT {ROW} FROM outbox.event ORDER BY seq) TO STDOUT (FORMAT binary)", f)
            f.seek(0)
            data = f.read()
    assert data[:11] == b"PGCOPY\n\xff\r\n\0" and data[-2:] == b"\xff\xff"
    rows, at = [], 19
    while at < len(data) - 2:
        start, at = at, at + 2
        for _ in FIELDS:
            length, = struct.unpack(">i", data[at:at + 4])
            at += 4 + max(length, 0)
        rows.append(data[start:at])
    return rows


@pytest.fixture
def log(database):
    log = Log(database)
    yield log
    log.drop()


@pytest.fixture
def app(database):
    """run(sql, *args) in a transaction of the application's, which the test ends."""
    with contextlib.closing(database.connect(APP, autocommit=False)) as connection:
        def run(sql, *args):
            with connection.cursor() as cursor:
                cursor.execute(sql, args or None)
                return cursor.fetchone()[0] if cursor.description and cursor.rowcount else None

        run.commit, run.rollback = connection.commit, connection.rollback
        yield run


def both(app, arguments, *args):
    """One call each of emit and emit_message with the same arguments."""
    for function in ("emit", "emit_message"):
        app(f"SELECT outbox.{function}({arguments}, event_id => '{EVENT_ID}', occurred_at => '{TIME}')", *args)


# -- the same event ----------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "only what must be": "'order.placed', 'order', '17', '{}'",
    "everything": f"""'order.placed', 'order', '17', '{{"b": [1, 2.50, null], "a": "x"}}', 3, 9000000000, 'c', 'k', '{TRACE}',
                      '{{"tenant": "north"}}', content_type => 'application/json', topic => 'orders.events'""",
    "a tombstone": "'order.gone', 'order', '17', NULL",
    "no key": "'order.placed', 'order', NULL, '1'",
    "json null": "'order.placed', 'order', '17', 'null'",
    "bytes": "'order.photo', 'order', '17', NULL, payload_bytes => '\\x00ff5c27', content_type => 'image/png'",
    "no bytes": "'order.photo', 'order', '17', NULL, payload_bytes => ''",
    "empty texts": "'order.placed', 'order', '', '\"\"', content_type => '', correlation_id => '', causation_id => '', headers => '{}'",
    "beyond ASCII": "'size.changed', 'size', 'ü€𝄞', '{\"ü\": \"€𝄞\\u00e9\"}', headers => '{\"ort\": \"Zürich\"}', correlation_id => 'ß€'",
    "a large payload": "'order.placed', 'order', '17', to_jsonb(repeat('x', 900000))",
    "explicit nulls": "'order.placed', 'order', '17', '{}', NULL, NULL, NULL, NULL, NULL, NULL"}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_message_is_byte_for_byte_the_row(app, log, arguments):
    both(app, arguments)
    app.commit()
    assert log.contents() == table_rows(log.database)


def test_the_layout_is_the_documented_one(app, log):
    event_id = app("SELECT outbox.emit_message('order.placed', 'order', '17', '{\"total\": 42.50}', occurred_at => '2000-01-01 00:00:01+00')")
    app.commit()
    assert log.events() == [{
        "seq": None, "occurred_at": struct.pack(">q", 1_000_000), "event_id": event_id.encode(), "event_type": b"order.placed",
        "event_version": b"1", "aggregate_type": b"order", "aggregate_id": b"17", "aggregate_version": None,
        "payload": b'{"total": 42.50}', "payload_bytes": None, "content_type": None, "correlation_id": event_id.encode(),
        "causation_id": None, "traceparent": None, "headers": None, "topic": None}]


def test_context_is_filled_in_as_in_a_row(app, log):
    app("SELECT outbox.set_context('checkout', 'cart', %s)", TRACE)
    both(app, "'order.placed', 'order', '17', '{}'")
    both(app, "'order.placed', 'order', '17', '{}', correlation_id => 'own'")
    app("SELECT outbox.set_context()")
    both(app, "'order.placed', 'order', '17', '{}'")
    app.commit()
    assert log.contents() == table_rows(log.database)
    assert [(e["correlation_id"], e["causation_id"], e["traceparent"]) for e in log.events()] == [
        (b"checkout", b"cart", TRACE.encode()), (b"own", b"cart", TRACE.encode()), (EVENT_ID.encode(), None, None)]


def test_settings_of_the_session_change_nothing(app, log):
    app("SET LOCAL TimeZone = 'Asia/Kathmandu'; SET LOCAL DateStyle = 'German'; SET LOCAL bytea_output = 'escape'; "
        "SET LOCAL extra_float_digits = 0; SET LOCAL client_encoding = 'LATIN1'")
    both(app, "'order.photo', 'order', '17', NULL, payload_bytes => '\\xff00', headers => '{\"size\": 0.1}'")
    app.commit()
    assert log.contents() == table_rows(log.database)


def test_ids_are_version_7_and_time_is_of_the_call(app, log):
    app("SELECT pg_sleep(0.01)")
    ids = {app("SELECT outbox.emit_message('order.placed', 'order', '1', '{}')") for _ in range(20)}
    assert len(ids) == 20 and {i[14] for i in ids} == {"7"}
    start = app("SELECT (extract(epoch FROM now() - '2000-01-01 00:00:00+00') * 1000000)::bigint")
    app.commit()
    assert all(struct.unpack(">q", e["occurred_at"])[0] > start for e in log.events())


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_message_is_utf8_in_a_database_of_another_encoding(postgres, encoding):
    name = f"other_{encoding.lower()}_{os.getpid()}"
    postgres.execute(f"CREATE DATABASE {name} OWNER {OWNER} ENCODING {encoding} LOCALE 'C' TEMPLATE template0")
    database = Database(postgres, name)
    try:
        migrate(database)
        log = Log(database)
        try:
            with contextlib.closing(database.connect(OWNER, autocommit=False)) as connection, connection.cursor() as cursor:
                connection.set_client_encoding("UTF8")

                def run(sql):
                    cursor.execute(sql)

                both(run, "'size.changed', 'size', 'größe', '{\"ü\": \"é\"}', headers => '{\"ort\": \"Zürich\"}', payload_bytes => NULL")
                both(run, "'a', 'order', '1', NULL, payload_bytes => '\\xfc'")
                connection.commit()
            assert log.events()[0]["aggregate_id"] == "größe".encode()
            assert log.events()[0]["payload"] == '{"ü": "é"}'.encode() and log.events()[1]["payload_bytes"] == b"\xfc"
            assert log.contents() == table_rows(database)
            if encoding == "SQL_ASCII":
                with pytest.raises(psycopg2.Error, match="invalid byte sequence"):
                    database.execute("SELECT outbox.emit_message('a', 'order', E'1\\xfc', '{}')")
        finally:
            log.drop()
    finally:
        database.drop()


# -- transactions -------------------------------------------------------------------------------------------------------


def test_only_committed_transactions_leave_messages(app, log):
    def emit(name):
        app("SELECT outbox.emit_message(%s, 'order', '17', '{}')", name)

    emit("gone")
    app.rollback()
    emit("first")
    app("SAVEPOINT s")
    emit("taken.back")
    app("ROLLBACK TO SAVEPOINT s")
    emit("second")
    app.commit()
    emit("open")
    assert [e["event_type"] for e in log.events()] == [b"first", b"second"]
    assert log.database.execute("SELECT 1 FROM outbox.event") == [], "no row, ever"


# -- refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit, size, fits", [(None, 998_900, True), (None, 999_000, False), (5000, 3800, True), (5000, 4000, False)])
def test_the_limit_of_the_record_holds(app, database, limit, size, fits):
    if limit:
        database.execute(f"CREATE OR REPLACE FUNCTION outbox.record_bytes_max() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT {limit}'")
    call = "SELECT outbox.emit_message('a', 'order', '1', to_jsonb(repeat('x', %s)))"
    if fits:
        app(call, size)
    else:
        with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match=f"is over the limit of {limit or 1000000} bytes"):
            app(call, size)


def test_only_the_writer_may_emit_messages(database, log):
    database.execute("SELECT outbox.emit_message('a', 'order', '1', '{}')", user=APP)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute("SELECT outbox.emit_message('a', 'order', '1', '{}')", user=RELAY)


def test_forging_can_be_forbidden_while_writer_and_relay_go_on(database, log):
    forge = "SELECT pg_logical_emit_message(true, 'outboxd.event', 'x'::bytea)"
    database.execute(forge, user=APP)
    migrate(database, "--guard-messages", user=SUPERUSER)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="pg_logical_emit_message"):
        database.execute(forge, user=APP)
    database.execute("SELECT pg_logical_emit_message(true, 'outboxd.flush', '')", user=RELAY)
    database.execute("SELECT outbox.set_context('c', wal => true); SELECT outbox.emit_message('a', 'order', '1', '{}')", user=APP)
    assert [prefix for _, prefix, _ in log.messages()] == ["outboxd.event", "outboxd.flush", "outboxd.context", "outboxd.event"]


def test_without_logical_decoding_it_is_refused(work_directory):
    server = PostgresServer(os.path.join(work_directory, "postgresql-replica"), settings={"wal_level": "replica"})
    try:
        server.start()
        server.create_roles()
        database = server.fresh_database("shop")
        migrate(database)
        database.execute("SELECT outbox.emit('a', 'order', '1', '{}')")
        with pytest.raises(psycopg2.errors.FeatureNotSupported, match="needs wal_level = logical, not replica") as caught:
            database.execute("SELECT outbox.emit_message('a', 'order', '1', '{}')")
        assert "ALTER SYSTEM SET wal_level = 'logical'" in caught.value.diag.message_hint
    finally:
        server.remove()


@pytest.mark.slow
@pytest.mark.parametrize("major", oldest_and_newest(POSTGRES_VERSIONS))
def test_every_postgresql_from_14_writes_the_row(work_directory, major):
    server = PostgresServer(os.path.join(work_directory, f"postgresql-messages-{major}"), major)
    try:
        server.start()
        server.create_roles()
        database = server.fresh_database("shop")
        migrate(database)
        with contextlib.closing(database.connect(OWNER, autocommit=False)) as connection, connection.cursor() as cursor:
            if major == "13":
                with pytest.raises(psycopg2.errors.FeatureNotSupported, match="needs PostgreSQL 14 or later"):
                    cursor.execute("SELECT outbox.emit_message('a', 'order', '1', '{}')")
                return
            log = Log(database)
            both(cursor.execute, ARGUMENTS["everything"])
            both(cursor.execute, ARGUMENTS["bytes"])
            connection.commit()
        migrate(database, "--guard-messages", user=SUPERUSER)
        database.execute("SELECT outbox.emit_message('a', 'order', '1', '{}')")
        assert log.contents()[:2] == table_rows(database) and len(log.contents()) == 3
    finally:
        server.remove()
