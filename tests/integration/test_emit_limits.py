"""What outbox.emit accepts can be published: arguments at and around every limit, drawn at random, to a topic with Kafka's default limit."""

import json
import random

import psycopg2
import pytest

from conftest import soak
from support.common import eventually
from support.consume import read_topics

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
LENGTHS = {"aggregate_id": 65536, "correlation_id": 1024, "causation_id": 1024, "content_type": 255}
CHARACTERS = ["x", "ü", "€", "𝄞", "\"", "\\", "\n", "\x01"]


def around(rng, limit):
    return max(0, rng.choice([0, 1, limit // 2, limit - 1, limit, limit + 1, rng.randrange(limit + 2)]))


def text(rng, length):
    """So many bytes of UTF-8, or a few fewer."""
    character = rng.choice(CHARACTERS)
    return character * (length // len(character.encode()))


def headers(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return {f"h{n}": rng.choice([None, "", 1, True, text(rng, rng.randrange(200))]) for n in range(around(rng, 256))}
    if kind == 1:
        levels = rng.choice([0, 1, 31, 32, 33])
        return {"deep": json.loads('{"a":' * levels + "1" + "}" * levels)}
    if kind == 2:
        return {"long": text(rng, around(rng, 65536 - 12))}
    if kind == 3:
        return {rng.choice(["ce_id", "tenant", "Content-Type", "x_ce", "", "ü", text(rng, 300)]): "v"}
    return None


def arguments(rng):
    fields = {f: text(rng, around(rng, n)) for f, n in LENGTHS.items() if rng.random() < 0.4}
    fields["event_type"] = "t" * rng.choice([1, 8, 8, 8, 199, 200, 201])
    fields["aggregate_type"] = rng.choice(["order"] * 9 + ["or der"])
    fields["headers"] = json.dumps(h) if (h := headers(rng)) is not None else None
    size = rng.choice([0, 10, 100, 1000, 5000, 20_000, 900_000, 995_000, 998_000, 998_900, 999_900, 1_000_000]) + rng.randrange(100)
    if rng.random() < 0.5:
        fields["payload"] = json.dumps(text(rng, size))
    else:
        fields["payload_bytes"] = b"\xff" * size
    return fields


@pytest.mark.slow
@pytest.mark.parametrize("calls", [100, soak(250)])
def test_whatever_emit_accepts_is_published(poll_relay, wal_relay, database, kafka, prefix, calls):
    """By both captures: what is drawn once serves both."""
    rng = random.Random(20261128)
    names = ["event_type", "aggregate_type", "aggregate_id", "payload", "correlation_id", "causation_id", "content_type", "headers", "payload_bytes"]
    call = "SELECT outbox.emit(" + ", ".join(f"{n} => %({n})s" for n in names) + ")::text"
    accepted, refused = {}, {}
    for _ in range(calls):
        fields = {**dict.fromkeys(names), **arguments(rng)}
        try:
            accepted[database.execute(call, fields)[0][0]] = fields
        except psycopg2.Error as e:
            assert e.diag.sqlstate in ("54000", "22023", "42939", "22P05"), e
            refused[e.diag.sqlstate] = refused.get(e.diag.sqlstate, 0) + 1
    assert len(accepted) >= calls / 5 and min(refused.get(s, 0) for s in ("54000", "22023", "42939")) > 0, (len(accepted), refused)
    for capture, make in (("poll", poll_relay), ("wal", wal_relay)):
        topic = kafka.create_topic(f"{prefix}.{capture}")
        one = make({"on_poison": "stop", "topic": topic}).start()
        assert_published(one, database, kafka, topic, accepted)
        one.stop()
        database.execute("UPDATE outbox.event SET published_at = NULL")


def assert_published(one, database, kafka, topic, accepted):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 60, lambda: "all published\n" + one.log_tail())
    records = {dict(r.headers)["ce_id"].decode(): r for r in read_topics(kafka.brokers, topic)}
    assert set(records) == set(accepted)
    for event_id, fields in accepted.items():
        record = records[event_id]
        assert (record.key or b"").decode() == (fields["aggregate_id"] or "")
        assert len(record.value) == len(fields["payload_bytes"] if fields["payload_bytes"] is not None else
                                        database_text(fields["payload"]).encode())
    assert one.metric("headers_shadowed_total") == 0


def database_text(payload):
    return json.dumps(json.loads(payload), ensure_ascii=False)


def test_the_envelope_wins_over_an_adopted_writer(poll_relay, database, kafka, prefix):
    """A direct INSERT may name what it likes: the record has each header of the envelope once, and it is ours."""
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload, headers) VALUES ('order.placed', 'order', '1', '{}', "
                     """'{"ce_id": "forged", "CE_TYPE": "forged", "content-type": "text/forged", "tenant": "acme"}')""")
    one = poll_relay().start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "published\n" + one.log_tail())
    record, = read_topics(kafka.brokers, topic)
    names = [name.lower() for name, _ in record.headers]
    assert len(names) == len(set(names)) and b"forged" not in [v for _, v in record.headers], record.headers
    assert dict(record.headers)["tenant"] == b"acme"
    assert one.metric("headers_shadowed_total") == 3
    assert one.log_lines("HEADERS_SHADOWED.*seq=1.*headers=3"), one.log_tail()
