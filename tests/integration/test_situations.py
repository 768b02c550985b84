"""Ten things that go wrong, or only look so: what `outboxd status`, /readyz and /metrics say of each, and that all three agree.

With OUTBOXD_SITUATIONS=FILE each test appends what it saw to that file.
"""

import os
from types import SimpleNamespace

import pytest

from support.common import eventually, stays_true
from support.consume import wait_for_records
from support.relay import configuration, outboxd

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
BIG = '"' + "x" * 5000 + '"'
MONITOR = {"lag_objective": "2s", "interval": "500ms"}
QUICK = {"sweep_interval": "500ms"}


def emit(database, key, payload="{}", aggregate="order"):
    database.execute("SELECT outbox.emit('order.placed', %s, %s, %s)", (aggregate, str(key), payload))


def look(one, situation, pipeline="orders"):
    """What all three say of a pipeline at one time; checks what must always agree."""
    metrics = one.metrics()
    code, reason = one.http("/readyz")
    shown = outboxd("status", "-c", one.config_path)
    late = outboxd("status", "-c", one.config_path, "--fail-if-late")
    status = one.status()
    found = next(p for p in status["pipelines"] if p["name"] == pipeline)
    states = {dict(labels)["state"] for (name, labels), value in metrics.items()
              if name == "outboxd_pipeline_state" and value == 1 and dict(labels)["pipeline"] == pipeline}
    assert states == {found["state"]}, "the metric and the status name the same state"
    assert (code == 200) == status["ready"], reason
    assert found["state"].upper() in shown.stdout.upper()
    error = found["error"]
    if error:
        assert error["message"] in shown.stdout and error["hint"] in shown.stdout and error["code"] in reason + shown.stdout + error["code"]
        assert error["hint"], "an error has a remedy"
    seen = SimpleNamespace(ready=code == 200, reason=reason, exit=shown.returncode, screen=shown.stdout, late_exit=late.returncode,
                           late=late.stderr, pipeline=found, state=found["state"], code=error and error["code"], status=status, metrics=metrics)
    if os.environ.get("OUTBOXD_SITUATIONS"):
        gauges = {name.removeprefix("outboxd_"): value for (name, labels), value in sorted(metrics.items(), key=str)
                  if dict(labels).get("pipeline") == pipeline and set(dict(labels)) == {"pipeline"} and name.removeprefix("outboxd_") in (
                      "lag_seconds", "backlog_events", "inflight_events", "leader", "pg_connected", "kafka_connected", "dead_letters", "paused",
                      "oldest_transaction_age_seconds", "lag_late_seconds_total")}
        with open(os.environ["OUTBOXD_SITUATIONS"], "a", encoding="utf-8") as f:
            f.write(f"== {situation}\n/readyz {code} {reason.strip()}\nstatus exits {seen.exit}, --fail-if-late {seen.late_exit} {seen.late.strip()}\n"
                    f"metrics {gauges}\n{seen.screen}\n")
    return seen


def gauge(seen, name, **labels):
    return seen.metrics.total(f"outboxd_{name}", **{"pipeline": "orders", **labels})


@pytest.fixture(params=["poll", "wal"])
def either_relay(request):
    """The relay of each capture, with an objective of 2 s."""
    make = request.getfixturevalue(f"{request.param}_relay")
    quick = QUICK if request.param == "poll" else {}
    return lambda pipeline=None, **more: make({**quick, **(pipeline or {})}, monitor=dict(MONITOR), **more)


@pytest.fixture
def two_pipelines(relay, kafka, database, prefix):
    """two_pipelines(options of "orders") -> a relay with a healthy second pipeline, so that it lives on when the first one stops."""
    def make(options):
        database.execute("CREATE TABLE public.other (LIKE outbox.event INCLUDING ALL); GRANT SELECT, UPDATE ON public.other TO shop_relay")
        other = kafka.create_topic(f"{prefix}.other")
        return relay(config=configuration(database.dsn(), kafka.brokers, monitor=dict(MONITOR), pipelines=[
            {"name": "orders", "topic": prefix + ".${aggregate_type}", **options},
            {"name": "others", "table": "public.other", "topic": other}]))
    return make


def assert_recovered(one, situation):
    one.wait_ready(40)
    eventually(lambda: one.metric("lag_seconds") == 0 and one.metric("inflight_events") == 0, 20, "no lag any more")
    seen = look(one, f"{situation}, mended")
    assert (seen.state, seen.exit, seen.late_exit, seen.code) == ("running", 0, 0, None), seen.screen
    assert gauge(seen, "kafka_connected") == 1 and gauge(seen, "pg_connected") == 1


@pytest.mark.own_broker
def test_broker_down(either_relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = either_relay().start()
    emit(database, 1)
    one.wait_published(1)
    kafka.kill()
    try:
        emit(database, 2)
        one.wait_not_ready("KAFKA_UNREACHABLE", 40)
        eventually(lambda: one.metric("lag_seconds") > 2 and one.metric("inflight_events") == 1, 20, "lag grows")
        seen = look(one, "broker down")
        assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("stalled", "KAFKA_UNREACHABLE", 3, 3, False)
        assert seen.late.startswith("pipeline orders is late: lag ") and "NOT CONNECTED" in seen.screen
        assert seen.pipeline["oldest"]["aggregate_id"] == "2" and seen.pipeline["lag_seconds"] > 2
        assert gauge(seen, "kafka_connected") == 0 and gauge(seen, "pg_connected") == 1 and gauge(seen, "leader") == 1
        eventually(lambda: one.metric("lag_late_seconds_total") >= 2, 10, "the budget burns")
        assert one.metric("lag_burn_rate", window="5m") > 0 and one.metric("lag_budget_remaining_ratio") < 1
        assert one.http("/livez")[0] == 200
    finally:
        kafka.start()
    assert_recovered(one, "broker down")


def test_topic_missing(either_relay, kafka, database, prefix):
    one = either_relay().start(wait_ready=False)
    emit(database, 1)
    one.wait_not_ready("KAFKA_TOPIC_UNKNOWN")
    eventually(lambda: one.metric("lag_seconds") > 2, 20, "lag grows")
    seen = look(one, "topic missing")
    assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("running", None, 3, 3, False)
    assert seen.pipeline["waiting"]["code"] == "KAFKA_TOPIC_UNKNOWN" and gauge(seen, "waiting_events") == 1
    assert f"{prefix}.order" in seen.reason and "check --create-topics" in seen.screen
    assert gauge(seen, "kafka_connected") == 1 and "NOT CONNECTED" not in seen.screen, "a broker without the topic is there"
    kafka.create_topic(f"{prefix}.order")
    assert_recovered(one, "topic missing")


def test_acl_missing(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    kafka.grant("relay", kafka.create_topic(f"{prefix}.other"), "WRITE")  # without any, it may not be an idempotent producer at all
    one = relay(QUICK, brokers=kafka.sasl_brokers, kafka={"properties": kafka.sasl_properties("relay")}, monitor=dict(MONITOR)).start(wait_ready=False)
    emit(database, 1)
    one.wait_not_ready("KAFKA_TOPIC_DENIED")
    eventually(lambda: one.metric("lag_seconds") > 2, 20, "lag grows")
    seen = look(one, "ACL missing")
    assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("running", None, 3, 3, False)
    assert seen.pipeline["waiting"]["code"] == "KAFKA_TOPIC_DENIED" and gauge(seen, "waiting_events") == 1
    assert topic in seen.reason and "Grant WRITE and DESCRIBE" in seen.screen
    assert gauge(seen, "kafka_connected") == 1 and "NOT CONNECTED" not in seen.screen
    kafka.grant("relay", topic, "WRITE", "DESCRIBE")
    assert_recovered(one, "ACL missing")


def test_poison_row_that_holds_its_topic(two_pipelines, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    emit(database, "too big", BIG)
    one = two_pipelines({"on_poison": "stop"}).start(wait_ready=False)
    one.wait_not_ready("RECORD_TOO_LARGE")
    eventually(lambda: one.metric("kafka_connected", pipeline="others") == 1, 20, "the other pipeline is connected")
    seen = look(one, "poison row, on_poison = stop")
    assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("running", None, 3, 3, False)
    assert seen.pipeline["waiting"]["code"] == "RECORD_TOO_LARGE" and gauge(seen, "held_rows") == 1
    assert "NOT CONNECTED" not in seen.screen and "max.message.bytes" in seen.screen and "pipeline others" not in seen.reason
    assert gauge(seen, "events_dead_lettered_total") == 0 and gauge(seen, "events_acknowledged_total") == 0
    other = look(one, "poison row, on_poison = stop, the pipeline beside it", "others")
    assert other.state == "running" and other.code is None


def test_poison_row_that_is_set_aside(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    emit(database, "too big", BIG)
    emit(database, "good")
    one = relay({**QUICK, "on_poison": "dead_letter"}, monitor=dict(MONITOR)).start()
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 1)] == [b"good"]
    eventually(lambda: database.scalar(UNPUBLISHED) == 0 and one.metric("backlog_events") == 0, 20, "settled")
    eventually(lambda: one.metric("dead_letters") == 1 and one.status()["pipelines"][0]["dead_letters"] == 1, 10, "the table is counted")
    seen = look(one, "poison row, on_poison = dead_letter")
    assert (seen.state, seen.exit, seen.late_exit, seen.ready) == ("running", 0, 0, True)
    assert gauge(seen, "events_dead_lettered_total") == 1 and seen.pipeline["dead_lettered_total"] == 1
    assert "orders: 1 dead letter; see: outboxd dead list" in seen.screen


def test_unrouted_row(two_pipelines, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    emit(database, 1, aggregate="unknown")
    one = two_pipelines({"topic": "", "routes": [{"aggregate_type": "order", "topic": topic}]}).start(wait_ready=False)
    one.wait_not_ready("EVENT_UNROUTED")
    eventually(lambda: one.metric("kafka_connected", pipeline="others") == 1, 20, "the other pipeline is connected")
    seen = look(one, "unrouted row")
    assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("running", None, 3, 3, False)
    assert seen.pipeline["waiting"]["code"] == "EVENT_UNROUTED"
    eventually(lambda: one.metric("lag_seconds", pipeline="orders") > 2, 20, "what waits is known from the database")
    assert "unknown" in seen.screen and "NOT CONNECTED" not in seen.screen and gauge(seen, "events_dropped_total") == 0
    assert database.scalar(UNPUBLISHED) == 1


def test_long_transaction_that_holds_a_low_number(either_relay, kafka, database, prefix):
    """Nothing is late: what is not committed does not exist. When it is, it is published."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = either_relay().start()
    held = database.connect(autocommit=False)
    try:
        held.cursor().execute("SELECT outbox.emit('order.placed', 'order', 'held', '{}')")
        emit(database, "after 1")
        emit(database, "after 2")
        one.wait_published(2)
        eventually(lambda: one.metric("oldest_transaction_age_seconds") > 2.5, 20, "the transaction is older than the objective")
        seen = look(one, "long transaction that holds a low number")
        assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("running", None, 0, 0, True)
        assert seen.pipeline["lag_seconds"] == 0 and gauge(seen, "lag_seconds") == 0 and gauge(seen, "lag_late_seconds_total") == 0
        assert seen.pipeline["oldest"] is None
    finally:
        held.commit()
        held.close()
    assert [r.key for r in wait_for_records(kafka.brokers, topic, 3)][2] == b"held"
    assert_recovered(one, "long transaction")


def test_standby(either_relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = either_relay().start()
    two = either_relay().start()
    emit(database, 1)
    one.wait_published(1)
    eventually(lambda: two.metrics().has("outboxd_lag_seconds"), 10, "its lag is known, from the database")
    seen = look(two, "standby")
    assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("standby", None, 0, 0, True)
    assert f"published by shop/orders, pid {one.pid} on " in seen.screen, "it names the relay, not the backend alone"
    assert gauge(seen, "leader") == 0 and gauge(seen, "events_acknowledged_total") == 0 and gauge(seen, "lag_late_seconds_total") == 0
    publisher = look(one, "standby: the publisher")
    assert (publisher.state, publisher.exit, publisher.late_exit) == ("running", 0, 0) and gauge(publisher, "leader") == 1


def test_paused(either_relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = either_relay().start()
    emit(database, 1)
    one.wait_published(1)
    outboxd("pause", "-c", one.config_path, "--reason", "moving the warehouse", expect=0)
    emit(database, 2)
    eventually(lambda: one.status()["pipelines"][0]["state"] == "paused" and one.metric("paused") == 1, 10, "it is paused")
    stays_true(lambda: one.published() == 1, 1.0, "nothing is published")
    eventually(lambda: one.metric("lag_seconds") > 2, 10, "its lag is known, from the database")
    seen = look(one, "paused")
    assert (seen.state, seen.code, seen.exit, seen.late_exit) == ("paused", None, 70, 70)
    assert seen.pipeline["paused"]["reason"] == "moving the warehouse" and "moving the warehouse" in seen.screen
    assert seen.late.startswith("pipeline orders is late: lag ")
    outboxd("resume", "-c", one.config_path, expect=0)
    one.wait_published(2)
    assert one.status()["pipelines"][0]["paused"] is None and one.metric("paused") == 0
    assert_recovered(one, "paused")


def test_slot_gap_of_wal(two_pipelines, wal_relay, kafka, database, wal, prefix):
    kafka.create_topic(f"{prefix}.order")
    before = wal_relay().start()
    emit(database, 1)
    before.wait_published(1)
    wal.wait_confirmed()
    before.stop()
    wal.drop_slot()
    one = two_pipelines({"capture": "wal"}).start(wait_ready=False)
    one.wait_not_ready("SLOT_MISSING")
    eventually(lambda: one.metric("kafka_connected", pipeline="others") == 1, 20, "the other pipeline is connected")
    seen = look(one, "slot gap")
    assert (seen.state, seen.code, seen.exit, seen.late_exit, seen.ready) == ("failed", "SLOT_MISSING", 4, 4, False)
    assert "--new-slot" in seen.screen and gauge(seen, "leader") == 0
    assert look(one, "slot gap: the pipeline beside it", "others").state == "running"


@pytest.mark.own_broker
def test_slow_broker(either_relay, kafka, database, prefix):
    """Connections stay up, nothing is acknowledged: running and late at first, then stalled."""
    kafka.create_topic(f"{prefix}.order")
    one = either_relay().start()
    emit(database, 1)
    one.wait_published(1)
    with kafka.away():
        emit(database, 2)
        eventually(lambda: one.metric("lag_seconds") > 2, 10, "lag grows", interval=0.1)
        seen = look(one, "slow broker, at first")
        assert (seen.state, seen.exit, seen.late_exit, seen.ready) == ("running", 0, 70, True)
        assert seen.late.startswith("pipeline orders is late: lag ") and gauge(seen, "inflight_events") == 1
        one.wait_not_ready("KAFKA_NO_ACKNOWLEDGEMENT", 40)
        seen = look(one, "slow broker, after 5 s")
        assert (seen.state, seen.code, seen.exit, seen.late_exit) == ("stalled", "KAFKA_NO_ACKNOWLEDGEMENT", 3, 3)
        assert "min.insync.replicas" in seen.screen and seen.pipeline["oldest"]["aggregate_id"] == "2"
    assert_recovered(one, "slow broker")
    assert one.published() == 2 and one.metric("events_replayed_total") == 0
