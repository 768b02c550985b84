#!/usr/bin/python3
"""The binary of before as an oracle: two programs live through the same, side by side, and must have done the same after each step.

    tests/run oracle --before BINARY [--after BINARY] [--seeds N] [--first-seed N] [--only poll/mark]

For each seed and each of poll/mark, poll/delete, wal/mark, wal/delete and wal/keep: one script of steps is drawn. Both programs have a database
and a topic of their own on the same servers. A step writes the same transactions to both (same event ids, keys, bodies and times, interleaved the
same way on several connections), and strikes both in the same way. Then it waits until both are at rest, and compares:

    records      per key, byte for byte with headers and timestamps: all of them, or, behind a kill with events in flight, the first arrivals in
                 order; what came again must be a replay of the end, of at most in_flight_events
    rows         which are marked, or left, in each table of the outbox; dead letters with their codes
    position     of wal: backfill, waiting, tx_lsn, the table by name; slot and position past all that is committed, the slot never in front
    processes    exit codes; codes and levels of the log lines that the step made

What cannot be the same in two runs is left out: see NOT_COMPARED. Both binaries must have fail points (preset dev or asan).
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from support.common import eventually  # noqa: E402
from support.consume import read_topics  # noqa: E402
from support.kafka import KafkaServer  # noqa: E402
from support.postgres import APP, RELAY, SUPERUSER, PostgresServer  # noqa: E402
from support.relay import Relay, configuration, migrate, outboxd, outboxd_binary  # noqa: E402
from support.wal import Wal, lsn  # noqa: E402

KINDS = ("poll/mark", "poll/delete", "wal/mark", "wal/delete", "wal/keep")
IN_FLIGHT = 200
KEYS = 8
STEPS = 9
TOO_DEEP = '{"a":' * 50 + "1" + "}" * 50

# Codes of lines that depend on which of several things is noticed first, or on how long something took.
NOT_COMPARED = {
    "POSTGRES_UNREACHABLE", "POSTGRES_CONNECTION_LOST", "POSTGRES_CONNECTION", "POSTGRES_SILENT", "POSTGRES_NOT_SENT", "POSTGRES_SHUTDOWN",
    "POSTGRES_CRASH", "POSTGRES_STARTING", "SERVER_STOPPING", "POSTGRES_TERMINATED", "KAFKA_UNREACHABLE", "KAFKA_CONNECTED", "KAFKA_NO_ACKNOWLEDGEMENT",
    "KAFKA_PRODUCER_FATAL", "WATCH_FAILED", "WATCH_RECOVERED", "PIPELINE_RECOVERED", "PIPELINE_UNSTEADY", "PIPELINE_SUMMARY", "READY",
    "STREAM_STARTED", "ROWS_SWEPT", "PIPELINE_STANDBY", "PIPELINE_ACTIVE", "SLOT_UNFINISHED", "LEASE_BROKEN", "FETCH_BLOCKED", "MARK_BLOCKED",
    "MARK_UNBLOCKED", "TABLE_REPLACED", "BACKFILL_COMPLETE",
}
# Of a swap: whether somebody looks between two of its moments.
NOT_COMPARED_OF_SWAPS = {"PUBLICATION_CHANGED", "PUBLICATION_PROVEN"}


@contextlib.contextmanager
def using(binary):
    """What is started inside is this binary."""
    before = os.environ.get("OUTBOXD")
    os.environ["OUTBOXD"] = binary
    try:
        yield
    finally:
        if before is None:
            del os.environ["OUTBOXD"]
        else:
            os.environ["OUTBOXD"] = before


def need_failpoints(binary):
    with using(binary):
        try:
            said = outboxd("run", "--dsn", "host=/nonexistent", "--brokers", "127.0.0.1:1", env={"OUTBOXD_FAILPOINTS": "nonsense:1:kill"}, timeout=20).stderr
        except subprocess.TimeoutExpired:   # it takes no notice of the nonsense, and goes on trying
            said = ""
    assert "no such fail point" in said, f"{binary} was built without fail points: use one of the preset dev or asan"


# -- what is written ---------------------------------------------------------------------------------------------------

class Script:
    """Draws events and transactions from the seed; both worlds get the same."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.versions = Counter()
        self.begin_us = int(time.time() * 1e6)
        self.events = 0

    def event(self, key):
        """Arguments of outbox.emit."""
        rng = self.rng
        self.events += 1
        shape = rng.randrange(6)
        version = self.versions[key] + 1
        self.versions[key] = version
        payload = None if shape == 0 else "null" if shape == 1 else \
            f'{{"key": {key}, "version": {version}, "note": "{"ä茶" * rng.randrange(40)}", "total": {rng.randrange(10**6) / 100}}}'
        headers = f'{{"tenant": "north-{rng.randrange(5)}", "n": {rng.randrange(99)}}}' if shape == 2 else None
        return (f"order.{('placed', 'paid', 'sent')[rng.randrange(3)]}", "order", str(key), payload, version, headers,
                str(uuid.UUID(int=rng.getrandbits(128), version=4)), self.begin_us / 1e6 + self.events / 1000)

    def transactions(self, events):
        """[(connection, what, arguments)]: several transactions at once, which end in any order; a key is one open transaction's."""
        rng, steps, owner = self.rng, [], {}
        written = 0
        while written < events:
            connection = rng.randrange(3)
            mine = [k for k, c in owner.items() if c == connection]
            roll = rng.random()
            if mine and roll < 0.25:
                # What is rolled back never was: the versions stay drawn, as nobody else has the key.
                steps.append((connection, "commit" if rng.random() < 0.85 else "rollback", None))
                owner = {k: c for k, c in owner.items() if c != connection}
            elif mine and roll < 0.32:
                steps.append((connection, "savepoint", self.event(rng.choice(mine))))
            else:
                free = [k for k in range(KEYS) if owner.get(k, connection) == connection]
                if free:
                    key = rng.choice(free)
                    owner[key] = connection
                    steps.append((connection, "emit", self.event(key)))
                    written += 1
        return steps + [(c, "commit", None) for c in sorted(set(owner.values()))]


EMIT = ("SELECT outbox.emit(%s, %s, %s, %s::jsonb, aggregate_version => %s, headers => %s::jsonb, event_id => %s, "
        "occurred_at => to_timestamp(%s))")


# -- one world: a binary with its database, topic and relay --------------------------------------------------------------

class World:
    def __init__(self, name, binary, kind, rig, label):
        self.name, self.binary = name, binary
        self.capture, self.mode = kind.split("/")
        self.kafka = rig.kafka
        self.database = rig.postgres.fresh_database(f"oracle_{name}", template=rig.templates[binary])
        self.topic = rig.kafka.create_topic(f"oracle-{label}-{name}.order", partitions=2)
        self.slot = f"outboxd_{self.database.name}"
        self.wal = Wal(self.database, self.slot) if self.capture == "wal" else None
        self.connections, self.tables = {}, ["event"]
        self.read, self.seen, self.history = {}, set(), {}
        self.lines, self.exits = 0, []
        wal = {"capture": "wal", "slot": self.slot, "publication": self.slot} if self.wal else {"position_headers": True}
        self.relay = Relay(configuration(self.database.dsn(), rig.kafka.brokers, {
            **wal, "topic": self.topic, "on_publish": self.mode, "on_poison": "dead_letter", "batch_events": IN_FLIGHT, "in_flight_events": IN_FLIGHT,
            "retry_backoff_min": "50ms", "retry_backoff_max": "300ms", "lease": "10s", "unseen_after": "2s"},
            monitor={"interval": "300ms"}), tempfile.mkdtemp(prefix=f"{name}-", dir=rig.directory))

    # What is done to it.

    def write(self, steps):
        for connection, what, arguments in steps:
            open_one = self.connections.get(connection)
            if open_one is None or open_one.closed:
                open_one = self.connections[connection] = self.database.connect(autocommit=False)
            if what in ("commit", "rollback"):
                getattr(open_one, what)()
                continue
            with open_one.cursor() as cursor:
                if what == "savepoint":
                    cursor.execute("SAVEPOINT s")
                cursor.execute(EMIT, arguments)
                if what == "savepoint":
                    cursor.execute("ROLLBACK TO s")

    def start(self, **more):
        with using(self.binary):
            self.relay.start(wait_ready=False, **more)

    def stop(self):
        if self.relay.running():
            self.exits.append(self.relay.stop(expect=None))

    def kill(self):
        self.relay.kill()
        self.exits.append(self.relay.process.returncode)

    def swap(self):
        """The outbox is renamed, and made anew."""
        for connection in self.connections.values():
            connection.close()
        old = f"event_{len(self.tables)}"
        statements = [f"ALTER TABLE outbox.event RENAME TO {old}", f"CREATE TABLE outbox.event (LIKE outbox.{old} INCLUDING ALL)",
                      "ALTER TABLE outbox.event OWNER TO shop_owner", "GRANT SELECT, DELETE, UPDATE ON outbox.event TO outbox_relay"]
        if self.wal:
            statements.append(f"ALTER PUBLICATION {self.slot} ADD TABLE outbox.event")
        connection = self.database.connect(SUPERUSER, autocommit=False)
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()
        self.tables.append(old)

    def command(self, *words):
        with using(self.binary):
            self.exits.append(outboxd(words[0], "-c", self.relay.config_path, *words[1:]).returncode)

    # What it has done.

    def left(self):
        """Rows that are not published, in any table."""
        if self.mode == "keep":
            return 0
        return sum(self.database.scalar(f"SELECT count(*) FROM outbox.{t} WHERE published_at IS NULL", user=SUPERUSER) for t in self.tables)

    def at_rest(self, end):
        try:
            if self.left() > 0:
                return False
            if self.wal and (self.wal.confirmed(self.slot) or 0) < end:
                return False
            return not self.wal or not self.wal.position()["backfill"]
        except Exception:  # the server is on its way back
            return False

    def end_of_log(self):
        return lsn(self.database.scalar("SELECT pg_logical_emit_message(true, 'oracle', 'here')::text")) if self.wal else 0

    def new_records(self):
        """Per key: what arrived since the last call, in order, without offsets."""
        found = {}
        for r in read_topics(self.kafka.brokers, self.topic, timeout=120):
            if r.offset < self.read.get(r.partition, 0):
                continue
            headers = tuple((n, v) for n, v in r.headers)
            found.setdefault(r.key, []).append((dict(r.headers)["ce_id"], r.partition, r.timestamp, r.value, headers))
            self.read[r.partition] = r.offset + 1
        return found

    def firsts(self, records):
        """The first arrivals among them, in order, and how many came again; what came again must be a replay of the end of its key."""
        first, again = {}, 0
        for key, arrived in records.items():
            known = self.history.setdefault(key, [])
            place = {event: at for at, event in enumerate(known)}
            at = None
            for record in arrived:
                event = record[0]
                if event not in place:
                    assert at is None or at == len(known) - 1, f"{self.name}: key {key}: {event} is new, and the replay before it has not come to its end"
                    first.setdefault(key, []).append(record)
                    known.append(event)
                    place[event] = len(known) - 1
                    at = None
                else:
                    assert at is None or place[event] == at + 1, f"{self.name}: key {key}: a replay leaves something out"
                    at = place[event]
                    again += 1
        return first, again

    def rows(self):
        if self.mode == "keep":
            return []
        return [(t, self.database.execute(f"SELECT seq, event_id::text, published_at IS NULL FROM outbox.{t} ORDER BY seq", user=SUPERUSER))
                for t in self.tables]

    def letters(self):
        return sorted(self.database.execute("SELECT event_id, error_code, error_class, attempts FROM outbox.dead_letter", user=SUPERUSER))

    def position(self, end):
        if not self.wal:
            return None
        row, slot = self.wal.position(), self.wal.slot(self.slot)
        name = self.database.scalar("SELECT table_id::regclass::text FROM outbox.position", user=SUPERUSER)
        return {"backfill": row["backfill"], "waiting": row["waiting"], "slot": row["slot"] == self.slot, "table": name,
                "position is past all": row["lsn"] >= end, "slot is past all": slot["confirmed_flush_lsn"] >= end,
                "slot in front of the position": slot["confirmed_flush_lsn"] > self.wal.position()["lsn"], "type": slot["plugin"]}

    def codes(self, left_out):
        """Codes of the lines since the last call, with their levels."""
        lines = self.relay.log_text().splitlines()
        new, self.lines = lines[self.lines:], len(lines)
        found = set()
        for line in new:
            words = line.split()
            code = next((w[5:] for w in words if w.startswith("code=")), None)
            if code and code not in left_out:
                found.add(f"{words[1]} {code}")
        return found

    def take_exits(self):
        taken, self.exits = self.exits, []
        return taken

    def close(self):
        for connection in self.connections.values():
            with contextlib.suppress(Exception):
                connection.close()
        if self.relay.running():
            self.relay.kill()
        self.database.drop()


# -- the steps -----------------------------------------------------------------------------------------------------------

class Rig:
    """Servers for both."""

    def __init__(self, directory, binaries):
        self.directory = directory
        self.postgres = PostgresServer(os.path.join(directory, "postgresql")).start()
        self.kafka = KafkaServer(os.path.join(directory, "kafka"))
        self.kafka.start()
        self.postgres.create_roles()
        self.templates = {}
        for number, binary in enumerate(dict.fromkeys(binaries)):
            template = self.postgres.fresh_database(f"template{number}")
            with using(binary):
                migrate(template)
            template.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")
            self.templates[binary] = template.name

    def remove(self):
        self.postgres.remove()
        self.kafka.remove()


class Run:
    """One script, on both worlds."""

    def __init__(self, rig, kind, seed, before, after):
        self.rig, self.kind = rig, kind
        self.script = Script(f"{kind} {seed}")
        self.rng = self.script.rng
        self.worlds = [World("before", before, kind, rig, f"{kind.replace('/', '-')}-{seed}"),
                       World("after", after, kind, rig, f"{kind.replace('/', '-')}-{seed}")]
        self.exact = True
        self.said = []

    def each(self, deed, *args):
        for world in self.worlds:
            getattr(world, deed)(*args)

    def write(self, events=None):
        steps = self.script.transactions(events or self.rng.randrange(5, 60))
        self.each("write", steps)

    # Each step leaves a running relay.

    def step_write(self):
        self.write()

    def step_stop_write_start(self):
        self.each("stop")
        self.write()
        self.each("start")

    def step_kill_at_rest(self):
        self.each("kill")
        self.write()
        self.each("start")

    def step_kill_at(self):
        """Killed with acknowledged events that are not marked."""
        point = self.rng.choice(["before_mark", "mark_sent", "settled", "enqueued"] + (["feedback_sent"] if "wal" in self.kind else ["fetched"]))
        self.said[-1] += f" {point}"
        self.each("stop")
        self.write(40)
        for world in self.worlds:
            world.start(fail_at=f"{point}:1:kill")
        for world in self.worlds:
            world.relay.wait_struck(60)
            world.exits.append(world.relay.process.returncode)
        self.exact = False
        self.each("start")

    def step_restart_postgres(self):
        mode = self.rng.choice(["fast", "immediate"])
        self.said[-1] += f" {mode}"
        for world in self.worlds:
            world.connections.clear()
        self.rig.postgres.restart(mode)
        self.write()

    def step_cut_sessions(self):
        for world in self.worlds:
            world.connections.clear()
            world.database.terminate_backends()
        self.write()

    def step_kafka_hangs(self):
        """Events are in flight, and nobody dies: none may come again."""
        with self.rig.kafka.away():
            self.write()
        self.write(5)

    def step_restart_kafka(self):
        self.rig.kafka.kill()
        self.rig.kafka.start()
        self.write()

    def step_swap_while_down(self):
        self.each("stop")
        self.write()
        self.each("swap")
        self.write()
        self.each("start")

    def step_swap_live(self):
        self.write()
        self.each("swap")
        self.write()

    def step_pause(self):
        self.each("command", "pause", "--reason", "oracle")
        self.write()
        self.each("command", "resume")

    def step_poison(self):
        """Rows whose headers are nested too deep, which emit would have refused."""
        for event in [self.script.event(KEYS + 1) for _ in range(2)]:
            for world in self.worlds:
                world.database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload, headers, event_id, occurred_at) "
                                       "VALUES (%s, %s, %s, %s::jsonb, %s::jsonb, %s, to_timestamp(%s))",
                                       (event[0], event[1], event[2], event[3], TOO_DEEP, event[6], event[7]), user=SUPERUSER)
        self.write(5)

    DEEDS = {"write": step_write, "stop, write, start": step_stop_write_start, "kill at rest": step_kill_at_rest, "kill at": step_kill_at,
             "restart PostgreSQL": step_restart_postgres, "cut sessions": step_cut_sessions, "Kafka hangs": step_kafka_hangs,
             "restart Kafka": step_restart_kafka, "swap while down": step_swap_while_down, "swap": step_swap_live, "pause": step_pause,
             "poison": step_poison}

    def plan(self):
        """STEPS of them; each at most twice, so that a few runs have met all."""
        names = list(self.DEEDS) * 2
        self.rng.shuffle(names)
        return ["write"] + names[:STEPS]

    def run(self):
        # The slot is made where nothing is open; what was there before comes from the table.
        self.said.append("first start")
        self.write()
        self.each("start")
        self.compare()
        for name in self.plan():
            self.said.append(name)
            self.exact = True
            self.DEEDS[name](self)
            self.compare()
        self.said.append("stop")
        self.exact = True
        self.each("stop")
        self.compare(stopped=True)

    def compare(self, stopped=False):
        ends = [w.end_of_log() if not stopped else 0 for w in self.worlds]
        for world, end in zip(self.worlds, ends):
            eventually(lambda w=world, e=end: w.at_rest(e), 90, lambda w=world: f"{w.name} is at rest, after: {', '.join(self.said)}\n{w.relay.log_tail(40)}")
        records = [w.new_records() for w in self.worlds]
        firsts = [w.firsts(r) for w, r in zip(self.worlds, records)]
        again = [n for _, n in firsts]
        assert max(again) <= (0 if self.exact else IN_FLIGHT), f"{again} came again"
        first = first_difference(*[f for f, _ in firsts])
        assert first is None, f"records differ: {first}"
        self.same("rows", *[w.rows() for w in self.worlds])
        self.same("dead letters", *[w.letters() for w in self.worlds])
        self.same("position", *[w.position(e) for w, e in zip(self.worlds, ends)])
        self.same("exit codes", *[w.take_exits() for w in self.worlds])
        left_out = NOT_COMPARED | (NOT_COMPARED_OF_SWAPS if self.said[-1].startswith("swap") else set())
        self.same("log codes", *[w.codes(left_out) for w in self.worlds])

    def same(self, what, before, after):
        assert before == after, f"{what} differ\n  before: {differing(before, after)}\n  after:  {differing(after, before)}"

    def close(self):
        self.each("close")


FIELDS = ("event id", "partition", "timestamp", "value", "headers")


def first_difference(before, after):
    """Key, place and fields of the first record that is not the same, in words; None: all are."""
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key, []), after.get(key, [])
        for at in range(max(len(one), len(other))):
            if at >= len(one) or at >= len(other):
                return f"key {key!r}: {len(one)} records before, {len(other)} after; at place {at} {(one[at:] or other[at:])[0][0]}"
            parts = [f"{name} {a!r:.300}, after {b!r:.300}" for name, a, b in zip(FIELDS, one[at], other[at]) if a != b]
            if parts and FIELDS[4] in parts[-1]:
                a, b = [set(side[at][4]) for side in (one, other)]
                parts[-1] = f"headers {sorted(a - b)}, after {sorted(b - a)}" if a != b else "the order of headers"
            if parts:
                return f"key {key!r}, place {at}, event {one[at][0]}: before {'; '.join(parts)}"
    return None


def differing(one, other):
    """The part that the other has not, short."""
    if isinstance(one, dict) and isinstance(other, dict):
        return str({k: v for k, v in one.items() if other.get(k) != v})[:1500]
    if isinstance(one, (set, frozenset)):
        return str(sorted(one - other))[:1500]
    if isinstance(one, list):
        return str([v for v in one if v not in other])[:1500]
    return str(one)[:1500]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the binary of before, with fail points")
    parser.add_argument("--after", default=None, help="the binary of now; $OUTBOXD or that of $OUTBOXD_PRESET by default")
    parser.add_argument("--seeds", type=int, default=2, help="for each kind")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--only", choices=KINDS, action="append", help="these kinds alone; may be repeated")
    return parser.parse_args()


def main():
    options = arguments()
    before, after = os.path.abspath(options.before), os.path.abspath(options.after or outboxd_binary())
    for binary in {before, after}:
        need_failpoints(binary)
    directory = tempfile.mkdtemp(prefix="outboxd-oracle-")
    os.chmod(directory, 0o755)
    print(f"before {before}\nafter  {after}", flush=True)
    rig = Rig(directory, [before, after])
    differences, runs = [], 0
    try:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for kind in options.only or KINDS:
                begin, run = time.monotonic(), Run(rig, kind, seed, before, after)
                runs += 1
                try:
                    run.run()
                    print(f"  same       {kind:<11} seed {seed}  {time.monotonic() - begin:5.1f} s  {', '.join(run.said)}", flush=True)
                except Exception as e:  # what one of them did not survive differs, too
                    differences.append(f"{kind} seed {seed}, after {', '.join(run.said)}: {e}")
                    print(f"  DIFFERENT  {kind:<11} seed {seed}  after {', '.join(run.said)}\n{type(e).__name__}: {e}", flush=True)
                    for world in run.worlds:
                        print(f"---- {world.name}\n{world.relay.log_tail(30)}", flush=True)
                finally:
                    run.close()
    finally:
        rig.remove()
        if not differences and not os.environ.get("OUTBOXD_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
    print(f"{runs - len(differences)} runs the same, {len(differences)} different")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
