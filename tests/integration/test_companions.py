"""An application's own relations with the names of ours, beside an adopted table: everybody who looks for one of ours means that of schema outbox."""

import json

import pytest

from conftest import CAPTURES
from support.common import eventually
from support.consume import wait_for_records
from support.postgres import RELAY, SUPERUSER
from support.relay import outboxd

pytestmark = pytest.mark.by_turns

# Tables as an application may have them, some with columns that are near to ours; and a view.
OWN = """
CREATE SCHEMA shop;
CREATE TABLE shop.messages (seq bigserial PRIMARY KEY, event_id uuid NOT NULL DEFAULT gen_random_uuid(), event_type text NOT NULL DEFAULT 'order.placed',
    aggregate_type text NOT NULL, aggregate_id text NOT NULL, payload jsonb NOT NULL DEFAULT '{}', published_at timestamptz);
CREATE INDEX ON shop.messages (seq) WHERE published_at IS NULL;
CREATE TABLE shop.dead_letter (id bigint, pipeline text, at timestamptz, address text);
CREATE TABLE shop.pause (pipeline text, reason text, minutes integer);
CREATE TABLE shop.position (pipeline text, x integer, y integer);
CREATE TABLE shop.publisher (name text, city text);
CREATE TABLE shop.migration (version integer, name text);
CREATE VIEW shop.backlog AS SELECT 1 AS pending;
"""
NAMES = ("dead_letter", "pause", "position", "publisher", "migration")


@pytest.fixture
def adopted(relay, database, kafka, prefix, capture):
    """A relay of the application's table, which has one event to publish and one to set aside."""
    database.execute(OWN, user=SUPERUSER)
    database.execute(f"GRANT USAGE ON SCHEMA shop TO {RELAY}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO {RELAY}; "
                     f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO {RELAY}", user=SUPERUSER)
    if capture == "wal":
        database.execute(f"ALTER ROLE {RELAY} REPLICATION; CREATE PUBLICATION outboxd_orders FOR TABLE shop.messages WITH (publish = 'insert')", user=SUPERUSER)
    kafka.create_topic(f"{prefix}.order")
    return relay({**CAPTURES[capture], "table": "shop.messages", "on_poison": "dead_letter", "on_unrouted": "dead_letter",
                  "key": "${aggregate_id}"})


def insert(database, key, aggregate="order"):
    database.execute("INSERT INTO shop.messages (aggregate_type, aggregate_id) VALUES (%s, %s)", (aggregate, key), user=SUPERUSER)


def untouched(database):
    return all(database.scalar(f"SELECT count(*) FROM shop.{name}", user=SUPERUSER) == 0 for name in NAMES)


def test_the_relay_keeps_its_own(adopted, kafka, database, prefix):
    insert(database, "1")
    insert(database, "2", "no such topic")
    one = adopted.start()
    one.wait_published(1)
    assert len(wait_for_records(kafka.brokers, f"{prefix}.order", 1)) == 1
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what=one.log_tail)
    # the watch counts the dead letters of the table that the source writes to, and looks at its pauses
    eventually(lambda: one.metric("dead_letters") == 1, what=one.log_tail)
    assert not one.log_lines("WATCH_FAILED|RIGHT_|NO_POSITION|HISTORY_UNPROVEN"), one.log_tail()
    one.stop()
    assert untouched(database)


def test_dead_lists_shows_and_requeues(adopted, database):
    insert(database, "1", "no such topic")
    one = adopted.start()
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what=one.log_tail)
    letters = json.loads(outboxd("dead", "list", "-c", one.config_path, "--json", expect=0).stdout)["dead_letters"]
    assert [letter["event_type"] for letter in letters] == ["order.placed"]
    outboxd("dead", "requeue", "-c", one.config_path, str(letters[0]["id"]), expect=0)
    assert untouched(database)
    one.stop()


def test_pause_and_resume(adopted, database):
    one = adopted.start()
    assert "has stopped publishing" in outboxd("pause", "-c", one.config_path, "--reason", "stocktaking", expect=0).stdout
    assert database.scalar("SELECT reason FROM outbox.pause") == "stocktaking" and untouched(database)
    assert one.status()["pipelines"][0]["paused"]["reason"] == "stocktaking"
    outboxd("resume", "-c", one.config_path, expect=0)
    insert(database, "1")
    one.wait_published(1)
    one.stop()


def test_check_finds_no_problem(adopted, database):
    insert(database, "1")
    said = outboxd("check", "-c", adopted.config_path, expect=0).stdout
    assert "no problem" in said and "not up to date" not in said, said


def test_status_without_a_relay_reads_no_view_of_another_kind(relay, database):
    database.execute(OWN + "ALTER TABLE shop.messages RENAME TO event", user=SUPERUSER)
    database.execute(f"GRANT USAGE ON SCHEMA shop TO {RELAY}; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {RELAY}", user=SUPERUSER)
    said = outboxd("status", "-c", relay({"table": "shop.event"}).config_path)
    assert "SQLSTATE" not in said.stdout + said.stderr and "shop" in said.stdout, said
