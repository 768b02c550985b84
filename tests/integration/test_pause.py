"""`outboxd pause` and `resume`: at once, over restarts and take-overs, for both captures; nothing lost, repeated or out of order."""

import json

import pytest

from conftest import CAPTURES
from support.common import eventually, stays_true
from support.consume import read_topics
from support.postgres import RELAY
from support.relay import migrate, outboxd
from support.wal import SLOT, Wal

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def emit(database, *keys):
    for key in keys:
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


def pause(one, *args, expect=0):
    return outboxd("pause", "-c", one.config_path, *args, expect=expect)


def resume(one, *args, expect=0):
    return outboxd("resume", "-c", one.config_path, *args, expect=expect)


def state(one):
    return one.status()["pipelines"][0]["state"]


def keys(kafka, topic):
    return [int(r.key) for r in read_topics(kafka.brokers, [topic])]


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture(params=["poll", "wal"])
def capture(request, database):
    if request.param == "wal":
        Wal(database)
    return request.param


@pytest.fixture
def maker(relay, capture):
    return lambda pipeline=None, **more: relay({**CAPTURES[capture], **(pipeline or {})}, **more)


def test_pause_takes_effect_at_once_and_resume_goes_on_in_order(maker, kafka, database, topic):
    one = maker(monitor={"interval": "10min"}).start()
    emit(database, 0, 1, 2)
    one.wait_published(3)
    said = pause(one, "--reason", "moving the topic").stdout
    assert "orders is paused: moving the topic" in said and "has stopped publishing" in said
    emit(database, 3, 4, 5)
    assert state(one) == "paused"
    stays_true(lambda: one.published() == 3, 1.0, "nothing is sent while paused")
    assert one.metric("paused", pipeline="orders") == 1
    assert one.metric("pipeline_state", state="paused") == 1 and one.metric("pipeline_state", state="running") == 0
    code, text = one.http("/readyz?verbose")
    assert code == 200 and "pipeline orders is paused by" in text and "moving the topic" in text
    told = one.status()["pipelines"][0]["paused"]
    assert told["reason"] == "moving the topic" and told["by"].startswith("root@") and told["since"].endswith("Z")
    assert "has stopped publishing" not in resume(one).stdout
    one.wait_published(6)
    assert state(one) == "running" and one.metric("paused") == 0 and one.status()["pipelines"][0]["paused"] is None
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, what="all marked")
    assert keys(kafka, topic) == [0, 1, 2, 3, 4, 5]


def test_pause_survives_a_restart_and_the_first_event_is_not_sent(maker, kafka, database, topic):
    one = maker().start()
    emit(database, 0)
    one.wait_published(1)
    pause(one)
    one.stop()
    emit(database, 1, 2)
    for stop in (one.kill, one.stop):
        one.start()
        eventually(lambda: state(one) == "paused", what="it knows that it is paused")
        stays_true(lambda: one.published() == 0, 0.5, "nothing is sent")
        stop()
    one.start()
    resume(one)
    one.wait_published(2)
    assert keys(kafka, topic) == [0, 1, 2]


@pytest.mark.own_broker
def test_what_is_in_flight_settles_and_is_marked(maker, kafka, database, topic):
    one = maker().start()
    emit(database, 0)
    one.wait_published(1)
    with kafka.away():
        emit(database, 1, 2, 3)
        eventually(lambda: one.metric("inflight_events") == 3, what="three are in flight")
        pause(one)
        emit(database, 4)
    eventually(lambda: database.scalar(UNPUBLISHED) == 1, 30, what="what was in flight is marked")
    assert state(one) == "paused"
    resume(one)
    one.wait_published(5)
    assert keys(kafka, topic) == [0, 1, 2, 3, 4]


def test_stop_while_paused_is_clean_and_quick(maker, kafka, database, topic):
    one = maker().start()
    emit(database, 0)
    one.wait_published(1)
    pause(one)
    emit(database, 1)
    one.stop(timeout=10)
    assert keys(kafka, topic) == [0]


def test_standby_that_takes_over_is_paused_too(maker, kafka, database, topic):
    first = maker().start()
    emit(database, 0)
    first.wait_published(1)
    second = maker({"standby_interval": "100ms"}).start()
    eventually(lambda: state(second) == "standby", what="the second stands by")
    pause(first)
    eventually(lambda: second.status()["pipelines"][0]["paused"], what="the standby knows")
    assert state(second) == "standby"
    first.kill()
    eventually(lambda: state(second) == "paused", 30, what="it takes over, paused")
    emit(database, 1)
    stays_true(lambda: second.published() == 0, 0.5, "nothing is sent")
    resume(second)
    second.wait_published(1)
    assert keys(kafka, topic) == [0, 1]


def test_paused_through_a_restart_of_postgres(maker, kafka, database, topic, postgres):
    one = maker().start()
    emit(database, 0)
    one.wait_published(1)
    pause(one)
    postgres.restart()
    emit(database, 1)
    eventually(lambda: state(one) == "paused", 30, what="connected again, and paused")
    assert one.published() == 1
    resume(one)
    one.wait_published(2)
    assert keys(kafka, topic) == [0, 1]


def test_paused_slot_keeps_its_place(wal_relay, kafka, database, wal, topic):
    one = wal_relay().start()
    emit(database, 0)
    one.wait_published(1)
    wal.wait_confirmed()
    pause(one)
    emit(database, 1)
    barrier = wal.now()
    wal.noise(3)
    stays_true(lambda: wal.confirmed() < barrier and wal.slot()["active"], 4.0, "the slot waits and the stream is alive")
    held = wal.now() - wal.slot()["restart_lsn"]
    assert held > 1 << 20
    eventually(lambda: abs(one.metric("slot_retained_wal_bytes", slot=SLOT) - held) < 64 << 10, what="what it holds is shown")
    resume(one)
    one.wait_published(2)
    wal.wait_confirmed()
    assert keys(kafka, topic) == [0, 1]


def test_lag_goes_on_while_paused(maker, kafka, database, topic):
    one = maker(monitor={"interval": "100ms"}).start()
    emit(database, 0)
    one.wait_published(1)
    pause(one)
    emit(database, 1)
    eventually(lambda: one.metric("lag_seconds") > 1, what="lag grows")
    oldest = one.status()["pipelines"][0]["oldest"]
    assert oldest["aggregate_id"] == "1" and oldest["event_type"] == "order.placed"
    resume(one)
    one.wait_published(2)
    eventually(lambda: one.metric("lag_seconds") == 0, what="no lag")


def test_without_a_relay_it_is_noted_for_the_next(relay, kafka, database, topic):
    one = relay()
    said = pause(one).stdout
    assert "no relay answers" in said and "orders is paused" in said
    assert "was paused already" in pause(one).stdout
    emit(database, 0)
    one.start()
    eventually(lambda: state(one) == "paused", what="it starts paused")
    assert "orders is resumed; it had been paused since" in resume(one).stdout
    one.wait_published(1)
    assert "was not paused" in resume(one).stdout


def test_one_of_two_pipelines(relay, kafka, database, prefix, topic):
    migrate(database, "--schema", "audit")
    config = {"name": "shop", "database": {"dsn": database.dsn()}, "kafka": {"brokers": kafka.brokers}, "monitor": {"listen": ""},
              "pipelines": [{"name": "orders", "topic": topic}, {"name": "audit", "topic": topic, "table": "audit.event"}]}
    one = relay(config=config).start()
    wrong = pause(one, "--pipeline", "oders", expect=1)
    assert "did you mean 'orders'" in wrong.stderr
    pause(one, "--pipeline", "audit")
    assert [bool(p["paused"]) for p in one.status()["pipelines"]] == [False, True]
    assert "orders was not paused" in resume(one).stdout
    assert [bool(p["paused"]) for p in one.status()["pipelines"]] == [False, False]


def test_without_the_table_it_says_what_to_do(relay, empty_database):
    one = relay(dsn=empty_database.dsn())
    result = pause(one, expect=2)
    assert "outbox.pause" in result.stderr and "outboxd migrate" in result.stderr


def test_people_with_only_psql(relay, kafka, database, topic):
    one = relay(monitor={"interval": "10min"}).start()
    database.execute("INSERT INTO outbox.pause (pipeline) VALUES ('orders'); NOTIFY outboxd_pause", user=RELAY)
    eventually(lambda: state(one) == "paused", 5, what="paused")
    assert one.status()["pipelines"][0]["paused"]["by"] == RELAY
    database.execute("DELETE FROM outbox.pause; NOTIFY outboxd_pause", user=RELAY)
    eventually(lambda: state(one) == "running", 5, what="running")


def test_relay_that_cannot_ask_publishes(relay, kafka, database, topic):
    """A role that may not read the table: said, and not paused."""
    database.execute("REVOKE ALL ON outbox.pause FROM outbox_relay")
    one = relay().start()
    emit(database, 0)
    one.wait_published(1)
    assert one.metric("watch_up") == 0
    assert len(one.log_lines("WATCH_FAILED")) == 1
    database.execute("GRANT SELECT ON outbox.pause TO outbox_relay")
    one.wait_log("WATCH_RECOVERED")
    assert json.loads(one.http("/status")[1])["pipelines"][0]["paused"] is None
