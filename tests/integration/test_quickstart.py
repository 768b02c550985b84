"""packaging/quickstart as a stranger uses it: on a terminal and into a pipe, to the end and interrupted, twice at once."""

import contextlib
import glob
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from conftest import soak
from support import CACHE
from support.common import eventually
from support.relay import ROOT, clean_environment, outboxd_binary

QUICKSTART = os.path.join(ROOT, "packaging", "quickstart")
SUMMARY = re.compile(
    r"placed (?P<placed>\d+) orders \((?P<rolled_back>\d+) rolled back on purpose\) · (?P<committed>\d+) events committed · "
    r"(?P<published>\d+) published · (?P<lost>\d+) lost · (?P<duplicates>\d+) duplicates"
    r"(?: · lag p50 (?P<p50>[0-9.]+ m?u?s), p99 (?P<p99>[0-9.]+ m?u?s))?")
EVENT = re.compile(r"orders\.events\s+key (?P<key>\d+)\s+(?P<type>order\.\w+)\s+id (?P<id>\S+)\s+correlation (?P<correlation>\S+)\s+"
                   r"causation (?P<causation>\S+)\s+lag (?P<lag>[0-9.]+ m?u?s)\n\s+(?P<payload>\{.*)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def build():
    """The build directory under test: the relay and the demonstration's programs."""
    directory = os.path.dirname(outboxd_binary())
    programs = os.path.join(directory, "packaging", "demo")
    assert os.path.exists(os.path.join(programs, "outboxd-demo-watch")), f"build the target 'demo' in {directory}"
    return directory


@contextlib.contextmanager
def a_home():
    """A directory for temporary files that only one test, or one run, uses; fails when anything is left in it."""
    path = tempfile.mkdtemp(prefix="outboxd-quickstart-", dir="/tmp")
    os.chmod(path, 0o755)
    try:
        yield path
        assert os.listdir(path) == [], "files were left behind"
        assert processes(path) == [], "processes were left behind"
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home():
    with a_home() as path:
        yield path


def processes(home):
    """Command lines of the living processes that were started with this TMPDIR."""
    found = []
    for directory in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{directory}/environ", "rb") as f:
                ours = f"TMPDIR={home}".encode() in f.read().split(b"\0")
            with open(f"{directory}/cmdline", "rb") as f:
                command = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if ours and command:
            found.append(command)
    return found


def environment(home, **more):
    env = clean_environment({"TMPDIR": home, "OUTBOXD_CACHE": CACHE, "TERM": "xterm", **more})
    env.pop("NO_COLOR", None) if "NO_COLOR" not in more else None
    return env


def quickstart(home, *args, timeout=180, **more):
    return subprocess.run([QUICKSTART, *args], env=environment(home, **more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout)


class Terminal:
    """quickstart on a pseudo-terminal of its own, where Ctrl-C is a key."""

    def __init__(self, home, *args, **more):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a run in the background has it ignored
            os.execve(QUICKSTART, [QUICKSTART, *args], environment(home, **more))

    def read(self, seconds):
        """Whether anything may still come."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.text += data.decode(errors="replace")
            return bool(data)
        return True

    def until(self, pattern, timeout=90):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert self.read(0.05), f"ended before '{pattern}':\n{self.text}"
            assert time.monotonic() < deadline, f"'{pattern}' did not appear:\n{self.text}"
        return self

    def press_ctrl_c(self):
        os.write(self.fd, b"\x03")
        return self

    def finish(self, timeout=90):
        """The exit code."""
        deadline = time.monotonic() + timeout
        while self.read(0.05):
            assert time.monotonic() < deadline, f"did not end:\n{self.text}"
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def wrapped_build(directory, build, script):
    """A build directory whose outboxd is `script`; in it, $REAL is the real program."""
    os.makedirs(os.path.join(directory, "packaging"))
    os.symlink(os.path.join(build, "packaging", "demo"), os.path.join(directory, "packaging", "demo"))
    path = os.path.join(directory, "outboxd")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/bash\nREAL={build}/outboxd\n{script}\n")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return directory


@pytest.fixture
def sabotaged(build):
    """sabotaged(script) -> a build directory whose outboxd is that script."""
    directories = []

    def make(script):
        directories.append(tempfile.mkdtemp(prefix="outboxd-sabotage-", dir="/tmp"))
        return wrapped_build(directories[-1], build, script)

    yield make
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


# What several tests look at: a quickstart costs 2 s of CPU, nearly all of it before the first order.

@pytest.fixture(scope="module")
def two(build):
    """What two at once print, and their exit codes."""
    with a_home() as home:
        both = [subprocess.Popen([QUICKSTART, "--build", build, "--events", "100"], env=environment(home), text=True, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
        return [(one.communicate(timeout=180)[0], one.returncode) for one in both]


@pytest.fixture(scope="module")
def kept(build):
    """A run with --keep and NO_COLOR on a terminal: it when it has ended, the commands that ran while it waited, its exit code."""
    with a_home() as home:
        terminal = Terminal(home, "--build", build, "--events", "20", "--keep", NO_COLOR="1").until("still running")
        running = processes(home)
        return terminal, running, terminal.press_ctrl_c().finish()


@pytest.mark.xdist_group("quickstart-two")
def test_two_at_once_do_not_disturb_each_other(two):
    for output, code in two:
        assert code == 0, output
        assert "190 events committed · 190 published · 0 lost" in output


@pytest.mark.xdist_group("quickstart-two")
def test_orders_arrive_and_nothing_is_lost(two):
    output, code = two[0]
    assert code == 0, output
    figures = SUMMARY.search(output).groupdict()
    assert {k: int(figures[k]) for k in ("placed", "rolled_back", "committed", "published", "lost", "duplicates")} == {
        "placed": 100, "rolled_back": 5, "committed": 190, "published": 190, "lost": 0, "duplicates": 0}
    assert figures["p50"] and figures["p99"]
    assert "\x1b" not in output, "colour and cursor movement belong on a terminal"
    for step in ("packages", "build", "postgresql", "broker", "migration", "relay", "disk"):
        assert re.search(rf"^  {step} ", output, re.M), step


@pytest.mark.xdist_group("quickstart-two")
def test_payment_names_the_order_placed_event_as_its_cause(two):
    output, _ = two[1]
    events = [m.groupdict() for m in EVENT.finditer(output)]
    placed = {e["correlation"]: e for e in events if e["type"] == "order.placed"}
    paid = [e for e in events if e["type"] == "order.paid"]
    assert placed and paid, output
    for e in paid:
        assert e["correlation"] == f"checkout-{e['key']}"
        assert e["causation"] == placed[e["correlation"]]["id"]
    for e in placed.values():
        assert e["causation"] == f"cart-{e['key']}"


@pytest.mark.slow
def test_apache_kafka_receives_the_same(home, build):
    result = quickstart(home, "--build", build, "--events", "100", "--kafka", timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Apache Kafka" in result.stdout
    assert "190 events committed · 190 published · 0 lost · 0 duplicates" in result.stdout


def test_ctrl_c_while_orders_arrive_still_counts_them(home, build):
    terminal = Terminal(home, "--build", build).until(r"order\.paid").press_ctrl_c()
    assert terminal.finish() == 0, terminal.text
    figures = SUMMARY.search(terminal.text).groupdict()
    assert int(figures["placed"]) >= 1
    assert figures["lost"] == "0" and figures["committed"] == figures["published"]
    assert COLOUR.search(terminal.text), "a terminal gets it"


@pytest.mark.parametrize("step", ["postgresql", soak("broker"), soak("migration"), soak("relay"), "disk"])
def test_ctrl_c_during_a_step_removes_everything(home, build, step):
    terminal = Terminal(home, "--build", build).until(rf"  {step} ").press_ctrl_c()
    code = terminal.finish()
    # A fast step may be over before the key arrives; then a later one was stopped, or orders already arrived.
    if code != 130:
        assert code == 0 and SUMMARY.search(terminal.text), terminal.text
    else:
        assert 'stopped at step "' in terminal.text


def test_kill_leaves_no_process_behind(build):
    home = tempfile.mkdtemp(prefix="outboxd-quickstart-", dir="/tmp")
    os.chmod(home, 0o755)
    try:
        terminal = Terminal(home, "--build", build).until(r"order\.placed")
        assert len(processes(home)) >= 5
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.finish()
        eventually(lambda: processes(home) == [], 20, lambda: f"the end of {processes(home)}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.xdist_group("quickstart-kept")
def test_keep_leaves_it_running_until_ctrl_c(kept):
    terminal, running, code = kept
    assert any("outboxd run" in command for command in running)
    assert code == 0, terminal.text
    assert SUMMARY.search(terminal.text)["lost"] == "0"


@pytest.mark.xdist_group("quickstart-kept")
def test_no_color_is_respected_on_a_terminal(kept):
    terminal, _, code = kept
    assert code == 0, terminal.text
    assert not COLOUR.search(terminal.text)


def test_a_lost_event_is_noticed(home, sabotaged):
    # Every 50th order's events look published from the start, so no relay will ever send them.
    build = sabotaged("""
        [ "$1" = migrate ] || exec "$REAL" "$@"
        "$REAL" "$@" || exit
        psql -X -q -v ON_ERROR_STOP=1 "$3" <<'SQL'
        CREATE FUNCTION public.lose() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.aggregate_id::int % 50 = 1 THEN NEW.published_at := now(); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER lose BEFORE INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.lose();
SQL""")
    result = quickstart(home, "--build", build, "--events", "100")
    assert "190 events committed" in result.stdout, result.stdout + result.stderr
    assert SUMMARY.search(result.stdout)["lost"] == "4"
    assert result.returncode == 1


def test_duplicates_are_counted(home, sabotaged):
    # As soon as the events of order 7 are published they become unpublished, and another relay takes over.
    build = sabotaged("""
        [ "$1" = run ] || exec "$REAL" "$@"
        dsn=$(sed -n 's/.*dsn = "\\(.*\\)".*/\\1/p' "$3")
        setpriv --pdeathsig KILL "$REAL" "$@" &
        until [ "$(psql -XAtc "SELECT count(published_at) FROM outbox.event WHERE aggregate_id = '7'" "$dsn")" = 2 ]; do
            sleep 0.05
        done
        kill %1
        wait
        psql -X -q -c "UPDATE outbox.event SET published_at = NULL WHERE aggregate_id = '7'" "$dsn"
        exec "$REAL" "$@" """)
    result = quickstart(home, "--build", build, "--events", "600")
    figures = SUMMARY.search(result.stdout)
    assert figures and figures["duplicates"] == "2", result.stdout + result.stderr
    assert figures["lost"] == "0" and figures["committed"] == "1140"
    assert result.returncode == 0, "a repeat is no loss"


@pytest.mark.slow
def test_a_relay_without_progress_is_not_success(home, sabotaged):
    # Below the relay's low-water bound, a row whose mark is taken away again stays unpublished until the next start.
    build = sabotaged("""
        [ "$1" = migrate ] || exec "$REAL" "$@"
        "$REAL" "$@" || exit
        psql -X -q -v ON_ERROR_STOP=1 "$3" <<'SQL'
        CREATE FUNCTION public.unmark() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.aggregate_id = '7' THEN NEW.published_at := NULL; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER unmark BEFORE UPDATE ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.unmark();
SQL""")
    result = quickstart(home, "--build", build, "--events", "20")
    assert SUMMARY.search(result.stdout)["published"] == "36", result.stdout + result.stderr
    assert "2 events were not marked as published" in result.stdout
    assert result.returncode == 1


def test_a_failing_step_says_which_why_and_what_to_do(home, sabotaged):
    build = sabotaged("""
        [ "$1" = run ] || exec "$REAL" "$@"
        echo 'code=NO_SUCH_LUCK msg="the moon is in the wrong house"' >&2
        exit 2""")
    result = quickstart(home, "--build", build, "--events", "20")
    assert result.returncode == 1
    assert 'stopped at step "relay": it ended with exit code 2' in result.stderr
    assert "the moon is in the wrong house" in result.stderr
    assert "remedy: " in result.stderr


def test_a_relay_that_dies_midway_is_reported(home, sabotaged):
    build = sabotaged("""
        [ "$1" = run ] || exec "$REAL" "$@"
        exec timeout --foreground -s KILL 4 "$REAL" "$@" """)
    result = quickstart(home, "--build", build)
    assert result.returncode == 1
    assert 'stopped at step "orders": the relay ended with exit code 137' in result.stderr


@pytest.mark.parametrize("args", [["--events", "0"], ["--events"], ["--events", "many"], ["--frobnicate"], ["--build", "/nowhere"]])
def test_wrong_arguments_are_refused(home, args):
    result = quickstart(home, *args, timeout=30)
    assert result.returncode == 1
    assert result.stderr
    assert "postgresql" not in result.stdout
