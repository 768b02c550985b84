"""TLS to Kafka, alone and with log-ins: one broker, a listener for each certificate of a server that is right or wrong; and passwords and
certificates that change while the relay publishes."""

import glob
import os
import re
import shutil
import signal

import pytest

from conftest import soak
from support import CACHE, workload
from support.certificates import Authority
from support.common import eventually, free_port, replace_file
from support.consume import read_topics, wait_for_records
from support.kafka import SASL_USERS, KafkaServer
from support.relay import outboxd
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
LISTENERS = {"GOOD": "SSL", "BETWEEN": "SSL", "EXPIRED": "SSL", "OTHERHOST": "SSL", "MUTUAL": "SSL", "LOGIN": "SASL_SSL", "SHORT": "SASL_SSL"}
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
SESSION_MS = 3000   # of the listener SHORT: a client that logged in longer ago is cut off
CHANGING, FIRST = "changing", "first-hush"  # a user whose password changes, and its first one


def plain_module(users):
    return ("org.apache.kafka.common.security.plain.PlainLoginModule required "
            + " ".join(f'user_{user}="{password}"' for user, password in users.items()) + ";")


class TlsKafkaServer(KafkaServer):
    def __init__(self, directory, authorities, certificates):
        self.ports = {name: free_port() for name in LISTENERS}
        self.authorities, self.certificates, self.passwords = authorities, certificates, {**SASL_USERS, CHANGING: FIRST}
        super().__init__(directory)

    def _write_files(self, extra):
        def listed(host):
            return ",".join(f"{name}://{host}:{port}" for name, port in self.ports.items())
        lines = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},SASL_PLAINTEXT://127.0.0.1:{self.sasl_port},CONTROLLER://127.0.0.1:{self.controller_port},"
                         + listed("127.0.0.1"),
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},SASL_PLAINTEXT://127.0.0.1:{self.sasl_port}," + listed("localhost"),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,"
                                              + ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items()),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM", "listener.name.mutual.ssl.truststore.location": self.authorities["root"].file,
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/",
        }
        for name in ("login", "short"):
            lines |= {f"listener.name.{name}.sasl.enabled.mechanisms": ",".join(("PLAIN", *MECHANISMS)),
                      f"listener.name.{name}.plain.sasl.jaas.config": plain_module(self.passwords)}
            lines |= {f"listener.name.{name}.{mechanism.lower()}.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                      for mechanism in MECHANISMS}
        lines |= {f"listener.name.short.{mechanism.lower()}.connections.max.reauth.ms": SESSION_MS for mechanism in ("PLAIN", *MECHANISMS)}
        for name in LISTENERS:
            path = os.path.join(self.directory, f"{name}.pem")
            certificate, key = self.certificates.get(name, self.certificates["GOOD"])
            with open(path, "w", encoding="ascii") as out:
                for part in (key, certificate):
                    with open(part, encoding="ascii") as f:
                        out.write(f.read())
            lines |= {f"listener.name.{name.lower()}.ssl.keystore.type": "PEM", f"listener.name.{name.lower()}.ssl.keystore.location": path}
        super()._write_files({**extra, **lines})

    def set_password(self, mechanism, password, user):
        """From now on; open connections stay."""
        if mechanism != "PLAIN":
            self.set_scram(user, password, mechanism.replace("-", "_"))
            return
        self.passwords = {**self.passwords, user: password}    # of PLAIN, which a broker reads when it starts
        self.stop()
        self._write_files({})
        self.start()

    def address(self, name):
        return f"localhost:{self.ports[name]}"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    root = Authority(directory, "root")
    return {"root": root, "between": Authority(directory, "between", root), "stranger": Authority(directory, "stranger")}


@pytest.fixture(scope="module")
def certificates(authorities):
    root, between = authorities["root"], authorities["between"]
    return {"GOOD": root.issue("good", "localhost"), "BETWEEN": between.issue("between-server", "localhost", chain=True),
            "EXPIRED": root.issue("expired", "localhost", days=-1), "OTHERHOST": root.issue("other", "kafka.example.com"),
            "client": root.issue("client", subject="relay"), "client of a stranger": authorities["stranger"].issue("stranger-client", subject="relay")}


@pytest.fixture(scope="module")
def server(work_directory, authorities, certificates):
    server = TlsKafkaServer(os.path.join(work_directory, "kafka-tls"), authorities, certificates).start()
    for mechanism in MECHANISMS:
        server.set_password(mechanism, SASL_USERS["relay"], "relay")
    yield server
    server.remove()


@pytest.fixture
def tls_relay(relay, server, authorities, database, prefix):
    """A relay at a listener, with properties on top; and the topic that it publishes to."""
    def make(listener, *properties, protocol="ssl", ca="root", emit=True, env=None):
        name = server.create_topic(f"{prefix}.order")
        for principal in ("relay", CHANGING, "ANONYMOUS"):
            server.grant(principal, name, "WRITE", "DESCRIBE")
        if emit:
            database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        return name, relay(brokers=server.address(listener), env=env, kafka={"properties": [
            f"security.protocol={protocol}", f"ssl.ca.location={authorities[ca].file}", "broker.address.family=v4", *properties]})
    return make


@pytest.fixture(scope="module")
def newer(work_directory):
    """The environment in which the relay runs with the librdkafka of the independent consumer: one that logs in by SCRAM to Kafka 4 (2.6.1 and newer)."""
    directory = os.path.join(work_directory, "newer-librdkafka")
    os.makedirs(directory)
    os.symlink(glob.glob(os.path.join(CACHE, "python", "confluent_kafka.libs", "librdkafka-*.so.1"))[0], os.path.join(directory, "librdkafka.so.1"))
    return {"LD_LIBRARY_PATH": directory}


def login(mechanism, password=SASL_USERS["relay"]):
    return [f"sasl.mechanisms={mechanism}", "sasl.username=relay", f"sasl.password={password}"]


def client(certificate):
    return [f"ssl.certificate.location={certificate[0]}", f"ssl.key.location={certificate[1]}"]


@pytest.mark.parametrize("how", ["TLS", "TLS by an authority in between", "client certificate", "PLAIN", *MECHANISMS])
def test_events_go_through_tls(tls_relay, server, certificates, newer, how):
    topic, one = {"TLS": lambda: tls_relay("GOOD"), "TLS by an authority in between": lambda: tls_relay("BETWEEN"),
                  "client certificate": lambda: tls_relay("MUTUAL", *client(certificates["client"])),
                  "PLAIN": lambda: tls_relay("LOGIN", *login("PLAIN"), protocol="sasl_ssl"),
                  **{mechanism: lambda: tls_relay("LOGIN", *login(how), protocol="sasl_ssl", env=newer) for mechanism in MECHANISMS}}[how]()
    one.start(timeout=60)
    assert len(wait_for_records(server.brokers, topic, 1, timeout=60)) == 1
    one.stop()


REFUSED = {
    "another authority": ("GOOD", {"ca": "stranger"}, "KAFKA_TLS", "ssl.ca.location"),
    "expired": ("EXPIRED", {}, "KAFKA_TLS", "has expired"),
    "another host": ("OTHERHOST", {}, "KAFKA_TLS", "not for the host name"),
    "no client certificate": ("MUTUAL", {}, "KAFKA_TLS", "ssl.certificate.location"),
    "client certificate of a stranger": ("MUTUAL", {"client": "client of a stranger"}, "KAFKA_", ""),
    **{f"wrong password, {mechanism}": ("LOGIN", {"login": mechanism}, "KAFKA_AUTHENTICATION", "The user name is 'relay'. Check sasl.username")
       for mechanism in ("PLAIN", "SCRAM-SHA-512")},
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_refused_is_said_with_its_reason(tls_relay, certificates, newer, what):
    listener, how, code, remedy = REFUSED[what]
    properties = client(certificates[how["client"]]) if "client" in how else login(how["login"], "wrong-hush") if "login" in how else []
    _, one = tls_relay(listener, *properties, protocol="sasl_ssl" if "login" in how else "ssl", ca=how.get("ca", "root"),
                       env=newer if how.get("login", "").startswith("SCRAM") else None)
    one.start(wait_ready=False)
    one.wait_log(f"code={code}", 60)
    line = one.log_lines(f"code={code}")[0]
    assert remedy in line, line
    assert not one.ready()[0] and "wrong-hush" not in one.log_text()
    one.stop()


@pytest.mark.parametrize("wrong", ["the key of another", "no key", "no certificate"])
def test_a_pair_of_files_that_does_not_fit_is_said(tls_relay, certificates, tmp_path, wrong):
    """By check, and by the relay, which waits for a pair that fits, again and again."""
    files = {"the key of another": (certificates["client"][0], certificates["client of a stranger"][1]),
             "no key": (certificates["client"][0], str(tmp_path / "none")), "no certificate": (str(tmp_path / "none"), certificates["client"][1])}[wrong]
    _, one = tls_relay("MUTUAL", *client(files), emit=False)
    checked = outboxd("check", "-c", one.config_path)
    assert checked.returncode == 1 and re.search(r"ssl\.(key|certificate)\.location", checked.stdout), checked.stdout + checked.stderr
    one.start(wait_ready=False)
    code = one.wait_exit()
    assert code == 1 and one.log_lines(r" error .*ssl\.(key|certificate)\.location"), f"{code}\n{one.log_tail()}"


def test_a_librdkafka_too_old_for_scram_at_this_broker_is_named(tls_relay):
    """The password is right; 2.0.2 of Debian 12 doubles its nonce, which Kafka accepted before 4.0."""
    version = outboxd("version").stdout.split("librdkafka ")[1].rstrip(")\n")
    if tuple(map(int, version.split("."))) >= (2, 6, 1):
        pytest.skip(f"librdkafka {version} is not")
    _, one = tls_relay("LOGIN", *login("SCRAM-SHA-256"), protocol="sasl_ssl")
    one.start(wait_ready=False)
    line = one.wait_log("code=KAFKA_AUTHENTICATION", 60)[0]
    assert f"librdkafka {version} can log in by SCRAM only to Kafka before 4.0" in line and "2.6.1" in line, line
    one.stop()


# -- what changes while the relay publishes ---------------------------------------------------------------------------------------------------------


def emit(database, number):
    database.execute("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(number),))


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512", soak("SCRAM-SHA-256")])
def test_a_password_that_changes_is_read_again_from_its_file(tls_relay, server, newer, database, tmp_path, mechanism):
    """On the broker first, which ends each session after three seconds, or starts again; then in the file. Nothing is lost or repeated, and nobody starts it again."""
    path = tmp_path / "password"
    if mechanism != "PLAIN":
        server.set_password(mechanism, FIRST, CHANGING)
    path.write_text(FIRST + "\n")
    workload.prepare(database, keys=20)
    topic, one = tls_relay("SHORT", f"sasl.mechanisms={mechanism}", f"sasl.username={CHANGING}", f"sasl.password=${{file:{path}}}", protocol="sasl_ssl", emit=False,
                           env=newer if mechanism != "PLAIN" else None)
    one.start(timeout=60)
    with workload.Writers(database, threads=3, keys=20, seed=6, pause_ms=200):
        one.wait_published(50)
        server.set_password(mechanism, "second-hush", CHANGING)
        reason = one.wait_not_ready("KAFKA_AUTHENTICATION", 30)
        assert "SASL" in reason, reason
        line = one.wait_log("code=KAFKA_AUTHENTICATION")[0]
        assert f"The user name is '{CHANGING}'. The password comes from '${{file:{path}}}'" in line, line
        path.write_text("wrong-hush\n")
        one.wait_log("code=KAFKA_CREDENTIALS_RENEWED", 30)
        published = one.published()
        path.write_text("second-hush\n")
        eventually(lambda: len(one.log_lines("code=KAFKA_CREDENTIALS_RENEWED")) == 2, 30, one.log_tail)
        one.wait_ready(30)
        one.wait_published(published + 100, 30)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "all published\n" + one.log_tail())
    compare(read_truth(database), read_topics(server.brokers, topic)).assert_exact(duplicates=one.excused_repeats())
    one.reload()    # kafka.properties are others now, and the producer has them
    assert not one.log_lines("code=PIPELINE_RELOADED .*how=restarted"), one.log_tail()
    assert one.starts == 1 and "hush" not in one.log_text()
    one.stop()


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True], ids=["whole", "half first"])
def test_another_client_certificate_is_used_from_a_signal_on(tls_relay, server, authorities, database, tmp_path, half):
    """A new producer, once nothing is out: nothing is repeated. The first one's name may do nothing any more."""
    from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
    files = [str(tmp_path / name) for name in ("client.pem", "client.key")]

    def install(pair):
        for source, target in zip(pair, files):
            with open(source, encoding="ascii") as f:
                replace_file(target, f.read())
    install(authorities["root"].issue("first", subject="first"))
    workload.prepare(database, keys=20)
    topic, one = tls_relay("MUTUAL", *client(files), emit=False)
    for name in ("first", "second"):
        server.grant(name, topic, "WRITE", "DESCRIBE")
    one.start(timeout=60)
    with workload.Writers(database, threads=3, keys=20, seed=6, pause_ms=100):
        one.wait_published(50)
        second = authorities["root"].issue("second", subject="second")
        if half:   # the certificate comes first; its key is still another's
            install((second[0], files[1]))
            one.signal(signal.SIGHUP)
            one.wait_not_ready("KAFKA_", 30)
        install(second)
        if not half:
            one.signal(signal.SIGHUP)
        one.wait_log("code=KAFKA_CREDENTIALS_RENEWED")
        one.wait_published(one.published() + 50)
        revoked = AclBindingFilter(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:first", "*", AclOperation.ANY, AclPermissionType.ANY)
        server.admin().delete_acls([revoked], request_timeout=10)[revoked].result(15)
        one.wait_published(one.published() + 50)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "all published\n" + one.log_tail())
    compare(read_truth(database), read_topics(server.brokers, topic)).assert_exact(duplicates=0)
    assert half or not one.log_lines(" (warn|error) .*code=KAFKA_"), one.log_tail()
    assert one.starts == 1
    one.stop()


def test_a_client_certificate_that_is_refused_is_read_again(tls_relay, server, certificates, tmp_path):
    """Without a signal, as when it has expired."""
    files = [str(tmp_path / name) for name in ("client.pem", "client.key")]
    for source, target in zip(certificates["client of a stranger"], files):
        shutil.copy(source, target)
    topic, one = tls_relay("MUTUAL", *client(files))
    one.start(wait_ready=False)
    one.wait_not_ready("KAFKA_", 60)
    for source, target in zip(certificates["client"], files):
        shutil.copy(source, target)
    one.wait_ready(60)
    assert len(wait_for_records(server.brokers, topic, 1, timeout=60)) == 1
    assert one.starts == 1
    one.stop()
