"""What the relay tells about PostgreSQL equals what PostgreSQL tells: slots, oldest row, dead letters, transactions."""

import os
import time

import pytest

from conftest import CAPTURES, grant_memberships
from support.common import at_pace, eventually, stays_true
from support.postgres import OWNER, RELAY, PostgresServer
from support.relay import migrate
from support.wal import SLOT, Wal

FAST = {"interval": "100ms"}


def emit(database, *keys):
    for key in keys:
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture(scope="module", params=["13", "17"])
def server(request, work_directory):
    server = PostgresServer(os.path.join(work_directory, f"watch-{request.param}"), request.param,
                            {"max_slot_wal_keep_size": "'64MB'"}).start()
    server.create_roles()
    yield server
    server.remove()


@pytest.fixture
def shop(server):
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    yield database
    database.drop()


@pytest.mark.own_broker
def test_slot_metrics_equal_the_slot_view_under_stall_and_recovery(server, shop, relay, kafka, topic):
    wal = Wal(shop)
    one = relay(CAPTURES["wal"], dsn=shop.dsn(), monitor=FAST).start()
    emit(shop, 0)
    one.wait_published(1)
    wal.wait_begun()
    with kafka.away():
        emit(shop, 1)
        eventually(lambda: one.metric("inflight_events") == 1, what="it is in flight")
        eventually(lambda: (wal.noise(1), one.metrics().has("outboxd_slot_seconds_left"))[1], 40, "the slot's time is running out")

        def equal():
            before, now = wal.slot(), wal.now()
            metrics, status = one.metrics(), one.status()["pipelines"][0]["slot"]
            after = wal.slot()
            assert metrics.total("outboxd_slot_active", slot=SLOT, pipeline="orders") == 1 and status["active"] is True
            assert metrics.total("outboxd_slot_status", slot=SLOT, status=after["wal_status"]) == 1 and status["status"] == after["wal_status"]
            for key, held in (("retained_wal_bytes", now - before["restart_lsn"]), ("confirmed_lag_bytes", now - before["confirmed_flush_lsn"]),
                              ("safe_wal_bytes", before["safe_wal_size"])):
                assert abs(metrics.total(f"outboxd_slot_{key}", slot=SLOT) - held) < 128 << 10, key
                assert abs(status[key] - held) < 128 << 10, key
            assert 0 < status["seconds_left"] < 1e6
            return True
        eventually(equal, 20, "metrics equal the view")
        assert one.metrics().has("outboxd_slot_spill_bytes_total") == (int(server.major) >= 14)
    one.wait_published(2, 40)
    wal.wait_confirmed(timeout=40)
    eventually(lambda: one.metric("slot_confirmed_lag_bytes", slot=SLOT) < 1 << 20 and one.metric("lag_seconds") == 0, what="recovered")


def test_status_names_the_server(server, shop, relay, kafka, topic):
    one = relay(CAPTURES["poll"], dsn=shop.dsn(), monitor=FAST).start()
    told = eventually(lambda: one.status()["postgres"].get("server") and one.status()["postgres"], what="it knows the server")
    assert told["server"] == f"127.0.0.1:{server.port}/{shop.name}" and told["version"].startswith(server.major + ".")
    eventually(lambda: one.metric("watch_up") == 1 and one.metric("watch_duration_seconds_count") > 2, what="it looks")
    stays_true(lambda: one.metric("watch_up") == 1, 0.5, "with the rights of outbox_relay alone")


@pytest.mark.parametrize("sees_all", [False, True])
def test_oldest_transaction(server, shop, relay, kafka, topic, sees_all):
    if sees_all:
        server.execute(f"GRANT pg_read_all_stats TO {RELAY}")
    try:
        one = relay(CAPTURES["poll"], dsn=shop.dsn(), monitor=FAST).start()
        eventually(lambda: one.metric("watch_up") == 1 and one.metric("oldest_transaction_age_seconds") < 0.5, what="no old transaction")
        writer = shop.connect(OWNER, autocommit=False)
        begun = time.monotonic()
        writer.cursor().execute("CREATE TABLE open_for_long ()")
        eventually(lambda: one.metric("oldest_transaction_age_seconds", pipeline="orders") > 1, what="it grows old")
        assert one.metric("oldest_transaction_age_seconds") <= time.monotonic() - begun + 0.2
        writer.rollback()
        eventually(lambda: one.metric("oldest_transaction_age_seconds") < 0.5, what="it is gone")
    finally:
        if sees_all:
            server.execute(f"REVOKE pg_read_all_stats FROM {RELAY}")


@pytest.mark.own_broker
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_standby_knows_the_lag_and_the_oldest_row(relay, database, kafka, topic, capture):
    if capture == "wal":
        Wal(database)
    first = relay(CAPTURES[capture], monitor=FAST).start()
    emit(database, 0)
    first.wait_published(1)
    second = relay(CAPTURES[capture], monitor=FAST).start()
    eventually(lambda: second.status()["pipelines"][0]["state"] == "standby", what="the second stands by")
    with kafka.away():
        emit(database, 1, 2)
        truth = database.execute("SELECT seq FROM outbox.event WHERE published_at IS NULL ORDER BY seq LIMIT 1")[0][0]
        eventually(lambda: second.metric("lag_seconds") > 1, what="the standby sees the lag")
        age = float(database.scalar("SELECT extract(epoch FROM clock_timestamp() - min(occurred_at)) FROM outbox.event WHERE published_at IS NULL"))
        assert abs(second.metric("lag_seconds") - age) < at_pace(0.5) and abs(first.metric("lag_seconds") - age) < at_pace(0.5)
        oldest = second.status()["pipelines"][0]["oldest"]
        assert (oldest["seq"], oldest["event_type"], oldest["aggregate_id"]) == (truth, "order.placed", "1")
    first.wait_published(3, 30)
    eventually(lambda: second.metric("lag_seconds") == 0 and second.status()["pipelines"][0]["oldest"] is None, what="nothing waits")


def test_under_load_a_standby_sees_no_false_lag(relay, database, kafka, topic):
    first = relay(monitor=FAST).start()
    second = relay(monitor=FAST).start()
    end = time.monotonic() + 3
    n = 0
    while time.monotonic() < end:
        emit(database, n)
        n += 1
        assert second.metric("lag_seconds") < at_pace(1), "rows that pass by are not old"
    first.wait_published(n)


def test_dead_letters_are_counted(relay, database, kafka, topic):
    one = relay({"on_poison": "dead_letter", "on_unrouted": "dead_letter"}, monitor=FAST).start()
    eventually(lambda: one.metrics().has("outboxd_dead_letters") and one.metric("dead_letters", pipeline="orders") == 0, what="none")
    database.execute("INSERT INTO outbox.dead_letter (pipeline, reason) SELECT p, 'test' FROM unnest(ARRAY['orders', 'orders', 'others']) p",
                     user=RELAY)
    eventually(lambda: one.metric("dead_letters", pipeline="orders") == 2, what="two of ours")
    assert one.status()["pipelines"][0]["dead_letters"] == 2


@pytest.mark.own_broker
def test_adopted_table_without_our_schema(relay, empty_database, kafka, prefix):
    kafka.create_topic(f"{prefix}.order")
    empty_database.execute('CREATE TABLE box ("Nr" bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY, id uuid, kind text, subject text, '
                           'body jsonb, sent timestamptz, at timestamptz); CREATE TABLE pause (something int); '
                           'CREATE TABLE dead_letter (something int); '
                           f'GRANT SELECT, UPDATE ON box TO {RELAY}')
    empty = dict.fromkeys(("event_version", "aggregate_type", "aggregate_version", "payload_bytes", "content_type", "correlation_id",
                           "causation_id", "traceparent", "headers", "topic"), "")
    one = relay({"table": "public.box", "topic": f"{prefix}.order", "columns": {
        **empty, "seq": "Nr", "event_id": "id", "event_type": "kind", "aggregate_id": "subject", "payload": "body", "occurred_at": "at",
        "published_at": "sent"}}, dsn=empty_database.dsn(), monitor=FAST).start()
    insert = "INSERT INTO box (id, kind, subject, body, at) VALUES ('0193a6e8-0000-7000-8000-000000000001', 'a', 'k', '{}', clock_timestamp())"
    empty_database.execute(insert)
    one.wait_published(1)
    eventually(lambda: one.metric("watch_up") == 1, what="the look succeeds")
    assert one.status()["pipelines"][0]["dead_letters"] is None
    with kafka.away():
        empty_database.execute(insert)
        eventually(lambda: one.metric("lag_seconds") > 0.5, what="lag")
    one.wait_published(2, 30)


def test_the_watch_alone_may_be_cut_and_publishing_goes_on(relay, database, kafka, topic):
    one = relay(monitor=FAST).start()
    eventually(lambda: one.metric("watch_up") == 1, what="it looks")
    reconnects = one.metric("pg_reconnects_total")
    assert database.terminate_backends("shop/watch") == 1
    emit(database, 0)
    one.wait_published(1)
    one.wait_log("WATCH_FAILED")
    one.wait_log("WATCH_RECOVERED")
    eventually(lambda: one.metric("watch_up") == 1, what="it looks again")
    assert one.metric("pg_reconnects_total") == reconnects and len(one.log_lines("WATCH_FAILED")) == 1
