"""The program under test: writes its configuration, runs it, watches it through what users have.

Only names of the contract are used: command line, configuration, exit codes, HTTP, logs.
"""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile

from .common import at_pace, ending_with_us, eventually, free_port, tail
from .postgres import OWNER

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# A finding of the sanitizers must end the process (and so fail the test), whatever the program does with signals.
_SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
    "LSAN_OPTIONS": "print_suppressions=0",
}
# Nothing freed is kept back, so that the size of a process says what it holds also with sanitizers.
NO_QUARANTINE = {"ASAN_OPTIONS": _SANITIZERS["ASAN_OPTIONS"] + ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}
_FINDING = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadSanitizer")


_chosen = None


def choose_binary(path):
    """What outboxd_binary() says from now on; None: what it says otherwise."""
    global _chosen
    _chosen = path


def outboxd_binary(fail_points=False):
    """What conftest.py chose for this test, else $OUTBOXD, else the binary of $OUTBOXD_PRESET (asan by default), else of any preset that is built.
    The one that is chosen is what users run: it has no fail points."""
    if _chosen and not fail_points:
        return _chosen
    if os.environ.get("OUTBOXD"):
        return os.environ["OUTBOXD"]
    for preset in (os.environ.get("OUTBOXD_PRESET", "asan"), "asan", "dev", "release"):
        path = os.path.join(ROOT, "build", preset, "outboxd")
        if os.path.exists(path):
            return path
    raise RuntimeError("no build/*/outboxd: build first, for example cmake --preset dev && cmake --build --preset dev")


def is_instrumented(binary):
    """Whether it carries sanitizers (its memory and CPU say nothing then)."""
    with open(binary, "rb") as f:
        return b"__asan_init" in f.read() or os.environ.get("OUTBOXD_PRESET") == "tsan"


def plain_binary():
    """For what sanitizers cannot measure: $OUTBOXD_PLAIN, the binary of the run, or that of the preset dev if it was built later than that of the run; None: there is
    none."""
    if os.environ.get("OUTBOXD_PLAIN"):
        return os.environ["OUTBOXD_PLAIN"]
    of_run, plain = outboxd_binary(), os.path.join(ROOT, "build", "dev", "outboxd")
    if not is_instrumented(of_run):
        return of_run
    return plain if os.path.exists(plain) and os.path.getmtime(plain) >= os.path.getmtime(of_run) else None


def clean_environment(extra=None):
    """The environment for the program: no OUTBOXD_* of ours, sanitizers set to fail, `extra` on top."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("OUTBOXD", "PG")) and k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
    for name, value in _SANITIZERS.items():
        env[name] = value
    env.update(extra or {})
    return env


def outboxd(*args, env=None, timeout=60, expect=None, stdin=None):
    """Run a sub-command to its end: CompletedProcess with stdout and stderr as text."""
    result = subprocess.run([outboxd_binary(), *map(str, args)], env=clean_environment(env), text=True, input=stdin or "",
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=at_pace(timeout))
    assert not _FINDING.search(result.stderr), f"sanitizer finding:\n{result.stderr}"
    if expect is not None:
        assert result.returncode == expect, (f"outboxd {' '.join(map(str, args))}: exit {result.returncode}, "
                                             f"expected {expect}\n{result.stdout}\n{result.stderr}")
    return result


def migrate(database, *args, user=OWNER, expect=0):
    """`outboxd migrate` on a Database of the fixtures."""
    return outboxd("migrate", "--dsn", database.dsn(user), *args, expect=expect)


def libconfig(value, indent=0):
    """Python values as libconfig text: dict = group, list of dicts = list, other list = array."""
    pad = "  " * (indent + 1)
    if isinstance(value, dict):
        body = "".join(f"{pad}{k} = {libconfig(v, indent + 1)};\n" for k, v in value.items() if v is not None)
        return "{\n" + body + "  " * indent + "}"
    if isinstance(value, (list, tuple)):
        opening, closing = ("(", ")") if any(isinstance(v, dict) for v in value) else ("[", "]")
        return f"{opening} " + f",\n{pad}".join(libconfig(v, indent + 1) for v in value) + f" {closing}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def configuration(dsn, brokers, pipeline=None, pipelines=None, name="shop", listen="", kafka=None, database=None,
                  monitor=None, **top):
    """A configuration as a dict, for libconfig(). `pipeline` overrides options of the one default pipeline."""
    one = {"name": "orders", "capture": "poll", "table": "outbox.event", "topic": "${aggregate_type}.events",
           **(pipeline or {})}
    return {"name": name, "database": {"dsn": dsn, **(database or {})}, "kafka": {"brokers": brokers, **(kafka or {})},
            "pipelines": pipelines or [one], "monitor": {"listen": listen, **(monitor or {})}, **top}


def write_configuration(path, config):
    """Write a configuration file (dict or ready text) that only we can read; its path."""
    if isinstance(config, dict):
        config = "".join(f"{k} = {libconfig(v)};\n" for k, v in config.items() if v is not None)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as f:
        f.write(config)
    return path


class Metrics(dict):
    """(name, frozenset of label pairs) -> number."""

    @classmethod
    def parse(cls, text, name=""):
        """With `name`, only what begins with it: a test that waits asks often."""
        result = cls()
        for line in text.splitlines():
            if not line or line.startswith("#") or not line.startswith(name):
                continue
            match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
            assert match, f"not Prometheus text: {line!r}"
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or "")
            result[(match.group(1), frozenset(labels))] = float(match.group(3))
        return result

    def total(self, name, **labels):
        """Sum of all series of `name` that carry at least these labels; 0 when there is none."""
        wanted = set(labels.items())
        return sum(v for (n, have), v in self.items() if n == name and wanted <= have)

    def has(self, name):
        return any(n == name for n, _ in self)


class Relay:
    """One `outboxd run`. Make it through the `relay` fixture, which also stops it and checks for findings."""

    def __init__(self, config=None, directory=None, args=None, env=None, listen=None):
        self.directory = directory or tempfile.mkdtemp(prefix="outboxd-relay-")
        self.log_path = os.path.join(self.directory, "outboxd.log")
        self.port = None
        self.env = env or {}
        self.binary = None      # of another version or build; None: outboxd_binary()
        self.process = None
        self.config = config    # what reload() changes
        self.starts = 0
        self.fail_path = os.path.join(self.directory, "failpoints.log")
        self.fail_at, self.struck_before = [], 0
        if config is not None:
            if isinstance(config, dict):
                if not config["monitor"].get("listen"):
                    self.port = free_port()
                    config["monitor"]["listen"] = f"127.0.0.1:{self.port}"
                elif config["monitor"]["listen"] != "off":
                    self.port = int(config["monitor"]["listen"].rsplit(":", 1)[1])
            self.config_path = write_configuration(os.path.join(self.directory, "outboxd.conf"), config)
            self.args = ["run", "-c", self.config_path, *(args or [])]
        else:
            self.config_path = None
            self.port = listen or free_port()
            self.env = {"OUTBOXD_MONITOR_LISTEN": f"127.0.0.1:{self.port}", **self.env}
            self.args = ["run", *(args or [])]

    def start(self, wait_ready=True, env=None, timeout=20, fail_at=None, by=()):
        """Start the process; with wait_ready until /readyz says 200 (publishing or a healthy standby).

        `by`: a command that becomes it, such as a shell that redirects its output.

        `fail_at`: "name:count:action" of relay/base/failpoint.h, or a list of them, for this start. Each must strike: wait_struck() waits for
        it, and the fixture fails a test that ends before it.
        """
        assert self.process is None or self.process.poll() is not None, "already running"
        self.starts += 1
        assert not self.not_struck(), f"fail points that never struck: {self.not_struck()}"
        # Those of the environment must strike as well.
        fail_at = fail_at or {**self.env, **(env or {})}.get("OUTBOXD_FAILPOINTS", "").split(",")
        self.fail_at = [fail_at] if isinstance(fail_at, str) else [p for p in fail_at if p]
        if self.fail_at:
            self.struck_before = len(self.struck())
            env = {**(env or {}), "OUTBOXD_FAILPOINTS": ",".join(self.fail_at), "OUTBOXD_FAILPOINT_LOG": self.fail_path}
        with open(self.log_path, "ab") as log:
            command = [*ending_with_us(), *by, self.binary or outboxd_binary(bool(self.fail_at)), *self.args]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                                            env=clean_environment({**self.env, **(env or {})}))
        if wait_ready:
            self.wait_ready(timeout)
        return self

    # -- what it says -------------------------------------------------------------------------------------------

    def http(self, path, timeout=5):
        """(status code, body text) of a GET; OSError when nobody listens. Not by http.client, which costs twice as much: tests look often."""
        with socket.create_connection(("127.0.0.1", self.port), at_pace(timeout)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n".encode("ascii"))
            head, _, body = b"".join(iter(lambda: connection.recv(1 << 16), b"")).partition(b"\r\n\r\n")
        status, length = re.match(rb"HTTP/1\.1 (\d{3}) ", head), re.search(rb"\r\nContent-Length: (\d+)", head)
        if not status or not length or len(body) != int(length.group(1)):
            raise OSError(f"no whole answer: {head + body!r}")
        return int(status.group(1)), body.decode("utf-8")

    def ready(self):
        """(True, text) when /readyz says 200, (False, reason) else; a process that is gone is an error."""
        if self.process.poll() is not None:
            raise SystemError(f"outboxd exited with {self.process.returncode}:\n{self.log_tail()}")
        code, text = self.http("/readyz")
        return code == 200, text

    def wait_ready(self, timeout=20):
        eventually(lambda: self.ready()[0], timeout, lambda: "outboxd ready\n" + self.log_tail())
        return self

    def wait_not_ready(self, pattern="", timeout=20):
        """Wait until /readyz says 503 with a reason that matches `pattern`; the reason."""
        def reason():
            ok, text = self.ready()
            return not ok and re.search(pattern, text) and (text or "(empty)")
        return eventually(reason, timeout, lambda: f"not ready because {pattern!r}, said {self.http('/readyz')}\n{self.log_tail()}")

    def metrics(self, name=""):
        code, text = self.http("/metrics")
        assert code == 200, text
        return Metrics.parse(text, name)

    def metric(self, name, **labels):
        """Sum of the series of `name` (without "outboxd_") that carry these labels."""
        return self.metrics(f"outboxd_{name}").total(f"outboxd_{name}", **labels)

    def published(self):
        return int(self.metric("events_published_total"))

    def wait_published(self, count, timeout=20):
        eventually(lambda: self.published() >= count, timeout,
                   lambda: f"{count} published, have {self.published()}\n{self.log_tail()}")

    def looks(self):
        """How many reads of the table have ended; one that polls."""
        return self.metric("fetch_duration_seconds_count")

    def wait_looks(self, count=2, timeout=20):
        """Until `count` more reads of the table have ended: of two, one has begun after this call. Once idle, they come every poll_interval_max,
        of the tests 100 ms, and while numbers are missing every 200 ms one asks who still writes: after ten of them a gap is given up, if it is."""
        wanted = self.looks() + count
        eventually(lambda: self.looks() >= wanted, timeout, lambda: f"{count} looks\n{self.log_tail()}")

    def status(self):
        code, text = self.http("/status")
        assert code == 200, text
        return json.loads(text)

    def log_text(self):
        with open(self.log_path, "r", encoding="utf-8", errors="replace") as f:
            return f.read()

    def excused_repeats(self):
        """How many repeats a failed producer accounts for: librdkafka 2.0.2 may end an idempotent one for good when a broker comes back
        (its issue 4438). What was in flight is sent again, and counted."""
        return int(self.metrics().total("outboxd_events_replayed_total")) if self.log_lines("KAFKA_PRODUCER_FATAL") else 0

    def log_lines(self, pattern=""):
        """Log lines that match a regular expression."""
        return [line for line in self.log_text().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, timeout=20):
        return eventually(lambda: self.log_lines(pattern), timeout, lambda: f"log line {pattern!r}\n{self.log_tail()}")

    def log_tail(self, lines=30):
        return tail(self.log_path, lines)

    # -- what one does to it -------------------------------------------------------------------------------------

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, sig):
        os.kill(self.process.pid, sig)

    def kill(self):
        """kill -9; returns when it is gone."""
        if self.running():
            self.process.kill()
        self.process.wait()

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def reload(self, config=None, until="RELOADED", timeout=20):
        """Writes the configuration (a dict or text; None: leaves the file as it is), sends SIGHUP, and waits for the next line with that code
        (None: does not); the line."""
        if config is not None:
            self.config = config
            write_configuration(self.config_path, config)
        before = len(self.log_lines(f"code={until}( |$)")) if until else 0
        self.signal(signal.SIGHUP)
        if not until:
            return None
        return eventually(lambda: self.log_lines(f"code={until}( |$)")[before:], timeout, lambda: f"{until}\n{self.log_tail()}")[-1]

    def stop(self, timeout=20, expect=0):
        """SIGTERM and wait; the exit code, which must be `expect` unless that is None."""
        if self.running():
            self.process.terminate()
        code = self.wait_exit(timeout)
        assert expect is None or code == expect, f"exit code {code}, expected {expect}\n{self.log_tail()}"
        return code

    def wait_exit(self, timeout=20):
        """Wait until the process ends by itself; its exit code (negative: the signal)."""
        try:
            return self.process.wait(at_pace(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"outboxd did not exit in {timeout:g} s\n{self.log_tail()}") from None

    # -- fail points ----------------------------------------------------------------------------------------------

    def struck(self):
        """The fail points that struck in all starts, as "name:count:action"."""
        try:
            with open(self.fail_path, "r", encoding="ascii") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def not_struck(self):
        """Fail points of the last start with `fail_at` that have not struck."""
        return [p for p in self.fail_at if p not in self.struck()[self.struck_before:]]

    def wait_struck(self, timeout=20):
        """Until each fail point of the last start struck; for those that kill, until the process is gone by that signal."""
        eventually(lambda: not self.not_struck(), timeout, lambda: f"fail points {self.not_struck()} strike\n{self.log_tail()}")
        if self.fail_at[-1].endswith(":kill"):
            assert self.wait_exit() == -signal.SIGKILL, self.log_tail()
        return self

    # -- what it costs -------------------------------------------------------------------------------------------

    def memory_kb(self, field="VmHWM"):
        """VmHWM (peak resident) or VmRSS (now), in KiB."""
        with open(f"/proc/{self.pid}/status", "r", encoding="ascii") as f:
            return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1))

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", "r", encoding="ascii") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def findings(self):
        """Sanitizer reports in the log, empty when there are none."""
        text = self.log_text() if os.path.exists(self.log_path) else ""
        match = _FINDING.search(text)
        return text[max(0, match.start() - 200):match.start() + 4000] if match else ""

    def instrumented(self):
        return is_instrumented(self.binary or outboxd_binary())
