"""A real PostgreSQL server of our own: private directory, free port, loopback only, hostile defaults.

The defaults below (time zone, DateStyle, bytea_output, ...) are deliberately strange: records must never depend
on server settings, so every test runs against them. Password logins, so that every run can look for leaked secrets.
"""

import atexit
import base64
import contextlib
import functools
import hashlib
import hmac
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import psycopg2
import psycopg2.extensions

from .common import at_pace, die_with_parent, eventually, free_port, give_to_server_user, process_tree, server_user, tail, work_directory_of
from .fetch import postgres_binaries

SUPERUSER = "postgres"
OWNER = "shop_owner"      # owns the databases, runs `outboxd migrate`; no superuser
APP = "shop_app"          # the application: member of outbox_writer
RELAY = "shop_relay"      # the relay: member of outbox_relay
PASSWORDS = {SUPERUSER: "super-secret-1f7", OWNER: "owner-secret-2c9", APP: "app-secret-3d4", RELAY: "relay-secret-4e8"}

START_TIMEOUT = 180  # a machine with more work than processors is no reason to fail

_SETTINGS = {
    "fsync": "off",                       # processes are killed here, machines are not
    "shared_buffers": "64MB",
    "max_connections": "80",
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_prepared_transactions": "10",
    "log_line_prefix": "'%m [%p] %d %a '",
    "log_min_messages": "info",
    "timezone": "'Asia/Kathmandu'",
    "datestyle": "'German, DMY'",
    "intervalstyle": "'sql_standard'",
    "bytea_output": "'escape'",
    "extra_float_digits": "0",
}

# A session of a test is short: a sixth of its CPU went into having pages of 4 kB given to it, one by one. Where the kernel has none larger, nothing changes.
_LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def verifier(password):
    """What PostgreSQL keeps of a password, made with one round instead of its 4096: those rounds cost whoever logs in 3 ms of CPU each time, and a run
    of the tests logs in some ten thousand times. Everything else of SCRAM is as ever."""
    salt, rounds = os.urandom(16), 1
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt, stored, server = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt}${stored}:{server}"


# One statement that reads or writes rows, or a table's definition, and leaves nothing behind in its session.
_LEAVES_NOTHING = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|GRANT|REVOKE|(CREATE|ALTER|DROP) (PUBLICATION|TABLE|INDEX))\b"
                             r"(?!.*(;.*\S|set_config|advisory|pg_reload_conf))", re.IGNORECASE | re.DOTALL)
# What no session of before may see the end of, or what makes later ones differ.
_SESSIONS_END = re.compile(r"\b(CREATE|ALTER|DROP)\s+(DATABASE|ROLE|USER|SYSTEM)\b|pg_reload_conf|pg_terminate_backend", re.IGNORECASE)
_KEPT_USERS = (SUPERUSER, OWNER)    # never the relay's: tests count its sessions


class Sessions:
    """Sessions that execute() leaves open for the next statement of the same user in the same database: a new one for each costs ten times as much.

    Only what leaves nothing behind goes through them: settings, locks of a session and the like never meet another statement. One that the server
    has closed, or told anything, is not used again.
    """

    def __init__(self):
        self._idle = {}     # (database, user) -> connections nobody uses now; pop and append are atomic, so threads may share them

    def take(self, database, user):
        """An idle one that is sound, or None."""
        idle = self._idle.get((database, user), [])
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                break   # another thread had it
            if not connection.closed and not select.select([connection], [], [], 0)[0]:
                return connection
            connection.close()
        return None

    def give_back(self, database, user, connection):
        self._idle.setdefault((database, user), []).append(connection)

    def close(self, database=None):
        """All that nobody uses now, or those in one database."""
        for key in list(self._idle):
            for connection in self._idle.pop(key, []) if database in (None, key[0]) else ():
                connection.close()


class Database:
    """One database of a server: `dsn` for the program under test, helpers for the test itself."""

    def __init__(self, server, name):
        self.server = server
        self.name = name

    def dsn(self, user=RELAY, **extra):
        return self.server.dsn(self.name, user, **extra)

    def connect(self, user=OWNER, autocommit=True):
        """A psycopg2 connection; with autocommit=False each transaction is yours to end."""
        connection = psycopg2.connect(self.server.local_dsn(self.name, user))
        connection.autocommit = autocommit
        return connection

    def execute(self, sql, args=None, user=OWNER):
        """Run statements in one transaction of their own; the rows of the last one, or an empty list."""
        if _SESSIONS_END.search(sql):
            self.server.sessions.close()
        return self.run(sql, args, user, keep=user in _KEPT_USERS and _LEAVES_NOTHING.match(sql))

    def run(self, sql, args, user, keep):
        """execute(), in a session that is kept or in one of its own."""
        sessions = self.server.sessions
        connection = keep and sessions.take(self.name, user) or self.connect(user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
                rows = cursor.fetchall() if cursor.description else []
        except BaseException:
            connection.close()
            raise
        if keep:
            sessions.give_back(self.name, user, connection)
        else:
            connection.close()
        return rows

    query = execute

    def scalar(self, sql, args=None, user=OWNER):
        """The first column of the first row, or None when there is no row."""
        rows = self.execute(sql, args, user)
        return rows[0][0] if rows else None

    def terminate_backends(self, application_like="%", user=RELAY):
        """pg_terminate_backend for sessions of `user` in this database; how many were told."""
        return self.scalar(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = %s AND usename = %s AND application_name LIKE %s AND pid <> pg_backend_pid()",
            (self.name, user, application_like), user=SUPERUSER)

    def drop(self):
        from .wal import drop_slots
        drop_slots(self)
        self.server.sessions.close(self.name)
        self.server.administer(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


_made = {}      # bin directory -> directory with the data that its initdb made
_CRC32C = [functools.reduce(lambda c, _: c >> 1 ^ 0x82F63B78 * (c & 1), range(8), n) for n in range(256)]


def crc32c(data):
    return 0xFFFFFFFF ^ functools.reduce(lambda c, byte: c >> 8 ^ _CRC32C[(c ^ byte) & 0xFF], data, 0xFFFFFFFF)


def give_identity(data):
    """A system identifier of its own for a copy of what initdb made: no two servers share one. It stands in pg_control, which ends with a checksum,
    and in the head of each segment of the WAL, of which there is one."""
    identity = struct.pack("<Q", int(time.time()) << 32 | random.getrandbits(32))
    with open(os.path.join(data, "global", "pg_control"), "r+b") as f:
        old = f.read()
        place = next(n for n in range(200, 400, 4) if crc32c(old[:n]) == struct.unpack_from("<I", old, n)[0])
        new = identity + old[8:place]
        f.seek(0)
        f.write(new + struct.pack("<I", crc32c(new)))
    wal, = (name for name in os.listdir(os.path.join(data, "pg_wal")) if len(name) == 24)
    with open(os.path.join(data, "pg_wal", wal), "r+b") as f:
        assert f.read(32)[24:] == old[:8]
        f.seek(24)
        f.write(identity)


class PostgresServer:
    """initdb once, then start and stop as often as a test likes; data and port stay the same."""

    def __init__(self, directory=None, major="15", settings=None, copy_of=None, port=None, binaries=None):
        """`copy_of`: a data directory (of freeze()) to begin with instead of an empty one. `binaries`: a bin directory to use."""
        self.major = str(major)
        self.bin = binaries or postgres_binaries(major)
        self.directory = directory or tempfile.mkdtemp(prefix="outboxd-pg-")
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(self.directory, 0o755)
        give_to_server_user(self.directory)
        self.data = os.path.join(self.directory, "data")
        self.log_path = os.path.join(self.directory, "postgresql.log")
        self.port = port or free_port()
        self.settings = {**_SETTINGS, **(settings or {})}
        self.process = None
        self.sessions = Sessions()
        self._databases = self._copies = 0
        if copy_of is None:
            self._initdb()
        else:
            self._copy(copy_of, self.data)
            self._write_settings()

    def _run(self, name, *args):
        result = subprocess.run([os.path.join(self.bin, name), *args], cwd=self.directory, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **server_user())
        assert result.returncode == 0, f"{name} {' '.join(args)}:\n{result.stdout}"

    def _initdb(self):
        """What initdb makes is made once by a process and copied: initdb costs ten times as much."""
        if self.bin not in _made:
            _made[self.bin] = work_directory_of(os.getpid())    # of no server's own: those go before the process does
            give_to_server_user(_made[self.bin])
            atexit.register(shutil.rmtree, _made[self.bin], ignore_errors=True)
            password_file = os.path.join(self.directory, "pw")
            with open(password_file, "w", encoding="ascii") as f:
                f.write(PASSWORDS[SUPERUSER] + "\n")
            give_to_server_user(password_file)
            self._run("initdb", "-D", os.path.join(_made[self.bin], "data"), "-U", SUPERUSER, "--auth-host=scram-sha-256", "--auth-local=trust",
                      "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--pwfile={password_file}",
                      *(["--no-data-checksums"] if int(self.major) >= 18 else []))
            os.unlink(password_file)
        self._copy(os.path.join(_made[self.bin], "data"), self.data)
        give_identity(self.data)
        self._write_settings()

    def _write_settings(self):
        """Behind what the file has: the last line of a name counts."""
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
            f.write(f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                    f"unix_socket_directories = '{self.directory}'\n")
            for key, value in self.settings.items():
                f.write(f"{key} = {value}\n")

    def start(self, timeout=START_TIMEOUT):
        """Start the server and wait until it accepts connections."""
        assert self.process is None, "already running"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.bin, "postgres"), "-D", self.data], cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGQUIT), env={**os.environ, **_LARGE_PAGES}, **server_user())
        eventually(self._accepts, timeout, lambda: "PostgreSQL accepts connections\n" + tail(self.log_path))
        return self

    def _accepts(self):
        if self.process.poll() is not None:
            raise SystemError(f"PostgreSQL exited with {self.process.returncode}:\n{tail(self.log_path)}")
        try:
            psycopg2.connect(self.local_dsn("postgres", SUPERUSER)).close()
            return True
        except psycopg2.OperationalError:
            return False

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, mode="fast", timeout=START_TIMEOUT):
        """mode: smart, fast (rolls back, checkpoints) or immediate (as after a crash)."""
        self.sessions.close()
        if self.process is None:
            return
        sig = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self.process.send_signal(sig)
        self.process.wait(at_pace(timeout))
        self.process = None

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    # -- copies of the data directory ---------------------------------------------------------------------------------

    def _copy(self, source, target):
        """cp as the server's user. A file that goes away meanwhile is no matter: what needs it is in the WAL."""
        result = subprocess.run(["cp", "-a", "--reflink=auto", source, target], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "LC_ALL": "C"}, cwd=self.directory, **server_user())
        assert all("No such file" in line for line in result.stderr.splitlines()), result.stderr
        for name in ("postmaster.pid", "postmaster.opts"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(target, name))

    @contextlib.contextmanager
    def held_still(self):
        """SIGSTOP for all processes of a running server: connections stay up, nothing is written. Nothing at all when it is stopped."""
        stopped = []
        try:
            # The postmaster first, so that nothing is forked that we do not see.
            while self.running() and (pids := [p for p in process_tree(self.process.pid) if p not in stopped]):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                stopped += pids
            yield
        finally:
            for pid in reversed(stopped):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def freeze(self):
        """What the snapshot of a volume or of a virtual machine holds: a copy of the data directory, all of one moment; its path.

        Sessions are not cut; they wait for a part of a second.
        """
        self._copies += 1
        copy = os.path.join(self.directory, f"copy-{self._copies}")
        with self.held_still():
            self._copy(self.data, copy)
        return copy

    def put_back(self, copy, start=True):
        """The revert to a snapshot: the server is gone at once and comes back as it was then, on the same timeline and port."""
        self.stop("immediate")
        shutil.rmtree(self.data)
        self._copy(copy, self.data)
        if start:
            self.start()

    def upgrade(self, binaries=None, major=None):
        """pg_upgrade of a stopped server, by the programs in `binaries`, which may be of the same version: another system identifier and a log that
        begins anew, behind the same port."""
        assert self.process is None
        old_data, old_bin = f"{self.data}-{self._copies}-old", self.bin
        self._copies += 1
        os.rename(self.data, old_data)
        self.bin, self.major = binaries or self.bin, str(major or self.major)
        self._initdb()
        self._run("pg_upgrade", "-b", old_bin, "-B", self.bin, "-d", old_data, "-D", self.data, "-U", SUPERUSER)

    @contextlib.contextmanager
    def configured(self, restart=False, **settings):
        """The server with these settings, as long as the block lasts; none may be among those it was made with."""
        assert not settings.keys() & self.settings.keys()
        apply = (lambda: self.restart("fast")) if restart else (lambda: self.execute("SELECT pg_reload_conf()"))
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        apply()
        try:
            yield
        finally:
            for name in settings:
                self.execute(f"ALTER SYSTEM RESET {name}")
            apply()

    def dsn(self, dbname="postgres", user=SUPERUSER, **extra):
        """A libpq connection string with password."""
        parts = {"host": "127.0.0.1", "port": self.port, "dbname": dbname, "user": user,
                 "password": PASSWORDS.get(user, ""), **extra}
        return " ".join(f"{k}={v}" for k, v in parts.items() if v != "")

    def local_dsn(self, dbname="postgres", user=SUPERUSER):
        """The test's own way in, by Unix socket and without a password: logging in costs 20 ms of CPU, and tests look often."""
        socket = os.path.join(self.directory, f".s.PGSQL.{self.port}")
        return self.dsn(dbname, user, **({"host": self.directory} if len(socket) < 100 else {}))

    def execute(self, sql, args=None, dbname="postgres", user=SUPERUSER):
        return Database(self, dbname).execute(sql, args, user)

    def administer(self, sql):
        """A statement about a whole database, by an administrator whose session stays for the next one."""
        Database(self, "postgres").run(sql, None, SUPERUSER, keep=True)

    def psql(self, sql, dbname="postgres", user=SUPERUSER):
        """Run a script through psql, stopping at the first error; its output."""
        result = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(dbname, user)], input=sql,
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        assert result.returncode == 0, f"psql failed:\n{result.stdout}"
        return result.stdout

    def create_roles(self):
        """The three roles of a careful installation; membership comes after the migration."""
        for role, attributes in ((OWNER, "CREATEROLE"), (APP, ""), (RELAY, "")):
            if not self.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)):
                self.execute(f"CREATE ROLE {role} LOGIN {attributes} PASSWORD '{verifier(PASSWORDS[role])}'")

    def let_replicate(self, role):
        """ALTER ROLE REPLICATION, which is the whole server's: after the first test it has it."""
        if not self.execute("SELECT rolreplication FROM pg_roles WHERE rolname = %s", (role,))[0][0]:
            self.execute(f"ALTER ROLE {role} REPLICATION")

    def fresh_database(self, prefix="t", template=None):
        """A new database owned by OWNER, empty or a copy of `template`."""
        self._databases += 1
        name = f"{prefix}_{os.getpid()}_{self._databases}"
        copy = f' TEMPLATE "{template}"' if template else ""
        if int(self.major) >= 15:
            copy += " STRATEGY file_copy"   # a third of the time, as nothing here waits for a disk
        if template:
            self.sessions.close(template)   # a database is copied when nobody is in it
        self.administer(f'CREATE DATABASE "{name}" OWNER {OWNER}{copy}')
        return Database(self, name)

    def remove(self):
        """Stop and delete everything."""
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)
