"""A server, or what stands in between, that answers our questions with no row, one column, NULLs, or no rows at all: never a crash,
always a message. One answer at a time, for the sub-commands and for a relay."""

import struct

import pytest

from conftest import CAPTURES, soak
from support.common import eventually
from support.consume import wait_for_records
from support.postgres import APP
from support.proxy import Proxy
from support.relay import configuration, outboxd, write_configuration

pytestmark = pytest.mark.by_turns

_T, _D = b"T", b"D"


def _fields(body):
    """The values of a DataRow; None: NULL."""
    count, = struct.unpack_from(">h", body)
    at, values = 2, []
    for _ in range(count):
        length, = struct.unpack_from(">i", body, at)
        values.append(None if length < 0 else bytes(body[at + 4:at + 4 + length]))
        at += 4 + max(length, 0)
    return values


def _row(values):
    return struct.pack(">h", len(values)) + b"".join(
        struct.pack(">i", -1) if v is None else struct.pack(">i", len(v)) + v for v in values)


def no_row(m):
    return None if m.tag == _D else m.wire()


def one_column(m):
    if m.tag == _T:
        end = m.body.index(0, 2) + 1 + 18
        m.body[:] = struct.pack(">h", 1) + m.body[2:end]
    else:
        m.body[:] = _row(_fields(m.body)[:1])
    return m.wire()


def nulls(m):
    if m.tag == _D:
        m.body[:] = _row([None] * len(_fields(m.body)))
    return m.wire()


def command(m):
    """Neither a description nor rows: what is left is PGRES_COMMAND_OK."""
    return None


LIES = [no_row, one_column, nulls, command]


def lie_about(proxy, nth, lie):
    """The nth answer with rows, counted over all connections, is such a one. Returns the rule."""
    count = [0]

    def match(m):
        if m.client or m.tag not in (_T, _D) or not m.body or struct.unpack_from(">h", m.body)[0] == 0:
            return False
        count[0] += m.tag == _T
        return count[0] == nth
    rule = proxy.on(match, times=None)
    rule._do(lie.__name__, lie)
    return rule.if_ever()


COMMANDS = {
    "check": ["check"], "status": ["status"], "dead list": ["dead", "list"], "pause": ["pause"], "resume": ["resume"],
    "dead requeue": ["dead", "requeue", "--all"], "migrate --status": ["migrate", "--status"],
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("name", [n if n in ("check", "pause") else soak(n) for n in COMMANDS])
def test_commands_survive_any_answer(database, wal, tmp_path, name, lie):
    struck, nth, step = True, 1, 1
    while struck:
        with Proxy(database.server.port) as proxy:
            rule = lie_about(proxy, nth, lie)
            dsn = database.dsn(port=proxy.port)
            path = write_configuration(str(tmp_path / "outboxd.conf"), configuration(dsn, "", {
                "capture": "wal", "sink": "null", "allow_unstored": True, "messages": True, "on_poison": "dead_letter"}))
            words = COMMANDS[name]
            arguments = [*words, "--dsn", dsn] if words[0] == "migrate" else [*words, "-c", path]
            result = outboxd(*arguments, expect=None)
            struck = rule.struck > 0
        assert 0 <= result.returncode < 70, f"{name}, answer {nth}, {lie.__name__}: exit {result.returncode}\n{result.stdout}{result.stderr}"
        assert (result.stdout + result.stderr).strip(), f"{name}, answer {nth}, {lie.__name__}: not a word"
        nth += step
        step = 1 if nth < 6 else 3
    assert nth > 2, "nothing was asked"


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_relay_survives_any_answer(relay, wal, kafka, database, prefix, capture, lie):
    """Every third of the first answers: the relay says what was wrong, connects anew, and publishes; or stops with a word."""
    topic = kafka.create_topic(f"{prefix}.order")
    for nth in range(1, 16, 3):
        with Proxy(database.server.port) as proxy:
            lie_about(proxy, nth, lie)
            one = relay({**CAPTURES[capture], "topic": topic, "retry_backoff_max": "100ms"}, dsn=database.dsn(port=proxy.port),
                        monitor={"interval": "250ms"})
            one.start(wait_ready=False)
            event_id = str(database.scalar("SELECT outbox.emit('order.placed', 'order', %s, '{}')", (str(nth),), user=APP))
            assert event_id

            def published_or_said():
                if not one.running():
                    assert one.log_lines("code=STOPPED") and (one.log_lines("hint=") or one.log_lines(" error ")), one.log_tail()
                    return True
                return database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0
            eventually(published_or_said, 40, lambda: f"answer {nth}, {lie.__name__}\n{one.log_tail()}")
            if one.running():
                one.stop()
    wait_for_records(kafka.brokers, topic, 1)
