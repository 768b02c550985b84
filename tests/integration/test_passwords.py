"""The password of the database: every way to give it takes whatever PostgreSQL takes, and no piece of it is ever shown."""

import os
import random
import string
from urllib.parse import quote

import pytest

from conftest import soak
from support.common import at_pace, eventually, free_port
from support.postgres import APP, OWNER, PASSWORDS, RELAY, SUPERUSER, verifier
from support.relay import configuration, outboxd, write_configuration

ROLE = "odd_relay"
ODD = ["two words", "back\\slash", "it's \"quoted\"", "100%PASSWORD", "%41%zz", "p@ss:w/rd?#&=", "Super@$$W0rd", "x host=elsewhere",
       " host=elsewhere", "' host=elsewhere '", "pässwörd €", "ends with \\", "ends with blank ", "\ttab\nline", "[::1]:5432,", "}", "=", "'",
       "${env:OTHER}", "$${file:/x}", "postgresql://a:b@c", "colon:", "#hash", "a" * 900]
ALL_WAYS = ("p@ss:w/rd?#&=", "x host=elsewhere", "${env:OTHER}")


def some_passwords(count, seed):
    """Any characters that PostgreSQL takes, the special ones often."""
    chance = random.Random(seed)
    letters = string.printable.replace("\x0b", "").replace("\x0c", "").replace("\r", "") + "'\"\\%@:/?#&= $\t" * 6 + "äß€漢"
    return ["".join(chance.choice(letters) for _ in range(chance.randint(1, 40))) for _ in range(count)]


@pytest.fixture
def odd(database):
    """odd(password) makes it that of a role which may do what the relay does."""
    database.execute(f"DROP ROLE IF EXISTS {ROLE}", user=SUPERUSER)
    database.execute(f"CREATE ROLE {ROLE} LOGIN REPLICATION IN ROLE outbox_relay", user=SUPERUSER)
    yield lambda password: database.execute(f"ALTER ROLE {ROLE} PASSWORD %s", (verifier(password),), user=SUPERUSER)
    database.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}", user=SUPERUSER)


def pair(value):
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def literal(value):
    """As a string of the configuration that holds no reference."""
    return value.replace("${env:", "$${env:").replace("${file:", "$${file:")


def ways(database, password, file):
    """name -> (options of database, environment)."""
    port, name = database.server.port, database.name
    pairs = f"host=127.0.0.1 port={port} dbname={name} user={ROLE}"
    uri = f"postgresql://{ROLE}%s@127.0.0.1:{port}/{name}"
    return {
        "file in pairs": ({"dsn": pairs + " password=${file:%s}" % file}, {}),
        "file in quoted pairs": ({"dsn": "password='${file:%s}' %s" % (file, pairs)}, {}),
        "file in a URI": ({"dsn": uri % (":${file:%s}" % file)}, {}),
        "file in the query of a URI": ({"dsn": uri % "" + "?password=${file:%s}" % file}, {}),
        "environment in pairs": ({"dsn": pairs + " password=${env:PW} connect_timeout=10"}, {"PW": password}),
        "environment in a URI": ({"dsn": uri % ":${env:PW}"}, {"PW": password}),
        "password": ({"dsn": pairs, "password": literal(password)}, {}),
        "password by reference": ({"dsn": uri % "", "password": "${env:PW}"}, {"PW": password}),
        "password_file": ({"dsn": pairs, "password_file": str(file)}, {}),
        "OUTBOXD_DATABASE_PASSWORD": ({"dsn": pairs}, {"OUTBOXD_DATABASE_PASSWORD": literal(password)}),
        "OUTBOXD_DATABASE_PASSWORD_FILE": ({"dsn": uri % ""}, {"OUTBOXD_DATABASE_PASSWORD_FILE": str(file)}),
        "literal pairs": ({"dsn": literal(f"{pairs} password={pair(password)}")}, {}),
        "literal URI": ({"dsn": uri % (":" + quote(password, safe=""))}, {}),
        "all of it from a file": ({"dsn": "${file:%s.dsn}" % file}, {}),
        "PGPASSWORD": ({"dsn": pairs}, {"PGPASSWORD": password}),
    }


@pytest.mark.slow
@pytest.mark.parametrize("whole, each", [(2, 2), soak(5, 4)])   # passwords in every way beside the worst, and ways of each other one
def test_any_password_works_in_every_way(database, odd, tmp_path, whole, each):
    file = tmp_path / "a secret"
    path = tmp_path / "outboxd.conf"
    for number, password in enumerate(ODD + some_passwords(6, seed=10)):
        odd(password)
        file.write_bytes(password.encode() + b"\n")
        (tmp_path / "a secret.dsn").write_text(
            f"host=127.0.0.1 port={database.server.port} dbname={database.name} user={ROLE} password={pair(password)}\n")
        every = list(ways(database, password, file).items())
        # The worst of them in every way, the others in a few each, so that each way meets some.
        some = every if number < whole or password in ALL_WAYS else [every[(number * each + i) % len(every)] for i in range(each)]
        for way, (options, environment) in some:
            config = configuration(options.pop("dsn"), "127.0.0.1:1", database=options)
            result = outboxd("dead", "list", "-c", write_configuration(str(path), config), env=environment)
            assert result.returncode == 0, f"{way}: {password!r}\n{result.stdout}{result.stderr}"
        shown = outboxd("config", "print", "-c", path, env=environment, expect=0).stdout
        assert len(password) < 4 or password not in shown, f"{way}: {password!r}"


def test_migrate_takes_the_password_of_the_environment(database, odd, tmp_path):
    odd("it's 100% odd")
    file = tmp_path / "pw"
    file.write_text("it's 100% odd\n")
    dsn = {"OUTBOXD_DATABASE_DSN": f"postgresql://{ROLE}@127.0.0.1:{database.server.port}/{database.name}"}
    for more in ({"OUTBOXD_DATABASE_PASSWORD": "it's 100% odd"}, {"OUTBOXD_DATABASE_PASSWORD_FILE": str(file)}):
        outboxd("migrate", "--status", env={**dsn, **more}, expect=0)


def test_migrate_takes_it_for_a_string_of_the_command_line_as_well(database, odd, tmp_path):
    odd("it's 100% odd")
    file = tmp_path / "pw"
    file.write_text("it's 100% odd\n")
    dsn = f"postgresql://{ROLE}@127.0.0.1:{database.server.port}/{database.name}"
    for more in ({"OUTBOXD_DATABASE_PASSWORD": "it's 100% odd"}, {"OUTBOXD_DATABASE_PASSWORD_FILE": str(file)}):
        outboxd("migrate", "--dsn", dsn, "--status", env=more, expect=0)
    # A string with a password of its own says all there is to say.
    for name in ("OUTBOXD_DATABASE_PASSWORD", "OUTBOXD_DATABASE_PASSWORD_FILE", "OUTBOXD_DATABASE_PASSWORD_COMMAND"):
        outboxd("migrate", "--dsn", database.dsn(OWNER), "--status", env={name: "/bin/false"}, expect=0)


def test_what_is_wrong_with_a_password_of_the_environment_names_the_variable(database):
    def said(**variables):
        done = outboxd("migrate", "--dsn", "host=db user=x", "--status", env=variables, expect=1)
        return done.stdout + done.stderr
    text = said(OUTBOXD_DATABASE_PASSWORD="x", OUTBOXD_DATABASE_PASSWORD_FILE="/y")
    assert "the password: OUTBOXD_DATABASE_PASSWORD OUTBOXD_DATABASE_PASSWORD_FILE" in text and "unset all of them but one" in text
    text = said(OUTBOXD_DATABASE_PASSWORD_FILE="/y", OUTBOXD_DATABASE_PASSWORD_COMMAND="/z")
    assert "the password: OUTBOXD_DATABASE_PASSWORD_FILE OUTBOXD_DATABASE_PASSWORD_COMMAND" in text
    text = said(OUTBOXD_DATABASE_PASSWORD_FILE="/nowhere/pw")
    assert "/nowhere/pw" in text and "correct OUTBOXD_DATABASE_PASSWORD_FILE" in text
    text = said(OUTBOXD_DATABASE_PASSWORD="${env:NOT_SET_AT_ALL}")
    assert "NOT_SET_AT_ALL" in text and "correct OUTBOXD_DATABASE_PASSWORD" in text
    text = said(OUTBOXD_DATABASE_PASSWORD_COMMAND="aws rds")
    assert "is not a command" in text and "into OUTBOXD_DATABASE_PASSWORD_COMMAND" in text and "host=db dbname" not in text


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_the_relay_and_its_walsender_connect_with_it(relay, kafka, database, prefix, odd, tmp_path, capture):
    topic = kafka.create_topic(f"{prefix}.order")
    odd("x' host=elsewhere %41 \\")
    file = tmp_path / "pw"
    file.write_text("x' host=elsewhere %41 \\\n")
    if capture == "wal":
        database.execute("CREATE PUBLICATION outboxd_orders FOR TABLE outbox.event WITH (publish = 'insert', publish_via_partition_root)",
                         user=SUPERUSER)
    one = relay({"capture": capture, "topic": topic}, dsn=f"postgresql://{ROLE}@127.0.0.1:{database.server.port}/{database.name}",
                database={"password_file": str(file)}).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')", user=APP)
    one.wait_published(1)
    one.stop()


MALFORMED = ["postgresql://relay:100%PASSWORDx@127.0.0.1/db", "postgresql://relay:PASSWORDx@$$PASSWORDx@127.0.0.1/db",
             "host=127.0.0.1 password=two PASSWORDx", "postgresql://relay:PASSWORDx/PASSWORDx:PASSWORDx@127.0.0.1/db",
             "postgresql://relay:5432/PASSWORDx@127.0.0.1/db", "postgresql://127.0.0.1:PASSWORDx:", "host=127.0.0.1 pasword=PASSWORDx",
             "host=127.0.0.1 pwd=PASSWORDx", "postgresql://127.0.0.1/db?pasword=PASSWORDx", "PASSWORDx", "host=127.0.0.1 port=PASSWORDx",
             "password='PASSWORDx", "sslmode=PASSWORDx host=127.0.0.1", "postgresql://relay:PASSWORDx?PASSWORDx@127.0.0.1?PASSWORDx"]


COMMANDS = (["run"], ["check"], ["check", "--offline"], ["status"], ["status", "--json"], ["dead", "list"], ["pause"], ["resume"], ["config", "print"])


@pytest.mark.parametrize("dsn, commands", [
    (dsn, [COMMANDS[(number * 2 + n) % len(COMMANDS)] for n in range(2)]) for number, dsn in enumerate(MALFORMED)] + [soak(dsn, COMMANDS) for dsn in MALFORMED])
def test_a_malformed_connection_string_is_told_without_a_piece_of_it(dsn, commands, tmp_path):
    """All commands read the file in one way: each string by two of them, in turn."""
    path = write_configuration(str(tmp_path / "outboxd.conf"), configuration(dsn, "127.0.0.1:1", listen=f"127.0.0.1:{free_port()}"))
    for command in commands:
        result = outboxd(*command, "-c", path, expect=1)
        text = result.stdout + result.stderr
        assert "PASSWORD" not in text, text
        assert "outboxd.conf:3: database.dsn is malformed: " in text and "remedy: " in text, text
    result = outboxd("migrate", "--dsn", dsn, expect=1)
    assert "PASSWORD" not in result.stdout + result.stderr and "malformed" in result.stderr


def test_the_password_is_nowhere_to_be_seen_when_the_server_refuses_or_is_away(relay, kafka, database, prefix):
    secret = "wrong:PASSWORDx/%"
    refused = relay(dsn=f"host=127.0.0.1 port={database.server.port} dbname={database.name} user={RELAY}", database={"password": secret})
    refused.start(wait_ready=False)
    assert refused.process.wait(at_pace(20)) == 2
    away = relay(dsn=f"host=127.0.0.1 port={free_port()} dbname=shop user={RELAY}", database={"password": secret}).start(wait_ready=False)
    eventually(lambda: away.log_lines("POSTGRES_UNREACHABLE"), what="nobody is there")
    texts = [away.http(path)[1] for path in ("/status", "/readyz", "/readyz?verbose", "/metrics")]
    texts += [refused.log_text(), away.log_text()]
    assert "POSTGRES_AUTHENTICATION" in texts[-2] and not [t for t in texts if "PASSWORD" in t]


def test_the_command_line_is_overwritten_with_a_warning(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.events")
    database.execute("SELECT outbox.emit('order.placed', %s, '1', '{}')", (prefix,))
    one = relay(file=False, args=["--dsn", database.dsn(), "--brokers", kafka.brokers]).start()
    with open(f"/proc/{one.pid}/cmdline", encoding="utf-8") as f:
        line = f.read()
    assert PASSWORDS[RELAY] not in line and "--dsn" in line and kafka.brokers in line and "***" in line
    assert "can run ps" in one.log_text()
    one.wait_published(1)
    assert topic


def test_a_misspelt_property_is_masked_and_references_stay_as_they_were_written(tmp_path):
    config = configuration("host=db", "k:1", {"table": "shop.event"}, kafka={"properties": ["sasl.pasword=s3cret", "pwd=s3cret", "linger.ms=7"]},
                           name="${env:NAME}")
    config["pipelines"][0]["name"] = "${env:NAME}"
    path = write_configuration(str(tmp_path / "outboxd.conf"), config)
    text = outboxd("config", "print", "-c", path, env={"NAME": "s3cret"}, expect=0).stdout
    assert "s3cret" not in text and '"sasl.pasword=***"' in text and '"pwd=***"' in text and '"linger.ms=7"' in text
    assert text.count('name = "${env:NAME}"') == 2
    result = outboxd("check", "--offline", "-c", path, env={"NAME": "no name s3cret"}, expect=1)
    assert "s3cret" not in result.stdout and "${env:NAME}" in result.stdout


def test_check_names_open_files_and_connections_without_tls(tmp_path):
    secret = tmp_path / "pw"
    secret.write_text("x")
    config = configuration("host=db.example sslmode=disable", "k.example:1", database={"password_file": str(secret)},
                           kafka={"properties": ["security.protocol=SASL_PLAINTEXT", "sasl.username=u", "sasl.password=p"]})
    path = write_configuration(str(tmp_path / "outboxd.conf"), config)
    secret.chmod(0o640)
    quiet = outboxd("check", "--offline", "-c", path, expect=0).stdout
    assert "can read this file" not in quiet
    assert 'TLS is off (sslmode=disable) for "db.example"' in quiet and 'TLS is off (security.protocol=SASL_PLAINTEXT) for "k.example"' in quiet
    secret.chmod(0o644)
    os.chmod(path, 0o644)
    loud = outboxd("check", "--offline", "-c", path, expect=0).stdout
    assert f"{secret}: warning: every user of this machine can read this file" in loud and f"{path}: warning: every user" in loud
    here = configuration("host=localhost sslmode=disable", "localhost:1", kafka={"properties": ["security.protocol=sasl_plaintext"]})
    assert "TLS is off" not in outboxd("check", "--offline", "-c", write_configuration(path, here), expect=0).stdout


def test_migrate_without_a_password_says_where_it_goes(database):
    result = outboxd("migrate", "--dsn", database.dsn(OWNER).split(" password=")[0], expect=2)
    assert "no password supplied" in result.stderr and "~/.pgpass or PGPASSWORD" in result.stderr
