"""What benchmarks share: servers with stated settings, a migrated outbox, orders to fill it with, tables to print.

A benchmark is tests/bench/NAME/run, an executable without arguments; see README.md.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests"))
BUILD = os.path.join(ROOT, "build", "release")
# The bare loops of limit/bare.c and poll/floor.c.
BARE = os.path.join(BUILD, "bench", "bench_limit_bare")
FLOOR = os.path.join(BUILD, "bench", "bench_poll_floor")
os.environ.setdefault("OUTBOXD", os.path.join(BUILD, "outboxd"))

from support import relay as support_relay  # noqa: E402
from support.common import eventually, process_tree  # noqa: E402
from support.consume import headers_of, Record  # noqa: E402
from support.kafka import KafkaServer  # noqa: E402
from support.postgres import APP, RELAY, SUPERUSER, PostgresServer  # noqa: E402
from support.verify import parse_time  # noqa: E402

# Server defaults again, except for the first three: the fixtures of the tests are tuned for small and hostile.
POSTGRES_SETTINGS = {
    "shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on", "max_connections": "100", "wal_level": "replica",
    "max_prepared_transactions": "0", "log_min_messages": "warning", "log_line_prefix": "'%m [%p] '", "timezone": "'UTC'",
    "datestyle": "'ISO, MDY'", "intervalstyle": "'postgres'", "bytea_output": "'hex'", "extra_float_digits": "1",
}

# About 300 bytes of jsonb text. One order has several events; 50,000 orders are alive at a time. Columns of event number g.
ORDER = """gen_random_uuid(), (ARRAY['order.placed', 'order.paid', 'order.shipped'])[1 + g % 3], 'order', (g % 50000)::text,
       1 + g / 50000,
       format('{"order_id": %s, "customer": "customer-%s", "status": "placed", "currency": "EUR", "total": %s.50, '
              '"items": [{"sku": "SKU-%s", "name": "Darjeeling first flush", "qty": 2, "price": 12.25}, '
              '{"sku": "SKU-%s", "name": "Assam", "qty": 1, "price": 8.00}], '
              '"ship_to": {"city": "Lisbon", "zip": "1100-%s", "street": "Rua Augusta %s"}}',
              g % 50000, g % 9973, g % 400, g % 5000, g % 4999, g % 900, g % 280)::jsonb,
       'checkout-' || g, 'cart-' || g, '00-' || md5(g::text) || '-' || left(md5((-g)::text), 16) || '-01'"""
ORDER_COLUMNS = ("event_id", "event_type", "aggregate_type", "aggregate_id", "aggregate_version", "payload", "correlation_id", "causation_id",
                 "traceparent")
_FILL = (f"INSERT INTO outbox.event ({', '.join(ORDER_COLUMNS)}, published_at)\nSELECT {ORDER}".replace("%", "%%")
         + ",\n       CASE WHEN %s THEN clock_timestamp() END\n  FROM generate_series(1::bigint, %s) AS g")


def setting(name, default):
    """An OUTBOXD_BENCH_... variable of the environment, as the type of its default (a list is split at commas)."""
    text = os.environ.get(f"OUTBOXD_BENCH_{name}")
    if text is None:
        return default
    if isinstance(default, list):
        return [type(default[0])(item) for item in text.split(",")]
    return type(default)(text)


def say(text=""):
    print(text, flush=True)


_problems = []


def require(condition, text):
    """A result that is wrong, not slow: the benchmark fails."""
    if not condition:
        _problems.append(text)
        say(f"WRONG: {text}")


def goal(value, limit, unit="", at_least=False):
    met = value >= limit if at_least else value <= limit
    return f"{'met' if met else 'MISSED'} (goal {'at least' if at_least else 'at most'} {limit:g}{unit})"


def bare(*arguments):
    """One run of a bare loop: its JSON object."""
    found = subprocess.run([str(word) for word in arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    return json.loads(found.stdout)


def write_json(figures):
    """Writes what was measured to the file OUTBOXD_BENCH_JSON, if that is set."""
    path = setting("JSON", "")
    if path:
        with open(path, "w", encoding="ascii") as f:
            json.dump(figures, f, indent=1)
            f.write("\n")


def finish():
    """Ends the benchmark, with exit code 1 when a result was wrong."""
    sys.exit(1 if _problems else 0)


class Bench:
    """A PostgreSQL server, a Kafka broker, and one migrated database; everything is gone at the end."""

    def __init__(self, settings=None):
        for path in (os.environ["OUTBOXD"],):
            if not os.path.exists(path):
                sys.exit(f"{path} is missing: cmake --preset release && cmake --build --preset release")
        self.directory = tempfile.mkdtemp(prefix="outboxd-bench-", dir=os.environ.get("OUTBOXD_BENCH_DIR"))
        os.chmod(self.directory, 0o755)
        self.postgres = PostgresServer(os.path.join(self.directory, "pg"), settings={**POSTGRES_SETTINGS, **(settings or {})})
        self.kafka = KafkaServer(os.path.join(self.directory, "kafka"), heap="1g", options=[],
                                 properties={"log.segment.bytes": str(1 << 30)})
        self.database = None
        self.topics = 0

    def __enter__(self):
        self.postgres.start()
        self.kafka.start()
        self.postgres.create_roles()
        self.database = self.postgres.fresh_database("shop")
        support_relay.migrate(self.database)
        self.database.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")
        return self

    def __exit__(self, *_):
        self.kafka.remove()
        self.postgres.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def describe(self):
        version = self.database.scalar("SHOW server_version").split(" ")[0]
        memory = next(int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if line.startswith("MemTotal"))
        return (f"PostgreSQL {version} (fsync on, shared_buffers 512MB, max_wal_size 4GB, else defaults), Apache Kafka "
                f"{os.path.basename(os.path.dirname(self.kafka.jars)).removeprefix('kafka-')} (1 broker), "
                f"{subprocess.check_output([os.environ['OUTBOXD'], 'version'], text=True).strip()}\n"
                f"{cpu_model()}, {os.cpu_count()} CPUs shared by all of them, {memory / 2**20:.0f} GiB, Linux {platform.release()}")

    # -- the outbox ------------------------------------------------------------------------------------------------

    def sql(self, *statements):
        """Each statement in a transaction of its own, as superuser."""
        for statement in statements:
            self.database.execute(statement, user=SUPERUSER)

    def fill(self, rows, published=False):
        """Insert `rows` orders, a million in a transaction."""
        while rows > 0:
            part = min(rows, 1_000_000)
            self.database.execute(_FILL, (published, part), user=SUPERUSER)
            rows -= part

    def unpublished(self):
        return self.database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL")

    def server_cpu_seconds(self):
        """User and system time of the PostgreSQL server, of all its processes that there are and that there were."""
        ticks = 0
        for pid in process_tree(self.postgres.process.pid):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                    fields = f.read().rsplit(") ", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between; the postmaster has counted it, or will
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    # -- the relay ---------------------------------------------------------------------------------------------------

    def new_topic(self, partitions=6):
        self.topics += 1
        return self.kafka.create_topic(f"bench.{self.topics}", partitions)

    def records(self, *topics):
        """How many records the topics hold, by their watermarks. A partition that was made a moment ago may be without a leader: that is waited for."""
        from confluent_kafka import KafkaException, TopicPartition
        from confluent_kafka.admin import OffsetSpec
        admin = self.kafka.admin()

        def marks(places, spec):
            return sum(future.result(60).offset for future in admin.list_offsets({place: spec for place in places}, request_timeout=30).values())

        def count():
            known = (admin.list_topics(topics[0], timeout=10) if len(topics) == 1 else admin.list_topics(timeout=60)).topics
            places = [TopicPartition(topic, p) for topic in topics for p in known[topic].partitions]
            return [marks(places, OffsetSpec.latest()) - marks(places, OffsetSpec.earliest())]
        return eventually(count, 20, lambda: f"{topics} can be looked at", retry=KafkaException)[0]

    def relay(self, topic, monitor=None, **pipeline):
        """A relay (not started) that sends everything to `topic`, with lz4; its `monitor` group is given, or a free port and defaults."""
        config = support_relay.configuration(self.database.dsn(RELAY), self.kafka.brokers, {"topic": topic, **pipeline},
                                             kafka={"properties": ["compression.type=lz4"]})
        config["monitor"] = monitor or config["monitor"]
        directory = tempfile.mkdtemp(prefix="relay-", dir=self.directory)
        return support_relay.Relay(config, directory)


def consume_latencies(b, topic, seconds, took, ready):
    """Append milliseconds from ce_time (the insert) to an independent consumer's hands, for `seconds`."""
    from confluent_kafka import Consumer, TopicPartition
    consumer = Consumer({"bootstrap.servers": b.kafka.brokers, "group.id": "bench-latency", "enable.auto.commit": False,
                         "fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 1, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(6)])
    ready.set()
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(0.05)
            now = time.time()
            if message is None or message.error():
                continue
            headers = headers_of(Record(*[None] * 7, message.headers()))
            took.append((now - parse_time(headers["ce_time"]).timestamp()) * 1000)
    finally:
        consumer.close()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def table(headings, rows):
    """Columns as wide as their content; text to the left, the rest to the right."""
    cells = [headings] + [[cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    for number, row in enumerate(cells):
        left = [isinstance(rows[0][i], str) and not rows[0][i][:1].isdigit() for i in range(len(headings))]
        say("  ".join(cell.ljust(w) if is_left else cell.rjust(w) for cell, w, is_left in zip(row, widths, left)).rstrip())
        if number == 0:
            say("  ".join("-" * w for w in widths))


def markdown(headings, rows):
    """A table as a document has it."""
    for cells in [headings, ["---"] * len(headings), *rows]:
        say("| " + " | ".join(cells) + " |")
