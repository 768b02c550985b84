"""Twenty replicas of an application, each with its relay: what they cost the database, and what a supervisor's restarts change."""

import collections
import os

import pytest

from conftest import CAPTURES, soak
from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.postgres import RELAY, SUPERUSER
from support.prometheus import Prometheus
from support.relay import ROOT
from support.wal import SLOT

REPLICAS = 20
GUIDE = os.path.join(ROOT, "packaging", "guide", "sidecar.md")
# The numbers of that page.
ACTIVE = {"poll": 3, "wal": 3}
STANDBY = {"poll": 2, "wal": 2}
SENDERS = {"poll": 0, "wal": 1}


def sessions(database):
    """Sessions of the relays by kind, as PostgreSQL counts them against max_connections (a logical walsender is one, too)."""
    rows = database.execute("SELECT backend_type, count(*) FROM pg_stat_activity WHERE usename = %s AND datname = %s GROUP BY 1", (RELAY, database.name),
                            user=SUPERUSER)
    return collections.Counter(dict(rows))


@pytest.mark.slow
@pytest.mark.parametrize("capture", CAPTURES)
def test_connections_of_twenty_sidecars_are_as_documented(capture, relay, request, kafka, database, prefix):
    if capture == "wal":
        request.getfixturevalue("wal")
    topic = kafka.create_topic(f"{prefix}.order")
    options = {**CAPTURES[capture], "standby_interval": "500ms"}

    def settled(active, standby):
        seen = sessions(database)
        return seen["client backend"] + seen["walsender"] == active + standby and seen

    relays = [relay(options).start()]
    seen = eventually(lambda: settled(ACTIVE[capture], 0), what=lambda: f"one relay has {ACTIVE[capture]} sessions, has {sessions(database)}")
    assert seen["walsender"] == SENDERS[capture]
    for one in [relay(options) for _ in range(REPLICAS - 1)]:
        relays.append(one.start(wait_ready=False))
    for one in relays:
        one.wait_ready(60)
    expected = STANDBY[capture] * (REPLICAS - 1)
    seen = eventually(lambda: settled(ACTIVE[capture], expected), what=lambda: f"{ACTIVE[capture] + expected} sessions, has {sessions(database)}")
    print(f"{capture}: {seen}, {ACTIVE[capture]} + {REPLICAS - 1} * {STANDBY[capture]}")
    assert seen["walsender"] == SENDERS[capture]
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    assert sum(one.metric("leader") for one in relays) == 1
    with open(GUIDE, encoding="utf-8") as f:
        text = f.read()
    assert f'| `capture = "{capture}"` | {ACTIVE[capture]} | {STANDBY[capture]} | {ACTIVE[capture] + expected} |' in text
    both = {5: "five"}[ACTIVE[capture] + STANDBY[capture]]
    assert f"| connections to the database | grow with the replicas | {both}, for one pipeline |" in text


# -- restarts on exit code 4 -----------------------------------------------------------------------------------------

RESTARTS = 20


def everything(database, wal):
    """All that a relay could have changed, as text: rows of every table of the schema, the slot, publications and roles' memberships."""
    tables = [name for name, in database.execute("SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1")]
    assert {"event", "position", "publisher"} <= set(tables)
    tables.remove("publisher")   # who claimed the table last: each start does
    rows = {name: database.execute(f"SELECT t.ctid::text, t.xmin::text, t.*::text FROM outbox.{name} t ORDER BY 1", user=SUPERUSER) for name in tables}
    slot = wal.slot()
    if slot:
        # What the server itself does to a slot that nobody reads.
        slot = {name: value for name, value in slot.items() if name not in ("safe_wal_size", "wal_status")}
    return rows, slot, database.execute("SELECT pubname, puballtables, pubinsert FROM pg_publication ORDER BY 1")


@pytest.mark.parametrize("gap", ["SLOT_MISSING", soak("SLOT_AHEAD")])   # two starts on each gap: test_wal_gaps
def test_twenty_restarts_on_exit_code_4_change_nothing_and_an_alert_is_on_its_way(gap, wal_relay, kafka, database, wal, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay().start()
    database.execute("SELECT outbox.emit('order.placed', 'order', 'before', '{}')")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    one.stop()
    database.execute("SELECT outbox.emit('order.placed', 'order', 'in the gap', '{}')")
    wal.drop_slot()
    if gap == "SLOT_AHEAD":
        wal.make_slot()
    before = everything(database, wal)

    def alert(prometheus):
        return next(iter(prometheus.rules()["OutboxdDown"]["alerts"]), None)

    with Prometheus([one]) as prometheus:
        for _ in range(RESTARTS):
            assert one.start(wait_ready=False).wait_exit() == 4, one.log_tail()
        # It waits for two minutes in which the relay did not answer: test_rules.py has the clock for that.
        eventually(lambda: alert(prometheus), what="the alert OutboxdDown is pending")
        assert alert(prometheus)["state"] == "pending"
    assert len(one.log_lines(rf"\b{gap}\b.*--new-slot|{gap}\b")) >= RESTARTS, one.log_tail()
    for now, then in zip(everything(database, wal), before, strict=True):
        assert now == then
    assert [r.key.decode() for r in read_topics(kafka.brokers, topic)] == ["before"]
    if gap == "SLOT_AHEAD":
        assert not wal.slot(SLOT)["active"]
    # An operator's answer is the only way out, and it loses nothing.
    wal_relay(args=["--new-slot"]).start()
    assert [r.key.decode() for r in wait_for_records(kafka.brokers, topic, 2)] == ["before", "in the gap"]


def test_restarts_of_a_polling_relay_that_may_not_start_change_nothing(relay, kafka, database, prefix):
    """Its sibling: a privilege is missing (exit code 2)."""
    kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    database.execute(f"REVOKE outbox_relay FROM {RELAY}", user=SUPERUSER)
    try:
        one = relay()
        before = database.execute("SELECT ctid::text, xmin::text, e.*::text FROM outbox.event e")
        for _ in range(5):
            assert one.start(wait_ready=False).wait_exit() == 2, one.log_tail()
        assert database.execute("SELECT ctid::text, xmin::text, e.*::text FROM outbox.event e") == before
    finally:
        database.execute(f"GRANT outbox_relay TO {RELAY}", user=SUPERUSER)
