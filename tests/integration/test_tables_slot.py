"""Slot and publications of capture = "tables", and what is confirmed (rows 26 to 37 of tests/TABLES.md)."""

import pytest

from support.common import eventually
from support.postgres import RELAY, SUPERUSER
from support.tables import SLOT
from support.wal import Wal

ITEM = "id int PRIMARY KEY, name text, note text"
NEVER = {"snapshot": "never"}
PUBLISHED = """SELECT pubname::text, tablename::text, pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication JOIN pg_publication_tables USING (pubname)
               WHERE pubname LIKE 'outboxd_catalog%' ORDER BY 1, 2"""


@pytest.fixture
def wal(tables):
    return Wal(tables.database, "unused")


def test_idle_the_slot_follows_what_others_write(tables, wal):
    """Tables that are not mapped, in this database and in another one."""
    tables.create("item", ITEM)
    tables.create("other", ITEM, topic=False)
    tables.publish("item")
    relay = tables.relay([{"table": "public.item"}], **NEVER).start()
    wal.noise()
    wal.wait_confirmed(name=SLOT)
    elsewhere = tables.database.server.fresh_database("elsewhere")
    wal.noise(database=elsewhere)
    end = wal.now() - (1 << 16)
    eventually(lambda: wal.confirmed(SLOT) >= end, 20, lambda: f"the slot follows to {end}, is at {wal.confirmed(SLOT)}")
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    assert len(tables.records("item", 1)) == 1 and relay.metric("rewinds_total") == 0
    elsewhere.drop()


def test_it_makes_both_publications_where_it_may(tables):
    """What PostgreSQL would refuse to update goes into the second one."""
    tables.create("item", ITEM)
    tables.create("keyless", "id int, name text")
    tables.create("whole", "id int, name text", "ALTER TABLE whole REPLICA IDENTITY FULL")
    tables.create("part", "id int PRIMARY KEY) PARTITION BY RANGE (id", "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100)")
    config = tables.configured(**NEVER)
    config["database"]["dsn"] = tables.database.dsn(SUPERUSER)
    relay = tables._make(config=config).start()
    everything = (True, True, True, True)
    assert tables.database.execute(PUBLISHED) == [("outboxd_catalog", name, *everything) for name in ("item", "part", "whole")] + [
        ("outboxd_catalog_inserts", "keyless", True, False, False, True)]
    execute = tables.database.execute
    for name in ("item", "keyless", "whole", "part"):
        execute(f"INSERT INTO {name} (id) VALUES (1); UPDATE {name} SET id = 2; DELETE FROM {name}")
    kinds = {name: "".join("-" if c.tombstone else c["op"] for c in tables.records(name, count)) for name, count in
             {"item": 6, "keyless": 1, "whole": 4, "part": 6}.items()}
    assert kinds == {"item": "cd-cd-", "keyless": "c", "whole": "cud-", "part": "cd-cd-"}, relay.log_tail()


def test_without_a_publication_it_stops_and_says_what_to_run(tables):
    tables.create("item", ITEM)
    relay = tables.relay(**NEVER).start(wait_ready=False)
    assert relay.wait_exit() == 2
    hint = relay.log_lines("code=PUBLICATION_MISSING")[0].split('hint="an administrator runs: ')[1].replace('\\"', '"').rstrip('"')
    tables.database.execute(hint)
    if "outboxd_catalog_inserts" not in hint:
        tables.database.execute("CREATE PUBLICATION outboxd_catalog_inserts WITH (publish = 'insert, truncate')")
    relay.start()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    assert len(tables.records("item", 1)) == 1


def test_operations_that_a_publication_leaves_out_are_said_and_those_that_nobody_wants_are_not(tables):
    tables.create("item", ITEM)
    tables.publish(operations="insert, delete")
    relay = tables.relay(**NEVER).start(wait_ready=False)
    relay.wait_not_ready("MAPPED_OPERATIONS")
    relay.reload(tables.configured([{"table": "public.*", "operations": "cd"}], **NEVER))
    relay.wait_ready()
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    tables.database.execute("UPDATE item SET name = 'b'; DELETE FROM item")
    assert ["-" if change.tombstone else change["op"] for change in tables.records("item", 3)] == ["c", "d", "-"]


def test_two_relays_share_one_slot(tables, wal):
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(**NEVER).start()
    second = tables.relay(**NEVER, standby_interval="200ms").start()
    assert second.metric("leader") == 0 and relay.metric("leader") == 1
    tables.database.execute("INSERT INTO item VALUES (1, 'a')")
    assert len(tables.records("item", 1)) == 1
    assert tables.database.scalar("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()", user=SUPERUSER) == 1
    assert wal.slot(SLOT)["plugin"] == "pgoutput"


def test_nothing_stays_in_a_transaction(tables):
    """And the catalog is not asked again for each row."""
    tables.create("item", ITEM)
    tables.publish()
    relay = tables.relay(**NEVER).start()
    tables.database.execute("INSERT INTO item SELECT g, 'x' FROM generate_series(1, 300) g")
    tables.records("item", 300)
    open_for_long = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{RELAY}' AND datname = current_database() AND state LIKE 'idle in transaction%%'"
    eventually(lambda: tables.database.scalar(open_for_long, user=SUPERUSER) == 0, 10, "no transaction is left open")
    calls = tables.database.scalar("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()", user=SUPERUSER)
    tables.database.execute("INSERT INTO item SELECT g, 'x' FROM generate_series(301, 600) g")
    tables.records("item", 600)
    assert tables.database.scalar("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()", user=SUPERUSER) - calls < 150
    assert relay.running()
