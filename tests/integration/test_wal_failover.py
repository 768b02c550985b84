"""Failover slots of PostgreSQL 17: the slot comes over to the new primary, and the relay goes on by itself (issue 9, history)."""

import pytest

from conftest import pair_database as database  # noqa: F401
from conftest import soak
from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.trial import Trial
from support.wal import SLOT

pytestmark = pytest.mark.parametrize("pair_servers", ["17"], indirect=True)
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


def done(database, one):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "all published\n" + one.log_tail())


@pytest.mark.parametrize("alive, on_publish", [
    pytest.param(True, "mark", id="alive-mark"), pytest.param(False, "delete", id="restarted-delete"), pytest.param(False, "keep", id="restarted-keep"),
    soak(True, "delete", id="alive-delete"), soak(True, "keep", id="alive-keep"), soak(False, "mark", id="restarted-mark")])
def test_a_slot_that_came_over_goes_on_and_loses_nothing(wal_relay, wal, pair, database, kafka, topic, alive, on_publish):  # noqa: F811
    pair.make_failover_slot(database, SLOT)
    pair.logical_waits_for_standby()
    one = wal_relay({"on_publish": on_publish}).start()
    trial = Trial(database, one)
    try:
        trial.emit(200)
        wait_for_records(kafka.brokers, topic, 200)
        wal.wait_confirmed()
        pair.sync_slots(SLOT, advance=wal.noise)
        trial.emit(50)
        wait_for_records(kafka.brokers, topic, 250)
        eventually(lambda: not pair.catch_up(), 20, "the standby has it all")
        if not alive:
            one.stop()
        with trial:
            pair.promote()
            pair.logical_waits_for_standby(False)
            if not alive:
                one.start()
            trial.emit(100)
            wait_for_records(kafka.brokers, topic, 350, timeout=60)
            if on_publish != "keep":
                done(database, one)
            trial.emit(50)
        eventually(lambda: len({headers_of(r)["ce_id"] for r in read_topics(kafka.brokers, topic)}) == 400, 40, lambda: "all arrived\n" + one.log_tail())
    finally:
        pair.logical_waits_for_standby(False)
    result = trial.result(read_topics(kafka.brokers, topic))
    print(result)
    result.assert_none_lost(duplicates=250)
    assert one.running() and one.log_lines("SLOT_FAILED_OVER"), one.log_tail()
    assert wal.position()["timeline"] == pair.timeline()
    wal.wait_confirmed()
