"""What a machine may refuse the relay: somebody who reads its log, memory, stack, open files; and thousands of topics or partitions. It
keeps its promises, or ends with a line that says why; an independent consumer counts what arrived."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import time

import pytest

from conftest import CAPTURES, soak
from support.common import at_pace, eventually
from support.consume import read_topics
from support.disk import Disk
from support.kafka import KafkaServer
from support.relay import plain_binary
from support.trial import Trial
from support.wal import Wal

pytestmark = pytest.mark.by_turns
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def limited(relay, kafka, database, prefix):
    """limited(capture, shell prologue, ...) -> (relay, trial, topic), not started: `start()` runs it behind that prologue of bash."""
    def make(capture="poll", prologue="", pipeline=None, **more):
        if capture == "wal":
            Wal(database)
        topic = kafka.create_topic(f"{prefix}.order", partitions=2)
        one = relay({**CAPTURES[capture], **(pipeline or {})}, **more)
        start = one.start
        one.start = lambda **how: start(**{"by": behind(prologue), **how})
        return one, Trial(database, one), topic
    return make


def behind(prologue):
    """For Relay.start: what bash does before it becomes the relay."""
    return ["bash", "-c", f'{prologue}; exec "$@"', "bash"] if prologue else ()


def all_marked(database, one, timeout=60):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked, left {database.scalar(UNPUBLISHED)}\n{one.log_tail()}")


def waits_in_log(one):
    """The relay ended; the last line says how."""
    line = one.log_lines("code=STOPPED ")
    assert len(line) == 1 and one.log_text().rstrip().endswith(line[0]), one.log_tail()
    return line[0]


CHATTY = {"properties": ["debug=msg,protocol"]}   # of librdkafka: some lines for each record and request


# -- its log --------------------------------------------------------------------------------------------------------------------------------------


class Fifo:
    """A pipe of one page, open for reading, so that whoever writes to it is not held up at its opening; read when the test says so."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self.fd, 1031, 4096)   # F_SETPIPE_SZ

    def read(self):
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, 1 << 20).decode("utf-8", "replace")
        return ""


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_log_that_nobody_reads_stops_nothing_and_what_is_lost_is_told(limited, kafka, database, tmp_path, capture):
    """A pipe that is full: a line of debugging for each batch, and nobody reads; the lease is shorter than the time for which that is so."""
    fifo = Fifo(tmp_path / "log")
    one, trial, topic = limited(capture, f"exec 2>{fifo.path}", {"lease": "2s"}, log={"level": "debug"}, kafka=CHATTY)
    one.start()
    begun = time.monotonic()
    while one.metric("log_lines_lost_total") < 20 or time.monotonic() < begun + 5:
        assert time.monotonic() < begun + at_pace(120), f"lost: {one.metric('log_lines_lost_total')}"
        trial.emit(10)
        all_marked(database, one)
        assert one.http("/livez")[0] == 200 and one.metric("leader") == 1
    text = ""

    def told():
        nonlocal text
        text += fifo.read()
        return "code=LOG_LINES_LOST" in text
    trial.emit(1)
    all_marked(database, one)
    eventually(told, 30, lambda: f"the loss is told: {text[-2000:]}", interval=0.02)
    assert "log lines before this were lost: nobody read them in time" in text
    assert all(line.startswith("20") for line in text.splitlines() if line), "each line begins where a line begins"
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.signal(signal.SIGTERM)
    assert one.wait_exit() == 0


def test_a_log_on_a_disk_that_is_full_goes_on_behind_the_gap(limited, kafka, database, tmp_path):
    disk = Disk(str(tmp_path / "disk"), 1)
    try:
        path = os.path.join(disk.path, "log")
        one, trial, topic = limited("poll", f"exec 2>>{path}", log={"level": "debug"}, kafka=CHATTY)
        one.start()
        disk.fill()
        eventually(lambda: trial.emit(10) and one.metric("log_lines_lost_total") > 20, 60, "lines are lost")
        all_marked(database, one)
        disk.empty()

        def told():
            trial.emit(1)
            with open(path, "r", encoding="utf-8") as f:
                lines = f.read().splitlines()
            return [line for line in lines if "code=LOG_LINES_LOST" in line and "No space left on device" in line]
        assert eventually(told, 30, "the loss is told")[0].startswith("20")
        all_marked(database, one)
        trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
        one.stop()
    finally:
        disk.remove()


def test_descriptors_that_are_closed_are_not_given_to_sockets(limited, kafka, database):
    """Else the log would be written to the next one that is opened."""
    one, trial, topic = limited("poll", "exec <&- >&- 2>&-")
    one.start()
    trial.emit(50)
    all_marked(database, one)
    assert [os.readlink(f"/proc/{one.pid}/fd/{n}") for n in range(3)] == ["/dev/null"] * 3
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


# -- open files -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_too_few_open_files_are_refused_with_the_number_that_is_enough(limited, kafka, database, capture):
    one, trial, topic = limited(capture, "ulimit -n 32")
    trial.emit(100)
    one.start(wait_ready=False)
    assert one.wait_exit() == 1
    line = one.log_lines("code=OPEN_FILES_LIMIT")[0]
    assert "may open 32 files" in line and "LimitNOFILE" in line, line
    assert "why=OPEN_FILES_LIMIT" in waits_in_log(one)
    enough = int(line.split("needs at least ")[1].split('"')[0])
    one.start(by=behind(f"ulimit -n {enough}"))
    trial.emit(100)
    all_marked(database, one)
    for _ in range(20):
        assert one.http("/metrics")[0] == 200
    database.terminate_backends()      # and it connects again
    trial.emit(100)
    all_marked(database, one)
    assert one.open_files() <= enough, one.open_files()
    assert not one.log_lines("(?i)too many open files"), one.log_tail()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


def test_a_limit_on_open_files_that_may_be_raised_is_raised(limited, kafka, database):
    one, trial, topic = limited("poll", "ulimit -Sn 32")
    one.start()
    trial.emit(10)
    all_marked(database, one)
    assert one.metrics().total("process_max_fds") > 32
    one.stop()


# -- memory and stack -----------------------------------------------------------------------------------------------------------------------------


def without_sanitizers(one):
    """They need terabytes of addresses, and memory of their own."""
    one.binary = plain_binary()
    if one.binary is None:
        pytest.skip("only with a binary of the preset dev, as new as that of the preset asan")


def large(database, count, kilobytes=900):
    return [row[0] for row in database.execute(
        "SELECT outbox.emit('order.placed', 'order', n::text, to_jsonb((SELECT string_agg(md5(random()::text), '') FROM generate_series(1, %s))))::text "
        "FROM generate_series(1, %s) n", (kilobytes * 1024 // 32, count))]


@pytest.mark.own_broker
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_memory_that_is_refused_ends_it_with_a_reason_and_loses_nothing(limited, kafka, database, capture):
    """The limit is set on the running process, a megabyte above what it has: our own code, libpq or librdkafka meets it first."""
    one, trial, topic = limited(capture, pipeline={"in_flight_bytes": "256MiB"})
    without_sanitizers(one)
    one.start()
    trial.emit(10)
    all_marked(database, one)
    limit = one.memory_kb("VmData") * 1024 + (1 << 20)
    resource.prlimit(one.pid, resource.RLIMIT_DATA, (limit, limit))
    with kafka.away():       # what is read stays in memory
        for _ in range(8):
            trial.expected += [(str(n + 1), event) for n, event in enumerate(large(database, 5))]
        code = one.wait_exit(20)
    assert code == 70, f"exit code {code}\n{one.log_tail()}"
    assert one.log_lines("code=OUT_OF_MEMORY") or one.log_lines("outboxd: a library ended the process") or one.log_lines("code=RESOURCE_REFUSED"), \
        one.log_tail()
    one.start()
    all_marked(database, one)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=40)
    one.stop()


MEMORY_MB = 64   # the request of packaging/kubernetes/standalone.yaml; its limit is for backlogs of large events
CGROUP = "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"


@contextlib.contextmanager
def memory_cgroup(megabytes):
    """The file that a process writes its number into to be under the limit; None where no cgroup can be made."""
    path = os.path.join(CGROUP, f"outboxd-test-{os.getpid()}")
    limit = "memory.limit_in_bytes" if CGROUP.endswith("memory") else "memory.max"
    try:
        os.mkdir(path)
        with open(os.path.join(path, limit), "w", encoding="ascii") as f:
            f.write(str(megabytes << 20))
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(path)
        yield None
        return
    try:
        yield os.path.join(path, "cgroup.procs")
    finally:
        with contextlib.suppress(OSError):
            eventually(lambda: os.rmdir(path) is None, 10, "the cgroup is empty", retry=OSError)


@pytest.mark.own_broker
@pytest.mark.parametrize("capture", ["poll", soak("wal")])
def test_the_memory_that_we_ask_for_is_enough_for_a_backlog(limited, kafka, database, capture):
    """30,000 events of 1 KiB while Kafka was away, in a cgroup where one can be made; else with that much data."""
    with memory_cgroup(MEMORY_MB) as procs:
        prologue = f"echo $$ > {procs}" if procs else f"ulimit -d {(MEMORY_MB + 64) * 1024}"
        one, trial, topic = limited(capture, prologue)
        without_sanitizers(one)
        one.start()
        with kafka.away():
            for _ in range(6):
                trial.expected += [(str(n), event) for n, event in database.execute(
                    "SELECT n %% 50, outbox.emit('order.placed', 'order', (n %% 50)::text, to_jsonb(repeat(md5(n::text), 32)))::text "
                    "FROM generate_series(1, %s) n ORDER BY n", (5000,))]
            eventually(lambda: one.metric("inflight_events") >= 8500, 60, lambda: f"as much as fits is in flight: {one.metric('inflight_events')}")
        all_marked(database, one, 120)
        peak = one.memory_kb()
        trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
        assert peak <= MEMORY_MB * 1024, f"{peak} KiB"
        print(f"peak {peak} KiB")
        one.stop()


@pytest.mark.own_broker
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_tiny_stack_is_enough(limited, kafka, database, capture):
    """Of each thread, too: what glibc gives them is the limit of the process."""
    one, trial, topic = limited(capture, "ulimit -s 256", monitor={"consumer_groups": ["*"], "groups_interval": "500ms"})
    one.start()
    deep = "{" + ",".join(f'"h{n}": "{n}"' for n in range(200)) + "}"
    trial.expected.append(("1", str(database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}', headers => %s::jsonb)", (deep,))[0][0])))
    trial.expected += [(str(n + 1), event) for n, event in enumerate(large(database, 5))]
    trial.emit(1000)
    all_marked(database, one)
    eventually(lambda: one.status()["consumer_groups"]["up"], 30, lambda: "groups are looked at\n" + one.log_tail())
    assert json.loads(one.http("/status")[1]) and one.http("/metrics")[0] == 200
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    one.stop()


# -- thousands of topics, thousands of partitions ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(work_directory):
    """A broker whose indexes are small: each partition has two, and it maps them."""
    server = KafkaServer(os.path.join(work_directory, "kafka-many"), {"log.index.size.max.bytes": "4096"}, heap="1g").start()
    yield server
    server.remove()


def make_topics(server, names, partitions):
    from confluent_kafka.admin import NewTopic
    for future in server.admin().create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1) for name in names],
                                               request_timeout=120, operation_timeout=120).values():
        future.result(150)


@pytest.mark.slow
@pytest.mark.parametrize("capture", [soak("poll"), soak("wal")])
@pytest.mark.parametrize("topics, partitions", [(1000, 1), (1, 1000)])
def test_a_thousand_of_them(relay, server, database, prefix, capture, topics, partitions):
    """Twenty events for each; memory and time are told."""
    if capture == "wal":
        Wal(database)
    names = [f"{prefix}.t{n}" for n in range(topics)]
    make_topics(server, names, partitions)
    one = relay(CAPTURES[capture], brokers=server.brokers).start(timeout=60)
    trial = Trial(database, one)
    empty = one.memory_kb("VmRSS")
    begun = time.monotonic()
    for _ in range(20):
        trial.expected += [(f"{key}", event) for key, event in database.execute(
            "SELECT n, outbox.emit('thing.done', 't' || (n %% %s), n::text, '{}')::text FROM generate_series(0, 999) n ORDER BY n", (topics,))]
    all_marked(database, one, 300)
    took = time.monotonic() - begun
    one.wait_ready()
    print(f"{topics} topics of {partitions} partitions, {capture}: {took:.1f} s for 20,000 events, {empty} KiB before, {one.memory_kb()} KiB at most")
    assert one.instrumented() or one.memory_kb() <= 160 * 1024, one.memory_kb()
    assert took <= at_pace(120)
    trial.result(read_topics(server.brokers, names, timeout=180)).assert_none_lost()
    one.stop()
