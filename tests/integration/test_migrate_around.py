"""`outboxd migrate` in a database that others prepared: printed twice, roles and schemas of a DBA, copies, event triggers, messages."""

import os
import re
import subprocess
import uuid

import psycopg2
import pytest

from conftest import oldest_and_newest, soak
from support.common import eventually
from support.consume import read_topics
from support.fetch import POSTGRES_VERSIONS
from support.postgres import APP, OWNER, PASSWORDS, RELAY, SUPERUSER, PostgresServer
from support.relay import migrate, outboxd


def dump(database, *more):
    """The database as pg_dump sees it, without what differs from run to run."""
    result = subprocess.run(["pg_dump", "-d", database.dsn(SUPERUSER), *more], check=True, text=True, stdout=subprocess.PIPE)
    return "\n".join(line for line in result.stdout.splitlines() if not re.match(r"--|\\(un)?restrict ", line))


def psql(database, script, user=OWNER):
    """All that psql prints; it goes on after errors."""
    return subprocess.run(["psql", "-X", "-d", database.dsn(user)], input=script, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout


def script(*args):
    return outboxd("migrate", "--print", *args, env={"PGHOST": "127.0.0.1", "PGPORT": "1"}, expect=0).stdout


def refused(database, *args, pattern, user=OWNER):
    before = dump(database)
    result = migrate(database, *args, user=user, expect=2)
    assert re.search(pattern, result.stderr), result.stderr
    assert "\n  remedy: " in result.stderr and PASSWORDS[user] not in result.stdout + result.stderr
    assert dump(database) == before
    return result


@pytest.fixture
def names(postgres):
    """Two roles of this test's own: a writer and a relay, one of them with a name that needs quotes."""
    suffix = uuid.uuid4().hex[:8]
    writer, relay = f"Web$Shop_{suffix}", f"relay_{suffix}"
    for name in (writer, relay):
        postgres.execute(f'CREATE ROLE "{name}" LOGIN')
        PASSWORDS[name] = ""
    yield writer, relay
    for name in (writer, relay):
        postgres.execute(f'DROP ROLE "{name}"')
        del PASSWORDS[name]


@pytest.fixture
def database_of_names(postgres, names):
    """Goes before the roles do."""
    database = postgres.fresh_database("own")
    yield database
    database.drop()


# -- printed twice ------------------------------------------------------------------------------------------------------


def test_a_printed_script_that_runs_twice_says_so_and_changes_nothing(empty_database):
    assert "ERROR" not in psql(empty_database, script("--capture", "wal"))
    before = dump(empty_database)
    text = psql(empty_database, script("--capture", "wal"))
    assert [n for n in re.findall(r"NOTICE:  migration (\d) \([a-z ]+\) of schema outbox is already applied", text)] == list("1234567")
    assert "ERROR" not in text and "row)" not in text and "rows)" not in text, text
    assert dump(empty_database) == before
    assert "ERROR" not in psql(empty_database, script("--down", "0"))
    text = psql(empty_database, script("--down", "0"))
    assert "ERROR" not in text and text.count("is not applied") == 7, text


def test_a_printed_script_may_begin_where_earlier_ones_ended(empty_database, postgres):
    migrate(empty_database)
    other = postgres.fresh_database("printed")
    try:
        psql(other, script("--to", "2"))
        assert "ERROR" not in psql(other, script("--from", "3"))
        assert dump(other, "-s") == dump(empty_database, "-s")
    finally:
        other.drop()


def test_a_printed_script_refuses_what_another_program_applied(empty_database):
    migrate(empty_database)
    empty_database.execute("UPDATE outbox.migration SET checksum = repeat('0', 64), outboxd_version = '0.0.7' WHERE version = 2")
    before = dump(empty_database)
    text = psql(empty_database, script())
    assert "migration 2 (functions) of schema outbox differs from this script's: checksum 000000000000..., here" in text
    assert "HINT:  Nothing was changed. Use the program that applied it (outboxd 0.0.7). A released migration never changes." in text
    assert dump(empty_database) == before


def test_an_error_of_a_printed_script_is_short(empty_database):
    empty_database.execute("CREATE SCHEMA outbox; CREATE TABLE outbox.event (id int)")
    text = psql(empty_database, script("--to", "1"))
    assert "DETAIL:  It contains table outbox.event, which outboxd did not create. Migration 1 (outbox table) was rolled back." in text
    assert "CREATE TABLE" not in text, text


@pytest.mark.parametrize("printed", [False, True])
def test_roles_left_out_are_left_out_by_script_and_program_alike(empty_database, printed):
    if printed:
        assert "ERROR" not in psql(empty_database, script("--no-roles"))
        assert "outboxd migrate --roles applies it" in psql(empty_database, script())
    else:
        migrate(empty_database, "--no-roles")
    assert empty_database.execute("SELECT version FROM outbox.migration WHERE skipped") == [(5,), (7,)]
    assert "outboxd migrate --roles creates them" in migrate(empty_database).stdout
    if printed:
        assert "ERROR" not in psql(empty_database, script("--roles"))
        assert "is already applied" in psql(empty_database, script("--roles", "--from", "5"))
    else:
        migrate(empty_database, "--roles")
    assert empty_database.execute("SELECT version FROM outbox.migration WHERE skipped") == []
    assert empty_database.scalar("SELECT has_table_privilege('outbox_relay', 'outbox.event', 'DELETE')")


# -- roles of one's own -------------------------------------------------------------------------------------------------


def rights(database, **replaced):
    """Every right in the schema that somebody else than its owner has."""
    rows = database.execute("""
        WITH acls AS (SELECT 'schema' AS what, nspacl AS acl FROM pg_namespace WHERE nspname = 'outbox'
                      UNION ALL SELECT relname, relacl FROM pg_class WHERE relnamespace = 'outbox'::regnamespace
                      UNION ALL SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                                 WHERE relnamespace = 'outbox'::regnamespace
                      UNION ALL SELECT oid::regprocedure::text, proacl FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace)
        SELECT what, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type
          FROM acls, aclexplode(acl) WHERE grantee <> %s::regrole ORDER BY 1, 2, 3""", (OWNER,))
    return sorted((what, replaced.get(who, who), right) for what, who, right in rows)


@pytest.mark.parametrize("printed", [False, True])
def test_roles_of_ones_own_get_the_rights_of_the_group_roles(postgres, empty_database, database_of_names, names, printed):
    migrate(empty_database)
    writer, relay = names
    one = database_of_names
    if printed:
        for _ in range(2):
            assert "ERROR" not in psql(one, script("--writer", writer, "--relay", relay))
    else:
        result = migrate(one, "--writer", writer, "--relay", relay)
        assert f"granted   to {writer}" in result.stdout and "GRANT" not in result.stdout
    have = rights(one, **{writer: "outbox_writer", relay: "outbox_relay"})
    assert have == rights(empty_database) and len(have) > 30
    before = dump(one)
    assert "nothing to do" in migrate(one, "--writer", writer, "--relay", relay).stdout
    assert "nothing to do" in migrate(one).stdout
    assert dump(one) == before
    migrate(one, "--down", "0")
    assert one.scalar("SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox'") == 0


def test_rights_of_ones_own_stay_in_their_database_and_a_group_opens_every_one(postgres, empty_database, database_of_names, names):
    migrate(empty_database)
    mine, group = names
    migrate(database_of_names, "--writer", mine)
    emit = "SELECT outbox.emit('order.placed', 'order', '1', '{}')"
    database_of_names.execute(emit, user=mine)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        empty_database.execute(emit, user=mine)
    migrate(database_of_names, "--roles")
    database_of_names.execute(f"GRANT outbox_writer TO {group}")
    for database in (database_of_names, empty_database):
        database.execute(emit, user=group)
    empty_database.execute(f"REVOKE CONNECT ON DATABASE {empty_database.name} FROM PUBLIC")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        empty_database.execute(emit, user=group)


def test_a_role_that_does_not_exist_is_named_before_anything_is_done(empty_database):
    refused(empty_database, "--writer", APP, "--relay", "Nobody", pattern="--relay: role 'Nobody' does not exist")
    assert 'role "Nobody" does not exist' in psql(empty_database, script("--relay", "Nobody"))


def test_nobody_but_the_owner_grants(database):
    refused(database, "--writer", APP, user=RELAY, pattern=f"schema 'outbox' belongs to '{OWNER}'")


def test_a_relay_with_rights_of_its_own_publishes_marks_and_passes_the_check(relay, kafka, empty_database, prefix, tmp_path):
    topic = kafka.create_topic(f"{prefix}.order")
    migrate(empty_database, "--writer", APP, "--relay", RELAY)
    migrate(empty_database)  # what is remembered takes nothing away
    empty_database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')", user=APP)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        empty_database.execute("SELECT * FROM outbox.event", user=APP)
    one = relay(dsn=empty_database.dsn()).start()
    eventually(lambda: empty_database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, what="the row is marked")
    assert len(read_topics(kafka.brokers, topic)) == 1
    one.stop(expect=0)
    path = tmp_path / "outboxd.conf"
    path.write_text(f'database: {{ dsn = "{empty_database.dsn()}"; }};\nkafka: {{ brokers = "{kafka.brokers}"; }};\n'
                    f'pipelines: ( {{ name = "orders"; topic = "{prefix}.${{aggregate_type}}"; }} );\n')
    os.chmod(path, 0o600)
    result = outboxd("check", "-c", path)
    assert result.returncode == 0, result.stdout + result.stderr
    result = outboxd("status", "--dsn", empty_database.dsn())
    assert "permission denied" not in result.stdout + result.stderr


# -- what a DBA prepared ------------------------------------------------------------------------------------------------


def test_a_schema_with_usage_and_create_is_filled_upgraded_and_left(empty_database):
    empty_database.execute("CREATE SCHEMA outbox", user=SUPERUSER)
    statement = re.search("GRANT USAGE, CREATE ON SCHEMA outbox TO shop_app;",
                          refused(empty_database, user=APP, pattern=f"schema outbox exists and belongs to {SUPERUSER}").stderr).group()
    empty_database.execute(statement, user=SUPERUSER)
    before = dump(empty_database)
    text = migrate(empty_database, "--to", "3", user=APP).stdout
    assert "fix this first" not in text and f'schema "outbox", which belongs to {SUPERUSER}' in text
    assert f"schema outbox belongs to {SUPERUSER}, who can replace the objects in it" in text
    lines = []
    for _ in range(2):  # the second one does nothing but say it again
        result = migrate(empty_database, user=APP)
        lines += re.findall(f"schema outbox belongs to {SUPERUSER}, who runs: (GRANT USAGE .*;)", result.stdout)
    assert lines == ["GRANT USAGE ON SCHEMA outbox TO outbox_writer, outbox_relay;"] * 2
    empty_database.execute(lines[0], user=SUPERUSER)
    assert "GRANT USAGE" not in migrate(empty_database, user=APP).stdout
    empty_database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}'); DELETE FROM outbox.event", user=APP)
    assert "schema outbox is kept: outboxd did not create it" in migrate(empty_database, "--down", "0", user=APP).stdout
    empty_database.execute("REVOKE USAGE ON SCHEMA outbox FROM outbox_writer, outbox_relay", user=SUPERUSER)
    assert dump(empty_database) == before


def test_whoever_may_not_grant_the_groups_is_told_who_may(empty_database):
    empty_database.execute(f"GRANT CREATE ON DATABASE {empty_database.name} TO {APP}")
    text = migrate(empty_database, user=APP).stdout  # the roles are there: another database of this cluster has them
    assert f"Next, an administrator runs ({APP} has no ADMIN OPTION on these roles): GRANT outbox_writer TO your_application;" in text
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        empty_database.execute(f"GRANT outbox_writer TO {RELAY}", user=APP)


def test_rights_for_roles_of_ones_own_in_such_a_schema(empty_database):
    empty_database.execute(f"CREATE SCHEMA outbox; GRANT USAGE, CREATE ON SCHEMA outbox TO {APP}", user=SUPERUSER)
    line = f"schema outbox belongs to {SUPERUSER}, who runs: GRANT USAGE ON SCHEMA outbox TO {OWNER}, {RELAY};"
    assert line in migrate(empty_database, "--writer", OWNER, "--relay", RELAY, user=APP).stdout
    assert "WARNING:  " + line in psql(empty_database, script("--writer", OWNER, "--relay", RELAY), user=APP)


# -- copies without rows ------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(postgres, empty_database):
    """copy(schema, *options): migrates, and gives a database with what pg_dump -s takes over."""
    made = []

    def make(schema="outbox", *options):
        migrate(empty_database, "--schema", schema)
        result = subprocess.run(["pg_dump", "-s", *options, "-d", empty_database.dsn(SUPERUSER)], check=True, text=True, stdout=subprocess.PIPE)
        made.append(postgres.fresh_database("copy"))
        postgres.psql(result.stdout, made[-1].name, SUPERUSER)
        return made[-1]

    yield make
    for one in made:
        one.drop()


@pytest.mark.parametrize("schema", ["outbox", soak("user"), "we\"ird'; --%s"])
def test_a_copy_without_rows_is_recorded_as_what_it_is(copy, empty_database, schema):
    one = copy(schema)
    assert "outboxd migrate --baseline" in refused(one, "--schema", schema, pattern="does not list migration 1").stderr
    assert re.findall(r"^  (\d) [a-z ]+ recorded", migrate(one, "--schema", schema, "--baseline").stdout, re.M) == list("1234567")
    notes = 'SELECT version, name, checksum, outboxd_version FROM "%s".migration ORDER BY 1' % schema.replace('"', '""')
    assert one.execute(notes.replace("%", "%%"), ()) == empty_database.execute(notes.replace("%", "%%"), ())
    assert dump(one, "-s") == dump(empty_database, "-s")
    for args in ([], ["--baseline"]):
        assert "nothing to do" in migrate(one, "--schema", schema, *args).stdout
    migrate(one, "--schema", schema, "--down", "0")


def test_a_copy_of_an_older_schema_is_recorded_and_brought_up_to_date(copy, empty_database):
    one = copy()
    one.execute("DROP VIEW outbox.backlog, outbox.slot_health; DROP TABLE outbox.captured_table")
    text = migrate(one, "--baseline").stdout
    assert "3 relay state" in text and "4 views" not in text and "To apply the other 4, run: outboxd migrate" in text
    migrate(one)
    assert dump(one, "-s") == dump(empty_database, "-s")


LACKS = [
    ("ALTER TABLE outbox.event DROP COLUMN topic", "migration 1 (outbox table): it lacks column event.topic text"),
    ("DROP INDEX outbox.event_unpublished", "it lacks index CREATE INDEX event_unpublished ON outbox.event"),
    ("ALTER TABLE outbox.event ALTER event_id DROP DEFAULT", "it lacks column event.event_id uuid NOT NULL DEFAULT outbox.new_event_id()"),
    ("DROP FUNCTION outbox.set_context", "migration 2 (functions): it lacks function set_context"),
    ("ALTER FUNCTION outbox.emit SECURITY INVOKER", "it lacks function emit("),
    ("CREATE OR REPLACE FUNCTION outbox.check_traceparent(traceparent text) RETURNS void LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE "
     "SET search_path = pg_catalog, pg_temp AS 'BEGIN END'", "it lacks function check_traceparent as it is here"),
    ("DROP VIEW outbox.backlog", "migration 4 (views): it lacks view backlog"),
    ("DROP TABLE outbox.pause", "migration 3 (relay state): it lacks table pause"),
    ("REVOKE DELETE ON outbox.event FROM outbox_relay", "migration 5 (roles): it lacks right of outbox_relay: DELETE on event")]


def test_a_copy_that_is_not_whole_is_refused_with_what_it_lacks(copy, postgres):
    """Each change in a database of its own, made from one copy."""
    whole = copy()
    for change, lack in LACKS:
        one = postgres.fresh_database("lacking", template=whole.name)
        try:
            one.execute(change)
            assert lack in refused(one, "--baseline", pattern="does not contain all of").stderr, change
            assert one.scalar("SELECT count(*) FROM outbox.migration") == 0
        finally:
            one.drop()


def test_a_copy_without_rights_is_closed_before_it_is_recorded(copy, empty_database):
    one = copy("outbox", "-x")
    statement = re.search("Run: (REVOKE .*;)", refused(one, "--baseline", pattern="it lacks function .* closed to PUBLIC").stderr).group(1)
    one.execute(statement)
    migrate(one, "--baseline")
    migrate(one)
    assert dump(one, "-s") == dump(empty_database, "-s")


def test_what_the_owner_replaced_is_no_lack(copy):
    one = copy()
    one.execute("CREATE OR REPLACE FUNCTION outbox.record_bytes_max() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 5'; "
                "ALTER TABLE outbox.event SET (autovacuum_vacuum_threshold = 7), ADD COLUMN tenant text; "
                "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    assert "done: up to date" in migrate(one, "--baseline").stdout


def test_there_is_nothing_to_record_in_an_empty_database(empty_database):
    assert "Run outboxd migrate" in refused(empty_database, "--baseline", pattern="contains nothing to record").stderr
    empty_database.execute("CREATE SCHEMA outbox; CREATE TABLE outbox.mine (id int)")
    refused(empty_database, "--baseline", pattern="does not contain all of migration 1")


# -- event triggers -----------------------------------------------------------------------------------------------------

AUDIT = """CREATE TABLE public.ddl_audit (tag text); GRANT INSERT ON public.ddl_audit TO PUBLIC;
CREATE FUNCTION public.audit_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ddl_audit VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION public.audit_ddl()"""
FORBID = """CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public
AS $$ BEGIN RAISE EXCEPTION 'ask the DBA'; END $$;
CREATE EVENT TRIGGER "No DDL" ON ddl_command_start EXECUTE FUNCTION public.no_ddl(); ALTER EVENT TRIGGER "No DDL" ENABLE ALWAYS"""


def test_an_event_trigger_that_fails_is_named_with_both_ways_out(empty_database):
    empty_database.execute(AUDIT, user=SUPERUSER)
    for remedy in ("ALTER EVENT TRIGGER audit DISABLE;", "ALTER FUNCTION public.audit_ddl() SET search_path = public, pg_temp;"):
        result = refused(empty_database, pattern=r"migration 1 \(outbox table\): event trigger 'audit' \(function public.audit_ddl\(\)\) of "
                         'this database failed while outboxd changed its schema: relation "ddl_audit" does not exist')
        assert remedy in result.stderr, result.stderr
        assert "It failed in function public.audit_ddl() line 1" in psql(empty_database, script())
        empty_database.execute("DROP SCHEMA IF EXISTS outbox CASCADE; " + remedy, user=SUPERUSER)
        migrate(empty_database)
        if "DISABLE" in remedy:
            empty_database.execute("ALTER EVENT TRIGGER audit ENABLE", user=SUPERUSER)
            refused(empty_database, "--down", "0", pattern="migration 7 .*event trigger 'audit'")
            empty_database.execute("ALTER EVENT TRIGGER audit DISABLE", user=SUPERUSER)
            migrate(empty_database, "--down", "0")
            empty_database.execute("ALTER EVENT TRIGGER audit ENABLE", user=SUPERUSER)
    assert empty_database.scalar("SELECT count(*) > 20 FROM public.ddl_audit", user=SUPERUSER)


def test_an_event_trigger_that_forbids_is_named_and_comes_back_as_it_was(empty_database):
    empty_database.execute(FORBID, user=SUPERUSER)
    result = refused(empty_database, pattern="event trigger '\"No DDL\"'.*ask the DBA")
    assert 'ALTER EVENT TRIGGER "No DDL" DISABLE; and afterwards ALTER EVENT TRIGGER "No DDL" ENABLE ALWAYS;' in result.stderr
    assert "search_path" not in result.stderr


def test_event_triggers_are_listed_when_an_error_has_no_known_cause(empty_database):
    """One that is written in C leaves no trace in the error."""
    empty_database.execute(AUDIT + "; ALTER FUNCTION public.audit_ddl() SET search_path = public", user=SUPERUSER)
    result = outboxd("migrate", "--dsn", empty_database.dsn(SUPERUSER, options="-cdefault_tablespace=pg_global"), expect=2)
    assert "only shared relations can be placed in pg_global tablespace" in result.stderr
    assert "look at the event triggers of this database, which run for everything that outboxd creates: audit (function public.audit_ddl)" in result.stderr


def test_row_security_that_an_event_trigger_turns_on_is_said_at_once(empty_database):
    empty_database.execute("""
        CREATE FUNCTION public.rls() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
        DECLARE made record;
        BEGIN
            FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP
                EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made.object_identity);
            END LOOP;
        END $$;
        CREATE EVENT TRIGGER ensure_rls ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.rls()""", user=SUPERUSER)
    for _ in range(2):
        text = migrate(empty_database).stdout
        assert "row security is on for captured_table, dead_letter, event, " in text and "event trigger ensure_rls (function public.rls)" in text
    empty_database.execute(" ".join(re.findall("ALTER TABLE [^;]*;", text)))
    assert "row security" not in migrate(empty_database).stdout


# -- messages -----------------------------------------------------------------------------------------------------------

EMIT = "SELECT pg_logical_emit_message(true, 'outboxd.event', '')"
EMIT_OURS = "SELECT outbox.emit_message('order.placed', 'order', '1', '{}')"


def check_guarded(database, relay=RELAY):
    for argument in ("''", "''::bytea"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            database.execute(EMIT.replace("'')", argument + ")"), user=APP)
        database.execute(EMIT.replace("'')", argument + ")"), user=relay)
    database.execute("SELECT outbox.set_context('c', wal => true)", user=APP)
    if database.server.execute("SHOW server_version_num")[0][0] >= "140000":
        database.execute(EMIT_OURS, user=APP)


def test_messages_are_guarded_by_a_superuser_or_printed_for_one(database):
    before = dump(database)
    result = migrate(database, "--guard-messages", expect=2)
    assert f"{OWNER} may not revoke pg_logical_emit_message" in result.stderr and "remedy: Ask an administrator to run" in result.stderr
    assert dump(database) == before
    assert result.stdout == script("--guard-messages")
    database.execute(EMIT, user=APP)
    text = migrate(database, "--guard-messages", user=SUPERUSER).stdout
    assert f"PUBLIC may no longer execute pg_logical_emit_message in database {database.name}; roles that may: outbox_relay, {OWNER}" in text
    check_guarded(database)
    guarded = dump(database)
    assert migrate(database, "--guard-messages", user=SUPERUSER).stdout == text
    psql(database, result.stdout, user=SUPERUSER)
    assert dump(database) == guarded


WHO_MAY = ("SELECT array_agg(DISTINCT grantee::regrole::text ORDER BY grantee::regrole::text) FROM pg_proc, aclexplode(proacl) "
           "WHERE proname = 'pg_logical_emit_message'")


def test_the_guard_trusts_the_schema_that_it_is_told_alone(empty_database):
    """Whoever may create a schema could make one that looks like ours, to be let in with it."""
    migrate(empty_database, "--writer", APP, "--relay", RELAY)
    empty_database.execute(f"GRANT CREATE ON DATABASE {empty_database.name} TO {APP}")
    migrate(empty_database, "--schema", "second", "--no-roles", user=APP)
    text = psql(empty_database, script("--guard-messages"), user=SUPERUSER)
    assert f"NOTICE:  emit_message of schema second of {APP} can no longer write: for each schema that you trust, run outboxd migrate --schema NAME" in text
    assert empty_database.scalar(WHO_MAY) == [SUPERUSER, OWNER, RELAY]
    empty_database.execute(EMIT_OURS, user=APP)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        empty_database.execute(EMIT_OURS.replace("outbox.", "second."), user=APP)
    assert "can no longer write" not in migrate(empty_database, "--schema", "second", "--guard-messages", user=SUPERUSER).stdout
    assert empty_database.scalar(WHO_MAY) == [SUPERUSER, APP, OWNER, RELAY]
    empty_database.execute(EMIT_OURS.replace("outbox.", "second."), user=APP)


def test_the_guard_needs_a_schema(empty_database):
    refused(empty_database, "--guard-messages", pattern="schema outbox has no emit_message", user=SUPERUSER)


# -- every PostgreSQL ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("major", oldest_and_newest(POSTGRES_VERSIONS))
def test_every_supported_postgresql(work_directory, major):
    server = PostgresServer(os.path.join(work_directory, f"around-{major}"), major)
    try:
        server.start()
        server.create_roles()
        one = server.fresh_database("one")
        for _ in range(2):
            text = psql(one, script("--capture", "wal"))
            assert "ERROR" not in text, text
        assert "done. Next: GRANT" not in migrate(one).stdout
        one.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")
        migrate(one, "--guard-messages", user=SUPERUSER)
        check_guarded(one)
        one.execute("DELETE FROM outbox.migration")  # what a copy without rows lacks
        assert "done: up to date" in migrate(one, "--baseline").stdout
        assert "nothing to do" in migrate(one, "--capture", "wal").stdout

        own = server.fresh_database("own")
        migrate(own, "--writer", APP, "--relay", RELAY)
        assert rights(own, **{APP: "outbox_writer", RELAY: "outbox_relay"}) == rights(one)
        prepared = server.fresh_database("prepared")
        prepared.execute(f"CREATE SCHEMA outbox; GRANT USAGE, CREATE ON SCHEMA outbox TO {APP}", user=SUPERUSER)
        text = migrate(prepared, user=APP).stdout
        assert f"an administrator runs ({APP} has no ADMIN OPTION" in text and "GRANT USAGE ON SCHEMA outbox TO" in text
        prepared.execute(AUDIT.replace("ddl_command_end", "sql_drop"), user=SUPERUSER)
        assert "event trigger 'audit'" in migrate(prepared, "--down", "0", user=APP, expect=2).stderr
        prepared.execute("DROP EVENT TRIGGER audit", user=SUPERUSER)
        migrate(prepared, "--down", "0", user=APP)
    finally:
        server.remove()
