"""The tests' own equipment: what a proxy or a pair of servers is said to do, it does. psycopg2 stands where the relay will."""

import os
import signal
import subprocess
import sys

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from conftest import pair_database  # noqa: F401
from support.broker import Broker, BrokerIsShared
from support.common import eventually, has_ended
from support.consume import Record, read_topics
from support.kafka import KafkaServer
from support.postgres import OWNER, SUPERUSER, PostgresServer
from support.proxy import BEGIN, COMMIT, KEEPALIVE, STATUS, Proxy, answer_to, pgoutput, sql
from support.trial import Trial
from support.wal import PUBLICATION, SLOT

FAR = 1 << 40
EMIT = "SELECT outbox.emit('order.placed', 'order', '1', '{}')"
COUNT = "SELECT count(*) FROM outbox.event"


@pytest.fixture
def proxy(database):
    with Proxy(database.server.port) as proxy:
        yield proxy


@pytest.fixture
def through(database, proxy):
    """An ordinary connection through the proxy."""
    connection = psycopg2.connect(database.dsn(SUPERUSER, port=proxy.port))
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def stream(database, proxy, wal):
    """A replication connection through the proxy."""
    wal.make_slot()
    connection = psycopg2.connect(database.dsn(SUPERUSER, port=proxy.port), connection_factory=LogicalReplicationConnection)
    cursor = connection.cursor()
    cursor.start_replication(slot_name=SLOT, decode=False, options={"proto_version": "1", "publication_names": PUBLICATION})
    yield cursor
    connection.close()


def read(cursor, letter):
    def one():
        message = cursor.read_message()
        return message if message is not None and bytes(message.payload)[:1] == letter else None
    return eventually(one, 20, f"a message {letter}", interval=0.01)


def number(message, offset):
    return int.from_bytes(bytes(message.payload)[offset:offset + 8], "big")


def test_a_proxy_alters_the_lsns_of_one_chosen_message(database, proxy, stream):
    begin = proxy.on(BEGIN).alter(final_lsn=lambda lsn: lsn + FAR)
    commit = proxy.on(COMMIT, nth=2).alter(end_lsn=7, start=lambda lsn: lsn + FAR)
    database.execute(EMIT)
    assert number(read(stream, b"B"), 1) > FAR
    first = read(stream, b"C")
    assert begin.struck == 1 and commit.struck == 0
    assert first.data_start < FAR and number(first, 10) > 7
    database.execute(EMIT)
    assert number(read(stream, b"B"), 1) < FAR
    second = read(stream, b"C")
    assert second.data_start > FAR and number(second, 10) == 7
    assert proxy.counts["begin"] == proxy.counts["commit"] == 2


def test_a_proxy_alters_a_keepalive(database, proxy, stream):
    rule = proxy.on(KEEPALIVE, times=None).alter(wal_end=lambda lsn: lsn + FAR)
    database.execute(EMIT)
    read(stream, b"C")
    stream.send_feedback(reply=True, force=True)
    eventually(lambda: stream.read_message() is None and stream.wal_end > FAR, 20, lambda: f"a far end, is {stream.wal_end:X}")
    assert rule.struck >= 1


def test_a_proxy_stalls_one_direction_until_it_is_released(database, proxy, stream):
    held = proxy.on(pgoutput("I")).stall()
    database.execute(EMIT)
    read(stream, b"R")
    held.wait()
    assert stream.read_message() is None
    held.release()
    assert read(stream, b"I")


def test_a_proxy_drops_status_updates_of_the_client_alone(database, proxy, stream, wal):
    rule = proxy.on(STATUS, times=None).drop()
    before = wal.confirmed()
    database.execute(EMIT)
    commit = read(stream, b"C")
    stream.send_feedback(flush_lsn=commit.data_start, force=True)
    rule.wait()
    assert wal.confirmed() == before


def test_a_proxy_cuts_before_or_after_a_statement_arrives(database, proxy):
    database.execute("CREATE TABLE public.t (i int); GRANT ALL ON public.t TO PUBLIC")
    proxy.on(sql("INSERT INTO public.t VALUES .1.")).cut()
    proxy.on(sql("INSERT INTO public.t VALUES .2.")).cut(after=True)
    for value in (1, 2):
        connection = psycopg2.connect(database.dsn(port=proxy.port))
        connection.autocommit = True
        with pytest.raises(psycopg2.OperationalError):
            connection.cursor().execute(f"INSERT INTO public.t VALUES ({value})")
        connection.close()
    eventually(lambda: database.query("SELECT i FROM public.t") == [(2,)], 10, "the second was executed, the first was not")


def test_a_proxy_finds_the_answer_to_a_statement(proxy, through):
    rule = proxy.on(answer_to("SELECT 2")).cut()
    through.cursor().execute("SELECT 1")
    assert rule.struck == 0
    with pytest.raises(psycopg2.OperationalError):
        through.cursor().execute("SELECT 2")


def test_a_proxy_closes_one_direction_in_the_middle_of_a_message(proxy, through):
    proxy.on(answer_to("SELECT 3")).half_close(in_the_middle=True)
    with pytest.raises(psycopg2.OperationalError):
        through.cursor().execute("SELECT 3")


def test_a_rule_that_never_strikes_is_an_error(database):
    with pytest.raises(AssertionError, match="never struck.*drop"):
        with Proxy(database.server.port) as proxy:
            proxy.on(KEEPALIVE).drop()
            psycopg2.connect(database.dsn(port=proxy.port)).close()


def test_a_proxy_refuses_and_allows_again(database, proxy):
    proxy.refuse()
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(database.dsn(port=proxy.port))
    proxy.allow()
    psycopg2.connect(database.dsn(port=proxy.port)).close()


# -- a pair of servers ---------------------------------------------------------------------------------------------------


def test_a_standby_that_lags_loses_what_came_after_and_gives_the_numbers_out_again(pair, pair_database):  # noqa: F811
    pair_database.execute(EMIT)
    pair.lag_standby()
    before = pair_database.scalar("SELECT max(seq) FROM outbox.event")
    for _ in range(3):
        pair_database.execute(EMIT)
    system, timeline = pair.primary.execute("SELECT system_identifier FROM pg_control_system()"), pair.timeline()
    pair.promote()
    assert pair_database.scalar(COUNT) == 1
    assert pair.timeline() == timeline + 1
    assert pair.primary.execute("SELECT system_identifier FROM pg_control_system()") == system
    pair_database.execute(EMIT)
    # A sequence is written ahead by 32 numbers: a standby goes on behind those, but not behind what was drawn after it lost touch.
    assert pair_database.scalar("SELECT max(seq) FROM outbox.event") > before


def test_one_dsn_finds_the_server_that_takes_writes(pair, pair_database):  # noqa: F811
    def there():
        with psycopg2.connect(pair_database.dsn()) as connection:
            return connection.info.port
    assert there() == pair.primary.port
    old = pair.primary.port
    pair.switch_over()
    assert there() == pair.primary.port != old


def test_a_copy_that_is_put_back_is_the_same_timeline_with_less_in_it(pair, pair_database):  # noqa: F811
    pair_database.execute(EMIT)
    with pair_database.connect() as session:
        copy = pair.freeze()
        session.cursor().execute("SELECT 1")  # nobody was cut
    pair_database.execute(EMIT)
    timeline, place = pair.timeline(), pair.primary.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    pair.put_back(copy)
    assert pair_database.scalar(COUNT) == 1
    assert pair.timeline() == timeline
    assert pair.primary.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn") < place


# -- a trial in four numbers ---------------------------------------------------------------------------------------------

def record(event, key="1"):
    return Record("t", 0, 0, 0, 0, key.encode(), b"{}", [("ce_id", event.encode())])


def test_a_trial_counts_lost_duplicated_and_inverted_events(database):
    trial = Trial(database)
    ids = trial.emit(5, keys=1)
    result = trial.result([record(ids[n]) for n in (0, 2, 1, 2, 4)] + [record("strange")])
    assert str(result) == "lost 1, duplicated 1, inverted 1, quiet 0.0 s of 5 events, 1 that nobody committed"
    assert "number 3" in result.lost[0]
    with pytest.raises(AssertionError, match="lost: 1"):
        result.assert_none_lost()


@pytest.mark.own_broker
def test_a_trial_measures_how_long_a_ready_relay_was_quiet(database, relay, kafka, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    trial = Trial(database, one)
    with trial:
        trial.emit(3)
        one.wait_published(3)
        assert trial.quiet < 2
        with kafka.away():      # what hangs says nothing at first
            trial.emit(1)
            eventually(lambda: trial.quiet > 1, 20, lambda: f"quiet for a second, is {trial.quiet}")
        one.wait_published(4)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


# -- servers that do not start ---------------------------------------------------------------------------------------------

BROKEN = """
import pytest
from support.common import started

class Server:
    made = 0
    def __init__(self, directory):
        Server.made += 1
        self.directory = directory
    def start(self):
        if Server.made < {good}:
            raise AssertionError(f"does not answer: {{self.directory}}")
        return self
    def remove(self):
        pass

@pytest.fixture(scope="module")
def server():
    return started(Server, "/d")

@pytest.mark.parametrize("n", [1, 2, 3])
def test_x(server, n):
    assert server.directory == "/d-again"
"""


def run_pytest(directory, *options, **env):
    """What pytest says of the tests in a directory, with our conftest.py."""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OUTBOXD_FAILED"))}   # of this run alone
    return subprocess.run([sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", os.devnull, *options, str(directory)], cwd=directory,
                          env={**inherited, "PYTHONPATH": f"{directory}:{tests}", **env}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)


@pytest.mark.parametrize("good, counts", [(2, "3 passed"), (3, "2 skipped, 1 error")])
def test_a_server_that_does_not_start_costs_one_retry_or_one_error(tmp_path, good, counts):
    (tmp_path / "test_x.py").write_text(BROKEN.format(good=good))
    result = run_pytest(tmp_path)
    assert counts in result.stdout.splitlines()[-1], result.stdout
    assert (result.stdout.count("does not answer: /d-again") > 0) == (good == 3), result.stdout


CASES = """
import pytest
from support.relay import outboxd_binary

@pytest.mark.parametrize("n", [1, 2, 3])
def test_many(n):
    assert outboxd_binary() == ("/sanitizers" if n == 1 else "/plain")
    assert outboxd_binary(fail_points=True) == "/sanitizers"

def test_one():
    assert outboxd_binary() == "/sanitizers"
"""


def test_the_first_case_of_each_test_has_sanitizers_and_further_ones_are_what_users_run(tmp_path):
    (tmp_path / "integration").mkdir()
    (tmp_path / "integration" / "test_x.py").write_text(CASES)
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "test_y.py").write_text(CASES.replace("/plain", "/sanitizers"))
    result = run_pytest(tmp_path, OUTBOXD="/sanitizers", OUTBOXD_PLAIN="/plain")
    assert "8 passed" in result.stdout.splitlines()[-1], result.stdout


# -- one broker for all workers ------------------------------------------------------------------------------------------

# A plugin: brokers are processes that do nothing; that of all workers may end at once.
PLAYED = """
import os
from support.broker import Broker, SharedBroker
worker, ends = "PYTEST_XDIST_WORKER" in os.environ, os.environ["BROKER"] == "ends"
Broker._java = lambda self, *_: ["sleep", "0" if ends and not worker else "600"]
Broker._answers = lambda self: not (ends and isinstance(self, SharedBroker))
"""
USERS = """
import os, signal, pytest
from support.broker import SharedBroker
from support.common import has_ended

def note(kafka):
    shared = isinstance(kafka, SharedBroker)
    with open("notes", "a") as f:
        print("shared" if shared else "own", os.environ["PYTEST_XDIST_WORKER"], kafka._pid if shared else kafka.process.pid, kafka.directory, file=f)

own = set()

@pytest.mark.parametrize("n", range(6))
def test_that_merely_uses_it(kafka, n):
    note(kafka)
    assert kafka._pid in own or all(map(has_ended, own))
    if os.environ["BROKER"] == "is killed":
        os.kill(os.getppid(), signal.SIGKILL)

@pytest.mark.own_broker
@pytest.mark.parametrize("n", range(2))
def test_that_kills_it(kafka, n):
    kafka.kill()
    kafka.start()
    own.add(kafka.process.pid)
    note(kafka)
"""


def brokers_of_two_workers(directory, fate):
    """What pytest says, and [shared or own, worker, process, its directory] of each test."""
    pytest.importorskip("xdist")
    (directory / "played.py").write_text(PLAYED)
    (directory / "test_x.py").write_text(USERS)
    said = run_pytest(directory, "-p", "played", "-n", "2", "--dist", "loadgroup", BROKER=fate).stdout
    notes = [line.split() for line in (directory / "notes").read_text().splitlines()]
    eventually(lambda: all(has_ended(int(pid)) for _, _, pid, _ in notes), what=lambda: f"no broker is left: {notes}\n{said}")
    return said, notes


def test_workers_share_a_broker_but_for_tests_that_disturb_it(tmp_path):
    said, notes = brokers_of_two_workers(tmp_path, "lives")
    assert "8 passed" in said.splitlines()[-1], said
    shared, own = ([note[1:] for note in notes if note[0] == kind] for kind in ("shared", "own"))
    assert len(shared) == 6 and {worker for worker, _, _ in shared} == {"gw0", "gw1"} and len({(pid, directory) for _, pid, directory in shared}) == 1, notes
    assert len(own) == 2 and len({(worker, directory) for worker, _, directory in own}) == 1 and len({pid for _, pid, _ in own}) == 2, notes
    assert not {directory for *_, directory in shared} & {directory for *_, directory in own}
    assert not any(os.path.exists(directory) for *_, directory in notes)


def test_a_worker_starts_a_broker_where_that_of_all_has_ended(tmp_path):
    said, notes = brokers_of_two_workers(tmp_path, "ends")
    assert "8 passed" in said.splitlines()[-1] and "the broker of all workers does not answer" in said, said
    assert len({directory for *_, directory in notes}) == 2, notes


def test_a_run_that_is_killed_leaves_no_broker(tmp_path):
    said, notes = brokers_of_two_workers(tmp_path, "is killed")
    assert "passed" not in said and notes, said


def test_a_broker_that_others_use_refuses_what_disturbs_them(kafka):
    disturbing = {name for name in vars(KafkaServer) if not name.startswith("_")} - set(vars(Broker)) - {"facts"}
    assert {"start", "stop", "kill", "away", "unread", "remove"} <= disturbing
    for name in disturbing:
        with pytest.raises(BrokerIsShared, match="@pytest.mark.own_broker"):
            getattr(kafka, name)()
    assert kafka.admin().list_topics(timeout=5).brokers


def test_each_server_has_an_identity_of_its_own(work_directory):
    """Their data are copies of what initdb made once. pg_controldata warns of a checksum that does not fit."""
    identities = set()
    for n in range(3):
        server = PostgresServer(os.path.join(work_directory, f"copy-{n}"))
        said = subprocess.run([os.path.join(server.bin, "pg_controldata"), "-D", server.data], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"}, check=True).stdout
        assert "WARNING" not in said, said
        identities.add(next(line for line in said.splitlines() if "system identifier" in line))
        server.remove()
    assert len(identities) == 3, identities


def test_a_session_is_kept_for_rows_alone(postgres, database):
    """Settings and locks of a session never meet another statement, nor does a session that the server has ended."""
    def session():
        return database.scalar("SELECT pg_backend_pid()")
    kept = session()
    assert session() == kept
    database.execute("SET lock_timeout = 1; SELECT pg_advisory_lock(1)")
    assert database.scalar("SHOW lock_timeout") == "0" and session() == kept
    assert database.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = %s)",
                           (database.name,)) == 0
    os.kill(kept, signal.SIGTERM)
    eventually(lambda: not postgres.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (kept,)), what="it is gone")
    assert session() != kept
    newest = session()
    database.execute(f"ALTER ROLE {OWNER} IN DATABASE \"{database.name}\" SET lock_timeout = '1min'", user=SUPERUSER)
    assert session() != newest and database.scalar("SELECT current_setting('lock_timeout')") == "1min"
