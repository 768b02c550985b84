"""TLS to PostgreSQL: what is verified, and what is said when it cannot be. Each case is one certificate of the server, or of the relay."""

import os
import shutil

import pytest

from conftest import grant_memberships
from support.certificates import Authority
from support.common import eventually, give_to_server_user
from support.consume import wait_for_records
from support.postgres import PostgresServer, RELAY, SUPERUSER
from support.relay import configuration, migrate, outboxd, write_configuration


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    root = Authority(directory, "root")
    return {"root": root, "between": Authority(directory, "between", root), "stranger": Authority(directory, "stranger")}


@pytest.fixture(scope="module")
def certificates(authorities):
    """Of the server, by what is the matter with them; and of clients."""
    root, between, stranger = (authorities[name] for name in ("root", "between", "stranger"))
    return {"good": root.issue("good", "localhost"), "between": between.issue("by-between", "localhost", chain=True),
            "no chain": between.issue("no-chain", "localhost"), "other host": root.issue("other-host", "db.example.com"),
            "expired": root.issue("expired", "localhost", days=-1), "client": root.issue("client", subject=RELAY),
            "client of a stranger": stranger.issue("client-stranger", subject=RELAY), "client of another": root.issue("client-another", subject="somebody")}


@pytest.fixture(scope="module")
def server(work_directory, authorities, certificates):
    """A server with TLS; the role `certified` logs in by certificate alone."""
    server = PostgresServer(os.path.join(work_directory, "postgresql-tls"))
    server.path = {name: os.path.join(server.directory, name) for name in ("server.crt", "server.key", "ca.pem")}
    shutil.copy(authorities["root"].file, server.path["ca.pem"])
    install(server, certificates["good"])
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
        f.write(f"ssl = on\nssl_cert_file = '{server.path['server.crt']}'\nssl_key_file = '{server.path['server.key']}'\n"
                f"ssl_ca_file = '{server.path['ca.pem']}'\n")
    server.start()
    server.create_roles()
    yield server
    server.remove()


def install(server, certificate):
    for name, source in zip(("server.crt", "server.key"), certificate):
        shutil.copy(source, server.path[name])
        os.chmod(server.path[name], 0o600)
        give_to_server_user(server.path[name])


@pytest.fixture
def database(server):
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    yield database
    database.drop()


def with_certificate(server, certificate):
    """The server shows this one from now on."""
    install(server, certificate)
    server.execute("SELECT pg_reload_conf()")


def check(database, tmp_path, host="localhost", expect=2, **more):
    """What `outboxd check` says of the database."""
    path = write_configuration(str(tmp_path / "o.conf"), configuration(
        database.dsn(host=host, hostaddr="127.0.0.1", sslmode="verify-full", **more), "127.0.0.1:1"))
    done = outboxd("check", "-c", path)
    text = done.stdout + done.stderr
    if expect:
        assert done.returncode == expect, text
    return text


REFUSED = {
    "another CA": ("good", {"ca": "stranger"}, "certificate verify failed", "The CA of sslrootcert did not sign"),
    "a missing certificate in between": ("no chain", {}, "certificate verify failed", "The CA of sslrootcert did not sign"),
    "expired": ("expired", {}, "certificate verify failed", "or it has expired"),
    "another host": ("other host", {}, "does not match host name", "Connect to a name that is in the server's certificate"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_a_server_that_cannot_be_verified_is_refused_with_the_reason(server, database, certificates, authorities, tmp_path, what):
    name, how, reason, remedy = REFUSED[what]
    with_certificate(server, certificates[name])
    ca = authorities[how.get("ca", "root")].file
    try:
        said = eventually(lambda: (text := check(database, tmp_path, sslrootcert=ca)) and reason in text and text, 20,
                          lambda: f"{reason}: {check(database, tmp_path, sslrootcert=ca)}")
        assert remedy in said, said
    finally:
        with_certificate(server, certificates["good"])


def test_a_missing_file_of_the_authority_is_named(database, tmp_path):
    said = check(database, tmp_path, sslrootcert="/nowhere/ca.pem")
    assert 'root certificate file "/nowhere/ca.pem" does not exist' in said and "Name the CA of the server's certificate" in said, said


@pytest.mark.parametrize("name", ["good", "between"])
def test_events_go_through_verified_tls(server, database, certificates, authorities, relay, kafka, prefix, name):
    topic = kafka.create_topic(f"{prefix}.order")
    with_certificate(server, certificates[name])
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay(dsn=database.dsn(host="localhost", hostaddr="127.0.0.1", sslmode="verify-full", sslrootcert=authorities["root"].file)).start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    assert server.execute("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = %s AND datname = %s",
                          (RELAY, database.name), user=SUPERUSER)[0][0]
    one.stop()


@pytest.fixture
def by_certificate(server):
    """The relay's role logs in by certificate alone."""
    path = os.path.join(server.data, "pg_hba.conf")
    with open(path, encoding="ascii") as f:
        before = f.read()
    with open(path, "w", encoding="ascii") as f:
        f.write(f"hostssl all {RELAY} 127.0.0.1/32 cert\n{before}")
    server.execute("SELECT pg_reload_conf()")
    yield
    with open(path, "w", encoding="ascii") as f:
        f.write(before)
    server.execute("SELECT pg_reload_conf()")


def test_a_client_certificate_logs_in(database, certificates, authorities, by_certificate, relay, kafka, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    certificate, key = certificates["client"]
    one = relay(dsn=database.dsn(password="", host="localhost", hostaddr="127.0.0.1", sslmode="verify-full", sslrootcert=authorities["root"].file,
                                 sslcert=certificate, sslkey=key)).start()
    assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
    one.stop()


CLIENTS = {
    None: "requires a valid client certificate",
    "client of another": "certificate authentication failed",
    "client of a stranger": "unknown ca",
}


@pytest.mark.parametrize("name", list(CLIENTS))
def test_a_client_certificate_that_does_not_do_is_refused_with_the_reason(database, certificates, authorities, by_certificate, tmp_path, name):
    files = dict(zip(("sslcert", "sslkey"), certificates[name])) if name else {}
    said = check(database, tmp_path, password="", sslrootcert=authorities["root"].file, **files)
    assert CLIENTS[name] in said, said
    assert "sslcert" in said, said
