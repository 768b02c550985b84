"""capture = "tables" under faults: what is in the topics is what was done to the tables, whatever dies."""

import json
import os
import random
import subprocess

import pytest

from conftest import soak
from support.common import eventually
from support.postgres import OWNER, RELAY
from support.table_load import Finding, TableLoad
from support.tables import SLOT
from support.wal import Wal

# name -> (passage at which it strikes, kills that may repeat)
POINTS = {"connect": (1, 0), "locked": (1, 0), "streaming": (1, 0), "in_transaction": (21, 1), "producing": (5, 1), "enqueued": (4, 1), "delivered": (6, 1),
          "settled": (6, 1), "before_mark": (3, 1), "mark_sent": (3, 1), "marked": (3, 1), "feedback_sent": (3, 1)}
CANNOT_FAIL = ("producing", "delivered", "settled")
BACKOFF = {"retry_backoff_min": "20ms", "retry_backoff_max": "200ms"}
IN_FLIGHT = 100     # a batch of the relay is a fifth of it
SIZES = (1, 150, 1, 20, 2, 150, 3, 1, 75, 50, 46, 1)


def wait_in_flight(relay):
    """Until a kill would repeat something: the moment that a fault is for."""
    eventually(lambda: relay.metric("window_events") > 0, 20, relay.log_tail, interval=0.002)


@pytest.fixture
def load(tables):
    return TableLoad(tables)


@pytest.fixture
def behind(load):
    """A relay that is stopped, with transactions behind its position."""
    relay = load.relay(IN_FLIGHT, **BACKOFF).start()
    load.turn(size=30)
    load.wait_arrived(relay)
    relay.stop()
    for number, size in enumerate(SIZES):
        load.turn(me=number % 3, size=size)
        if number % 4 == 2:
            load.cut()
    return relay


def test_the_comparison_sees_what_was_not_done(load):
    relay = load.relay().start()
    load.turn(size=60)
    load.compare(relay)
    seq, = load.database.execute("SELECT max(seq) FROM work.note WHERE t = 'account' AND op <> 'D'")[0]
    load.database.execute("UPDATE work.note SET new = new || '{\"n\": -1}' WHERE seq = %s", (seq,))
    with pytest.raises(Finding, match="account, key"):
        load.compare(relay)
    load.database.execute("DELETE FROM work.note WHERE seq = %s", (seq,))
    with pytest.raises(Finding, match="account, key"):
        load.compare(relay)


@pytest.mark.parametrize("name", POINTS)
def test_killed_at_fail_point(load, behind, name):
    at, kills = POINTS[name]
    behind.start(wait_ready=False, fail_at=f"{name}:{at}:kill").wait_struck()
    behind.start()
    load.turn(size=20)
    load.compare(behind, kills, IN_FLIGHT)


@pytest.mark.parametrize("name", [soak(name) if number % 2 else name for number, name in enumerate(n for n in POINTS if n not in CANNOT_FAIL)])
def test_step_that_fails_is_taken_again_without_repeats(load, behind, name):
    behind.start(wait_ready=False, fail_at=f"{name}:{POINTS[name][0]}:error").wait_struck()
    load.turn(size=20)
    load.compare(behind)
    behind.wait_ready()
    assert behind.metric("events_replayed_total") == 0


@pytest.mark.parametrize("seed, kills, big", [(1, 4, 1500), soak(2, 12, 5000), soak(3, 12, 5000)])
def test_kills_at_any_moment_under_load(load, seed, kills, big):
    """Each client begins with a transaction of `big` statements, many times what may be in flight."""
    dice = random.Random(seed)
    relay = load.relay(**BACKOFF).start()
    with load.running(clients=3, big=big):
        for _ in range(kills):
            load.wait_committed(dice.randint(3, 20))
            wait_in_flight(relay)
            relay.kill()
            relay.start()
    repeats = load.compare(relay, kills)
    print(f"{load.committed} transactions, {kills} kills, {repeats} repeats, nothing lost")


def test_connections_that_are_cut_make_no_repeats(load, tables):
    wal = Wal(tables.database)
    relay = load.relay(**BACKOFF).start()
    with load.running():
        for cut in (lambda: wal.terminate_sender(SLOT), wal.terminate_control, tables.database.terminate_backends, lambda: wal.terminate_sender(SLOT)):
            load.wait_committed(10)
            wait_in_flight(relay)
            cut()
    load.compare(relay)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_restarts(load, postgres, mode):
    relay = load.relay(**BACKOFF).start()
    with load.running():
        load.wait_committed(20)
        wait_in_flight(relay)
        postgres.restart(mode)
        load.wait_committed(20)
    load.compare(relay)
    assert relay.starts == 1 and relay.running()


@pytest.mark.own_broker
def test_the_broker_hangs_and_dies(load, kafka):
    relay = load.relay(in_flight=5000, **BACKOFF).start()
    with load.running(clients=2):
        load.wait_committed(10)
        with kafka.away():
            load.wait_committed(20)
            wait_in_flight(relay)
        load.wait_committed(10)
        kafka.kill()
        load.wait_committed(10)
        wait_in_flight(relay)
        kafka.start()
    load.compare(relay, kills=1 if relay.excused_repeats() else 0, in_flight=5000)


@pytest.mark.parametrize("how", ["stop", "kill", "hang"])
def test_another_relay_takes_over(load, how):
    one, two = (load.relay(standby_interval="200ms", **{**BACKOFF, "lease": "2s"}) for _ in range(2))
    one.start()
    two.start()
    with load.running(clients=2):
        load.wait_committed(15)
        wait_in_flight(one)
        {"stop": one.stop, "kill": one.kill, "hang": one.pause}[how]()
        eventually(lambda: two.metric("leader") == 1, 20, lambda: "the other one publishes\n" + two.log_tail())
        load.wait_committed(15)
        if how == "hang":
            one.resume()
            eventually(lambda: one.metric("leader") == 0, 20, "the woken relay steps back")
        load.wait_committed(10)
    load.compare(two, kills=0 if how == "stop" else 1, in_runs=how != "hang")


# pgbench's own transaction, with the number of rows that it begins with as a variable; the least of pgbench's own is 100,000.
TRANSACTION = """
\\set aid random(1, :accounts)
\\set tid random(1, 10)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""
ROWS = """
INSERT INTO pgbench_branches (bid, bbalance) VALUES (1, 0);
INSERT INTO pgbench_tellers (tid, bid, tbalance) SELECT t, 1, 0 FROM generate_series(1, 10) t;
INSERT INTO pgbench_accounts (aid, bid, abalance, filler) SELECT a, 1, 0, '' FROM generate_series(1, %s) a
"""


@pytest.mark.slow
@pytest.mark.parametrize("accounts, seconds, kills", [(10_000, 3, 2), soak(100_000, 60, 10)])
def test_tables_of_pgbench_are_rebuilt_after_kills(tables, tmp_path, accounts, seconds, kills):
    """At full speed; the rows that it begins with are one transaction."""
    def start(*args):
        database = tables.database
        return subprocess.Popen([os.path.join(database.server.bin, "pgbench"), *args, database.dsn(OWNER)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def ended(process):
        _, said = process.communicate()
        assert process.returncode == 0, said

    ended(start("-q", "-i", "-I", "dtp"))
    keyed = {"pgbench_accounts": "aid", "pgbench_branches": "bid", "pgbench_tellers": "tid"}
    for name in (*keyed, "pgbench_history"):
        tables.database.execute(f"GRANT SELECT ON {name} TO {RELAY}")
        tables.kafka.create_topic(tables.topic(name))
    tables.publish(*keyed, second=("pgbench_history",))
    relay = tables.relay([{"table": "public.pgbench_*"}], snapshot="never", **BACKOFF).start()
    tables.database.execute(ROWS, (accounts,))
    (tmp_path / "transaction.sql").write_text(TRANSACTION, encoding="ascii")
    load = start("-n", "-c", "4", "-T", str(seconds), "-D", f"accounts={accounts}", "-f", str(tmp_path / "transaction.sql"))
    for number in range(1, kills + 1):      # of what it writes, not of what it begins with
        tables.records("pgbench_history", number * 200)
        wait_in_flight(relay)
        relay.kill()
        relay.start()
    ended(load)
    Wal(tables.database, "unused").wait_confirmed(name=SLOT, timeout=120)
    for name in keyed:
        assert tables.state(name) == {json.dumps({keyed[name]: row[keyed[name]]}): row for row, in tables.database.execute(f"SELECT to_jsonb(t) FROM {name} t")}
    history = tables.records("pgbench_history")
    told = {(change["source"]["txId"], change["source"]["lsn"]): change["after"] for change in history}
    kept = tables.database.execute("SELECT tid, bid, aid, delta, (extract(epoch FROM mtime) * 1000000)::bigint FROM pgbench_history")
    assert sorted(tuple(row[name] for name in ("tid", "bid", "aid", "delta", "mtime")) for row in told.values()) == sorted(kept)
    print(f"{len(kept)} transactions, {kills} kills, {len(history) - len(told)} of {len(history)} records of pgbench_history repeated, nothing lost")
