"""`outboxd check` with capture = "wal": settings, role, publication, slot, position. Every remedy that is SQL is run."""

import contextlib
import os
import re
import socket
import struct
import threading

import psycopg2
import psycopg2.extras
import pytest

from conftest import grant_memberships, oldest_and_newest
from support.fetch import POSTGRES_VERSIONS
from support.postgres import APP, OWNER, RELAY, SUPERUSER, PostgresServer
from support.relay import configuration, migrate, outboxd, write_configuration
from support.wal import SLOT, Wal


@pytest.fixture(scope="module")
def server(work_directory):
    """A server with few places, whose settings and roles the tests may change."""
    server = PostgresServer(os.path.join(work_directory, "postgresql-check-wal"),
                            settings={"max_replication_slots": "3", "max_wal_senders": "3"})
    server.start()
    server.create_roles()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def template(server):
    """A migrated database, to be copied."""
    database = server.fresh_database("template")
    migrate(database)
    return database.name


@pytest.fixture
def database(server, template):
    database = server.fresh_database("shop", template=template)
    grant_memberships(database)
    server.execute(f"ALTER ROLE {RELAY} REPLICATION")
    yield database
    database.drop()


@pytest.fixture
def check(tmp_path, database):
    """check(pipeline options, expect=...) -> what it printed, for a pipeline "orders" that reads the WAL and needs no Kafka."""

    def run(pipeline=None, expect=0, db=None):
        config = configuration((db or database).dsn(), "", {"capture": "wal", "sink": "null", "allow_unstored": True, **(pipeline or {})})
        path = write_configuration(str(tmp_path / "outboxd.conf"), config)
        result = outboxd("check", "-c", path, expect=expect)
        assert result.stderr == "" and "nothing was changed" in result.stdout
        return result.stdout

    return run


@pytest.fixture
def wal(database):
    return Wal(database)


def remedy(text, problem):
    """The line with the remedy of the problem that says `problem`."""
    lines = text.splitlines()
    number = next((i for i, line in enumerate(lines) if problem in line), None)
    assert number is not None, f"no problem {problem!r} in:\n{text}"
    assert lines[number + 1].strip().startswith("remedy: "), text
    return lines[number + 1].strip().removeprefix("remedy: ")


def sql(line):
    """The statements of a remedy's first way, without the words before and between them."""
    return re.findall(r"(?:ALTER|CREATE|GRANT|SELECT pg_)[^;]*;", line.split("; or")[0] + ";")


def run_remedy(database, text, problem, user=SUPERUSER):
    statements = sql(remedy(text, problem))
    assert statements, text
    for statement in statements:
        database.execute(statement, user=user)


# -- what is right --------------------------------------------------------------------------------------------------------


def test_a_good_setup_is_accepted_before_the_first_start(check, database, wal):
    text = check()
    assert f"slot           {SLOT}: none yet; the relay creates it at its first start" in text
    assert "no problem, 1 warning; nothing was changed" in text
    assert wal.slot() is None and wal.position() is None


def test_who_reads_the_slot_is_named(check, database, wal):
    wal.make_slot()
    assert f"slot           {SLOT}: not read by any client now" in check()
    reader = psycopg2.connect(database.dsn(application_name="shop/orders"), connection_factory=psycopg2.extras.LogicalReplicationConnection)
    with contextlib.closing(reader), reader.cursor() as cursor:
        cursor.start_replication(SLOT, options={"proto_version": "1", "publication_names": SLOT})
        assert f"slot           {SLOT}: read by pid {reader.get_backend_pid()} (shop/orders)" in check()


def test_what_polling_needs_is_said_where_the_table_is_read(check, database, wal):
    database.execute("ALTER SEQUENCE outbox.event_seq_seq CACHE 20")
    assert "those that wait for their topic) are published in the order of their numbers" in check()
    database.execute("ALTER SEQUENCE outbox.event_seq_seq CACHE 1")
    assert "no problem" in check()
    database.execute("DROP INDEX outbox.event_unpublished; ALTER TABLE outbox.event DROP CONSTRAINT event_pkey, "
                     "ADD CONSTRAINT event_pkey PRIMARY KEY (event_id)")
    text = check()
    assert "no unique index" in text and "published rows slow down the first start and each count" in text
    assert "index" not in check({"on_publish": "keep"})


# -- the server and the role ------------------------------------------------------------------------------------------------


def test_the_replication_attribute_is_asked_for(check, server, database, wal):
    server.execute(f"ALTER ROLE {RELAY} NOREPLICATION")
    text = check(expect=2)
    run_remedy(database, text, f"role {RELAY} lacks REPLICATION")
    check()


def test_a_superuser_may_replicate(tmp_path, database, wal):
    path = write_configuration(str(tmp_path / "x.conf"), configuration(database.dsn(SUPERUSER), "", {"capture": "wal", "sink": "null", "allow_unstored": True}))
    assert "is a superuser" in outboxd("check", "-c", path, expect=0).stdout


def test_wal_level_is_asked_for(work_directory, check):
    server = PostgresServer(os.path.join(work_directory, "postgresql-check-replica"), settings={"wal_level": "replica"})
    try:
        server.start()
        server.create_roles()
        database = server.fresh_database("shop")
        migrate(database)
        grant_memberships(database)
        Wal(database)
        text = check(expect=2, db=database)
        assert "wal_level is not logical" in text and "1 problem" in text
        server.execute("ALTER SYSTEM SET wal_level = 'logical'")
        assert remedy(text, "wal_level is not").startswith("ALTER SYSTEM SET wal_level = 'logical'; then restart")
        server.restart()
        check(db=database)
    finally:
        server.remove()


def test_places_for_the_slot_are_counted(check, database, wal):
    for name in ("a", "b", "c"):
        wal.make_slot(name)
    text = check(expect=2)
    assert "all 3 slots that max_replication_slots allows are in use" in text
    assert "ALTER SYSTEM SET max_replication_slots = 7; then restart" in remedy(text, "max_replication_slots")
    wal.drop_slot("a")
    wal.make_slot()
    check()  # it has its place


def test_places_for_its_reader_are_counted(check, server, database, wal):
    others = [psycopg2.connect(database.dsn(SUPERUSER), connection_factory=psycopg2.extras.LogicalReplicationConnection) for _ in range(3)]
    try:
        text = check(expect=2)
        assert "all 3 connections that max_wal_senders allows are in use" in text and "cannot connect" not in text
    finally:
        for other in others:
            other.close()


class Pooler:
    """What stands between like a connection pooler: passes everything on, but no replication connection."""

    def __init__(self, server):
        self.server, self.listener = server, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        startup = client.recv(65536)
        if b"replication\0" in startup:
            fields = b"SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0"
            client.sendall(b"E" + struct.pack(">i", len(fields) + 4) + fields)
            client.close()
            return
        upstream = socket.create_connection(("127.0.0.1", self.server.port))
        upstream.sendall(startup)
        threading.Thread(target=self._pass, args=(upstream, client), daemon=True).start()
        self._pass(client, upstream)

    @staticmethod
    def _pass(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_replication_connection_is_tried(tmp_path, server, database, wal):
    pooler = Pooler(server)
    with pooler.listener:
        dsn = database.dsn(port=pooler.port, sslmode="disable", gssencmode="disable")
        path = write_configuration(str(tmp_path / "x.conf"), configuration(dsn, "", {"capture": "wal", "sink": "null", "allow_unstored": True}))
        text = outboxd("check", "-c", path, expect=2).stdout
    assert "1 problem," in text
    problem = "unsupported startup parameter: replication"
    assert "cannot connect for replication: " in text and "pooler" in remedy(text, problem)


def test_the_table_of_positions_and_the_rights_on_it_are_asked_for(check, database, wal):
    database.execute("REVOKE UPDATE ON outbox.position FROM outbox_relay")
    text = check(expect=2)
    run_remedy(database, text, f"role {RELAY} may not read and write outbox.\"position\"", user=OWNER)
    check()
    database.execute("ALTER TABLE outbox.position RENAME TO elsewhere")
    assert "outboxd migrate --capture wal" in remedy(check(expect=2), "table outbox.position does not exist")


def test_what_marking_needs_is_asked_for(check, database, wal):
    database.execute("REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay")
    assert 'may not UPDATE outbox.event, needed by on_publish = "mark"' in check(expect=2)
    check({"on_publish": "keep"})
    database.execute("REVOKE DELETE ON outbox.event FROM outbox_relay")
    assert "may not DELETE from outbox.event" in check({"on_publish": "delete"}, expect=2)


def test_a_revoked_function_is_granted_back(check, server, database, wal):
    database.execute("REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM PUBLIC", user=SUPERUSER)
    text = check(expect=2)
    run_remedy(database, text, "may not execute pg_logical_emit_message")
    check()


def test_an_unlogged_table_never_reaches_the_wal(check, database):
    database.execute("ALTER TABLE outbox.event SET UNLOGGED")
    assert "outbox.event is unlogged: the WAL does not contain its rows" in check(expect=2)


# -- the publication ------------------------------------------------------------------------------------------------------


def test_without_the_right_to_create_the_publication_an_administrator_gets_the_statement(check, database):
    text = check(expect=2)
    run_remedy(database, text, 'publication "outboxd_orders" does not exist, and the relay\'s role may not create it')
    check()


def test_a_role_that_may_create_the_publication_need_not_have_it(tmp_path, server, database):
    server.execute(f"ALTER ROLE {OWNER} REPLICATION")
    try:
        path = write_configuration(str(tmp_path / "x.conf"), configuration(database.dsn(OWNER), "", {"capture": "wal", "sink": "null", "allow_unstored": True}))
        assert "no problem" in outboxd("check", "-c", path, expect=0).stdout
    finally:
        server.execute(f"ALTER ROLE {OWNER} NOREPLICATION")


def test_a_slot_older_than_its_publication_is_found(check, database, wal):
    database.execute("DROP PUBLICATION outboxd_orders")
    wal.make_slot()
    text = check(expect=2)
    run_remedy(database, text, "a publication must be older than its slot")
    assert wal.slot() is None
    check()


@pytest.mark.parametrize("definition, problem, warning", [
    ("FOR TABLE outbox.position WITH (publish = 'insert')", "does not publish outbox.event: its events would never be published",
     "also publishes other tables, such as outbox.\"position\""),
    ("FOR TABLE outbox.event WITH (publish = 'update')", "does not publish inserts", "publishes more than inserts"),
    ("FOR TABLE outbox.event", None, "publishes more than inserts"),
    ("FOR TABLE outbox.event WITH (publish = 'insert, truncate')", None, "publishes more than inserts"),
    ("FOR TABLE outbox.event, outbox.migration WITH (publish = 'insert')", None, "also publishes other tables, such as outbox.migration"),
    ("FOR TABLE outbox.event WHERE (event_type <> 'x') WITH (publish = 'insert')", "a row filter of publication \"outboxd_orders\" hides events",
     None),
    ("FOR TABLE outbox.event (seq, event_id) WITH (publish = 'insert')", "a column list of publication \"outboxd_orders\" hides columns", None)])
def test_what_hides_or_costs_is_found_and_mended(check, database, definition, problem, warning):
    database.execute(f"CREATE PUBLICATION outboxd_orders {definition}")
    text = check(expect=2 if problem else 0)
    assert ("2 warnings" in text) == bool(warning), text
    for words in (problem, warning):
        if words:
            run_remedy(database, text, words, user=OWNER)
    assert "no problem, 1 warning" in check()


def test_a_publication_of_all_tables_is_a_warning(check, database):
    database.execute("CREATE PUBLICATION outboxd_orders FOR ALL TABLES WITH (publish = 'insert')", user=SUPERUSER)
    assert "give the pipeline a publication of its own" in remedy(check(), "also publishes other tables")


def test_updates_of_a_table_without_identity_would_be_refused(check, database):
    database.execute("CREATE PUBLICATION outboxd_orders FOR TABLE outbox.event WITH (publish = 'insert, update'); "
                     "ALTER TABLE outbox.event REPLICA IDENTITY NOTHING")
    text = check(expect=2)
    run_remedy(database, text, "no replica identity: PostgreSQL refuses every UPDATE or DELETE that it covers", user=OWNER)
    check()
    database.execute("ALTER PUBLICATION outboxd_orders SET (publish = 'insert, delete'); ALTER TABLE outbox.event REPLICA IDENTITY FULL")
    assert "publishes more than inserts" in check()


def test_partitions_come_with_their_root(check, database):
    database.execute(f"""CREATE TABLE public.parted (LIKE outbox.event INCLUDING ALL) PARTITION BY RANGE (seq);
                         CREATE TABLE public.parted_1 PARTITION OF public.parted DEFAULT;
                         GRANT SELECT, UPDATE, DELETE ON public.parted TO {RELAY};
                         CREATE PUBLICATION outboxd_orders FOR TABLE public.parted WITH (publish = 'insert')""")
    check({"table": "public.parted"})
    database.execute("ALTER PUBLICATION outboxd_orders SET TABLE public.parted_1", user=SUPERUSER)
    text = check({"table": "public.parted"}, expect=2)  # a partition of tomorrow would not be in it
    run_remedy(database, text, "does not publish public.parted")
    check({"table": "public.parted"})
    database.execute("DROP PUBLICATION outboxd_orders")
    run_remedy(database, check({"table": "public.parted"}, expect=2), 'publication "outboxd_orders" does not exist')
    check({"table": "public.parted"})


def test_names_with_capitals_and_given_names_are_found(check, database):
    database.execute(f'CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Outbox" (LIKE outbox.event INCLUDING ALL); '
                     f'GRANT USAGE ON SCHEMA "Shop" TO {RELAY}; GRANT SELECT, UPDATE ON "Shop"."Outbox" TO {RELAY}; '
                     'CREATE PUBLICATION "Mine" FOR TABLE "Shop"."Outbox" WITH (publish = \'insert\')')
    assert "slot           mine: none yet" in check({"table": '"Shop"."Outbox"', "publication": "Mine", "slot": "mine"})


# -- the slot and our position ------------------------------------------------------------------------------------------------


def test_a_slot_that_is_not_ours_is_refused(check, server, database, wal):
    database.execute("SELECT pg_create_logical_replication_slot('outboxd_orders', 'test_decoding')", user=SUPERUSER)
    assert f'slot "{SLOT}" cannot be used: its plug-in is test_decoding' in check(expect=2)
    wal.drop_slot()
    server.execute("SELECT pg_create_physical_replication_slot('outboxd_orders')")
    try:
        assert "it is a physical slot" in check(expect=2)
    finally:
        server.execute("SELECT pg_drop_replication_slot('outboxd_orders')")
    other = server.fresh_database("other")
    try:
        other.execute("SELECT pg_create_logical_replication_slot('outboxd_orders', 'pgoutput')", user=SUPERUSER)
        assert f"it belongs to database {other.name}" in check(expect=2)
    finally:
        other.drop()


def note_position(database, slot=SLOT, lsn="confirmed_flush_lsn", system="(SELECT system_identifier::text FROM pg_control_system())", timeline=1):
    database.execute("INSERT INTO outbox.position (pipeline, system_id, timeline, slot, lsn) SELECT 'orders', "
                     f"{system}, {timeline}, '{slot}', {lsn} FROM pg_replication_slots WHERE slot_name = '{SLOT}'", user=SUPERUSER)


def test_a_position_that_the_slot_has_not_passed_is_fine(check, database, wal):
    wal.make_slot()
    note_position(database)
    assert "no problem" in check()


def test_a_relay_that_saves_its_position_and_confirms_it_meanwhile_is_fine(check, database, wal):
    """As quickly as it can, in the order in which a relay does: the slot is never ahead of what was saved, whenever somebody looks."""
    wal.make_slot()
    note_position(database)
    over, rounds = threading.Event(), []

    def relay():
        connection = database.connect(SUPERUSER)
        with connection.cursor() as cursor:
            while not over.is_set():
                cursor.execute("SELECT pg_current_wal_lsn()")
                lsn = cursor.fetchone()
                cursor.execute("UPDATE outbox.position SET lsn = %s", lsn)
                cursor.execute("SELECT pg_replication_slot_advance(%s, %s)", (SLOT, *lsn))
                rounds.append(lsn)
        connection.close()

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        for _ in range(20):
            before = len(rounds)
            assert "no problem" in check()
            assert len(rounds) > before
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("change, words", [
    ({"lsn": "'0/1'"}, "ahead of the saved position 0/1: it was advanced or created again outside outboxd"),
    ({"system": "'7'"}, "is a different server than pipeline 'orders' read before (7)"),
    ({"timeline": 9}, "the server is on timeline 1, whose history does not contain timeline 9"),
    ({"slot": "other"}, "belongs to slot 'other', not to 'outboxd_orders'")])
def test_a_gap_between_slot_and_position_is_named_with_the_only_way_on(check, database, wal, change, words):
    wal.make_slot()
    note_position(database, **change)
    text = check(expect=4)
    assert "data gap: " in text and words in text
    assert "outboxd run --new-slot" in remedy(text, words)


def test_a_slot_that_is_gone_is_a_gap(check, database, wal):
    wal.make_slot()
    note_position(database)
    wal.drop_slot()
    assert "outboxd run --new-slot" in remedy(check(expect=4), "slot 'outboxd_orders' does not exist any more; it was read up to")


def test_a_slot_that_lost_its_wal_is_a_gap_and_one_that_will_is_a_warning(check, server, database, wal):
    wal.make_slot()
    note_position(database)
    with server.configured(max_slot_wal_keep_size="1MB", max_wal_size="32MB"):
        seen = set()
        for _ in range(12):
            server.execute("SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'noise', repeat('x', 1000))")
            status = wal.slot()["wal_status"]
            seen.add(status)
            if status == "unreserved":
                assert "the next checkpoint may make a data gap" in check()
                break
        assert "unreserved" in seen, seen
        for _ in range(5):
            server.execute("SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'noise', repeat('x', 1000))")
        server.execute("CHECKPOINT")
        assert wal.slot()["wal_status"] == "lost"
        assert "outboxd run --new-slot" in remedy(check(expect=4), "slot 'outboxd_orders' is invalid")


# -- versions ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("major", oldest_and_newest(POSTGRES_VERSIONS))
def test_every_postgresql(work_directory, check, major):
    server = PostgresServer(os.path.join(work_directory, f"postgresql-check-{major}"), major)
    try:
        server.start()
        server.create_roles()
        database = server.fresh_database("shop")
        migrate(database)
        grant_memberships(database)
        text = check(expect=2, db=database)
        assert f"role {RELAY} lacks REPLICATION" in text and "(server: " in text and "may not create it" in text and "2 problems" in text, text
        run_remedy(database, text, "lacks REPLICATION")
        run_remedy(database, text, "may not create it")
        assert "no problem" in check(db=database)
        text = check({"messages": True, "messages_from": "anyone"}, expect=2 if major == "13" else 0, db=database)
        assert ("messages = true needs PostgreSQL 14" in text) == (major == "13")
        text = check({"failover_slot": True}, expect=0 if int(major) >= 17 else 2, db=database)
        assert ("failover_slot = true needs PostgreSQL 17" in text) == (int(major) < 17)
        assert ("synchronized_standby_slots is empty" in text) == (int(major) >= 17)
        Wal(database, publication=None).make_slot()
        if int(major) >= 17:
            text = check({"failover_slot": True}, expect=2, db=database)
            alter = re.search(r"ALTER_REPLICATION_SLOT \w+ \(FAILOVER true\);", remedy(text, "created without failover")).group()
            connection = psycopg2.connect(database.dsn(), connection_factory=psycopg2.extras.LogicalReplicationConnection)
            connection.cursor().execute(alter)
            connection.close()
            check({"failover_slot": True}, db=database)
        database.execute("SELECT outbox.emit('a', 'order', '1', '{}')", user=APP)
        assert "not read by any client now" in check(db=database)
    finally:
        server.remove()
