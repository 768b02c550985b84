"""`outboxd migrate --capture wal`: the publication, what is left to an administrator, and the way back."""

import os
import re
import subprocess

import pytest

from conftest import soak
from support.postgres import OWNER, PASSWORDS, RELAY, SUPERUSER, PostgresServer
from support.relay import migrate, outboxd

CONTENTS = ("SELECT pubinsert, pubupdate, pubdelete, pubtruncate, puballtables, (SELECT array_agg(schemaname || '.' || tablename) FROM "
            "pg_publication_tables t WHERE t.pubname = p.pubname), obj_description(oid, 'pg_publication') FROM pg_publication p "
            "WHERE pubname = 'outboxd_outbox'")
OURS = [(True, False, False, False, False, ["outbox.event"], "outboxd: inserts into outbox.event (created by outboxd migrate)")]


def dump(database):
    result = subprocess.run(["pg_dump", "-s", "-d", database.dsn(SUPERUSER)], check=True, text=True, stdout=subprocess.PIPE)
    return re.sub(r"^\\(un)?restrict .*$", "", result.stdout, flags=re.M)


def statements(text):
    """The SQL that an administrator is told to run, without placeholders."""
    return [line.strip() for line in text.splitlines() if re.match(r"  (ALTER|CREATE)", line)]


def test_makes_a_publication_of_inserts_alone_and_says_what_is_left(empty_database):
    result = migrate(empty_database, "--capture", "wal")
    assert result.stderr == "" and "publication outboxd_outbox created" in result.stdout
    assert empty_database.execute(CONTENTS) == OURS
    assert statements(result.stdout) == [
        "ALTER ROLE your_relay REPLICATION;   -- membership in outbox_relay does not give it",
        "CREATE PUBLICATION outboxd_<pipeline> FOR TABLE outbox.event WITH (publish = 'insert');   -- for each pipeline not called outbox"]
    assert "GRANT outbox_relay TO your_relay" in result.stdout and result.stdout.index("GRANT") < result.stdout.index("ALTER ROLE")
    empty_database.execute(statements(result.stdout)[1].replace("<pipeline>", "orders"))


def test_twice_is_a_no_op(empty_database):
    migrate(empty_database, "--capture", "wal")
    before = dump(empty_database)
    text = migrate(empty_database, "--capture", "wal").stdout
    assert "publication outboxd_outbox already exists" in text and "nothing to do" in text and "ALTER ROLE" in text
    assert dump(empty_database) == before


def test_it_is_added_to_a_schema_that_polling_has_used(database):
    database.execute("SELECT outbox.emit('a', 'order', '1', '{}')")
    text = migrate(database, "--capture", "wal").stdout
    assert "applied" not in text and database.execute(CONTENTS) == OURS


def test_without_it_there_is_no_publication(empty_database):
    migrate(empty_database, "--capture", "poll")
    assert empty_database.execute(CONTENTS) == []


@pytest.mark.parametrize("how", ["psql", "one call of a driver"])
def test_printed_sql_makes_the_same_database(postgres, empty_database, how):
    script = outboxd("migrate", "--print", "--capture", "wal", expect=0).stdout
    assert "\n-- ALTER SYSTEM SET wal_level = 'logical';   -- unless it is" in script and "\n-- ALTER ROLE your_relay REPLICATION" in script
    migrate(empty_database, "--capture", "wal")
    other = postgres.fresh_database("printed")
    try:
        if how == "psql":
            postgres.psql(script, other.name, OWNER)
        else:
            other.execute(script)
        assert dump(other) == dump(empty_database)
        assert "nothing to do" in migrate(other, "--capture", "wal").stdout
        postgres.psql(outboxd("migrate", "--print", "--down", "0", expect=0).stdout, other.name, OWNER)
        assert other.execute(CONTENTS) == []
    finally:
        other.drop()


TABLE = "FOR TABLE outbox.event WITH (publish = 'insert')"


@pytest.mark.parametrize("definition, fault, mended_by", [
    ("FOR TABLE outbox.event", "It does not publish inserts only.", OWNER),
    ("FOR TABLE outbox.event WITH (publish = 'update')", "It does not publish inserts only.", OWNER),
    ("WITH (publish = 'insert')", "It does not publish outbox.event.", OWNER),
    ("FOR TABLE outbox.event, outbox.position WITH (publish = 'insert')", "It publishes other tables.", OWNER),
    ("FOR ALL TABLES WITH (publish = 'insert')", "It publishes other tables.", SUPERUSER),
    ("FOR TABLES IN SCHEMA outbox", "It publishes other tables, it does not publish inserts only.", SUPERUSER),
    ("FOR TABLE outbox.event WHERE (event_type = 'x') WITH (publish = 'insert')", "A row filter or a column list hides events.", OWNER),
    ("FOR TABLE outbox.event (seq, payload) WITH (publish = 'insert')", "A row filter or a column list hides events.", OWNER)])
def test_another_publication_of_that_name_is_refused_with_what_mends_it(database, definition, fault, mended_by):
    database.execute("CREATE PUBLICATION outboxd_outbox " + definition, user=SUPERUSER)
    if mended_by == OWNER:
        database.execute(f"ALTER PUBLICATION outboxd_outbox OWNER TO {OWNER}", user=SUPERUSER)
    before = dump(database)
    result = migrate(database, "--capture", "wal", expect=2)
    assert "publication outboxd_outbox exists, but not as outboxd creates it for outbox.event. " + fault in result.stderr
    assert dump(database) == before
    remedy = re.search("remedy: (.*;) Or leave it", result.stderr).group(1)
    for statement in remedy.split(";")[:-1]:
        database.execute(statement, user=mended_by)
    assert "already exists" in migrate(database, "--capture", "wal").stdout


def test_a_role_that_may_not_create_it_gets_the_statement_for_an_administrator(database):
    result = migrate(database, "--capture", "wal", user=RELAY, expect=2)
    assert f"{RELAY} may not create publication outboxd_outbox. That needs CREATE on the database and ownership of outbox.event" in result.stderr
    assert PASSWORDS[RELAY] not in result.stderr + result.stdout
    statement = re.search("Ask an administrator to run: (.*;)", result.stderr).group(1)
    database.execute(statement, user=SUPERUSER)
    assert "already exists" in migrate(database, "--capture", "wal", user=RELAY).stdout
    text = migrate(database, "--down", "0").stdout
    assert "publication outboxd_outbox is kept: outboxd did not create it" in text
    assert database.scalar("SELECT count(*) FROM pg_publication") == 1


def test_another_schema_gets_its_own_when_the_name_is_free(empty_database):
    schema = 'we"ird\'; --%s'
    identifier = '"' + schema.replace('"', '""') + '"'
    text = migrate(empty_database, "--schema", schema, "--capture", "wal").stdout
    assert f"FOR TABLE {identifier}.event WITH" in text
    assert empty_database.scalar("SELECT schemaname FROM pg_publication_tables WHERE pubname = 'outboxd_outbox'") == schema
    result = migrate(empty_database, "--capture", "wal", expect=2)
    assert "exists, but not as outboxd creates it for outbox.event" in result.stderr
    migrate(empty_database, "--down", "0")
    assert empty_database.scalar("SELECT count(*) FROM pg_publication") == 1, "it belongs to the other schema"
    migrate(empty_database, "--schema", schema, "--down", "0")
    assert empty_database.scalar("SELECT count(*) FROM pg_publication") == 0


def test_the_way_back_drops_the_publication_and_names_the_slots_that_stay(database):
    migrate(database, "--capture", "wal")
    slot = f"outboxd_{database.name}"
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,), user=SUPERUSER)
    try:
        migrate(database, "--down", "1")
        assert database.execute(CONTENTS) == OURS
        text = migrate(database, "--down", "0").stdout
        assert f"a replication slot retains WAL until you drop it: SELECT pg_drop_replication_slot('{slot}');" in text
        assert database.scalar("SELECT count(*) FROM pg_publication") == 0
    finally:
        database.execute("SELECT pg_drop_replication_slot(%s)", (slot,), user=SUPERUSER)


def test_steps_can_stop_early(empty_database):
    text = migrate(empty_database, "--capture", "wal", "--to", "1").stdout
    assert "done, up to migration 1." in text and empty_database.execute(CONTENTS) == OURS


@pytest.mark.parametrize("args, words", [
    (["--status"], "--status goes with"), (["--down", "0"], "--down 0 also drops the publication")])
def test_usage_errors(args, words):
    assert words in outboxd("migrate", "--capture", "wal", *args, expect=1).stderr


@pytest.mark.slow
@pytest.mark.parametrize("major", ["13", soak("15"), "18"])
def test_every_postgresql_with_wal_level_replica(work_directory, major):
    server = PostgresServer(os.path.join(work_directory, f"postgresql-publish-{major}"), major, {"wal_level": "replica"})
    try:
        server.start()
        server.create_roles()
        database = server.fresh_database("shop")
        result = migrate(database, "--capture", "wal")
        assert statements(result.stdout)[0] == "ALTER SYSTEM SET wal_level = 'logical';   -- it is replica; then restart PostgreSQL"
        assert database.execute(CONTENTS) == OURS
        server.execute(statements(result.stdout)[0])
        server.restart()
        server.execute(statements(result.stdout)[1].replace("your_relay", RELAY))
        text = migrate(database, "--capture", "wal").stdout
        assert "ALTER SYSTEM" not in text and "already exists" in text
        server.execute("SELECT pg_create_logical_replication_slot('outboxd_outbox', 'pgoutput')", dbname=database.name)
        database.execute("SELECT outbox.emit('a', 'order', '1', '{}'); DELETE FROM outbox.event")
        kinds = [bytes(d)[:1] for d, in database.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes('outboxd_outbox', NULL, NULL, 'proto_version', '1', 'publication_names', "
            "'outboxd_outbox')", user=SUPERUSER)]
        assert kinds.count(b"I") == 1 and b"D" not in kinds
        database.execute("SELECT pg_drop_replication_slot('outboxd_outbox')", user=SUPERUSER)
        migrate(database, "--down", "0")
        assert database.scalar("SELECT count(*) FROM pg_publication") == 0
    finally:
        server.remove()
