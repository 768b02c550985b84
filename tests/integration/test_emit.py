"""outbox.emit and outbox.set_context: what they fill in, what they refuse, who may call them."""

import contextlib
import datetime
import json
import uuid

import psycopg2
import psycopg2.errors
import pytest

from support.postgres import APP, RELAY, SUPERUSER
from support.relay import migrate

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-00"


@pytest.fixture
def app(database):
    """A session of the application; transactions are the test's to end."""
    with contextlib.closing(database.connect(APP, autocommit=False)) as connection:
        yield Session(connection, database)


class Session:
    def __init__(self, connection, database):
        self.connection, self.database = connection, database
        self.commit, self.rollback = connection.commit, connection.rollback

    def run(self, sql, *args):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, args or None)
            return cursor.fetchone()[0] if cursor.description and cursor.rowcount else None

    def emit(self, name):
        """Emit an event of this type; its id."""
        return self.run("SELECT outbox.emit(%s, 'order', '17', '{}')::text", name)

    def rows(self, columns="event_type, correlation_id, causation_id"):
        """Committed events in order of insertion."""
        return self.database.execute(f"SELECT {columns} FROM outbox.event ORDER BY seq")


# -- the row -----------------------------------------------------------------------------------------------------------


def test_four_arguments_are_enough(app):
    event_id = app.run("""SELECT outbox.emit('order.placed', 'order', '17', '{"total": 42.50}')""")
    app.commit()
    row = app.database.execute("SELECT to_jsonb(e) - 'occurred_at' FROM outbox.event e")[0][0]
    assert row == {"seq": 1, "event_id": event_id, "event_type": "order.placed", "event_version": 1, "aggregate_type": "order",
                   "aggregate_id": "17", "aggregate_version": None, "payload": {"total": 42.5}, "payload_bytes": None,
                   "content_type": None, "correlation_id": event_id, "causation_id": None, "traceparent": None, "headers": None,
                   "topic": None, "published_at": None}


ALL = {"event_type": "order.placed", "aggregate_type": "order", "aggregate_id": "17", "payload": None, "event_version": 3,
       "aggregate_version": 9_000_000_000, "correlation_id": "c", "causation_id": "k", "traceparent": TRACE, "headers": '{"tenant": "north"}',
       "event_id": "01900000-0000-7000-8000-000000000001", "occurred_at": "2026-02-03 04:05:06.789012+00", "content_type": "image/png",
       "payload_bytes": b"\x00\xff", "topic": "orders.events_v-2"}


@pytest.mark.parametrize("call", ["by position", "by name"])
def test_every_argument_reaches_its_column(app, call):
    places = ", ".join("%s" if call == "by position" else f"{name} => %s" for name in ALL)
    event_id = app.run(f"SELECT outbox.emit({places})", *ALL.values())
    app.commit()
    assert event_id == ALL["event_id"]
    row = dict(zip(ALL, app.database.execute(f"SELECT {', '.join(ALL)} FROM outbox.event")[0]))
    assert bytes(row["payload_bytes"]) == ALL["payload_bytes"] and row["headers"] == {"tenant": "north"}
    assert row["occurred_at"] == datetime.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=datetime.timezone.utc)
    for name in set(ALL) - {"payload_bytes", "headers", "occurred_at"}:
        assert row[name] == ALL[name], name


def test_explicit_nulls_are_the_defaults(app):
    nulls = ", ".join(f"{name} => NULL" for name in ALL if name not in ("event_type", "aggregate_type", "aggregate_id", "payload"))
    event_id = app.run(f"SELECT outbox.emit('order.placed', 'order', NULL, NULL, {nulls})")
    app.commit()
    assert app.rows("event_id::text, event_version, correlation_id, aggregate_id, occurred_at > now() - interval '1 min'") == [
        (event_id, 1, event_id, None, True)]


def test_event_ids_are_uuids_of_version_7_with_the_time_of_the_call(app):
    before = app.run("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    ids = [uuid.UUID(app.emit("order.placed")) for _ in range(50)]
    after = app.run("SELECT ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    assert len(set(ids)) == 50 and len({i.int & (1 << 62) - 1 for i in ids}) == 50
    for i in ids:
        assert i.version == 7 and i.variant == uuid.RFC_4122
        assert before <= i.int >> 80 <= after


def test_time_is_of_the_call_not_of_the_transaction(app):
    app.run("SELECT pg_sleep(0.01)")
    app.emit("order.placed")
    start = app.run("SELECT now()")
    app.commit()
    assert app.rows("occurred_at")[0][0] > start


def test_sql_null_is_a_tombstone_and_json_null_a_value(app):
    app.run("SELECT outbox.emit('a', 'order', '1', NULL), outbox.emit('b', 'order', '1', 'null')")
    app.commit()
    assert app.rows("event_type, payload IS NULL, payload::text") == [("a", True, None), ("b", False, "null")]


# -- correlation and causation -----------------------------------------------------------------------------------------


def test_context_is_filled_in_and_arguments_beat_it(app):
    app.run("SELECT outbox.set_context('checkout', 'cart', %s)", TRACE)
    app.emit("filled")
    app.run("SELECT outbox.emit('given', 'order', '17', '{}', correlation_id => 'c', causation_id => 'k', traceparent => %s)", OTHER_TRACE)
    app.run("SELECT outbox.emit('one', 'order', '17', '{}', causation_id => 'k')")
    app.commit()
    assert app.rows("event_type, correlation_id, causation_id, traceparent") == [
        ("filled", "checkout", "cart", TRACE), ("given", "c", "k", OTHER_TRACE), ("one", "checkout", "k", TRACE)]


def test_context_ends_with_the_transaction(app):
    for end in (app.commit, app.rollback):
        app.run("SELECT outbox.set_context('checkout', 'cart', %s)", TRACE)
        end()
        event_id = app.emit("after")
        app.commit()
        assert app.rows("event_type, correlation_id, causation_id, traceparent")[-1] == ("after", event_id, None, None)


def test_context_of_a_statement_of_its_own_is_gone_at_once(database):
    with contextlib.closing(database.connect(APP)) as connection:
        app = Session(connection, database)
        app.run("SELECT outbox.set_context('checkout', 'cart')")
        event_id = app.emit("after")
        assert app.rows() == [("after", event_id, None)]


def test_null_clears_the_context(app):
    app.run("SELECT outbox.set_context('checkout', 'cart', %s)", TRACE)
    app.run("SELECT outbox.set_context('other', NULL)")
    app.emit("part")
    app.run("SELECT outbox.set_context(NULL, NULL, NULL)")
    event_id = app.emit("none")
    app.commit()
    assert app.rows("event_type, correlation_id, causation_id, traceparent") == [
        ("part", "other", None, None), ("none", event_id, None, None)]


@pytest.fixture
def nested(database):
    """place_order() sets the context and calls pay(), which emits; a trigger emits too; risky() sets and fails inside a block."""
    database.execute("""
        CREATE TABLE public.basket (id int);
        CREATE FUNCTION public.pay() RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
            BEGIN PERFORM outbox.emit('order.paid', 'order', '17', '{}'); END $$;
        CREATE FUNCTION public.place_order(c text) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
            DECLARE placed uuid;
            BEGIN
                PERFORM outbox.set_context(c, 'cart');
                placed := outbox.emit('order.placed', 'order', '17', '{}');
                PERFORM outbox.set_context(c, placed::text);
                PERFORM pay();
            END $$;
        CREATE FUNCTION public.on_basket() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM outbox.emit('basket.changed', 'basket', NEW.id::text, to_jsonb(NEW)); RETURN NULL; END $$;
        CREATE TRIGGER on_basket AFTER INSERT ON public.basket FOR EACH ROW EXECUTE FUNCTION public.on_basket();
        CREATE FUNCTION public.risky() RETURNS void LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM outbox.set_context('risk', 'taken');
                PERFORM outbox.emit('risk.taken', 'order', '17', '{}');
                RAISE EXCEPTION 'no';
            EXCEPTION WHEN raise_exception THEN
                PERFORM outbox.emit('risk.survived', 'order', '17', '{}');
            END $$;
        GRANT INSERT ON public.basket TO """ + APP)


def test_context_reaches_nested_functions_and_triggers_and_outlives_them(app, nested):
    app.run("SELECT public.place_order('checkout')")
    app.run("INSERT INTO public.basket VALUES (5)")
    app.emit("later")
    app.commit()
    placed = app.rows("event_id::text")[0][0]
    assert app.rows() == [("order.placed", "checkout", "cart"), ("order.paid", "checkout", placed),
                          ("basket.changed", "checkout", placed), ("later", "checkout", placed)]


def test_a_caught_exception_takes_events_and_context_back(app, nested):
    app.run("SELECT outbox.set_context('checkout', 'cart')")
    app.run("SELECT public.risky()")
    app.emit("after")
    app.commit()
    assert app.rows() == [("risk.survived", "checkout", "cart"), ("after", "checkout", "cart")]


def test_rollback_to_a_savepoint_restores_the_context(app):
    app.run("SELECT outbox.set_context('outer', 'o')")
    app.run("SAVEPOINT s")
    app.run("SELECT outbox.set_context('inner', 'i')")
    app.emit("gone")
    app.run("ROLLBACK TO SAVEPOINT s")
    app.emit("outer")
    app.run("SAVEPOINT t")
    app.run("SELECT outbox.set_context('kept', 'k')")
    app.run("RELEASE SAVEPOINT t")
    app.emit("kept")
    app.commit()
    assert app.rows() == [("outer", "outer", "o"), ("kept", "kept", "k")]


def test_a_rolled_back_transaction_leaves_no_event(app):
    app.emit("gone")
    app.rollback()
    assert app.rows() == []


def test_sessions_do_not_see_each_others_context(app, database):
    app.run("SELECT outbox.set_context('mine', 'm')")
    with contextlib.closing(database.connect(APP, autocommit=False)) as other:
        event_id = Session(other, database).emit("theirs")
        other.commit()
    assert app.rows() == [("theirs", event_id, None)]


# -- context for change capture, through the WAL ---------------------------------------------------------------------------


@pytest.fixture
def messages(database):
    """messages() -> contents of the logical messages since the last call, as JSON objects."""
    slot = f"messages_{database.name}"
    database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')", user=SUPERUSER)

    def read():
        rows = database.execute(f"SELECT data FROM pg_logical_slot_get_changes('{slot}', NULL, NULL)", user=SUPERUSER)
        found = [data for data, in rows if data.startswith("message:")]
        assert all("transactional: 1 prefix: outboxd.context," in data for data in found), found
        return [json.loads(data.split("content:", 1)[1]) for data in found]

    yield read
    database.execute(f"SELECT pg_drop_replication_slot('{slot}')", user=SUPERUSER)


def test_context_is_written_to_the_wal_when_asked(app, messages):
    app.run("SELECT outbox.set_context('checkout', 'cart \"7\"', %s, wal => true)", TRACE)
    app.commit()
    app.run("SELECT outbox.set_context(wal => true)")
    app.commit()
    app.run("SELECT outbox.set_context('rolled', 'back', wal => true)")
    app.rollback()
    assert messages() == [{"correlation_id": "checkout", "causation_id": 'cart "7"', "traceparent": TRACE},
                          {"correlation_id": None, "causation_id": None, "traceparent": None}]


def test_the_setting_decides_when_wal_is_null(app, messages):
    app.run("SELECT outbox.set_context('default', 'off')")
    assert app.run("SELECT pg_current_xact_id_if_assigned()") is None, "a read-only request must not pay for an xid"
    app.commit()
    app.run("SET outbox.context_in_wal = on")
    app.run("SELECT outbox.set_context('setting', 'on'), outbox.set_context('argument', 'off', wal => false)")
    app.commit()
    assert [m["correlation_id"] for m in messages()] == ["setting"]


def test_set_context_works_in_a_read_only_transaction(app):
    app.run("SET TRANSACTION READ ONLY")
    app.run("SELECT outbox.set_context('checkout', 'cart')")
    app.commit()


# -- what could never be published -----------------------------------------------------------------------------------------


def refusal(app, sql, *args):
    """The error of a call in the middle of the application's transaction, of which nothing may remain."""
    app.emit("before")
    with pytest.raises(psycopg2.Error) as caught:
        app.run(sql, *args)
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        app.run("SELECT 1")
    app.rollback()
    assert app.rows() == []
    assert caught.value.diag.message_hint, "an error names its remedy"
    return caught.value


@pytest.mark.parametrize("arguments, message", [
    ("'', 'order', '1', '{}'", "event_type is empty"),
    ("NULL, 'order', '1', '{}'", "event_type is empty"),
    ("'a', '', '1', '{}'", "aggregate_type is empty"),
    ("'a', NULL, '1', '{}'", "aggregate_type is empty"),
    ("'a', 'order', '1', '{}', payload_bytes => 'x'", "payload and payload_bytes are both given"),
    ("'a', 'order', '1', 'null', payload_bytes => ''", "payload and payload_bytes are both given"),
    ("'a', 'order', '1', '{}', headers => '[1]'", "headers is not a JSON object"),
    ("'a', 'order', '1', '{}', headers => 'null'", "headers is not a JSON object"),
    ("'a', 'order', '1', '{}', occurred_at => 'infinity'", "occurred_at is infinity"),
    ("'a', 'order', '1', '{}', topic => ''", "topic is not a name"),
    ("'a', 'order', '1', '{}', topic => '..'", "topic is not a name"),
    ("'a', 'order', '1', '{}', topic => 'orders events'", "topic is not a name"),
    ("'a', 'order', '1', '{}', topic => E'orders\\n'", "topic is not a name"),
    ("'a', 'order', '1', '{}', topic => 'größe'", "topic is not a name"),
    ("'a', 'order', '1', '{}', topic => repeat('x', 250)", "topic is not a name")])
@pytest.mark.parametrize("function", ["emit", "emit_message"])
def test_what_cannot_be_published_is_refused(app, function, arguments, message):
    error = refusal(app, f"SELECT outbox.{function}({arguments})")
    assert error.diag.message_primary.startswith(message)
    assert error.diag.sqlstate == "22023" and error.diag.message_detail


def test_the_longest_topic_is_accepted(app):
    app.run("SELECT outbox.emit('a', 'order', '1', '{}', topic => repeat('x', 249))")


@pytest.mark.parametrize("bad", [
    "", "00", TRACE.upper(), TRACE[:-1], TRACE + "-more", TRACE + "\n", " " + TRACE, "ff" + TRACE[2:], TRACE.replace("0af76519", "0af7651g"),
    "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "01" + TRACE[2:] + "-\r\nx", "01" + TRACE[2:] + "-" + "x" * 600])
def test_malformed_traceparents_are_refused(app, bad):
    if bad == "":
        app.run("SELECT outbox.set_context('c', 'k', ''), outbox.emit('a', 'order', '1', '{}', traceparent => '')")
        app.commit()
        assert app.rows("traceparent") == [(None,)], "an empty one counts as none"
        return
    for sql in ("SELECT outbox.emit('a', 'order', '1', '{}', traceparent => %s)", "SELECT outbox.set_context('c', 'k', %s)",
                "SELECT outbox.emit_message('a', 'order', '1', '{}', traceparent => %s)"):
        assert refusal(app, sql, bad).diag.message_primary == "traceparent is malformed"


def test_a_malformed_traceparent_in_the_setting_is_refused_too(app):
    sql = "SELECT set_config('outbox.traceparent', 'garbage', true); SELECT outbox.emit('a', 'order', '1', '{}')"
    assert refusal(app, sql).diag.message_primary == "traceparent is malformed"


def test_later_versions_of_traceparent_may_be_longer(app):
    later = "01" + TRACE[2:] + "-what-the-future-holds"
    app.run("SELECT outbox.emit('a', 'order', '1', '{}', traceparent => %s)", later)
    app.commit()
    assert app.rows("traceparent") == [(later,)]


def test_the_record_is_limited_by_the_bytes_that_would_be_sent(app):
    text = "SELECT outbox.emit('a', 'b', '1', to_jsonb(repeat('x', %s)), correlation_id => 'c')"
    raw = "SELECT outbox.emit('a', 'b', '1', NULL, payload_bytes => convert_to(repeat('x', %s), 'UTF8'), correlation_id => 'c')"
    rest = 1 + 1 + 2 + 1 + 1024  # types, the key twice, the correlation id, the envelope
    app.run(text, 1_000_000 - rest - 2)  # and two quotes
    app.run(raw, 1_000_000 - rest)
    app.rollback()
    for sql, size in ((text, 1_000_000 - rest - 1), (raw, 1_000_000 - rest + 1)):
        error = refusal(app, sql, size)
        assert error.diag.sqlstate == "54000" and "1000001 bytes is over the limit of 1000000 bytes" in error.diag.message_primary
    # A number of few bytes that prints as many.
    assert refusal(app, "SELECT outbox.emit('a', 'order', '1', to_jsonb(array_fill(1e100000::numeric, ARRAY[11])))").diag.sqlstate == "54000"
    assert refusal(app, "SELECT outbox.emit('a', 'order', '1', to_jsonb(repeat('ü', 500000)))").diag.sqlstate == "54000"
    assert refusal(app, "SELECT outbox.emit('a', 'order', '1', to_jsonb(repeat('x', 950000)), headers => jsonb_build_object('h', repeat('x', 60000)))"
                   ).diag.sqlstate == "54000"


def replace_function(database, name, returns, value):
    database.execute(f"CREATE OR REPLACE FUNCTION outbox.{name}() RETURNS {returns} LANGUAGE sql IMMUTABLE AS $$ SELECT {value} $$")


def test_the_owner_may_replace_the_limit_and_nobody_else(app, database):
    replace_function(database, "record_bytes_max", "integer", "1100")
    app.run("SELECT outbox.emit('a', 'order', '1', '{}')")
    app.rollback()
    assert "limit of 1100 bytes" in refusal(app, "SELECT outbox.emit('a', 'order', '1', to_jsonb(repeat('x', 60)))").diag.message_primary
    replace_function(database, "record_bytes_max", "integer", "2000000")
    app.run("SET LOCAL outbox.payload_bytes_max = '10'; SELECT outbox.emit('a', 'order', '1', to_jsonb(repeat('x', 1500000)))")
    app.rollback()
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        app.run("CREATE OR REPLACE FUNCTION outbox.record_bytes_max() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1'")
    app.rollback()


BAD_TYPES = ["order placed", "größe", "a/b", "a\nb", "x" * 201, " ", "a;b", "${x}"]


@pytest.mark.parametrize("bad", BAD_TYPES)
def test_types_are_names(app, bad):
    for sql in ("SELECT outbox.emit(%s, 'order', '1', '{}')", "SELECT outbox.emit('a', %s, '1', '{}')", "SELECT outbox.emit_message(%s, 'order', '1', '{}')"):
        error = refusal(app, sql, bad)
        assert error.diag.sqlstate == "22023" and "is not allowed" in error.diag.message_primary and "type_pattern()" in error.diag.message_detail
    app.run("SELECT outbox.emit(%s, %s, '1', '{}')", "x" * 200, "A.b_c-9")


def test_the_owner_may_replace_the_pattern_of_types(app, database):
    replace_function(database, "type_pattern", "text", "'^[a-z ]{1,10}$'")
    app.run("SELECT outbox.emit('order paid', 'order', '1', '{}')")
    app.rollback()
    for bad in ("order.paid", "x" * 11, ""):
        assert refusal(app, "SELECT outbox.emit(%s, 'order', '1', '{}')", bad).diag.sqlstate == "22023"


LENGTHS = {"aggregate_id": 65536, "correlation_id": 1024, "causation_id": 1024, "content_type": 255}


@pytest.mark.parametrize("field", LENGTHS)
def test_ids_have_lengths_in_bytes(app, field):
    def sql(name="emit"):
        key, named = ("%s", "") if field == "aggregate_id" else ("'1'", f", {field} => %s")
        return f"SELECT outbox.{name}('a', 'order', {key}, '{{}}'{named})"

    limit = LENGTHS[field]
    app.run(sql(), "x" * limit)
    app.run(sql(), "ü" * (limit // 2))
    app.rollback()
    for bad in ("x" * (limit + 1), "ü" * (limit // 2 + 1)):
        for name in ("emit", "emit_message"):
            error = refusal(app, sql(name), bad)
            assert error.diag.sqlstate == "54000" and error.diag.message_primary.startswith(field), error


def test_an_id_of_the_context_has_the_same_limit(app):
    sql = "SELECT set_config('outbox.correlation_id', repeat('x', 1025), true); SELECT outbox.emit('a', 'order', '1', '{}')"
    assert refusal(app, sql).diag.message_primary.startswith("correlation_id")


def nest(levels):
    return {"a": json.loads("[" * levels + "]" * levels)} if levels else {"a": 1}


def test_headers_have_limits(app):
    sql = "SELECT outbox.emit('a', 'order', '1', '{}', headers => %s)"
    for good in ({f"h{n}": n for n in range(256)}, nest(32), {"h": "x" * (65536 - 10)}, {}, {"": 1}, {"a": {"b": [[1, {"c": None}]]}}):
        app.run(sql, json.dumps(good))
    app.rollback()
    for bad in ({f"h{n}": n for n in range(257)}, nest(33), nest(500), {"h": "x" * 65536}):
        error = refusal(app, sql, json.dumps(bad))
        assert error.diag.sqlstate == "54000" and error.diag.message_primary.startswith("headers"), error


@pytest.mark.parametrize("name", ["ce_id", "CE_ID", "Ce_anything", "content-type", "Content-Type", "content_type", "traceparent", "event_id", "event_type",
                                  "event_version", "aggregate_type", "aggregate_id", "aggregate_version", "occurred_at", "correlation_id",
                                  "causation_id", "outboxd_seq", "OUTBOXD_lsn"])
def test_names_of_the_envelope_are_reserved(app, name):
    for sql in ("SELECT outbox.emit('a', 'order', '1', '{}', headers => %s)", "SELECT outbox.emit_message('a', 'order', '1', '{}', headers => %s)"):
        error = refusal(app, sql, json.dumps({"tenant": "acme", name: "x"}))
        assert error.diag.sqlstate == "42939" and f'"{name}"' in error.diag.message_primary, error
    # Not as a value, nor below a member, nor as a part of a name.
    app.run("SELECT outbox.emit('a', 'order', '1', '{}', headers => %s)",
            json.dumps({"x": name, "y": {name: 1}, "x_" + name: 1, "quoted": f'"{name}": 1', "ce": 1, "event": 2, "content": 3}))


@pytest.mark.parametrize("columns, values", [
    ("event_type, aggregate_type", "'', 'b'"), ("event_type, aggregate_type", "'a', ''"), ("event_type, aggregate_type", "NULL, 'b'"),
    ("event_type, aggregate_type, payload, payload_bytes", "'a', 'b', '1', 'x'"), ("event_type, aggregate_type, headers", "'a', 'b', '[]'"),
    ("event_type, aggregate_type, occurred_at", "'a', 'b', 'infinity'"), ("seq, event_type, aggregate_type", "5, 'a', 'b'")])
def test_the_table_itself_refuses_what_makes_no_event(database, columns, values):
    with pytest.raises(psycopg2.Error):
        database.execute(f"INSERT INTO outbox.event ({columns}) VALUES ({values})")


# -- who may do what ---------------------------------------------------------------------------------------------------------

RELAY_MAY = {
    "event": "SELECT DELETE", "position": "SELECT INSERT UPDATE DELETE", "publisher": "SELECT INSERT UPDATE DELETE", "dead_letter": "SELECT INSERT UPDATE DELETE", "backlog": "SELECT",
    "slot_health": "SELECT", "migration": "SELECT"}


def test_rights_on_tables_and_views_are_exactly_those_of_the_roles(database):
    for role, rights in (("outbox_writer", {}), ("outbox_relay", RELAY_MAY)):
        for table in RELAY_MAY:
            wanted = set(rights.get(table, "").split())
            have = {p for p in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
                    if database.scalar("SELECT has_table_privilege(%s, 'outbox.' || %s, %s)", (role, table, p))}
            assert have == wanted, (role, table)
    updatable = database.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'outbox.event'::regclass AND attnum > 0 "
                                 "AND has_column_privilege('outbox_relay', attrelid, attnum, 'UPDATE')")
    assert updatable == [("published_at",)]


def test_rights_on_functions_and_the_schema(database):
    rows = database.execute("SELECT proname, has_function_privilege('outbox_writer', oid, 'EXECUTE'), has_function_privilege('outbox_relay', "
                            "oid, 'EXECUTE') FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace ORDER BY 1")
    assert rows == [("check_event", False, False), ("check_headers", False, False), ("check_traceparent", False, False), ("emit", True, False),
                    ("emit_message", True, False), ("message_field", False, False), ("new_event_id", True, True), ("octets", False, False),
                    ("record_bytes_max", True, True), ("refuse_length", False, False), ("set_context", True, False), ("type_pattern", True, True)]
    for role in ("outbox_writer", "outbox_relay"):
        assert database.scalar("SELECT has_schema_privilege(%s, 'outbox', 'USAGE') AND NOT has_schema_privilege(%s, 'outbox', 'CREATE')",
                               (role, role))
    assert database.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'outbox\\_%' AND (rolcanlogin OR rolsuper OR rolcreaterole "
                            "OR rolcreatedb OR rolreplication OR rolbypassrls)") == []


def test_the_writer_emits_and_touches_nothing_else(app):
    app.emit("order.placed")
    app.commit()
    for sql in ("SELECT * FROM outbox.event", "DELETE FROM outbox.event", "INSERT INTO outbox.event (event_type, aggregate_type) "
                "VALUES ('a', 'b')", "SELECT * FROM outbox.backlog", "SELECT * FROM outbox.dead_letter"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            app.run(sql)
        app.rollback()


def test_the_relay_does_its_work_and_nothing_else(database):
    database.execute("SELECT outbox.emit('a', 'order', '1', '{}') FROM generate_series(1, 3)", user=APP)
    for sql in ("SELECT * FROM outbox.event WHERE published_at IS NULL ORDER BY seq", "UPDATE outbox.event SET published_at = now() WHERE seq = 1",
                "DELETE FROM outbox.event WHERE seq = 2", "INSERT INTO outbox.event (event_type, aggregate_type) VALUES ('a', 'b')",
                "INSERT INTO outbox.dead_letter (pipeline, reason) VALUES ('p', 'r')",
                "UPDATE outbox.dead_letter SET attempts = attempts + 1", "DELETE FROM outbox.dead_letter",
                "INSERT INTO outbox.position VALUES ('p', '7', 1, 's', '0/1') ON CONFLICT (pipeline) DO UPDATE SET lsn = excluded.lsn",
                "DELETE FROM outbox.position", "SELECT last_value FROM outbox.event_seq_seq"):
        database.execute(sql, user=RELAY)
    for sql in ("UPDATE outbox.event SET payload = '{}'",
                "INSERT INTO outbox.event (event_type, aggregate_type, published_at) VALUES ('a', 'b', now())",
                "TRUNCATE outbox.event", "SELECT outbox.emit('a', 'order', '1', '{}')", "TRUNCATE outbox.position",
                "SELECT setval('outbox.event_seq_seq', 1)", "SELECT nextval('outbox.event_seq_seq')",
                "INSERT INTO outbox.migration VALUES (9, 'x', 'x', now(), 'x', 'x', 1)", "CREATE TABLE outbox.mine ()"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            database.execute(sql, user=RELAY)


def test_the_public_may_do_nothing(empty_database):
    migrate(empty_database, "--no-roles")
    # Even with a way into the schema: the functions are not PUBLIC's either.
    empty_database.execute("GRANT USAGE ON SCHEMA outbox TO PUBLIC")
    for call in ("emit('a', 'order', '1', '{}')", "emit_message('a', 'order', '1', '{}')", "set_context('c')", "check_traceparent('x')",
                 "check_event('a', 'b', 'c', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)", "message_field('x')",
                 "check_headers('{}', 2)", "octets('x')", "refuse_length('x', 1, 1, 'x')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="permission denied for function"):
            empty_database.execute(f"SELECT outbox.{call}", user=APP)


# -- attempts to run code with the owner's rights -----------------------------------------------------------------------------

TRAP = """
    CREATE TABLE {s}.caught (who text);
    GRANT ALL ON {s}.caught TO PUBLIC;
    CREATE FUNCTION {s}.trap() RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO {s}.caught VALUES (current_user); RETURN true; END $$;
"""
SHADOWS = """
    CREATE FUNCTION {s}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT {s}.trap(); SELECT pg_catalog.clock_timestamp()';
    CREATE FUNCTION {s}.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT {s}.trap(); SELECT ''''::text';
    CREATE FUNCTION {s}.gen_random_uuid() RETURNS uuid LANGUAGE sql AS 'SELECT {s}.trap(); SELECT pg_catalog.gen_random_uuid()';
    CREATE FUNCTION {s}.octet_length(text) RETURNS int LANGUAGE sql AS 'SELECT {s}.trap(); SELECT 1';
    CREATE FUNCTION {s}.convert_to(text, name) RETURNS bytea LANGUAGE sql AS 'SELECT {s}.trap(); SELECT ''''::bytea';
    CREATE FUNCTION {s}.join(bytea, bytea) RETURNS bytea LANGUAGE sql AS 'SELECT {s}.trap(); SELECT ''''::bytea';
    CREATE OPERATOR {s}.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = {s}.join);
    CREATE FUNCTION {s}.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT {s}.trap()';
    CREATE OPERATOR {s}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {s}.same);
    CREATE OPERATOR {s}.!~ (LEFTARG = text, RIGHTARG = text, FUNCTION = {s}.same);
"""
TYPES = """
    CREATE DOMAIN {s}.text AS pg_catalog.text CHECK ({s}.trap());
    CREATE DOMAIN {s}.uuid AS pg_catalog.uuid CHECK ({s}.trap());
    CREATE DOMAIN {s}.jsonb AS pg_catalog.jsonb CHECK ({s}.trap());
    CREATE DOMAIN {s}.bytea AS pg_catalog.bytea CHECK ({s}.trap());
"""
CALLS = ("SELECT outbox.set_context('c', 'k', '%s', wal => true), outbox.emit('order.placed', 'order', '17', '{}', headers => '{}', "
         "topic => 't', traceparent => '%s'), outbox.emit_message('order.placed', 'order', '17', '{}', headers => '{}', topic => 't', "
         "traceparent => '%s')" % (TRACE, TRACE, TRACE))


def test_objects_early_in_the_search_path_are_not_called(database):
    database.execute(f"CREATE SCHEMA evil AUTHORIZATION {APP}", user=SUPERUSER)
    with contextlib.closing(database.connect(APP)) as connection:
        evil = Session(connection, database)
        evil.run("GRANT USAGE ON SCHEMA evil TO PUBLIC")  # else the owner would not even look there
        evil.run((TRAP + SHADOWS + TYPES).format(s="evil"))
        evil.run("CREATE TABLE evil.event (event_type pg_catalog.text)")
        evil.run("SET search_path = evil, pg_catalog, outbox")
        with pytest.raises(psycopg2.Error):  # the trap itself works
            evil.run("SELECT 'x'::pg_catalog.text = 'y'::pg_catalog.text; SELECT 1/0")
        evil.run("SELECT 'x'::pg_catalog.text = 'y'::pg_catalog.text")
        evil.run(CALLS)
    assert set(database.execute("SELECT who FROM evil.caught", user=SUPERUSER)) == {(APP,)}
    assert len(database.execute("SELECT 1 FROM outbox.event")) == 1


def test_temporary_types_and_tables_are_not_found_first(database):
    with contextlib.closing(database.connect(APP)) as connection:
        evil = Session(connection, database)
        evil.run((TRAP + SHADOWS + TYPES).format(s="pg_temp"))
        evil.run("CREATE TEMP TABLE event (event_type pg_catalog.text)")
        evil.run("CREATE TEMP VIEW pg_class AS SELECT pg_temp.trap()")
        evil.run("SELECT 'x'::pg_temp.text")
        evil.run(CALLS)
        assert evil.run("SELECT pg_catalog.string_agg(DISTINCT who, ' ') FROM pg_temp.caught") == APP, "nothing of it ran as the owner"
    assert len(database.execute("SELECT 1 FROM outbox.event")) == 1


def test_a_direct_insert_draws_its_id_whatever_the_search_path(database):
    database.execute(f"GRANT USAGE ON SCHEMA outbox TO {APP}; GRANT INSERT ON outbox.event TO {APP}")
    database.execute(f"CREATE SCHEMA evil AUTHORIZATION {APP}", user=SUPERUSER)
    with contextlib.closing(database.connect(APP)) as connection:
        session = Session(connection, database)
        session.run((TRAP + SHADOWS).format(s="evil"))
        session.run("SET search_path = evil, pg_catalog")
        session.run("INSERT INTO outbox.event (event_type, aggregate_type) VALUES ('a', 'b')")
        session.run("RESET search_path")
    assert database.execute("SELECT substr(event_id::text, 15, 1) FROM outbox.event") == [("7",)]
    assert database.execute("SELECT * FROM evil.caught", user=SUPERUSER) == []
