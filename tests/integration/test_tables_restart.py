"""capture = "tables" across restarts: what is open, half sent, changed or between transactions meanwhile (rows 1 to 25 of tests/TABLES.md)."""

import io
import json

import pytest

from support.tables import SLOT, ids
from support.wal import Wal

ITEM = "id int PRIMARY KEY, name text, note text"
NEVER = {"snapshot": "never"}


@pytest.fixture
def item(tables):
    tables.create("item", ITEM)
    tables.publish()
    return tables


@pytest.fixture
def wal(tables):
    return Wal(tables.database, "unused")


def test_stopped_in_the_middle_of_a_transaction_it_goes_on_behind_it(item):
    """COPY writes many rows as one record of the log: they share an LSN."""
    relay = item.relay(in_flight_events=50, batch_events=10, **NEVER).start()      # so slowly that it can be caught
    item.database.execute("INSERT INTO item SELECT g, repeat('x', 200) FROM generate_series(1, 5000) g")
    with item.database.connect() as connection, connection.cursor() as cursor:
        cursor.copy_from(_lines(5001, 10000), "item", columns=("id", "name"))
    for _ in range(2):
        relay.wait_published(300)
        relay.stop()
        assert len(item.records("item")) < 10000
        relay.start()
    changes = item.records("item", 10000)
    assert ids(changes) == list(range(1, 10001))
    copied = [change["source"]["lsn"] for change in changes[5000:]]
    assert len(set(copied)) < 5000 and copied == sorted(copied)


def _lines(first, last):
    return io.StringIO("".join(f"{n}\tcopied {n}\n" for n in range(first, last + 1)))


def test_transactions_that_are_open_across_restarts_come_when_they_commit(item):
    relay = item.relay(**NEVER).start()
    with item.database.connect(autocommit=False) as long, item.database.connect(autocommit=False) as other, long.cursor() as one, other.cursor() as two:
        one.execute("INSERT INTO item VALUES (11, 'before')")
        two.execute("INSERT INTO item VALUES (21, 'before')")
        item.database.execute("INSERT INTO item VALUES (1, 'alone')")
        item.records("item", 1)
        relay.stop()
        one.execute("INSERT INTO item VALUES (12, 'while stopped')")
        two.execute("INSERT INTO item VALUES (22, 'while stopped')")
        other.commit()
        relay.start()
        assert ids(item.records("item", 3)) == [1, 21, 22]
        relay.kill()
        relay.start()
        one.execute("INSERT INTO item VALUES (13, 'behind')")
        item.database.execute("INSERT INTO item VALUES (2, 'alone')")
        long.commit()
    assert list(dict.fromkeys(ids(item.records("item", 7)))) == [1, 21, 22, 2, 11, 12, 13]


def test_columns_that_came_while_it_was_away_are_there(item):
    relay = item.relay(**NEVER).start()
    item.database.execute("INSERT INTO item VALUES (1, 'a')")
    item.records("item", 1)
    relay.stop()
    item.database.execute("INSERT INTO item VALUES (2, 'b'); ALTER TABLE item ADD COLUMN size int DEFAULT 7; INSERT INTO item VALUES (3, 'c', NULL, 8)")
    relay.start()
    assert [change["after"].get("size") for change in item.records("item", 3)] == [None, None, 8]
    assert list(item.records("item")[1]["after"]) == ["id", "name", "note"]


def test_messages_do_not_confuse_where_it_goes_on(item, wal):
    topic = item.kafka.create_topic(f"{item.prefix}.message")
    relay = item.relay(messages=True, **NEVER).start()
    execute = item.database.execute
    execute("INSERT INTO item VALUES (1, 'a')")
    execute("SELECT pg_logical_emit_message(true, 'one', 'in')")
    execute("SELECT pg_logical_emit_message(false, 'two', 'alone, the last')")
    told = item.records(topic, 2)
    wal.wait_confirmed(name=SLOT)
    relay.stop()
    execute("SELECT pg_logical_emit_message(false, 'three', 'while away')")
    execute("INSERT INTO item VALUES (2, 'b')")
    execute("SELECT pg_logical_emit_message(true, 'four', 'behind')")
    relay.start()
    execute("INSERT INTO item VALUES (3, 'c')")
    assert ids(item.records("item", 3)) == [1, 2, 3]
    told = item.records(topic)
    assert [change.key["prefix"] for change in told if change.key["prefix"] != "test"] == ["one", "two", "three", "four"]
    assert [change["source"]["txId"] is None for change in told if change.key["prefix"] != "test"] == [False, True, True, False]


def test_without_its_position_it_begins_where_the_slot_stands(item, wal):
    relay = item.relay(**NEVER).start()
    item.database.execute("INSERT INTO item VALUES (1, 'a')")
    item.records("item", 1)
    wal.wait_confirmed(name=SLOT)
    relay.stop()
    item.database.execute("DELETE FROM outbox.position")
    item.database.execute("INSERT INTO item VALUES (2, 'b')")
    relay.start()
    item.database.execute("INSERT INTO item VALUES (3, 'c')")
    assert ids(item.records("item", 3)) == [1, 2, 3]
    relay.wait_log("code=SLOT_ADOPTED")


def test_the_slot_follows_and_never_runs_ahead(item, wal):
    relay = item.relay(**NEVER).start()
    with wal.watch(SLOT, "catalog") as watch:
        for number in range(5):
            item.database.execute("INSERT INTO item SELECT g, 'x' FROM generate_series(%s, %s) g", (number * 100 + 1, number * 100 + 100))
            wal.wait_confirmed(name=SLOT)
            if number == 2:
                relay.kill()
                relay.start()
    assert watch.moves["slot"] >= 5
    seen = ids(item.records("item", 500))
    assert seen == list(range(1, 501)), "what was confirmed never comes again"


def test_what_comes_again_after_a_kill_tells_the_same_sequence(item, wal):
    relay = item.relay(**NEVER).start()
    item.database.execute("INSERT INTO item VALUES (1, 'a')")
    item.database.execute("INSERT INTO item VALUES (2, 'b')")
    item.records("item", 2)
    wal.wait_confirmed(name=SLOT)
    relay.stop()
    relay.start(fail_at="before_mark:1:kill")
    item.database.execute("INSERT INTO item VALUES (3, 'c')")
    relay.wait_struck()
    relay.start()
    once, again = [change for change in item.records("item", 4) if change["after"]["id"] == 3]
    assert once["source"] == again["source"] and json.loads(again["source"]["sequence"])[0] is not None
