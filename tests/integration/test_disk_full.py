"""The disk is full: PostgreSQL's, while the relay marks or sets an event aside, and the relay's own log. Nothing is lost or repeated, /readyz says it,
and it goes on by itself once there is space."""

import os

import psycopg2
import pytest

from conftest import CAPTURES, grant_memberships, soak
from support.common import eventually
from support.consume import read_topics
from support.disk import Disk
from support.postgres import PostgresServer
from support.relay import migrate
from support.trial import Trial
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture(scope="module")
def disk(work_directory):
    disk = Disk(os.path.join(work_directory, "small-disk"), 300)
    yield disk
    disk.remove()


@pytest.fixture(scope="module")
def server(work_directory, disk):
    """A server on the small disk."""
    server = PostgresServer(os.path.join(disk.path, "postgresql"), settings={"min_wal_size": "32MB", "max_wal_size": "48MB", "log_min_messages": "error"})
    server.log_path = os.path.join(work_directory, "small-disk-postgresql.log")
    server.start()
    server.create_roles()
    yield server
    disk.empty()
    server.stop("immediate")


@pytest.fixture
def database(server, disk):
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    yield database
    disk.empty()
    database.drop()


def all_marked(database, one, timeout=60):
    """A full disk of the WAL makes PostgreSQL start again: until it has, it cannot be asked."""
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked\n{one.log_tail()}", retry=psycopg2.OperationalError)


def begun(relay, database, kafka, prefix, capture, pipeline=None, topic_config=None):
    if capture == "wal":
        Wal(database)
    topic = kafka.create_topic(f"{prefix}.order", partitions=2, config=topic_config)
    one = relay({**CAPTURES[capture], "batch_events": 100, **(pipeline or {})}).start()
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    return one, trial, topic


@pytest.mark.own_broker
@pytest.mark.parametrize("capture, leave", [("poll", 0), ("wal", 400000), soak("poll", 400000), soak("wal", 0)])
def test_while_it_marks(relay, kafka, database, disk, prefix, capture, leave):
    """Thousands of marks, each a new version of its row: the table has to grow."""
    one, trial, topic = begun(relay, database, kafka, prefix, capture)
    with kafka.away():
        for _ in range(20):
            trial.emit(500)
        eventually(lambda: one.metric("inflight_events") >= 100, 20, "in flight")
        disk.fill(leave)
    assert "disk" in one.wait_not_ready("53100", 60)
    disk.empty()
    all_marked(database, one)
    one.wait_ready()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert one.starts == 1 and len(one.log_lines("code=POSTGRES_RESOURCES")) <= 3, one.log_tail()


@pytest.mark.own_broker
@pytest.mark.parametrize("capture", [soak("poll"), soak("wal")])
def test_while_a_dead_letter_is_stored(relay, kafka, database, disk, prefix, capture):
    one, trial, topic = begun(relay, database, kafka, prefix, capture, {"on_poison": "dead_letter"}, {"max.message.bytes": "3000"})
    with kafka.away():
        for _ in range(50):
            database.execute("SELECT outbox.emit('order.placed', 'order', 'k', jsonb_build_object('t', (SELECT string_agg(md5(random()::text), '') "
                             "FROM generate_series(1, 2000)))) FROM generate_series(1, 4)")
        trial.emit(20)
        disk.fill(100000)
    assert "disk" in one.wait_not_ready("DEAD_LETTER_REFUSED.*53100", 60)
    disk.empty()
    all_marked(database, one)
    assert database.query("SELECT count(*), count(DISTINCT event->>'event_id') FROM outbox.dead_letter") == [(200, 200)]
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.wait_ready()


@pytest.mark.parametrize("capture, where", [("poll", "full"), ("wal", "closed"), soak("wal", "full"), soak("poll", "closed"), soak("poll", "pipe"),
                                            soak("wal", "pipe")])
def test_its_own_log_goes_nowhere(relay, kafka, database, prefix, capture, where):
    """/dev/full, a closed stderr, a pipe that nobody reads any more: it publishes all the same."""
    if capture == "wal":
        Wal(database)
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    one = relay({**CAPTURES[capture]})
    script = {"full": 'exec "$@" >/dev/full 2>&1', "closed": 'exec "$@" >&- 2>&-', "pipe": 'exec "$@" 2>&1 > >(exec true) 2>&1'}[where]
    one.start(by=["bash", "-c", script, "bash"])
    trial = Trial(database, one)
    trial.emit(50)
    all_marked(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert one.ready()[0]
    one.stop()
