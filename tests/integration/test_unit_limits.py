"""What the systemd unit permits, beside what the program does: each job under strace, its system calls, families of addresses and files.

The jobs take a minute and are run in soak, and in `tests/run package` with the program of the package. What they asked for is kept in
tests/fixtures/unit, so that each run of the tests sees a unit that permits less. OUTBOXD_RENEW=1 writes that list anew.
"""

import os
import shutil
import socket
import subprocess

import pytest

from conftest import CAPTURES, grant_memberships
from support import workload
from support.certificates import Authority
from support.common import at_pace, eventually, give_to_server_user, replace_file
from support.consume import read_topics, wait_for_records
from support.postgres import APP, PASSWORDS, RELAY, SUPERUSER, PostgresServer
from support.program import Program
from support.relay import ROOT, clean_environment, outboxd_binary
from support.unit import STRACE, Deeds, Unit, syscall_sets
from support.wal import Wal

NEEDS = os.path.join(ROOT, "tests", "fixtures", "unit", "needs.txt")
EXPOSURE = 1.3
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
# What is refused and does no harm.
HARMLESS = {
    "socket of AF_NETLINK": "glibc's getaddrinfo asks which addresses the machine has; without an answer it takes those of both families",
}

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def needs():
    """kind -> names: what the jobs asked for when they were last looked at."""
    found = {}
    with open(NEEDS, encoding="ascii") as f:
        for line in f:
            if not line.startswith("#"):
                kind, name = line.split()
                found.setdefault(kind, set()).add(name)
    return found


@needs_systemd
def test_the_unit_permits_what_the_jobs_need():
    deeds = Deeds()
    deeds.syscalls, deeds.families = needs()["syscall"], needs()["family"]
    assert len(deeds.syscalls) > 60 and not set(Unit().breaches(deeds)) - set(HARMLESS)


@needs_systemd
@pytest.mark.parametrize("was, becomes, breach", [
    ("SystemCallFilter=~@privileged @resources", "SystemCallFilter=~@privileged @resources @network-io", "system call connect"),
    ("SystemCallFilter=@system-service", "SystemCallFilter=@basic-io", "system call socket"),
    ("RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "RestrictAddressFamilies=AF_INET AF_INET6", "socket of AF_UNIX"),
])
def test_a_unit_that_permits_less_is_seen(tmp_path, was, becomes, breach):
    path = tmp_path / "outboxd.service"
    text = open(Unit().path, encoding="utf-8").read()
    assert was in text
    path.write_text(text.replace(was, becomes), encoding="utf-8")
    deeds = Deeds()
    deeds.syscalls, deeds.families = needs()["syscall"], needs()["family"]
    assert breach in Unit(str(path)).breaches(deeds)


@needs_systemd
def test_the_exposure_is_what_the_guide_says():
    assert Unit().exposure() <= EXPOSURE
    with open(os.path.join(ROOT, "SECURITY.md"), encoding="utf-8") as f:
        assert f"rates its exposure {Unit().exposure()}" in f.read()


@pytest.mark.parametrize("line, breach", [
    ('1 openat(AT_FDCWD, "/var/lib/outboxd/a", O_WRONLY|O_CREAT, 0666) = 3', None),
    ('1 openat(AT_FDCWD, "/etc/outboxd/a", O_WRONLY|O_CREAT, 0666) = 3', "writes /etc/outboxd/a (open)"),
    ('1 openat(AT_FDCWD, "/etc/outboxd/a", O_RDONLY|O_CLOEXEC) = 3', None),
    ('1 unlink("/etc/outboxd/a") = 0', "writes /etc/outboxd/a (unlink)"),
    ('1 openat(AT_FDCWD, "/proc/meminfo", O_RDONLY) = 3', "reads /proc/meminfo, which ProcSubset=pid hides"),
    ('1 openat(AT_FDCWD, "/proc/self/status", O_RDONLY) = 3', None),
    ('1 openat(AT_FDCWD, "/dev/kvm", O_RDONLY) = 3', "opens /dev/kvm, which PrivateDevices hides"),
    ('1 mmap(NULL, 4096, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f', "memory that is written and executed: mmap"),
    ('1 mmap(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x7f', None),
    ('1 mprotect(0x7f, 4096, PROT_READ|PROT_EXEC) = 0', "memory that is written and executed: mprotect"),
    ('1 socket(AF_PACKET, SOCK_RAW, 768 <unfinished ...>', "socket of AF_PACKET"),
    ('1 clone(child_stack=NULL, flags=CLONE_NEWNS|SIGCHLD) = 7', "makes or enters a namespace: clone"),
    ('1 reboot(LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART) = 0', "system call reboot"),
    ('1 sched_setscheduler(0, SCHED_FIFO, [1]) = 0', "asks for real-time scheduling"),
    ('1 fchmod(3, 04755) = 0', "sets set-user-id or set-group-id: fchmod(3, 04755) = 0"),
    ('1 fchmod(3, 0644) = 0', None),
    ('1 <... read resumed>"x", 1) = 1', None),
])
@needs_systemd
def test_each_kind_of_breach_is_seen(tmp_path, line, breach):
    (tmp_path / "trace").write_text(line + "\n", encoding="ascii")
    found = Unit().breaches(Deeds.read_files([tmp_path / "trace"]), ["/var/lib/outboxd"])
    assert breach in found if breach else found == []


# -- the jobs ---------------------------------------------------------------------------------------------------------


class Jobs:
    """Runs the program under strace. `writable` is what the unit lets it write."""

    def __init__(self, directory):
        self.directory, self.traces = directory, []
        self.state = os.path.join(directory, "state")
        os.mkdir(self.state)

    def trace(self):
        self.traces.append(os.path.join(self.directory, f"trace-{len(self.traces)}"))
        return (*STRACE, "-o", self.traces[-1])

    def run(self, *args, expect=0, env=None):
        done = subprocess.run([*self.trace(), outboxd_binary(), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=clean_environment(env), timeout=120)
        assert expect is None or done.returncode == expect, f"{args}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def start(self, one, **more):
        return one.start(by=self.trace(), timeout=60, **more)


@pytest.fixture(scope="module")
def installed():
    """The program as users run it: a release, of $OUTBOXD or built here."""
    if os.environ.get("OUTBOXD"):
        return os.environ["OUTBOXD"]
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "--target", "outboxd"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-3000:]
    return os.path.join(ROOT, "build", "release", "outboxd")


@pytest.fixture
def jobs(tmp_path, installed, monkeypatch):
    if subprocess.run([*STRACE, "-o", tmp_path / "try", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("strace may not trace here")
    monkeypatch.setenv("OUTBOXD", installed)
    return Jobs(str(tmp_path))


@pytest.fixture
def tls_server(work_directory, tmp_path_factory):
    """PostgreSQL with TLS, and its authority."""
    root = Authority(tmp_path_factory.mktemp("certificates"), "root")
    certificate = root.issue("good", "localhost")
    server = PostgresServer(os.path.join(work_directory, "postgresql-limits"))
    for name, source in zip(("server.crt", "server.key"), certificate):
        path = os.path.join(server.directory, name)
        shutil.copy(source, path)
        os.chmod(path, 0o600)
        give_to_server_user(path)
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
        f.write(f"ssl = on\nssl_cert_file = '{server.directory}/server.crt'\nssl_key_file = '{server.directory}/server.key'\n")
    server.start().create_roles()
    server.tls = {"host": "localhost", "hostaddr": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": root.file, "password": ""}
    yield server
    server.remove()


def publish(jobs, one, database, keys=20, **more):
    """Starts, publishes, is told to stop."""
    jobs.start(one, **more)
    with workload.Writers(database, threads=2, keys=keys):
        one.wait_published(200, 60)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, "everything is published")


@pytest.mark.own_broker
@pytest.mark.soak
@pytest.mark.slow
@needs_systemd
def test_no_job_does_what_the_unit_forbids(jobs, tls_server, relay, kafka, prefix, tmp_path):
    database = tls_server.fresh_database("limits")
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    # The schema, over TLS.
    jobs.run("migrate", "--dsn", database.dsn("shop_owner", **tls_server.tls), env={"PGPASSWORD": PASSWORDS["shop_owner"]})
    grant_memberships(database)
    workload.prepare(database, keys=20)
    program = Program(tmp_path)
    program.prints(PASSWORDS[RELAY])
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(at_pace(10))
    # Polling: token command, TLS, consumer groups, systemd's protocol, a name that must be looked up.
    one = relay({**CAPTURES["poll"]}, dsn=database.dsn(**tls_server.tls), brokers=kafka.brokers.replace("127.0.0.1", "localhost"),
                database={"password_command": program.command}, monitor={"consumer_groups": ["*"], "groups_interval": "500ms"})
    publish(jobs, one, database, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"})
    eventually(lambda: one.status().get("consumer_groups"), 30, "the helper answers")
    assert notify.recv(4096)
    for command in (["check", "-c", one.config_path], ["status", "-c", one.config_path], ["status", "--json", "-c", one.config_path],
                    ["pause", "-c", one.config_path], ["resume", "-c", one.config_path], ["dead", "list", "-c", one.config_path],
                    ["config", "print", "-c", one.config_path], ["version"], ["help"], ["migrate", "--print"]):
        jobs.run(*command, expect=None)
    one.kill()
    jobs.start(one)
    one.stop(expect=0)
    reloads(jobs, relay, database, tls_server, kafka, prefix, tmp_path)
    # The log.
    Wal(database)
    one = relay({**CAPTURES["wal"]}, dsn=database.dsn(**tls_server.tls), database={"password_command": program.command})
    publish(jobs, one, database)
    jobs.run("status", "-c", one.config_path, expect=None)
    one.stop(expect=0)
    assert read_topics(kafka.brokers, topic)
    # A file that rotates, in the state directory.
    path = os.path.join(jobs.state, "orders.jsonl")
    database.execute("UPDATE outbox.event SET published_at = NULL")
    one = relay({"sink": "file", "file": {"path": path, "rotate_bytes": "64KiB"}}, dsn=database.dsn(**tls_server.tls), brokers="",
                database={"password_command": program.command})
    publish(jobs, one, database)
    one.stop(expect=0)
    judge(jobs, program.runs_path)


def reloads(jobs, relay, database, server, kafka, prefix, tmp_path):
    """SIGHUP: another topic, another pipeline, and a password that is read again from its file."""
    secret = str(tmp_path / "password")
    replace_file(secret, PASSWORDS[RELAY])
    one = relay({**CAPTURES["poll"]}, dsn=database.dsn(**server.tls), database={"password_file": secret})
    publish(jobs, one, database)
    jobs.run("migrate", "--schema", "audit", "--no-roles", "--relay", RELAY, "--writer", APP, "--dsn", database.dsn("shop_owner", **server.tls),
             env={"PGPASSWORD": PASSWORDS["shop_owner"]})
    topics = [kafka.create_topic(f"{prefix}.{name}") for name in ("second", "audit")]
    one.config["pipelines"][0]["topic"] = topics[0]
    one.config["pipelines"].append({"name": "audit", "table": "audit.event", "topic": topics[1], "poll_interval_max": "100ms"})
    database.execute(f"ALTER ROLE {RELAY} PASSWORD 'another'", user=SUPERUSER)
    try:
        replace_file(secret, "another")
        one.reload(one.config)
        assert database.terminate_backends() > 0
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}'); SELECT audit.emit('seen', 'audit', '1', '{}')")
        for topic in topics:
            assert len(wait_for_records(kafka.brokers, topic, 1, timeout=60)) == 1
        one.stop(expect=0)
    finally:
        database.execute(f"ALTER ROLE {RELAY} PASSWORD %s", (PASSWORDS[RELAY],), user=SUPERUSER)


def judge(jobs, *written_by_the_token_program):
    deeds = Deeds.read_files(jobs.traces)
    if os.environ.get("OUTBOXD_RENEW"):
        renew(deeds)
    breaches = [b for b in Unit().breaches(deeds, [jobs.state, *written_by_the_token_program]) if b not in HARMLESS]
    assert not breaches, "\n".join(breaches)
    unknown = deeds.syscalls - needs()["syscall"] | deeds.families - needs()["family"]
    assert not unknown, f"asked for, and not in {NEEDS}: {sorted(unknown)}; OUTBOXD_RENEW=1 writes it"


def renew(deeds):
    """Of two tests: to begin anew, delete the file."""
    known = needs() if os.path.exists(NEEDS) else {}
    with open(NEEDS, "w", encoding="ascii") as f:
        f.write("# System calls and families of addresses that the jobs of test_unit_limits.py ask for (OUTBOXD_RENEW=1 writes this file).\n")
        f.writelines(f"family {name}\n" for name in sorted(deeds.families | known.get("family", set())))
        f.writelines(f"syscall {name}\n" for name in sorted(deeds.syscalls | known.get("syscall", set())))


@pytest.mark.soak
def test_tls_to_kafka_asks_for_nothing_else(jobs, relay, database, work_directory, prefix, tmp_path_factory):
    from test_tls_kafka import SASL_USERS, TlsKafkaServer
    root = Authority(tmp_path_factory.mktemp("certificates"), "root")
    server = TlsKafkaServer(os.path.join(work_directory, "kafka-limits"), {"root": root}, {"GOOD": root.issue("good", "localhost")}).start()
    try:
        topic = server.create_topic(f"{prefix}.order")
        server.grant("relay", topic, "WRITE", "DESCRIBE")
        database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
        one = relay(brokers=server.address("LOGIN"), kafka={"properties": [
            "security.protocol=sasl_ssl", f"ssl.ca.location={root.file}", "broker.address.family=v4", "sasl.mechanisms=PLAIN", "sasl.username=relay",
            f"sasl.password={SASL_USERS['relay']}"]})
        jobs.start(one)
        assert len(wait_for_records(server.brokers, topic, 1, timeout=60)) == 1
        one.stop(expect=0)
        judge(jobs)
    finally:
        server.remove()


@pytest.mark.soak
def test_the_relay_lives_with_what_is_refused(jobs, relay, database, kafka, prefix, tmp_path):
    """Each call that the unit forbids fails with EPERM, as SystemCallErrorNumber says."""
    topic = kafka.create_topic(f"{prefix}.order")
    sets = syscall_sets()
    known = {name for group in ("@privileged", "@resources", "@mount", "@module", "@debug", "@raw-io", "@reboot", "@swap", "@clock", "@obsolete")
             for name in sets[group] if not name.startswith("@")} - Unit().syscalls()
    assert len(known) > 60
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    one = relay()
    injected = ",".join(sorted(f"?{name}" for name in known))
    one.start(by=(*STRACE, "-o", tmp_path / "trace", "-e", f"inject={injected}:error=EPERM"), timeout=60)
    assert len(wait_for_records(kafka.brokers, topic, 1, timeout=60)) == 1
    one.stop(expect=0)
