"""Nobody's code runs as ours: traps for what our statements name, on every search_path that our sessions are given, and nothing falls into them.

The traps are made by the application's role, in a schema of its own and in `public`: functions and operators with the arguments of
PostgreSQL's own, types that check what is cast to them, views in place of the catalog. The database, the relay's role and the owner have
a default path that finds them before pg_catalog. Each says in the server's log who fell into it, which no rollback takes back.
"""

import functools
import glob
import json
import os
import re

import pytest

from conftest import CAPTURES
from support.common import eventually
from support.consume import wait_for_records
from support.postgres import APP, OWNER, RELAY, SUPERUSER
from support.relay import ROOT, configuration, migrate, outboxd, write_configuration
from support.wal import Wal

PATH = "evil, public, pg_catalog"
UNPUBLISHED = "SELECT count(*) FROM {} WHERE published_at IS NULL"

MAKE = """
DO $do$
DECLARE f record; made integer := 0; body text;
BEGIN
    FOR f IN
        SELECT p.proname, n.schema, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, p.proretset
        FROM pg_proc p CROSS JOIN (VALUES ('evil'), ('public')) AS n(schema)
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a') AND p.proname = ANY (%(functions)s)
        UNION ALL SELECT 'format', s, a, 'text', false FROM unnest(ARRAY['evil', 'public']) AS s,
            unnest(ARRAY['text, text', 'text, name', 'text, name, name', 'text, text, text', 'text, text, name', 'text, name, text']) AS a
    LOOP
        body := format('BEGIN RAISE LOG ''TRAP %%%% by %%%%'', %%L, current_user; RETURN%%s; END', f.schema || '.' || f.proname,
                       CASE WHEN f.proretset OR f.result = 'void' OR f.result ~ '^record|^TABLE' THEN '' ELSE ' NULL' END);
        BEGIN
            EXECUTE format('CREATE FUNCTION %%I.%%I(%%s) RETURNS %%s LANGUAGE plpgsql SET search_path = pg_catalog AS %%L', f.schema, f.proname,
                           f.arguments, f.result, body);
            made := made + 1;
        EXCEPTION WHEN feature_not_supported OR invalid_function_definition OR undefined_function OR syntax_error OR duplicate_function THEN
            NULL;   -- of pseudo-types, which no language but C may have
        END;
    END LOOP;
    FOR f IN
        SELECT o.oid, o.oprname, n.schema, format_type(nullif(o.oprleft, 0), NULL) AS l, format_type(o.oprright, NULL) AS r,
               format_type(o.oprresult, NULL) AS result
        FROM pg_operator o CROSS JOIN (VALUES ('evil'), ('public')) AS n(schema)
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprname = ANY (%(operators)s)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION %%I.trap_%%s(%%s) RETURNS %%s LANGUAGE plpgsql SET search_path = pg_catalog AS %%L', f.schema, f.oid,
                           concat_ws(', ', f.l, f.r), f.result,
                           format('BEGIN RAISE LOG ''TRAP %%%% by %%%%'', %%L, current_user; RETURN NULL; END', f.schema || ' ' || f.oprname));
            EXECUTE format('CREATE OPERATOR %%I.%%s (%%s RIGHTARG = %%s, FUNCTION = %%I.trap_%%s)', f.schema, f.oprname,
                           'LEFTARG = ' || f.l || ',', f.r, f.schema, f.oid);
            made := made + 1;
        EXCEPTION WHEN feature_not_supported OR invalid_function_definition OR undefined_function OR syntax_error THEN
            NULL;
        END;
    END LOOP;
    FOR f IN SELECT t.typname, n.schema FROM pg_type t CROSS JOIN (VALUES ('evil'), ('public')) AS n(schema)
             WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typname = ANY (%(types)s)
    LOOP
        EXECUTE format('CREATE DOMAIN %%I.%%I AS pg_catalog.%%I CHECK (evil.caught(%%L))', f.schema, f.typname, f.typname, 'type ' || f.typname);
        made := made + 1;
    END LOOP;
    FOR f IN SELECT c.relname, n.schema, (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND (a.attnum > 0 OR a.attname = 'oid') AND a.atttypid <> 'anyarray'::regtype) AS columns
             FROM pg_class c CROSS JOIN (VALUES ('evil'), ('public')) AS n(schema)
             WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname = ANY (%(relations)s)
    LOOP
        BEGIN
            EXECUTE format('CREATE VIEW %%I.%%I AS SELECT %%s FROM pg_catalog.%%I WHERE evil.caught(%%L)', f.schema, f.relname, f.columns,
                           f.relname, f.relname);
            EXECUTE format('GRANT SELECT ON %%I.%%I TO PUBLIC', f.schema, f.relname);
            made := made + 1;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
    END LOOP;
    CREATE FUNCTION evil.made() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 0; END';
    EXECUTE format('CREATE OR REPLACE FUNCTION evil.made() RETURNS integer LANGUAGE plpgsql AS ''BEGIN RETURN %%s; END''', made);
END $do$
"""

CAUGHT = """
CREATE FUNCTION evil.caught(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS
$$ BEGIN RAISE LOG 'TRAP % by %', what, current_user; RETURN true; END $$
"""

OPERATORS = ["=", "<>", "<", ">", "<=", ">=", "||", "->", "->>", "+", "-", "*", "/", "&&", "@>", "~", "!~", "~~", "!~~", "#>>", "%", "&", "?"]


@functools.cache
def words_of_our_statements():
    """Every word of the sources: what of them is a name of PostgreSQL's, the catalog tells."""
    text = ""
    for pattern in ("relay/**/*.c", "cdc/*.c", "relay/**/*.h", "cdc/*.h", "sql/*.sql"):
        for path in glob.glob(os.path.join(ROOT, pattern), recursive=True):
            with open(path, encoding="utf-8") as f:
                text += f.read()
    return sorted(set(re.findall(r"\b[a-z][a-z0-9_]+\b", text)))


@pytest.fixture
def clean_path(monkeypatch):
    """The test's own sessions are no prey."""
    monkeypatch.setenv("PGOPTIONS", "-csearch_path=pg_catalog")


def make_traps(database):
    database.execute(f"CREATE SCHEMA evil AUTHORIZATION {APP}; GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT CREATE ON SCHEMA public TO {APP}", user=SUPERUSER)
    words = words_of_our_statements()
    database.execute(CAUGHT, user=APP)
    database.execute(MAKE, {"functions": words, "operators": OPERATORS, "relations": words,
                            "types": ["text", "oid", "regclass", "uuid", "jsonb", "timestamptz", "xid", "name", "bytea", "pg_lsn", "int8"]}, user=APP)
    assert database.scalar("SELECT evil.made()") > 1000


def set_traps(database):
    """Paths that find them, and what tells who fell into one since."""
    database.execute(f'ALTER DATABASE "{database.name}" SET search_path = {PATH}', user=SUPERUSER)
    for role in (RELAY, OWNER):
        database.execute(f'ALTER ROLE {role} IN DATABASE "{database.name}" SET search_path = {PATH}', user=SUPERUSER)

    def fallen():
        with open(database.server.log_path, encoding="utf-8", errors="replace") as f:
            return [line for line in f if f" {database.name} " in line and "TRAP " in line]
    return fallen


@pytest.fixture(scope="module")
def traps(postgres, migrated_template):
    """A migrated database with traps, to be copied: to make them takes half a second."""
    database = postgres.fresh_database("traps", template=migrated_template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGOPTIONS", "-csearch_path=pg_catalog")
        make_traps(database)
    yield database.name
    database.drop()


@pytest.fixture
def trapped(clean_path, postgres, traps):
    """A database with traps, and what tells who fell into one."""
    database = postgres.fresh_database("trapped", template=traps)
    yield database, set_traps(database)
    database.drop()


def unpinned(database, sql, user=RELAY):
    """A session with the path that the database gives it."""
    connection = database.connect(user)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


STATEMENTS = ["SELECT quote_ident('a'::pg_catalog.name)", "SELECT pg_catalog.now() = pg_catalog.now()", "SELECT relname FROM pg_class", "SELECT 'a'::text",
              "SELECT pg_current_wal_insert_lsn()", "SELECT to_regclass('x')"]


@pytest.mark.xdist_group("traps")
def test_the_traps_catch_who_does_not_pin_its_path(trapped, monkeypatch):
    database, fallen = trapped
    monkeypatch.delenv("PGOPTIONS")
    before = 0
    for statement in STATEMENTS:
        unpinned(database, statement)
        lines = eventually(lambda before=before: fallen()[before:], what=lambda statement=statement: f"the trap is noted: {statement}")
        assert all(f"by {RELAY}" in line for line in lines), lines
        before = len(fallen())


def adopted(database):
    """A table of the application's, in its own schema, with an extension's type beside it."""
    database.execute(f"""
        CREATE TYPE evil.kind AS ENUM ('order', 'payment');
        CREATE TABLE evil.event (LIKE outbox.event INCLUDING DEFAULTS INCLUDING IDENTITY);
        ALTER TABLE evil.event ALTER aggregate_type TYPE evil.kind USING aggregate_type::evil.kind;
        CREATE UNIQUE INDEX ON evil.event (seq);
        CREATE INDEX ON evil.event (seq) WHERE published_at IS NULL;
        ALTER TABLE evil.event OWNER TO {OWNER};
        GRANT SELECT, INSERT, UPDATE, DELETE ON evil.event TO outbox_relay, {APP};""", user=SUPERUSER)


def insert(database, table, key, kind="order"):
    database.execute(f"INSERT INTO {table} (event_type, aggregate_type, aggregate_id, payload) VALUES ('order.placed', '{kind}', %s, '{{}}')",
                     (key,), user=APP if table == "evil.event" else SUPERUSER)


@pytest.mark.parametrize("capture, on_publish, table", [
    ("poll", "mark", "outbox.event"), ("poll", "delete", "evil.event"), ("wal", "mark", "evil.event"), ("wal", "delete", "outbox.event"),
    ("wal", "keep", "outbox.event")])
@pytest.mark.slow
@pytest.mark.xdist_group("traps")
def test_no_command_falls_into_a_trap(relay, kafka, prefix, trapped, capture, on_publish, table):
    topic = kafka.create_topic(f"{prefix}.order")
    database, fallen = trapped
    if table == "evil.event":
        adopted(database)
    if capture == "wal":
        Wal(database, table=table) if table != "outbox.event" else Wal(database)
    one = relay({**CAPTURES[capture], "table": table, "on_publish": on_publish, "topic": "", "on_unrouted": "dead_letter",
                 "retain": "1h" if on_publish == "mark" else None, "routes": [{"aggregate_type": "order", "topic": topic}]}, dsn=database.dsn())
    insert(database, table, "before")
    assert outboxd("check", "-c", one.config_path).returncode == 0
    one.start()
    for n in range(30):
        insert(database, table, f"k{n % 3}")
    insert(database, table, "aside", kind="payment")
    insert(database, table, "aside too", kind="payment")
    wait_for_records(kafka.brokers, topic, 31)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 2, what="two are set aside")
    if on_publish != "keep":
        eventually(lambda: database.scalar(UNPUBLISHED.format(table)) == 0, what=lambda: f"all are marked\n{one.log_tail()}")
    outboxd("status", "-c", one.config_path, expect=0)
    letters = json.loads(outboxd("dead", "list", "-c", one.config_path, "--json", expect=0).stdout)["dead_letters"]
    first, second = (str(letter["id"]) for letter in letters)
    outboxd("dead", "show", "-c", one.config_path, first, expect=0)
    outboxd("dead", "discard", "-c", one.config_path, "--yes", first, expect=0)
    outboxd("dead", "requeue", "-c", one.config_path, second, expect=0)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="it is set aside again")
    outboxd("pause", "-c", one.config_path, "--reason", "looking", expect=0)
    outboxd("resume", "-c", one.config_path, expect=0)
    insert(database, table, "after")
    wait_for_records(kafka.brokers, topic, 32)
    one.stop()
    assert "no relay answers" in outboxd("status", "-c", one.config_path, expect=70).stdout
    assert not fallen()


# name: (what fires, for which on_publish it is named)
FIRES = {
    "update": ("CREATE TRIGGER audit BEFORE UPDATE ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit()", {"mark"}),
    "update of the column": ("CREATE TRIGGER audit AFTER UPDATE OF published_at ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit()", {"mark"}),
    "update of another column": ("CREATE TRIGGER audit AFTER UPDATE OF topic ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit()", set()),
    "delete": ("CREATE TRIGGER audit AFTER DELETE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION app.audit()", {"delete"}),
    "insert": ("CREATE TRIGGER audit AFTER INSERT ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit()", set()),
    "disabled": ("CREATE TRIGGER audit BEFORE UPDATE OR DELETE ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit(); "
                 "ALTER TABLE public.events DISABLE TRIGGER audit", set()),
    "a partition's row": ("CREATE TRIGGER audit AFTER UPDATE OR DELETE ON public.events_all FOR EACH ROW EXECUTE FUNCTION app.audit()",
                          {"mark", "delete"}),
    "a partition's statement": ("CREATE TRIGGER audit AFTER UPDATE OR DELETE ON public.events_all FOR EACH STATEMENT EXECUTE FUNCTION app.audit()",
                                set()),
    "a check": ("ALTER TABLE public.events ADD CONSTRAINT sound CHECK (app.sound(topic))", {"mark"}),
    "an index": ("CREATE INDEX sound ON public.events (app.sound(topic))", {"mark"}),
    "with a path": ("CREATE TRIGGER audit BEFORE UPDATE OR DELETE ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit_by_path()", set()),
}


@pytest.fixture
def fired(database, prefix, kafka):
    """A partitioned table, and functions of the application's that find what they name by the caller's path."""
    kafka.create_topic(f"{prefix}.order")
    database.execute(f"""
        CREATE SCHEMA app AUTHORIZATION {APP};
        GRANT USAGE ON SCHEMA app TO PUBLIC;
        CREATE TABLE public.events (LIKE outbox.event INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (seq);
        CREATE SEQUENCE public.events_seq;
        ALTER TABLE public.events ALTER seq DROP IDENTITY IF EXISTS, ALTER seq SET DEFAULT nextval('public.events_seq');
        CREATE TABLE public.events_all PARTITION OF public.events DEFAULT;
        CREATE UNIQUE INDEX ON public.events (seq);
        CREATE INDEX ON public.events (seq) WHERE published_at IS NULL;
        ALTER TABLE public.events OWNER TO {OWNER};
        GRANT SELECT, UPDATE, DELETE ON public.events TO outbox_relay""", user=SUPERUSER)
    database.execute("""
        CREATE TABLE app.fired (by text);
        GRANT INSERT ON app.fired TO PUBLIC;
        CREATE FUNCTION app.audit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO fired VALUES (current_user); IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;
        CREATE FUNCTION app.audit_by_path() RETURNS trigger LANGUAGE plpgsql SET search_path = app AS 'BEGIN RETURN NULL; END';
        CREATE FUNCTION app.sound(t text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'""", user=APP)
    return database


def said_by_check(one, code=0):
    return outboxd("check", "-c", one.config_path, expect=code).stdout


@pytest.mark.parametrize("on_publish", ["mark", "delete", "keep"])
def test_functions_that_have_no_path_are_named_with_their_remedy(relay, fired, on_publish):
    options = {"table": "public.events", "on_publish": on_publish}
    if on_publish == "keep":
        options |= {**CAPTURES["wal"], "publication": "outboxd_orders"}
        Wal(fired, table="public.events")
    one = relay(options)
    # All that are not named stand side by side, and stay while the others come and go.
    for number, (sql, named) in enumerate(FIRES.values()):
        if on_publish not in named:
            fired.execute(sql.replace("TRIGGER audit", f"TRIGGER audit_{number}"), user=SUPERUSER)
    assert "search_path" not in said_by_check(one)
    for name, (sql, named) in FIRES.items():
        if on_publish not in named:
            continue
        fired.execute(sql, user=SUPERUSER)
        text = said_by_check(one)
        function = "app.sound(t text)" if "sound" in sql else "app.audit()"
        assert f"runs {function} of role {APP} whenever" in text, f"{name}\n{text}"
        remedy = re.search(r"ALTER FUNCTION [^;]*;", text).group()
        fired.execute(remedy, user=APP)
        assert "search_path" not in said_by_check(one), f"{name}: {remedy}"
        fired.execute("DROP TRIGGER IF EXISTS audit ON public.events; DROP TRIGGER IF EXISTS audit ON public.events_all; DROP INDEX IF EXISTS public.sound;"
                      " ALTER TABLE public.events DROP CONSTRAINT IF EXISTS sound; ALTER FUNCTION app.audit() RESET search_path;"
                      " ALTER FUNCTION app.sound(text) RESET search_path", user=SUPERUSER)


def test_what_a_requeue_fires_is_named_by_check_where_events_are_set_aside(relay, fired):
    fired.execute("CREATE FUNCTION app.number() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN count(*) FROM fired; END'", user=APP)
    aside = relay({"table": "public.events", "on_publish": "delete", "on_poison": "dead_letter"})
    stop = relay({"table": "public.events", "on_publish": "delete"})
    assert "search_path" not in said_by_check(aside), "ours have one"
    for name, sql in {"a trigger": "CREATE TRIGGER audit AFTER INSERT ON public.events FOR EACH ROW EXECUTE FUNCTION app.audit()",
                      "an index": "CREATE INDEX sound ON public.events (app.sound(topic))",
                      "a default": "ALTER TABLE public.events ALTER event_version SET DEFAULT app.number()"}.items():
        fired.execute(sql, user=SUPERUSER)
        text = said_by_check(aside)
        assert "whenever rows are requeued (outboxd dead requeue)" in text, f"{name}\n{text}"
        assert "requeued" not in said_by_check(stop), name
        fired.execute(re.search(r"ALTER FUNCTION [^;]*;", text).group(), user=APP)
        assert "requeued" not in said_by_check(aside), name


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_run_names_it_once_before_the_first_event_and_the_remedy_lets_the_trigger_work(relay, fired, kafka, prefix, capture):
    if capture == "wal":
        Wal(fired, table="public.events")
    fired.execute(FIRES["update"][0], user=SUPERUSER)
    insert(fired, "public.events", "k")
    one = relay({**CAPTURES[capture], "table": "public.events", "topic": f"{prefix}.order"}).start()
    line, = one.wait_log("TRIGGER_PATH")
    assert "before UPDATE" not in line and f"app.audit() of role {APP}" in line and "ALTER FUNCTION app.audit() SET search_path = app, public, pg_temp;" in line
    eventually(lambda: "fired" in one.log_text().split("TRIGGER_PATH", 1)[1], what="the mark fails, behind the warning")
    fired.execute("ALTER FUNCTION app.audit() SET search_path = app, public, pg_temp", user=APP)
    eventually(lambda: fired.scalar(UNPUBLISHED.format("public.events")) == 0, 40, lambda: f"it is marked\n{one.log_tail()}")
    assert fired.query("SELECT DISTINCT by FROM app.fired", user=APP) == [(RELAY,)]
    assert len(one.log_lines("TRIGGER_PATH")) == 1
    wait_for_records(kafka.brokers, f"{prefix}.order", 1)


@pytest.mark.parametrize("capture", ["poll", "wal"])
def test_types_outside_of_the_path_go_on_working(relay, database, kafka, prefix, capture):
    """An enum, a domain and an extension's type of public, also as the event id, which marks compare."""
    topic = kafka.create_topic(f"{prefix}.order")
    database.execute(f"""
        CREATE EXTENSION citext SCHEMA public;
        CREATE TYPE public.kind AS ENUM ('order', 'payment');
        CREATE DOMAIN public.key AS text CHECK (value <> '');
        CREATE TABLE public.events (LIKE outbox.event INCLUDING DEFAULTS INCLUDING IDENTITY);
        ALTER TABLE public.events ALTER event_id DROP DEFAULT, ALTER event_id TYPE public.citext, ALTER aggregate_type TYPE public.kind
            USING aggregate_type::public.kind, ALTER aggregate_id TYPE public.key;
        CREATE UNIQUE INDEX ON public.events (seq);
        CREATE INDEX ON public.events (seq) WHERE published_at IS NULL;
        ALTER TABLE public.events OWNER TO {OWNER};
        GRANT SELECT, UPDATE ON public.events TO outbox_relay""", user=SUPERUSER)
    if capture == "wal":
        Wal(database, table="public.events")
    one = relay({**CAPTURES[capture], "table": "public.events"}).start()
    for n in range(3):
        database.execute("INSERT INTO public.events (event_id, event_type, aggregate_type, aggregate_id, payload) VALUES (%s, 'order.placed', 'order', "
                         "'k', '{}')", (f"Id-{n}",), user=SUPERUSER)
    assert len(wait_for_records(kafka.brokers, topic, 3)) == 3
    eventually(lambda: database.scalar(UNPUBLISHED.format("public.events")) == 0, what=lambda: f"all are marked\n{one.log_tail()}")
    assert "no problem" in outboxd("check", "-c", one.config_path, expect=0).stdout


def test_migrate_falls_into_no_trap(empty_database, clean_path, kafka, tmp_path):
    make_traps(empty_database)
    fallen = set_traps(empty_database)
    migrate(empty_database, "--status", expect=None)
    migrate(empty_database)
    migrate(empty_database, "--status")
    migrate(empty_database, "--capture", "wal")
    migrate(empty_database, "--down", 2)
    migrate(empty_database)
    assert empty_database.scalar("SELECT outbox.emit('order.placed', 'order', 'k', '{}') IS NOT NULL")
    assert not fallen()
    config = write_configuration(tmp_path / "outboxd.conf", configuration(empty_database.dsn(), kafka.brokers))
    outboxd("check", "-c", config)
    assert not fallen()
