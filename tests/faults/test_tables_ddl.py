"""capture = "tables" while its table is altered: a relay that lags reads the log of then with the catalog of now.

Transactions mix statements and DDL by the dice, with savepoints that are taken back; the relay is killed, stopped for a while, cut off. A trigger
notes each change beside the table, and the topic must tell the same, in the same order, with the names, keys and values of its time.
"""

import json
import random

import pytest

from conftest import soak
from support.common import eventually

PREPARE = """
CREATE SCHEMA work;
CREATE TABLE work.note (seq bigserial PRIMARY KEY, op text, old jsonb, new jsonb);
CREATE FUNCTION work.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO work.note (op, old, new) VALUES (left(TG_OP, 1), CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) END,
    CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW) END);
  RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION work.note();
CREATE TRIGGER note_cut AFTER TRUNCATE ON item FOR EACH STATEMENT EXECUTE FUNCTION work.note();
"""
UNSENT = "__debezium_unavailable_value"
LARGE = "(SELECT string_agg(md5((g * {})::text), '') FROM generate_series(1, 200) g)"
TEXTS = ("a", "é", "x" * 50, "", "q''uote")
COLUMNS_MAX = 9
LAST = 1_000_000    # the key of the row behind all others


class Author:
    """Statements that fit the table as it is, and what it is after them."""

    def __init__(self, rng):
        self.rng = rng
        self.columns = {"id": ("int", True)}    # name: type, NOT NULL
        self.key = "id"
        self.used = 0

    def next(self):
        self.used += 1
        return self.used

    def kept(self):
        return dict(self.columns), self.key

    def take_back(self, kept):
        self.columns, self.key = dict(kept[0]), kept[1]

    def value(self, name):
        kind, needed = self.columns[name]
        if not needed and self.rng.random() < 0.2:
            return "NULL"
        if kind == "int":
            return str(self.rng.randint(-5, 99999))
        if self.rng.random() < 0.1:
            return LARGE.format(self.rng.randint(1, 9))
        return f"'{self.rng.choice(TEXTS)}{self.rng.randint(0, 99)}'"

    def others(self):
        return [name for name in self.columns if name != self.key]

    def insert(self, key=None):
        values = [str(key or self.next()) if name == self.key else self.value(name) for name in self.columns]
        return f"INSERT INTO item ({', '.join(self.columns)}) VALUES ({', '.join(values)})"

    def update(self):
        name = self.rng.choice(self.others())
        return f"UPDATE item SET {name} = {self.value(name)} WHERE {self.key} IN (SELECT {self.key} FROM item ORDER BY random() LIMIT 3)"

    def delete(self):
        return f"DELETE FROM item WHERE {self.key} IN (SELECT {self.key} FROM item ORDER BY random() LIMIT 1)"

    def update_key(self):
        return f"UPDATE item SET {self.key} = {self.next()} WHERE {self.key} = (SELECT max({self.key}) FROM item)"

    def add(self):
        kind, needed = self.rng.choice(("int", "text")), self.rng.random() < 0.5
        name = self.rng.choice(("c{}", '"C {}"')).format(self.next())
        self.columns[name] = kind, needed
        return f"ALTER TABLE item ADD {name} {kind}" + (f" NOT NULL DEFAULT {7 if kind == 'int' else chr(39) + 'd' + chr(39)}" if needed else "")

    def drop(self):
        name = self.rng.choice(self.others())
        del self.columns[name]
        return f"ALTER TABLE item DROP {name}"

    def rename(self):
        """At times to the name that another one had."""
        old = self.rng.choice(list(self.columns))
        new = f"c{self.rng.randint(1, max(1, self.used))}" if self.rng.random() < 0.3 else f"r{self.next()}"
        if new in self.columns:
            return "SELECT"
        self.columns[new] = self.columns.pop(old)
        self.key = new if self.key == old else self.key
        return f"ALTER TABLE item RENAME {old} TO {new}"

    def retype(self):
        name = self.rng.choice(self.others())
        kind, needed = self.columns[name]
        self.columns[name] = "text", needed
        return f"ALTER TABLE item ALTER {name} DROP DEFAULT, ALTER {name} TYPE {'text' if kind == 'int' else 'varchar'}"

    def identity(self):
        return "ALTER TABLE item REPLICA IDENTITY " + self.rng.choice(("FULL", "DEFAULT"))

    def cut(self):
        return "TRUNCATE item"

    def statement(self):
        some = len(self.columns) > 1
        made = [(self.insert, 30), (self.delete, 8), (self.update_key, 8), (self.add, 10 if len(self.columns) < COLUMNS_MAX else 0), (self.rename, 8),
                (self.identity, 3), (self.cut, 2), (self.update, 20 * some), (self.drop, 6 * some), (self.retype, 3 * some)]
        return self.rng.choices([make for make, _ in made], [weight for _, weight in made])[0]()


def write(author, cursor, said):
    """A transaction; `said` gets its statements."""
    def run(sql):
        said.append(sql)
        cursor.execute(sql.replace("%", "%%"))
    for _ in range(author.rng.randint(1, 8)):
        if author.rng.random() < 0.1:
            kept = author.kept()
            run("SAVEPOINT s")
            for _ in range(author.rng.randint(1, 3)):
                run(author.statement())
            run("ROLLBACK TO s")
            author.take_back(kept)
        else:
            run(author.statement())
    cursor.connection.commit()
    said.append("COMMIT")


def told_by(records):
    """Changes in their order, each once; tombstones belong to the delete before them."""
    told = {}
    for change in records:
        if not change.tombstone:
            source = change["source"]
            told.setdefault((source["txId"], source["lsn"], change["op"], json.dumps([change.key, change["after"]], sort_keys=True)), change)
    return list(told.values())


def is_key_of(change, row):
    return len(change.key) == 1 and all(row[name] == value for name, value in change.key.items())


def is_row(change, row):
    """As it was, with a placeholder for what an update left alone."""
    after = change["after"]
    return set(after) == set(row) and all(value in (row[name], UNSENT) for name, value in after.items())


def compare(notes, told):
    told = iter(told)
    for note in notes:
        op, old, new = note
        change = next(told, None)
        assert change is not None, f"missing: {note}"
        moved = op == "U" and change["op"] == "d"
        if op == "D" or moved:
            assert change["op"] == "d" and is_key_of(change, old), (note, change, change.key)
        if moved:
            change = next(told)
            assert change["op"] == "c" and is_row(change, new) and is_key_of(change, new), (note, change, change.key)
        elif op != "D":
            assert change["op"] == {"I": "c", "U": "u", "T": "t"}[op], (note, change)
            assert op == "T" or (is_row(change, new) and is_key_of(change, new)), (note, change, change.key)
    assert next(told, None) is None, "more than was done"


def disturb(relay, rng, database):
    """Nothing, mostly; the relay may be down for a while."""
    dice = rng.random()
    if not relay.running():
        if dice < 0.4:
            relay.start(wait_ready=False)
    elif dice < 0.08:
        relay.kill()
    elif dice < 0.14:
        assert relay.wait_ready().stop(expect=None) in (0, 5), "5 where its connections had been cut just before"
    elif dice < 0.2:
        database.terminate_backends()


@pytest.mark.parametrize("seed, transactions", [(4, 60), *(soak(seed, 100) for seed in range(5, 25))])
def test_what_was_done_is_told_as_it_was_then(tables, seed, transactions):
    rng = random.Random(seed)
    tables.create("item", "id int PRIMARY KEY", PREPARE)
    tables.publish()
    relay = tables.relay([{"table": "public.item", "operations": "cudt"}], snapshot="never", retry_backoff_min="20ms", retry_backoff_max="200ms").start()
    relay.wait_log("STREAM_STARTED")
    author, said = Author(rng), []
    with tables.database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        for _ in range(transactions):
            write(author, cursor, said)
            disturb(relay, rng, tables.database)
        cursor.execute(author.insert(LAST))
    if not relay.running():
        relay.start(wait_ready=False)
    eventually(lambda: any(change.key and LAST in change.key.values() for change in tables.records("item")), 60, relay.log_tail)
    notes = tables.execute("SELECT op, old, new FROM work.note ORDER BY seq")
    try:
        compare(notes, told_by(tables.records("item")))
    except AssertionError:
        print(";\n".join(said))
        raise
    print(f"{len(notes)} changes, {sum(sql.startswith('ALTER') for sql in said)} of {len(said)} statements altered the table")
