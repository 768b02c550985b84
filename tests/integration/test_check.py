"""`outboxd check` against real servers: what it finds in database and topics, what it says, and that it changes nothing."""

import json
import os
import time

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from conftest import soak
from support.common import at_pace, eventually
from support.postgres import APP, OWNER, RELAY, SUPERUSER
from support.relay import configuration, outboxd, write_configuration


@pytest.fixture
def check(tmp_path, kafka, database, prefix):
    """check(pipeline options, *arguments, expect=...) -> what it printed. The topic is <prefix>.order and exists."""
    kafka.create_topic(f"{prefix}.order")

    def run(pipeline=None, *args, expect, db=None, **more):
        config = configuration((db or database).dsn(), kafka.brokers, {"topic": f"{prefix}.order", **(pipeline or {})}, **more)
        path = write_configuration(str(tmp_path / "outboxd.conf"), config)
        result = outboxd("check", "-c", path, *args, expect=expect)
        assert result.stderr == ""
        # The test server runs without fsync, which check rightly does not like.
        assert "warning: fsync = off" in result.stdout
        return result.stdout

    return run


@pytest.fixture
def adopted(postgres):
    """A database with an outbox of somebody else's making."""
    database = postgres.fresh_database("adopted")
    yield database
    database.drop()


ADOPTED = {"table": "public.outboxevent", "columns": {
    "seq": "position", "event_id": "id", "event_type": "type", "aggregate_type": "aggregatetype", "aggregate_id": "aggregateid"}}
OUTBOXEVENT = """CREATE TABLE public.outboxevent (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid NOT NULL,
    type text NOT NULL, aggregatetype text NOT NULL, aggregateid text NOT NULL, payload jsonb, published_at timestamptz);
    CREATE INDEX ON public.outboxevent (position) WHERE published_at IS NULL;
    GRANT SELECT, UPDATE, DELETE ON public.outboxevent TO """ + RELAY


def test_a_good_setup_shows_what_was_looked_at(check, database):
    text = check(expect=0)
    assert "no problem, 1 warning; nothing was changed" in text
    assert f"/{database.name} (15." in text and "1 broker, 1 topic" in text


def test_mistakes_of_file_database_and_brokers_come_in_one_run(check, database, prefix, kafka):
    database.execute("REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay")
    text = check({"capure": "poll", "topic": f"{prefix}.absent"}, expect=1)
    assert 'did you mean "capture"?' in text
    assert f'role {RELAY} may not UPDATE outbox.event, needed by on_publish = "mark"' in text
    assert f'topic "{prefix}.absent" does not exist' in text
    assert text.rstrip().endswith("3 problems, 1 warning; nothing was changed")
    assert text.index("capture") < text.index("may not UPDATE") < text.index("does not exist")


def test_each_missing_right_is_named_with_its_grant(check, database):
    database.execute("REVOKE DELETE ON outbox.event FROM outbox_relay; REVOKE INSERT ON outbox.dead_letter FROM outbox_relay")
    text = check({"on_publish": "delete", "on_poison": "dead_letter"}, expect=2)
    assert "may not DELETE from outbox.event" in text and "GRANT DELETE ON outbox.event TO outbox_relay;" in text
    assert "may not INSERT into outbox.dead_letter" in text
    database.execute("REVOKE SELECT ON outbox.event FROM outbox_relay")
    assert "may not SELECT outbox.event" in check(expect=2)


def test_a_role_that_is_no_member_gets_the_grant_of_the_role(check, database):
    database.execute(f"REVOKE outbox_relay FROM {RELAY}")
    try:
        assert f"GRANT outbox_relay TO {RELAY}" in check(expect=2)
    finally:
        database.execute(f"GRANT outbox_relay TO {RELAY}")


def test_pending_migrations_are_named(check, empty_database):
    outboxd("migrate", "--dsn", empty_database.dsn(OWNER), "--to", "2", "--no-roles", expect=0)
    empty_database.execute(f"GRANT USAGE ON SCHEMA outbox TO {RELAY}; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA outbox TO {RELAY}")
    text = check(expect=2, db=empty_database)
    assert "pending 3 " in text and "outboxd migrate" in text


@pytest.mark.parametrize("sql,words", [
    ("ALTER TABLE outbox.event SET UNLOGGED", ["unlogged", "SET LOGGED"]),
    ("ALTER SEQUENCE outbox.event_seq_seq CACHE 20", ["CACHE 20", "ALTER SEQUENCE outbox.event_seq_seq CACHE 1"]),
    ("ALTER SEQUENCE outbox.event_seq_seq INCREMENT -1 MINVALUE -1000", ["can descend or start over"]),
    ("ALTER TABLE outbox.event ENABLE ROW LEVEL SECURITY", ["row-level security hides rows"]),
    ("ALTER TABLE outbox.event ALTER published_at SET NOT NULL", ["NOT NULL: every row would count as published"]),
    ("ALTER TABLE outbox.event RENAME causation_id TO causationid", ['no column "causation_id" (outboxd migrate created it); did you mean "causationid"?']),
    ("ALTER TABLE outbox.event DROP published_at CASCADE", ["ADD COLUMN \"published_at\" timestamptz"]),
])
def test_a_table_that_cannot_be_polled_without_loss_is_refused(check, database, sql, words):
    database.execute(sql)
    text = check(expect=2)
    for word in words:
        assert word in text, text


def test_a_type_that_the_relay_reads_is_accepted(check, database):
    database.execute("ALTER TABLE outbox.event ALTER COLUMN aggregate_id TYPE varchar(300)")
    assert "no problem" in check(expect=0)


def test_an_adopted_table_that_is_complete_is_accepted(check, adopted):
    adopted.execute(OUTBOXEVENT)
    assert "no problem" in check(ADOPTED, expect=0, db=adopted)


def test_an_adopted_table_gets_the_ddl_that_it_lacks(check, adopted):
    adopted.execute(OUTBOXEVENT + "; ALTER TABLE public.outboxevent DROP position, DROP published_at")
    text = check(ADOPTED, expect=2, db=adopted)
    assert 'ALTER TABLE public.outboxevent ADD COLUMN "position" bigint GENERATED ALWAYS AS IDENTITY (CACHE 1)' in text
    assert "rewrites the table" in text
    assert 'ADD COLUMN "published_at" timestamptz' in text


def test_payload_of_the_wrong_type_is_found_before_it_is_published_in_hex(check, adopted):
    adopted.execute(OUTBOXEVENT.replace("payload jsonb", "payload bytea"))
    assert "would be sent in hex" in check(ADOPTED, expect=2, db=adopted)


def test_slow_or_ambiguous_polling_is_a_warning(check, adopted):
    adopted.execute(OUTBOXEVENT.replace("PRIMARY KEY", "").replace("WHERE published_at IS NULL", ""))
    text = check(ADOPTED, expect=0, db=adopted)
    assert "warning: no unique index" in text and "warning: no index on the unpublished rows" in text
    assert "remedy: outboxd migrate" in text and "no problem, 4 warnings; nothing was changed" in text


def test_names_with_capitals_are_found(check, adopted):
    adopted.execute(OUTBOXEVENT.replace("public.outboxevent", '"Shop"."Outbox"').replace("CREATE TABLE", 'CREATE SCHEMA "Shop"; CREATE TABLE', 1)
                    + f'; GRANT USAGE ON SCHEMA "Shop" TO {RELAY}')
    assert "no problem" in check({**ADOPTED, "table": '"Shop"."Outbox"'}, expect=0, db=adopted)
    text = check({**ADOPTED, "table": "Shop.Outbox"}, expect=2, db=adopted)
    assert "table Shop.Outbox does not exist" in text and "has no " not in text, "nothing is said of columns of no table"


def test_the_superuser_is_a_warning(check, database, postgres, tmp_path, kafka, prefix):
    path = write_configuration(str(tmp_path / "super.conf"),
                               configuration(postgres.dsn(database.name), kafka.brokers, {"topic": f"{prefix}.order"}))
    assert "is a superuser" in outboxd("check", "-c", path, expect=0).stdout


def test_a_malformed_connection_string_does_not_leak(tmp_path, kafka):
    for dsn in ("host=db pass word=hush", "postgresql://u:hush@db:notaport/x", "postgresql://u:hu%sh@db"):
        path = write_configuration(str(tmp_path / "leak.conf"), configuration(dsn, kafka.brokers))
        result = outboxd("check", "-c", path)
        assert result.returncode in (1, 2) and "hush" not in result.stdout + result.stderr and "hu%sh" not in result.stdout


# --- topics ---

def test_templated_topics_come_from_the_backlog(check, database, prefix, kafka):
    database.execute("SELECT outbox.emit('a', 'order', '1', '{}'), outbox.emit('b', 'invoice', '1', '{}')", user=APP)
    text = check({"topic": prefix + ".${aggregate_type}"}, expect=3)
    assert f'topic "{prefix}.invoice" does not exist, needed by pipeline "orders" (seq 2)' in text
    assert f'"{prefix}.order"' not in text
    database.execute("UPDATE outbox.event SET published_at = now()")
    check({"topic": prefix + ".${aggregate_type}"}, expect=0)


def test_an_event_that_would_stop_the_pipeline_is_found(check, database, prefix):
    database.execute("INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, payload) VALUES ('a', 'no topic name', '1', '{}')")
    text = check({"topic": prefix + ".${aggregate_type}"}, expect=1)
    assert 'event seq 1 of outbox.event would not be published by pipeline "orders", and would hold back the later events of its topic' in text
    assert "would not be published" in check({"topic": prefix + ".${aggregate_type}", "on_poison": "dead_letter"}, expect=0)


def test_a_record_that_the_topic_would_refuse_is_found(check, database, prefix, kafka):
    kafka.alter_topic(f"{prefix}.order", **{"max.message.bytes": "5000"})
    database.execute("SELECT outbox.emit('a', 'order', '1', jsonb_build_object('x', repeat('y', 6000)))", user=APP)
    text = check(expect=3)
    assert f'topic "{prefix}.order" accepts 5000' in text and "seq 1 of outbox.event" in text and "max.message.bytes" in text


def test_what_emit_accepts_is_compared_with_the_topics(check, database, prefix, kafka):
    topic = f"{prefix}.order"
    assert "emit accepts" not in check(expect=0)   # 1,000,000 of 1,048,588
    kafka.alter_topic(topic, **{"max.message.bytes": "5000"})
    text = check(expect=0)
    assert f'emit accepts records of up to 1000000 bytes (outbox.record_bytes_max()), but topic "{topic}" accepts 5000' in text
    assert f"kafka-configs.sh --bootstrap-server {kafka.brokers} --alter --entity-type topics --entity-name {topic} --add-config " \
           "max.message.bytes=1000000" in text
    assert "no problem, 2 warnings" in text
    # Of templated topics, those of waiting events; of other limits, the one that holds.
    database.execute("SELECT outbox.emit('a', 'order', '1', '{}')", user=APP)
    database.execute("CREATE OR REPLACE FUNCTION outbox.record_bytes_max() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 7000'")
    assert "emit accepts records of up to 7000 bytes" in check({"topic": prefix + ".${aggregate_type}"}, expect=0)
    # Both ways out, as they are printed.
    remedy = text.split("as the owner of the schema: ")[1].split("\n")[0]
    database.execute(remedy)
    assert database.scalar("SELECT outbox.record_bytes_max()") == 5000 and "emit accepts" not in check(expect=0)
    database.execute("CREATE OR REPLACE FUNCTION outbox.record_bytes_max() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1000000'")
    kafka.alter_topic(topic, **{"max.message.bytes": "1000000"})
    assert "emit accepts" not in check(expect=0)


def test_a_compacted_topic_needs_keys(check, database, prefix, kafka):
    kafka.create_topic(f"{prefix}.compacted", config={"cleanup.policy": "compact"})
    database.execute("SELECT outbox.emit('a', 'order', NULL, '{}')", user=APP)
    text = check({"topic": f"{prefix}.compacted"}, expect=3)
    assert "cleanup.policy=compact" in text and "without a key" in text
    database.execute("DELETE FROM outbox.event")
    check({"topic": f"{prefix}.compacted"}, expect=0)


def test_create_topics_makes_what_is_missing_and_says_so(check, database, prefix, kafka):
    database.execute("SELECT outbox.emit('a', 'invoice', '1', '{}')", user=APP)
    routes = [{"event_type": "pay*", "topic": f"{prefix}.pay"}]
    text = check({"routes": routes, "topic": prefix + ".${aggregate_type}"}, "--create-topics", "--partitions", 3, "--replication", 1,
                 "--topic-config", "cleanup.policy=compact", expect=0)
    assert "no problem, 1 warning; 2 topics were created" in text
    topics = eventually(lambda: (lambda t: t if {f"{prefix}.pay", f"{prefix}.invoice"} <= t.keys() else None)(
        kafka.admin().list_topics(timeout=5).topics), what="the broker lists both topics")
    assert len(topics[f"{prefix}.pay"].partitions) == 3 and len(topics[f"{prefix}.invoice"].partitions) == 3
    assert "nothing was changed" in check({"routes": routes, "topic": prefix + ".${aggregate_type}"}, "--create-topics", expect=0)


def test_a_topic_that_cannot_be_made_is_a_problem(check, prefix):
    text = check({"topic": f"{prefix}.wide"}, "--create-topics", "--replication", 3, expect=3)
    assert f'cannot create topic "{prefix}.wide"' in text


def test_nothing_is_made_from_a_wrong_configuration(check, prefix, kafka):
    check({"topic": f"{prefix}.absent", "capure": "x"}, "--create-topics", expect=1)
    assert f"{prefix}.absent" not in kafka.admin().list_topics(timeout=5).topics


def test_a_broker_that_refuses_the_credentials_is_told_apart(tmp_path, database, kafka):
    properties = ["sasl.password=nonsense" if p.startswith("sasl.password") else p for p in kafka.sasl_properties()]
    path = write_configuration(str(tmp_path / "sasl.conf"), configuration(
        database.dsn(), kafka.sasl_brokers, {"topic": "x"}, kafka={"properties": properties}))
    text = outboxd("check", "-c", path, expect=3).stdout
    assert "uthentication" in text and "nonsense" not in text


# --- offline ---

def test_offline_asks_nobody_and_knows_librdkafka(tmp_path):
    path = write_configuration(str(tmp_path / "x.conf"), configuration(
        "host=127.0.0.1 port=1", "127.0.0.1:1", kafka={"properties": ["compresion.type=lz4", "linger.ms=soon", "sasl.password=hush"]}))
    text = outboxd("check", "--offline", "-c", path, expect=1).stdout
    assert 'no property "compresion.type"; did you mean "compression.type"?' in text
    assert 'Kafka property "linger.ms"' in text and "hush" not in text
    assert "2 problems; nothing was changed" in text


def test_usage_mistakes_are_named():
    for args in (["--partitions", "3"], ["--create-topics", "--partitions", "none"], ["--create-topics", "--offline"],
                 ["--create-topics", "--topic-config", "x"], ["file.conf"], ["--no-such"]):
        result = outboxd("check", *args, expect=1)
        assert "outboxd check --help" in result.stderr, args


WRONG = {"a number": "5", "a large number": "5L", "a fraction": "1.5", "a truth": "true", "a string": '"?"', "an array": "[ 1, 2 ]",
         "a list": "( )", "a list of strings": '( "a", ( ) )', "a group": "{ a = 1; }", "an empty array": "[ ]"}


ALONE = ("a number", "a list of strings", "a group")   # each option by itself takes three seconds


def options():
    """The paths of all that `config schema` knows."""
    return [o["path"] for o in json.loads(outboxd("config", "schema", expect=0).stdout)["options"]]


LISTS = ("pipelines", "routes", "mappings", "mask_columns", "truncate_columns")


def file_of(values):
    """path -> text as a file of groups; LISTS are lists of one group."""
    tree = {}
    for path, value in values.items():
        *groups, last = path.split(".")
        at = tree
        for group in groups:
            at = at.setdefault(group, {})
        at[last] = value

    def body(at):
        lines = []
        for name, below in at.items():
            if isinstance(below, dict):
                below = ("( {\n%s} )" if name in LISTS else "{\n%s}") % body(below)
            lines.append(f"{name} = {below};\n")
        return "".join(lines)
    return body(tree)


@pytest.mark.slow
@pytest.mark.parametrize("kind, step", [*((kind, 4) for kind in WRONG), *(soak(kind, 1) for kind in WRONG)])   # alone, a quarter of the options or all
def test_every_option_with_a_value_of_another_kind_is_survived(kind, step, tmp_path):
    """All at once, and each alone in a good configuration, through everything that check does without servers."""
    paths = [p for p in options() if p.rsplit(".", 1)[-1] not in LISTS]
    good = {"database.dsn": '"host=db"', "kafka.brokers": '"k:1"', "pipelines.name": '"orders"', "pipelines.routes.topic": '"t"'}
    texts = {"all": file_of({path: WRONG[kind] for path in paths}), "pipelines": file_of({"pipelines": WRONG[kind]}),
             "routes": file_of({"pipelines.name": '"orders"', "pipelines.routes": WRONG[kind]}),
             **({path: file_of({**good, path: WRONG[kind]}) for path in paths[list(WRONG).index(kind) % step::step]}
                if kind in ALONE else {})}
    for path, text in texts.items():
        result = outboxd("check", "--offline", "-c", write_configuration(str(tmp_path / "outboxd.conf"), text))
        assert result.returncode in (0, 1), f"{path}: exit {result.returncode}\n{result.stdout}{result.stderr}"
        assert result.stdout.rstrip().endswith("nothing was changed"), f"{path}: {result.stdout}"


ROUTES = ['routes = ( { event_type = "payment.*"; } );', "routes = ( { topic = 5; } );", 'routes = ( { event_type = 5; topic = "a"; }, 5, ( ) );',
          "routes = ( { } );", "topic = 5; key = 5;", "columns: { payload = 5; seq = ( ); };", 'header_columns = ( "a", 5 );', "routes = 5;"]


@pytest.mark.parametrize("options", ROUTES)
def test_a_broken_pipeline_is_told_with_the_servers_there(kafka, database, prefix, tmp_path, options):
    database.execute("SELECT outbox.emit('payment.made', 'order', '1', '{}')")
    dsn = database.dsn().replace("\\", "\\\\").replace('"', '\\"')
    path = write_configuration(str(tmp_path / "outboxd.conf"), f"""database: {{ dsn = "{dsn}"; }};
        kafka: {{ brokers = "{kafka.brokers}"; }};
        pipelines: ( {{ name = "orders"; {options} }} );""")
    result = outboxd("check", "-c", path, expect=1)
    assert "outboxd.conf:3: " in result.stdout and "nothing was changed" in result.stdout


def test_bombs_and_endless_files_end_at_once(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.conf").write_text(f'@include "{i + 1}.conf"\n' * 50)
    (tmp_path / "9.conf").write_text("# nothing\n")
    os.mkfifo(tmp_path / "fifo")
    base = 'database: { dsn = "host=db"; %s };\nkafka: { brokers = "k:1"; properties = [ %s ]; };\npipelines: ( %s );\n%s'
    one = '{ name = "p"; }'
    texts = {
        "an include bomb": (base % ("", "", one, '@include "0.conf"\n'), "more than 100 files"),
        "50,000 properties": (base % ("", ", ".join(f'"a{n}=b"' for n in range(50000)), one, ""), "20000 names and values"),
        "20,000 pipelines": (base % ("", "", ", ".join(f'{{ name = "p{n}"; }}' for n in range(20000)), ""), "20000 names and values"),
        "300 pipelines": (base % ("", "", ", ".join(f'{{ name = "p{n}"; table = "a.b{n}"; }}' for n in range(300)), ""), "more than 200"),
        "2,000 properties": (base % ("", ", ".join(f'"a{n}=b"' for n in range(2000)), one, ""), "more than 1000 items"),
        "a FIFO included": (base % ("", "", one, '@include "fifo"\n'), "FIFO"),
        "a device included": (base % ("", "", one, '@include "/dev/zero"\n'), "a device"),
        "a FIFO as a secret": (base % ('password_file = "fifo";', "", one, ""), "FIFO"),
        "a device as a secret": (base % ("", '"sasl.password=${file:/dev/zero}"', one, ""), "a device"),
    }
    for name, (text, said) in texts.items():
        path = write_configuration(str(tmp_path / "outboxd.conf"), text)
        before = time.monotonic()
        result = outboxd("check", "--offline", "-c", path, timeout=10, expect=1)
        assert time.monotonic() - before < at_pace(3), name
        assert said in result.stdout and ".conf:" in result.stdout, f"{name}: {result.stdout[:500]}"
    for path in (tmp_path / "fifo", "/dev/zero", "/dev/tty", tmp_path):
        assert "cannot read" in outboxd("check", "--offline", "-c", path, timeout=10, expect=1).stdout


@pytest.mark.parametrize("capture, needed", [("poll", 3), ("wal", 2)])
def test_connections_that_the_database_will_not_give_are_counted(relay, kafka, database, prefix, wal, capture, needed):
    """Those of a relay that runs are not counted twice; those of others are."""
    kafka.create_topic(f"{prefix}.order")
    one = relay({"capture": capture}).start()
    limit = 20
    database.execute(f'ALTER DATABASE "{database.name}" CONNECTION LIMIT {limit}', user=SUPERUSER)
    held = []
    with pytest.raises(psycopg2.OperationalError, match="too many connections"):
        while len(held) < limit:
            held.append(database.connect())
    for _ in range(3):   # for check, and what it looks at beside that
        held.pop().close()
    senders = [psycopg2.connect(database.dsn(RELAY), connection_factory=LogicalReplicationConnection) for _ in range(5)]   # no limit counts them
    said = eventually(lambda: outboxd("check", "-c", one.config_path, expect=0).stdout, what="check")
    assert "needs" not in said, said
    for sender in senders:
        sender.close()
    one.stop()
    held += [database.connect() for _ in range(3 + needed - 1)]
    said = outboxd("check", "-c", one.config_path).stdout
    assert f"outboxd run needs {needed} connections to the database, and CONNECTION LIMIT of database {database.name} leaves 1: some pipelines" in said, said
    for connection in held:
        connection.close()
