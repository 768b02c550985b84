"""Values that a running relay meets: large ones that an update leaves alone, types that change, modes (rows 57 to 70 of tests/TABLES.md).

Every type in every mode stands beside a real Debezium's record in tests/fixtures/golden (unit test golden)."""

import base64
import json

from support.tables import HELD, TOASTED, toasted_columns, toasted_values

NEVER = {"snapshot": "never"}
PLACEHOLDERS = {"t": HELD, "b": base64.b64encode(HELD.encode()).decode(), "j": HELD, "a": [HELD], "n": list(HELD.encode())}


def test_what_is_unchanged_null_and_not_sent_are_three_things(tables):
    execute = tables.database.execute
    columns = f"id int PRIMARY KEY, note text, {toasted_columns(TOASTED)}"
    tables.create("by_key", columns)
    tables.create("by_all", columns, "ALTER TABLE by_all REPLICA IDENTITY FULL")
    tables.publish()
    tables.relay(**NEVER).start()
    for name in tables.names:
        execute(f"INSERT INTO {name} VALUES (1, 'a', {toasted_values(TOASTED)}); INSERT INTO {name} (id) VALUES (2)")
        execute(f"UPDATE {name} SET note = 'b'")
        execute(f"UPDATE {name} SET t = NULL WHERE id = 1")
        execute(f"UPDATE {name} SET id = 3 WHERE id = 1")
        execute(f"DELETE FROM {name} WHERE id = 3")
    made, empty, held, still, cleared, _, _, moved, gone, _ = tables.records("by_key", 10)
    large = {name: made["after"][name] for name in TOASTED}
    assert all(len(json.dumps(value)) > 8000 for value in large.values()) and set(empty["after"].values()) == {2, None}
    assert held["after"] == {"id": 1, "note": "b", **PLACEHOLDERS}
    assert still["after"] == {"id": 2, "note": "b", **dict.fromkeys(TOASTED)}
    assert cleared["after"] == {"id": 1, "note": "b", **PLACEHOLDERS, "t": None}
    assert moved["op"] == "c" and moved["after"] == {"id": 3, "note": "b", **PLACEHOLDERS, "t": None}
    assert gone["before"] == {"id": 3, "note": None, **dict.fromkeys(TOASTED)}
    _, _, held, still, cleared, deleted, _, moved, gone, _ = tables.records("by_all", 10)
    full = {"id": 1, "note": "a", **large}
    assert held["before"] == full and held["after"] == {**full, "note": "b"} and still["before"]["t"] is None
    assert cleared["before"] == {**full, "note": "b"} and cleared["after"] == {**full, "note": "b", "t": None}
    assert deleted["before"] == cleared["after"] and moved["after"] == {**cleared["after"], "id": 3} == gone["before"]


def test_the_schema_follows_types_that_come_and_change(tables):
    execute = tables.database.execute
    tables.create("item", "id int PRIMARY KEY, v varchar(10)")
    tables.publish()
    tables.relay(schemas=True, **NEVER).start()
    execute("INSERT INTO item VALUES (1, 'a')")
    execute("CREATE DOMAIN price AS numeric(6, 2) CHECK (VALUE > 0); CREATE TYPE mood AS ENUM ('ok'); CREATE TYPE pair AS (a int, b int)")
    execute("ALTER TABLE item ADD COLUMN p price, ADD COLUMN m mood NOT NULL DEFAULT 'ok', ADD COLUMN c pair")
    execute("INSERT INTO item VALUES (2, 'b', 1.5, 'ok', '(1,2)')")
    tables.records("item", 2)
    execute("ALTER TABLE item ALTER COLUMN v TYPE int USING 7, DROP COLUMN c; ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'")
    execute("INSERT INTO item VALUES (3, 8, 2.25)")
    changes = tables.records("item", 3)
    described = [[(f["field"], f["type"], f.get("name"), f["optional"]) for f in json.loads(c.raw[1])["schema"]["fields"][1]["fields"]] for c in changes]
    decimal = ("p", "bytes", "org.apache.kafka.connect.data.Decimal", True)
    enum = ("m", "string", "io.debezium.data.Enum", False)
    assert described == [[("id", "int32", None, False), ("v", "string", None, True)],
                         [("id", "int32", None, False), ("v", "string", None, True), decimal, enum, ("c", "string", None, True)],
                         [("id", "int32", None, False), ("v", "int32", None, True), decimal, enum]]
    assert changes[1]["after"] == {"id": 2, "v": "b", "p": "AJY=", "m": "ok", "c": "(1,2)"}
    assert changes[2]["after"] == {"id": 3, "v": 8, "p": "AOE=", "m": "fine"}


def test_modes_of_the_pipeline_and_strange_settings_of_the_server(tables):
    """The server prints dates in German, bytes escaped, and knows a time zone of its own (support/postgres.py)."""
    columns = "id int PRIMARY KEY, n numeric, i interval, b bytea, z timestamptz, t timestamp(3), d date, f float8, o numeric(9,3)"
    tables.create("item", columns)
    tables.publish()
    tables.relay(decimal="string", interval="string", binary="hex", time="isostring", **NEVER).start()
    tables.database.execute("SET timezone = 'America/St_Johns'; INSERT INTO item VALUES (1, 'NaN', '1 year 2 days 03:04:05.6', '\\x00ff', '2024-02-29 12:00+00', "
                            "'2024-02-29 12:00:00.1234', '-infinity', 1e300, 1.5), (2, 1e-5, '-1 month', '', '0044-03-15 BC', '1500-01-01', '1500-01-01', 'NaN', NULL)")
    first, second = (change["after"] for change in tables.records("item", 2))
    assert (first["n"], first["i"], first["b"], first["o"]) == ("NAN", "P1Y0M2DT3H4M5.6S", "00ff", "1.500")
    assert first["z"] == "2024-02-29T12:00:00Z" or first["z"] == "2024-02-29T12:00:00.000000Z"
    assert (second["n"], second["i"], second["b"], second["f"]) == ("0.00001", "P0Y-1M0DT0H0M0S", "", "NaN")
