"""Writers: pgbench through outbox.emit, and a few threads of our own for odd interleavings.

`prepare(database, emit=...)` chooses what a writer calls: outbox.emit (rows), outbox.emit_message (messages in the WAL), or both by
turns. Every event is written to workload.truth in the transaction that emits it. The version of an aggregate is drawn under its row lock
(UPDATE ... RETURNING), as an application that keeps order per key would do it.
"""

import os
import random
import subprocess
import tempfile
import threading
import time

import psycopg2

from .postgres import OWNER, PASSWORDS

ROWS, MESSAGES, BOTH = "rows", "messages", "both"

# The same arguments for either way of emitting; of BOTH, the shape decides.
_EMIT = """
CREATE FUNCTION workload.emit(p_shape int, event_type text, aggregate_type text, aggregate_id text, payload jsonb, event_version int,
    aggregate_version bigint, correlation_id text, causation_id text, traceparent text, headers jsonb, occurred_at timestamptz,
    content_type text, payload_bytes bytea) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
    {choice}
END $$;
"""
_CALL = """RETURN outbox.{function}(event_type, aggregate_type, aggregate_id, payload, event_version => event_version,
        aggregate_version => aggregate_version, correlation_id => correlation_id, causation_id => causation_id,
        traceparent => traceparent, headers => headers, occurred_at => occurred_at, content_type => content_type,
        payload_bytes => payload_bytes);"""
_CHOICES = {
    ROWS: _CALL.format(function="emit"), MESSAGES: _CALL.format(function="emit_message"),
    BOTH: f"IF p_shape / 20 % 2 = 0 THEN {_CALL.format(function='emit')} ELSE {_CALL.format(function='emit_message')} END IF;"}

_EMIT_SCHEMA = "CREATE SCHEMA workload;"
SCHEMA = """
CREATE TABLE workload.agg (id int PRIMARY KEY, ver bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO workload.agg SELECT g FROM generate_series(1, %(keys)s) g;
CREATE TABLE workload.truth (
    event_id uuid PRIMARY KEY, event_type text, event_version int, aggregate_type text, aggregate_id text,
    aggregate_version bigint, value bytea, content_type text, correlation_id text, causation_id text, traceparent text,
    headers jsonb, occurred_at timestamptz);

-- One event of aggregate p_key, and its truth. p_shape picks what kind: see the comments.
CREATE FUNCTION workload.place(p_key int, p_shape int) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    v_version bigint; v_event uuid; v_payload jsonb; v_bytes bytea; v_headers jsonb; v_type text := 'order.placed';
    v_correlation text; v_causation text; v_trace text; v_content text := 'application/json'; v_format int := 1;
    v_at timestamptz;
BEGIN
    UPDATE workload.agg SET ver = ver + 1 WHERE id = p_key RETURNING ver INTO STRICT v_version;
    v_payload := jsonb_build_object('order_id', p_key, 'version', v_version, 'total', round((random() * 1000)::numeric, 2),
        'rate', random(), 'note', 'Grüße, "tea" \\ 茶 ' || repeat('x', p_shape %% 64), 'paid', p_shape %% 2 = 0,
        'items', jsonb_build_array(jsonb_build_object('sku', 'tea-' || p_shape, 'qty', p_shape %% 5), null, 1e-7, 12345678901234567890.5));
    CASE p_shape %% 20
        WHEN 0 THEN v_payload := NULL; v_type := 'order.erased';              -- tombstone
        WHEN 1 THEN v_payload := 'null'; v_type := 'order.blank';             -- the JSON value null
        WHEN 2 THEN v_payload := NULL; v_type := 'order.scanned';             -- bytes, any byte
            v_bytes := decode(md5(p_key || ':' || v_version), 'hex') || '\\x00ff0a5c'::bytea; v_content := 'image/x-scan';
        WHEN 3, 4 THEN v_headers := jsonb_build_object('tenant', 'north-' || p_key %% 7, 'umlaut', 'Ä');
        WHEN 5, 6 THEN v_correlation := 'checkout-' || p_key; v_causation := 'cart-' || v_version; v_format := 3;
        WHEN 7 THEN v_trace := '00-' || md5(p_key::text) || '-' || left(md5(v_version::text), 16) || '-01';
        WHEN 8 THEN                                                           -- from the transaction's context
            PERFORM outbox.set_context('context-' || p_key, 'command-' || v_version, NULL);
            PERFORM set_config('workload.correlation', 'context-' || p_key, true),
                    set_config('workload.causation', 'command-' || v_version, true);
        ELSE NULL;
    END CASE;
    v_at := clock_timestamp();
    v_event := workload.emit(p_shape, v_type, 'order', p_key::text, v_payload, event_version => v_format, aggregate_version => v_version,
        correlation_id => v_correlation, causation_id => v_causation, traceparent => v_trace, headers => v_headers,
        occurred_at => v_at, content_type => nullif(v_content, 'application/json'), payload_bytes => v_bytes);
    INSERT INTO workload.truth VALUES (v_event, v_type, v_format, 'order', p_key::text, v_version,
        coalesce(v_bytes, convert_to(v_payload::text, 'UTF8')), v_content,
        coalesce(v_correlation, nullif(current_setting('workload.correlation', true), ''), v_event::text),
        coalesce(v_causation, nullif(current_setting('workload.causation', true), '')), v_trace, v_headers, v_at);
    RETURN v_event;
END $$;
"""

# name -> (weight, events that commit, script). Keys are locked in ascending order, so nothing deadlocks.
_SET = "\\set key random_zipfian(1, {keys} - 2, 1.05)\n\\set shape random(0, 9999)\n"
SCRIPTS = {
    "single": (68, 1, "SELECT workload.place(:key, :shape);\n"),
    "several": (10, 3, "BEGIN;\nSELECT workload.place(:key, :shape);\nSELECT workload.place(:key + 1, :shape + 1);\n"
                       "SELECT workload.place(:key + 1, :shape + 9);\nCOMMIT;\n"),
    "rolled_back": (5, 0, "BEGIN;\nSELECT workload.place(:key, :shape);\nSELECT workload.place(:key + 1, :shape);\nROLLBACK;\n"),
    "savepoint": (12, 2, "BEGIN;\nSELECT workload.place(:key, :shape);\nSAVEPOINT s;\nSELECT workload.place(:key + 1, :shape);\n"
                         "ROLLBACK TO s;\nSAVEPOINT t;\nSELECT workload.place(:key + 2, :shape + 3);\nRELEASE t;\nCOMMIT;\n"),
    "late": (2, 2, "BEGIN;\nSELECT workload.place(:key, :shape);\n\\sleep 20 ms\nSELECT workload.place(:key, :shape);\nCOMMIT;\n"),
    "asynchronous": (3, 1, "BEGIN;\nSET LOCAL synchronous_commit = off;\nSELECT workload.place(:key, :shape);\nCOMMIT;\n"),
}
EVENTS_PER_TRANSACTION = sum(w * n for w, n, _ in SCRIPTS.values()) / sum(w for w, _, _ in SCRIPTS.values())


def prepare(database, keys=1000, emit=ROWS):
    """Create the workload's schema in a migrated database; `emit`: ROWS, MESSAGES or BOTH."""
    connection = database.connect()
    with connection.cursor() as cursor:
        cursor.execute(_EMIT_SCHEMA + _EMIT.format(choice=_CHOICES[emit]))
        cursor.execute(SCHEMA, {"keys": keys})
    connection.close()
    database.workload_keys = keys
    return database


def committed(database):
    """How many events are committed so far."""
    return database.scalar("SELECT count(*) FROM workload.truth")


class Pgbench:
    """pgbench in the background. A server that goes away ends it, so run() starts it again until `events` are committed."""

    def __init__(self, database, events, clients=4, seed=None):
        self.database, self.events, self.clients = database, events, clients
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.process = None
        self.directory = tempfile.mkdtemp(prefix="outboxd-pgbench-")
        self.scripts = []
        for name, (weight, _, body) in SCRIPTS.items():
            path = os.path.join(self.directory, name + ".sql")
            with open(path, "w", encoding="ascii") as f:
                f.write(_SET.format(keys=database.workload_keys) + body)
            self.scripts += ["-f", f"{path}@{weight}"]
        self.log_path = os.path.join(self.directory, "pgbench.log")

    def start(self):
        """Start writing what is still missing to `events`."""
        missing = self.events - committed(self.database)
        per_client = max(1, int(missing / EVENTS_PER_TRANSACTION / self.clients) + 1)
        server = self.database.server
        self.seed += 1
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["pgbench", "-n", "-M", "prepared", "-h", "127.0.0.1", "-p", str(server.port), "-U", OWNER, "-c", str(self.clients),
                 "-j", "2", "-t", str(per_client), f"--random-seed={self.seed}", *self.scripts, self.database.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PGPASSWORD": PASSWORDS[OWNER]})
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def turn(self):
        """Call now and then: True while there is work; starts again what a fault ended, once the server is back."""
        if self.running():
            return True
        try:
            if committed(self.database) >= self.events:
                return False
            self.start()
        except psycopg2.OperationalError:
            pass
        return True

    def run(self, pause=0.05, between=None):
        """Write until `events` are committed; `between()` is called each turn (the place for faults)."""
        deadline = time.monotonic() + 1800
        while self.turn():
            assert time.monotonic() < deadline, "the workload does not come to its end"
            if between:
                between()
            time.sleep(pause)
        return committed(self.database)

    def stop(self):
        if self.running():
            self.process.terminate()
            self.process.wait()


class Writers:
    """A few threads with one connection each: transactions overlap for random small times, 1 in 10 is rolled back.

    Use as a context manager; leaving it stops the threads and raises what went wrong in them. Connections that a fault cut are
    opened again. A thread rests for up to `pause_ms` between two transactions: what waits for a fault, and not for a number of events, costs half.
    """

    def __init__(self, database, threads=6, keys=8, longest_ms=8, seed=1, pause_ms=10):
        self.database, self.keys, self.longest_ms, self.pause_ms = database, keys, longest_ms, pause_ms
        self.stopping = threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self._work, args=(seed * 1000 + n,), daemon=True) for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
        assert not self.errors, self.errors

    def _work(self, seed):
        rng = random.Random(seed)
        connection = None
        while not self.stopping.is_set():
            try:
                if connection is None or connection.closed:
                    connection = self.database.connect(autocommit=False)
                self._transaction(connection, rng)
                self.stopping.wait(rng.random() * self.pause_ms / 1000)
            except Exception as e:
                # A connection that a fault cut, which may be a DatabaseError that no server sent; anything else is reported by __exit__.
                cut = isinstance(e, (psycopg2.OperationalError, psycopg2.InterfaceError)) or \
                    (isinstance(e, psycopg2.DatabaseError) and e.pgcode is None)
                if not cut:
                    self.errors.append(e)
                    return
                connection = None
                self.stopping.wait(0.05)
        if connection is not None:
            connection.close()

    def _transaction(self, connection, rng):
        with connection.cursor() as cursor:
            if rng.random() < 0.3:
                cursor.execute("SELECT pg_current_xact_id()")       # an xid long before the key's lock
                self.stopping.wait(rng.random() * self.longest_ms / 1000)
            for key in sorted(rng.sample(range(1, self.keys + 1), rng.choice((1, 1, 2)))):
                cursor.execute("SELECT workload.place(%s, %s)", (key, rng.randrange(10000)))
                if rng.random() < 0.5:
                    self.stopping.wait(rng.random() * self.longest_ms / 1000)
        if rng.random() < 0.1:
            connection.rollback()
        else:
            connection.commit()
