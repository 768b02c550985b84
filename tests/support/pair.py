"""A primary and an asynchronous streaming standby of any major version, which a test may promote, leave behind, put back and build again.

    from conftest import pair_database as database  # noqa: F401: now `database`, `relay`, `wal` and `wal_relay` of this module work on its pair
    pytestmark = pytest.mark.parametrize("pair_servers", ["17"], indirect=True)   # when it must not be 15
    def test_x(pair, database, relay): ...
    pair.lag_standby()            the standby has everything up to now and receives nothing more
    pair.promote()                the primary dies, the standby is promoted: pair.primary is the other one now
    copy = pair.freeze()          a snapshot of the primary's volume; pair.put_back(copy) reverts to it, same timeline
    pair.rebuild()                the server that is not primary becomes a fresh standby of the primary

A Pair stands where a PostgresServer does: Database, Wal and workload work on it and follow the primary. dsn() names both servers with
target_session_attrs=read-write.
"""

import os
import shutil

from .common import eventually
from .postgres import PASSWORDS, SUPERUSER, Database, PostgresServer
from .wal import lsn

PHYSICAL_SLOT = "standby"
# Small, so that a copy of the data directory is: it is made for every standby.
_SETTINGS = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1", "min_wal_size": "32MB", "wal_retrieve_retry_interval": "'100ms'",
             "checkpoint_timeout": "'1h'"}


class Pair:
    """Two servers that know their parts: `primary` and `standby` change places at a promotion."""

    def __init__(self, directory, major="15", settings=None):
        self.directory, self.major = directory, str(major)
        self.settings = {**_SETTINGS, **(settings or {})}
        self.made = 0
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)
        self.primary = PostgresServer(self._next_directory(), major, self.settings)
        self.standby = None
        self.ports = [self.primary.port]

    def _next_directory(self):
        self.made += 1
        return os.path.join(self.directory, f"pg{self.made}")

    def start(self):
        """Both, with the standby streaming."""
        self.primary.start()
        self.primary.create_roles()
        self.rebuild()
        return self

    def remove(self):
        for server in filter(None, (self.primary, self.standby)):
            server.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def whole(self):
        """Put right what a test left behind: the primary runs, the standby streams from it."""
        self.primary_up()
        if self.standby is None or not self.standby.running() or not self.streaming():
            self.rebuild()

    def primary_up(self):
        if not self.primary.running():
            self.primary.process = None
            self.primary.start()

    # -- the standby --------------------------------------------------------------------------------------------------

    def rebuild(self):
        """The server that is not primary, on its own port, as a fresh copy of the primary that streams from it."""
        if not self.primary.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (PHYSICAL_SLOT,)):
            self.primary.execute("SELECT pg_create_physical_replication_slot(%s, true)", (PHYSICAL_SLOT,))
        copy = self.primary.freeze()
        shutil.rmtree(os.path.join(copy, "pg_replslot"))
        os.mkdir(os.path.join(copy, "pg_replslot"), 0o700)
        open(os.path.join(copy, "standby.signal"), "w", encoding="ascii").close()
        owner = os.stat(copy)
        for name in ("pg_replslot", "standby.signal"):
            os.chown(os.path.join(copy, name), owner.st_uid, owner.st_gid)
        self.conninfo = self.primary.dsn("postgres", SUPERUSER, application_name=PHYSICAL_SLOT)
        settings = {**self.settings, "primary_conninfo": f"'{self.conninfo}'", "primary_slot_name": PHYSICAL_SLOT}
        if int(self.major) >= 17:
            settings["sync_replication_slots"] = "on"
        if self.standby is not None:
            self.standby.remove()
        self.standby = PostgresServer(self._next_directory(), self.major, settings, copy_of=copy,
                                      port=next((p for p in self.ports if p != self.primary.port), None))
        shutil.rmtree(copy)
        self.ports = sorted((self.primary.port, self.standby.port))
        self.standby._databases = self.primary._databases   # may become primary, and must not give out a name again
        self.standby.start()
        self.catch_up()

    def streaming(self):
        return bool(self.primary.execute("SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'",
                                         (PHYSICAL_SLOT,)))

    def catch_up(self, timeout=60):
        """Until the standby has replayed everything that is written now; a standby that was left behind receives again."""
        if self._standby_setting("primary_conninfo") == "":
            self._set_standby("primary_conninfo", self.conninfo)
        self.primary.execute("SELECT pg_logical_emit_message(true, 'pair', 'now')")
        wanted = self.primary.execute("SELECT pg_current_wal_flush_lsn()::text")[0][0]

        def replayed():
            return lsn(self.standby.execute("SELECT pg_last_wal_replay_lsn()::text")[0][0] or "0/0") >= lsn(wanted)
        eventually(replayed, timeout, lambda: f"the standby has replayed {wanted}")

    def lag_standby(self):
        """From now on the standby receives nothing. It has all that was committed before, and never anything of what comes."""
        self.catch_up()
        self._set_standby("primary_conninfo", "")
        eventually(lambda: not self.streaming() and not self.standby.execute("SELECT 1 FROM pg_stat_wal_receiver"), 20,
                   "the standby receives nothing")

    def _standby_setting(self, name):
        return self.standby.execute("SELECT current_setting(%s)", (name,))[0][0]

    def _set_standby(self, name, value):
        self.standby.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.standby.execute("SELECT pg_reload_conf()")
        eventually(lambda: self._standby_setting(name) == value, 20, f"{name} is set")

    # -- what happens to them -----------------------------------------------------------------------------------------

    def promote(self, stop="immediate"):
        """A fail-over: the primary is stopped (None: lives on, as after a split), the standby is promoted. They have changed places then."""
        if stop:
            self.primary.stop(stop)
        self.standby.execute("SELECT pg_promote(true, 60)")
        self.primary, self.standby = self.standby, self.primary
        eventually(lambda: not self.primary.execute("SELECT pg_is_in_recovery()")[0][0], 30, "promoted")

    def switch_over(self):
        """A planned change: nothing is lost. The old primary stays down; rebuild() makes it a standby."""
        self.primary.stop("fast")   # sends everything to the standby first
        self.promote(stop=None)

    def freeze(self):
        return self.primary.freeze()

    def put_back(self, copy):
        """The primary as it was; the standby, which is ahead now, is stopped."""
        if self.standby is not None:
            self.standby.stop("immediate")
        self.primary.put_back(copy)

    def timeline(self):
        return int(self.primary.execute("SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)")[0][0], 16)

    # -- failover slots (17 and newer) --------------------------------------------------------------------------------

    def make_failover_slot(self, database, name):
        """What an administrator makes so that a slot outlives the primary."""
        self.catch_up()   # a worker that does not find the database on the standby is not started again for 10 s
        database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput', false, false, true)", (name,), user=SUPERUSER)

    def sync_slots(self, name, advance=None, timeout=60):
        """Until failover slot `name` is on the standby for good and as far as it is on the primary now.

        A slot that stands still may never be copied (it needs catalog rows older than those the standby holds on to): its reader must run,
        or `advance()` moves it.
        """
        def confirmed(server):
            rows = server.execute("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s AND NOT temporary", (name,))
            return lsn(rows[0][0]) if rows else 0

        def synced():
            if not confirmed(self.standby):
                self.primary.execute("SELECT pg_log_standby_snapshot()")
                if advance:
                    advance()
            self.standby.execute("SELECT pg_reload_conf()")   # wakes the worker, which looks ever more rarely
            return confirmed(self.standby) >= wanted
        wanted = max(1, confirmed(self.primary))
        eventually(synced, timeout, lambda: f"slot {name} is on the standby, and as far", interval=0.1)

    def logical_waits_for_standby(self, on=True):
        """synchronized_standby_slots: a logical slot never gets ahead of the standby (17 and newer)."""
        self.primary.execute(f"ALTER SYSTEM SET synchronized_standby_slots = '{PHYSICAL_SLOT if on else ''}'")
        self.primary.execute("SELECT pg_reload_conf()")

    # -- in the place of a PostgresServer -----------------------------------------------------------------------------

    def dsn(self, dbname="postgres", user=SUPERUSER, **extra):
        """Both servers; the relay finds the one that takes writes."""
        parts = {"host": ",".join("127.0.0.1" for _ in self.ports), "port": ",".join(map(str, self.ports)),
                 "dbname": dbname, "user": user, "password": PASSWORDS.get(user, ""), "target_session_attrs": "read-write",
                 "connect_timeout": 5, **extra}
        return " ".join(f"{k}={v}" for k, v in parts.items() if v != "")

    def fresh_database(self, prefix="t", template=None):
        """As of a PostgresServer. A standby that streams has it, too: libpq takes "does not exist" for the answer of all hosts."""
        database = Database(self, self.primary.fresh_database(prefix, template).name)
        if self.standby is not None and self.standby.running() and self.streaming():
            self.catch_up()
        return database

    def __getattr__(self, name):
        """local_dsn, execute, psql, port, configured, stop, start, restart ... of the server that is primary now."""
        if name == "primary":
            raise AttributeError(name)
        return getattr(self.primary, name)
