"""What owners do to the outbox table under load: it is rewritten, moved, clustered, its indexes and columns change. Nothing is lost or repeated, order
holds, nothing is quiet, by both captures."""

import os
import threading

import pytest

from conftest import CAPTURES, soak
from support.common import eventually, give_to_server_user
from support.consume import read_topics
from support.postgres import SUPERUSER
from support.trial import Trial
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
INDEX = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'outbox.event'::regclass AND indpred IS NOT NULL"

WAYS = {
    "vacuum full": ["VACUUM FULL outbox.event"],
    "cluster": ["CLUSTER outbox.event USING event_pkey"],
    "tablespace": ["ALTER TABLE outbox.event SET TABLESPACE elsewhere"],
    "reindex": ["REINDEX TABLE CONCURRENTLY outbox.event"],
    "index": ["DROP INDEX CONCURRENTLY {index}", "CREATE INDEX CONCURRENTLY event_unpublished_again ON outbox.event (seq) WHERE published_at IS NULL"],
    "types": ["ALTER TABLE outbox.event ALTER aggregate_id TYPE varchar(200), ALTER event_version TYPE bigint",
              "ALTER TABLE outbox.event ALTER aggregate_id TYPE text"],
    "columns": ["ALTER TABLE outbox.event ADD COLUMN extra text DEFAULT repeat('x', 10), ADD COLUMN at timestamptz DEFAULT clock_timestamp()",
                "ALTER TABLE outbox.event DROP COLUMN extra", "ALTER TABLE outbox.event DROP COLUMN at"],
    "logged": ["ALTER TABLE outbox.event SET UNLOGGED", "ALTER TABLE outbox.event SET LOGGED"],
}


@pytest.fixture
def elsewhere(postgres, database):
    """A second tablespace, which stays: the database that has a table in it is dropped after this."""
    path = os.path.join(postgres.directory, "elsewhere")
    if not os.path.exists(path):
        os.makedirs(path)
        give_to_server_user(path)
        statement(database, f"CREATE TABLESPACE elsewhere LOCATION '{path}'")


def statement(database, sql):
    """By itself: some of them refuse to run in a transaction."""
    connection = database.connect(SUPERUSER)
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()


QUICK = {("poll", "mark", "vacuum full"), ("wal", "keep", "vacuum full"), ("poll", "delete", "types"), ("wal", "mark", "columns")}
CASES = [(capture, on_publish, way) for way in WAYS for capture, on_publish in (("poll", "mark"), ("poll", "delete"), ("wal", "mark"), ("wal", "keep"))
         if (capture, way) != ("wal", "logged")]  # test_preconditions: what is written meanwhile is not in the log


@pytest.mark.parametrize("capture, on_publish, way", [case if case in QUICK else soak(*case) for case in CASES])
def test_under_load_nothing_is_lost_or_repeated(relay, kafka, database, elsewhere, prefix, capture, on_publish, way):
    if capture == "wal":
        Wal(database)
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    one = relay({**CAPTURES[capture], "on_publish": on_publish, "batch_events": 50}).start()
    trial = Trial(database, one)
    trial.emit(50)
    one.wait_published(50)
    done, failures = threading.Event(), []

    def write():
        try:
            while not done.is_set():
                trial.emit(5)
                done.wait(0.01)
        except Exception as e:
            failures.append(e)

    writer = threading.Thread(target=write)
    with trial:
        writer.start()
        try:
            for turn in range(3 if way in ("vacuum full", "cluster", "reindex") else 1):
                for sql in WAYS[way]:
                    statement(database, sql.format(index=database.scalar(INDEX)))
                    if sql.endswith("UNLOGGED"):
                        one.wait_not_ready("UNLOGGED")
                        continue
                    seen = one.published()
                    eventually(lambda: one.published() >= seen + 20, 40, lambda: f"it goes on after {sql}\n{one.log_tail()}")
        finally:
            done.set()
            writer.join()
    assert not failures, failures
    trial.emit(20)
    left = {"mark": UNPUBLISHED, "delete": "SELECT count(*) FROM outbox.event"}.get(on_publish)
    if left:
        eventually(lambda: database.scalar(left) == 0, 40, lambda: f"all published\n{one.log_tail()}")
    else:
        one.wait_published(len(trial.expected), 40)
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost()
    one.wait_ready()
    assert one.starts == 1
