#!/usr/bin/python3
"""The closing measurement: a shop writes orders through outbox.emit while everything is killed and restarted.

    tests/faults/torture.py --events 200000 --mode mark --faults none          every event once, in order, byte for byte
    tests/faults/torture.py --events 200000 --mode delete --kills 20           kill -9, PostgreSQL, Kafka, fail points
    tests/faults/torture.py --faults takeover --relays 3                       time until another relay publishes
    tests/faults/torture.py --capture wal --emit messages                      the same from the WAL: rows, messages, or both by turns
    tests/faults/torture.py --minutes 30                                       all of it in turn until time is up

Prints a table of figures; exit code 1 when something was lost, inverted, changed, or repeated more than allowed. Three phases: first
connections only (0 repeats allowed), then kills (repeats at most what was in flight), then a final read after healing.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from support import workload  # noqa: E402
from support.common import eventually  # noqa: E402
from support.consume import read_topics  # noqa: E402
from support.kafka import KafkaServer  # noqa: E402
from support.postgres import APP, RELAY, PostgresServer  # noqa: E402
from support.relay import Relay, configuration, migrate, outboxd_binary  # noqa: E402
from support.verify import compare, read_truth  # noqa: E402
from support.wal import Wal, lsn  # noqa: E402

LEASE = 3.0
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
COMMON = ["connect", "locked", "producing", "enqueued", "delivered", "settled", "before_mark", "mark_sent", "marked"]
POINTS = {"poll": COMMON + ["fetched"], "wal": COMMON + ["streaming", "in_transaction", "feedback_sent"]}
AT_START = ("connect", "locked", "streaming")


class Torture:
    """One run on given servers: `run()` writes, breaks and heals; `check()` asserts; `figures` is the table."""

    def __init__(self, options, postgres, kafka, template, directory):
        self.options, self.postgres, self.kafka = options, postgres, kafka
        self.rng = random.Random(options.seed)
        self.database = postgres.fresh_database("torture", template=template)
        workload.prepare(self.database, emit=options.emit)
        self.slot = f"outboxd_{self.database.name}"
        self.wal = Wal(self.database, self.slot) if options.capture == "wal" else None
        self.topic = kafka.create_topic(f"torture-{self.database.name}.order", partitions=options.partitions)
        self.load = workload.Pgbench(self.database, options.events, options.clients, seed=options.seed)
        self.relays = [self._relay(directory) for _ in range(options.relays)]
        self.figures = {}
        self.allowed = 0
        self.unsettled_seen = 0
        self.takeovers = {"kill -9": [], "SIGSTOP": []}
        self.peak_kb = 0
        self.counts = dict.fromkeys(("kill -9", "fail points", "PostgreSQL fast", "PostgreSQL immediate", "PostgreSQL sessions cut",
                                     "replication connections cut", "Kafka kill -9"), 0)

    def _relay(self, directory):
        wal = {"capture": "wal", "slot": self.slot, "publication": self.slot, "messages": self.options.emit != "rows",
               "messages_from": "anyone"} if self.wal else {}
        config = configuration(self.database.dsn(), self.kafka.brokers, {
            **wal, "topic": self.topic, "on_publish": self.options.mode, "batch_events": max(10, self.options.in_flight // 5), "in_flight_events": self.options.in_flight,
            "retry_backoff_min": "50ms", "retry_backoff_max": "500ms", "lease": f"{int(LEASE)}s", "standby_interval": "200ms",
            "unseen_after": "2s"}, monitor={"interval": "500ms"}, kafka={"properties": ["compression.type=lz4"]})
        return Relay(config, tempfile.mkdtemp(prefix="relay-", dir=directory))

    def say(self, text):
        if self.options.verbose:
            print(f"  {time.monotonic() - self.begin:7.1f} s  {text}", flush=True)

    # -- faults ---------------------------------------------------------------------------------------------------

    def active(self):
        """The relay that publishes now."""
        def find():
            return next((r for r in self.relays if r.running() and r.metric("leader") == 1), None)
        return eventually(find, 20, "a relay is active")

    def kill_relay(self):
        victim = self.active()
        metrics = victim.metrics()
        self.unsettled_seen += int(metrics.total("outboxd_window_events"))
        self._note_peak(victim)
        victim.kill()
        self.counts["kill -9"] += 1
        self.allowed += self.options.in_flight
        if len(self.relays) > 1:
            self._measure_takeover("kill -9", victim)
        victim.start(wait_ready=False)

    def stop_relay(self):
        """SIGSTOP: the relay hangs with its connections open; its lease must run out."""
        victim = self.active()
        victim.pause()
        try:
            self._measure_takeover("SIGSTOP", victim)
        finally:
            victim.resume()
        self.allowed += self.options.in_flight
        eventually(lambda: victim.metric("leader") == 0, 20, "the woken relay steps back")

    def _measure_takeover(self, kind, victim):
        def published(relay):
            try:
                return relay.published()
            except OSError:
                return 0  # started a moment ago: not listening yet

        others = {r: published(r) for r in self.relays if r is not victim and r.running()}
        begin = time.monotonic()
        eventually(lambda: self._traffic() and any(published(r) > n for r, n in others.items()), 60, "another relay publishes")
        self.takeovers[kind].append(time.monotonic() - begin)

    def fail_at(self, point):
        """Start with a fail point that kills, wait for it, start without."""
        for r in self.relays:
            r.stop(expect=None)
        one = self.relays[0]
        passage = 1 if point in AT_START else self.rng.randint(1, 12)
        one.start(wait_ready=False, fail_at=f"{point}:{passage}:kill")
        eventually(lambda: self._traffic() and not one.not_struck(), 60, lambda: f"fail point {point}:{passage} strikes\n{one.log_tail()}")
        one.wait_struck()
        self.counts["fail points"] += 1
        self.allowed += 0 if point in AT_START else self.options.in_flight
        for r in self.relays:
            r.start(wait_ready=False)

    def _traffic(self):
        """Keep events coming while something waits for them, also when the planned number is written."""
        if not self.load.turn():
            self.load.events += 300
        return True

    def restart_postgres(self, mode):
        self.postgres.restart(mode)
        self.counts[f"PostgreSQL {mode}"] += 1

    def cut_sessions(self):
        self.database.terminate_backends()
        self.counts["PostgreSQL sessions cut"] += 1

    def cut_replication(self):
        self.wal.terminate_sender(self.slot)
        self.counts["replication connections cut"] += 1

    def restart_kafka(self):
        self.kafka.kill()
        self.kafka.start()
        self.counts["Kafka kill -9"] += 1

    # -- the run --------------------------------------------------------------------------------------------------

    def plan(self):
        """Faults of the two phases, each as (name, function)."""
        o, connections, kills = self.options, [], []
        if o.faults in ("all", "connections"):
            for _ in range(o.restarts):
                if self.wal:
                    connections += [("replication connection cut", self.cut_replication)]
                connections += [("PostgreSQL fast restart", lambda: self.restart_postgres("fast")),
                                ("PostgreSQL immediate restart", lambda: self.restart_postgres("immediate")),
                                ("sessions cut", self.cut_sessions)]
                # A broker's start costs 4 s of CPU: the smallest run has one among the kills alone.
                (kills if o.faults == "all" and o.restarts == 1 else connections).append(("Kafka kill -9", self.restart_kafka))
        if o.faults == "all":
            kills += [("kill -9", self.kill_relay)] * o.kills
            points = self.rng.sample(POINTS[o.capture], min(o.points, len(POINTS[o.capture])))
            kills += [(f"fail point {p}", lambda p=p: self.fail_at(p)) for p in points]
            kills += connections
            self.rng.shuffle(kills)
        if o.faults == "takeover":
            kills += [("kill -9", self.kill_relay), ("SIGSTOP", self.stop_relay)] * o.kills
        return connections, kills

    def run(self):
        self.begin = time.monotonic()
        for r in self.relays:
            r.start()
        connections, kills = self.plan()
        total = self.options.events
        share = len(connections) / max(1, len(connections) + len(kills))
        if connections:
            self._phase(connections, 0, int(total * share))
            self._settle()
            self.first = self._compare()
            self.excused = sum(r.excused_repeats() for r in self.relays)
            self.allowed += self.excused
            self.say(f"connections only: {self.first.duplicates} duplicates, {self.first.lost} lost")
        self._phase(kills, int(total * share), total)
        written = time.monotonic() - self.begin
        self._settle()
        drained = time.monotonic() - self.begin
        self.report = self._compare()
        for r in self.relays:
            if r.running():
                self._note_peak(r)
        findings = [f for f in (r.findings() for r in self.relays) if f]
        assert not findings, findings[0]
        self.figures = {
            "capture": f"{self.options.capture}, {self.options.emit}", "mode": self.options.mode, "faults": ", ".join(f"{n} {k}" for k, n in self.counts.items() if n) or "none",
            "committed events": self.report.committed, "records read": self.report.records, "lost": self.report.lost,
            "from rolled-back work": self.report.phantoms, "per-key inversions": self.report.inversions,
            "replays with holes": self.report.replay_holes, "keys on two partitions": self.report.split_keys,
            "wrong values": self.report.wrong_values, "wrong headers": self.report.wrong_headers,
            "wrong keys or timestamps": self.report.wrong_keys + self.report.wrong_timestamps,
            "duplicates": self.report.duplicates, "allowed: limit in flight x kills": self.allowed,
            "in flight or unmarked before the kills (metric)": self.unsettled_seen,
            "duplicates after broken connections": f"{self.first.duplicates} ({self.excused} of failed producers)" if connections else "-",
            "writing took": f"{written:.0f} s", "drained after": f"{drained - written:.1f} s more",
            "peak memory of a relay": f"{self.peak_kb / 1024:.1f} MB",
        }
        for kind, times in self.takeovers.items():
            if times:
                self.figures[f"take-over after {kind}"] = f"max {max(times):.2f} s of {len(times)}"

    def _phase(self, faults, begin, end):
        """Write up to `end` events, with the faults spread evenly over the committed count."""
        left = list(faults)
        self.load.events = end

        def between():
            try:
                now = workload.committed(self.database)
            except Exception:  # the server is on its way back
                return
            if left and now >= begin + (end - begin) * (len(faults) - len(left) + 1) // (len(faults) + 1):
                name, strike = left.pop(0)
                self.say(f"{now:>8} committed, {name}")
                strike()

        self.load.run(between=between)
        for name, strike in left:
            self.say(f"late: {name}")
            strike()
        self.load.run()

    def _settle(self):
        end = None

        def settled():
            nonlocal end
            try:
                if self.wal:
                    end = end or self._last_commit()
                    if (self.wal.confirmed(self.slot) or 0) < end:
                        return False
                return self.options.mode == "keep" or self.database.scalar(UNPUBLISHED) == 0
            except psycopg2.Error:
                return False  # the server is on its way back
        eventually(settled, 120, lambda: "everything published\n" + self.relays[0].log_tail())

    def _last_commit(self):
        """A place in the WAL behind everything that is committed, and in front of the end of one more event's transaction."""
        connection = self.database.connect(autocommit=False)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT workload.place(1, 9)")
                cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
                place = lsn(cursor.fetchone()[0])
            connection.commit()
            return place
        finally:
            connection.close()

    def _compare(self):
        return compare(read_truth(self.database), read_topics(self.kafka.brokers, self.topic, timeout=300))

    def _note_peak(self, relay):
        self.peak_kb = max(self.peak_kb, relay.memory_kb())

    def check(self):
        """AssertionError unless every promise held."""
        unseen = [line for r in self.relays for line in r.log_lines("code=EVENT_(UNSEEN|LOOKED_AGAIN)")]
        assert not unseen, "the net cried wolf:\n" + "\n".join(unseen[:5])
        if self.options.faults == "takeover":
            # A relay that wakes up may still send what its socket holds: repeats may stand anywhere (PRODUCT, guarantees).
            report = self.report
            assert report.lost == report.phantoms == report.inversions == report.wrong_values == report.wrong_headers == 0, str(report)
            assert report.duplicates <= self.allowed, str(report)
            assert max(self.takeovers["kill -9"]) <= 5, self.takeovers
            assert max(self.takeovers["SIGSTOP"]) <= LEASE + 5, self.takeovers
            return
        self.report.assert_exact(duplicates=self.allowed)
        if self.options.faults in ("all", "connections"):
            self.first.assert_exact(duplicates=self.excused)

    def close(self):
        self.load.stop()
        for r in self.relays:
            if r.running():
                r.kill()
        self.database.drop()


def table(figures):
    width = max(map(len, figures))
    return "\n".join(f"  {k:<{width}}  {v}" for k, v in figures.items())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--capture", choices=["poll", "wal"], default="poll")
    parser.add_argument("--emit", choices=[workload.ROWS, workload.MESSAGES, workload.BOTH], default=workload.ROWS)
    parser.add_argument("--messages", dest="emit", action="store_const", const=workload.MESSAGES, help="short for --emit messages")
    parser.add_argument("--mode", choices=["mark", "delete", "keep", "both"], default="both", help="on_publish; both: mark, then delete")
    parser.add_argument("--faults", choices=["none", "connections", "all", "takeover"], default="all")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=2, help="rounds of connection faults in each phase")
    parser.add_argument("--points", type=int, default=12, help="fail points to strike")
    parser.add_argument("--in-flight", type=int, default=5000, help="in_flight_events: the repeats that each kill may make")
    parser.add_argument("--relays", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=0, help="repeat with new seeds until this time is up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", dest="verbose", action="store_false")
    options = parser.parse_args()
    if options.capture == "poll" and (options.emit != workload.ROWS or options.mode == "keep"):
        parser.error("messages and --mode keep need --capture wal")
    return options


def one_run(options, servers, failures):
    for mode in ("mark", "delete") if options.mode == "both" else (options.mode,):
        run = Torture(argparse.Namespace(**{**vars(options), "mode": mode}), *servers)
        try:
            print(f"{options.events} events, capture = {options.capture} ({options.emit}), on_publish = {mode}, faults: {options.faults}, seed {options.seed}", flush=True)
            run.run()
            print(table(run.figures), flush=True)
            run.check()
        except AssertionError as e:
            failures.append(f"seed {options.seed}, {options.capture}, {mode}, {options.faults}: {e}")
            print(f"FAILED: {e}", flush=True)
            for r in run.relays:
                print(f"---- {r.log_path}\n{r.log_tail(60)}", flush=True)
        finally:
            run.close()


def main():
    options = arguments()
    directory = tempfile.mkdtemp(prefix="outboxd-torture-")
    os.chmod(directory, 0o755)
    print(f"{outboxd_binary()}", flush=True)
    postgres = PostgresServer(os.path.join(directory, "postgresql")).start()
    kafka = KafkaServer(os.path.join(directory, "kafka")).start()
    failures, runs, begin = [], 0, time.monotonic()
    try:
        postgres.create_roles()
        template = postgres.fresh_database("template")
        migrate(template)
        template.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")
        servers = (postgres, kafka, template.name, directory)
        while True:
            if options.minutes and runs % 3 == 2:
                soak = argparse.Namespace(**{**vars(options), "faults": "takeover", "relays": 3, "kills": 3, "events": 20_000})
            elif options.minutes:
                soak = argparse.Namespace(**{**vars(options), "events": min(options.events, 60_000)})
            else:
                soak = options
            if options.minutes and runs % 2:
                soak = argparse.Namespace(**{**vars(soak), "capture": "wal", "emit": (workload.ROWS, workload.MESSAGES, workload.BOTH)[runs // 2 % 3]})
            one_run(soak, servers, failures)
            runs += 1
            options.seed += 1
            if time.monotonic() - begin >= options.minutes * 60:
                break
    finally:
        postgres.remove()
        kafka.remove()
        if not failures and not os.environ.get("OUTBOXD_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
    for failure in failures:
        print(f"failed: {failure[:2000]}")
    print(f"{runs - min(runs, len(failures))} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
