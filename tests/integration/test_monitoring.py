"""What one sees from outside: metrics, health, status, lag, and what an idle relay costs."""

import re
import signal
import socket
import time

import pytest

from support.common import eventually
from support.relay import Metrics


def emit(database, key, payload="{}"):
    database.execute("SELECT outbox.emit('order.placed', 'order', %s, %s)", (str(key), payload))


def test_all_series_are_there_from_the_start_and_text_is_well_formed(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    code, text = one.http("/metrics")
    assert code == 200
    metrics = Metrics.parse(text)
    for name in ("build_info", "leader", "pipeline_state", "events_read_total", "events_acknowledged_total",
                 "events_dead_lettered_total", "events_dropped_total", "events_replayed_total", "publish_latency_seconds_count",
                 "lag_seconds", "inflight_events", "window_events", "inflight_bytes", "last_publish_timestamp_seconds",
                 "pg_connected", "pg_reconnects_total", "producer_recreated_total"):
        assert metrics.has(f"outboxd_{name}"), f"outboxd_{name} is missing in\n{text}"
    assert metrics.has("process_resident_memory_bytes") and metrics.has("process_open_fds")
    for name in {n for n, _ in metrics}:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert f"# TYPE {family} " in text or f"# TYPE {name} " in text, name
        assert f"# HELP {family} " in text or f"# HELP {name} " in text, name


def test_published_events_lag_and_latency_are_counted(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    for n in range(12):
        emit(database, n)
    one.wait_published(12)
    metrics = one.metrics()
    assert metrics.total("outboxd_events_published_total", pipeline="orders") == 12
    assert metrics.total("outboxd_events_published_total", topic=topic) == 12
    assert metrics.total("outboxd_publish_latency_seconds_count") == 12
    assert abs(metrics.total("outboxd_last_publish_timestamp_seconds") - time.time()) < 30
    eventually(lambda: one.metric("inflight_events") == 0 and one.metric("lag_seconds") == 0, what="no lag when nothing waits")


@pytest.mark.own_broker
def test_backlog_and_lag_grow_while_kafka_is_away(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, "first")
    one.wait_published(1)
    eventually(lambda: one.metrics().has("outboxd_backlog_events") and one.metric("backlog_events") == 0, what="nothing waits")
    kafka.kill()
    try:
        for n in range(30):
            emit(database, n)
        eventually(lambda: one.metric("backlog_events") >= 30 and one.metric("lag_seconds") > 1, what="backlog and lag show")
        status = one.status()
        assert status["pipelines"][0]["name"] == "orders"
    finally:
        kafka.start()
    eventually(lambda: one.metric("backlog_events") == 0 and one.metric("lag_seconds") == 0, 30, what="back to nothing")


def test_status_names_servers_pipeline_and_state(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, 1)
    one.wait_published(1)
    status = one.status()
    pipeline = status["pipelines"][0]
    assert pipeline["name"] == "orders" and pipeline["capture"] == "poll" and pipeline["state"] == "running", status
    assert status["name"] == "shop" and str(kafka.port) in str(status)


@pytest.mark.parametrize("request_,codes", [
    (b"GET /nothing HTTP/1.0\r\n\r\n", ("404",)), (b"POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", ("405", "501")),
    (b"HEAD /livez HTTP/1.0\r\n\r\n", ("200",)), (b"nonsense\r\n\r\n", ("400", ""))])
def test_odd_requests_get_an_answer_and_do_no_harm(relay, kafka, database, prefix, request_, codes):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as s:
        s.sendall(request_)
        s.shutdown(socket.SHUT_WR)
        answer = s.recv(4096).decode("latin-1")
    assert answer.split(" ")[1:2] == list(codes[:1]) or any(c in answer.split("\r\n")[0] if c else answer == "" for c in codes), answer
    assert one.http("/livez")[0] == 200


def test_silent_clients_do_not_keep_others_from_scraping(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    idle = [socket.create_connection(("127.0.0.1", one.port), timeout=5) for _ in range(100)]
    try:
        for s in idle[:50]:
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        emit(database, 1)
        eventually(lambda: one.published() == 1, 30, what="publishing and scraping go on")
    finally:
        for s in idle:
            s.close()


def test_log_lines_are_logfmt_or_json_as_configured(relay, kafka, database, prefix):
    import json
    kafka.create_topic(f"{prefix}.order")
    one = relay(log={"format": "json"}).start()
    one.stop()
    lines = one.log_lines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict), line


def test_address_in_use_is_an_error_that_names_it(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    two = relay(listen=f"127.0.0.1:{one.port}").start(wait_ready=False)
    assert two.wait_exit() == 1 and two.log_lines(str(one.port))


def test_sighup_never_ends_the_relay(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    one.signal(signal.SIGHUP)
    one.wait_log("RELOAD")
    emit(database, 1)
    one.wait_published(1)


def test_idle_relay_costs_almost_nothing(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, 1)
    one.wait_published(1)
    begin, cpu, fetches = time.monotonic(), one.cpu_seconds(), one.metric("fetch_duration_seconds_count")
    eventually(lambda: one.metric("fetch_duration_seconds_count") >= fetches + 40, 30, what="the relay has looked 40 times", interval=0.5)
    share = (one.cpu_seconds() - cpu) / (time.monotonic() - begin)
    # With sanitizers everything costs several times as much.
    assert share <= (0.05 if one.instrumented() else 0.01), f"{share:.2%} CPU"
    assert one.instrumented() or one.memory_kb("VmRSS") <= 16 * 1024, f"{one.memory_kb('VmRSS')} KiB"


def test_open_files_do_not_grow_over_reconnects(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay({"retry_backoff_min": "10ms", "retry_backoff_max": "50ms"}).start()
    emit(database, 0)
    one.wait_published(1)
    before = one.open_files()
    for n in range(1, 8):
        database.terminate_backends()
        emit(database, n)
        one.wait_published(n + 1)
    assert one.open_files() <= before + 2


@pytest.mark.own_broker
def test_brokers_queue_and_round_trip_are_what_the_producer_sees(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay(kafka={"properties": ["statistics.interval.ms=100"]}).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(1, 100) n")
    one.wait_published(100)
    eventually(lambda: one.metric("kafka_brokers_up") == 1 and one.metric("rdkafka_queue_messages") == 0, 10, "one broker, nothing queued")

    def round_trip_is_known():  # of the requests since the last statistics: there has to be one
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        return 0 < one.metric("rdkafka_rtt_seconds", quantile="0.5") <= one.metric("rdkafka_rtt_seconds", quantile="0.99") < 10

    eventually(round_trip_is_known, 10, "the round trip is known")
    one.wait_published(database.scalar("SELECT count(*) FROM outbox.event"))
    kafka.kill()
    try:
        database.execute("SELECT outbox.emit('order.placed', 'order', n::text, '{}') FROM generate_series(1, 40) n")
        eventually(lambda: one.metric("kafka_brokers_up") == 0 and one.metric("rdkafka_queue_messages") == 40, 20, "no broker, 40 records queued")
        assert one.metric("rdkafka_queue_bytes") > 40
    finally:
        kafka.start()
    one.wait_published(database.scalar("SELECT count(*) FROM outbox.event"), 60)
