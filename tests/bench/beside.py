"""What the benchmarks beside Debezium share: both programs as processes with their cost, a backlog to drain, a steady rate.

A program here has a database, a slot and a topic of its own; only one of them runs at a time. Its figures are those of all its processes.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time

from bench import percentile, require
from support import fetch
from support.common import die_with_parent, eventually, free_port, process_tree, tail
from support.postgres import APP, PASSWORDS, SUPERUSER

PARTITIONS = 6
# "default" leaves what these change as Debezium and Kafka Connect have it.
TUNED = {"poll.interval.ms": 5, "max.batch.size": 20480, "max.queue.size": 102400, "producer.override.linger.ms": 5,
         "producer.override.batch.size": 524288}
_LOGGING = {"rootLogger.level": "warn", "rootLogger.appenderRef.out.ref": "out", "appender.out.type": "Console", "appender.out.name": "out",
            "appender.out.layout.type": "PatternLayout", "appender.out.layout.pattern": "%d %p %c{1} %m%n"}


class Program:
    """One of the two, with a slot of its own that it makes at its first start."""

    def __init__(self, b, name, database, topic):
        self.b, self.name, self.database, self.topic, self.root = b, name, database, topic, None

    def cpu_seconds(self):
        ticks = 0
        for pid in process_tree(self.root):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                ticks += sum(map(int, f.read().rsplit(") ", 1)[1].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_mb(self):
        peak = 0
        for pid in process_tree(self.root):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/status", encoding="ascii") as f:
                peak += next((int(line.split()[1]) for line in f if line.startswith("VmHWM")), 0)
        return peak / 1024

    def records(self):
        return self.b.records(self.topic)

    def wait_reading(self):
        """Until it reads its slot."""
        slots = "SELECT count(*) FROM pg_replication_slots WHERE active"
        eventually(lambda: self.database.scalar(slots, user=SUPERUSER) > 0, 60, lambda: f"{self.name} reads\n{self.log()}")


class Outboxd(Program):
    def __init__(self, b, database, topic, relay):
        super().__init__(b, "outboxd", database, topic)
        self.relay = relay

    def start(self):
        self.relay.start(wait_ready=False)
        self.root = self.relay.pid

    def stop(self):
        self.relay.stop()

    def wait_stored(self):
        """A stop stores what is acknowledged."""

    def log(self):
        return self.relay.log_tail()


class Debezium(Program):
    """ConnectStandalone with one connector; its offsets are in a file, so that a second start goes on where the first one stopped.

    `connector` are the properties that say what is captured, `worker` those that say how it is converted; the publication is `slot`, too.
    """

    def __init__(self, b, profile, database, topic, slot, connector, worker):
        super().__init__(b, f"Debezium, {profile}", database, topic)
        self.jars, plugins = fetch.debezium()
        self.directory = tempfile.mkdtemp(prefix="debezium-", dir=b.directory)
        self.process, self.log_path = None, os.path.join(self.directory, "connect.log")
        self._write("worker.properties", {
            "bootstrap.servers": b.kafka.brokers, "plugin.path": plugins, "offset.flush.interval.ms": 1000,
            "offset.storage.file.filename": os.path.join(self.directory, "offsets"), "listeners": f"http://127.0.0.1:{free_port()}",
            "connector.client.config.override.policy": "All", **worker})
        self._write("connector.properties", {
            "name": "bench", "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": 1,
            "database.hostname": "127.0.0.1", "database.port": b.postgres.port, "database.dbname": database.name, "database.user": SUPERUSER,
            "database.password": PASSWORDS[SUPERUSER], "plugin.name": "pgoutput", "slot.name": slot, "publication.name": slot,
            "publication.autocreate.mode": "disabled", "producer.override.compression.type": "lz4", "producer.override.acks": "all",
            **connector, **(TUNED if profile == "tuned" else {})})
        self._write("log4j2.properties", _LOGGING)

    def _write(self, name, properties):
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as f:
            f.writelines(f"{key}={value}\n" for key, value in properties.items())

    def start(self):
        command = ["java", "-Xmx1g", f"-Dlog4j2.configurationFile={self.directory}/log4j2.properties", "-cp", os.path.join(self.jars, "*"),
                   "org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties", "connector.properties"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent(signal.SIGKILL))
        self.root = self.process.pid

    def stop(self):
        """What it had to do is done: Connect, which can hang in its end, is killed after a minute."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_stored(self):
        """Connect writes its offsets each second, and Debezium goes on behind them."""
        path = os.path.join(self.directory, "offsets")
        eventually(lambda: os.path.exists(path) and os.path.getsize(path) > 0, 30, "offsets are stored")

    def log(self):
        return tail(self.log_path)


# -- a number of records ---------------------------------------------------------------------------------------------------


def arrived(program, count, seconds, beyond=0):
    """Waits until the topic holds `count` records: [(moment, records, CPU seconds)] of the first look with more than `beyond`, and of the last."""
    first, deadline = None, time.monotonic() + seconds
    while True:
        records = program.records()
        now = (time.monotonic(), records, program.cpu_seconds())
        first = first or (now if records > beyond else None)
        if records >= count:
            return first, now
        if time.monotonic() > deadline:
            raise SystemExit(f"{program.name}: {records} of {count} records\n{program.log()}")
        time.sleep(0.05)


def measured(program, count, beyond=0):
    """Starts the program: figures of the `count` records that it then sends, behind `beyond` that its topic holds. CPU in us a record: `cpu` from the
    first record on, `cpu_all` with the start, `server` all of PostgreSQL's; `start` is the time from exec to the first record."""
    server, begin = program.b.server_cpu_seconds(), time.monotonic()
    program.start()
    first, last = arrived(program, beyond + count, 900, beyond)
    sent, took = last[1] - first[1], last[0] - first[0]
    require(sent > 0, f"{program.name}: all {count} records came at once, which tells no rate: take more")
    result = {"rate": sent / took if took > 0 else 0, "rate_all": count / (last[0] - begin), "cpu": (last[2] - first[2]) * 1e6 / max(sent, 1),
              "cpu_all": last[2] * 1e6 / count, "start": first[0] - begin, "peak": program.peak_mb(),
              "server": (program.b.server_cpu_seconds() - server) * 1e6 / count}
    program.stop()
    extra = program.records() - beyond - count
    require(extra == 0 or program.name != "outboxd", f"{program.name}: {extra} records too many")
    return result


def drain(program, learn, write, count):
    """The program learns of what it captures by one event (`learn()`) and ends; `write()` makes a backlog of `count`; it starts again."""
    program.start()
    program.wait_reading()
    learn()
    arrived(program, 1, 60)
    program.wait_stored()
    program.stop()
    write()
    program.b.sql("CHECKPOINT")
    return measured(program, count, program.records())


# -- a steady rate ---------------------------------------------------------------------------------------------------------


class Arrivals:
    """Reads a topic in a thread, from its end on: the moment at which each record is in the hands of an independent consumer, and its value."""

    def __init__(self, program):
        from confluent_kafka import Consumer, TopicPartition
        self.consumer = Consumer({"bootstrap.servers": program.b.kafka.brokers, "group.id": "bench-steady", "enable.auto.commit": False,
                                  "fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 1})
        places = [TopicPartition(program.topic, p) for p in range(PARTITIONS)]
        self.consumer.assign([TopicPartition(p.topic, p.partition, self.consumer.get_watermark_offsets(p, timeout=10)[1]) for p in places])
        self.seen, self.over = [], threading.Event()
        self.thread = threading.Thread(target=self._read)

    def _read(self):
        while not self.over.is_set():
            message = self.consumer.poll(0.05)
            now = time.time()
            if message is not None and not message.error():
                self.seen.append((now, message.value()))
        self.consumer.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def pgbench(b, database, script, rate, seconds):
    """The application runs `script` at `rate` transactions a second."""
    path = os.path.join(b.directory, "steady.sql")
    with open(path, "w", encoding="ascii") as f:
        f.write(script)
    os.chmod(path, 0o644)
    subprocess.run(["pgbench", "-n", "-M", "prepared", "-h", "127.0.0.1", "-p", str(b.postgres.port), "-U", APP, "-c", "4", "-j", "1", "-R", str(rate),
                    "-T", str(seconds), "-f", path, database.name], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, "PGPASSWORD": PASSWORDS[APP]})


def steady(program, learn, script, written, sent_at, rate, phases):
    """Milliseconds from `sent_at(value)` of each record to an independent consumer, and CPU us a record, at `rate` transactions a second. `phases`: seconds
    of each phase, of which the last one counts. `written()` is how many records there must be by now."""
    program.start()
    program.wait_reading()
    learn()
    arrived(program, 1, 60)
    with Arrivals(program) as arrivals:
        for seconds in filter(None, phases):
            arrivals.seen.clear()
            before, cpu = program.records(), program.cpu_seconds()
            pgbench(program.b, program.database, script, rate, seconds)
            arrived(program, written(), 60)
            eventually(lambda first=before: len(arrivals.seen) >= program.records() - first, 30, f"{program.name}: all records are consumed")
    sent = program.records() - before
    took = [(now - sent_at(value)) * 1000 for now, value in arrivals.seen]
    require(len(took) == sent, f"{program.name}: {len(took)} of {sent} records were consumed")
    result = {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99), "most": max(took), "cpu": (program.cpu_seconds() - cpu) * 1e6 / sent,
              "peak": program.peak_mb(), "records": sent}
    program.stop()
    return result
