"""Tokens that a program prints (kafka.oauth_command), at a broker that ends each session after four seconds (connections.max.reauth.ms)."""

import json
import os
import time

import pytest

from support import workload
from support.common import eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.kafka import OAuthKafkaServer
from support.program import Program, jws
from support.relay import configuration, outboxd, write_configuration
from support.verify import compare, read_truth

# librdkafka 2.0.2 copies what a broker answers by strndup() out of a buffer that no zero ends, which is right; strict checks refuse it.
LOOSE = {"ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1"}
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture(scope="module")
def server(work_directory):
    server = OAuthKafkaServer(os.path.join(work_directory, "kafka-oauth")).start()
    yield server
    server.remove()


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


@pytest.fixture
def topic(server, prefix):
    name = server.create_topic(f"{prefix}.order", partitions=3)
    server.grant("relay", name, "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
    return name


@pytest.fixture
def token_relay(relay, server, program, topic):
    """A relay that logs in with what the program prints."""
    def make(pipeline=None, options=None, **more):
        return relay(pipeline, brokers=server.oauth_brokers, env=LOOSE,
                     kafka={"oauth_command": program.command, "properties": server.oauth_properties(), **(options or {})}, **more)
    return make


def emit(database, number):
    database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(number),))


@pytest.mark.slow
@pytest.mark.parametrize("life", ["longer than a session", "shorter than a session"])
def test_sessions_that_end_while_the_relay_publishes_cost_nothing(token_relay, server, database, topic, program, life):
    """Three sessions and more. A token that outlives them is fetched once; one that does not is fetched before its end."""
    workload.prepare(database, keys=20)
    program.does(f"exec python3 -c 'import sys; sys.path.insert(0, \"{os.path.dirname(os.path.dirname(__file__))}\"); "
                 f"from support.program import jws; print(jws(seconds={3600 if life.startswith('longer') else 5}))'")
    one = token_relay({"batch_events": 50}).start(timeout=60)
    begun = time.monotonic()
    with workload.Writers(database, threads=3, keys=20, seed=6, pause_ms=200):
        while time.monotonic() - begun < 15:
            one.wait_published(one.published() + 20, 60)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "all published\n" + one.log_tail())
    compare(read_truth(database), read_topics(server.brokers, topic)).assert_exact(duplicates=one.excused_repeats())
    runs = program.runs()
    assert runs == 1 if life.startswith("longer") else 3 <= runs <= 25, runs
    assert not one.log_lines("code=TOKEN_"), one.log_lines("code=TOKEN_")
    assert "eyJ" not in one.log_text()
    one.stop()


BROKEN = {
    "fails": ("echo token eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSJ9.c2ln >&2; exit 3", r"kafka.oauth_command ended with exit code 3; it wrote: token \*\*\*"),
    "hangs": ("exec sleep 600", "kafka.oauth_command was killed: it had not ended after 1000 ms"),
    "prints nothing": ("true", "kafka.oauth_command printed nothing"),
}


@pytest.mark.parametrize("how", list(BROKEN))
def test_a_program_that_brings_no_token_is_named_and_run_again(token_relay, server, database, topic, program, how):
    script, reason = BROKEN[how]
    emit(database, 1)
    program.does(script)
    one = token_relay(options={"oauth_timeout": "1s"}).start(wait_ready=False)
    one.wait_not_ready(reason, 40)
    error = one.status()["pipelines"][0]["error"]
    assert error["code"].startswith("TOKEN_") and error["class"] == "retry", error
    program.prints(jws())
    one.wait_ready(60)
    assert len(wait_for_records(server.brokers, topic, 1)) == 1
    assert "eyJ" not in one.log_text()
    one.stop()


def test_a_program_that_failed_is_run_again_after_its_own_pauses(token_relay, server, database, topic, program):
    """1 to 2 s, then 2 to 4 s; librdkafka asks no sooner than 10 s after a failure."""
    emit(database, 1)
    program.does("exit 3")
    one = token_relay().start(wait_ready=False)
    seen = []
    for run in (1, 2, 3):
        eventually(lambda: program.runs() >= run, 30, one.log_tail)
        seen.append(time.monotonic())
    pauses = [later - earlier for earlier, later in zip(seen, seen[1:])]
    assert min(pauses) < 8 and sum(pauses) > 2.5, pauses
    program.prints(jws())
    one.wait_ready()
    assert len(wait_for_records(server.brokers, topic, 1)) == 1
    one.stop()


def test_a_token_that_the_broker_refuses_is_said_and_replaced(token_relay, server, database, topic, program):
    emit(database, 1)
    program.prints('{"token": "%s", "expires_in": 3600}' % jws(seconds=-600))   # a clock that is wrong
    one = token_relay().start(wait_ready=False)
    one.wait_not_ready("Kafka refuses what kafka.oauth_command printed: (?!no Kafka broker)", 40)
    said = outboxd("check", "-c", one.config_path, expect=3, env=LOOSE).stdout
    assert "kafka: Kafka refuses what kafka.oauth_command printed: " in said and "remedy: Check that the program prints the secret of the right user" in said, said
    runs = program.runs()

    def refused():
        assert one.status()["pipelines"][0]["error"]["code"] == "TOKEN_REFUSED", one.log_tail()
        return program.runs() >= runs + 2
    eventually(refused, 90, lambda: "other tokens are fetched, and nothing else is said\n" + one.log_tail())
    assert not one.log_lines("code=KAFKA_UNREACHABLE"), one.log_lines("code=KAFKA_")
    program.prints(jws())
    one.wait_ready(90)
    assert len(wait_for_records(server.brokers, topic, 1)) == 1
    assert program.runs() <= 12
    assert "eyJ" not in one.log_text()
    one.stop()


@pytest.mark.slow
def test_a_program_that_hangs_holds_up_nothing_until_the_token_ends(token_relay, server, database, topic, program):
    """Sessions end and begin again with the token that the relay has; when it is over the reason is told, and it goes on by itself."""
    program.prints(jws(seconds=20))
    one = token_relay(options={"oauth_timeout": "60s"}).start(timeout=60)
    emit(database, 0)
    one.wait_published(1)   # ready, it has not logged in yet
    number = 1
    program.hangs()

    def goes_on():
        nonlocal number
        emit(database, number)
        number += 1
        one.wait_published(number, 20)
        return one.http("/livez")[0] == 200
    stays_true(goes_on, 9, "it is alive and publishes", interval=0.2)
    eventually(lambda: program.runs() >= 2, 30, lambda: "it is run before the end\n" + one.log_tail())
    one.wait_not_ready("", 60)
    emit(database, number)
    assert one.http("/livez")[0] == 200
    program.prints(jws())
    os.kill(program.pids()[-1], 9)
    one.wait_log("kafka.oauth_command was ended by signal 9", 30)
    one.wait_published(number + 1, 90)
    one.wait_ready(60)
    assert len(read_topics(server.brokers, topic)) == number + 1
    one.stop()


def test_consumer_groups_are_seen_with_the_same_token(token_relay, server, database, topic, program, prefix):
    program.prints(jws())
    group = f"{prefix}-billing"
    server.grant_group("relay", group, "DESCRIBE")
    one = token_relay(monitor={"consumer_groups": [group], "groups_interval": "500ms"}).start(timeout=60)
    eventually(lambda: one.status()["consumer_groups"]["up"], 60, lambda: f"groups are seen: {one.status()['consumer_groups']}\n" + one.log_tail())
    assert program.runs() == 1
    said = outboxd("check", "-c", one.config_path)
    assert said.returncode == 0 and "consumer group" in said.stdout, said.stdout
    one.stop()


def test_check_names_the_program_that_fails(server, database, topic, program, tmp_path):
    program.does("echo no network >&2; exit 4")
    path = write_configuration(str(tmp_path / "o.conf"), configuration(
        database.dsn(), server.oauth_brokers, {"topic": topic}, kafka={"oauth_command": program.command, "properties": server.oauth_properties()}))
    said = outboxd("check", "-c", path, expect=3).stdout
    assert "kafka.oauth_command ended with exit code 4; it wrote: no network" in said, said
    program.prints(jws())
    assert "no problem" in outboxd("check", "-c", path, expect=0).stdout


def test_extensions_and_principal_reach_the_client(token_relay, server, database, topic, program):
    """The broker of the tests ignores extensions; librdkafka takes them or says that it does not."""
    emit(database, 1)
    program.prints(json.dumps({"token": jws(), "principal": "relay", "extensions": {"logical Cluster": "x"}}))
    one = token_relay().start(wait_ready=False)
    one.wait_not_ready("librdkafka does not take what kafka.oauth_command printed", 40)
    program.prints(json.dumps({"token": jws(), "principal": "relay", "extensions": {"logicalCluster": "lkc 1"}}))
    one.wait_ready(60)
    one.stop()
