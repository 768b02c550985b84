"""Ways to start and what the commands say: environment, check, config, exit codes, secrets."""

import json
import os
import re

import pytest

from support.common import eventually
from support.consume import wait_for_records
from support.postgres import PASSWORDS, RELAY
from support.relay import configuration, outboxd, write_configuration


@pytest.fixture
def conf(tmp_path):
    """conf(text or dict) -> path of a configuration file."""
    return lambda config, name="outboxd.conf": write_configuration(str(tmp_path / name), config)


def test_start_without_a_file_from_the_command_line(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.events")
    database.execute("SELECT outbox.emit('order.placed', %s, '1', '{}')", (prefix,))
    relay(file=False, args=["--dsn", database.dsn(), "--brokers", kafka.brokers]).start()
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    assert dict(record.headers)["ce_source"] == b"/outboxd/outbox"


def test_start_without_a_file_from_the_environment(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.mine")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay(file=False, env={"OUTBOXD_DATABASE_DSN": database.dsn(), "OUTBOXD_KAFKA_BROKERS": kafka.brokers,
                              "OUTBOXD_KAFKA_PROPERTY_COMPRESSION_TYPE": "lz4", "OUTBOXD_PIPELINE_TOPIC": topic,
                              "OUTBOXD_PIPELINE_ON_PUBLISH": "delete", "OUTBOXD_SERVICE_PORT": "tcp://injected-by-kubernetes"}).start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 0, what="on_publish came from the environment")
    assert one.log_lines("OUTBOXD_SERVICE_PORT"), "an unknown OUTBOXD_ name is worth a warning"


def test_environment_beats_the_file_and_the_command_line_beats_both(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay(dsn="host=127.0.0.1 port=1 dbname=from_the_file", brokers="127.0.0.1:1", args=["--dsn", database.dsn()],
                env={"OUTBOXD_DATABASE_DSN": "host=127.0.0.1 port=1 dbname=from_the_environment",
                     "OUTBOXD_KAFKA_BROKERS": kafka.brokers})
    one.start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1


def test_secrets_from_files_and_environment_are_put_in(relay, kafka, database, prefix, tmp_path):
    topic = kafka.create_topic(f"{prefix}.order")
    kafka.grant("relay", topic, "WRITE", "DESCRIBE")
    secret = tmp_path / "password"
    secret.write_text(PASSWORDS[RELAY] + "\n")
    dsn = database.dsn().replace(PASSWORDS[RELAY], "${file:%s}" % secret)
    properties = [p if not p.startswith("sasl.password") else "sasl.password=${env:BROKER_PASSWORD}" for p in kafka.sasl_properties()]
    from support.kafka import SASL_USERS
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay(dsn=dsn, brokers=kafka.sasl_brokers, kafka={"properties": properties}, env={"BROKER_PASSWORD": SASL_USERS["relay"]})
    one.start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1


def test_secrets_appear_nowhere(relay, kafka, database, prefix, postgres):
    """Not in logs, /status, /metrics, argv, config print, check and status; neither when all is well nor when the database says no."""
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{\"card\": \"payload-secret\"}')")
    uri = f"postgresql://{RELAY}:{PASSWORDS[RELAY]}@127.0.0.1:{postgres.port}/{database.name}"
    one = relay(dsn=uri, brokers=kafka.sasl_brokers, log={"level": "debug"},
                kafka={"properties": kafka.sasl_properties()}).start(wait_ready=False)
    eventually(lambda: one.http("/status")[0] == 200, what="/status answers")
    kafka.grant("relay", topic, "WRITE", "DESCRIBE")
    wait_for_records(kafka.brokers, topic, 1, timeout=30)
    from support.kafka import SASL_USERS
    seen = [one.log_text(), one.http("/status")[1], one.http("/metrics")[1], one.http("/readyz")[1]]
    with open(f"/proc/{one.pid}/cmdline", "rb") as f:
        seen.append(f.read().decode())
    for command in (["config", "print"], ["check"], ["status"], ["status", "--json"]):
        result = outboxd(*command, "-c", one.config_path)
        seen += [result.stdout, result.stderr]
    wrong = relay(dsn=database.dsn().replace(PASSWORDS[RELAY], "wrong-secret")).start(wait_ready=False)
    wrong.wait_log("(?i)password authentication failed|authenticat")
    seen.append(wrong.log_text())
    for text in seen:
        for secret in (PASSWORDS[RELAY], SASL_USERS["relay"], "payload-secret", "wrong-secret"):
            assert secret not in text, f"{secret} in: {text[:2000]}"


def test_unknown_key_is_an_error_with_place_and_nearest_name(conf):
    path = conf('name = "shop";\ndatabase: { dsn = "host=x"; };\nkafka: { brokers = "b:1"; };\n'
                'pipelines: ( { name = "a";\n  capure = "poll"; } );\n')
    result = outboxd("check", "--offline", "-c", path, expect=1)
    text = result.stdout + result.stderr
    assert f"{path}:5" in text and '"capure"' in text and '"capture"' in text, text


def test_every_mistake_of_a_file_is_reported_at_once(conf):
    path = conf('database: { dsn = "host=x"; };\nkafka: { brokers = "b:1"; };\nshutdwn_timeout = "5s";\n'
                'pipelines: ( { name = "a"; poll_interval_max = "5 parsecs";\n  on_publish = "burn";\n'
                '  topic = "${agregate_type}.events"; batch_events = 3000000000; } );\n')
    result = outboxd("check", "--offline", "-c", path, expect=1)
    text = result.stdout + result.stderr
    for word, line in (("shutdown_timeout", 3), ("5 parsecs", 4), ("burn", 5), ("aggregate_type", 6), ("batch_events", 6)):
        assert re.search(rf":{line}\b.*{re.escape(word)}", text), f"{word} at line {line} in:\n{text}"


@pytest.mark.parametrize("text,word", [
    ('database: { dsn = "x" ', "syntax"),
    ('kafka: { brokers = "${env:SURELY_NOT_SET}"; };', "SURELY_NOT_SET"),
    ('kafka: { brokers = "${file:/no/such/file}"; };', "/no/such/file"),
    ('pipelines: ( { name = "a"; capture = "tables"; } );', "tables"),
    ('pipelines: ( { name = "a"; messages = true; } );', "messages"),
    ('pipelines: ( { name = "a"; }, { name = "a"; } );', '"a"'),
    ('pipelines: ( { name = "a"; delivery = "exactly-once"; } );', "exactly-once"),
    ('pipelines: ( { name = "a"; routes = ( { topic = "no topic name"; } ); } );', "no topic name"),
    ('pipelines: ( { name = "a"; routes = ( { aggregate_type = "x"; } ); } );', "topic"),
    ('monitor: { listen = "nonsense"; };', "nonsense"),
])
def test_mistake_is_refused_by_run_and_check_alike(conf, text, word):
    base = {"database": 'database: { dsn = "host=127.0.0.1 port=1"; };\n', "kafka": 'kafka: { brokers = "127.0.0.1:1"; };\n'}
    path = conf("".join(v for k, v in base.items() if not text.startswith(k)) + text + "\n")
    for command in (["run"], ["check", "--offline"]):
        result = outboxd(*command, "-c", path, expect=1)
        assert word in result.stdout + result.stderr, result.stdout + result.stderr


def test_missing_file_is_named(tmp_path):
    for command in ("run", "check"):
        result = outboxd(command, "-c", tmp_path / "absent.conf", expect=1)
        assert "absent.conf" in result.stderr + result.stdout


def test_nothing_to_connect_to_is_a_usage_error_that_says_what_to_give():
    text = outboxd("run", expect=1).stderr
    assert "dsn" in text.lower()


@pytest.mark.own_broker
def test_check_is_silent_about_a_good_setup_and_changes_nothing(conf, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    path = conf(configuration(database.dsn(), kafka.brokers, {"topic": f"{prefix}.order"}))
    before = kafka.admin().list_topics(timeout=5).topics.keys()
    result = outboxd("check", "-c", path, expect=0)
    assert "problem" not in result.stdout.lower() or "0 problems" in result.stdout or "no problem" in result.stdout.lower()
    assert kafka.admin().list_topics(timeout=5).topics.keys() == before


def test_check_says_which_topic_is_missing(conf, kafka, database, prefix):
    path = conf(configuration(database.dsn(), kafka.brokers, {"topic": f"{prefix}.order"}))
    result = outboxd("check", "-c", path, expect=3)
    assert f"{prefix}.order" in result.stdout + result.stderr


def test_check_says_which_privilege_is_missing_with_the_grant(conf, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    database.execute("REVOKE outbox_relay FROM shop_relay")
    try:
        path = conf(configuration(database.dsn(), kafka.brokers, {"topic": f"{prefix}.order"}))
        result = outboxd("check", "-c", path, expect=2)
        assert "GRANT" in result.stdout + result.stderr
    finally:
        database.execute("GRANT outbox_relay TO shop_relay")


def test_check_without_the_table_points_to_migrate(conf, kafka, empty_database, prefix):
    path = conf(configuration(empty_database.dsn(), kafka.brokers))
    result = outboxd("check", "-c", path, expect=2)
    assert "outboxd migrate" in result.stdout + result.stderr


def test_unreachable_servers_have_their_own_exit_codes(conf, kafka, database, prefix):
    away = conf(configuration("host=127.0.0.1 port=1 dbname=x connect_timeout=2", kafka.brokers))
    assert outboxd("check", "-c", away).returncode == 2
    assert outboxd("migrate", "--dsn", "host=127.0.0.1 port=1 dbname=x connect_timeout=2").returncode == 2
    no_broker = conf(configuration(database.dsn(), "127.0.0.1:1", {"topic": "x"}), "b.conf")
    assert outboxd("check", "-c", no_broker, timeout=60).returncode == 3


def test_status_command_prints_the_object_of_the_endpoint(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay().start()
    one.wait_published(1)
    shown = json.loads(outboxd("status", "--json", "-c", one.config_path, expect=0).stdout)
    assert shown.keys() == one.status().keys()
    text = outboxd("status", "-c", one.config_path, expect=0).stdout
    assert "orders" in text and "running" in text


def test_version_help_and_unknown_commands():
    assert re.search(r"\d+\.\d+\.\d+", outboxd("version", expect=0).stdout)
    assert "migrate" in outboxd("--help", expect=0).stdout
    result = outboxd("pubish", expect=1)
    assert "pubish" in result.stderr
    assert "--no-such-option" in outboxd("run", "--no-such-option", expect=1).stderr


def test_command_that_is_not_built_yet_is_refused_by_name():
    for command in ("route", "tail", "verify"):
        result = outboxd(command)
        assert result.returncode == 1 and command in result.stderr, command


def test_config_print_is_complete_and_masks_secrets(conf, database):
    path = conf(configuration(database.dsn(), "b:1", kafka={"properties": ["sasl.password=hush", "linger.ms=7"]}))
    printed = outboxd("config", "print", "-c", path, expect=0).stdout
    assert "hush" not in printed and PASSWORDS[RELAY] not in printed and "linger.ms=7" in printed
    assert database.name in printed
    for option in ("poll_interval_max", "shutdown_timeout", "lease", "on_poison"):
        assert option in printed, option


def test_sample_configuration_is_accepted_by_check():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result = outboxd("check", "--offline", "-c", os.path.join(root, "conf", "outboxd.conf"))
    assert result.returncode == 0, result.stdout + result.stderr
