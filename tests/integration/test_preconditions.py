"""What must hold, broken by an administrator: said loudly with its remedy, which mends it, at start, while running and in `check`.

Each case: what the administrator does, what is wrong by then (the code), and what takes it back at the end should the remedy not do so.
The remedy is read from what the relay says, and run as it is printed.
"""

import re

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from conftest import CAPTURES, soak
from support.common import eventually, stays_true
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import OWNER, RELAY, SUPERUSER
from support.relay import outboxd
from support.trial import Trial

pytestmark = pytest.mark.by_turns

INTERVAL = 0.4      # monitor.interval of these relays
MARGIN = 4.0        # for a machine that is busy: no more than this later, readiness says so

# name: (what is done, code, captures, pipeline options)
BOTH = ("poll", "wal")
CASES = {
    "row security": ("ALTER TABLE outbox.event ENABLE ROW LEVEL SECURITY", "ROW_SECURITY", BOTH, {}),
    "row security with a policy that shows all": (
        f"CREATE POLICY p ON outbox.event FOR ALL TO {RELAY} USING (true); ALTER TABLE outbox.event ENABLE ROW LEVEL SECURITY",
        "ROW_SECURITY", BOTH, {}),
    "row security of the position": ("ALTER TABLE outbox.position ENABLE ROW LEVEL SECURITY", "ROW_SECURITY", BOTH, {}),
    "row security of the dead letters": ("ALTER TABLE outbox.dead_letter ENABLE ROW LEVEL SECURITY", "DEAD_LETTER_SECURITY", BOTH,
                                         {"on_poison": "dead_letter"}),
    "no SELECT": ("REVOKE SELECT ON outbox.event FROM outbox_relay", "RIGHT_SELECT", BOTH, {}),
    "SELECT of some columns": (
        "REVOKE SELECT ON outbox.event FROM outbox_relay; GRANT SELECT (seq, event_id, event_type, published_at, payload) ON outbox.event "
        "TO outbox_relay", "RIGHT_SELECT", BOTH, {}),
    "no UPDATE": ("REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay", "RIGHT_UPDATE", BOTH, {}),
    "no DELETE": ("REVOKE DELETE ON outbox.event FROM outbox_relay", "RIGHT_DELETE", BOTH, {"on_publish": "delete"}),
    "no DELETE to prune": ("REVOKE DELETE ON outbox.event FROM outbox_relay", "RIGHT_DELETE", BOTH, {"retain": "7d"}),
    "no INSERT of dead letters": ("REVOKE INSERT ON outbox.dead_letter FROM outbox_relay", "RIGHT_INSERT", BOTH,
                                  {"on_poison": "dead_letter"}),
    "no dead letters at all": ("DROP TABLE outbox.dead_letter", "NO_DEAD_LETTER_TABLE", BOTH, {"on_unrouted": "dead_letter"}),
    "no USAGE": ("REVOKE USAGE ON SCHEMA outbox FROM outbox_relay", "RIGHT_USAGE", BOTH, {}),
    "no membership": (f"REVOKE outbox_relay FROM {RELAY}", "RIGHT_USAGE", BOTH, {}),
    "membership without its rights": (f"ALTER ROLE {RELAY} NOINHERIT", "RIGHT_USAGE", BOTH, {}),
    "no position": ("REVOKE UPDATE ON outbox.position FROM outbox_relay", "RIGHT_POSITION", ("wal",), {}),
    "no publisher": ("REVOKE UPDATE ON outbox.publisher FROM outbox_relay", "RIGHT_PUBLISHER", ("poll",), {}),
    "published_at has a default": ("ALTER TABLE outbox.event ALTER published_at SET DEFAULT now()", "PUBLISHED_BY_DEFAULT", BOTH, {}),
    "a number that may be missing": (
        "ALTER TABLE outbox.event ALTER seq DROP IDENTITY; CREATE SEQUENCE outbox.numbers START 1000; GRANT USAGE ON SEQUENCE outbox.numbers TO PUBLIC; "
        "ALTER TABLE outbox.event DROP CONSTRAINT event_pkey, ALTER seq SET DEFAULT nextval('outbox.numbers'), ALTER seq DROP NOT NULL; "
        "CREATE UNIQUE INDEX ON outbox.event (seq)", "SEQ_NULLABLE", BOTH, {}),
    "a sequence with a cache": ("ALTER TABLE outbox.event ALTER seq SET CACHE 20", "SEQUENCE_CACHE", ("poll",), {}),
    "a sequence that cycles": ("ALTER TABLE outbox.event ALTER seq SET CYCLE", "SEQUENCE_DESCENDS", ("poll",), {}),
    "a rule that discards marks": ("CREATE RULE stay AS ON UPDATE TO outbox.event DO INSTEAD NOTHING", "TABLE_RULE", BOTH, {}),
    "a rule that does more": ("CREATE TABLE outbox.audit (seq bigint); GRANT INSERT ON outbox.audit TO PUBLIC; CREATE RULE audit AS ON UPDATE TO outbox.event "
                              "DO ALSO INSERT INTO outbox.audit VALUES (NEW.seq)", "TABLE_RULE", ("wal",), {}),
    "a rule that discards deletes": ("CREATE RULE stay AS ON DELETE TO outbox.event DO INSTEAD NOTHING", "TABLE_RULE", BOTH, {"on_publish": "delete"}),
    "unlogged": ("DROP PUBLICATION outboxd_orders; ALTER TABLE outbox.event SET UNLOGGED", "TABLE_UNLOGGED", ("poll",), {}),
    "a publication of updates without identity": (
        "CREATE PUBLICATION other FOR TABLE outbox.event; ALTER TABLE outbox.event REPLICA IDENTITY NOTHING", "PUBLICATION_IDENTITY",
        BOTH, {}),
    "not in the publication": ("ALTER PUBLICATION outboxd_orders DROP TABLE outbox.event", "PUBLICATION_INCOMPLETE", ("wal",), {}),
    "no inserts in the publication": ("ALTER PUBLICATION outboxd_orders SET (publish = 'truncate')", "PUBLICATION_INCOMPLETE", ("wal",),
                                      {}),
    "a row filter": ("ALTER PUBLICATION outboxd_orders SET TABLE outbox.event WHERE (aggregate_type = 'x')", "PUBLICATION_INCOMPLETE",
                     ("wal",), {}),
    "a column list": ("ALTER PUBLICATION outboxd_orders SET TABLE outbox.event (seq, event_id)", "PUBLICATION_INCOMPLETE", ("wal",), {}),
    "no publication": ("DROP PUBLICATION outboxd_orders", "PUBLICATION_MISSING", ("wal",), {}),
    "a child outside the publication": ("CREATE TABLE public.kid () INHERITS (outbox.event)", "PUBLICATION_PART", ("wal",), {}),
}
# What is inserted meanwhile is not in the stream: how that comes back is in test_wal_publication.py. Rows with a default do not wait.
QUIET = {"not in the publication", "no inserts in the publication", "a row filter", "a column list", "no publication",
         "published_at has a default", "a child outside the publication", "a publication of updates without identity"}
# Made again, it is younger than the slot's position, which no remedy of one line mends: test_wal_publication.py.
NOT_MENDED = {"no publication"}

# Rows of the list of trials: always by both captures, both ways.
TRIALS = {"row security", "no UPDATE", "no DELETE"}


def runs(turn, *without, each_code_once=False):
    """The cases. Of those that are no trial, quick by one of the captures: by turns, and by the other one in the other test."""
    cases, seen = [], set()
    for place, (name, (_, code, captures, _)) in enumerate(CASES.items()):
        for capture in captures if name not in without else ():
            quick = name in TRIALS or (capture == captures[(place + turn) % len(captures)] and not (each_code_once and code in seen))
            cases.append((pytest.param if quick else soak)(*(capture, name), id=f"{name}-{capture}"))
        seen.add(code)
    return cases


# A publication that is made again mends nothing where anything was written meanwhile, also by the relay: test_wal_publication.py has the rest.
# While the relay runs, only an event that needs a dead letter waits for one: test_held_rows.py.
# What a running relay does about a code is the same for all that have it; that each is found is in the other test.
MENDED = runs(0, "no publication", "no INSERT of dead letters", "no dead letters at all", "row security of the dead letters", each_code_once=True)
RUNS = runs(1)


def statements(hint):
    """The SQL of a remedy: its first way, up to the last semicolon."""
    way = hint.removeprefix("an administrator runs: ").split("; or ")[0] + ";"
    sql = way[:way.rindex(";") + 1]
    return re.sub(r";+", ";", re.sub(r"; (and|then) [^;]*;?$", ";", sql))


@pytest.fixture
def ground(database, wal):
    """The database with the roles as they are meant to be, again at the end: they are the whole server's."""
    database.execute("GRANT TEMP ON DATABASE \"" + database.name + "\" TO PUBLIC")
    yield database
    database.execute(f"ALTER ROLE {RELAY} INHERIT NOBYPASSRLS; GRANT outbox_relay TO {RELAY}", user=SUPERUSER)


@pytest.fixture
def setup(ground, relay, kafka, prefix):
    """setup(capture, name) -> a relay, not started; its topic is there."""
    kafka.create_topic(f"{prefix}.order")

    def make(capture, options):
        return relay({**CAPTURES[capture], **options}, monitor={"interval": f"{INTERVAL * 1000:g}ms"})
    return make


def mend(database, one, name):
    """Runs the remedy that the relay shows, word for word."""
    hint = one.status()["pipelines"][0]["error"]["hint"]
    sql = statements(hint)
    assert re.match(r"(ALTER|GRANT|CREATE|UPDATE|DROP) ", sql), hint
    database.execute(sql, user=SUPERUSER)
    return sql


def remedy_by_command(database):
    """`outboxd migrate` does not make again what somebody dropped: here it is made by hand."""
    database.execute("CREATE TABLE outbox.dead_letter (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, pipeline text NOT NULL, seq bigint, "
                     "event_id text, event jsonb, topic text, record_key bytea, record_value bytea, record_headers jsonb, "
                     "record_timestamp timestamptz, reason text NOT NULL, error_class text, error_code text, "
                     "at timestamptz NOT NULL DEFAULT clock_timestamp(), attempts integer NOT NULL DEFAULT 1); "
                     "GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.dead_letter TO outbox_relay")
    return "CREATE TABLE outbox.dead_letter"


@pytest.mark.parametrize("capture, name", MENDED)
def test_broken_while_running_is_loud_and_the_remedy_mends_it(setup, ground, kafka, prefix, capture, name):
    done, code, _, options = CASES[name]
    one = setup(capture, options).start()
    trial = Trial(ground, one)
    trial.emit(20)
    one.wait_published(20)
    eventually(lambda: one.metric("unmarked_events") == 0, what="all marked")
    ground.execute(done, user=SUPERUSER)
    if name not in QUIET:
        trial.emit(20, user=SUPERUSER)
    reason = one.wait_not_ready(code, INTERVAL + MARGIN)
    assert "remedy: " in reason
    eventually(lambda: one.metric("precondition_broken", code=code) == 1, what="the metric says so")
    eventually(lambda: one.metric("inflight_events") == 0, what="what was under way is settled")
    published = one.published()
    stays_true(lambda: one.running() and one.published() == published and not one.ready()[0], 0.7)
    assert len(one.log_lines(f"code={code} ")) == 1, one.log_tail()
    assert one.log_lines(f"code={code} .*hint=")
    if name in NOT_MENDED:
        return
    mend(ground, one, name)
    one.wait_ready(INTERVAL + MARGIN)
    assert one.log_lines(f"PRECONDITION_MENDED .*was={code}"), one.log_tail()
    trial.emit(20, user=SUPERUSER)
    wait_for_records(kafka.brokers, f"{prefix}.order", 40 if name in QUIET else 60)
    eventually(lambda: one.metric("unmarked_events") == 0, what=lambda: "all marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, f"{prefix}.order")).assert_none_lost(duplicates=0)
    assert one.metric("precondition_broken") == 0 and one.starts == 1
    one.stop()


@pytest.mark.parametrize("capture, name", RUNS)
def test_broken_at_the_start_nothing_is_published_and_check_says_the_same(setup, ground, kafka, prefix, capture, name):
    done, code, _, options = CASES[name]
    one = setup(capture, options)
    trial = Trial(ground, one)
    trial.emit(10)
    ground.execute(done, user=SUPERUSER)
    one.start(wait_ready=False)
    assert one.wait_exit() == 2, one.log_tail()
    line = one.log_lines(f"level=error .*code={code} |error .*code={code} ")
    assert len(line) == 1, one.log_tail()
    assert read_topics(kafka.brokers, f"{prefix}.order") == []
    checked = outboxd("check", "-c", one.config_path, expect=2).stdout
    message = re.search(r'msg="((?:[^"\\]|\\.)*?); this pipeline stops"', line[0]).group(1).replace('\\"', '"')
    assert message in checked, f"{message}\n{checked}"
    hint = re.search(r'hint="((?:[^"\\]|\\.)*)"', line[0]).group(1).replace('\\"', '"')
    assert f"remedy: {hint}" in checked, f"{hint}\n{checked}"
    if name == "no dead letters at all":  # its remedy is a command
        remedy_by_command(ground)
    else:
        ground.execute(statements(hint), user=SUPERUSER)
    outboxd("check", "-c", one.config_path, expect=0)
    one.start()
    wait_for_records(kafka.brokers, f"{prefix}.order", 10)
    eventually(lambda: one.metric("unmarked_events") == 0, what="all marked")
    trial.result(read_topics(kafka.brokers, f"{prefix}.order")).assert_none_lost(duplicates=0)
    one.stop()


@pytest.mark.parametrize("capture", BOTH)
def test_broken_and_mended_with_events_in_flight_and_the_http_server_off(ground, relay, kafka, prefix, capture):
    """UPDATE is revoked while marks are under way: what is published and not marked stays known (trial 1.22)."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay(CAPTURES[capture], monitor={"interval": "500ms", "listen": "off"})
    one.start(wait_ready=False)
    trial = Trial(ground, [])
    trial.emit(10)
    wait_for_records(kafka.brokers, topic, 10)
    ground.execute("REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay", user=SUPERUSER)
    for _ in range(5):
        trial.emit(10)
    one.wait_log("code=RIGHT_UPDATE ")
    stays_true(one.running, 1.5)
    ground.execute("GRANT UPDATE (published_at) ON outbox.event TO outbox_relay", user=SUPERUSER)
    wait_for_records(kafka.brokers, topic, 60)
    eventually(lambda: ground.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0,
               what=lambda: "all marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
    one.stop()


@pytest.mark.parametrize("capture", BOTH)
def test_a_standby_takes_over_only_when_all_is_well(ground, relay, kafka, prefix, capture):
    """What broke while it stood by does not end it: it waits, and takes over once it is mended."""
    topic = kafka.create_topic(f"{prefix}.order")
    first = relay(CAPTURES[capture], monitor={"interval": "500ms"}).start()
    second = relay(CAPTURES[capture], monitor={"interval": "500ms"}).start()
    trial = Trial(ground, [first, second])
    trial.emit(10)
    wait_for_records(kafka.brokers, topic, 10)
    eventually(lambda: first.metric("unmarked_events") == 0, what="all marked")
    ground.execute("REVOKE UPDATE (published_at) ON outbox.event FROM outbox_relay", user=SUPERUSER)
    first.wait_not_ready("RIGHT_UPDATE")
    second.wait_not_ready("RIGHT_UPDATE")
    first.stop(expect=None)
    trial.emit(10)
    stays_true(lambda: second.running() and second.published() == 0, 2)
    ground.execute("GRANT UPDATE (published_at) ON outbox.event TO outbox_relay", user=SUPERUSER)
    wait_for_records(kafka.brokers, topic, 20)
    second.wait_ready()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
    second.stop()


# What a change to a partition, or to a table that is none, breaks.

PARTITIONED = """CREATE SCHEMA parts; CREATE SEQUENCE parts.numbers;
    CREATE TABLE parts.event (LIKE outbox.event INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at);
    ALTER TABLE parts.event ALTER seq SET DEFAULT nextval('parts.numbers');
    CREATE TABLE parts.event_1 PARTITION OF parts.event FOR VALUES FROM ('2020-01-01') TO ('2099-01-01');
    CREATE INDEX ON parts.event (seq) WHERE published_at IS NULL;
    GRANT USAGE ON SCHEMA parts TO shop_relay; GRANT SELECT, UPDATE (published_at), DELETE ON parts.event TO shop_relay"""
KINDS = {
    "an unlogged partition": ("CREATE UNLOGGED TABLE parts.event_2 PARTITION OF parts.event FOR VALUES FROM ('2099-01-01') TO ('2100-01-01')",
                              "TABLE_UNLOGGED"),
    "a foreign partition": ("CREATE EXTENSION postgres_fdw; CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw; CREATE FOREIGN TABLE "
                            "parts.event_2 PARTITION OF parts.event FOR VALUES FROM ('2099-01-01') TO ('2100-01-01') SERVER away",
                            "TABLE_FOREIGN_PART"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("capture", BOTH)
def test_a_partition_that_cannot_be_published(setup, ground, capture, name):
    done, code = KINDS[name]
    ground.execute(PARTITIONED)
    ground.execute("ALTER PUBLICATION outboxd_orders ADD TABLE parts.event", user=SUPERUSER)
    one = setup(capture, {"table": "parts.event"}).start()
    ground.execute(done, user=SUPERUSER)
    one.wait_not_ready(code, INTERVAL + MARGIN)
    ground.execute(statements(one.status()["pipelines"][0]["error"]["hint"]), user=SUPERUSER)
    one.wait_ready(INTERVAL + MARGIN)
    one.stop()


@pytest.mark.parametrize("capture", BOTH)
@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_what_is_no_table_is_refused(setup, ground, capture, kind):
    ground.execute(f"CREATE {kind} outbox.looks AS SELECT * FROM outbox.event; GRANT SELECT ON outbox.looks TO outbox_relay")
    one = setup(capture, {"table": "outbox.looks"}).start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines("code=TABLE_KIND "), one.log_tail()


def test_row_security_of_a_partition_hides_nothing(setup, ground, kafka, prefix):
    """Its policies apply to who names the partition itself; the relay reads through the root."""
    ground.execute(PARTITIONED)
    one = setup("poll", {"table": "parts.event"}).start()
    ground.execute("ALTER TABLE parts.event_1 ENABLE ROW LEVEL SECURITY")
    ground.execute("INSERT INTO parts.event (event_type, aggregate_type, aggregate_id, occurred_at, event_version) "
                   "VALUES ('placed', 'order', 'k', now(), 1)")
    wait_for_records(kafka.brokers, f"{prefix}.order", 1)
    assert one.ready()[0]
    one.stop()


# The right to replicate.

def test_the_right_to_replicate_is_asked_where_it_is_used(setup, ground, kafka, prefix):
    ground.server.execute(f"ALTER ROLE {RELAY} NOREPLICATION")
    try:
        one = setup("wal", {}).start(wait_ready=False)
        assert one.wait_exit() == 2
        assert one.log_lines('code=NO_REPLICATION .*hint=.*ALTER ROLE .*shop_relay.* REPLICATION; .*GRANT rds_replication TO'), one.log_tail()
        text = outboxd("check", "-c", one.config_path, expect=2).stdout
        assert "lacks REPLICATION" in text and "GRANT rds_replication TO" in text
    finally:
        ground.server.execute(f"ALTER ROLE {RELAY} REPLICATION")
    outboxd("check", "-c", one.config_path, expect=0)
    one.start()
    one.stop()


def test_no_free_wal_sender_is_waited_for(setup, ground):
    """It is not the right that is missing, and a place may become free."""
    taken = [psycopg2.connect(ground.server.dsn(ground.name, SUPERUSER), connection_factory=LogicalReplicationConnection)
             for _ in range(10)]
    try:
        one = setup("wal", {}).start(wait_ready=False)
        one.wait_not_ready("NO_WAL_SENDER")
        text = outboxd("check", "-c", one.config_path, expect=2).stdout
        assert "all 10 connections that max_wal_senders allows are in use" in text
    finally:
        for connection in taken:
            connection.close()
    one.wait_ready()
    one.stop()


# Warnings.

def test_a_slot_that_nobody_reads_is_said_of_a_pipeline_that_polls(setup, ground):
    """wal -> poll, and the slot was forgotten (trial 1.25)."""
    ground.server.execute("SELECT pg_create_logical_replication_slot('outboxd_orders', 'pgoutput')", dbname=ground.name)
    one = setup("poll", {}).start()
    one.wait_log(r"code=SLOT_LEFT_OVER .*retains .* of WAL.*SELECT pg_drop_replication_slot\('outboxd_orders'\);")
    text = outboxd("check", "-c", one.config_path, expect=0).stdout
    assert "remedy: SELECT pg_drop_replication_slot('outboxd_orders');" in text
    assert one.ready()[0], "a warning stops nothing"
    ground.execute("SELECT pg_drop_replication_slot('outboxd_orders')", user=SUPERUSER)
    assert "SLOT_LEFT_OVER" not in outboxd("check", "-c", one.config_path, expect=0).stdout
    stays_true(lambda: len(one.log_lines("SLOT_LEFT_OVER")) == 1, 1.5)
    one.stop()


@pytest.mark.parametrize("done, code", [
    ("ALTER TABLE outbox.event ALTER seq DROP IDENTITY", "is not numbered by the INSERT itself"),
    ("ALTER TABLE outbox.event ALTER seq SET INCREMENT 50", "INCREMENT 50"),
    ("ALTER TABLE outbox.event ALTER seq DROP IDENTITY; CREATE SEQUENCE outbox.orm_seq OWNED BY outbox.event.seq", "is not numbered by the INSERT itself"),
])
def test_check_warns_of_numbers_that_the_insert_does_not_draw(setup, ground, done, code):
    """An ORM draws them before it flushes: the order of a key is then not that of the numbers (trial 1.12)."""
    ground.execute(done, user=OWNER)
    one = setup("poll", {})
    text = outboxd("check", "-c", one.config_path, expect=0).stdout
    assert code in text and 'capture = "wal"' in text
    outboxd("check", "-c", setup("wal", {}).config_path, expect=0)
    text = outboxd("check", "-c", setup("wal", {}).config_path, expect=0).stdout
    assert code in text and "those from before the slot" in text, "with the log it concerns the rows that are read from the table"


def test_a_generated_column_is_refused_where_the_log_does_not_hold_it(setup, ground, kafka, prefix):
    ground.execute("ALTER TABLE outbox.event ADD tenant text GENERATED ALWAYS AS ('t-' || aggregate_id) STORED")
    one = setup("wal", {"header_columns": ["tenant"]}).start(wait_ready=False)
    assert one.wait_exit() == 2
    assert one.log_lines('code=COLUMN_GENERATED .*tenant.*capture = .*poll'), one.log_tail()
    two = setup("poll", {"header_columns": ["tenant"]}).start()
    Trial(ground).emit(1)
    assert headers_of(wait_for_records(kafka.brokers, f"{prefix}.order", 1)[0])["tenant"] == "t-0"
    two.stop()


@pytest.mark.parametrize("capture", BOTH)
def test_a_role_that_is_set_for_the_relays_sessions_is_named_and_nobody_else_gets_its_rights(setup, ground, postgres, kafka, prefix, capture):
    """ALTER ROLE ... SET role: to grant the relay's rights to that role would open the outbox to everybody who has it."""
    one = setup(capture, {}).start()
    trial = Trial(ground, one)
    trial.emit(10)
    eventually(lambda: one.metric("unmarked_events") == 0 and one.published() == 10, what="all marked")
    try:
        ground.execute(f"GRANT outbox_writer TO {RELAY}; ALTER ROLE {RELAY} SET role = 'outbox_writer'", user=SUPERUSER)
        end_sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{RELAY}'"
        postgres.execute(end_sessions)
        one.wait_not_ready("RIGHT_")
        hint = one.status()["pipelines"][0]["error"]["hint"]
        assert hint.startswith(f"ALTER ROLE {RELAY} RESET role; ") and "GRANT" not in hint, hint
        trial.emit(10)
        ground.execute(hint, user=SUPERUSER)
        one.wait_ready()
    finally:
        ground.execute(f"ALTER ROLE {RELAY} RESET role; REVOKE outbox_writer FROM {RELAY}", user=SUPERUSER)
    wait_for_records(kafka.brokers, f"{prefix}.order", 20)
    eventually(lambda: one.metric("unmarked_events") == 0, what=lambda: "all marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, f"{prefix}.order")).assert_none_lost(duplicates=0)
