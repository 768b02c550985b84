"""The lag is that of the event that has waited longest, whatever its own time says, whatever the relay is doing; by both captures."""

import time

import pytest

from conftest import CAPTURES, soak
from support.common import comes_to_rest, eventually, stays_true
from support.postgres import RELAY
from support.relay import outboxd
from support.wal import Wal

pytestmark = pytest.mark.by_turns

FAST = {"interval": "200ms", "lag_objective": "1s"}
SLACK = 1.2  # of a look, its second one, and a busy machine
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"

# What the application may write into occurred_at that says nothing about when the row appeared.
TIMES = {"future": "clock_timestamp() + interval '1 day'", "far": "'294276-12-31'", "infinite": "'infinity'", "minus infinite": "'-infinity'",
         "ancient": "'4713-01-01 BC'", "old": "clock_timestamp() - interval '30 days'", "missing": "NULL", "now": "clock_timestamp()"}


@pytest.fixture(params=["poll", "wal"])
def capture(request, database):
    if request.param == "wal":
        Wal(database)
    return request.param


def times(poll, wal):
    """The times tried quickly by each capture; all others in soak."""
    return pytest.mark.parametrize("capture, when", [(pytest.param if when in quick else soak)(capture, when, id=f"{capture}-{when}")
                                                     for capture, quick in (("poll", poll), ("wal", wal)) for when in TIMES], indirect=["capture"])


@pytest.fixture
def maker(relay, capture):
    return lambda pipeline=None, monitor=FAST, **more: relay({**CAPTURES[capture], **(pipeline or {})}, monitor=monitor, **more)


@pytest.fixture(autouse=True)
def any_time(database):
    """Tables of others hold any time; ours would refuse some."""
    database.execute("ALTER TABLE outbox.event DROP CONSTRAINT event_occurred_at_finite, ALTER occurred_at DROP NOT NULL")


def emit(database, *keys, at="clock_timestamp()", kind="order"):
    """Commits one event after the other; when each was there, by our clock."""
    times = []
    for key in keys:
        database.execute("INSERT INTO outbox.event (event_id, event_type, aggregate_type, aggregate_id, payload, occurred_at)"
                         f" VALUES (gen_random_uuid(), 'order.placed', %s, %s, '{{}}', {at})", (kind, str(key)))
        times.append(time.monotonic())
    return times


def lag(one):
    return one.metric("lag_seconds", pipeline="orders")


def wait_lag_of(one, appeared, for_seconds, slack=SLACK):
    """The lag is, and stays for so long, the time since `appeared`."""
    def right():
        before = time.monotonic()
        now = lag(one)
        after = time.monotonic()
        assert before - appeared - slack <= now <= after - appeared + slack, (
            f"lag is {before - appeared:.2f} to {after - appeared:.2f}, says {now}: {one.status()['pipelines'][0]}")
        return True
    eventually(right, 10, "the lag is right")
    stays_true(right, for_seconds)


def wait_nothing_waits(one):
    eventually(lambda: one.metrics().has("outboxd_lag_seconds") and lag(one) == 0 and one.status()["pipelines"][0]["oldest"] is None, 20,
               lambda: f"nothing waits, says {one.status()['pipelines'][0]}")


@pytest.mark.own_broker
@times(poll={"future", "missing", "old", "far"}, wal={"infinite", "missing", "ancient", "minus infinite", "now"})
def test_while_the_broker_is_away_no_time_hides_or_burns(maker, kafka, database, prefix, when):
    kafka.create_topic(f"{prefix}.order")
    one = maker().start()
    emit(database, 0)
    one.wait_published(1)
    wait_nothing_waits(one)
    eventually(lambda: one.metric("watch_up") == 1, what="a look has shown that the next row was not there")
    late = one.metric("lag_late_seconds_total")
    with kafka.away():
        appeared = emit(database, 1, at=TIMES[when])[0]
        wait_lag_of(one, appeared, 2.5)
        status = one.status()["pipelines"][0]
        assert status["oldest"]["aggregate_id"] == "1" and status["lag_seconds"] > 2
        eventually(lambda: one.metric("lag_late_seconds_total") > late, what="the budget burns")
        assert one.metric("lag_late_seconds_total") - late <= time.monotonic() - appeared + 1
        assert outboxd("status", "-c", one.config_path, "--fail-if-late").returncode != 0
    one.wait_published(2, 40)
    wait_nothing_waits(one)


@pytest.mark.parametrize("when, interval", [("infinite", "200ms"), ("old", "60s"), soak("future", "60s"), soak("future", "200ms"),
                                            soak("infinite", "60s"), soak("old", "200ms")])
def test_while_its_topic_is_missing(maker, kafka, database, prefix, when, interval):
    """The event leaves memory to wait in its row; it counts at once, whenever the next look is (which a slow one puts off)."""
    one = maker(monitor={**FAST, "interval": interval}).start()
    eventually(lambda: one.metric("watch_up") == 1, what="it looks")
    appeared = emit(database, 1, at=TIMES[when], kind="missing")[0]
    eventually(lambda: one.metric("waiting_events") == 1, what="it waits in its row")
    wait_lag_of(one, appeared, 2.5)
    assert one.status()["pipelines"][0]["oldest"]["aggregate_id"] == "1"
    kafka.create_topic(f"{prefix}.missing")
    one.wait_published(1, 40)
    wait_nothing_waits(one)


@pytest.mark.own_broker
def test_a_table_without_a_time(relay, empty_database, kafka, prefix):
    kafka.create_topic(f"{prefix}.order")
    empty_database.execute('CREATE TABLE box (seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY, id uuid, kind text, subject text, '
                           'body jsonb, sent timestamptz)')
    empty_database.execute(f"GRANT SELECT, UPDATE ON box TO {RELAY}")
    empty = dict.fromkeys(("event_version", "aggregate_type", "aggregate_version", "payload_bytes", "content_type", "correlation_id",
                           "causation_id", "traceparent", "headers", "topic", "occurred_at"), "")
    one = relay({"table": "public.box", "topic": f"{prefix}.order", "columns": {
        **empty, "seq": "seq", "event_id": "id", "event_type": "kind", "aggregate_id": "subject", "payload": "body", "published_at": "sent"}},
        dsn=empty_database.dsn(), monitor=FAST).start()
    insert = "INSERT INTO box (id, kind, subject, body) VALUES (gen_random_uuid(), 'a', 'k', '{}')"
    empty_database.execute(insert)
    one.wait_published(1)
    wait_nothing_waits(one)
    with kafka.away():
        empty_database.execute(insert)
        appeared = time.monotonic()
        wait_lag_of(one, appeared, 2)
    one.wait_published(2, 40)
    wait_nothing_waits(one)


@times(poll={"future"}, wal={"now", "old"})
def test_paused_it_is_right_at_once(maker, kafka, database, prefix, when):
    kafka.create_topic(f"{prefix}.order")
    one = maker(monitor={"interval": "60s", "lag_objective": "1s"}).start()
    emit(database, 0)
    one.wait_published(1)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="it is marked")
    outboxd("pause", "-c", one.config_path, expect=0)
    appeared = emit(database, *range(1, 21), at=TIMES[when])[0]
    wait_lag_of(one, appeared, 2, slack=2)  # rows are looked at each second while it is paused
    outboxd("resume", "-c", one.config_path, expect=0)
    one.wait_published(21)
    wait_nothing_waits(one)


def test_events_that_wait_when_it_is_paused_are_known_at_once(maker, kafka, database, prefix):
    """A busy relay is paused in the middle of a backlog: what is left counts, what it had published does not."""
    kafka.create_topic(f"{prefix}.order")
    one = maker(monitor={"interval": "60s"}).start()
    emit(database, 0)
    one.wait_published(1)
    appeared = time.monotonic()  # their own times are from here until they are committed
    database.execute("SELECT outbox.emit('order.placed', 'order', i::text, '{}') FROM generate_series(1, 20000) i")
    took = time.monotonic() - appeared
    outboxd("pause", "-c", one.config_path, expect=0)
    comes_to_rest(one.published, 0.5, 20, "what was in flight is settled")
    if one.published() < 20001:
        wait_lag_of(one, appeared, 2, slack=2 + took)
    else:
        wait_nothing_waits(one)
    outboxd("resume", "-c", one.config_path, expect=0)
    one.wait_published(20001, 40)
    wait_nothing_waits(one)


@pytest.mark.own_broker
def test_stalled_it_is_never_the_age_of_a_published_event(maker, kafka, database, prefix):
    """98 s old events were published; then the broker goes away under young ones."""
    kafka.create_topic(f"{prefix}.order")
    one = maker(monitor={"interval": "5s", "lag_objective": "1s"}).start()
    for round in range(3):
        emit(database, *range(round * 20, round * 20 + 20), at="clock_timestamp() - interval '98 s'")
        one.wait_published(20 * round + 20)
    with kafka.away():
        appeared = emit(database, 100)[0]
        eventually(lambda: one.status()["pipelines"][0]["state"] == "stalled", 30, what="it is stalled")
        wait_lag_of(one, appeared, 3, slack=2)
    one.wait_published(61, 40)
    wait_nothing_waits(one)


@pytest.mark.own_broker
def test_draining_it_is_right(maker, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = maker(shutdown_timeout="8s").start()
    emit(database, *range(20), at="clock_timestamp() - interval '98 s'")
    one.wait_published(20)
    wait_nothing_waits(one)
    with kafka.away():
        appeared = emit(database, 20)[0]
        eventually(lambda: one.metric("inflight_events") == 1, what="it is in flight")
        one.signal(15)
        eventually(lambda: one.status()["pipelines"][0]["state"] == "draining", what="it drains")
        more = emit(database, 21)[0]
        wait_lag_of(one, appeared, 2)
        assert more > appeared
    one.wait_exit(30)


def test_after_a_restart_the_rows_own_time_counts_and_without_one_the_first_look(maker, kafka, database, prefix):
    one = maker().start()
    eventually(lambda: one.metric("watch_up") == 1, what="it looks")
    old = emit(database, 1, at="clock_timestamp() - interval '1 hour'", kind="missing")[0]
    wait_lag_of(one, old, 0.5)
    one.stop()
    one.start(wait_ready=False)
    eventually(lambda: lag(one) > 3599, 20, lambda: f"its own time counts, says {lag(one)}")
    one.stop()
    database.execute("UPDATE outbox.event SET occurred_at = clock_timestamp() + interval '1 day'")
    one.start(wait_ready=False)
    begun = time.monotonic()
    eventually(lambda: one.metric("watch_up") == 1 and lag(one) > 1.5, 20, lambda: f"it counts from the first look, says {lag(one)}")
    assert lag(one) <= time.monotonic() - begun + 1


@pytest.mark.own_broker
@times(poll={"future"}, wal={"old"})
def test_a_standby_follows_the_same_rules(maker, kafka, database, prefix, when):
    kafka.create_topic(f"{prefix}.order")
    first = maker().start()
    emit(database, 0)
    first.wait_published(1)
    second = maker().start()
    eventually(lambda: second.status()["pipelines"][0]["state"] == "standby", what="the second stands by")
    wait_nothing_waits(second)
    with kafka.away():
        appeared = emit(database, 1, at=TIMES[when])[0]
        eventually(lambda: lag(second) > 1, 20, lambda: f"the standby knows, says {lag(second)}")  # from its second look on
        wait_lag_of(second, appeared, 2, slack=2)
    first.wait_published(2, 40)
    wait_nothing_waits(second)


@pytest.mark.own_broker
def test_the_clock_of_the_relays_machine_does_not_matter(maker, kafka, database, prefix):
    """The server's clock is not ours to turn: the row's time is, by as much as clocks may differ."""
    kafka.create_topic(f"{prefix}.order")
    one = maker().start()
    emit(database, 0)
    one.wait_published(1)
    with kafka.away():
        appeared = emit(database, 1, at="clock_timestamp() + interval '3 s'")[0]
        wait_lag_of(one, appeared, 5)  # also when that time is over
    one.wait_published(2, 40)


def test_old_times_under_load_do_not_burn_the_budget(maker, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order", partitions=3)
    one = maker(monitor={"interval": "5s", "lag_objective": "5s"}).start()
    emit(database, 0)
    one.wait_published(1)
    begun = time.monotonic()
    for i in range(20):
        database.execute("SELECT outbox.emit('order.placed', 'order', i::text, '{}', occurred_at => clock_timestamp() - interval '30 days')"
                         " FROM generate_series(1, 500) i")
        assert lag(one) < time.monotonic() - begun + 6
    one.wait_published(10001, 60)
    wait_nothing_waits(one)
    # No event has waited for longer than all of it took; on a machine that is free nothing is late at all.
    assert one.metric("lag_late_seconds_total") <= max(1, time.monotonic() - begun - 5)
