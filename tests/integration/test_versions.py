"""PostgreSQL 13, 15, 17 and 18: the migration and a short end-to-end of both captures; what only some of them have."""

import os
import re

import pytest

from conftest import CAPTURES, grant_memberships, soak
from support import workload
from support.common import eventually
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import PostgresServer
from support.relay import migrate, outboxd
from support.verify import compare, read_truth
from support.wal import Wal

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
# Between the oldest and the newest: 15 is what all other tests run on.
MAJORS = ["13", soak("15"), soak("17"), "18"]


@pytest.fixture(scope="module", params=MAJORS)
def server(request, work_directory):
    server = PostgresServer(os.path.join(work_directory, f"versions-{request.param}"), request.param).start()
    server.create_roles()
    yield server
    server.remove()


@pytest.fixture
def old_or_new(server):
    """A migrated database of that server, prepared for both captures."""
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    yield database
    database.drop()


def run_relay(relay, database, capture, **options):
    return relay({**CAPTURES[capture], "batch_events": 100, **options}, dsn=database.dsn())


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_every_event_arrives_once_in_order_over_restarts(server, old_or_new, relay, kafka, prefix, capture):
    database = old_or_new
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    messages = capture == "wal" and int(server.major) >= 14
    workload.prepare(database, keys=50, emit=workload.BOTH if messages else workload.ROWS)
    database.execute("SELECT workload.place(1 + n % 40, n * 7) FROM generate_series(1, 50) n" if not messages else
                     "SELECT workload.place(1 + n % 40, n % 20) FROM generate_series(1, 50) n")
    if capture == "wal":
        Wal(database)
    one = run_relay(relay, database, capture, **({"messages": True} if messages else {})).start()
    with workload.Writers(database, threads=3, keys=50):
        one.wait_published(200, 30)
        one.stop(expect=0)
        one.start()
        one.wait_published(100, 30)
        server.restart("fast")
        one.wait_published(one.published() + 100, 30)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
    if capture == "wal":
        Wal(database, publication=None, role=None).wait_confirmed()
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=0)


def test_migrate_for_wal_makes_the_publication_of_the_default_pipeline(server, kafka, relay, prefix):
    database = server.fresh_database("default")
    try:
        result = migrate(database, "--capture", "wal")
        assert "REPLICATION" in result.stdout, "what an administrator still has to run"
        assert database.execute("SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = 'outboxd_outbox'") \
            == [(True, False, False, False)]
        assert database.execute("SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = 'outboxd_outbox'") == [("outbox.event",)]
        grant_memberships(database)
        wal = Wal(database, publication=None)
        topic = kafka.create_topic(f"{prefix}.events")
        database.execute("SELECT outbox.emit('order.placed', %s, '1', '{}')", (prefix,))
        one = relay(file=False, args=["--dsn", database.dsn(), "--brokers", kafka.brokers],
                    env={"OUTBOXD_PIPELINE_CAPTURE": "wal"}).start()
        database.execute("SELECT outbox.emit('order.placed', %s, '2', '{}')", (prefix,))
        assert [r.key for r in wait_for_records(kafka.brokers, topic, 2)] == [b"1", b"2"]
        wal.wait_active("outboxd_outbox")
        one.stop()
        assert "nothing to do" in migrate(database, "--capture", "wal").stdout
    finally:
        database.drop()


def test_failover_flag_of_the_slot_is_what_the_configuration_says(server, old_or_new, relay, kafka, prefix):
    """Debezium: shouldCreateFailOverSlot, shouldNotCreateFailOverSlotByDefault."""
    kafka.create_topic(f"{prefix}.order")
    wal = Wal(old_or_new)
    one = run_relay(relay, old_or_new, "wal").start()
    one.stop()
    assert not wal.slot().get("failover"), "not unless asked"
    wal.drop_slot()
    old_or_new.execute("DELETE FROM outbox.position")
    two = run_relay(relay, old_or_new, "wal", failover_slot=True)
    if int(server.major) >= 17:
        two.start()
        assert wal.slot()["failover"] is True
    else:
        two.start(wait_ready=False)
        assert two.wait_exit() in (1, 2)
        assert two.log_lines("failover_slot"), two.log_tail()
        assert wal.slot() is None


def test_messages_need_postgresql_14(server, old_or_new, relay, kafka, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    Wal(old_or_new)
    one = run_relay(relay, old_or_new, "wal", messages=True)
    if int(server.major) >= 14:
        one.start()
        old_or_new.execute("SELECT outbox.emit_message('order.placed', 'order', '1', '{}')")
        assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    else:
        one.start(wait_ready=False)
        assert one.wait_exit() in (1, 2)
        assert one.log_lines("14"), one.log_tail()


@pytest.mark.parametrize("server", ["18"], indirect=True)
def test_generated_columns_make_the_same_record_by_both_captures(server, old_or_new, relay, kafka, prefix):
    """Trial 1.14: PostgreSQL 18 writes stored ones to the log of a publication that asks for it."""
    database = old_or_new
    database.execute("ALTER TABLE outbox.event ADD tenant text GENERATED ALWAYS AS ('t-' || aggregate_id) STORED, "
                     "ADD day text GENERATED ALWAYS AS (payload ->> 'day') STORED")
    Wal(database)
    options = {"header_columns": ["tenant", "day"], "columns": {"correlation_id": "tenant"}}
    topics = {name: kafka.create_topic(f"{prefix}.{name}", partitions=3) for name in ("wal", "poll")}
    one = run_relay(relay, database, "wal", topic=topics["wal"], on_publish="keep", **options).start(wait_ready=False)
    assert one.wait_exit() == 2, "refused while the log does not hold them"
    remedy = re.search(r"(ALTER PUBLICATION [^;]*;)", one.log_lines("COLUMN_GENERATED")[0]).group(1)
    database.execute(remedy.replace('\\"', '"'))
    one.start()
    emit = "SELECT outbox.emit('order.placed', 'order', (n % 7)::text, jsonb_build_object('day', 'd' || n)) FROM generate_series(1, 20) n"
    database.execute(emit)
    found = {"wal": wait_for_records(kafka.brokers, topics["wal"], 20)}
    one.stop()
    run_relay(relay, database, "poll", topic=topics["poll"], **options).start()
    found["poll"] = wait_for_records(kafka.brokers, topics["poll"], 20)
    records = {name: {headers_of(r)["ce_id"]: (r.partition, r.key, r.value, r.headers, r.timestamp) for r in rows}
               for name, rows in found.items()}
    assert len(records["wal"]) == 20 and records["wal"] == records["poll"]
    assert all(headers_of(r)["tenant"] == f"t-{r.key.decode()}" and headers_of(r)["day"].startswith("d") for r in found["wal"])


def test_wal_level_that_is_too_low_is_named_with_its_remedy(work_directory, relay, kafka, prefix):
    server = PostgresServer(os.path.join(work_directory, "wal-level"), settings={"wal_level": "replica"}).start()
    try:
        server.create_roles()
        database = server.fresh_database("low")
        migrate(database)
        grant_memberships(database)
        wal = Wal(database)
        kafka.create_topic(f"{prefix}.order")
        one = relay({**CAPTURES["wal"]}, dsn=database.dsn()).start(wait_ready=False)
        assert one.wait_exit() == 2
        assert one.log_lines("wal_level"), one.log_tail()
        checked = outboxd("check", "-c", one.config_path)
        assert checked.returncode != 0 and "wal_level" in checked.stdout + checked.stderr
        server.execute("ALTER SYSTEM SET wal_level = 'logical'")
        server.restart()
        one.start()
        wal.wait_active()
        one.kill()
    finally:
        server.remove()
