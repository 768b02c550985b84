"""Logical replication as an administrator sets it up and an observer sees it: publication, slot, position, WAL.

    wal = Wal(database)                    # the publication and the REPLICATION attribute, as `outboxd migrate` prints them
    wal.slot()["confirmed_flush_lsn"]      # what PostgreSQL believes; LSNs are integers here
    wal.position()["lsn"]                  # what the relay wrote down
    with wal.watch() as samples: ...       # both, all the time, checked against the rules of the architecture
"""

import threading
import time

import psycopg2

from .common import eventually
from .postgres import RELAY, SUPERUSER

PIPELINE = "orders"
SLOT = PUBLICATION = "outboxd_orders"
PREFIX = "outboxd.event"


def lsn(text):
    """"16/B374D848" as a number; None stays None."""
    if text is None:
        return None
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(number):
    """A number as PostgreSQL prints an LSN."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def drop_slots(database):
    """Drop every slot of a database, whoever reads it: a database with slots cannot be dropped."""
    def gone():
        slots = database.server.execute("SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", (database.name,))
        for name, pid in slots:
            if pid is not None:
                database.server.execute("SELECT pg_terminate_backend(%s)", (pid,))
            try:
                database.server.execute("SELECT pg_drop_replication_slot(%s)", (name,))
            except psycopg2.errors.ObjectInUse:
                pass
        return not slots
    eventually(gone, 20, f"no slot is left in {database.name}")


class Wal:
    """What there is to see and to do about one database's WAL."""

    def __init__(self, database, publication=PUBLICATION, table="outbox.event", role=RELAY):
        self.database, self.server = database, database.server
        if role:
            self.server.let_replicate(role)
        if publication:
            self.publish(publication, table)

    def publish(self, publication=PUBLICATION, table="outbox.event"):
        """The administrator's CREATE PUBLICATION, of inserts only."""
        self.database.execute(f"CREATE PUBLICATION {publication} FOR TABLE {table} WITH (publish = 'insert')")

    # -- what one sees ----------------------------------------------------------------------------------------------

    def slot(self, name=SLOT):
        """The row of pg_replication_slots as a dict with LSNs as numbers, or None."""
        rows = self.database.execute("SELECT to_jsonb(s) FROM pg_replication_slots s WHERE slot_name = %s", (name,), user=SUPERUSER)
        if not rows:
            return None
        return {k: lsn(v) if k.endswith("_lsn") else v for k, v in rows[0][0].items()}

    def confirmed(self, name=SLOT):
        """confirmed_flush_lsn as a number; None while there is none."""
        slot = self.slot(name)
        return slot and slot["confirmed_flush_lsn"]

    def position(self, pipeline=PIPELINE):
        """The row of outbox.position as a dict with LSNs as numbers, or None."""
        rows = self.database.execute("SELECT to_jsonb(p) FROM outbox.position p WHERE pipeline = %s", (pipeline,))
        if not rows:
            return None
        return {k: lsn(v) if k.endswith("lsn") else v for k, v in rows[0][0].items()}

    def now(self):
        """Where the server writes its WAL."""
        return lsn(self.database.scalar("SELECT pg_current_wal_insert_lsn()::text"))

    def sender(self, name=SLOT):
        """The walsender that reads the slot: pg_stat_replication's row as a dict, or None."""
        rows = self.database.execute("SELECT to_jsonb(r) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid "
                                     "WHERE s.slot_name = %s", (name,), user=SUPERUSER)
        return rows[0][0] if rows else None

    # -- what one waits for -----------------------------------------------------------------------------------------

    def wait_slot(self, name=SLOT, timeout=20):
        """Until the slot exists; it may still be waiting for transactions to end."""
        return eventually(lambda: self.slot(name), timeout, f"slot {name} exists")

    def wait_active(self, name=SLOT, timeout=20):
        """Until somebody reads the slot: a relay is ready before that, while it publishes the rows from before the slot."""
        eventually(lambda: (self.slot(name) or {}).get("active"), timeout, lambda: f"slot {name} is read, is {self.slot(name)}")

    def wait_begun(self, timeout=20, pipeline=PIPELINE):
        """Until the rows from before the slot are done with; a relay is ready before that, as it publishes already."""
        eventually(lambda: (self.position(pipeline) or {}).get("backfill") is False, timeout, lambda: f"it reads the log, is at {self.position()}")

    def wait_confirmed(self, number=None, timeout=20, name=SLOT):
        """Until the slot is confirmed up to `number` (default: beyond everything that is committed now); that number.

        An idle relay follows what others write, not what it writes itself: hence a little transaction of ours, and its own place in
        the WAL. Where the WAL ends a moment later may be behind the relay's answer to it, which nothing would confirm.
        """
        wanted = number
        if wanted is None:
            wanted = lsn(self.database.scalar("SELECT pg_logical_emit_message(true, 'test', 'now')::text"))
        eventually(lambda: (self.confirmed(name) or 0) >= wanted, timeout,
                   lambda: f"slot confirmed to {lsn_text(wanted)}, is {self.slot(name)}, position {self.position()}")
        return wanted

    def wait_inactive(self, name=SLOT, timeout=20):
        """Until nobody reads the slot."""
        eventually(lambda: not (self.slot(name) or {}).get("active"), timeout, lambda: f"slot {name} is free, is {self.slot(name)}")

    # -- what one does ----------------------------------------------------------------------------------------------

    def make_slot(self, name=SLOT):
        """A slot made by hand."""
        self.database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,), user=SUPERUSER)

    def drop_slot(self, name=SLOT):
        self.wait_inactive(name)
        self.database.execute("SELECT pg_drop_replication_slot(%s)", (name,), user=SUPERUSER)

    def drop_slot_under_the_reader(self, name=SLOT):
        """Cut the walsender and drop the slot before the relay is back, however often that takes."""
        def gone():
            try:
                self.server.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", (name,))
                self.database.execute("SELECT pg_drop_replication_slot(%s)", (name,), user=SUPERUSER)
            except (psycopg2.errors.ObjectInUse, psycopg2.errors.UndefinedObject):
                pass
            return self.slot(name) is None
        eventually(gone, 30, f"slot {name} is dropped", interval=0)

    def advance_slot(self, name=SLOT):
        """Move the slot to the end of the WAL behind the relay's back."""
        self.wait_inactive(name)
        self.database.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", (name,), user=SUPERUSER)

    def noise(self, megabytes=1, database=None):
        """Write WAL that has nothing to do with the outbox."""
        where = database or self.database
        where.execute("CREATE TABLE IF NOT EXISTS public.noise (n bigint, t text)")
        for _ in range(megabytes):
            where.execute("INSERT INTO public.noise SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 950) g")

    def terminate_sender(self, name=SLOT):
        """Cut the replication connection alone."""
        self.server.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active_pid IS NOT NULL",
                            (name,))

    def terminate_control(self):
        """Cut the relay's other connections, those that are no walsender."""
        self.server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s "
                            "AND backend_type = 'client backend'", (self.database.name, RELAY))

    def watch(self, name=SLOT, pipeline=PIPELINE):
        return Watch(self, name, pipeline)

    def changes(self, slot):
        """[(lsn, kind byte, data)] of what pgoutput would send from a slot of the test's own; nothing is consumed."""
        rows = self.database.execute("SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1', "
                                     "'publication_names', %s)", (slot, PUBLICATION), user=SUPERUSER)
        return [(lsn(where), bytes(data)[:1], bytes(data)) for where, data in rows]


class Watch:
    """Samples the slot and the position all the time, and keeps what breaks a rule.

    Rules: the slot is never confirmed beyond outbox.position.lsn; neither of them moves backwards; the position never goes away.
    `moves` counts how often each has changed.
    """

    def __init__(self, wal, name, pipeline, interval=0.002):
        self.wal, self.name, self.pipeline, self.interval = wal, name, pipeline, interval
        self.stopping = threading.Event()
        self.broken, self.samples = [], 0
        self.moves = {"slot": 0, "position": 0}
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping.set()
        self.thread.join(20)
        if kind is None:
            assert self.samples > 0, "nothing was sampled"
            assert not self.broken, f"{len(self.broken)} of {self.samples} samples break a rule: {self.broken[:5]}"

    def _open(self):
        """A session with both questions prepared: planned each time, they would cost as much as what is watched."""
        cursor = self.wal.database.connect(SUPERUSER).cursor()
        cursor.execute("PREPARE slot AS SELECT confirmed_flush_lsn::text FROM pg_get_replication_slots() WHERE slot_name = %s", (self.name,))
        cursor.execute("PREPARE position AS SELECT lsn::text FROM outbox.position WHERE pipeline = %s", (self.pipeline,))
        return cursor

    def _run(self):
        last = {"slot": 0, "position": 0}
        slot_floor_lost = False
        cursor = None
        while not self.stopping.is_set():
            try:
                cursor = cursor or self._open()
                # The slot first: the position may only grow after that.
                cursor.execute("EXECUTE slot")
                row = cursor.fetchone()
                slot = lsn(row[0]) if row else None
                cursor.execute("EXECUTE position")
                row = cursor.fetchone()
                position = lsn(row[0]) if row else None
            except psycopg2.Error:
                # PostgreSQL restarts: a slot goes back to where the last checkpoint wrote it, which is no fault of ours.
                cursor, slot_floor_lost = None, True
                self.stopping.wait(0.05)
                continue
            self.samples += 1
            if slot_floor_lost and slot is not None:
                last["slot"], slot_floor_lost = slot, False
            if position is None and last["position"]:
                self.broken.append("the position is gone")
            if position is not None and slot is not None and slot > position:
                self.broken.append(f"slot {lsn_text(slot)} is ahead of position {lsn_text(position)}")
            for what, value in (("slot", slot), ("position", position)):
                if value is None:
                    continue
                if value < last[what]:
                    self.broken.append(f"{what} went back from {lsn_text(last[what])} to {lsn_text(value)}")
                self.moves[what] += value != last[what]
                last[what] = value
            time.sleep(self.interval)
        if cursor is not None:
            cursor.connection.close()


class Reader:
    """A foreign consumer of a slot through the replication protocol; reads and confirms nothing."""

    def __init__(self, wal, name=SLOT):
        from psycopg2.extras import LogicalReplicationConnection
        self.connection = psycopg2.connect(wal.database.dsn(SUPERUSER, application_name="foreign-reader"),
                                           connection_factory=LogicalReplicationConnection)
        self.cursor = self.connection.cursor()
        self.cursor.start_replication(slot_name=name, decode=False, options={"proto_version": "1", "publication_names": PUBLICATION})
        self.pid = self.connection.info.backend_pid
        eventually(lambda: wal.slot(name)["active_pid"] == self.pid, 10, "the foreign reader has the slot")

    def close(self):
        self.connection.close()
