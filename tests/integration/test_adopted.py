"""Outbox tables of somebody else's making, with the least configuration: what they do not have is absent, by both captures.

Each shape is one that users of such tools have: its table, what has to be said of it, an INSERT, and what the record then is.
"""

import json

import pytest

from conftest import CAPTURES
from support.common import eventually
from support.consume import headers_of, wait_for_records
from support.postgres import RELAY, SUPERUSER
from support.relay import configuration, outboxd, write_configuration

pytestmark = pytest.mark.by_turns

DEBEZIUM = {
    "table": """CREATE TABLE public.outboxevent (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL,
        type varchar(255) NOT NULL, payload jsonb)""",
    "ddl": "ALTER TABLE public.outboxevent ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) UNIQUE",
    "name": "public.outboxevent",
    "pipeline": {"on_publish": "delete", "columns": {"event_id": "id", "event_type": "type", "aggregate_type": "aggregatetype",
                                                     "aggregate_id": "aggregateid"}},
    "insert": "INSERT INTO public.outboxevent (id, aggregatetype, aggregateid, type, payload) "
              "VALUES (%s, 'order', '17', 'order.placed', '{\"a\": 1}')",
    "key": b"17", "value": {"a": 1},
    "headers": {"ce_type": "order.placed", "ce_subject": "17", "ce_aggregatetype": "order"},
    "absent": "event_version, aggregate_version, content_type, correlation_id, causation_id, traceparent, headers, occurred_at",
}
RAILS = {
    "table": """CREATE TABLE public.outbox_messages (id bigserial PRIMARY KEY, event_id uuid NOT NULL, event_type varchar NOT NULL,
        aggregate_type varchar NOT NULL, aggregate_id bigint NOT NULL, payload jsonb NOT NULL, created_at timestamp NOT NULL DEFAULT now(),
        processed_at timestamp)""",
    "ddl": "CREATE INDEX ON public.outbox_messages (id) WHERE processed_at IS NULL",
    "name": "public.outbox_messages",
    "pipeline": {"columns": {"seq": "id", "occurred_at": "created_at", "published_at": "processed_at"}},
    "insert": "INSERT INTO public.outbox_messages (event_id, event_type, aggregate_type, aggregate_id, payload) "
              "VALUES (%s, 'order.placed', 'order', 17, '{\"a\": 1}')",
    "key": b"17", "value": {"a": 1},
    "headers": {"ce_type": "order.placed", "ce_subject": "17", "ce_time": None},
    "absent": "event_version, aggregate_version, content_type, correlation_id, causation_id, traceparent, headers",
}
MASSTRANSIT = {
    "table": """CREATE TABLE public."OutboxMessage" ("SequenceNumber" bigserial PRIMARY KEY, "SentTime" timestamptz NOT NULL DEFAULT now(),
        "MessageId" uuid NOT NULL, "ConversationId" uuid, "CorrelationId" uuid, "MessageType" text NOT NULL, "ContentType" varchar(256) NOT NULL,
        "Headers" text, "Body" text NOT NULL)""",
    "ddl": "",
    "name": 'public."OutboxMessage"',
    "pipeline": {"on_publish": "delete", "key": "${ConversationId}", "header_columns": ["ConversationId"],
                 "columns": {"seq": "SequenceNumber", "event_id": "MessageId", "event_type": "MessageType", "payload": "Body",
                             "content_type": "ContentType", "correlation_id": "CorrelationId", "occurred_at": "SentTime"}},
    "topic": ".masstransit",
    "insert": 'INSERT INTO public."OutboxMessage" ("MessageId", "ConversationId", "MessageType", "ContentType", "Body") '
              "VALUES (%s, '00000000-0000-0000-0000-0000000000aa', 'urn:message:Shop:OrderPlaced', 'application/vnd.masstransit+json', "
              "'{\"a\": 1}')",
    "key": b"00000000-0000-0000-0000-0000000000aa", "value": {"a": 1},
    "headers": {"ce_type": "urn:message:Shop:OrderPlaced", "content-type": "application/vnd.masstransit+json", "ce_time": None},
    "absent": "event_version, aggregate_type, aggregate_id, aggregate_version, causation_id, traceparent, headers",
}
SHAPES = {"debezium": DEBEZIUM, "rails": RAILS, "masstransit": MASSTRANSIT}
ID = "00000000-0000-0000-0000-0000000000%02d"


def options_of(shape, capture, prefix):
    return {**CAPTURES[capture], "table": shape["name"], "topic": prefix + shape.get("topic", ".${%s}" % shape["pipeline"]["columns"].get(
        "aggregate_type", "aggregate_type")), **shape["pipeline"]}


def adopt(database, shape, capture="poll"):
    """The table and the rights, by the superuser: what another application made."""
    for sql in filter(None, (shape["table"], shape["ddl"])):
        database.execute(sql, user=SUPERUSER)
    database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {shape['name']} TO {RELAY}", user=SUPERUSER)
    if capture == "wal":
        database.execute(f"ALTER ROLE {RELAY} REPLICATION; CREATE PUBLICATION outboxd_orders FOR TABLE {shape['name']} "
                         "WITH (publish = 'insert')", user=SUPERUSER)


@pytest.fixture
def check(tmp_path, kafka, database):
    def run(options, expect, **more):
        path = write_configuration(str(tmp_path / "check.conf"), configuration(database.dsn(), kafka.brokers, options, **more))
        return outboxd("check", "-c", path, expect=expect).stdout
    return run


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("name", SHAPES)
def test_a_table_is_adopted_with_what_differs_alone(relay, check, kafka, database, prefix, name, capture):
    shape = SHAPES[name]
    adopt(database, shape, capture)
    topic = prefix + shape.get("topic", ".order")
    kafka.create_topic(topic)
    for number in (1, 2):
        database.execute(shape["insert"], (ID % number,), user=SUPERUSER)
    options = options_of(shape, capture, prefix)
    said = check(options, 0)
    assert f"columns        {shape['name']} has no {shape['absent']}: records do not have these headers" in said
    first = "outboxd run publishes them first" if capture == "poll" else "the first outboxd run publishes them before it reads the WAL"
    assert f"waiting        2 rows of {shape['name']} are not published, and {first}: 2 to {topic}\n" in said
    assert "if consumers already have them" in said
    one = relay(options).start()
    one.wait_published(2)
    database.execute(shape["insert"], (ID % 3,), user=SUPERUSER)
    records = wait_for_records(kafka.brokers, topic, 3)
    assert len(records) == 3
    for number, record in enumerate(sorted(records, key=lambda r: r.offset), 1):
        headers = headers_of(record)
        assert headers["ce_id"] == ID % number
        assert (record.key, json.loads(record.value)) == (shape["key"], shape["value"])
        for header, value in shape["headers"].items():
            assert headers[header] == value if value is not None else headers[header]
        assert not {"ce_eventversion", "ce_aggregateversion", "ce_causationid", "traceparent"} & headers.keys()
        assert ("ce_time" in headers) == ("ce_time" in shape["headers"])
    assert len(one.log_lines("COLUMNS_ABSENT")) == 1 and f"has no columns {shape['absent']}:" in one.log_text(), one.log_tail()
    deletes = shape["pipeline"].get("on_publish") == "delete"
    left = f"SELECT count(*) FROM {shape['name']}" + ("" if deletes else " WHERE processed_at IS NULL")
    eventually(lambda: database.scalar(left, user=SUPERUSER) == 0, what="no row is left to publish")
    assert not one.log_lines("Z (warn|error) "), one.log_tail()
    one.stop()


def test_check_proposes_the_columns_of_an_unknown_table(check, database, kafka, prefix):
    kafka.create_topic(prefix)
    adopt(database, {**DEBEZIUM, "ddl": ""})
    said = check({"table": "public.outboxevent", "topic": prefix}, 2)
    for column, meant in (("event_id", "id"), ("event_type", "type"), ("aggregate_id", "aggregateid")):
        assert f'public.outboxevent has no column "{column}" (' in said and f'; did you mean "{meant}"?' in said
    assert 'ADD COLUMN "seq" bigint GENERATED ALWAYS AS IDENTITY' in said and 'ADD COLUMN "published_at" timestamptz' in said
    # Everything that is said is needed, and each remedy works.
    assert said.count("problem") >= 1 and "unique index" not in said and "unpublished rows of" not in said
    assert 'or say that it has none: ""' not in said and 'on_publish = "delete", or: ALTER TABLE' in said
    # What is merely absent is one line at most, and a near name is asked for.
    assert '"traceparent"' not in said and '"headers"' not in said and '"occurred_at"' not in said
    assert 'no column "aggregate_type", so records do not contain it; did you mean "aggregatetype"?' in said
    database.execute(RAILS["table"], user=SUPERUSER)
    database.execute(f"GRANT SELECT, UPDATE ON public.outbox_messages TO {RELAY}", user=SUPERUSER)
    said = check({"table": "public.outbox_messages", "topic": prefix}, 2)
    assert 'has no column "seq" (the relay identifies rows by it); did you mean "id"?' in said
    assert 'has no column "published_at" (on_publish = "mark" sets it); did you mean "processed_at"?' in said
    assert 'did you mean "created_at"?' in said


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_column_that_is_named_must_be_there(relay, check, kafka, database, prefix, capture):
    kafka.create_topic(f"{prefix}.order")
    adopt(database, DEBEZIUM, capture)
    options = options_of(DEBEZIUM, capture, prefix)
    options["columns"] = {**options["columns"], "headers": "header"}
    said = check(options, 2)
    assert 'public.outboxevent has no column "header" (the configuration names it)' in said
    one = relay(options).start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines("COLUMN_MISSING.*the configuration names it")
    # The default's own name counts as named, too.
    assert 'no column "headers" (the configuration names it)' in check({**options, "columns": {**options["columns"], "headers": "headers"}}, 2)
    # What a topic or a key rests on is no matter of defaults.
    columns = {k: v for k, v in DEBEZIUM["pipeline"]["columns"].items() if k != "aggregate_id"}
    said = check({**options, "columns": columns}, 2)
    assert 'no column "aggregate_id" (the key ${aggregate_id} needs it); did you mean "aggregateid"?' in said
    assert "no problem" in check({**options, "columns": columns, "key": ""}, 0)


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_column_that_comes_later(relay, kafka, database, prefix, capture):
    """The log brings it with the next row; polling says that it waits for the next connection."""
    kafka.create_topic(f"{prefix}.order")
    adopt(database, DEBEZIUM, capture)
    one = relay(options_of(DEBEZIUM, capture, prefix)).start()
    insert = DEBEZIUM["insert"].replace("payload)", "payload, headers)").replace("}')", "}', '{\"tenant\": \"n\"}')")
    database.execute("ALTER TABLE public.outboxevent ADD headers jsonb", user=SUPERUSER)
    said = one.wait_log("COLUMNS_ADDED")[0]
    assert "headers" in said and (" warn " in said) == (capture == "poll")
    if capture == "poll":
        assert "until the relay reconnects" in said
        assert database.terminate_backends()
        eventually(lambda: len(one.log_lines("PIPELINE_ACTIVE")) == 2, what="the relay is back")
    database.execute(insert, (ID % 1,), user=SUPERUSER)
    record = wait_for_records(kafka.brokers, f"{prefix}.order", 1)[0]
    assert (capture, headers_of(record).get("tenant")) == (capture, "n")
    # It is there now: when it goes, that is no default.
    database.execute("ALTER TABLE public.outboxevent DROP headers", user=SUPERUSER)
    one.wait_not_ready("it existed when this relay started")
    database.execute("ALTER TABLE public.outboxevent ADD headers jsonb", user=SUPERUSER)
    one.wait_ready()


def test_a_letter_of_an_adopted_table_goes_back(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    adopt(database, DEBEZIUM)
    options = {**options_of(DEBEZIUM, "poll", prefix), "on_poison": "dead_letter"}
    one = relay(options).start()
    database.execute("INSERT INTO public.outboxevent (id, aggregatetype, aggregateid, type, payload) "
                     "VALUES (%s, 'no topic name', '17', 'order.placed', '{}')", (ID % 1,), user=SUPERUSER)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="a dead letter")
    database.execute("UPDATE outbox.dead_letter SET event = jsonb_set(event, '{aggregate_type}', '\"order\"')", user=SUPERUSER)
    number = database.scalar("SELECT id FROM outbox.dead_letter")
    outboxd("dead", "requeue", "-c", one.config_path, number, expect=0)
    assert headers_of(wait_for_records(kafka.brokers, f"{prefix}.order", 1)[0])["ce_id"] == ID % 1


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_a_number_that_is_called_id_orders_every_statement(relay, wal, kafka, database, prefix, capture):
    """A column of ours, or of the record, that has the name of the table's number: it is the number that rows are read in the order of."""
    shape = SHAPES["rails"]
    database.execute(f"{shape['table']}; {shape['ddl']}; GRANT SELECT, UPDATE (processed_at) ON {shape['name']} TO {RELAY}; "
                     f"ALTER PUBLICATION outboxd_orders ADD TABLE {shape['name']}")
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay({**CAPTURES[capture], **shape["pipeline"], "table": shape["name"], "header_columns": ["id"]}, monitor={"interval": "200ms"}).start()
    outboxd("pause", "-c", one.config_path, expect=0)
    eventually(lambda: one.metric("paused") == 1, what="paused")
    for n in range(150):  # ids go down as the numbers go up
        database.execute(shape["insert"], (f"00000000-0000-0000-0000-{999 - n:012d}",))
    oldest = lambda: (one.status()["pipelines"][0]["oldest"] or {}).get("seq")  # noqa: E731
    eventually(lambda: oldest() == 1, 10, lambda: f"the first is the oldest, not {oldest()}")
    outboxd("resume", "-c", one.config_path, expect=0)
    records = wait_for_records(kafka.brokers, topic, 150)
    assert [int(headers_of(r)["id"]) for r in records] == list(range(1, 151))
    assert not one.log_lines(" error "), one.log_tail()
