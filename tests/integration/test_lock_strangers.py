"""The publisher's lock in hands that could not publish: its key is in pg_locks for everybody to see."""

import re
import threading

import pytest

from conftest import CAPTURES
from support.common import eventually, stays_true
from support.postgres import APP, PASSWORDS, RELAY, SUPERUSER
from support.relay import outboxd

LEASE = {"lease": "2s", "standby_interval": "200ms"}
LOOKS = {"interval": "250ms"}


@pytest.fixture
def stranger(database):
    """A session of the application's role, which may call emit and nothing else."""
    connection = database.connect(user=APP)
    yield connection
    connection.close()


def lock_key(database):
    return f"1869968482, {database.scalar('SELECT %s::regclass::oid::int', ('outbox.event',))}"


def pid_of(connection):
    return connection.info.backend_pid


@pytest.mark.parametrize("capture, on_publish", [("poll", "mark"), ("poll", "delete"), ("wal", "mark"), ("wal", "delete"), ("wal", "keep")])
def test_a_holder_without_the_rights_is_named_and_can_be_ended(relay, wal, kafka, database, prefix, stranger, capture, on_publish):
    kafka.create_topic(f"{prefix}.order")
    with stranger.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({lock_key(database)})")
    one = relay({**CAPTURES[capture], **LEASE, "on_publish": on_publish}, monitor=LOOKS).start(wait_ready=False)
    reason = one.wait_not_ready("LOCK_HELD_BY_STRANGER")
    ended = re.search(r"SELECT pg_terminate_backend\((\d+)\);", reason)
    assert ended and int(ended.group(1)) == pid_of(stranger) and f"role {APP}, pid {pid_of(stranger)}" in reason, reason
    line = one.log_lines("code=LOCK_HELD_BY_STRANGER")[0]
    assert f"pid {pid_of(stranger)}" in line and ended.group(0) in line
    said = outboxd("check", "-c", one.config_path, expect=None).stdout
    assert "holds the publisher's lock" in said and ended.group(0) in said, said
    assert one.metrics().total("outboxd_precondition_broken", code="LOCK_HELD_BY_STRANGER") == 1
    database.execute(ended.group(0), user=SUPERUSER)
    eventually(lambda: one.ready()[0] and one.metric("leader") == 1, what=lambda: "it publishes\n" + one.log_tail())


def test_a_waiter_without_the_rights_is_named_and_publishing_goes_on(relay, kafka, database, prefix, stranger):
    kafka.create_topic(f"{prefix}.order")
    one = relay(LEASE, monitor=LOOKS).start()

    def wait():
        with stranger.cursor() as cursor:
            try:
                cursor.execute(f"SELECT pg_advisory_lock({lock_key(database)})")
            except Exception:  # ended, as it is told to be
                pass
    thread = threading.Thread(target=wait)
    key = lock_key(database)
    thread.start()
    reason = one.wait_not_ready("LOCK_HELD_BY_STRANGER")
    assert f"pid {pid_of(stranger)}" in reason and "waits for the publisher's lock" in reason and key
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')", user=APP)
    one.wait_published(1)
    database.execute(f"SELECT pg_terminate_backend({pid_of(stranger)})", user=SUPERUSER)
    thread.join(20)
    eventually(lambda: one.ready()[0], what="it is over")


def test_a_relay_is_no_stranger_to_another_that_lacks_the_same_right(relay, wal, kafka, database, prefix):
    """What they lack is said, and not that one should end the other; each logs in by a role of its own."""
    kafka.create_topic(f"{prefix}.order")
    second = f"relay_of_{database.name}"
    database.execute(f"CREATE ROLE {second} LOGIN REPLICATION IN ROLE outbox_relay PASSWORD '{PASSWORDS[RELAY]}'", user=SUPERUSER)
    login = database.dsn().replace(RELAY, second)
    assert second in login
    relays = [relay({**CAPTURES["wal"], **LEASE, "on_publish": "keep"}, monitor=LOOKS, dsn=dsn).start() for dsn in (database.dsn(), login)]
    database.execute("REVOKE UPDATE ON outbox.position FROM outbox_relay", user=SUPERUSER)
    for one in relays:
        one.wait_not_ready("RIGHT_POSITION")
        assert "pg_terminate_backend" not in outboxd("check", "-c", one.config_path, expect=2).stdout
    database.execute("GRANT UPDATE ON outbox.position TO outbox_relay", user=SUPERUSER)
    for one in relays:
        one.wait_ready()
        assert not one.log_lines("LOCK_HELD_BY_STRANGER"), one.log_tail()
        one.stop()
    database.execute(f"DROP ROLE {second}", user=SUPERUSER)


def test_a_relay_behind_a_relay_stays_ready(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay(LEASE, monitor=LOOKS).start()
    two = relay(LEASE, monitor=LOOKS).start()
    stays_true(lambda: one.ready()[0] and two.ready()[0], 4.0, "longer than a lease")
    assert not one.log_lines("STRANGER") and not two.log_lines("STRANGER")


def test_a_superuser_who_holds_it_is_named_as_the_holder_and_no_stranger(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    connection = database.connect(user=SUPERUSER)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({lock_key(database)})")
        one = relay(LEASE, monitor=LOOKS).start()
        stays_true(lambda: one.ready()[0], 3.0, "longer than a lease")
        assert f"backend {pid_of(connection)}" in one.status()["pipelines"][0]["holder"]
    finally:
        connection.close()
