"""The server that answers is not the one that the polling relay knew: nothing is lost, no row of other events is marked or deleted."""

import contextlib
import subprocess

import psycopg2
import pytest

from conftest import pair_database as database  # noqa: F401: the tests of this module run on a pair of servers
from support.common import eventually, stays_true
from support.consume import headers_of, read_topics
from support.postgres import PASSWORDS, SUPERUSER
from support.trial import Trial

OPTIONS = {"lease": "3s", "standby_interval": "200ms", "sweep_interval": "1s"}
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
MANY = 200


@contextlib.contextmanager
def holding(database, sql="LOCK TABLE outbox.event IN SHARE MODE"):
    """Somebody keeps rows from being marked."""
    connection = database.connect(SUPERUSER, autocommit=False)
    try:
        connection.cursor().execute(sql)
        yield connection
    finally:
        with contextlib.suppress(psycopg2.Error):
            connection.close()


@pytest.fixture
def topic(kafka, prefix):
    name = f"{prefix}.order"
    kafka.create_topic(name, partitions=3)
    return name


def arrived(kafka, topic):
    return {headers_of(r)["ce_id"] for r in read_topics(kafka.brokers, topic)}


def settle(database, one):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "everything is published\n" + one.log_tail())


def settle_first(database, one, options):
    one.wait_published(20)
    waiting = "SELECT count(*) FROM outbox.event" if options.get("on_publish") == "delete" else UNPUBLISHED
    eventually(lambda: database.scalar(waiting) == 0, 20, "the first are marked")


def assert_honest(database, kafka, topic, options):
    """Every row that is marked, or gone, was published."""
    if options.get("on_publish") != "delete":
        marked = {str(e) for (e,) in database.query("SELECT event_id FROM outbox.event WHERE published_at IS NOT NULL")}
        assert marked <= arrived(kafka, topic), "rows are marked that nobody sent"


@pytest.mark.own_broker
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_events_of_a_promoted_standby_arrive_though_it_gives_the_numbers_out_again(pair, kafka, database, relay, topic, on_publish):
    one = relay({**OPTIONS, "on_publish": on_publish}).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {"on_publish": on_publish})
    pair.lag_standby()
    with trial:
        with kafka.away():
            gone = trial.emit(MANY)
            eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
            pair.promote()
            trial.forget(gone)
            trial.emit(MANY)
        settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(foreign=MANY)
    assert set(result.foreign) <= set(gone)
    assert_honest(database, kafka, topic, {"on_publish": on_publish})
    assert len(one.log_lines("HISTORY_CHANGED")) == 1, one.log_tail()
    assert one.log_lines("HISTORY_CHANGED.*timeline")
    one.stop()


@pytest.mark.own_broker
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_rows_acknowledged_and_not_marked_are_forgotten_with_their_server(pair, kafka, database, relay, topic, on_publish):
    one = relay({**OPTIONS, "on_publish": on_publish}).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {"on_publish": on_publish})
    pair.lag_standby()
    with kafka.away():
        gone = trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        lock = holding(database)
        lock.__enter__()
    one.wait_published(20 + MANY)
    assert one.metric("unmarked_events") == MANY
    pair.promote()
    lock.__exit__(None, None, None)
    trial.forget(gone)
    trial.emit(MANY)
    settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(foreign=MANY)
    assert_honest(database, kafka, topic, {"on_publish": on_publish})
    one.stop()


@pytest.mark.own_broker
@pytest.mark.parametrize("how", ["in flight", "idle"])
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_a_data_directory_that_was_put_back_is_another_history(pair, kafka, database, relay, topic, on_publish, how):
    one = relay({**OPTIONS, "on_publish": on_publish}).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {"on_publish": on_publish})
    copy = pair.freeze()
    trial.emit(50)
    one.wait_published(70)
    with contextlib.ExitStack() as stack:
        if how == "in flight":
            stack.enter_context(kafka.away())
            trial.emit(MANY)
            eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        else:
            settle_first(database, one, {"on_publish": on_publish})
        gone = [e for _, e in trial.expected[20:]]
        pair.put_back(copy)
        trial.forget(gone)
        trial.emit(MANY)
    settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(duplicates=20, foreign=50 + MANY)
    assert_honest(database, kafka, topic, {"on_publish": on_publish})
    assert one.log_lines("HISTORY_CHANGED"), one.log_tail()
    one.stop()


def exchange(server, one, name, other):
    """Database `other` takes the name; the relay sees nothing in between."""
    one.pause()
    server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    eventually(lambda: not server.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", (name,)), 20, "nobody is in it")
    server.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}_old"')
    server.execute(f'ALTER DATABASE "{other}" RENAME TO "{name}"')
    server.execute(f'DROP DATABASE "{name}_old"')
    one.resume()


@pytest.mark.own_broker
def test_a_database_restored_under_its_old_name_is_another_table(pair, kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {})
    server = pair.primary
    env = {"PGPASSWORD": PASSWORDS[SUPERUSER], "PATH": "/usr/bin:/bin"}
    place = ["-h", "127.0.0.1", "-p", str(server.port), "-U", SUPERUSER]
    dump = subprocess.run(["pg_dump", *place, database.name], env=env, stdout=subprocess.PIPE, check=True).stdout
    with kafka.away():
        gone = trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        server.execute(f'CREATE DATABASE "{database.name}_new" OWNER shop_owner')
        subprocess.run(["psql", *place, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", f"{database.name}_new"], env=env, input=dump, check=True,
                       stdout=subprocess.DEVNULL)
        exchange(server, one, database.name, f"{database.name}_new")
        trial.forget(gone)
        trial.emit(MANY)
    settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(foreign=MANY)
    assert_honest(database, kafka, topic, {})
    assert one.log_lines("HISTORY_CHANGED"), one.log_tail()
    one.stop()


@pytest.mark.own_broker
def test_a_copy_of_the_database_that_takes_its_name_is_another_history(pair, kafka, database, relay, topic):
    """CREATE DATABASE ... TEMPLATE keeps system identifier, timeline and OIDs: only the count tells."""
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {})
    server = pair.primary
    name = database.name
    one.pause()
    database.terminate_backends()
    server.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
    one.resume()
    eventually(lambda: trial.emit(50) and True, 20, "emitted")
    one.wait_published(70)
    with kafka.away():
        trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        gone = [e for _, e in trial.expected[20:]]
        exchange(server, one, name, f"{name}_copy")
        trial.forget(gone)
        trial.emit(MANY)
    settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(foreign=50 + MANY)
    assert_honest(database, kafka, topic, {})
    assert one.log_lines("HISTORY_CHANGED.*writes"), one.log_tail()
    one.stop()


@pytest.mark.own_broker
def test_a_table_that_was_dropped_and_made_again_is_another(kafka, database, relay, topic):
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {})
    definition = subprocess.run(
        ["pg_dump", "--schema-only", "-t", "outbox.event", "-d", database.server.local_dsn(database.name, SUPERUSER)],
        stdout=subprocess.PIPE, check=True, text=True).stdout
    definition = "\n".join(line for line in definition.splitlines() if not line.startswith(("SET ", "SELECT ", "\\")))
    with kafka.away():
        gone = trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        database.execute("DROP TABLE outbox.event CASCADE; " + definition, user=SUPERUSER)
        trial.forget(gone)
        trial.emit(MANY)
    settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(foreign=MANY)
    assert_honest(database, kafka, topic, {})
    assert one.log_lines("HISTORY_CHANGED.*OID"), one.log_tail()
    one.stop()


@pytest.mark.own_broker
@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_numbers_that_begin_anew_leave_the_new_rows_alone(kafka, database, relay, topic, on_publish):
    one = relay({**OPTIONS, "on_publish": on_publish}).start()
    trial = Trial(database, one)
    trial.emit(20)
    settle_first(database, one, {"on_publish": on_publish})
    with kafka.away():
        gone = trial.emit(MANY)
        eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
        database.execute("TRUNCATE outbox.event RESTART IDENTITY")
        trial.emit(MANY)
        assert database.scalar("SELECT max(seq) FROM outbox.event") == MANY
    one.wait_log("ROWS_REPLACED")
    settle(database, one)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost()
    assert len(gone) == MANY
    assert_honest(database, kafka, topic, {"on_publish": on_publish})
    one.stop()


@pytest.mark.own_broker
def test_the_same_history_makes_no_duplicates(pair, kafka, database, relay, topic):
    """PostgreSQL restarts, also by a crash, with rows acknowledged and in flight."""
    one = relay(OPTIONS).start()
    trial = Trial(database, one)
    for mode in ("fast", "immediate"):
        with kafka.away():
            trial.emit(MANY)
            eventually(lambda: one.metric("inflight_events") >= MANY, 20, lambda: one.log_tail())
            pair.primary.restart(mode)
        settle(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not one.log_lines("HISTORY_CHANGED|OWNER_CHANGED"), one.log_tail()
    writes = database.scalar("SELECT writes FROM outbox.publisher", user=SUPERUSER)
    stays_true(lambda: database.scalar("SELECT writes FROM outbox.publisher", user=SUPERUSER) == writes, 1.0,
               "an idle relay writes nothing")
    one.stop()
