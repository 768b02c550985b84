"""A pipeline by environment alone: the installed program, started with `env -i` and these variables, by a user without a home and without an entry in passwd.

No file anywhere: there is no /etc/outboxd/outboxd.conf on the machine of the tests (a test says so), and the directory is empty.
"""

import json
import os
import signal
import subprocess
import tempfile

import pytest

from conftest import CAPTURES, LOOKS
from support.common import die_with_parent, eventually, free_port, tail
from support.consume import headers_of, wait_for_records
from support.postgres import PASSWORDS, RELAY
from support.relay import outboxd, outboxd_binary

STRANGER = 54321    # no entry in passwd, and no home
DEFAULT_FILE = "/etc/outboxd/outboxd.conf"
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture(scope="module")
def installed(work_directory):
    """The program as `cmake --install` puts it into a root of its own."""
    root = tempfile.mkdtemp(prefix="root-", dir=work_directory)
    os.chmod(root, 0o755)
    subprocess.run(["cmake", "--install", os.path.dirname(outboxd_binary()), "--prefix", "/usr"], env={**os.environ, "DESTDIR": root},
                   stdout=subprocess.DEVNULL, check=True)
    return os.path.join(root, "usr", "bin", "outboxd")


def as_stranger():
    return {"user": STRANGER, "group": STRANGER, "extra_groups": []} if os.geteuid() == 0 else {}


def bare(program, variables, *args):
    """env -i NAME=VALUE... outboxd ARG...: the command line."""
    return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items()), program, *args]


def run(program, variables, *args, expect=None):
    done = subprocess.run(bare(program, variables, *args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", timeout=60,
                          stdin=subprocess.DEVNULL, **as_stranger())
    assert expect is None or done.returncode == expect, done.stdout
    return done.stdout


@pytest.fixture
def secret(work_directory):
    """A file with the relay's password, which only the stranger may read."""
    path = os.path.join(tempfile.mkdtemp(prefix="secret-", dir=work_directory), "password")
    os.chmod(os.path.dirname(path), 0o755)
    with open(path, "w", encoding="ascii") as f:
        f.write(PASSWORDS[RELAY] + "\n")
    os.chmod(path, 0o400)
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER)
    return path


@pytest.mark.skipif(os.path.exists(DEFAULT_FILE), reason="this machine has a configuration in the default place")
@pytest.mark.parametrize("capture", CAPTURES)
def test_a_pipeline_runs_by_variables_alone(installed, secret, database, kafka, prefix, wal, work_directory, capture):
    topic = kafka.create_topic(f"{prefix}.order", partitions=1)
    port = free_port()
    variables = {
        "OUTBOXD_DATABASE_DSN": database.dsn(password=""), "OUTBOXD_DATABASE_PASSWORD_FILE": secret,
        "OUTBOXD_KAFKA_BROKERS": kafka.brokers, "OUTBOXD_KAFKA_PROPERTY_COMPRESSION_TYPE": "gzip", "OUTBOXD_NAME": "shop",
        "OUTBOXD_MONITOR_LISTEN": f"127.0.0.1:{port}", "OUTBOXD_MONITOR_INTERVAL": LOOKS,
        "OUTBOXD_PIPELINE_NAME": "orders", "OUTBOXD_PIPELINE_CAPTURE": capture, "OUTBOXD_PIPELINE_TOPIC": prefix + ".${aggregate_type}",
        "OUTBOXD_PIPELINE_HEADERS": "plain"}
    assert "no problem" in run(installed, variables, "check", expect=0)
    database.execute("SELECT outbox.emit('order.placed', 'order', '17', '{}')")
    log_path = secret + ".log"
    with open(log_path, "ab") as log:
        process = subprocess.Popen(bare(installed, variables, "run"), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
                                   preexec_fn=die_with_parent(signal.SIGKILL), **as_stranger())
    try:
        record, = wait_for_records(kafka.brokers, topic, 1, 30)
        assert headers_of(record)["event_type"] == "order.placed"
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, lambda: tail(log_path))
        status = json.loads(run(installed, variables, "status", "--json", expect=0))
        assert [one["name"] for one in status["pipelines"]] == ["orders"] and status["pipelines"][0]["capture"] == capture
        process.terminate()
        assert process.wait(30) == 0, tail(log_path)
    finally:
        process.kill()
        process.wait()
    with open(log_path, encoding="utf-8") as f:
        assert PASSWORDS[RELAY] not in f.read()


# -- every option ------------------------------------------------------------------------------------------------------


OTHER = {   # a value that is not the default, where one does not follow from the type
    "name": "shop", "database.dsn": "host=db dbname=shop", "database.replication_dsn": "host=db dbname=shop", "database.password_command": "/bin/cat /p",
    "kafka.brokers": "kafka:9092", "kafka.oauth_command": "/bin/cat /k", "monitor.listen": "127.0.0.1:9999", "monitor.lag_target": "99.5%",
    "pipelines.name": "orders", "pipelines.table": "shop.event", "pipelines.topic": "t.${aggregate_type}", "pipelines.key": "${event_type}",
    "pipelines.source": "/a", "pipelines.slot": "slot_a", "pipelines.publication": "pub_a", "pipelines.file.path": "/tmp/a.jsonl",
    "pipelines.sink": "file"}
APART = {"database.password", "database.password_file"}     # of secrets nothing is shown; test_passwords tries them
# What an option needs beside it.
WITH = {"sink": {"OUTBOXD_PIPELINE_FILE_PATH": "/tmp/a.jsonl"}}


def other_value(option):
    if option["path"] in OTHER:
        return OTHER[option["path"]]
    default = option.get("default", "")
    if option["type"] == "enum":
        return next(v for v in option["values"] if v != default) if len(option["values"]) > 1 else option["values"][0]
    if option["type"] == "boolean":
        return "false" if default == "true" else "true"
    if option["type"] == "duration":
        return f"{option['min'] + 1}ms"
    if option["type"] == "size":
        return f"{option['min'] // 1024 + 1}KiB" if option["min"] >= 1024 else f"{option['min'] + 1}B"
    if option["type"] == "integer":
        return str(option["min"] + 1)
    return "other"


def test_every_scalar_option_has_a_variable_that_works():
    """One at a time: what is set is what `config print` shows, or what the program says about it names the variable. The pipeline has
    no mappings, so that those of capture = "tables" are refused."""
    options = json.loads(outboxd("config", "schema", expect=0).stdout)["options"]
    scalar = [o for o in options if o["type"] not in ("groups", "strings") and not o["path"].startswith(("pipelines.routes.", "pipelines.mappings."))]
    assert len(scalar) > 60 and all("environment" in o for o in scalar), [o["path"] for o in scalar if "environment" not in o]
    base = {"OUTBOXD_DATABASE_DSN": "host=db", "OUTBOXD_KAFKA_BROKERS": "kafka:9092"}
    taken = []
    for option in scalar:
        if option["path"] in APART:
            continue
        value = other_value(option)
        given = ("--dsn", "host=db") if option["path"].startswith("kafka") else ("--brokers", "kafka:9092")
        done = outboxd("config", "print", *given, env={**base, **WITH.get(option["path"].rsplit(".", 1)[-1], {}), option["environment"]: value})
        shown = option["path"].rsplit(".", 1)[-1]
        said = done.stdout + done.stderr
        if done.returncode == 0:
            quoted = value if option["type"] in ("boolean", "integer") else json.dumps(value)
            line = f"{shown} = {quoted};  // environment {option['environment']}"
            assert line in map(str.strip, done.stdout.splitlines()), f"no line {line}:\n{done.stdout}"
            taken.append(option["path"])
        else:
            assert option["environment"] in said, f"{option['environment']}={value}: {said}"
    assert len(taken) >= len([o for o in scalar if "capture" not in o]) - 12, sorted(o["path"] for o in scalar if o["path"] not in taken)


# -- what is refused, and what a typo says -----------------------------------------------------------------------------


BASE = {"OUTBOXD_DATABASE_DSN": "host=db dbname=shop", "OUTBOXD_KAFKA_BROKERS": "kafka:9092"}


def said(**variables):
    done = outboxd("check", "--offline", env={**BASE, **variables})
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name, path, remedy", [
    ("OUTBOXD_PIPELINE_ROUTES", "routes", "configuration file"), ("OUTBOXD_PIPELINES", "pipelines", "configuration file"),
    ("OUTBOXD_PIPELINE_ROUTES_TOPIC", "routes", "OUTBOXD_PIPELINE_TOPIC"), ("OUTBOXD_KAFKA_PROPERTIES", "kafka.properties", "OUTBOXD_KAFKA_PROPERTY_")])
def test_what_needs_a_file_is_refused_by_name(name, path, remedy):
    code, text = said(**{name: '( { topic = "a"; } )'})
    assert code == 1 and f'{name}: "{path}" cannot be given by an environment variable' in text and remedy in text


def test_tables_are_refused_by_name():
    code, text = said(OUTBOXD_PIPELINE_TABLES="public.item")
    assert code == 1 and "OUTBOXD_PIPELINE_TABLES" in text and "not built yet" in text


def test_a_typo_is_named_with_what_was_meant():
    code, text = said(OUTBOXD_PIPELIN_TOPIC="orders")
    assert code == 0 and "OUTBOXD_PIPELIN_TOPIC" in text and "did you mean OUTBOXD_PIPELINE_TOPIC?" in text
    code, text = said(OUTBOXD_PIPELINE_TOPICS="orders")
    assert code == 0 and "did you mean OUTBOXD_PIPELINE_TOPIC?" in text


def test_a_value_that_does_not_fit_names_its_variable():
    code, text = said(OUTBOXD_PIPELINE_CAPTURE="pol")
    assert code == 1 and "OUTBOXD_PIPELINE_CAPTURE" in text and '"poll"' in text
    code, text = said(OUTBOXD_PIPELINE_LEASE="10")
    assert code == 1 and "OUTBOXD_PIPELINE_LEASE" in text


def test_variables_of_a_cluster_are_no_error():
    """Kubernetes gives every pod such variables for a service called "outboxd"."""
    code, text = said(OUTBOXD_SERVICE_HOST="10.0.0.1", OUTBOXD_PORT="tcp://10.0.0.1:9480", OUTBOXD_PIPELINES_SERVICE_HOST="10.0.0.2")
    assert code == 0, text
