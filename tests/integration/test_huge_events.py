"""One event that is much larger than anything that Kafka takes: refused by its sizes and set aside whole, in little memory, while /livez
answers. By poll its values are never fetched; from the WAL they come with the message, and nothing walks them. Of an event without a row
(a message, a row that its own transaction deleted) they go back to the server, a slice at a time."""

import functools
import hashlib
import struct
import threading
import time

import pytest

from conftest import CAPTURES, soak
from support.common import eventually
from support.consume import wait_for_records
from support.postgres import RELAY, SUPERUSER
from support.relay import outboxd

pytestmark = pytest.mark.by_turns

MB = 1000 * 1000
ASIDE = {"on_poison": "dead_letter"}
LETTERS = "SELECT count(*) FROM outbox.dead_letter"
LIVEZ_SECONDS = 1.0
POLL_KB = 24 * 1024 + 4 * 1024  # and batch_bytes
WAL_BASE_KB = 24 * 1024

# Column, its value as SQL of the size in bytes, bytes of the message for one of the value.
HUGE = {
    "text": ("correlation_id", "repeat('x', {0})", 1),
    "control": ("correlation_id", "repeat(chr(1), {0} / 4)", 0.25),
    "bytes": ("payload_bytes", "convert_to(repeat('x', {0}), 'UTF8')", 2),
    "compressible": ("payload", "jsonb_build_object('p', repeat('x', {0}))", 1),
    "random": ("payload", "(SELECT jsonb_build_object('p', string_agg(md5(n::text), '')) FROM generate_series(1, {0} / 32) n)", 1),
    "numbers": ("payload", "('[' || repeat('1e131071,', {0} / 131072) || '1]')::jsonb", 1),  # stored in a page, without TOAST
    "headers": ("headers", "jsonb_build_object('h', repeat('x', {0}))", 1),
    "key": ("aggregate_id", "repeat('k', {0})", 1),
    "type": ("event_type", "repeat('t', {0})", 1),
    "topic": ("topic", "repeat('t', {0})", 1),
}
SIZES = [32 * MB, soak(240 * MB)]   # the smaller one, too, is beyond what the relay may hold by polling, and many slices of what goes back to the server


class Pulse:
    """Asks /livez all the time; the longest that it took to answer."""

    def __init__(self, one):
        self.one, self.longest, self.asked, self.stopped = one, 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stopped.wait(0.02):
            begun = time.monotonic()
            try:
                status = self.one.http("/livez", timeout=60)[0]
                assert status == 200
                self.asked += 1
            finally:
                self.longest = max(self.longest, time.monotonic() - begun)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


def insert(database, **columns):
    given = {"event_type": "'order.placed'", "aggregate_type": "'order'", "aggregate_id": "'k'", "payload": "'{}'", **columns}
    if "payload_bytes" in columns:
        del given["payload"]
    return database.scalar(f"INSERT INTO outbox.event ({', '.join(given)}) VALUES ({', '.join(given.values())}) RETURNING seq")


def text(column):
    """As the letter keeps it: bytes as they are, everything else as text in UTF-8."""
    return column if column == "payload_bytes" else f"convert_to({column}::text, 'UTF8')"


def kept(column):
    return f"l.event_large_values[array_position(l.event_large, '{column}')]"


# The first by both captures; numbers are what polling, bytes what the log makes long.
QUICK = (("poll", "text"), ("wal", "text"), ("poll", "numbers"), ("wal", "bytes"))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("capture, kind", [(pytest.param if (capture, kind) in QUICK else soak)(capture, kind, id=f"{capture}-{kind}")
                                           for capture in ("poll", "wal") for kind in sorted(HUGE)])
def test_a_huge_event_is_set_aside_whole_in_little_memory(captured, kafka, database, prefix, capture, kind, size, record_property):
    column, value, share = HUGE[kind]
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured({**ASIDE, "lease": "30s"}).start()
    insert(database)
    wait_for_records(kafka.brokers, topic, 1)
    with Pulse(one) as pulse:
        seq = insert(database, **{column: value.format(size)})
        insert(database)
        wait_for_records(kafka.brokers, topic, 2, timeout=120)
        eventually(lambda: database.scalar(LETTERS) == 1, 120, what=lambda: f"it is set aside\n{one.log_tail()}")
    peak_kb = one.memory_kb()
    print(f"MEASURED {capture} {kind} {size // MB} MB: peak {peak_kb // 1024} MiB, /livez at most {pulse.longest:.2f} s of {pulse.asked}")
    same = database.scalar(f"SELECT {kept(column)} = {text('e.' + column) if column != 'payload_bytes' else 'e.payload_bytes'} "
                           f"FROM outbox.dead_letter l JOIN outbox.event e USING (seq) WHERE l.seq = {seq} AND l.event_whole")
    assert same is True
    assert database.scalar("SELECT error_code FROM outbox.dead_letter") == "EVENT_TOO_LARGE"
    assert str(size // 4 if kind == "control" else size) in database.scalar("SELECT reason FROM outbox.dead_letter") or kind in ("compressible", "random", "headers", "numbers")
    if not one.instrumented():
        bound = POLL_KB if capture == "poll" else 2.5 * size * share / 1024 + WAL_BASE_KB
        assert peak_kb < bound
    assert pulse.asked > 10 and pulse.longest < LIVEZ_SECONDS


def emit_message(database, size):
    """As outbox.emit_message writes it, by somebody who knows no limits; payload_bytes of so many random digits."""
    fields = [None, struct.pack(">q", 0)]
    texts = ["01900000-0000-7000-8000-000000000001", "order.placed", "1", "order", "k", None, None]
    fields += [None if t is None else t.encode() for t in texts]
    head = struct.pack(">h", 16) + b"".join(struct.pack(">i", -1) if f is None else struct.pack(">i", len(f)) + f for f in fields)
    tail = struct.pack(">i", -1) * 6
    database.execute(f"SELECT pg_logical_emit_message(true, 'outboxd.event', %s::bytea || int4send({size}) || convert_to({digits(size)}, 'UTF8') || %s::bytea)",
                     (head, tail), user=SUPERUSER)


def emit_deleted(column):
    def emit(database, size):
        value = digits(size) if column == "correlation_id" else f"convert_to({digits(size)}, 'UTF8')"
        body = "'{}', NULL" if column == "correlation_id" else "NULL, NULL"
        names = "payload, payload_bytes, correlation_id" if column == "correlation_id" else "payload, correlation_id, payload_bytes"
        database.execute(f"INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, {names}) VALUES ('order.placed', 'order', 'k', {body}, {value}); "
                         "DELETE FROM outbox.event WHERE aggregate_id = 'k'", user=SUPERUSER)
    return emit


def digits(size):
    """SQL: nothing that TOAST could make small."""
    return f"(SELECT string_agg(md5(n::text), '' ORDER BY n) FROM generate_series(1, {size} / 32) n)"


@functools.cache
def digits_md5(size):
    """Of digits(), by somebody else than the server."""
    expected = hashlib.md5()
    for n in range(1, size // 32 + 1):
        expected.update(hashlib.md5(str(n).encode()).hexdigest().encode())
    return expected.hexdigest()


# Who makes it, column of the large value, bytes of the message for one of the value.
WITHOUT_ROW = {
    "message": (emit_message, "payload_bytes", 1),
    "deleted text": (emit_deleted("correlation_id"), "correlation_id", 1),
    "deleted bytes": (emit_deleted("payload_bytes"), "payload_bytes", 2),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["message", soak("deleted text"), "deleted bytes"])
def test_a_huge_event_without_a_row_is_set_aside_whole_in_little_memory(wal_relay, kafka, database, prefix, kind, size):
    emit, column, share = WITHOUT_ROW[kind]
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay({**ASIDE, "messages": True, "lease": "30s"}).start()
    insert(database, aggregate_id="'a'")
    wait_for_records(kafka.brokers, topic, 1)
    with Pulse(one) as pulse:
        emit(database, size)
        insert(database, aggregate_id="'b'")
        wait_for_records(kafka.brokers, topic, 2, timeout=120)
        eventually(lambda: database.scalar(LETTERS) == 1, 120, what=lambda: f"it is set aside\n{one.log_tail()}")
    peak_kb = one.memory_kb()
    print(f"MEASURED without a row {kind} {size // MB} MB: peak {peak_kb // 1024} MiB, /livez at most {pulse.longest:.2f} s of {pulse.asked}")
    assert database.query(f"SELECT event_whole, error_code, length({kept(column)}), md5({kept(column)}) FROM outbox.dead_letter l") == [
        (True, "EVENT_TOO_LARGE", size, digits_md5(size))]
    if not one.instrumented():
        assert peak_kb < 2.5 * size * share / 1024 + WAL_BASE_KB
    assert pulse.asked > 10 and pulse.longest < LIVEZ_SECONDS


@pytest.mark.parametrize("kind", ["bytes", soak("compressible"), soak("control"), soak("random"), "text"])
def test_a_large_event_is_requeued_byte_for_byte_and_published_once_it_may_be(captured, kafka, database, prefix, kind):
    """9 MB: over event_bytes_max, and a record once that and the topic's limit are raised."""
    column, value, _ = HUGE[kind]
    size = 40 * MB if kind == "control" else 9 * MB
    topic = kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": str(20 * MB)})
    one = captured(ASIDE).start()
    seq = insert(database, **{column: value.format(size)})
    eventually(lambda: database.scalar(LETTERS) == 1, 60, what=lambda: f"it is set aside\n{one.log_tail()}")
    shown = outboxd("dead", "show", "-c", one.config_path, "1", expect=0).stdout
    assert "bytes, in event_large_values" in shown and "EVENT_TOO_LARGE" in shown
    one.stop()
    assert "requeued 1" in outboxd("dead", "requeue", "-c", one.config_path, "1", expect=0).stdout
    rows = database.query(f"SELECT to_jsonb(e) - 'seq' - 'published_at' = (SELECT to_jsonb(f) - 'seq' - 'published_at' FROM outbox.event f WHERE seq = {seq}), "
                          f"published_at FROM outbox.event e WHERE seq > {seq}")
    assert rows == [(True, None)]
    two = captured({**ASIDE, "event_bytes_max": "16MiB"}).start()
    record = wait_for_records(kafka.brokers, topic, 1, timeout=60)[0]
    if column.startswith("payload"):
        assert len(record.value) >= size
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, what=lambda: two.log_tail())


def test_under_stop_a_huge_event_is_refused_by_its_sizes(captured, kafka, database, prefix):
    one = captured({}).start()
    seq = insert(database, correlation_id="repeat('x', 9000000)")
    one.wait_log("EVENT_TOO_LARGE")
    line = one.log_lines("EVENT_TOO_LARGE")[0]
    assert f"seq {seq}" in line and "correlation_id 9000000" in line and "event_bytes_max is 8388608" in line


def test_sizes_add_up(poll_relay, kafka, database, prefix):
    """No column is too large, all of them are."""
    kafka.create_topic(f"{prefix}.order")
    one = poll_relay(ASIDE).start()
    columns = ("correlation_id", "causation_id", "traceparent", "content_type")
    insert(database, **{c: "repeat('x', 2500000)" for c in columns})
    eventually(lambda: database.scalar(LETTERS) == 1, what=lambda: one.log_tail())
    assert database.scalar("SELECT error_code FROM outbox.dead_letter") == "EVENT_TOO_LARGE"
    assert database.scalar("SELECT bool_and(length(event->>c) = 2500000) FROM outbox.dead_letter, unnest(%s) c", (list(columns),))


def test_small_values_that_add_up_are_told_as_their_sum(captured, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = captured({**ASIDE, "event_bytes_max": "64KiB"}).start()
    insert(database, correlation_id="repeat('x', 40000)", causation_id="repeat('x', 40000)")
    eventually(lambda: database.scalar(LETTERS) == 1, what=lambda: one.log_tail())
    reason = database.scalar("SELECT reason FROM outbox.dead_letter")
    assert "bytes; event_bytes_max is 65536" in reason and "()" not in reason


@pytest.mark.slow
def test_a_row_of_the_log_that_no_server_can_send_has_a_way_out(wal_relay, kafka, database, prefix):
    """2.5 kB in the table, 1.2 GB of text: the server sends neither it nor what is behind it."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = wal_relay({"lease": "30s"}).start()
    insert(database)
    wait_for_records(kafka.brokers, topic, 1)
    insert(database, payload="('[' || repeat('1e131071,', 9000) || '1]')::jsonb")
    insert(database)
    eventually(lambda: not one.running(), 180, lambda: "it stops\n" + one.log_tail())
    assert one.wait_exit() == 4, one.log_tail()
    line, = one.log_lines("error .*code=LOG_ROW_TOO_LARGE")
    assert "--new-slot" in line and "outbox.event" in line
    one.args.append("--new-slot")
    where = line.split("this finds it: ")[1].split("')")[0].replace('\\"', '"') + "')"
    assert database.query(f"SELECT seq FROM outbox.event {where}") == [(2,)]
    one.start(wait_ready=False)
    one.wait_not_ready("EVENT_UNREADABLE", 180)  # in the table still: it stands alone, and its topic waits for it
    assert "seq 2," in one.ready()[1]
    database.execute("DELETE FROM outbox.event WHERE seq = 2", user=SUPERUSER)
    assert len(wait_for_records(kafka.brokers, topic, 2, timeout=60)) == 2
    one.wait_ready()


def test_rows_from_before_the_slot_that_cannot_be_read_stand_alone(wal_relay, kafka, database, prefix):
    """As by polling: the others are published, these are set aside by name."""
    topic = kafka.create_topic(f"{prefix}.order")
    rows = "SELECT 'order.placed', 'order', n::text, '{}'::jsonb FROM generate_series(%d, %d) n"
    into = "INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) "
    database.execute(into + rows % (1, 20))
    bad = insert(database, payload="('[' || repeat('1e131071,', 9000) || '1]')::jsonb")
    database.execute(into + rows % (21, 60))
    one = wal_relay({**ASIDE, "lease": "30s"}).start(wait_ready=False)
    assert len(wait_for_records(kafka.brokers, topic, 60, timeout=300)) == 60
    eventually(lambda: database.scalar(LETTERS) == 1, 60, what=lambda: one.log_tail())
    assert database.query("SELECT seq, error_code, event_whole FROM outbox.dead_letter") == [(bad, "EVENT_UNREADABLE", False)]
    one.wait_ready(60)
    one.wait_log("BACKFILL_COMPLETE", 60)
    insert(database)
    assert len(wait_for_records(kafka.brokers, topic, 61)) == 61


ADOPTED = """CREATE TABLE public.big (seq bigserial PRIMARY KEY, event_id %s, event_type text NOT NULL DEFAULT 'order.placed',
    aggregate_type text NOT NULL DEFAULT 'order', aggregate_id text NOT NULL DEFAULT 'k', payload jsonb NOT NULL DEFAULT '{}', published_at timestamptz);
    GRANT SELECT, INSERT, UPDATE, DELETE ON public.big TO """ + RELAY
# Type of the column, a value of so many bytes as text, bytes of the message for one of the value.
IDS = {"text": ("text", "repeat('i', {0})", 1), "bytea": ("bytea", "convert_to(repeat('i', {0} / 2), 'UTF8')", 1),
       "domain": ("outbox.long_id", "repeat('i', {0})", 1), "xml": ("xml", "repeat('i', {0})::xml", 1)}


def on_big(request, capture):
    make = request.getfixturevalue("relay")
    return lambda options: make({**CAPTURES[capture], "table": "public.big", "lease": "30s", **options})


def adopt(request, database, capture, kind="text"):
    database.execute("CREATE DOMAIN outbox.long_id AS text; " + ADOPTED % IDS[kind][0], user=SUPERUSER)
    if capture == "wal":
        database.execute(f"ALTER ROLE {RELAY} REPLICATION; CREATE PUBLICATION outboxd_orders FOR TABLE public.big WITH (publish = 'insert')", user=SUPERUSER)
    return on_big(request, capture)


def add(database, event_id, **columns):
    given = {"event_id": event_id, **columns}
    return database.scalar(f"INSERT INTO public.big ({', '.join(given)}) VALUES ({', '.join(given.values())}) RETURNING seq", user=SUPERUSER)


def left(database, on_publish):
    return database.query("SELECT seq FROM public.big" + ("" if on_publish == "delete" else " WHERE published_at IS NULL") + " ORDER BY 1", user=SUPERUSER)


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
@pytest.mark.parametrize("kind", ["text", soak("bytea"), soak("domain"), soak("xml")])
@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_an_event_id_of_any_size_is_refused_and_its_row_is_marked(request, kafka, database, prefix, capture, kind, on_publish):
    """Nothing in an adopted table bounds it, and a row is named by it wherever it is remembered."""
    _, value, share = IDS[kind]
    size = 32 * MB if kind == "text" else 10 * MB
    topic = kafka.create_topic(f"{prefix}.order")
    one = adopt(request, database, capture, kind)({**ASIDE, "on_publish": on_publish}).start()
    add(database, value.format(4))
    wait_for_records(kafka.brokers, topic, 1)
    with Pulse(one) as pulse:
        seq = add(database, value.format(size))
        add(database, value.format(4))
        wait_for_records(kafka.brokers, topic, 2, timeout=120)
        eventually(lambda: database.scalar(LETTERS) == 1, 120, what=lambda: f"it is set aside\n{one.log_tail()}")
    assert database.query("SELECT seq, error_code, event_whole, length(event_id), event->>'event_id' IS NULL, octet_length(event_large_values[1]) "
                          "FROM outbox.dead_letter") == [(seq, "EVENT_TOO_LARGE", True, 264, True, size + 2 * (kind == "bytea"))]
    assert "event_id " in database.scalar("SELECT reason FROM outbox.dead_letter")
    eventually(lambda: left(database, on_publish) == [], 60, what=lambda: f"{left(database, on_publish)}\n{one.log_tail()}")
    eventually(lambda: one.metric("unmarked_events") == 0, 30, what=lambda: one.log_tail())
    assert not one.log_lines("ROWS_VANISHED|ROWS_REPLACED|MARK_REJECTED|UNSEEN"), one.log_tail()
    peak_kb = one.memory_kb()
    print(f"MEASURED {capture} id {kind} {size // MB} MB: peak {peak_kb // 1024} MiB, /livez at most {pulse.longest:.2f} s")
    if not one.instrumented():
        assert peak_kb < (POLL_KB if capture == "poll" else 2.5 * size * share / 1024 + WAL_BASE_KB)
    one.stop()
    two = on_big(request, capture)({**ASIDE, "on_publish": on_publish}).start()
    add(database, value.format(4))
    assert len(wait_for_records(kafka.brokers, topic, 3)) == 3
    two.stop()


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_under_stop_a_row_with_a_huge_id_waits_and_goes_on_mended(request, kafka, database, prefix, capture):
    topics = [kafka.create_topic(f"{prefix}.{name}") for name in ("order", "bill")]
    one = adopt(request, database, capture)({}).start()
    huge = [add(database, f"repeat('{letter}', 32000000)") for letter in "ij"]
    behind = add(database, "'behind'")
    add(database, "'other'", aggregate_type="'bill'")
    wait_for_records(kafka.brokers, topics[1], 1, timeout=60)
    one.wait_not_ready("EVENT_TOO_LARGE")
    assert f"seq {huge[0]}, event_id iii" in one.ready()[1] and "event_bytes_max is 8388608" in one.ready()[1]
    eventually(lambda: left(database, "mark") == [(huge[0],), (huge[1],), (behind,)], 30, what=lambda: one.log_tail())
    if capture == "poll" and not one.instrumented():
        assert one.memory_kb() < POLL_KB
    if capture == "poll":
        database.execute(f"UPDATE public.big SET event_id = 'mended' WHERE seq = {huge[0]}", user=SUPERUSER)
    else:
        database.execute(f"DELETE FROM public.big WHERE seq = {huge[0]}", user=SUPERUSER)
    database.execute(f"DELETE FROM public.big WHERE seq = {huge[1]}", user=SUPERUSER)
    records = wait_for_records(kafka.brokers, topics[0], 2 if capture == "poll" else 1, timeout=90)
    assert [dict(r.headers)["ce_id"] for r in records] == ([b"mended"] if capture == "poll" else []) + [b"behind"]
    one.wait_ready(60)
    eventually(lambda: left(database, "mark") == [], 30, what=lambda: one.log_tail())
    one.stop()


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_an_id_that_compresses_into_a_page_is_bounded_too(request, kafka, database, prefix, capture):
    """Sizes are not looked at while nothing of the table is stored out of line; and rows from before the slot are read from the table."""
    topic = kafka.create_topic(f"{prefix}.order")
    make = adopt(request, database, capture)
    add(database, "repeat('i', 65536)")
    seq = add(database, "repeat('i', 65537)")
    add(database, "'...(cut)'")
    one = make(ASIDE).start()
    records = wait_for_records(kafka.brokers, topic, 2, timeout=60)
    assert [len(dict(r.headers)["ce_id"]) for r in records] == [65536, 8]
    eventually(lambda: database.scalar(LETTERS) == 1, 60, what=lambda: one.log_tail())
    assert database.scalar(f"SELECT reason FROM outbox.dead_letter WHERE seq = {seq}").startswith("the event is too large: 655")
    assert "an event id has at most 65536 bytes" in database.scalar("SELECT reason FROM outbox.dead_letter")
    eventually(lambda: left(database, "mark") == [], 60, what=lambda: one.log_tail())
    one.stop()
