"""outboxd status --watch: live, on a terminal and into a pipe, through the death of what it watches."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from support.common import eventually
from support.relay import clean_environment, outboxd_binary


def emit(database, key):
    database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


@pytest.fixture
def published(relay, kafka, database, prefix):
    """A relay that has published one event."""
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, 1)
    one.wait_published(1)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 20, "marked")
    return one


class Terminal:
    def __init__(self, *command):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(command[0], command, {**clean_environment(), "TERM": "xterm"})

    def wait_for(self, pattern, timeout=20):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, re.sub(r"\x1b\[[0-9;]*m", "", self.text)):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536).decode()

    def end(self):
        """Ctrl-C; what is written from then on, and the exit code."""
        before = len(self.text)
        os.write(self.fd, b"\x03")
        try:
            while data := os.read(self.fd, 65536):
                self.text += data.decode()
        except OSError:
            pass  # the other side is gone
        os.close(self.fd)
        return self.text[before:], os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_watch_on_a_terminal_shows_sparklines_and_leaves_the_last_screen(published, database):
    terminal = Terminal(outboxd_binary(), "status", "-c", published.config_path, "--watch=0.2")
    terminal.wait_for(r"\x1b\[\?1049h")
    terminal.wait_for(r"lag {8}\S{4}")
    emit(database, 2)
    terminal.wait_for(r"orders +poll +running [^\n]* 2  now")
    rest, code = terminal.end()
    assert code == 0, terminal.text
    assert "\x1b[?1049l" in rest and "per second" in rest.split("\x1b[?1049l")[1], "the last screen stays"


def test_watch_into_a_pipe_goes_on_when_the_relay_dies_and_comes_back(published):
    with subprocess.Popen([outboxd_binary(), "status", "-c", published.config_path, "--watch=0.1"], stdout=subprocess.PIPE, text=True,
                          env=clean_environment()) as process:
        def line_with(text):
            while text not in (line := process.stdout.readline()):
                assert line, f"ended without {text!r}"

        line_with("running")
        published.kill()
        line_with("no unpublished events")
        published.start()
        line_with("running")
        process.send_signal(signal.SIGINT)
        assert "\x1b" not in process.stdout.read()
    assert process.returncode == 0


def test_watch_with_json_is_an_object_a_line(published):
    with subprocess.Popen([outboxd_binary(), "status", "-c", published.config_path, "--json", "--watch=0.1"], stdout=subprocess.PIPE, text=True,
                          env=clean_environment()) as process:
        objects = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
    assert all(o["pipelines"][0]["state"] == "running" for o in objects)
    assert process.returncode == 0


@pytest.mark.parametrize("seconds", ["0", "never", "-1", "1e9", ""])
def test_watch_refuses_what_is_no_time(seconds):
    result = subprocess.run([outboxd_binary(), "status", f"--watch={seconds}"], capture_output=True, text=True, env=clean_environment(), timeout=20)
    assert result.returncode == 1 and "a number of seconds from 0.1 to 3600" in result.stderr


@pytest.mark.parametrize("rows,columns", [(12, 60), (5, 30), (40, 200)])
def test_watch_fits_the_pane_with_the_state_first(published, rows, columns):
    terminal = Terminal(outboxd_binary(), "status", "-c", published.config_path, "--watch=0.2")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    marks = len(terminal.text)
    terminal.wait_for(r"(?s)(\x1b\[H\x1b\[2J.*){5}")
    terminal.text = terminal.text[marks:]
    terminal.wait_for(r"(?s)(\x1b\[H\x1b\[2J.*){3}")
    screen = terminal.text.split("\x1b[H\x1b[2J")[-2]
    terminal.end()
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen).split("\r\n")
    assert len(lines) <= rows and max(len(line) for line in lines) <= columns, screen
    assert any(re.match("orders +poll +running", line) for line in lines), screen


@pytest.mark.parametrize("watch", [["--watch=0.1"], ["--watch=0.1", "--json"], []])
def test_nobody_who_reads_makes_no_noise(published, watch):
    for ignored in (False, True):   # some shells and supervisors ignore SIGPIPE
        read, write = os.pipe()
        os.close(read)
        with subprocess.Popen([outboxd_binary(), "status", "-c", published.config_path, *watch], stdout=write, stderr=subprocess.PIPE, text=True,
                              env=clean_environment(), restore_signals=not ignored) as process:
            os.close(write)
            assert process.stderr.read() == ""
        assert process.returncode in (0, -signal.SIGPIPE)
