"""pg_upgrade: another system identifier, the same tables under the same OIDs, a log that begins anew. By polling everything that is unpublished comes; by
the log the pipeline stops and says how to go on, also where the slots came over (from PostgreSQL 17 on; see OUTBOXD_NEWER_POSTGRES in README.md)."""

import os

import pytest

from conftest import CAPTURES, grant_memberships
from support.common import eventually
from support.consume import headers_of, read_topics
from support.postgres import PostgresServer
from support.relay import migrate
from support.trial import Trial
from support.wal import Wal

NEWER = os.environ.get("OUTBOXD_NEWER_POSTGRES", "").split(":")  # major:bin directory with pg_upgrade
HOPS = ["15 to 15"] + (["15 to newer", "newer to newer"] if NEWER[0] else [])
LEFT = {"mark": "SELECT count(*) FROM outbox.event WHERE published_at IS NULL", "delete": "SELECT count(*) FROM outbox.event"}


@pytest.fixture
def server(request, work_directory):
    """The server before; a fixture of each test."""
    made = []

    def make(hop):
        directory = os.path.join(work_directory, f"upgrade-{request.node.callspec.id[:30].replace(' ', '-')}")
        newer = {"major": NEWER[0], "binaries": NEWER[-1]} if hop.startswith("newer") else {}
        made.append(PostgresServer(directory, **newer))
        made[0].start().create_roles()
        return made[0]

    yield make
    for one in made:
        one.remove()


@pytest.mark.own_broker
@pytest.mark.soak
@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("lives", [False, True], ids=["stopped", "lives"])
@pytest.mark.parametrize("capture, on_publish", [("poll", "mark"), ("poll", "delete"), ("wal", "mark"), ("wal", "keep")])
def test_everything_unpublished_comes(relay, kafka, server, prefix, capture, on_publish, lives, hop):
    server = server(hop)
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    wal = Wal(database) if capture == "wal" else None
    moves = wal and hop == "newer to newer"   # such slots come over
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    options = {**CAPTURES[capture], "on_publish": on_publish}
    one = relay(options, dsn=database.dsn()).start()
    trial = Trial(database, one)
    trial.emit(50)
    one.wait_published(50)
    if on_publish in LEFT:
        eventually(lambda: database.scalar(LEFT[on_publish]) == 0, 20, "marked")
    waiting = 0 if moves else 30
    if wal:
        wal.wait_confirmed()
    if not lives:
        one.stop()
        if waiting:
            trial.emit(waiting)
        else:
            wal.advance_slot()   # pg_upgrade refuses a slot that has not read everything, also what the relay itself wrote last
        server.stop()
    elif waiting:
        with kafka.away():
            trial.emit(waiting)
            eventually(lambda: one.metric("inflight_events") >= waiting, 20, "in flight")
            server.stop()
    else:
        pytest.skip("pg_upgrade refuses a slot that has not read what its relay wrote last")
    server.upgrade(*(reversed(NEWER) if hop.endswith("newer") else ()))
    server.start()
    if moves:
        assert wal.slot(), "the slot was copied"
    trial.emit(20)
    if not lives:
        one = relay(options, dsn=database.dsn()).start(wait_ready=False)
    if wal:
        assert one.wait_exit(60) == 4 and one.log_lines("SLOT_OTHER_SYSTEM.*run --new-slot"), one.log_tail()
        one = relay(options, dsn=database.dsn(), args=["--new-slot"]).start(wait_ready=False)
    elif lives:
        one.wait_log("HISTORY_CHANGED", 30)
    trial.emit(10)
    if on_publish in LEFT:
        eventually(lambda: database.scalar(LEFT[on_publish]) == 0, 40, lambda: "all done\n" + one.log_tail())
    else:
        eventually(lambda: len({headers_of(r)["ce_id"] for r in read_topics(kafka.brokers, topic)}) == len(trial.expected), 40, lambda: one.log_tail())
    one.wait_ready()
    # What was in flight is forgotten with the server; where rows are kept, all that the table has is published again.
    again = len(trial.expected) if on_publish == "keep" else waiting if lives else 0
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=again)
    assert one.metric("old_tables_dropped_total") == 0
