"""An upgrade and the way back: program and schema of different versions, one relay after another.

There is one version so far. The program of another one is this program under another version's name, and in soak that of an earlier commit
($OUTBOXD_OLDER, or built from the history of the repository); the schema of another one is this one with fewer migrations, or with a row of
one that nobody knows.
"""

import copy
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from conftest import CAPTURES, grant_memberships, soak
from support import workload
from support.common import eventually
from support.consume import read_topics
from support.fetch import into_cache
from support.postgres import OWNER
from support.relay import ROOT, migrate, outboxd, outboxd_binary
from support.verify import compare, read_truth
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
OPTIONS = {"lease": "2s", "standby_interval": "200ms", "batch_events": 50, "in_flight_events": 200}
COMMITS_BACK = 50
NEWER = ("INSERT INTO outbox.migration (version, name, checksum, outboxd_version, duration_ms) "
         "SELECT max(version) + 1, 'wings', repeat('a', 64), '9.1.0', 1 FROM outbox.migration")
LAST = "SELECT max(version) FROM outbox.migration"


def version_of(binary):
    said = subprocess.run([binary, "version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.search(r"\d+\.\d+\.\d+", said).group()


def renamed_program(directory):
    """This program under another version's name, of the same length."""
    ours = version_of(outboxd_binary()).encode()
    theirs = re.sub(rb"\d", lambda digit: b"0" if digit.group() == b"9" else b"%d" % (int(digit.group()) + 1), ours)
    path = os.path.join(directory, "outboxd-renamed")
    with open(outboxd_binary(), "rb") as f:
        program = f.read()
    with open(path, "wb") as f:
        f.write(program.replace(ours, theirs))
    os.chmod(path, 0o755)
    assert version_of(path) == theirs.decode()
    return path


def earlier_program():
    """$OUTBOXD_OLDER, or the program of COMMITS_BACK commits ago, with the migrations that it had then."""
    if os.environ.get("OUTBOXD_OLDER"):
        return os.environ["OUTBOXD_OLDER"]

    def git(*args, **more):
        return subprocess.run(["git", "-C", ROOT, *args], stdout=subprocess.PIPE, check=True, **more).stdout
    commits = git("rev-list", "--first-parent", f"--max-count={COMMITS_BACK + 1}", "HEAD", text=True).split()
    if len(commits) <= COMMITS_BACK:
        pytest.skip(f"the history has no {COMMITS_BACK} commits: name a program in OUTBOXD_OLDER")

    def make(directory):
        source = os.path.join(directory, "source")
        os.mkdir(source)
        with subprocess.Popen(["git", "-C", ROOT, "archive", commits[-1]], stdout=subprocess.PIPE) as archive, \
                tarfile.open(fileobj=archive.stdout, mode="r|") as tar:
            tar.extractall(source)
        for command in (["cmake", "-S", source, "-B", f"{source}/build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DOUTBOXD_TESTS=OFF"],
                        ["cmake", "--build", f"{source}/build", "--target", "outboxd"]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert done.returncode == 0, done.stdout[-3000:]
        shutil.copy(f"{source}/build/outboxd", directory)
        shutil.rmtree(source)
    return os.path.join(into_cache(f"outboxd-{commits[-1][:12]}", make), "outboxd")


@pytest.fixture(params=["renamed", soak("earlier commit")])
def other(request, work_directory):
    """The program of another version."""
    return renamed_program(work_directory) if request.param == "renamed" else earlier_program()


@pytest.fixture
def started(captured, kafka, database, prefix):
    """started(program) -> a relay of it; None is this program."""
    kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)

    def start(program):
        one = captured(OPTIONS)
        one.binary = program
        one.start()
        assert one.status()["version"] == version_of(program or outboxd_binary())
        return one
    return start


def leads(one):
    return one.running() and one.metric("leader") == 1


def hand_over(old, new):
    """`new` is the standby of `old`, which is stopped."""
    eventually(lambda: leads(old), what="the first publishes")
    assert not leads(new) and new.published() == 0
    old.wait_published(100)
    old.stop(expect=0)
    eventually(lambda: leads(new), what="the standby took over")
    new.wait_published(100)


def report(database, kafka, prefix):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, "everything is published")
    return compare(read_truth(database), read_topics(kafka.brokers, f"{prefix}.order"))


@pytest.mark.by_turns
def test_versions_take_over_from_each_other_and_back(started, other, database, kafka, prefix, capture):
    slot = "SELECT plugin, catalog_xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'outboxd_orders'"
    with workload.Writers(database, threads=3, keys=20):
        old, new = started(other), started(None)
        hand_over(old, new)                         # the upgrade
        again = started(other)
        hand_over(new, again)                       # and back
        assert len(database.execute(slot)) == (capture == "wal")
    report(database, kafka, prefix).assert_exact(duplicates=0)
    assert not new.log_lines("SLOT_CREATED|HISTORY_CHANGED| error ") and not again.log_lines("SLOT_CREATED|HISTORY_CHANGED| error ")


@pytest.mark.by_turns
def test_a_version_that_is_killed_leaves_at_most_what_was_in_flight(started, other, database, kafka, prefix):
    with workload.Writers(database, threads=3, keys=20):
        old, new = started(other), started(None)
        old.wait_published(200)
        old.kill()
        eventually(lambda: leads(new), 20, "the standby took over")
        new.wait_published(100)
    report(database, kafka, prefix).assert_exact(duplicates=OPTIONS["in_flight_events"])


def bare(server, *migrations):
    """A database of a schema that ends before those; its relay connects as its owner."""
    database = server.fresh_database("older")
    migrate(database, *migrations)
    return database


@pytest.mark.parametrize("to", [2, soak(3)])
def test_an_older_schema_is_published_and_what_it_lacks_is_named(postgres, relay, kafka, prefix, to):
    database = bare(postgres, "--to", str(to))
    try:
        topic = kafka.create_topic(f"{prefix}.order")
        emit = "SELECT outbox.emit('order.placed', 'order', %s, '{}')"
        database.execute(emit, ("1",))
        one = relay(dsn=database.dsn(OWNER)).start()
        line, = one.log_lines("SCHEMA_BEHIND")
        assert "4 views" in line and "5 roles" not in line and "outboxd migrate" in line and ("3 relay_state" in line) == (to < 3), line
        checked = outboxd("check", "-c", one.config_path, expect=2)
        assert "pending" in checked.stdout and "4 views" in checked.stdout
        one.wait_published(1)
        migrate(database)                           # beside the relay
        grant_memberships(database)
        database.execute(emit, ("2",))
        one.wait_published(2)
        one.stop()
        one.start()
        assert len(one.log_lines("SCHEMA_BEHIND")) == 1, "not at the second start"
        database.execute(emit, ("3",))
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "published")
        assert [r.key for r in read_topics(kafka.brokers, topic)] == [b"1", b"2", b"3"]
        one.stop()
    finally:
        database.drop()


def test_what_a_pipeline_needs_of_a_later_migration_is_named(postgres, relay):
    database = bare(postgres, "--to", "2")
    try:
        Wal(database, role=None)
        one = relay(CAPTURES["wal"], dsn=database.dsn(OWNER)).start(wait_ready=False)
        assert one.wait_exit() == 2 and one.log_lines("NO_POSITION_TABLE.*outboxd migrate"), one.log_tail()
    finally:
        database.drop()


def test_a_schema_of_a_later_version_is_refused_at_the_start_and_not_before(captured, database, kafka, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit = "SELECT outbox.emit('order.placed', 'order', %s, '{}')"
    one = captured(OPTIONS).start()
    database.execute(emit, ("1",))
    one.wait_published(1)
    database.execute(NEWER)
    database.terminate_backends()                   # a relay that runs looks again, and goes on
    one.wait_log("CONNECTION_LOST|RECONNECTED|POSTGRES_")
    database.execute(emit, ("2",))
    one.wait_published(2)
    standby = captured(OPTIONS).start(wait_ready=False)
    last = database.scalar(LAST)
    assert standby.wait_exit() == 2, "one that starts does not even stand by"
    line, = standby.log_lines("code=SCHEMA_NEWER")
    assert f"migration {last} of outboxd 9.1.0" in line and f"outboxd migrate --down {last - 1}" in line, line
    checked = outboxd("check", "-c", one.config_path, expect=2)
    assert f"migration {last} (wings)" in checked.stdout + checked.stderr
    live = copy.deepcopy(one.config)
    live["pipelines"][0]["position_headers"] = True
    one.reload(live)
    database.execute(emit, ("3",))
    one.wait_published(3)                           # what is taken over between two batches is no start
    assert one.log_lines("code=PIPELINE_RELOADED .*how=live"), one.log_tail()
    starts = copy.deepcopy(one.config)
    starts["pipelines"][0]["batch_events"] = 51
    one.reload(starts, until="SCHEMA_NEWER")
    assert one.wait_exit() == 2, one.log_tail()
    database.execute(emit, ("4",))
    one.start(wait_ready=False)
    assert one.wait_exit() == 2 and len(one.log_lines("code=SCHEMA_NEWER")) == 2, one.log_tail()
    assert len(read_topics(kafka.brokers, topic)) == 3, "nothing was published"
    database.execute("DELETE FROM outbox.migration WHERE version = %s", (last,))    # migrate --down, by the later version
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "published")
    assert [r.key for r in read_topics(kafka.brokers, topic)] == [b"1", b"2", b"3", b"4"]
    one.stop()


def test_a_table_of_others_that_looks_like_ours_stops_nobody(postgres, relay, kafka, prefix):
    """An adopted table in a schema where anybody may create tables, as in PostgreSQL 14's public."""
    database = postgres.fresh_database("adopted")
    try:
        kafka.create_topic(f"{prefix}.order")
        database.execute("CREATE SCHEMA app; CREATE TABLE app.event (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid, event_type text,"
                         " aggregate_type text, aggregate_id text, payload jsonb, published_at timestamptz);"
                         " GRANT ALL ON SCHEMA app TO shop_app; GRANT USAGE ON SCHEMA app TO shop_relay; GRANT ALL ON app.event TO shop_relay")
        database.execute("CREATE TABLE app.migration (version int, checksum text, applied_by text, outboxd_version text);"
                         " INSERT INTO app.migration VALUES (99, '', '', '9.1.0'); GRANT SELECT ON app.migration TO PUBLIC", user="shop_app")
        one = relay({"table": "app.event"}, dsn=database.dsn()).start()
        database.execute("INSERT INTO app.event (event_id, event_type, aggregate_type, aggregate_id, payload)"
                         " VALUES (gen_random_uuid(), 'order.placed', 'order', '1', '{}')")
        one.wait_published(1)
        database.execute("ALTER TABLE app.migration OWNER TO shop_owner", user="postgres")
        one.stop()
        one.start(wait_ready=False)                 # of the outbox's owner it is taken for ours, and the columns of ours are missed
        assert one.wait_exit() == 2 and one.log_lines("outboxd migrate created it"), one.log_tail()
    finally:
        database.drop()
