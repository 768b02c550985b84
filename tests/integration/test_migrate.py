"""`outboxd migrate`: what it makes, what it refuses, and that a refusal changes nothing."""

import contextlib
import os
import re
import subprocess

import psycopg2
import pytest

from conftest import oldest_and_newest, soak
from support.common import eventually
from support.fetch import POSTGRES_VERSIONS
from support.postgres import APP, OWNER, PASSWORDS, RELAY, SUPERUSER, PostgresServer
from support.relay import clean_environment, migrate, outboxd, outboxd_binary

ALL_GONE = "SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox'"
ROLES = "SELECT coalesce(string_agg(rolname, ' ' ORDER BY rolname), '') FROM pg_roles WHERE rolname LIKE 'outbox\\_%'"
EVENT_COLUMNS = """seq bigint, event_id uuid, event_type text, event_version integer, aggregate_type text, aggregate_id text,
aggregate_version bigint, payload jsonb, payload_bytes bytea, content_type text, correlation_id text, causation_id text,
traceparent text, headers jsonb, topic text, occurred_at timestamp with time zone, published_at timestamp with time zone"""


@pytest.fixture(scope="module")
def cluster(work_directory):
    """A server of our own: roles belong to the whole cluster, and these tests make and drop them."""
    server = PostgresServer(os.path.join(work_directory, "postgresql-roles"))
    server.start()
    server.create_roles()
    yield server
    server.remove()


@pytest.fixture
def lonely(cluster):
    """A database of a cluster where nobody else uses the roles."""
    database = cluster.fresh_database("lonely")
    yield database
    database.drop()
    cluster.execute("DROP ROLE IF EXISTS outbox_writer; DROP ROLE IF EXISTS outbox_relay")


def dump(database, *more):
    """The database as pg_dump sees it, without what differs from run to run."""
    result = subprocess.run(["pg_dump", "-d", database.dsn(SUPERUSER), *more], check=True, text=True, stdout=subprocess.PIPE)
    text = re.sub(r"^\\(un)?restrict .*$", "", result.stdout, flags=re.M)
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


@contextlib.contextmanager
def unchanged(database):
    """What runs inside must leave tables, rights and rows as they were, and the roles too."""
    before = dump(database), database.scalar(ROLES)
    yield
    assert (dump(database), database.scalar(ROLES)) == before


def refusal(database, *args, pattern, user=OWNER, code=2):
    """migrate fails with `code`, says `pattern` on stderr and names a remedy."""
    result = migrate(database, *args, user=user, expect=code)
    assert re.search(pattern, result.stderr), result.stderr
    assert "\n  remedy: " in result.stderr, result.stderr
    assert PASSWORDS[user] not in result.stdout + result.stderr
    return result


def refused(database, *args, **said):
    """A refusal that changes nothing."""
    with unchanged(database):
        return refusal(database, *args, **said)


def versions(database):
    return [v for v, in database.execute("SELECT version FROM outbox.migration ORDER BY version")]


def columns(database, table):
    return database.scalar("SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute "
                           "WHERE attrelid = %s::regclass AND attnum > 0", (table,))


def test_makes_the_objects_of_the_contract(empty_database):
    result = migrate(empty_database)
    assert "outbox_writer" in result.stdout and result.stderr == ""
    assert columns(empty_database, "outbox.event") == EVENT_COLUMNS.replace("\n", " ")
    assert empty_database.scalar("SELECT seqcache FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence('outbox.event', 'seq')::regclass") == 1
    assert empty_database.scalar("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'outbox.event'::regclass "
                                 "AND pg_get_expr(adbin, adrelid) LIKE '%clock%'") == "clock_timestamp()"
    assert empty_database.execute("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'outbox.event'::regclass "
                                  "AND NOT indisprimary") == [(
                                      "CREATE INDEX event_unpublished ON outbox.event USING btree (seq) WHERE (published_at IS NULL)",)]
    assert empty_database.scalar("SELECT pg_get_function_identity_arguments('outbox.emit'::regproc)") == (
        "event_type text, aggregate_type text, aggregate_id text, payload jsonb, event_version integer, aggregate_version bigint, "
        "correlation_id text, causation_id text, traceparent text, headers jsonb, event_id uuid, "
        "occurred_at timestamp with time zone, content_type text, payload_bytes bytea, topic text")
    assert empty_database.scalar("SELECT pg_get_function_arguments('outbox.set_context'::regproc)") == (
        "correlation_id text DEFAULT NULL::text, causation_id text DEFAULT NULL::text, traceparent text DEFAULT NULL::text, "
        "wal boolean DEFAULT NULL::boolean")
    assert empty_database.execute("SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = 'outbox'::regnamespace "
                                  "ORDER BY 1") == [(name, ["search_path=pg_catalog, pg_temp"])
                                                    for name in ("emit", "emit_message", "set_context")]
    arguments = "SELECT pg_get_function_arguments('outbox.%s'::regproc)"
    assert empty_database.scalar(arguments % "emit_message") == empty_database.scalar(arguments % "emit")
    assert columns(empty_database, "outbox.dead_letter").startswith("id bigint, pipeline text, seq bigint, event_id text, event jsonb, ")
    assert columns(empty_database, "outbox.position") == (
        "pipeline text, system_id text, timeline integer, slot text, lsn pg_lsn, backfill boolean, backfill_end bigint, tx_lsn pg_lsn, "
        "tx_ordinal bigint, tx_messages boolean, backfill_seq bigint, waiting boolean, table_id regclass, publication text, generation uuid, "
        "writes bigint, updated_at timestamp with time zone")
    assert columns(empty_database, "outbox.publisher") == (
        "table_id regclass, pipeline text, table_name text, generation uuid, writes bigint, updated_at timestamp with time zone")
    assert columns(empty_database, "outbox.pause") == (
        "pipeline text, paused_at timestamp with time zone, paused_by text, reason text")
    assert empty_database.scalar(ROLES) == "outbox_relay outbox_writer"


def test_views_show_backlog_and_slots(database):
    assert database.execute("SELECT * FROM outbox.backlog") == []
    database.execute("SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(1, 3) n; "
                     "SELECT outbox.emit('stock.moved', 'stock', '1', '{}'); UPDATE outbox.event SET published_at = now() WHERE seq = 1")
    assert database.execute("SELECT aggregate_type, pending, oldest_seq, oldest = (SELECT occurred_at FROM outbox.event e WHERE e.seq = "
                            "oldest_seq) FROM outbox.backlog ORDER BY 1") == [("order", 2, 2, True), ("stock", 1, 4, True)]
    slot = f"outboxd_{database.name}"
    database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput'), "
                     f"pg_create_logical_replication_slot('x{slot}', 'pgoutput')", user=SUPERUSER)
    try:
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        rows = database.execute("SELECT slot, active, retained_wal_bytes > 0, confirmed_lag_bytes > 0, wal_status FROM outbox.slot_health "
                                "WHERE database = current_database()", user=RELAY)
        assert rows == [(slot, False, True, True, "reserved")]
    finally:
        database.execute(f"SELECT pg_drop_replication_slot('{slot}'), pg_drop_replication_slot('x{slot}')", user=SUPERUSER)


def test_twice_is_a_no_op(empty_database):
    migrate(empty_database)
    with unchanged(empty_database):
        assert "nothing to do" in migrate(empty_database).stdout


def test_steps_forward_and_back(empty_database):
    migrate(empty_database, "--to", "2")
    assert versions(empty_database) == [1, 2]
    migrate(empty_database, "--to", "4")
    assert versions(empty_database) == [1, 2, 3, 4]
    whole = dump(empty_database, "-s")
    migrate(empty_database, "--down", "2")
    assert versions(empty_database) == [1, 2]
    assert "nothing to do" in migrate(empty_database, "--down", "2").stdout
    migrate(empty_database, "--to", "4")
    assert dump(empty_database, "-s") == whole


def test_down_to_zero_leaves_nothing(lonely):
    before = dump(lonely), lonely.scalar(ROLES)
    migrate(lonely)
    lonely.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}'); UPDATE outbox.event SET published_at = now()")
    lonely.execute(f"GRANT outbox_writer TO {APP}")
    migrate(lonely, "--down", "0")
    assert (dump(lonely), lonely.scalar(ROLES)) == before
    migrate(lonely)


def test_book_keeping_says_who_and_when(empty_database):
    migrate(empty_database)
    version = outboxd("version", expect=0).stdout.split()[1]
    rows = empty_database.execute("SELECT applied_by, outboxd_version, length(checksum), duration_ms >= 0, "
                                  "applied_at BETWEEN now() - interval '1 min' AND now() FROM outbox.migration")
    assert set(rows) == {(OWNER, version, 64, True, True)}


def test_status_lists_applied_and_pending(empty_database):
    with unchanged(empty_database):
        assert len(re.findall(r"^ +\d .* pending", migrate(empty_database, "--status").stdout, re.M)) == 7
    migrate(empty_database, "--to", "3")
    lines = migrate(empty_database, "--status").stdout.splitlines()
    assert [line.split()[0] for line in lines if f"by {OWNER}" in line and " applied " in line] == ["1", "2", "3"]
    assert [line.split()[0] for line in lines if line.rstrip().endswith("pending")] == ["4", "5", "6", "7"]
    migrate(empty_database)
    empty_database.execute(f"GRANT outbox_relay TO {RELAY}")
    assert "up to date" in migrate(empty_database, "--status", user=RELAY).stdout
    assert "nothing to do" in migrate(empty_database, user=RELAY).stdout


# -- print --------------------------------------------------------------------------------------------------------

NO_DATABASE = {"PGHOST": "127.0.0.1", "PGPORT": "1"}


def script(*args):
    return outboxd("migrate", "--print", *args, env=NO_DATABASE, expect=0).stdout


@pytest.mark.parametrize("how", ["psql", "psql --single-transaction", "one call of a driver"])
def test_printed_sql_makes_the_same_database(postgres, empty_database, how):
    other = postgres.fresh_database("printed")
    try:
        migrate(empty_database)
        if how == "one call of a driver":  # what Liquibase with splitStatements:false and golang-migrate do
            other.execute(script())
        else:
            result = subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", *how.split()[1:], "-d", other.dsn(OWNER)],
                                    input=script(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert result.returncode == 0, result.stdout
        assert dump(other, "-s") == dump(empty_database, "-s")
        notes = "SELECT version, name, checksum, applied_by, outboxd_version FROM outbox.migration ORDER BY 1"
        assert other.execute(notes) == empty_database.execute(notes)
        with unchanged(other):
            assert "nothing to do" in migrate(other).stdout
        postgres.psql(script("--down", "0"), other.name, OWNER)
        assert other.scalar(ALL_GONE) == 0
    finally:
        other.drop()


def test_printed_sql_that_fails_leaves_no_half_migration(empty_database):
    empty_database.execute("CREATE SCHEMA outbox; CREATE TABLE outbox.event (id int)")
    with unchanged(empty_database):
        result = subprocess.run(["psql", "-Xq", "-d", empty_database.dsn(OWNER)], input=script(), text=True,  # goes on after errors
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "exists, and outboxd did not create it" in result.stdout and "HINT:  Choose another name" in result.stdout


def test_print_honours_its_options():
    assert "CREATE ROLE" in script() and "CREATE ROLE" not in script("--no-roles")
    assert "CREATE VIEW" in script("--from", "4") and "CREATE FUNCTION" not in script("--from", "4", "--to", "4")
    assert "slot_health" not in script("--to", "3")
    assert '"Mail Box".event' in script("--schema", "Mail Box") and "outbox.event" not in script("--schema", "Mail Box")
    assert "@schema" not in script() + script("--down", "0")
    assert "DROP TABLE outbox.event" not in script("--down", "2") and "DROP VIEW" in script("--down", "2")


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [soak("Mail Box"), soak("user"), "we\"ird'; --%s %I", "@schema@", soak("größe"), "x" * 63])
def test_any_schema_name_works(empty_database, schema):
    identifier = '"' + schema.replace('"', '""') + '"'
    clean = dump(empty_database)
    result = migrate(empty_database, "--schema", schema)
    assert f'schema "{schema}"' in result.stdout
    empty_database.execute(f"GRANT outbox_writer TO {APP}")
    empty_database.execute(f"SELECT {identifier}.set_context('c')", user=APP)
    empty_database.execute(f"SELECT {identifier}.emit('order.placed', 'order', '1', '{{}}')", user=APP)
    assert empty_database.execute(f"SELECT aggregate_type, pending FROM {identifier}.backlog") == [("order", 1)]
    assert "nothing to do" in migrate(empty_database, "--schema", schema).stdout
    assert empty_database.scalar(ALL_GONE) == 0
    refused(empty_database, "--schema", schema, "--down", "0", pattern="1 unpublished event")
    empty_database.execute(f"DELETE FROM {identifier}.event")
    migrate(empty_database, "--schema", schema, "--down", "0")
    assert dump(empty_database) == clean


def test_impossible_schema_names_are_refused(empty_database):
    with unchanged(empty_database):
        for schema in ("", "public", "pg_mine", "information_schema", "a$b", "a\\b", "a\nb", "x" * 64):
            refusal(empty_database, "--schema", schema, pattern="schema name", code=1)


def test_two_schemas_share_a_database(empty_database):
    migrate(empty_database)
    migrate(empty_database, "--schema", "second")
    migrate(empty_database, "--down", "0")
    assert empty_database.scalar(ALL_GONE) == 0
    empty_database.execute(f"GRANT outbox_writer TO {APP}")
    empty_database.execute("SELECT second.emit('order.placed', 'order', '1', '{}')", user=APP)


# -- what is not ours, or not as we left it ----------------------------------------------------------------------------


def test_a_changed_migration_is_refused(empty_database):
    migrate(empty_database, "--to", "3")
    empty_database.execute("UPDATE outbox.migration SET checksum = repeat('0', 64), outboxd_version = '0.0.7' WHERE version = 2")
    with unchanged(empty_database):
        for args in ([], ["--down", "0"], ["--status"]):
            assert "0.0.7" in refusal(empty_database, *args, pattern=r"migration 2 \(functions\).*checksum 000000").stderr


def test_a_schema_of_a_development_build_is_refused_with_the_way_out(empty_database):
    """Until a version is released its migrations are edited in place: same version, other checksum."""
    migrate(empty_database)
    ours = empty_database.scalar("SELECT checksum FROM outbox.migration WHERE version = 3")
    change = "UPDATE outbox.migration SET checksum = repeat(%s, 64) WHERE version = 3"
    empty_database.execute(change, ("0",))
    for args in ([], ["--down", "0"], ["--status"]):
        result = refused(empty_database, *args, pattern=r"migration 3 \(relay_state\).*checksum 000000")
        assert "development build" in result.stderr and 'DROP SCHEMA "outbox" CASCADE;' in result.stderr
    # With the build that made it, which is this one, once its checksum is what it was:
    empty_database.execute("UPDATE outbox.migration SET checksum = %s WHERE version = 3", (ours,))
    migrate(empty_database, "--down", "0")
    migrate(empty_database)
    # Without it:
    empty_database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    empty_database.execute(change, ("0",))
    empty_database.execute('DROP SCHEMA "outbox" CASCADE;')
    migrate(empty_database)
    empty_database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    empty_database.execute("DELETE FROM outbox.event")
    migrate(empty_database, "--down", "0")
    assert empty_database.scalar(ALL_GONE) == 0


def test_a_newer_database_is_refused(empty_database):
    migrate(empty_database)
    empty_database.execute("INSERT INTO outbox.migration (version, name, checksum, outboxd_version, duration_ms) "
                           "VALUES (99, 'wings', repeat('a', 64), '9.1.0', 1)")
    with unchanged(empty_database):
        for args in ([], ["--down", "0"], ["--status"]):
            assert "9.1.0" in refusal(empty_database, *args, pattern=r"migration 99 \(wings\)").stderr


@pytest.mark.parametrize("made", ["TABLE outbox.event (seq bigint, event_id uuid)", "TABLE outbox.basket (id int)",
                                  "FUNCTION outbox.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "TYPE outbox.mood AS ENUM ('sad')"])
def test_a_schema_that_is_not_ours_is_refused(empty_database, made):
    empty_database.execute(f"CREATE SCHEMA outbox; CREATE {made}")
    result = refused(empty_database, pattern="schema outbox exists, and outboxd did not create it")
    assert made.split()[1].split("(")[0].split(".")[1] in result.stderr and "--schema" in result.stderr
    assert "nothing to do" in migrate(empty_database, "--down", "0").stdout


@pytest.mark.parametrize("change", ["DROP TABLE outbox.event CASCADE", "ALTER TABLE outbox.event RENAME payload TO body",
                                    "ALTER TABLE outbox.event ALTER published_at TYPE text",
                                    "ALTER TABLE outbox.event RENAME TO old_event; CREATE VIEW outbox.event AS SELECT * FROM outbox.old_event",
                                    "ALTER TABLE outbox.migration DROP COLUMN checksum",
                                    "DELETE FROM outbox.migration WHERE version = 1"])
def test_tables_of_another_shape_are_refused(empty_database, change):
    migrate(empty_database, "--to", "3")
    empty_database.execute(change)
    with unchanged(empty_database):
        for args in ([], ["--down", "0"]):
            refusal(empty_database, *args, pattern=r"table 'outbox\.(event|migration)'")


def test_a_column_of_another_type_is_named_with_what_brings_it_back(empty_database):
    """The way back is run as it stands, and deletes nothing."""
    migrate(empty_database)
    empty_database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    empty_database.execute("ALTER TABLE outbox.event ALTER aggregate_id TYPE varchar(300)")
    assert "nothing to do" in migrate(empty_database).stdout   # a relay reads it as well
    empty_database.execute("ALTER TABLE outbox.event ALTER payload_bytes TYPE text USING NULL; ALTER TABLE outbox.event DROP COLUMN traceparent")
    said = refused(empty_database, pattern="column payload_bytes is text, expected bytea").stderr
    assert "it lacks column traceparent text" in said and "DROP SCHEMA" not in said, said
    empty_database.execute(re.search(r"ALTER TABLE outbox\.event .*?;", said).group(0))
    assert "nothing to do" in migrate(empty_database).stdout
    assert empty_database.scalar("SELECT count(*) FROM outbox.event") == 1


def test_columns_that_users_added_are_fine(empty_database):
    migrate(empty_database, "--to", "3")
    empty_database.execute("ALTER TABLE outbox.event ADD COLUMN tenant text")
    migrate(empty_database)
    migrate(empty_database, "--down", "0")


def test_an_empty_schema_of_ours_is_used_and_kept(lonely):
    lonely.execute(f"CREATE SCHEMA outbox AUTHORIZATION {OWNER}", user=SUPERUSER)
    lonely.execute(f"ALTER DATABASE {lonely.name} OWNER TO {SUPERUSER}", user=SUPERUSER)
    before = dump(lonely)
    migrate(lonely)
    assert "schema outbox is kept" in migrate(lonely, "--down", "0").stdout
    assert dump(lonely) == before


def test_an_empty_schema_of_somebody_else_is_refused(empty_database):
    empty_database.execute("CREATE SCHEMA outbox", user=SUPERUSER)
    refused(empty_database, pattern=f"schema outbox exists and belongs to {SUPERUSER}")


# -- privileges ----------------------------------------------------------------------------------------------------------


def test_without_createrole_the_error_holds_the_way_out(lonely):
    lonely.execute(f"GRANT CREATE ON DATABASE {lonely.name} TO {APP}")
    result = refused(lonely, pattern="CREATEROLE", user=APP)
    assert "--no-roles" in result.stderr
    statements = " ".join(re.findall(r"CREATE ROLE \w+ NOLOGIN;", result.stderr))
    assert statements.count("CREATE ROLE") == 2
    with pytest.raises(AssertionError, match="ask an administrator to run: CREATE ROLE outbox_writer NOLOGIN"):
        lonely.server.psql(script(), lonely.name, APP)
    lonely.execute("DROP SCHEMA outbox CASCADE", user=SUPERUSER)  # the printed script commits each migration

    lonely.execute(statements, user=SUPERUSER)
    migrate(lonely, user=APP)
    result = migrate(lonely, "--down", "0", user=APP)
    assert "role outbox_writer is kept: outboxd did not create it" in result.stdout
    assert lonely.scalar(ROLES) == "outbox_relay outbox_writer"


def test_no_roles_needs_only_create_on_the_database_and_is_remembered(lonely):
    lonely.execute(f"GRANT CREATE ON DATABASE {lonely.name} TO {APP}")
    result = migrate(lonely, "--no-roles", user=APP)
    assert re.search(r"5 roles +skipped", result.stdout) and "outboxd migrate --writer your_application" in result.stdout
    assert lonely.scalar(ROLES) == ""
    with unchanged(lonely):
        for args in ([], ["--no-roles"]):  # without CREATEROLE: a plain migrate would have to fail
            result = migrate(lonely, *args, user=APP)
            assert "nothing to do" in result.stdout and "outboxd migrate --roles creates them" in result.stdout
        status = migrate(lonely, "--status", user=APP).stdout
        assert re.search(r"5 roles +skipped +.* by shop_app", status) and "up to date, without the roles" in status
        refused(lonely, "--roles", pattern="CREATEROLE", user=APP)
    lonely.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}'); DELETE FROM outbox.event", user=APP)

    migrate(lonely, "--roles", user=SUPERUSER)
    assert lonely.scalar(ROLES) == "outbox_relay outbox_writer"
    assert lonely.execute("SELECT count(*), count(*) FILTER (WHERE skipped) FROM outbox.migration", user=SUPERUSER) == [(7, 0)]
    with unchanged(lonely):  # what is there is not left out afterwards
        assert "without" not in migrate(lonely, "--no-roles", user=SUPERUSER).stdout


def test_down_copes_with_roles_that_were_left_out(lonely):
    before = dump(lonely)
    lonely.execute("CREATE ROLE outbox_writer; CREATE ROLE outbox_relay", user=SUPERUSER)
    roles = lonely.scalar(ROLES)
    migrate(lonely, "--no-roles")
    assert re.search("5 roles +removed", migrate(lonely, "--down", "4").stdout)
    assert versions(lonely) == [1, 2, 3, 4]
    migrate(lonely, "--no-roles")
    lonely.server.psql(script("--down", "0"), lonely.name, OWNER)
    assert dump(lonely) == before and lonely.scalar(ROLES) == roles


def test_missing_right_to_create_the_schema(empty_database):
    result = refused(empty_database, "--no-roles", pattern="may not create schema 'outbox'", user=APP)
    statement = re.search(r"GRANT CREATE ON DATABASE \S+ TO \w+;", result.stderr)
    empty_database.execute(statement.group(), user=SUPERUSER)
    migrate(empty_database, "--no-roles", user=APP)


def test_somebody_elses_outbox_is_not_touched(empty_database):
    migrate(empty_database, "--to", "3")
    empty_database.execute(f"GRANT USAGE ON SCHEMA outbox TO {APP}; GRANT SELECT ON outbox.migration TO {APP}")
    for args in ([], ["--down", "0"]):
        refused(empty_database, *args, pattern=f"schema 'outbox' belongs to '{OWNER}'", user=APP)
    refused(empty_database, pattern="permission denied", user=RELAY)


def test_roles_that_another_database_uses_stay(lonely, cluster):
    other = cluster.fresh_database("other")
    try:
        migrate(lonely)
        migrate(other)
        result = migrate(lonely, "--down", "0")
        assert "role outbox_writer is kept: it is used elsewhere in this cluster" in result.stdout
        assert lonely.scalar(ROLES) == "outbox_relay outbox_writer"
        other.execute(f"GRANT outbox_writer TO {APP}")
        other.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}'); ", user=APP)
        other.execute("DELETE FROM outbox.event")
        assert "kept" not in migrate(other, "--down", "0").stdout
        assert other.scalar(ROLES) == ""
    finally:
        other.drop()


# -- a live database -----------------------------------------------------------------------------------------------------


def test_works_beside_other_objects_and_a_hostile_search_path(empty_database):
    empty_database.execute("CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE SCHEMA evil; "
                           "CREATE DOMAIN evil.text AS int; CREATE DOMAIN evil.uuid AS int; CREATE TABLE evil.pg_namespace (x int); "
                           "CREATE FUNCTION evil.gen_random_uuid() RETURNS int LANGUAGE sql AS 'SELECT 1'; "
                           "CREATE FUNCTION evil.clock_timestamp() RETURNS int LANGUAGE sql AS 'SELECT 1'", user=SUPERUSER)
    empty_database.execute(f"ALTER DATABASE {empty_database.name} SET search_path = evil, pg_catalog, public; "
                           f"ALTER DATABASE {empty_database.name} SET statement_timeout = '1ms'", user=SUPERUSER)
    with contextlib.closing(empty_database.connect(SUPERUSER, autocommit=False)) as busy:
        busy.cursor().execute("SET LOCAL statement_timeout = 0; CREATE TABLE public.basket (id int); LOCK TABLE evil.pg_namespace")
        migrate(empty_database)
    empty_database.execute(f"ALTER DATABASE {empty_database.name} RESET statement_timeout", user=SUPERUSER)
    assert columns(empty_database, "outbox.event") == EVENT_COLUMNS.replace("\n", " ")
    empty_database.execute("INSERT INTO outbox.event (event_type, aggregate_type) VALUES ('a', 'b')")
    assert empty_database.scalar("SELECT count(outbox.emit('order.placed', 'order', '1', '{}'))") == 1


def test_a_busy_table_is_an_error_after_two_seconds(empty_database):
    migrate(empty_database)
    with contextlib.closing(empty_database.connect(autocommit=False)) as busy:
        busy.cursor().execute("INSERT INTO outbox.event (event_type, aggregate_type, published_at) VALUES ('a', 'b', now())")
        result = refused(empty_database, "--down", "0", pattern="another transaction has held a lock")
        assert f"held by pid {busy.get_backend_pid()}" in result.stderr and "again" in result.stderr
        busy.commit()
    migrate(empty_database, "--down", "0")


def start_migrate(database, *args):
    return subprocess.Popen([outboxd_binary(), "migrate", "--dsn", database.dsn(OWNER), *args], env=clean_environment(),
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_many_at_once_apply_everything_once(empty_database):
    processes = [start_migrate(empty_database) for _ in range(6)]
    outputs = [p.communicate(timeout=60)[0] for p in processes]
    assert [p.returncode for p in processes] == [0] * 6, outputs
    assert sorted("nothing to do" in o for o in outputs) == [False] + [True] * 5, outputs
    assert versions(empty_database) == [1, 2, 3, 4, 5, 6, 7]


def test_waits_for_a_printed_script_that_is_running(empty_database):
    first = script("--to", "1").rsplit("COMMIT;", 1)[0]
    with contextlib.closing(empty_database.connect()) as other:
        other.cursor().execute(first)
        process = start_migrate(empty_database)
        try:
            eventually(lambda: empty_database.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"),
                       what="outboxd migrate waits for the lock")
            other.cursor().execute("COMMIT")
            output = process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert process.returncode == 0 and "1 outbox table" not in output, output
    assert versions(empty_database) == [1, 2, 3, 4, 5, 6, 7]


def test_down_does_not_lose_events(empty_database):
    migrate(empty_database)
    empty_database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    assert "DELETE FROM outbox.event" in refused(empty_database, "--down", "0", pattern="1 unpublished event").stderr
    empty_database.execute("UPDATE outbox.event SET published_at = now()")
    empty_database.execute("INSERT INTO outbox.dead_letter (pipeline, reason) VALUES ('orders', 'too large')")
    refused(empty_database, "--down", "2", pattern=r"outbox.dead_letter holds 1 event")
    migrate(empty_database, "--down", "3")
    empty_database.execute("DELETE FROM outbox.dead_letter")
    migrate(empty_database, "--down", "0")


def test_down_never_cascades(empty_database):
    migrate(empty_database)
    empty_database.execute("CREATE VIEW public.report AS SELECT * FROM outbox.event")
    result = refused(empty_database, "--down", "0", pattern="view public.report|view report")
    assert "CASCADE" not in result.stderr
    empty_database.execute("DROP VIEW public.report; CREATE TABLE outbox.mine (id int)")
    assert re.search(r"schema outbox is kept: it contains table (outbox\.)?mine", migrate(empty_database, "--down", "0").stdout)
    assert empty_database.execute("SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace") == [("mine",)]


# -- command line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args, pattern", [
    (["--capture", "tables"], "poll or wal"), (["--colour"], "--colour"),
    (["--dsn"], "value is missing"), (["up"], "takes no argument 'up'"), (["--to", "0"], "'0' is not a version"),
    (["--to", "99"], "'99' is not a version"), (["--down", "-1"], "'-1' is not a version"), (["--down", "2x"], "'2x' is not a version"),
    (["--to", "1", "--down", "0"], "exclude each other"), (["--status", "--print"], "--status goes with"), (["--from", "2"], "goes with --print"),
    (["--print", "--from", "3", "--to", "2"], "nothing would be written"), (["--print", "--from", "3", "--down", "0"], "no use for --from"),
    (["--print", "--from", "9"], "'9' is not a version"), (["--baseline", "--print"], "--baseline goes with"),
    (["--baseline", "--status"], "exclude each other"), (["--guard-messages", "--to", "2"], "--guard-messages goes with"),
    (["--roles", "--no-roles"], "exclude each other"), (["--roles", "--writer", "a"], "exclude each other"),
    (["--writer", ""], "takes the name of a role"), (["--relay", "public"], "takes the name of a role"),
    (["--writer", "a", "--to", "3"], "leave --to out"), (["--writer", "a", "--down", "3"], "no use for --writer"),
    (["--down", "0", "--no-roles"], "no effect"), (["--dsn", "host=x my secret=1"], "connection string is malformed")])
def test_usage_errors(args, pattern):
    result = outboxd("migrate", *args, env=NO_DATABASE, expect=1)
    assert re.search(pattern, result.stderr) and "remedy: " in result.stderr and result.stdout == ""
    assert "secret" not in result.stderr


def test_the_database_can_come_from_the_environment(empty_database):
    assert "pending" in outboxd("migrate", "--status", env={"OUTBOXD_DATABASE_DSN": empty_database.dsn(OWNER)}, expect=0).stdout
    pg = {"PGHOST": "127.0.0.1", "PGPORT": str(empty_database.server.port), "PGDATABASE": empty_database.name, "PGUSER": OWNER,
          "PGPASSWORD": PASSWORDS[OWNER]}
    assert empty_database.name in outboxd("migrate", "--status", env=pg, expect=0).stdout
    result = outboxd("migrate", "--status", "--dsn", empty_database.dsn(OWNER).replace(PASSWORDS[OWNER], "not-this-one"), expect=2)
    assert "authentication failed" in result.stderr and "not-this-one" not in result.stderr


# -- every PostgreSQL ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("major", oldest_and_newest(POSTGRES_VERSIONS))
def test_every_supported_postgresql(work_directory, major):
    server = PostgresServer(os.path.join(work_directory, f"postgresql-{major}"), major)
    try:
        server.start()
        server.create_roles()
        database = server.fresh_database("shop")
        assert f" ({major}." in migrate(database).stdout
        database.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")
        with contextlib.closing(database.connect(APP, autocommit=False)) as app, app.cursor() as cursor:
            cursor.execute("SELECT outbox.set_context('checkout', 'cart', wal => true); SELECT outbox.emit('order.placed', 'order', '1', '{}')")
            app.commit()
            with pytest.raises(psycopg2.Error, match="event_type is empty"):
                cursor.execute("SELECT outbox.emit('', 'order', '1', '{}')")
        row = "SELECT correlation_id, causation_id, (event_id::text COLLATE \"C\") ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7' FROM outbox.event"
        assert database.execute(row, user=RELAY) == [("checkout", "cart", True)]
        assert database.execute("SELECT pending FROM outbox.backlog", user=RELAY) == [(1,)]
        assert database.execute("SELECT * FROM outbox.slot_health", user=RELAY) == []
        database.execute("UPDATE outbox.event SET published_at = now()", user=RELAY)
        assert "nothing to do" in migrate(database).stdout
        migrate(database, "--down", "0")
        assert database.scalar(ALL_GONE) == 0 and database.scalar(ROLES) == ""
    finally:
        server.remove()
