"""The README and the pages of the user guide, typed in from the first block to the last as they stand there.

A page gets a database, an owner, an application, a relay's role, and the broker; what a block needs stands in a comment above it (support/pages.py).
Names of the pages are those of the test's servers: RENAMED has all of it. A screen is compared with what the commands before it have written, except for
numbers, ids and times; OUTBOXD_WRITE_GUIDE=1 puts what was written into the page.
"""

import os
import pwd
import re
import subprocess
import sys
import tempfile
import textwrap

import pytest

from conftest import LOOKS
from support import pages
from support.common import at_pace, eventually, free_port
from support.postgres import APP, OWNER, PASSWORDS, RELAY, SUPERUSER
from support.relay import ROOT, Relay, clean_environment, outboxd, outboxd_binary

ROLES = {"owner": OWNER, "app": APP, "relay": RELAY, "administrator": SUPERUSER}
WRITE = os.environ.get("OUTBOXD_WRITE_GUIDE")
DEFAULT_FILE = "/etc/outboxd/outboxd.conf"
# The program behind the name that people type: a file in /etc is one in the page's directory, because a test writes nothing outside.
SHIM = """#!/bin/bash
if [[ -e {directory}{default} && " $* " != *" -c "* && " $* " != *" --dsn "* && $1 != explain && $1 != help && $1 != version && $1 != config ]]; then
    set -- "$1" "${{@:2}}" -c {directory}{default}
fi
exec {binary} "$@"
"""
FILE = """name = "shop";
database: {{ dsn = "host=db dbname=shop user=shop_relay"; }};
kafka: {{ brokers = "kafka:9092"; }};
pipelines: ( {} );
monitor: {{ listen = "127.0.0.1:9480"; }};
"""
# What differs from one run to the next; then blanks, so that columns may be wider.
CHANGING = ((r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"), (r"\d[\d.,:]*", "N"), (r"\bN ?(?:us|ms|s|min|m|h|d|B|KiB|MiB|GiB|kB|bytes)\b", "N"),
            (r"(?:N )+N?", "N "), (r"\bN ?ago\b|\bnow\b", "WHEN"), (r"[ \t─=-]+", " "))


class Page:
    """One page being typed in: the directory, the servers under the names of the page, the relay and the last output."""

    def __init__(self, path, postgres, kafka, work_directory):
        self.path, self.postgres, self.kafka = path, postgres, kafka
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            self.text = f.read()
        self.directory = tempfile.mkdtemp(prefix="guide-", dir=work_directory)
        self.port = free_port()
        self.database = self.relay = None
        self.output, self.written, self.topics = "", [], set(self.topics_there())
        for folder in ("bin", "etc/outboxd", "run/secrets"):
            os.makedirs(os.path.join(self.directory, folder))
        self.write("bin/outboxd", SHIM.format(directory=self.directory, default=DEFAULT_FILE, binary=outboxd_binary()), 0o755)
        self.write("run/secrets/pg", PASSWORDS[RELAY], 0o600)
        self.write("run/secrets/kafka", "of no broker here", 0o600)
        self.write(".pgpass", "".join(f"*:*:*:{role}:{password}\n" for role, password in PASSWORDS.items()), 0o600)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def renamed(self):
        """(what stands on a page, what it is here): longer names first."""
        name = self.database.name if self.database else "shop"
        return ((" sslmode=verify-full sslrootcert=/etc/outboxd/ca.pem", ""), ("host=db ", f"host=127.0.0.1 port={self.postgres.port} "),
                ("db:5432/", f"127.0.0.1:{self.postgres.port}/"), ("dbname=shop", f"dbname={name}"), ("DATABASE shop", f"DATABASE {name}"), ("kafka:9092", self.kafka.brokers),
                ("localhost:9480", f"localhost:{self.port}"), ("127.0.0.1:9480", f"127.0.0.1:{self.port}"),
                (DEFAULT_FILE, self.directory + DEFAULT_FILE), ("/run/secrets/", self.directory + "/run/secrets/"),
                ("/usr/local/bin/print-token", self.directory + "/bin/print-token"),
                ("/var/lib/outboxd/", self.directory + "/"))

    def here(self, text):
        for said, real in self.renamed():
            text = text.replace(said, real)
        return text

    def there(self, text):
        """Output in the names of the page."""
        text = text.replace(f"127.0.0.1:{self.postgres.port}/{self.database.name}", "db:5432/shop") if self.database else text
        text = text.replace(f"127.0.0.1:{self.postgres.port}", "db:5432")
        text = text.replace(f"{pwd.getpwuid(os.geteuid()).pw_name}@{os.uname().nodename}", "alice@shop-1")
        for said, real in self.renamed():
            if real:
                text = text.replace(real, said)
        return re.sub(rf"\b{self.database.name}\b", "shop", text) if self.database else text

    def topics_there(self):
        return [name for name in self.kafka.admin().list_topics(timeout=10).topics if not name.startswith("__")]

    # -- what steps do -------------------------------------------------------------------------------------------------

    def environment(self):
        return clean_environment({"PATH": f"{self.directory}/bin:{os.environ['PATH']}", "HOME": self.directory, "PGPASSFILE": f"{self.directory}/.pgpass",
                                  "OUTBOXD_MONITOR_LISTEN": f"127.0.0.1:{self.port}", "OUTBOXD_MONITOR_INTERVAL": LOOKS, "LC_ALL": "C.UTF-8", "TERM": "dumb", "PAGER": "cat"})

    def command(self, words, text, code=0):
        done = subprocess.run(words, input=text, env=self.environment(), cwd=self.directory, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=at_pace(20))
        self.output = done.stdout
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{text}\n{done.stdout}"

    def sql(self, role, text):
        self.command(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.database.dsn(ROLES[role])], self.here(text))

    def shell(self, text, code=0):
        self.command(["bash", "-e"], self.here(text), code)

    def file(self, name, text):
        name = name.lstrip("/")
        path = self.write(name, self.here(text))
        self.output = outboxd("check", "--offline", "-c", path, env=self.environment(), expect=0).stdout

    def start(self, text):
        self.stop()
        words = self.here(text.split("#")[0].strip())
        assert words.startswith("outboxd run ") and "\n" not in words, words
        self.relay = Relay(None, tempfile.mkdtemp(prefix="relay-", dir=self.directory), listen=self.port, env=self.environment())
        script = f'cd {self.directory}; exec {words.replace("outboxd", outboxd_binary(), 1)}'
        self.relay.args = []
        self.relay.start(by=("/bin/sh", "-c", script))

    def stop(self):
        if self.relay is not None:
            self.relay.stop()
            assert not self.relay.findings(), self.relay.findings()
            self.relay = None

    def begin(self, what, template):
        if what != "nothing":
            self.database = self.postgres.fresh_database("guide", **({"template": template} if what == "database" else {}))

    def end(self):
        try:
            if self.relay is not None and self.relay.running():
                self.relay.kill()
        finally:
            if self.database is not None:
                self.database.drop()
            for topic in set(self.topics_there()) - self.topics:
                self.kafka.delete_topic(topic)

    # -- screens -------------------------------------------------------------------------------------------------------

    @staticmethod
    def shape(text):
        """The lines of a screen without what differs from one run to the next."""
        for pattern, word in CHANGING:
            text = re.sub(pattern, word, text)
        return [line.strip() for line in text.splitlines() if line.strip()]

    def screen(self, step):
        seen = "".join(f"{line.rstrip()}\n" for line in self.there(self.output).strip("\n").splitlines())
        same = self.shape(step.text) == self.shape(seen)
        if WRITE and not same:
            self.written.append((step.span, textwrap.indent(seen, step.indent)))
        assert same or WRITE, f"the screen is\n{seen}\nand the page says\n{step.text}"

    def save(self):
        text = self.text
        for (begin, end), seen in reversed(self.written):
            text = text[:begin] + seen + text[end:]
        with open(os.path.join(ROOT, self.path), "w", encoding="utf-8") as f:
            f.write(text)

    def step(self, step, template):
        word, _, rest = step.detail.partition(" ")
        if step.kind == "page":
            self.begin(step.detail, template)
        elif step.kind == "screen":
            self.screen(step)
        elif step.kind == "expect":
            assert step.detail in self.there(self.output), f"'{step.detail}' is not in\n{self.there(self.output)}"
        elif word == "sql":
            self.sql(rest.removeprefix("as "), step.text)
        elif word == "file":
            self.file(rest, step.text)
        elif word == "pipeline":
            self.file(rest, FILE.format(step.text))
        elif word == "relay":
            self.start(step.text)
        elif word == "published":
            self.relay.wait_published(int(rest))
        elif step.detail == "nothing waits":
            eventually(lambda: self.relay.published() and not self.relay.metric("backlog_events") + self.relay.metric("window_events"), 20, "all is published")
        elif step.detail == "follows the log":
            self.relay.wait_log("STREAM_STARTED")
        elif step.detail == "no relay":
            self.stop()
        elif step.kind in ("run", "given"):
            self.shell(step.text, int(rest.removeprefix("exit ") or 0) if rest else 0)


def guide():
    return pages.pages(ROOT)


@pytest.fixture(scope="module")
def durable(postgres):
    """A reader's server: `outboxd check` warns of one like ours, which does not wait for the disk."""
    def flush(value):
        postgres.execute(f"ALTER SYSTEM SET fsync = {value}")
        postgres.execute("SELECT pg_reload_conf()")
        eventually(lambda: postgres.execute("SHOW fsync")[0][0] == value, 20, f"fsync is {value}")
    flush("on")
    yield postgres
    flush("off")


@pytest.fixture
def page(request, durable, kafka, work_directory):
    one = Page(request.param, durable, kafka, work_directory)
    yield one
    one.end()


@pytest.mark.own_broker
@pytest.mark.parametrize("page", guide(), indirect=True)
def test_every_block_of_a_page_does_what_the_page_says(page, migrated_template):
    steps, problems = pages.steps_of(page.text)
    assert not problems
    for step in steps:
        if step.kind != "not run":
            try:
                page.step(step, migrated_template)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                log = page.relay.log_tail() if page.relay else ""
                pytest.fail(f"{page.path}:{step.line} ({step.kind}: {step.detail}): {error}\n{log}", pytrace=False)
    page.stop()
    if WRITE:
        page.save()


@pytest.mark.parametrize("said, seen, same", [
    ("lag 3 ms   last event now\n\n", "lag 1.2 s  last event 14 min ago\n", True),
    ("id 0190c0de-3eda-7b40-85d3-aaf3017d3666", "id 01a22388-bbfb-745d-87b7-27905df516e9", True),
    ("created 2 topics", "created 2 tables", False),
    ("orders  running", "orders  STALLED", False),
    ("one\ntwo\n", "one\n", False),
    ("one\n", "two\none\n", False),
    ("", "no problem\n", False),
])
def test_a_screen_is_what_was_written_but_for_numbers_ids_and_times(said, seen, same):
    assert (Page.shape(said) == Page.shape(seen)) == same


def test_what_is_not_run_is_run_by_the_test_that_its_reason_names():
    tests = os.path.join(ROOT, "tests")
    there = {name[:-3] for room in ("integration", "faults") for name in os.listdir(os.path.join(tests, room)) if name.endswith(".py")}
    for reason, why in pages.NOT_RUN.items():
        assert set(re.findall(r"\btest_\w+", why)) <= there, reason


def test_the_configuration_reference_is_what_the_program_says():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "support", "options.py"), outboxd_binary()], stdout=subprocess.PIPE, text=True,
                          env=clean_environment())
    assert done.returncode == 0, done.stdout
