"""A real PgBouncer with the file of Debian's package, and as little more as a user must write.

Debian's package `pgbouncer` in the path, or unpacked by tests/run into the cache.

    with PgBouncer(server, mode="transaction") as pooler:
        pooler.dsn(database.name, RELAY)     # through it
        pooler.restart()                     # SIGTERM and a new one: every client loses its connection
"""

import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from . import CACHE
from .common import at_pace, die_with_parent, eventually, free_port, give_to_server_user, server_user, tail
from .postgres import PASSWORDS

_UNPACKED = os.path.join(CACHE, "pgbouncer")
# What belongs to this machine and not to the pooler: several run beside each other, and none as root.
_PLACES = ("logfile", "pidfile", "unix_socket_dir", "auth_file", "listen_port")


def default_file():
    """The text of /etc/pgbouncer/pgbouncer.ini as Debian ships it."""
    for root in ("/", _UNPACKED):
        path = os.path.join(root, "etc", "pgbouncer", "pgbouncer.ini")
        if os.path.exists(path):
            with open(path, "r", encoding="utf-8") as f:
                return f.read()
    raise RuntimeError("pgbouncer is missing: tests/run setup")


def _program(directory):
    """Its path, and what its environment needs: a copy of what was unpacked, as the server's user may not look into our cache."""
    path = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if path:
        return path, {}
    library, = glob.glob(os.path.join(_UNPACKED, "usr", "lib", "*", "libcares.so.2"))
    shutil.copy(library, directory)
    return shutil.copy(os.path.join(_UNPACKED, "usr", "sbin", "pgbouncer"), directory), {"LD_LIBRARY_PATH": directory}


class PgBouncer:
    """In front of `server`. `mode`: pool_mode, None for what the default file says; `more`: lines of the section [pgbouncer]."""

    def __init__(self, server, mode=None, more=None, databases=""):
        self.server, self.port, self.process = server, free_port(), None
        self.directory = tempfile.mkdtemp(prefix="outboxd-pgbouncer-")
        os.chmod(self.directory, 0o755)
        self.log_path = os.path.join(self.directory, "pgbouncer.log")
        self.path = os.path.join(self.directory, "pgbouncer.ini")
        users = os.path.join(self.directory, "userlist.txt")
        places = dict(zip(_PLACES, (self.log_path, os.path.join(self.directory, "pid"), self.directory, users, self.port)))
        text = default_file()
        for name, value in places.items():
            text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            assert count == 1, name
        text = text.replace("[databases]\n", f"[databases]\n{databases or f'* = host=127.0.0.1 port={server.port}'}\n", 1)
        lines = {**({"pool_mode": mode} if mode else {}), **(more or {})}
        self._write(self.path, text + "".join(f"{name} = {value}\n" for name, value in lines.items()))
        self._write(users, "".join(f'"{user}" "{password}"\n' for user, password in PASSWORDS.items()))
        give_to_server_user(self.directory)
        self.program = _program(self.directory)

    @staticmethod
    def _write(path, text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        give_to_server_user(path)

    def start(self):
        program, environment = self.program
        with open(self.log_path + ".stderr", "ab") as log:
            self.process = subprocess.Popen([program, self.path], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                                            env={**os.environ, **environment}, preexec_fn=die_with_parent(signal.SIGKILL), **server_user())
        eventually(self._accepts, 20, lambda: "PgBouncer accepts connections\n" + tail(self.log_path))
        return self

    def _accepts(self):
        assert self.process.poll() is None, tail(self.log_path)
        socket.create_connection(("127.0.0.1", self.port)).close()
        return True

    def stop(self, sig=signal.SIGTERM):
        """SIGTERM: clients are cut at once."""
        if self.process is not None:
            self.process.send_signal(sig)
            self.process.wait(at_pace(20))
            self.process = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.directory, "pid"))

    def restart(self, sig=signal.SIGTERM):
        self.stop(sig)
        self.start()

    def dsn(self, dbname, user, **extra):
        return self.server.dsn(dbname, user, **{"port": self.port, "sslmode": "disable", "gssencmode": "disable", **extra})

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)
