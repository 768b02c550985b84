"""A relay that is stopped (SIGSTOP, a frozen container or machine) keeps its connections, but not the publisher's lock: PostgreSQL ends the session that
has it, or whoever wants it does, whatever that session was doing."""

import time

import pytest

from conftest import soak
from support.common import at_pace, eventually
from support.postgres import RELAY
from support.proxy import Proxy, answer_to

LEASE, MARGIN = 2.0, 2.0
OPTIONS = {"lease": "2s", "standby_interval": "200ms", "batch_bytes": "24MiB", "in_flight_bytes": "64MiB"}
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
HOLDER = ("SELECT a.pid, a.state, coalesce(a.wait_event, '') FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
          "AND l.granted AND a.datname = current_database() AND a.usename = 'shop_relay'")
WAITS, IN_TRANSACTION, WRITES = ("idle", "ClientRead"), ("idle in transaction", "ClientRead"), ("active", "ClientWrite")


def holder(database):
    """Of the session with the lock: backend, state, what it waits for; None: nobody has it."""
    return next(iter(database.query(HOLDER, user="postgres")), None)


def emit(database):
    """100 rows of 200 kB: more than what the buffers of a connection hold."""
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) "
                     "SELECT 'order.placed', 'order', n::text, to_jsonb(repeat(md5(n::text), 6000)) FROM generate_series(1, 100) n")


def stop_while(one, database, doing):
    """Stops the relay in a moment in which that is what the session with the lock does, and goes on doing; the backend, and when it was."""
    def stopped():
        if database.scalar(UNPUBLISHED) == 0:
            emit(database)
        one.pause()
        begin = time.monotonic()
        # A statement ends, or waits for the relay.
        pid, *does = eventually(lambda: (seen := holder(database)) and (seen[1] != "active" or seen[2] == "ClientWrite") and seen, 10)
        if tuple(does) == doing:
            return pid, begin
        one.resume()
        return None
    return eventually(stopped, 60, lambda: f"a stop at the right moment; at last the holder was {holder(database)}", interval=0.001)


def is_released(one, database, begin):
    """In time; and the relay goes on afterwards."""
    eventually(lambda: holder(database) is None, 20, lambda: f"the lock is released: {holder(database)}")
    took = time.monotonic() - begin
    assert took <= LEASE + MARGIN + at_pace(1.5), f"{took:.1f} s"
    one.resume()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, one.log_tail)


@pytest.mark.parametrize("capture, doing", [("poll", WAITS), ("poll", WRITES), soak("wal", WAITS)], ids=["poll-waits", "poll-writes", "wal-waits"])
def test_without_a_standby_the_server_releases_the_lock(captured, kafka, database, prefix, doing):
    kafka.create_topic(f"{prefix}.order", partitions=1)
    one = captured(OPTIONS).start()
    _, begin = stop_while(one, database, doing)
    is_released(one, database, begin)


@pytest.mark.own_broker
@pytest.mark.slow
def test_within_a_transaction_the_server_releases_the_lock(poll_relay, kafka, database, prefix):
    """Between two statements of a fetch: rows are in flight, so it asks for numbers first."""
    kafka.create_topic(f"{prefix}.order", partitions=1)
    with Proxy(database.server.port) as proxy:
        one = poll_relay(OPTIONS, dsn=database.dsn(port=proxy.port)).start()
        with kafka.away():
            emit(database)
            answer = proxy.on(answer_to("^BEGIN", tag=b"C")).stall()
            emit(database)
            answer.wait()
            one.pause()
        begin = time.monotonic()
        eventually(lambda: holder(database)[1:] == IN_TRANSACTION, 2, lambda: str(holder(database)))
        answer.release()
        is_released(one, database, begin)


def test_over_a_unix_socket_whoever_wants_the_lock_ends_its_holder(poll_relay, kafka, database, postgres, prefix):
    """Such a socket has no time-outs, and the server heeds no other in the middle of an answer."""
    kafka.create_topic(f"{prefix}.order", partitions=1)
    one, two = (poll_relay(OPTIONS, dsn=postgres.local_dsn(database.name, RELAY)) for _ in range(2))
    one.start()
    pid, begin = stop_while(one, database, WRITES)
    eventually(lambda: time.monotonic() - begin > LEASE + MARGIN + 1, 10)
    assert holder(database)[0] == pid, "nobody else wants it"
    two.start()
    two.wait_published(1)
    assert two.log_lines("code=LEASE_BROKEN"), two.log_tail()
    one.resume()
    eventually(lambda: one.metric("leader") == 0, 20, one.log_tail)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, two.log_tail)
