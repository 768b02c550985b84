"""Passwords that a program prints (database.password_command): rotation, and programs that fail, hang, print too much or are not there."""

import itertools
import os
import re
import signal
import subprocess

import pytest

from conftest import CAPTURES
from support import workload
from support.common import at_pace, eventually
from support.consume import read_topics, wait_for_records
from support.postgres import PASSWORDS, RELAY, SUPERUSER
from support.program import Program
from support.relay import configuration, outboxd, outboxd_binary, write_configuration
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
_roles = itertools.count(1)


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


class Role:
    """A role of the relay's whose password is changed while it runs."""

    def __init__(self, database):
        self.database = database
        self.name = f"token_{os.getpid()}_{next(_roles)}"
        self.number = 0
        database.execute(f"CREATE ROLE {self.name} LOGIN REPLICATION; GRANT outbox_relay TO {self.name}", user=SUPERUSER)
        self.rotate()

    def rotate(self):
        """A new password; the old one is refused from now on."""
        self.number += 1
        self.password = f"it's \"hush-hush\" {self.number} of {self.name}"
        self.database.execute(f"ALTER ROLE {self.name} PASSWORD %s", (self.password,), user=SUPERUSER)
        return self.password

    def cut(self):
        return self.database.terminate_backends(user=self.name)


@pytest.fixture
def role(database):
    role = Role(database)
    yield role
    role.cut()
    database.execute(f"DROP OWNED BY {role.name}; DROP ROLE {role.name}", user=SUPERUSER)


@pytest.fixture
def token_relay(relay, database, role, program):
    """A relay whose password the program prints."""
    def make(pipeline=None, options=None, **more):
        return relay(pipeline, dsn=database.dsn(role.name), database={"password_command": program.command, **(options or {})}, **more)
    return make


@pytest.mark.by_turns
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_password_that_changes_while_the_relay_runs_costs_nothing(token_relay, kafka, database, prefix, role, program, wal, capture):
    """The relay holds the old one, is refused, fetches the new one, and goes on."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=20)
    program.prints(role.password)
    one = token_relay({**CAPTURES[capture], "batch_events": 50, "retry_backoff_min": "20ms", "retry_backoff_max": "200ms"}).start()
    with workload.Writers(database, threads=3, keys=20, seed=5):
        for _ in range(2):
            one.wait_published(one.published() + 60, 60)
            runs = program.runs()
            program.prints(role.rotate())
            assert role.cut() >= 1
            eventually(lambda: program.runs() > runs, 60, lambda: "the new password is fetched\n" + one.log_tail())
            one.wait_published(one.published() + 60, 60)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "all published\n" + one.log_tail())
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact(duplicates=one.excused_repeats())
    assert one.running() and one.starts == 1
    assert program.runs() <= 8, f"{program.runs()} runs: a storm"
    assert "hush-hush" not in one.log_text()
    one.wait_ready()
    one.stop()


BROKEN = {
    "fails": ("echo token hush-hush-2 >&2; echo hush-hush-2; exit 3", "ended with exit code 3"),
    "is killed": ("kill -9 $$", r"was ended by signal 9, SIGKILL"),
    "prints nothing": ("true", "printed nothing"),
    "prints too much": ("while :; do echo hush-hush-hush-hush-hush-hush-hush; done", "printed more than 64 KiB"),
    "prints two lines": ("echo hush-hush; echo hush-hush", "printed several lines"),
    "prints what is over": ("""echo '{"token": "hush-hush", "expires_at": 1000000000}'""", "expired .* ago"),
    "hangs": ("exec sleep 600", "had not ended after 1000 ms"),
}


@pytest.mark.parametrize("how", list(BROKEN))
def test_a_program_that_does_not_bring_a_password_is_named_and_run_again(token_relay, kafka, database, prefix, role, program, how):
    script, reason = BROKEN[how]
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    program.does(script)
    one = token_relay(options={"password_timeout": "1s"}).start(wait_ready=False)
    one.wait_not_ready("database.password_command.*" + reason, 40)
    error = one.status()["pipelines"][0]["error"]
    assert error["code"].startswith("TOKEN_") and error["class"] == "retry", error
    program.prints(role.password)
    one.wait_ready(60)
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    one.stop()
    assert "hush" not in one.log_text() and role.password not in one.log_text()


def test_a_program_that_is_not_there_is_named(token_relay, program):
    os.rename(program.path, program.path + ".away")
    one = token_relay().start(wait_ready=False)
    one.wait_not_ready(re.escape(f"cannot be run: {program.path}: No such file or directory"))
    os.rename(program.path + ".away", program.path)


def test_a_program_that_hangs_holds_up_nobody_else(relay, kafka, database, prefix, role, program):
    """Two pipelines: the one whose connection is cut waits for the program; the other one publishes, and /metrics answers."""
    topics = [kafka.create_topic(f"{prefix}.{name}") for name in ("standing", "cut")]
    database.execute("CREATE TABLE outbox.other (LIKE outbox.event INCLUDING ALL)")
    database.execute(f"GRANT SELECT, UPDATE, DELETE ON outbox.other TO outbox_relay; ALTER TABLE outbox.other OWNER TO {RELAY}; "
                     f"ALTER TABLE outbox.other OWNER TO shop_owner", user=SUPERUSER)
    program.prints(role.password)
    one = relay(config=configuration(
        database.dsn(role.name), kafka.brokers, name="shop", monitor={"interval": "500ms"},
        database={"password_command": program.command, "password_lifetime": "1s", "password_timeout": "60s"},
        pipelines=[{"name": "standing", "table": "outbox.event", "topic": topics[0], "poll_interval_max": "50ms"},
                   {"name": "cut", "table": "outbox.other", "topic": topics[1], "poll_interval_max": "50ms", "retry_backoff_max": "500ms"}])).start()
    program.hangs()

    def cut():
        """Again and again: for a second it may log in with the password that it has."""
        database.terminate_backends("shop/cut%", user=role.name)
        return program.runs() > runs
    runs = program.runs()
    eventually(cut, 40, lambda: "the program is run\n" + one.log_tail())
    for number in range(40):
        database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(number),))
        one.wait_published(number + 1, 10)
        assert one.http("/livez")[0] == 200
    assert not one.ready()[0]
    os.kill(program.pids()[-1], 0)   # it has hung all the time
    program.prints(role.password)
    os.kill(program.pids()[-1], signal.SIGKILL)
    one.wait_ready(60)
    one.stop()


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(") ", 1)[1][0] == "Z"   # its new parent is slow to look
    except OSError:
        return True


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_program_that_hangs_ends_with_the_relay(token_relay, program, how):
    program.hangs()
    one = token_relay().start(wait_ready=False)
    pid = eventually(lambda: program.pids(), 20, lambda: "the program is run\n" + one.log_tail())[-1]
    one.signal(getattr(signal, how))
    one.wait_exit()
    eventually(lambda: is_gone(pid), 20, "the program is gone")


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_command_that_is_interrupted_ends_with_all_that_it_runs(database, role, program, tmp_path, how):
    program.does(f"sleep 777 & echo $! >> '{tmp_path}/started'; exec sleep 778")
    path = write_configuration(str(tmp_path / "o.conf"), configuration(
        database.dsn(role.name), "127.0.0.1:1", database={"password_command": program.command}))
    with subprocess.Popen([outboxd_binary(), "check", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as check:
        eventually((tmp_path / "started").exists, 20, "the program is run")
        pids = eventually(lambda: [int(word) for word in (tmp_path / "started").read_text().split()], 20, "it has said what it started") + program.pids()
        check.send_signal(getattr(signal, how))
        assert check.wait(at_pace(20)) == -getattr(signal, how)
    for pid in pids:
        eventually(lambda pid=pid: is_gone(pid), 20, "the program is gone")


def bare(*args, env=(), expect=0):
    """outboxd with `env -i`: nothing of the environment but `env`."""
    done = subprocess.run(["/usr/bin/env", "-i", *env, outboxd_binary(), *args], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=at_pace(60))
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert "hush-hush" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_all_commands_take_the_password_of_the_program_with_an_empty_environment(kafka, database, prefix, role, program, tmp_path):
    topic = kafka.create_topic(f"{prefix}.order")
    program.prints('{"password": %s, "expires_in": 900}' % ('"' + role.password.replace('"', '\\"') + '"'))
    path = write_configuration(str(tmp_path / "o.conf"), configuration(
        database.dsn(role.name), kafka.brokers, {"topic": topic}, database={"password_command": program.command}, listen="127.0.0.1:1"))
    assert "no problem" in bare("check", "-c", path)
    bare("pause", "-c", path, "--reason", "x")
    bare("resume", "-c", path)
    bare("dead", "list", "-c", path)
    assert "no unpublished events" in bare("status", "-c", path, expect=70)   # no relay runs: what the database knows
    dsn = database.dsn(role.name)
    assert "applied" in bare("migrate", "--status", env=[f"OUTBOXD_DATABASE_DSN={dsn}", f"OUTBOXD_DATABASE_PASSWORD_COMMAND={program.command}"])
    assert "applied" in bare("migrate", "--dsn", dsn, "--status", env=[f"OUTBOXD_DATABASE_PASSWORD_COMMAND={program.command}"])
    assert program.runs() >= 7


def test_a_command_names_the_program_that_fails(kafka, database, role, program, tmp_path):
    program.does("echo no network >&2; exit 4")
    path = write_configuration(str(tmp_path / "o.conf"), configuration(
        database.dsn(role.name), kafka.brokers, database={"password_command": program.command}, listen="127.0.0.1:1"))
    for command in (["check"], ["pause"], ["dead", "list"], ["status"]):
        said = bare(*command, "-c", path, expect=2)
        assert "database.password_command ended with exit code 4; it wrote: no network" in said, said
        assert "remedy: Run the program by hand as the relay's user" in said or command != ["check"], said
        assert "Check that the server is running" not in said, said
    env = [f"OUTBOXD_DATABASE_DSN={database.dsn(role.name)}", f"OUTBOXD_DATABASE_PASSWORD_COMMAND={program.command}"]
    assert "OUTBOXD_DATABASE_PASSWORD_COMMAND ended with exit code 4; it wrote: no network" in bare("migrate", "--status", env=env, expect=2)


def test_check_without_a_second_connection_says_what_the_relay_says(kafka, database, role, program, tmp_path):
    """It opens two at a time; the first one is all that the role has. Its password is a part of its name, which is shown."""
    database.execute(f"ALTER ROLE {role.name} CONNECTION LIMIT 1 PASSWORD 'token'", user=SUPERUSER)
    program.prints("token")
    path = write_configuration(str(tmp_path / "o.conf"), configuration(
        database.dsn(role.name), kafka.brokers, database={"password_command": program.command}, listen="127.0.0.1:1"))
    said = bare("check", "-c", path, expect=2)
    assert f'too many connections for role "{role.name}"' in said and "Raise the role's limit (ALTER ROLE ... CONNECTION LIMIT)" in said, said
    assert "Check --dsn" not in said, said


def test_check_offline_knows_what_is_wrong_with_a_command(database, tmp_path):
    path = tmp_path / "o.conf"

    def said(options, kafka=None):
        write_configuration(str(path), configuration("host=db dbname=shop", "b:1", database=options, kafka=kafka))
        return outboxd("check", "--offline", "-c", path).stdout + outboxd("check", "--offline", "-c", path).stderr

    assert '"/nowhere/printer", does not exist' in said({"password_command": "/nowhere/printer"})
    assert '"/etc/passwd", cannot be run by this user' in said({"password_command": "/etc/passwd"})
    assert "its first word is not an absolute path" in said({"password_command": "printer"})
    assert "are both given" in said({"password_command": "/bin/true", "password": "x"})
    assert "kafka.oauth_command needs sasl.mechanisms=OAUTHBEARER" in said(
        {}, kafka={"oauth_command": "/bin/true", "properties": ["security.protocol=sasl_ssl"]})
    fine = said({"password_command": "/bin/true"})
    assert "no problem" in fine, fine


def test_by_environment_alone_with_nothing_else(relay, kafka, database, prefix, role, program):
    topic = kafka.create_topic(f"{prefix}.order")
    program.prints(role.password)
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay(file=False)
    one.start(by=["/usr/bin/env", "-i", f"OUTBOXD_DATABASE_DSN={database.dsn(role.name)}", f"OUTBOXD_KAFKA_BROKERS={kafka.brokers}",
                  f"OUTBOXD_DATABASE_PASSWORD_COMMAND={program.command}", f"OUTBOXD_PIPELINE_TOPIC={topic}",
                  f"OUTBOXD_MONITOR_LISTEN=127.0.0.1:{one.port}"])
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    one.stop()


def test_a_login_that_is_refused_for_good_is_said_and_asked_rarely(token_relay, role, program):
    """The program prints what the server refuses: the relay waits, and neither the server nor the program is stormed."""
    program.prints(PASSWORDS[RELAY] + "-wrong-hush")
    one = token_relay({"retry_backoff_max": "100ms"}).start(wait_ready=False)
    one.wait_not_ready("PostgreSQL refuses what database.password_command printed")
    before = program.runs()
    eventually(lambda: program.runs() >= before + 2, 60, "it is run again")
    assert program.runs() <= 12
    assert "wrong-hush" not in one.log_text()
    program.prints(role.password)
    one.wait_ready(90)
    one.stop()
