"""Data gaps: the slot is gone, lost, moved, or not ours. The relay stops with exit code 4 and touches nothing; --new-slot goes on."""

import re

import pytest

from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.wal import SLOT

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(database, key, function="emit"):
    database.execute(f"SELECT outbox.{function}('order.placed', 'order', %s, '{{}}')", (str(key),))


def keys(records):
    return [r.key.decode() for r in records]


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


def lose_slot(wal):
    """max_slot_wal_keep_size is exceeded at a checkpoint."""
    with wal.server.configured(max_slot_wal_keep_size="1MB"):
        def lost():
            wal.noise()
            wal.server.execute("SELECT pg_switch_wal()")
            wal.server.execute("CHECKPOINT")
            slot = wal.slot()
            return slot is None or slot["wal_status"] == "lost"
        eventually(lost, 30, "the slot is lost")


def recreate(wal):
    wal.drop_slot()
    wal.make_slot()


def set_position(assignment):
    return lambda wal: wal.database.execute(f"UPDATE outbox.position SET {assignment}")


GAPS = {
    "SLOT_MISSING": lambda wal: wal.drop_slot(),
    "SLOT_LOST": lose_slot,
    "SLOT_OTHER_SYSTEM": set_position("system_id = '1234567890123456789'"),
    "SLOT_OTHER_TIMELINE": set_position("timeline = timeline + 1"),
    "SLOT_OTHER_NAME": set_position("slot = 'outboxd_elsewhere'"),
    "SLOT_AHEAD recreated": recreate,
    "SLOT_AHEAD advanced": lambda wal: wal.advance_slot(),
}


@pytest.mark.slow
def test_gap_stops_the_relay_and_new_slot_closes_it_from_unpublished_rows(wal_relay, kafka, database, wal, topic):
    """One gap after another, in one database."""
    one = wal_relay().start()
    expected = []

    def comes(*new):
        expected.extend(new)
        assert keys(wait_for_records(kafka.brokers, topic, len(expected))) == expected

    for gap, opens in GAPS.items():
        emit(database, f"{gap}: before")
        comes(f"{gap}: before")
        wal.wait_confirmed()
        one.stop()
        in_the_gap = [f"{gap}: in the gap {n}" for n in range(3)]
        for key in in_the_gap[:2]:
            emit(database, key)
        opens(wal)
        emit(database, in_the_gap[2])
        slot, position, said = wal.slot(), wal.position(), len(one.log_lines())
        for _ in range(2):
            one.start(wait_ready=False)
            assert one.wait_exit() == 4, one.log_tail()
            code, lines = gap.split(" ")[0], one.log_lines()[said:]
            assert any(re.search(rf"\b{code}\b", line) for line in lines), one.log_tail()
            assert any("--new-slot" in line for line in lines), "the remedy"
            assert keys(read_topics(kafka.brokers, topic)) == expected, "nothing is published"
            assert wal.position() == position and database.scalar(UNPUBLISHED) == 3, "nothing is touched"
            after = wal.slot()
            assert (after is None) == (slot is None) and (after is None or after["restart_lsn"] == slot["restart_lsn"])
        two = wal_relay(args=["--new-slot"]).start()
        assert two.log_lines("GAP_ACCEPTED"), two.log_tail()
        emit(database, f"{gap}: after")
        comes(*in_the_gap, f"{gap}: after")
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")
        wal.wait_confirmed()
        two.stop()
        one.start()
        assert wal.position()["slot"] == SLOT
    emit(database, "ordinary start")
    comes("ordinary start")


@pytest.mark.parametrize("options", [{"on_publish": "keep"}, {"messages": True}, {"on_publish": "delete"}], ids=["keep", "messages", "delete"])
def test_new_slot_says_what_may_be_missing_where_rows_cannot_tell(wal_relay, kafka, database, wal, topic, options):
    one = wal_relay(options).start()
    emit(database, "before")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    one.stop()
    if options.get("messages"):
        emit(database, "lost", "emit_message")
    emit(database, "row in the gap")
    wal.drop_slot()
    one.start(wait_ready=False)
    assert one.wait_exit() == 4
    two = wal_relay(options, args=["--new-slot"]).start()
    said = two.log_lines("GAP_ACCEPTED")
    assert said, two.log_tail()
    if options.get("messages"):
        assert "message" in said[0], said
    emit(database, "after")
    found = eventually(lambda: (k := keys(read_topics(kafka.brokers, topic))) and k[-1] == "after" and k, 20, "the relay goes on")
    assert found[0] == "before" and "lost" not in found
    if options.get("on_publish") != "keep":
        assert found == ["before", "row in the gap", "after"]


def test_slot_dropped_under_a_running_relay_stops_it_with_exit_4(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    emit(database, "before")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    wal.drop_slot_under_the_reader()
    assert one.wait_exit() == 4
    assert one.log_lines("SLOT_MISSING"), one.log_tail()


@pytest.mark.own_broker
def test_slot_lost_under_a_running_relay_stops_it_with_exit_4(wal_relay, kafka, database, wal, topic):
    """The broker is away, the slot holds WAL, and PostgreSQL's patience ends."""
    one = wal_relay().start()
    emit(database, "before")
    wait_for_records(kafka.brokers, topic, 1)
    with kafka.away():
        emit(database, "in flight")
        eventually(lambda: one.metric("inflight_events") >= 1, what="it was read")
        lose_slot(wal)
    assert one.wait_exit(60) == 4  # what the broker has is settled first
    assert one.log_lines("SLOT_LOST"), one.log_tail()
    two = wal_relay(args=["--new-slot"]).start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "nothing is lost: the row was there")
    assert "in flight" in keys(read_topics(kafka.brokers, topic))
    two.stop()


def test_other_pipelines_go_on_beside_a_gap_and_readyz_says_why(wal_relay, relay, kafka, database, wal, topic, prefix):
    from support.relay import configuration
    one = wal_relay().start()
    emit(database, "before")
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    one.stop()
    wal.drop_slot()
    database.execute("CREATE TABLE public.other (LIKE outbox.event INCLUDING ALL); GRANT SELECT, UPDATE ON public.other TO shop_relay")
    other = kafka.create_topic(f"{prefix}.other")
    two = relay(config=configuration(database.dsn(), kafka.brokers, pipelines=[
        {"name": "orders", "capture": "wal", "table": "outbox.event", "topic": topic},
        {"name": "others", "capture": "poll", "table": "public.other", "topic": other}])).start(wait_ready=False)
    two.wait_not_ready("SLOT_MISSING|slot")
    database.execute("INSERT INTO other (event_type, aggregate_type, aggregate_id, payload) VALUES ('a', 'b', 'c', '{}')")
    assert keys(wait_for_records(kafka.brokers, other, 1)) == ["c"]
    assert two.metric("pipeline_state", pipeline="orders", state="failed") == 1
    assert two.metric("pipeline_state", pipeline="others", state="running") == 1


def test_new_slot_without_a_gap_loses_and_repeats_nothing(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    emit(database, 1)
    wait_for_records(kafka.brokers, topic, 1)
    wal.wait_confirmed()
    one.stop()
    emit(database, 2)
    two = wal_relay(args=["--new-slot"]).start()
    emit(database, 3)
    assert keys(wait_for_records(kafka.brokers, topic, 3)) == ["1", "2", "3"]
    wal.wait_confirmed()
    assert len(read_topics(kafka.brokers, topic)) == 3
    two.stop()


def test_a_start_that_stops_at_a_gap_has_noted_that_it_took_the_table(wal_relay, database, wal):
    """As the comment of outbox.publisher says: its row tells who took the table last, which may be more than who published."""
    one = wal_relay().start()
    wal.wait_active()
    one.stop()
    wal.drop_slot()
    database.execute("DELETE FROM outbox.publisher")
    one.start(wait_ready=False)
    assert one.wait_exit() == 4
    assert database.scalar("SELECT pipeline FROM outbox.publisher") == "orders"
    comment = database.scalar("SELECT obj_description('outbox.publisher'::regclass)")
    assert "by polling or from the WAL" in comment and "also at a start that stops then" in comment
