"""A real PgBouncer with the file of Debian's package, and as little more as a user must write.

Debian's package `pgbouncer` in the path, or unpacked by tests/run into the cache. `release="debian13"` is that of Debian 13, which passes replication
connections on; tests/run matrix makes it, and a test that asks for it skips by name where it was not made.

    with PgBouncer(server, mode="transaction") as pooler:
        pooler.dsn(database.name, RELAY)     # through it
        pooler.restart()                     # ended at once, and a new one: every client loses its connection
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

import pytest

from . import CACHE, builds, container
from .common import at_pace, die_with_parent, eventually, free_port, give_to_server_user, server_user, tail
from .fetch import into_cache
from .postgres import PASSWORDS

_PATH = "/usr/sbin:/usr/bin"
_UNPACKED = os.path.join(CACHE, "pgbouncer")
_OF_DEBIAN13 = "pgbouncer-debian13"
# What belongs to this machine and not to the pooler: several run beside each other, and none as root.
_PLACES = ("logfile", "pidfile", "unix_socket_dir", "auth_file", "listen_port")


def make_of_debian13():
    """Its program, its libraries with their loader and its file, for use beside those of this machine."""
    return into_cache(_OF_DEBIAN13, _install_in_debian13)


def _install_in_debian13(directory):
    # policy-rc.d: the package starts no server there.
    commands = ("printf 'exit 101\\n' >/usr/sbin/policy-rc.d", "chmod 755 /usr/sbin/policy-rc.d", "apt-get -q update",
                "apt-get -q -y install --no-install-recommends pgbouncer", "cp /usr/sbin/pgbouncer /etc/pgbouncer/pgbouncer.ini /lib64/ld-linux-x86-64.so.2 /made",
                "ldd /usr/sbin/pgbouncer | sed -n 's/^.*=> \\(\\/[^ ]*\\) .*/\\1/p' | xargs cp -t /made")
    container.enter(builds.debian13_root(), ["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", "\n".join(commands)], [(directory, "/made")])


def _place(release):
    """Where its program and its libraries are; None: in the path."""
    if release == "debian13":
        path = os.path.join(CACHE, _OF_DEBIAN13)
        if not os.path.isdir(path):
            pytest.skip(f"{_OF_DEBIAN13} is not in the cache; tests/run matrix makes it")
        return path
    return None if shutil.which("pgbouncer", path=_PATH) else _UNPACKED


def default_file(release=None):
    """The text of /etc/pgbouncer/pgbouncer.ini as Debian ships it."""
    place = _place(release)
    path = os.path.join(place, "pgbouncer.ini") if release else os.path.join(place or "/", "etc", "pgbouncer", "pgbouncer.ini")
    if not os.path.exists(path):
        raise RuntimeError("pgbouncer is missing: tests/run setup")
    with open(path, "r", encoding="utf-8") as f:
        return f.read()


def _program(directory, release):
    """The words that start it, and what its environment needs: a copy of what is in the cache, as the server's user may not look in there."""
    place = _place(release)
    if place is None:
        return [shutil.which("pgbouncer", path=_PATH)], {}
    if release:
        copy = shutil.copytree(place, os.path.join(directory, release))
        return [os.path.join(copy, "ld-linux-x86-64.so.2"), "--library-path", copy, os.path.join(copy, "pgbouncer")], {}
    library, = glob.glob(os.path.join(place, "usr", "lib", "*", "libcares.so.2"))
    shutil.copy(library, directory)
    return [shutil.copy(os.path.join(place, "usr", "sbin", "pgbouncer"), directory)], {"LD_LIBRARY_PATH": directory}


class PgBouncer:
    """In front of `server`. `mode`: pool_mode, None for what the default file says; `more`: lines of the section [pgbouncer]."""

    def __init__(self, server, mode=None, more=None, databases="", release=None):
        self.server, self.port, self.process, self.release = server, free_port(), None, release
        self.directory = tempfile.mkdtemp(prefix="outboxd-pgbouncer-")
        os.chmod(self.directory, 0o755)
        self.log_path = os.path.join(self.directory, "pgbouncer.log")
        self.path = os.path.join(self.directory, "pgbouncer.ini")
        users = os.path.join(self.directory, "userlist.txt")
        places = dict(zip(_PLACES, (self.log_path, os.path.join(self.directory, "pid"), self.directory, users, self.port)))
        text = default_file(release)
        for name, value in places.items():
            text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            assert count == 1, name
        text = text.replace("[databases]\n", f"[databases]\n{databases or f'* = host=127.0.0.1 port={server.port}'}\n", 1)
        lines = {**({"pool_mode": mode} if mode else {}), **(more or {})}
        self._write(self.path, text + "".join(f"{name} = {value}\n" for name, value in lines.items()))
        self._write(users, "".join(f'"{user}" "{password}"\n' for user, password in PASSWORDS.items()))
        give_to_server_user(self.directory)
        self.program = _program(self.directory, release)

    @staticmethod
    def _write(path, text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        give_to_server_user(path)

    def start(self):
        program, environment = self.program
        with open(self.log_path + ".stderr", "ab") as log:
            self.process = subprocess.Popen([*program, self.path], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                                            env={**os.environ, **environment}, preexec_fn=die_with_parent(signal.SIGKILL), **server_user())
        eventually(self._accepts, 20, lambda: "PgBouncer accepts connections\n" + tail(self.log_path))
        return self

    def _accepts(self):
        assert self.process.poll() is None, tail(self.log_path)
        socket.create_connection(("127.0.0.1", self.port)).close()
        return True

    def stop(self, sig=None):
        """Clients are cut at once: by SIGTERM, and since 1.23, where that waits for them, by SIGQUIT."""
        sig = sig or (signal.SIGQUIT if self.release else signal.SIGTERM)
        if self.process is not None:
            self.process.send_signal(sig)
            self.process.wait(at_pace(20))
            self.process = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.directory, "pid"))

    def restart(self, sig=None):
        self.stop(sig)
        self.start()

    def dsn(self, dbname, user, **extra):
        return self.server.dsn(dbname, user, **{"port": self.port, "sslmode": "disable", "gssencmode": "disable", **extra})

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)
