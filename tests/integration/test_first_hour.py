"""What somebody reads in the first hour: why no broker answers, one warning an outage, a last line of every run, a remedy in each that warns."""

import re
import signal
import socket
import threading

import pytest

from conftest import CAPTURES
from support.common import eventually, free_port, stays_true
from support.consume import wait_for_records
from support.postgres import RELAY
from support.relay import outboxd


def emit(database, key):
    database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(key),))


def check_lines(one):
    """Holds for every log: one line each, and what warns has a remedy."""
    for line in one.log_lines():
        assert "\\u000a" not in line and 'hint=""' not in line, line
        assert not re.search(" (warn|error) ", line) or " hint=" in line, line


def last_line(one, code, why):
    line = one.log_lines()[-1]
    assert "code=STOPPED" in line and f"exit_code={code}" in line and why in line, one.log_tail()
    check_lines(one)


@pytest.fixture
def nobody():
    """A port where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def test_every_run_ends_with_stopped(relay, kafka, database, nobody, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    one.stop()
    last_line(one, 0, "why=SIGTERM")

    emit(database, 1)   # nobody takes it
    two = relay(brokers=nobody, shutdown_timeout="1s").start(wait_ready=False)
    two.wait_log("KAFKA_UNREACHABLE")
    two.signal(signal.SIGTERM)
    assert two.wait_exit(20) == 0, "nothing was sent"
    last_line(two, 0, "why=SIGTERM")

    three = relay(config=None, file=True, monitor={"listen": "203.0.113.7:1"}).start(wait_ready=False)
    assert three.wait_exit(20) == 1
    last_line(three, 1, "why=MONITOR_LISTEN")


@pytest.mark.own_broker
def test_a_second_signal_and_the_deadline_end_with_stopped(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    for name, timeout, why in (("at once", "60s", "second signal"), ("deadline", "300ms", "DRAIN_INCOMPLETE")):
        one = relay(shutdown_timeout=timeout).start()
        emit(database, name)
        one.wait_published(1)
        with kafka.away():
            emit(database, f"{name} held")
            eventually(lambda: one.metric("inflight_events") >= 1, what="in flight")
            one.signal(signal.SIGTERM)
            one.wait_log("STOPPING")
            if "second" in why:
                one.signal(signal.SIGTERM)
            assert one.wait_exit(20) == 5
        last_line(one, 5, why)


def test_a_role_without_rights_is_one_error_and_stopped(relay, kafka, database, prefix):
    database.execute(f"REVOKE outbox_relay FROM {RELAY}")
    try:
        one = relay().start(wait_ready=False)
        assert one.wait_exit(20) == 2
    finally:
        database.execute(f"GRANT outbox_relay TO {RELAY}")
    last_line(one, 2, "pipeline orders: RIGHT_USAGE")
    assert not one.log_lines("publishing continues"), one.log_tail()


def test_a_wrong_password_makes_no_line_that_contradicts_another(relay, kafka, database, prefix):
    dsn = re.sub(r"password=\S+", "password=wrong", database.dsn()) if "password=" in database.dsn() else database.dsn() + " password=wrong"
    one = relay(dsn=dsn.replace("dbname=", "dbname=no_such_")).start(wait_ready=False)
    assert one.wait_exit(20) == 2
    last_line(one, 2, "pipeline orders: POSTGRES_")
    assert not one.log_lines("WATCH_FAILED"), one.log_tail()


def test_one_restart_of_postgresql_is_one_warning(captured, kafka, database, postgres, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured().start()
    emit(database, 1)
    one.wait_published(1)
    eventually(lambda: one.metric("watch_up") == 1, what="it looks")
    postgres.stop("fast")
    try:
        one.wait_not_ready("POSTGRES_UNREACHABLE", 30)
    finally:
        postgres.start()
    emit(database, 2)
    wait_for_records(kafka.brokers, topic, 2, timeout=60)
    eventually(lambda: one.metric("watch_up") == 1, 40, what="it looks again")
    warnings = one.log_lines(" (warn|error) ")
    assert len(warnings) == 1, "\n".join(warnings)
    check_lines(one)


class Listener:
    """Accepts, answers each connection with the same bytes (None: hangs up), and goes on."""

    def __init__(self, answer):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.answer = answer
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                client, _ = self.server.accept()
                with client:
                    client.settimeout(2)
                    try:
                        client.recv(4096)
                        if self.answer:
                            client.sendall(self.answer)
                            client.recv(4096)
                    except OSError:
                        pass
        except OSError:
            pass   # closed


def test_why_no_broker_answers_is_said(relay, kafka, database, nobody, prefix):
    emit(database, 1)
    http, mute = Listener(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), Listener(None)
    cases = {
        "name": ("no-such-host.invalid:9092", [], "Failed to resolve", "The name is not known"),
        "refused": (nobody, [], "Connection refused", "Nothing listens there"),
        "http": (http.address, [], "no Kafka broker of", "not a Kafka broker"),
        "mute": (mute.address, [], "(?i)disconnected", "closed the connection"),
        "tls": (kafka.brokers, ["security.protocol=ssl"], "(?i)ssl", "does not speak TLS"),
    }
    for name, (brokers, properties, said, hint) in cases.items():
        one = relay(brokers=brokers, kafka={"properties": properties}).start(wait_ready=False)
        reason = one.wait_not_ready(said, 40)
        assert hint in reason and "brokers are down" not in reason, f"{name}: {reason}"
        line = one.wait_log("code=KAFKA_(UNREACHABLE|TLS) ")[-1]
        assert re.search(said, line) and hint in line, f"{name}: {line}"
        assert not one.log_lines("code=READY") and not one.log_lines('msg="?publishing'), f"{name}: nobody has answered\n{one.log_tail()}"
        check_lines(one)
        one.stop()
    http.server.close()
    mute.server.close()


def test_what_it_is_connected_to_and_the_first_event_are_said_once(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    cluster, = one.wait_log("code=KAFKA_CONNECTED")
    assert kafka.brokers in cluster and re.search(r" cluster=\S{5,}", cluster) and " brokers=1" in cluster
    one.wait_log("code=READY")
    assert not one.log_lines("FIRST_PUBLISHED")
    for n in range(3):
        emit(database, n)
    one.wait_published(3)
    first, = one.log_lines("FIRST_PUBLISHED")
    assert f"topic={topic}" in first and "first event published" in first
    assert len(one.log_lines("KAFKA_CONNECTED")) == 1


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_summary_comes_while_something_happens_and_once_when_nothing_does(request, relay, kafka, database, prefix, capture):
    if capture == "wal":
        request.getfixturevalue("wal")
    kafka.create_topic(f"{prefix}.order")
    one = relay(CAPTURES[capture], log={"summary_interval": "2s"}).start()
    idle = "code=SUMMARY .*nothing to publish"
    one.wait_log(idle)
    for n in range(3):
        emit(database, n)
    line = one.wait_log("code=SUMMARY .*published in the last")[0]
    eventually(lambda: sum(int(re.search(r" published=(\d+)", x)[1]) for x in one.log_lines("code=SUMMARY .* published=")) == 3, 20,
               what="the summaries count each event once")
    assert re.search(r'msg="\d published in the last [23]s, (none waits|\d wait)" published=\d marked=\d set_aside=0 waiting=\d lag_ms=\d+ '
                     "state=running", line), line
    eventually(lambda: len(one.log_lines(idle)) == 2, 20, what="it says once that it is idle again")
    stays_true(lambda: len(one.log_lines(idle)) == 2, 5, "an idle relay writes nothing")
    check_lines(one)


def test_what_waits_is_in_each_summary(relay, database, nobody):
    emit(database, 1)
    one = relay(brokers=nobody, log={"summary_interval": "1s"}).start(wait_ready=False)
    lines = eventually(lambda: len(one.log_lines("code=SUMMARY .* published=0 .*lag_ms=[1-9]")) >= 3 and one.log_lines("code=SUMMARY"), 30,
                       what="three summaries")
    assert not [x for x in lines if "nothing to publish" in x], lines
    assert not relay(brokers=nobody, log={"summary_interval": "0s"}).start(wait_ready=False).log_lines("code=SUMMARY")


def test_systemd_is_told_ready_before_any_broker_answers(relay, database, nobody, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(20)
        one = relay(brokers=nobody, env={"NOTIFY_SOCKET": path}).start(wait_ready=False)
        said = s.recv(4096).decode()
    assert "READY=1" in said and "STATUS=waiting for a Kafka broker" in said, said
    assert not one.log_lines("code=READY")


@pytest.mark.parametrize("wrong, meant", [("stats", "status"), ("chekc", "check"), ("migrat", "migrate"), ("deda", "dead"), ("Run", "run")])
def test_a_misspelt_command_is_proposed(wrong, meant):
    result = outboxd(wrong, expect=1)
    assert f"no sub-command '{wrong}'; did you mean '{meant}'?" in result.stderr and result.stdout == ""


def test_a_command_that_is_like_none_gets_no_proposal():
    result = outboxd("frobnicate", expect=1)
    assert "did you mean" not in result.stderr and "outboxd --help" in result.stderr


@pytest.mark.parametrize("command", ["run", "migrate", "check", "status", "pause", "resume", "config", "dead", "explain", "version", "help"])
def test_help_of_a_command_is_what_its_own_flag_says(command):
    text = outboxd("help", command, expect=0).stdout
    assert f"outboxd {command}" in text.splitlines()[0] and text == outboxd(command, "--help", expect=0).stdout


def test_help_of_no_command_proposes_one():
    assert "did you mean 'status'?" in outboxd("help", "statsu", expect=1).stderr
    assert "outboxd help COMMAND" in outboxd("help", expect=0).stdout
