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


def test_a_writer_who_may_create_tables_beside_it_neither_pauses_it_nor_gets_its_letters(adopted, database, prefix):
    """Both have the columns of ours and give the relay every right: they are passed over, and check names them. Ours are in a schema that another role prepared."""
    database.execute(f"ALTER SCHEMA outbox OWNER TO {SUPERUSER}; GRANT ALL ON SCHEMA outbox TO shop_owner; ALTER SCHEMA shop OWNER TO shop_owner; GRANT ALL ON SCHEMA shop TO shop_app;"
                     " DROP TABLE shop.pause, shop.dead_letter", user=SUPERUSER)
    database.execute("CREATE TABLE shop.pause (pipeline text, paused_at timestamptz DEFAULT now(), paused_by text DEFAULT 'mallory', reason text);"
                     " INSERT INTO shop.pause (pipeline) VALUES ('orders');"
                     " CREATE TABLE shop.dead_letter (id bigint, pipeline text, reason text, at timestamptz);"
                     " GRANT ALL ON shop.pause, shop.dead_letter TO PUBLIC", user="shop_app")
    insert(database, "1", "no such topic")
    insert(database, "2")
    one = adopted.start()
    one.wait_published(1)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what=one.log_tail)
    said = outboxd("check", "-c", adopted.config_path, expect=0).stdout
    logged = one.log_lines("code=COMPANION_FOREIGN")
    assert len(logged) == 2, "each once"
    for name in ("pause", "dead_letter"):
        assert any(f"ALTER TABLE shop.{name} OWNER TO" in line for line in logged), logged
        assert f'shop.{name} looks like a table or view of outboxd, but outboxd does not use it: it belongs to role "shop_app"' in said, said
    one.stop()
    # a member of the role that owns the schema may do what that role may
    deputy = f"{prefix}_deputy"
    database.execute(f'CREATE ROLE "{deputy}" IN ROLE shop_owner; ALTER TABLE shop.pause OWNER TO "{deputy}"', user=SUPERUSER)
    try:
        one.start()
        eventually(lambda: one.status()["pipelines"][0]["paused"]["by"] == "mallory", what=one.log_tail)
        one.stop()
    finally:
        database.execute(f'REASSIGN OWNED BY "{deputy}" TO {SUPERUSER}; DROP ROLE "{deputy}"', user=SUPERUSER)


def test_check_asks_for_no_migration_of_a_strangers_schema(relay, database):
    """One that looks like ours, of a colleague's trial or of another program, which no pipeline reads; and one where our table is."""
    database.execute("CREATE SCHEMA trial; CREATE TABLE trial.migration (LIKE outbox.migration); INSERT INTO trial.migration SELECT * FROM outbox.migration LIMIT 1;"
                     f" GRANT USAGE ON SCHEMA trial TO {RELAY}; GRANT SELECT ON trial.migration TO {RELAY}")
    one = relay()
    said = outboxd("check", "-c", one.config_path).stdout
    assert "trial" not in said, said
    database.execute("DELETE FROM outbox.migration WHERE version > 1")
    said = outboxd("check", "-c", one.config_path, expect=2).stdout
    assert 'schema "outbox" is not up to date: pending 2' in said and "trial" not in said, said
    database.execute(f"CREATE TABLE trial.event (LIKE outbox.event INCLUDING ALL); GRANT SELECT, UPDATE, DELETE ON trial.event TO {RELAY}")
    said = outboxd("check", "-c", relay({"table": "trial.event"}).config_path, expect=2).stdout
    assert 'schema "trial" is not up to date: pending 2' in said, said


def test_ours_belong_to_who_migrated_a_schema_that_another_role_prepared(relay, kafka, database, prefix):
    """The table, too, may have been given away since."""
    kafka.create_topic(f"{prefix}.order")
    database.execute(f"ALTER SCHEMA outbox OWNER TO {SUPERUSER}; GRANT ALL ON SCHEMA outbox TO shop_owner; ALTER TABLE outbox.event OWNER TO {SUPERUSER}", user=SUPERUSER)
    one = relay().start()
    outboxd("pause", "-c", one.config_path, "--reason", "stocktaking", expect=0)
    eventually(lambda: (one.status()["pipelines"][0]["paused"] or {}).get("reason") == "stocktaking", what=one.log_tail)
    one.stop()


def test_status_without_a_relay_reads_no_view_of_another_kind(relay, database):
    database.execute(OWN + "ALTER TABLE shop.messages RENAME TO event", user=SUPERUSER)
    database.execute(f"GRANT USAGE ON SCHEMA shop TO {RELAY}; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {RELAY}", user=SUPERUSER)
    said = outboxd("status", "-c", relay({"table": "shop.event"}).config_path)
    assert "SQLSTATE" not in said.stdout + said.stderr and "shop" in said.stdout, said
