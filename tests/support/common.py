"""Small things every fixture needs: waiting for a condition, free ports, children that die with us."""

import contextlib
import ctypes
import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


PACE_MAX = 6


def at_pace(seconds):
    """A promise in seconds, for `assert took <= at_pace(5)`: as it is on a machine with a free processor, longer when more wants to run than can."""
    return seconds * min(PACE_MAX, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def eventually(condition, timeout=20.0, what="condition", interval=0.02, retry=()):
    """Poll `condition` until it returns something true; return that. AssertionError after `timeout` seconds (at_pace).

    `what` may be a string or a function that describes the last state seen. Exceptions of the condition (common ones, and those of class
    `retry`) are kept and shown when time is up, so that a server which is still starting is simply not there yet.
    """
    not_yet = (AssertionError, OSError, ValueError, LookupError, RuntimeError) + (retry if isinstance(retry, tuple) else (retry,))
    begin = time.monotonic()
    last_error = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last_error = None
        except not_yet as e:
            last_error = e
        waited = time.monotonic() - begin
        if waited >= timeout and waited >= at_pace(timeout):
            text = what() if callable(what) else what
            why = f": {last_error!r}" if last_error else ""
            raise AssertionError(f"not within {waited:.0f} s: {text}{why}")
        time.sleep(max(interval, min(0.25, waited / 20)))   # looking costs the machine something, too


def stays_true(condition, seconds, what="condition", interval=0.05):
    """Check that `condition` holds during all of `seconds` (for "nothing happens" assertions)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay true for {seconds:g} s: {what}"
        time.sleep(interval)


def comes_to_rest(read, seconds, timeout, what="value", interval=0.2):
    """Wait until `read()` has been the same for `seconds`; that value."""
    deadline = time.monotonic() + at_pace(timeout)
    value, since = read(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, f"did not come to rest within {timeout:g} s: {what} (now {value!r})"
        time.sleep(interval)
        now = read()
        if now != value:
            value, since = now, time.monotonic()
    return value


def replace_file(path, text):
    """Other content for a file, of which nobody sees half."""
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(path + ".new", path)


_ports_given = set()
_ports_file = None


def free_port():
    """A loopback TCP port that nobody listens on now and that no test process of this user has been given and may still use.

    A relay that is stopped for a while leaves its port free: others that run at the same time are kept from it by a lock on byte
    number `port` of a file, which the kernel lifts when this process ends.
    """
    global _ports_file
    if _ports_file is None:
        path = os.path.join(tempfile.gettempdir(), f"outboxd-test-ports.{os.geteuid()}")
        _ports_file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port in _ports_given:
            continue
        try:
            fcntl.lockf(_ports_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            continue
        _ports_given.add(port)
        return port


def die_with_parent(sig=signal.SIGKILL):
    """A preexec_fn: the child gets `sig` when we are gone, so an interrupted run leaves no servers behind.

    The kernel ties this to the thread that forks, so children started by other threads are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    return lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, sig)


def ending_with_us(sig=signal.SIGKILL):
    """What stands in front of a command for the same. A preexec_fn makes Python fork, which copies the page tables of all that pytest has in memory;
    without one it need not."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return ["setpriv", "--pdeathsig", signal.Signals(sig).name.removeprefix("SIG"), "--"]


def process_tree(pid):
    """`pid` and all its descendants, parents first."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "r", encoding="ascii", errors="replace") as f:
                children.setdefault(int(f.read().rsplit(") ", 1)[1].split()[1]), []).append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def has_ended(pid):
    """Whether that process, of whichever parent, is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "r", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(") ", 1)[1].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


class ServerDidNotStart(Exception):
    """Raised by started(): conftest.py lets one test fail for it, and skips the others that need the server."""


def started(make, directory):
    """make(directory), started. A server that does not answer in time gets one more chance, with a fresh directory and other ports."""
    failures = []
    for attempt in (directory, f"{directory}-again"):
        server = None
        try:
            server = make(attempt)
            return server.start()
        except (AssertionError, SystemError, subprocess.CalledProcessError) as e:
            failures.append(str(e))
            if server is not None:
                server.remove()
    raise ServerDidNotStart("a server did not start, twice:\n" + "\n---- and then\n".join(failures))


MEMORY = "/dev/shm"
MEMORY_LEAST = 6 << 30   # a worker's servers hold about 300 MB


def memory_or_disk():
    """Where the servers of a run keep their files: in memory where there is room, because making and dropping a database is one file after
    another, which costs ext4 ten times as much. None: where temporary files are, which $OUTBOXD_TESTS_ON_DISK=1 asks for, and OUTBOXD_KEEP=1."""
    try:
        room = os.statvfs(MEMORY)
        with open("/proc/meminfo", "r", encoding="ascii") as f:
            available = next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    fits = min(room.f_bavail * room.f_frsize, available) >= MEMORY_LEAST and os.access(MEMORY, os.W_OK)
    return MEMORY if fits and not os.environ.get("OUTBOXD_TESTS_ON_DISK") and not os.environ.get("OUTBOXD_KEEP") else None


def work_directory_of(pid):
    """A new directory for the run of process `pid`. What runs that were killed have left behind goes: memory is dear."""
    where = memory_or_disk() or tempfile.gettempdir()
    for name in os.listdir(where) if where == MEMORY else ():
        match = re.fullmatch(r"outboxd-tests-(\d+)-\w+", name)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            # Another run that begins now may be quicker.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(os.path.join(where, name)).st_uid == os.geteuid():
                    shutil.rmtree(os.path.join(where, name), ignore_errors=True)
    path = tempfile.mkdtemp(prefix=f"outboxd-tests-{pid}-", dir=where)
    os.chmod(path, 0o755)
    return path


def server_user():
    """Arguments for subprocess that make PostgreSQL run unprivileged: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise RuntimeError("running as root and neither user 'postgres' nor 'nobody' exists")


def give_to_server_user(path):
    """Hand a directory to the user the PostgreSQL server runs as."""
    who = server_user()
    if who:
        os.chown(path, who["user"], who["group"])


def tail(path, lines=40):
    """The last lines of a text file, or a note that it is not there."""
    try:
        with open(path, "r", encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError as e:
        return f"({path}: {e.strerror})\n"
