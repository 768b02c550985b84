"""The first snapshot of capture = "tables": rows that were there before the stream, and what meets it."""

import json
import threading

import pytest

from support.common import eventually
from support.postgres import RELAY

ITEM = "id int PRIMARY KEY, name text, note text"


def rows(changes):
    return [change for change in changes if change["op"] == "r"]


def markers(changes):
    return [change["source"]["snapshot"] for change in rows(changes)]


def test_rows_come_first_with_debezium_s_markers_and_the_stream_follows(tables):
    for name in ("a", "b", "c", "d"):
        tables.create(name, ITEM)
    tables.database.execute("INSERT INTO a SELECT i, 'a' FROM generate_series(1, 3) i; INSERT INTO c VALUES (7, 'one', NULL)")
    tables.database.execute("INSERT INTO d SELECT i, 'd' FROM generate_series(1, 4) i")
    tables.publish()
    relay = tables.relay().start()
    first = tables.records("a", 3)
    assert markers(first) == ["first", "true", "last_in_data_collection"]
    assert markers(tables.records("c", 1)) == ["last_in_data_collection"]
    last = tables.records("d", 4)
    assert markers(last) == ["first_in_data_collection", "true", "true", "last"]
    assert tables.records("b") == []
    sources = [change["source"] for change in first + last]
    assert len({(source["lsn"], source["txId"], source["ts_us"]) for source in sources}) == 1
    assert sources[0]["sequence"] == f'[null,"{sources[0]["lsn"]}"]' and sources[0]["xmin"] is None
    assert first[0]["before"] is None and first[0]["after"] == {"id": 1, "name": "a", "note": None} and first[0]["transaction"] is None
    assert first[0].key == {"id": 1}
    relay.wait_log("STREAM_STARTED")
    tables.database.execute("INSERT INTO b VALUES (1, 'new'); DELETE FROM a WHERE id = 2")
    assert [change["op"] for change in tables.records("b", 1)] == ["c"]
    assert tables.records("a", 5)[3]["op"] == "d"
