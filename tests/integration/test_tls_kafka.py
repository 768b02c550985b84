"""TLS to Kafka, alone and with log-ins: one broker, a listener for each certificate of a server that is right or wrong."""

import os

import pytest

from support.certificates import Authority
from support.common import free_port
from support.consume import wait_for_records
from support.kafka import SASL_USERS, KafkaServer

LISTENERS = {"GOOD": "SSL", "BETWEEN": "SSL", "EXPIRED": "SSL", "OTHERHOST": "SSL", "MUTUAL": "SSL", "LOGIN": "SASL_SSL"}


class TlsKafkaServer(KafkaServer):
    def __init__(self, directory, authorities, certificates):
        self.ports = {name: free_port() for name in LISTENERS}
        self.authorities, self.certificates = authorities, certificates
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
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required "
                                                          + " ".join(f'user_{user}="{password}"' for user, password in SASL_USERS.items()) + ";",
        }
        for name in LISTENERS:
            path = os.path.join(self.directory, f"{name}.pem")
            certificate, key = self.certificates.get(name, self.certificates["GOOD"])
            with open(path, "w", encoding="ascii") as out:
                for part in (key, certificate):
                    with open(part, encoding="ascii") as f:
                        out.write(f.read())
            lines |= {f"listener.name.{name.lower()}.ssl.keystore.type": "PEM", f"listener.name.{name.lower()}.ssl.keystore.location": path}
        super()._write_files({**extra, **lines})

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
    yield server
    server.remove()


@pytest.fixture
def tls_relay(relay, server, authorities, database, prefix):
    """A relay at a listener, with properties on top; and the topic that it publishes to."""
    def make(listener, *properties, protocol="ssl", ca="root"):
        name = server.create_topic(f"{prefix}.order")
        for principal in ("relay", "ANONYMOUS"):
            server.grant(principal, name, "WRITE", "DESCRIBE")
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        return name, relay(brokers=server.address(listener), kafka={"properties": [
            f"security.protocol={protocol}", f"ssl.ca.location={authorities[ca].file}", "broker.address.family=v4", *properties]})
    return make


def login(mechanism, password=SASL_USERS["relay"]):
    return [f"sasl.mechanisms={mechanism}", "sasl.username=relay", f"sasl.password={password}"]


def client(certificate):
    return [f"ssl.certificate.location={certificate[0]}", f"ssl.key.location={certificate[1]}"]


@pytest.mark.parametrize("how", ["TLS", "TLS by an authority in between", "client certificate", "PLAIN"])
def test_events_go_through_tls(tls_relay, server, certificates, how):
    topic, one = {"TLS": lambda: tls_relay("GOOD"), "TLS by an authority in between": lambda: tls_relay("BETWEEN"),
                  "client certificate": lambda: tls_relay("MUTUAL", *client(certificates["client"])),
                  "PLAIN": lambda: tls_relay("LOGIN", *login("PLAIN"), protocol="sasl_ssl")}[how]()
    one.start(timeout=60)
    assert len(wait_for_records(server.brokers, topic, 1, timeout=60)) == 1
    one.stop()


REFUSED = {
    "another authority": ("GOOD", {"ca": "stranger"}, "KAFKA_TLS", "ssl.ca.location"),
    "expired": ("EXPIRED", {}, "KAFKA_TLS", "has expired"),
    "another host": ("OTHERHOST", {}, "KAFKA_TLS", "not for the host name"),
    "no client certificate": ("MUTUAL", {}, "KAFKA_TLS", "ssl.certificate.location"),
    "client certificate of a stranger": ("MUTUAL", {"client": "client of a stranger"}, "KAFKA_", ""),
    "wrong password, PLAIN": ("LOGIN", {"login": "PLAIN"}, "KAFKA_AUTHENTICATION", "sasl."),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_refused_is_said_with_its_reason(tls_relay, certificates, what):
    listener, how, code, remedy = REFUSED[what]
    properties = client(certificates[how["client"]]) if "client" in how else login(how["login"], "wrong-hush") if "login" in how else []
    _, one = tls_relay(listener, *properties, protocol="sasl_ssl" if "login" in how else "ssl", ca=how.get("ca", "root"))
    one.start(wait_ready=False)
    one.wait_log(f"code={code}", 60)
    line = one.log_lines(f"code={code}")[0]
    assert remedy in line, line
    assert not one.ready()[0] and "wrong-hush" not in one.log_text()
    one.stop()
