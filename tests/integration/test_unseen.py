"""An event that the source lost is found by a look at the table, and said, with a way back that works as it is printed."""

import re

import pytest

from conftest import CAPTURES
from support.common import eventually, stays_true
from support.consume import read_topics
from support.postgres import SUPERUSER
from support.wal import PUBLICATION

FAST = {"interval": "200ms"}
NET = {"unseen_after": "1s", "sweep_interval": "500ms"}
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(database, *keys):
    for key in keys:
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


def keys(kafka, topic):
    return [int(r.key) for r in read_topics(kafka.brokers, [topic])]


def wait_unseen(one, count):
    """503, the error in /status, the log and the metric say the same."""
    eventually(lambda: one.metric("unseen_events", pipeline="orders") == count, 20,
               lambda: f"{count} events are unseen, says {one.metric('unseen_events')}\n{one.log_tail()}")
    reason = one.wait_not_ready("EVENT_UNSEEN")
    error = one.status()["pipelines"][0]["error"]
    assert error["code"] == "EVENT_UNSEEN" and error["message"] in reason and error["hint"] in reason
    assert one.metric("unseen_events_found_total") >= count
    return error


def wait_seen(one):
    one.wait_ready()
    eventually(lambda: one.metric("unseen_events") == 0, what="nothing is unseen")
    assert one.status()["pipelines"][0]["error"] is None


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


def unmark(database, count):
    """The lowest rows look as if they had never been published: the log will not bring them again."""
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="they are marked")
    return database.execute("UPDATE outbox.event SET published_at = NULL WHERE seq IN (SELECT seq FROM outbox.event ORDER BY seq LIMIT %s)"
                            " RETURNING seq, event_id", (count,))


def test_wal_what_the_log_does_not_bring_is_said_and_the_way_back_works_as_printed(wal_relay, kafka, database, topic):
    one = wal_relay(NET, monitor=FAST).start()
    emit(database, 0, 1, 2, 3)
    one.wait_published(4)
    lost = sorted(unmark(database, 3))
    error = wait_unseen(one, 3)
    assert f"first: seq {lost[0][0]}, id {lost[0][1]}, type 'order.placed'" in error["message"]
    assert {line.split(" seq=")[1].split()[0] for line in one.log_lines("code=EVENT_UNSEEN ")} == {str(seq) for seq, _ in lost}
    emit(database, 5)
    one.wait_published(5)  # the others go on
    eventually(lambda: database.scalar(UNPUBLISHED) == 3, what="the others are marked")
    stays_true(lambda: database.scalar(UNPUBLISHED) == 3, 1.5, "it never publishes outside of the stream")
    statement = re.search(r"run (SELECT .*?;)", error["hint"]).group(1)
    assert "start it once as: outboxd run --new-slot" in error["hint"]
    one.stop()
    database.execute(statement, user=SUPERUSER)
    one.args.append("--new-slot")
    one.start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: f"the way back works\n{one.log_tail()}")
    wait_seen(one)
    assert sorted(keys(kafka, topic)) == [0, 0, 1, 1, 2, 2, 3, 5]


def test_wal_a_table_that_was_out_of_the_publication_is_never_silent(wal_relay, kafka, database, topic):
    """Either the net or the proof that follows a changed publication says it."""
    one = wal_relay(NET, monitor=FAST).start()
    emit(database, 0)
    one.wait_published(1)
    database.execute(f"ALTER PUBLICATION {PUBLICATION} DROP TABLE outbox.event", user=SUPERUSER)
    emit(database, 1, 2, 3)
    database.execute(f"ALTER PUBLICATION {PUBLICATION} ADD TABLE outbox.event", user=SUPERUSER)
    eventually(lambda: not one.running() or not one.ready()[0], 20, "it is said")
    assert one.log_lines("EVENT_UNSEEN|EVENTS_MISSED|PUBLICATION|level=error| error ")


def test_wal_a_row_that_somebody_unmarked(wal_relay, kafka, database, topic):
    one = wal_relay(NET, monitor=FAST).start()
    emit(database, 0, 1)
    one.wait_published(2)
    unmark(database, 1)
    wait_unseen(one, 1)
    database.execute("UPDATE outbox.event SET published_at = clock_timestamp() WHERE published_at IS NULL")
    wait_seen(one)
    one.wait_log("EVENT_UNSEEN_OVER")
    unmark(database, 1)
    wait_unseen(one, 1)
    database.execute("DELETE FROM outbox.event WHERE published_at IS NULL")
    wait_seen(one)


def test_poll_brings_a_lost_row_back_by_itself(poll_relay, kafka, database, topic):
    one = poll_relay({**NET, "sweep_interval": "10min"}, monitor=FAST).start(fail_at="forget_row:2:error")
    emit(database, 0, 1, 2)
    one.wait_published(3)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="they are marked")
    assert sorted(keys(kafka, topic)) == [0, 1, 2]
    assert one.metric("unseen_events_found_total") == 1 and not one.log_lines("EVENT_UNSEEN")


def test_poll_says_what_it_cannot_bring_back_and_a_restart_does(poll_relay, kafka, database, topic):
    one = poll_relay({**NET, "poll_interval_max": "500ms"}, monitor=FAST).start(fail_at=["forget_row:1:error"] * 16)
    emit(database, 0)
    error = wait_unseen(one, 1)
    assert "A restart of the relay reads every unpublished row again." in error["hint"]
    one.stop()
    one.start()
    one.wait_published(1)
    wait_seen(one)
    assert keys(kafka, topic) == [0]


@pytest.mark.own_broker
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_nothing_is_unseen_while_it_is_paused_or_the_broker_is_away(relay, request, kafka, database, topic, capture):
    if capture == "wal":
        request.getfixturevalue("wal")
    from support.relay import outboxd
    one = relay({**CAPTURES[capture], **NET, "in_flight_events": 10, "batch_events": 5}).start()
    emit(database, 0)
    one.wait_published(1)
    outboxd("pause", "-c", one.config_path, expect=0)
    emit(database, 1, 2, 3)
    stays_true(lambda: one.metric("unseen_events") == 0, 3, "paused", interval=0.2)
    with kafka.away():
        outboxd("resume", "-c", one.config_path, expect=0)
        emit(database, *range(4, 30))  # more than fit
        stays_true(lambda: one.metric("unseen_events") == 0, 4, "stalled", interval=0.2)
    one.wait_published(30, 40)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="they are marked")
    assert one.metric("unseen_events_found_total") == 0 and not one.log_lines("EVENT_UNSEEN")


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_nothing_is_unseen_under_long_and_prepared_transactions_and_blocked_marks(relay, request, kafka, database, topic, capture):
    if capture == "wal":
        request.getfixturevalue("wal")
    one = relay({**CAPTURES[capture], **NET}, monitor=FAST).start()
    emit(database, 0)
    one.wait_published(1)
    late = database.connect(autocommit=False)
    late.cursor().execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    emit(database, *range(2, 40))
    stays_true(lambda: one.metric("unseen_events") == 0, 2, "a transaction stays open")
    late.commit()
    one.wait_published(40)
    holder = database.connect(autocommit=False)
    holder.cursor().execute("SELECT outbox.emit('order.placed', 'order', '40', '{}'); SELECT FROM outbox.event WHERE seq < 0 FOR UPDATE")
    holder.cursor().execute("UPDATE outbox.event SET event_version = 1 WHERE seq = (SELECT min(seq) FROM outbox.event)")
    emit(database, 41)
    stays_true(lambda: one.metric("unseen_events") == 0, 2.5, "rows are locked")
    holder.commit()
    one.wait_published(42)
    assert one.metric("unseen_events_found_total") == 0 and not one.log_lines("EVENT_UNSEEN")


def test_a_backlog_hides_no_forgotten_row(wal_relay, kafka, database, topic):
    """Far behind the oldest hundred: the pages of the look find it."""
    one = wal_relay(NET, monitor={"interval": "100ms"}).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', i::text, '{}') FROM generate_series(1, 250) i")
    one.wait_published(250)
    unmark(database, 250)
    eventually(lambda: one.metric("unseen_events") >= 200, 30, lambda: f"says {one.metric('unseen_events')}")
    assert "or more unpublished events" in one.status()["pipelines"][0]["error"]["message"]
