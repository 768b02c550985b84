"""A load on ordinary tables whose every change is noted beside it, and the comparison of the topics with these notes.

    load = TableLoad(tables)             # tables, their topics and publications, notes
    with load.running(clients=3):        # transactions of 1 to 5,000 rows, until the block ends
        relay.kill()
    load.compare(kills=1, in_flight=200) # nothing lost, changed, out of order; repeats are a few, and equal

A trigger of each table writes what a statement did to a row into `work.note`, in the same transaction. Rows belong to one client each, so
that the order of the notes of a key is that of its commits.
"""

import contextlib
import itertools
import json
import random
import threading

import psycopg2

from .common import eventually
from .consume import may_have
from .postgres import RELAY

KEYED = ("account", "line", "whole")
TABLES = KEYED + ("cut", "log")
REPEATS = ("ts_ms", "ts_us", "ts_ns")
REST = 0.003    # seconds that a client rests for each statement of its last transaction: what waits for a fault, and not for a number of changes, costs little

_PREPARE = f"""
CREATE SCHEMA work;
CREATE TABLE work.note (seq bigserial PRIMARY KEY, t text, op "char", old jsonb, new jsonb);
CREATE TABLE account (id int PRIMARY KEY, n bigint NOT NULL, t text);
CREATE TABLE line (part text, id int, n bigint, t text, PRIMARY KEY (part, id));
CREATE TABLE whole (id int PRIMARY KEY, n bigint, t text); ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE cut (id bigserial PRIMARY KEY, n bigint);
CREATE TABLE log (n bigint, t text);
GRANT SELECT ON {', '.join(TABLES)} TO {RELAY};

CREATE FUNCTION work.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO work.note (t, op, old, new) VALUES (TG_TABLE_NAME, left(TG_OP, 1)::"char",
    CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) END, CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW) END);
  RETURN NULL; END $$;
CREATE FUNCTION work.note_cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO work.note (t, op) VALUES (TG_TABLE_NAME, 'T'); RETURN NULL; END $$;

CREATE FUNCTION work.one(me int, keys int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE k int := me * 100000 + floor(random() * keys); o int := me * 100000 + floor(random() * keys); what float := random();
BEGIN
  IF what < 0.35 THEN
    INSERT INTO account VALUES (k, 1, 'first of ' || k) ON CONFLICT (id) DO UPDATE SET n = account.n + 1;
  ELSIF what < 0.45 THEN
    DELETE FROM account WHERE id = k;
  ELSIF what < 0.55 THEN
    UPDATE account SET id = o, n = n + 1 WHERE id = k AND NOT EXISTS (SELECT FROM account WHERE id = o);
  ELSIF what < 0.70 THEN
    INSERT INTO line VALUES ('p' || k % 3, k, 1, 'line "' || k || E'"\\t\\u00fc') ON CONFLICT (part, id) DO UPDATE SET n = line.n + 1;
  ELSIF what < 0.75 THEN
    UPDATE line SET part = 'q', t = NULL WHERE id = k AND part < 'q' AND NOT EXISTS (SELECT FROM line WHERE id = k AND part = 'q');
  ELSIF what < 0.78 THEN
    DELETE FROM line WHERE id = k;
  ELSIF what < 0.90 THEN
    INSERT INTO whole VALUES (k, 1, repeat('w', k % 50)) ON CONFLICT (id) DO UPDATE SET n = whole.n + 1, t = NULL;
  ELSIF what < 0.93 THEN
    DELETE FROM whole WHERE id = k;
  ELSIF what < 0.97 THEN
    INSERT INTO cut (n) VALUES (k);
  ELSE
    INSERT INTO log VALUES (k, 'said');
  END IF;
END $$;
CREATE FUNCTION work.turn(me int, size int, keys int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  FOR i IN 1 .. size LOOP
    IF random() < 0.02 THEN   -- a savepoint that is taken back
      BEGIN PERFORM work.one(me, keys); RAISE EXCEPTION USING ERRCODE = 'P0099'; EXCEPTION WHEN SQLSTATE 'P0099' THEN NULL; END;
    END IF;
    PERFORM work.one(me, keys);
  END LOOP; END $$;
"""


class Finding(AssertionError):
    """What the topics say is not what was done."""


class TableLoad:
    """Five tables: two keys, one with all of the old row, one that is truncated, one without key (inserts only)."""

    mappings = [{"table": f"public.{name}", **({"operations": "cudt"} if name == "cut" else {})} for name in TABLES]

    def __init__(self, tables, keys=40, seed=1):
        self.tables, self.keys, self.rng = tables, keys, random.Random(seed)
        self.database = tables.database
        self.database.execute(_PREPARE)
        for name in TABLES:
            tables.names.append(name)
            self.database.execute(f"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION work.note()")
            tables.kafka.create_topic(tables.topic(name))
        self.database.execute("CREATE TRIGGER note_cut AFTER TRUNCATE ON cut FOR EACH STATEMENT EXECUTE FUNCTION work.note_cut()")
        tables.publish(*KEYED, "cut", second=("log",))
        self.committed = 0
        self.stopping = threading.Event()

    def relay(self, in_flight=200, **options):
        return self.tables.relay(self.mappings, snapshot="never", in_flight_events=in_flight, batch_events=max(10, in_flight // 5), **options)

    # -- writing ------------------------------------------------------------------------------------------------------

    def turn(self, me=0, size=None, connection=None):
        """One transaction; `size` statements, by default as the dice fall: few, at times many. How many these were."""
        size = size or self.rng.choice((1, 1, 1, 2, 5, 20, 100, 300))
        sql, args = "SELECT work.turn(%s, %s, %s)", (me, size, self.keys)
        if connection is None:
            self.database.execute(sql, args)
        else:
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
        self.committed += 1
        return size

    def cut(self):
        self.database.execute("TRUNCATE cut")

    @contextlib.contextmanager
    def running(self, clients=3, big=0):
        """Clients that write until the block ends; `big`: each first writes a transaction of so many statements."""
        self.stopping.clear()
        threads = [threading.Thread(target=self._client, args=(n + 1, big), daemon=True) for n in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(60)

    def _client(self, me, big):
        connection = None
        while not self.stopping.is_set():
            try:
                connection = connection or self.database.connect()
                if big:
                    self.turn(me, big, connection)
                    big = 0
                self.stopping.wait(0.01 + REST * self.turn(me, None, connection))
                if me == 1 and self.committed % 20 == 0:
                    with connection.cursor() as cursor:
                        cursor.execute("TRUNCATE cut")
            except psycopg2.Error:      # the server is on its way back
                connection = None
                self.stopping.wait(0.05)

    def wait_committed(self, more):
        """Until so many more transactions have committed."""
        wanted = self.committed + more
        eventually(lambda: self.committed >= wanted, 60, lambda: f"{wanted} transactions, has {self.committed}")

    # -- what it should have become -----------------------------------------------------------------------------------

    def expected(self):
        """table -> key as text -> [(op, row after)] in the order of commits; a truncated table's `t` stands in the list of each key (key None)."""
        made = {name: {} for name in TABLES}
        for name, op, old, new in self.database.execute("SELECT t, op::text, old, new FROM work.note ORDER BY seq"):
            here = made[name]
            if op == "T":
                self._note_cut(here)
                continue
            before, after = (row and self._key(name, row) for row in (old, new))
            if op == "U" and before != after:
                self._list(here, before).extend([("d", None), ("-", None)])
                self._list(here, after).append(("c", new))
            elif op == "D":
                self._list(here, before).extend([("d", None), ("-", None)])
            else:
                self._list(here, after).append(("c" if op == "I" else "u", new))
        return made

    @staticmethod
    def _note_cut(here):
        for changes in here.values():
            changes.append(("t", None))
        if None not in here:
            here[None] = [("t", None)]

    @staticmethod
    def _list(here, key):
        return here.setdefault(key, list(here.get(None, ())))

    @staticmethod
    def _key(name, row):
        if name == "log":
            return "null"
        return json.dumps({"part": row["part"], "id": row["id"]} if name == "line" else {"id": row["id"]})

    # -- what it became -----------------------------------------------------------------------------------------------

    def read(self, name):
        """The records of a topic, each with its identity: transaction, LSN, key and kind. A tombstone has that of the last delete of its key."""
        found, deletes = self.tables.records(name), {}
        for change in found:
            key = json.dumps(change.key)
            if change.tombstone:
                change.identity = (*deletes[key], "-")
                continue
            place = (change["source"]["txId"], change["source"]["lsn"], key)
            change.identity = (*place, change["op"])
            if change["op"] == "d":
                deletes[key] = place
        return found

    def wait_arrived(self, relay=None, timeout=60):
        """Until as many different records are in the topics as there were changes; (these changes, the records of each table)."""
        made, arrived = self.expected(), {}
        counts = {name: sum(op != "t" for changes in of.values() for op, _ in changes) + len(of.get(None, ())) for name, of in made.items()}

        def missing():
            """Reads a topic when it may have enough, and no more once it was seen to have."""
            for name, count in counts.items():
                if name not in arrived and may_have(self.tables.kafka.brokers, [self.tables.topic(name)], count):
                    found = self.read(name)
                    if len({change.identity for change in found}) >= count:
                        arrived[name] = found
            return {name: count for name, count in counts.items() if name not in arrived}
        eventually(lambda: not missing(), timeout, lambda: f"each topic has its changes, not yet: {missing()}\n" + (relay.log_tail() if relay else ""), interval=0.3)
        return made, {name: self._to_its_end(name, found) for name, found in arrived.items()}

    def _to_its_end(self, name, found):
        """What was read of a topic, and what came while others were waited for."""
        return self.read(name) if may_have(self.tables.kafka.brokers, [self.tables.topic(name)], len(found) + 1) else found

    def compare(self, relay=None, kills=0, in_flight=200, in_runs=True):
        """Finding unless each topic has what its table was told: every change once, in order, what is repeated equal, repeats bounded. The number of repeats.

        in_runs=False: what a relay that hung still had on its socket may come at any place."""
        made, arrived = self.wait_arrived(relay)
        repeats = sum(self._compare_table(name, made[name], arrived[name], kills if in_runs else None) for name in TABLES)
        if repeats > kills * in_flight:
            raise Finding(f"{repeats} repeats after {kills} kills with {in_flight} in flight")
        return repeats

    def _compare_table(self, name, wanted, arrived, kills):
        order = self._first_times(name, arrived, kills)
        found = {}
        for change in order:
            op = "-" if change.tombstone else change["op"]
            if op == "t":
                self._note_cut(found)
            else:
                self._list(found, json.dumps(change.key)).append((op, None if change.tombstone else change["after"]))
        for key in wanted.keys() | found.keys():
            here, there = wanted.get(key, []), found.get(key, [])
            if name == "log":       # without a key, its writers stand in no order
                here, there = sorted(here, key=str), sorted(there, key=str)
            if here != there:
                raise Finding(f"{name}, key {key}: wanted {here}, found {there}")
        return len(arrived) - len(order)

    def _first_times(self, name, arrived, kills):
        """The records that arrived without repeats, which must be equal and follow each other as they did; each kill may go back once. kills None: they may stand anywhere."""
        first, order, at, returns = {}, [], -1, 0
        for change in arrived:
            bare = (change.raw[0], {k: v for k, v in change.items() if k not in REPEATS})
            number = first.setdefault(change.identity, (len(order), bare))[0]
            if first[change.identity][1] != bare:
                raise Finding(f"{name}: repeated with another content:\n{first[change.identity][1]}\n{bare}")
            if number == len(order):
                order.append(change)
            if kills is not None and number > at + 1:
                raise Finding(f"{name}: a replay leaves something out before {change.identity}")
            returns += number <= at
            at = number
        self._check_commits(name, [change["source"] for change in order if not change.tombstone])
        if kills is not None and returns > kills:
            raise Finding(f"{name}: went back {returns} times after {kills} kills")
        return order

    @staticmethod
    def _check_commits(name, sources):
        """Transactions one after the other, by the ends of those before them; changes by their place in the log."""
        runs = [list(run) for _, run in itertools.groupby(sources, key=lambda source: source["txId"])]
        if len(runs) != len({run[0]["txId"] for run in runs}):
            raise Finding(f"{name}: transactions are mixed")
        ends = [int(end) for run in runs for end, _ in [json.loads(run[0]["sequence"])] if end]
        if ends != sorted(ends) or any([s["lsn"] for s in run] != sorted(s["lsn"] for s in run) for run in runs):
            raise Finding(f"{name}: not in the order of commits")
