"""A real PgBouncer between the relay and PostgreSQL: what works in session mode, and what is refused in any other.

A session in transaction mode shares its server connection with the application's: what it sets would stay there for others, and so would its lock.
"""

import os
import re
import signal

import psycopg2
import pytest

from conftest import CAPTURES, soak
from support.common import eventually
from support.consume import read_topics
from support.pgbouncer import PgBouncer
from support.postgres import OWNER, PASSWORDS, RELAY, PostgresServer
from support.program import Program
from support.relay import ROOT, configuration, outboxd, write_configuration
from support.trial import Trial

REFUSED = "a connection pooler stands between outboxd and PostgreSQL"
SHARED = "it is not in session mode"
# 1.18 refuses a replication connection, and that of Debian 13 (1.24) passes it on.
RELEASES = [pytest.param(None, id="1.18"), pytest.param("debian13", marks=pytest.mark.matrix, id="1.24")]
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def guide_blocks():
    """The lines that the guide tells a user to add to PgBouncer's file."""
    with open(os.path.join(ROOT, "packaging", "guide", "poolers.md"), encoding="utf-8") as f:
        return re.findall(r"```\n\[databases\]\n(.*?)```", f.read(), re.S)


@pytest.fixture(params=RELEASES)
def release(request):
    """Whose PgBouncer: None is that of this machine."""
    return request.param


@pytest.fixture
def session(postgres, database, release):
    """PgBouncer as Debian ships it, with the line of the guide in [databases], and users in userlist.txt: it pools sessions."""
    with PgBouncer(postgres, databases=here(guide_blocks()[0], postgres, database), release=release) as pooler:
        yield pooler


def here(text, postgres, database):
    return re.sub(r"(?m)^shop\b", database.name, text).replace("host=db port=5432 dbname=shop", f"host=127.0.0.1 port={postgres.port} dbname={database.name}")


@pytest.fixture
def transaction(postgres, release):
    """The same, and one line more."""
    with PgBouncer(postgres, mode="transaction", release=release) as pooler:
        yield pooler


def options(pooler, database, capture="poll", **more):
    """For relay(): through the pooler, in session mode by the configuration; the log directly."""
    direct = {"replication_dsn": database.dsn()} if capture == "wal" else {}
    return {"dsn": pooler.dsn(database.name, RELAY), "database": {"pooler": "session", **direct, **more}}


def settings_of_an_application(pooler, database):
    """What an application that is given a server connection by the pooler finds set there."""
    connection = psycopg2.connect(pooler.dsn(database.name, RELAY))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path'), current_setting('row_security'), current_setting('statement_timeout'),"
                       " coalesce(current_setting('outboxd.session', true), '')")
        found = cursor.fetchone()
    connection.close()
    return found


UNTOUCHED = ('"$user", public', "on", "0", "")


# -- session mode -----------------------------------------------------------------------------------------------------


def published_over_a_kill(database, one):
    trial = Trial(database, one)
    trial.emit(100)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, one.log_tail)
    one.kill()
    trial.emit(100)
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, one.log_tail)
    return trial


@pytest.mark.parametrize("capture", CAPTURES)
def test_nothing_is_lost_through_a_pooler_in_session_mode(session, database, kafka, relay, prefix, wal, capture):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = relay({**CAPTURES[capture], "in_flight_events": 50, "batch_events": 25}, **options(session, database, capture)).start()
    trial = published_over_a_kill(database, one)
    session.restart()
    trial.emit(100)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, one.log_tail)
    one.stop(expect=0)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(duplicates=100)   # of the kill, and of the restart
    assert len(result.inverted) == 0


def test_a_restart_of_the_pooler_alone_repeats_nothing(session, database, kafka, relay, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = relay(**options(session, database)).start()
    trial = Trial(database, one)
    for _ in range(3):
        trial.emit(50)
        session.restart()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, one.log_tail)
    one.stop(expect=0)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)


def test_parameters_at_the_start_of_a_session_are_refused_by_the_pooler_alone(session, database, kafka):
    """As the guide says: outboxd sends none that PgBouncer does not know, and options= of a connection string is one."""
    dsn = session.dsn(database.name, RELAY, options="-cwork_mem=8MB")
    text = outboxd("check", "--dsn", dsn, "--brokers", kafka.brokers, env={"OUTBOXD_DATABASE_POOLER": "session"}, expect=2).stdout
    assert "unsupported startup parameter" in text


@pytest.mark.parametrize("gone", ["kill", soak("pause")])
def test_a_second_relay_stands_by_behind_the_same_pooler(session, database, kafka, relay, prefix, gone):
    kafka.create_topic(f"{prefix}.order", partitions=3)
    first = relay({"lease": "3s"}, **options(session, database)).start()
    second = relay({"lease": "3s"}, **options(session, database)).start()
    second.wait_log("PIPELINE_STANDBY")
    getattr(first, gone)()      # the pooler gives its server connections back, and so the lock; or PostgreSQL ends a silent session
    second.wait_log("PIPELINE_ACTIVE", 30)
    Trial(database, second).emit(10)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, second.log_tail)


def test_the_relay_can_have_an_entry_of_its_own(postgres, database, kafka, relay, prefix):
    """Everybody else goes on in transaction mode."""
    kafka.create_topic(f"{prefix}.order", partitions=3)
    with PgBouncer(postgres, mode="transaction", databases=here(guide_blocks()[1], postgres, database)) as pooler:
        one = relay(dsn=pooler.dsn("shop_relay", RELAY), database={"pooler": "session"}).start()
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, one.log_tail)
        assert settings_of_an_application(pooler, database) == UNTOUCHED


def test_each_command_works_in_session_mode_and_leaves_nothing_set(postgres, empty_database, kafka, tmp_path):
    database = empty_database
    with PgBouncer(postgres) as session:
        commands_in_session_mode(session, database, kafka, tmp_path)


def commands_in_session_mode(session, database, kafka, tmp_path):
    owner = {"OUTBOXD_DATABASE_DSN": session.dsn(database.name, OWNER), "OUTBOXD_DATABASE_POOLER": "session"}
    assert "1 " in outboxd("migrate", env=owner, expect=0).stdout
    database.execute(f"GRANT outbox_relay TO {RELAY}")
    text = configuration(session.dsn(database.name, RELAY), kafka.brokers, {"topic": "orders.events"}, database={"pooler": "session"}, listen="off")
    path = write_configuration(str(tmp_path / "outboxd.conf"), text)
    kafka.create_topic("orders.events")
    assert "no problem" in outboxd("check", "-c", path, expect=0).stdout
    outboxd("pause", "-c", path, expect=0)
    assert database.scalar("SELECT count(*) FROM outbox.pause") == 1
    outboxd("resume", "-c", path, expect=0)
    assert "no dead letters" in outboxd("dead", "list", "-c", path, expect=0).stdout
    assert "no unpublished events" in outboxd("status", "-c", path).stdout     # no relay runs: what the database knows
    assert settings_of_an_application(session, database) == UNTOUCHED


# -- what is not said to pool sessions is refused, and nothing is left behind in it ------------------------------------


@pytest.mark.parametrize("command", [("run",), ("check",), ("status",), ("pause",), ("resume",), ("dead", "list"), ("migrate",), ("migrate", "--status")],
                         ids=" ".join)
def test_a_pooler_is_refused_before_anything_is_set(transaction, database, kafka, tmp_path, command):
    dsn = transaction.dsn(database.name, RELAY)
    path = write_configuration(str(tmp_path / "outboxd.conf"), configuration(dsn, kafka.brokers, listen="off"))
    where = ("--dsn", dsn) if command[0] == "migrate" else ("-c", path)
    result = outboxd(*command, *where)
    said = result.stdout + result.stderr
    assert result.returncode == 2, said
    assert REFUSED in said
    assert "database.pooler" in said and "Connect to PostgreSQL directly" in said
    assert settings_of_an_application(transaction, database) == UNTOUCHED


def test_the_log_is_not_read_through_a_pooler_without_a_connection_beside_it(session, database, kafka, relay, wal):
    pooled = {"dsn": session.dsn(database.name, RELAY), "database": {"pooler": "session"}}
    one = relay(CAPTURES["wal"], **pooled)
    one.start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines("POSTGRES_POOLER.*replication connection.*database.replication_dsn")
    text = outboxd("check", "-c", one.config_path, expect=2).stdout
    assert "many poolers do not support replication connections" in text and "database.replication_dsn" in text


def test_a_pooler_that_refuses_replication_is_found_by_check(postgres, database, kafka, relay, wal):
    with PgBouncer(postgres) as session:
        one = relay(CAPTURES["wal"], **wal_options(session, database, session.dsn(database.name, RELAY)))
        text = outboxd("check", "-c", one.config_path, expect=2).stdout
        assert "unsupported startup parameter: replication" in text     # what PgBouncer 1.18 says


@pytest.mark.matrix
@pytest.mark.parametrize("mode", [None, "transaction"])
def test_the_log_is_read_through_a_pooler_that_passes_replication_on(postgres, database, kafka, relay, prefix, wal, mode):
    """PgBouncer gives a replication connection a server connection of its own, whatever pool_mode says of the others."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    with PgBouncer(postgres, databases=here(guide_blocks()[1], postgres, database), mode=mode, release="debian13") as pooler:
        through = pooler.dsn("shop_relay", RELAY)
        one = relay({**CAPTURES["wal"], "in_flight_events": 50, "batch_events": 25}, dsn=through,
                    database={"pooler": "session", "replication_dsn": pooler.dsn(database.name, RELAY) if mode else through}).start()
        assert "no problem" in outboxd("check", "-c", one.config_path, expect=0).stdout
        trial = published_over_a_kill(database, one)
        # Since 1.23 SIGTERM waits for the clients, and the relay stays one.
        pooler.process.send_signal(signal.SIGTERM)
        trial.emit(100)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, one.log_tail)
        assert pooler.process.poll() is None and not one.log_lines("POSTGRES_CONNECTION_LOST")
        pooler.restart()
        trial.emit(100)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, one.log_tail)
        one.stop(expect=0)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(duplicates=100)   # of the kill, and of the restart
    assert len(result.inverted) == 0


# -- a pooler that is said to pool sessions, and does not -------------------------------------------------------------


def test_check_finds_a_pooler_that_shares_the_session(transaction, database, kafka, tmp_path):
    text = configuration(transaction.dsn(database.name, RELAY), kafka.brokers, database={"pooler": "session"}, listen="off")
    text = outboxd("check", "-c", write_configuration(str(tmp_path / "outboxd.conf"), text), expect=2).stdout
    assert SHARED in text and "pool_mode = session" in text


@pytest.mark.parametrize("capture", ["poll", soak("wal")])
def test_a_relay_whose_session_is_shared_stops(transaction, database, kafka, relay, wal, capture):
    one = relay({**CAPTURES[capture], "lease": "3s"}, **options(transaction, database, capture))
    one.start(wait_ready=False)
    assert one.wait_exit(30) == 2
    assert one.log_lines(f"POSTGRES_POOLER.*{SHARED}")


def test_two_relays_behind_it_do_not_both_go_on(transaction, database, kafka, relay, prefix):
    """Both get the lock: it is one session of PostgreSQL. Each finds out at its next question of the lease."""
    kafka.create_topic(f"{prefix}.order", partitions=3)
    both = [relay({"lease": "3s"}, **options(transaction, database)) for _ in range(2)]
    for one in both:
        one.start(wait_ready=False)
    for one in both:
        assert one.wait_exit(30) == 2
        assert one.log_lines("POSTGRES_POOLER")


# -- the connection beside the pooler ---------------------------------------------------------------------------------


def wal_options(session, database, replication_dsn):
    return {"dsn": session.dsn(database.name, RELAY), "database": {"pooler": "session", "replication_dsn": replication_dsn}}


def refused(one):
    one.start(wait_ready=False)
    assert one.wait_exit() == 2
    return outboxd("check", "-c", one.config_path, expect=2).stdout


def test_another_database_of_the_server_is_refused(session, database, postgres, relay, wal):
    other = postgres.fresh_database("other")
    try:
        one = relay(CAPTURES["wal"], **wal_options(session, database, other.dsn()))
        text = refused(one)
        assert one.log_lines("REPLICATION_DSN")
        assert f"database.dsn leads to database '{database.name}', and database.replication_dsn to database '{other.name}'" in text
        assert not wal.slot()
    finally:
        other.drop()


def test_a_copy_of_the_server_is_not_read(session, database, postgres, relay, wal, work_directory):
    """A copy from a backup has the same system identifier, the same databases and the same slots."""
    wal.make_slot()
    copy = PostgresServer(os.path.join(work_directory, "copy-behind-a-pooler"), copy_of=postgres.freeze()).start()
    try:
        one = relay(CAPTURES["wal"], **wal_options(session, database, copy.dsn(database.name, RELAY)))
        one.start(wait_ready=False)
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        one.wait_log("REPLICATION_RESTARTED")
        assert one.wait_not_ready("not started at the same time")
        assert database.scalar(UNPUBLISHED) == 1 and one.published() == 0
        assert "the same system identifier" in outboxd("check", "-c", one.config_path, expect=2).stdout
    finally:
        copy.remove()


@pytest.mark.parametrize("option", ["password_file", "password_command"])
def test_the_password_options_apply_to_both_connections(session, database, kafka, relay, prefix, wal, tmp_path, option):
    kafka.create_topic(f"{prefix}.order", partitions=3)
    secret = tmp_path / "password"
    secret.write_text(PASSWORDS[RELAY] + "\n")
    secret.chmod(0o600)

    def without(dsn):
        return re.sub(r" password=\S+", "", dsn)
    program = Program(tmp_path)
    program.prints(PASSWORDS[RELAY])
    more = {"pooler": "session", "replication_dsn": without(database.dsn()), option: {"password_file": str(secret), "password_command": program.command}[option]}
    one = relay(CAPTURES["wal"], dsn=without(session.dsn(database.name, RELAY)), database=more).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, one.log_tail)
    shown = outboxd("config", "print", "-c", one.config_path, expect=0).stdout
    assert "replication_dsn = \"host=127.0.0.1" in shown
    assert PASSWORDS[RELAY] not in shown + one.log_text()
    assert program.runs() == (1 if option == "password_command" else 0), "one for all connections"


def test_a_password_in_it_is_masked(tmp_path):
    dsn = "host=db dbname=shop user=relay password=s3cret-of-the-log"
    path = write_configuration(str(tmp_path / "x.conf"), configuration("host=pooler", "x:1", database={"replication_dsn": dsn}))
    shown = outboxd("config", "print", "-c", path).stdout
    assert "host=db dbname=shop user=relay" in shown and "s3cret" not in shown
    shown = outboxd("config", "print", "--dsn", "host=pooler", "--brokers", "x:1", env={"OUTBOXD_DATABASE_REPLICATION_DSN": dsn}).stdout
    assert "host=db dbname=shop user=relay" in shown and "s3cret" not in shown
    result = outboxd("check", "--offline", "--dsn", "host=pooler", "--brokers", "x:1", expect=1,
                     env={"OUTBOXD_DATABASE_REPLICATION_DSN": "host=db password='s3cret"})
    assert "database.replication_dsn is malformed" in result.stdout and "s3cret" not in result.stdout + result.stderr
