"""The database moves by dump and restore: what the relay keeps about tables names the restored ones, so nothing is taken for dropped, no foreign table
for an old one, and a rotation that was under way is finished there."""

import os
import subprocess

import pytest

from support.common import eventually
from support.consume import read_topics
from support.postgres import OWNER, RELAY, SUPERUSER
from support.relay import migrate
from support.trial import Trial
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
RENAME = "ALTER TABLE outbox.event RENAME TO event_2025; CREATE TABLE outbox.event (LIKE outbox.event_2025 INCLUDING ALL); " \
         "ALTER TABLE outbox.event OWNER TO {owner}; GRANT SELECT, UPDATE (published_at), DELETE ON outbox.event TO outbox_relay"
ADD = "; ALTER PUBLICATION outboxd_orders ADD TABLE outbox.event"


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture
def move(postgres, database, tmp_path):
    """move(*arguments of pg_dump) -> another database of the server with all that `database` has."""
    made = []

    def copy(*args):
        path = os.path.join(tmp_path, "dump")
        where = f"host={postgres.directory} port={postgres.port} user={SUPERUSER} dbname="
        subprocess.run(["pg_dump", "-Fc", "-f", path, *args, "-d", where + database.name], check=True)
        made.append(postgres.fresh_database("moved"))
        if "--data-only" in args:
            migrate(made[-1])
            made[-1].execute(f"GRANT outbox_relay TO {RELAY}", user=SUPERUSER)
        subprocess.run(["pg_restore", "-e", *(["--data-only"] if "--data-only" in args else []), "-d", where + made[-1].name, path], check=True)
        return made[-1]

    yield copy
    for one in made:
        one.drop()


def begin_there(capture, maker, moved, wal):
    """A relay of the same name at the moved database; with a slot that is lost, as its log says."""
    if capture == "wal":
        wal.drop_slot()     # names of slots belong to the server
    two = maker(dsn=moved.dsn()).start(wait_ready=False)
    if capture == "wal":
        assert two.wait_exit() == 4, two.log_tail()
        assert two.log_lines("SLOT_MISSING.*run --new-slot"), two.log_tail()
        two = maker(dsn=moved.dsn(), args=["--new-slot"]).start(wait_ready=False)
    return two


@pytest.mark.parametrize("capture", ["poll", "wal"])
@pytest.mark.parametrize("args", [(), ("--data-only", "--exclude-table-data=outbox.migration")], ids=["all", "data into a migrated one"])
def test_restored_elsewhere_it_goes_on_and_takes_nothing_for_dropped(request, kafka, database, topic, move, capture, args):
    maker = request.getfixturevalue(f"{capture}_relay")
    wal = request.getfixturevalue("wal") if capture == "wal" else None
    one = maker().start()
    trial = Trial(database, one)
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    one.stop()
    trial.emit(30)
    trial.database = moved = move(*args)
    if args and wal:
        Wal(moved)
    two = begin_there(capture, maker, moved, wal)
    trial.emit(10)
    eventually(lambda: moved.scalar(UNPUBLISHED) == 0, 20, lambda: "all marked\n" + two.log_tail())
    two.wait_ready()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not two.log_lines("TABLE_DROPPED|OLD_TABLE|TABLE_ROTATED"), two.log_tail()
    assert two.metric("old_tables_dropped_total") == 0


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_rotation_that_was_under_way_is_finished_where_it_was_restored(request, kafka, database, topic, move, capture):
    maker = request.getfixturevalue(f"{capture}_relay")
    wal = request.getfixturevalue("wal") if capture == "wal" else None
    one = maker().start()
    trial = Trial(database, one)
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all marked")
    one.stop()
    trial.emit(30)
    database.execute(RENAME.format(owner=OWNER) + (ADD if wal else ""), user=SUPERUSER)
    trial.emit(10)
    trial.database = moved = move()
    two = begin_there(capture, maker, moved, wal)
    trial.emit(10)
    for name in ("outbox.event_2025", "outbox.event"):
        eventually(lambda: moved.scalar(f"SELECT count(*) FROM {name} WHERE published_at IS NULL", user=SUPERUSER) == 0, 20,
                   lambda: f"all of {name} marked\n" + two.log_tail())
    two.wait_ready()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    assert not two.log_lines("TABLE_DROPPED"), two.log_tail()
