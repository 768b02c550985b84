"""A trigger, or a constraint, that refuses to mark single rows: the others are marked, the relay stays and repeats nothing."""

import time

import pytest

from conftest import soak
from support.common import at_pace, eventually, stays_true
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.trial import Trial

pytestmark = pytest.mark.by_turns

GUARD = """CREATE FUNCTION outbox.guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF OLD.seq % 10 = 0 THEN RAISE EXCEPTION 'no'; END IF; RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$;
    CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.guard()"""
REFERENCE = """CREATE TABLE outbox.audit (seq bigint REFERENCES outbox.event (seq));
    CREATE FUNCTION outbox.audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN IF NEW.seq % 10 = 0 THEN INSERT INTO outbox.audit VALUES (NEW.seq); END IF; RETURN NULL; END $$;
    CREATE TRIGGER audit AFTER INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.audit()"""
# What an auditor adds to every table of a database. It fails for want of what no GRANT of ours gives.
AUDIT = """CREATE TABLE outbox.audit (seq bigint); CREATE FUNCTION outbox.audit_it() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF NEW.seq %% 10 = 0 THEN INSERT INTO %s VALUES (NEW.seq); END IF; RETURN NULL; END $$;
    CREATE TRIGGER audit AFTER UPDATE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.audit_it();"""
LACKS_RIGHTS = AUDIT % "outbox.audit"
LACKS_PATH = AUDIT % "audit" + "GRANT INSERT ON outbox.audit TO outbox_relay"
# What it says is no matter of the connection: others are marked, and nobody connects again for it.
SAYS = GUARD.replace("%", "%%").replace("'no'", "'no' USING ERRCODE = %s")
DEFERRED = GUARD.replace("TRIGGER guard BEFORE UPDATE OR DELETE ON outbox.event", "CONSTRAINT TRIGGER guard AFTER UPDATE ON outbox.event "
                         "DEFERRABLE INITIALLY DEFERRED")
DROP = "DROP TRIGGER guard ON outbox.event"
# Of serialization, a shutdown, a standby, a lock: each row of another one.
SPEAKS = "(ARRAY['40001', '57P01', '25006', '55P03'])[1 + OLD.seq / 10 % 4]"
KINDS = {"trigger, mark": ("mark", GUARD, "DROP TRIGGER guard ON outbox.event", "outbox.guard"),
         "trigger, delete": ("delete", GUARD, "DROP TRIGGER guard ON outbox.event", "outbox.guard"),
         "trigger at the end of the transaction, mark": ("mark", DEFERRED, DROP, "outbox.guard"),
         "trigger that speaks of other things, mark": ("mark", SAYS % SPEAKS, DROP, "outbox.guard"),
         "trigger that speaks of other things, delete": ("delete", SAYS % SPEAKS, DROP, "outbox.guard"),
         "audit without rights, mark": ("mark", LACKS_RIGHTS, "GRANT INSERT ON outbox.audit TO outbox_relay", "outbox.audit_it"),
         "audit without a path, mark": ("mark", LACKS_PATH, "ALTER FUNCTION outbox.audit_it() SET search_path = outbox", "outbox.audit_it"),
         "reference, delete": ("delete", REFERENCE, "DROP TABLE outbox.audit CASCADE; DROP FUNCTION outbox.audit CASCADE", "audit_seq_fkey")}

# The first two by both captures, then each kind by one, in turn: 14 s of every case are spent waiting.
CASES = [(pytest.param if n < 2 or (capture == "wal") == (n % 2 == 1) else soak)(kind, capture, id=f"{kind}-{capture}")
         for n, kind in enumerate(KINDS) for capture in ("poll", "wal")]


@pytest.mark.slow
@pytest.mark.parametrize("kind, capture", CASES)
def test_rows_that_may_not_be_marked_hold_up_no_other_mark(kafka, database, captured, kind, prefix):
    on_publish, refuse, mend, name = KINDS[kind]
    topic = f"{prefix}.order"
    kafka.create_topic(topic, partitions=3)
    one = captured({"on_publish": on_publish}, monitor={"interval": "500ms"}).start()
    trial = Trial(database, one)
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 20)
    eventually(lambda: one.metric("unmarked_events") == 0, 30, lambda: "marked\n" + one.log_tail())
    database.execute(refuse, user=SUPERUSER)
    trial.emit(100)
    wait_for_records(kafka.brokers, topic, 120)
    unmarked = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
    eventually(lambda: database.scalar(unmarked) == 10, 60, lambda: f"{database.scalar(unmarked)} unmarked\n" + one.log_tail())
    eventually(lambda: "MARK_REJECTED" in one.ready()[1], 30, lambda: str(one.ready()))
    assert one.log_lines(f"MARK_REJECTED.*marking rows of outbox.event: the row with number .*{name}"), one.log_tail()
    # Longer than the refusals in a row that end a relay; it is never ready in between.
    stays_true(lambda: one.running() and not one.ready()[0], 14, interval=0.2)
    assert len(one.log_lines("MARK_REJECTED")) == 1, one.log_tail()
    assert len(one.log_lines("PIPELINE_ACTIVE")) == 1 and not one.log_lines("MARKS_WITHOUT_EFFECT"), one.log_tail()
    database.execute(mend, user=SUPERUSER)
    eventually(lambda: database.scalar(unmarked) == 0, 30, lambda: "all marked\n" + one.log_tail())
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 140)
    eventually(lambda: one.ready()[0], 30, lambda: str(one.ready()))
    eventually(lambda: database.scalar(unmarked) == 0, 30, lambda: "all marked\n" + one.log_tail())
    one.stop()
    two = captured({"on_publish": on_publish}).start()
    trial.emit(1)
    wait_for_records(kafka.brokers, topic, 141)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
    two.stop()


def test_a_lost_connection_and_a_stop_meanwhile_forget_nothing(kafka, database, captured, prefix):
    topic = f"{prefix}.order"
    kafka.create_topic(topic, partitions=3)
    one = captured(monitor={"interval": "500ms"}).start()
    trial = Trial(database, one)
    trial.emit(1)
    wait_for_records(kafka.brokers, topic, 1)
    database.execute(GUARD, user=SUPERUSER)
    trial.emit(100)
    wait_for_records(kafka.brokers, topic, 101)
    one.wait_not_ready("MARK_REJECTED")
    unmarked = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
    eventually(lambda: database.scalar(unmarked) == 10, 60, lambda: f"{database.scalar(unmarked)} unmarked\n" + one.log_tail())
    for turn in range(1, 4):
        eventually(lambda: database.terminate_backends() > 0, 30, "the relay is connected")
        eventually(lambda: len(one.log_lines("PIPELINE_ACTIVE")) > turn, 30, lambda: "connected again\n" + one.log_tail())
        one.wait_not_ready("MARK_REJECTED")
    database.execute("DROP TRIGGER guard ON outbox.event", user=SUPERUSER)
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 121)
    one.wait_ready()
    eventually(lambda: database.scalar(unmarked) == 0, 30, lambda: "all marked\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
    database.execute("CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.guard()", user=SUPERUSER)
    trial.emit(20)
    one.wait_not_ready("MARK_REJECTED")
    assert one.stop(expect=None) == 2, one.log_tail()
    assert one.log_lines("error .*code=MARK_REJECTED"), one.log_tail()


@pytest.mark.parametrize("change, capture", [
    pytest.param("NEW.seq := NEW.seq + 1000000", "poll", id="number-poll"), pytest.param("NEW.seq := NEW.seq + 1000000", "wal", id="number-wal"),
    pytest.param("NEW.event_id := gen_random_uuid()", "poll", id="event id-poll"),
    soak("NEW.event_id := gen_random_uuid()", "wal", id="event id-wal")])
def test_a_trigger_that_renames_a_row_as_it_is_marked_swallows_nothing(kafka, database, captured, change, prefix):
    topic = f"{prefix}.order"
    kafka.create_topic(topic, partitions=3)
    one = captured({}, monitor={"interval": "500ms"}).start()
    database.execute(f"CREATE FUNCTION outbox.rename() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {change}; RETURN NEW; END $$; "
                     "CREATE TRIGGER rename BEFORE UPDATE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.rename()", user=SUPERUSER)
    trial = Trial(database, one)
    with trial.one_connection():
        for _ in range(300):  # without a pause: each mark has rows that are new
            trial.emit(2)
    wait_for_records(kafka.brokers, topic, 600)
    eventually(lambda: one.metric("unmarked_events") == 0, 30, lambda: "marked\n" + one.log_tail())
    assert database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0
    one.wait_ready()
    assert not one.log_lines("MARKS_IGNORED|ROWS_VANISHED|ROWS_REPLACED"), one.log_tail()
    one.stop()
    two = captured({}).start()
    trial.emit(1)
    wait_for_records(kafka.brokers, topic, 601)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
    two.stop()


# Why old rows stay: SQL, what mends it, the name that the line shows.
STAY = {"trigger": (GUARD.replace("BEFORE UPDATE OR DELETE", "BEFORE DELETE"), DROP, "outbox.guard"),
        "says": (SAYS.replace("BEFORE UPDATE OR DELETE", "BEFORE DELETE") % "'57014'", DROP, "outbox.guard"),
        "reference": (REFERENCE, "DROP TABLE outbox.audit CASCADE; DROP FUNCTION outbox.audit CASCADE", "audit_seq_fkey")}


@pytest.mark.slow   # what was refused is tried again after a minute
@pytest.mark.parametrize("why, capture", [("trigger", "wal"), ("says", "poll"), ("reference", "poll"), soak("trigger", "poll"), soak("says", "wal"),
                                          soak("reference", "wal")])
def test_old_rows_that_may_not_be_deleted_stop_nothing(kafka, database, captured, why, prefix):
    refuse, mend, name = STAY[why]
    topic = f"{prefix}.order"
    kafka.create_topic(topic, partitions=3)
    database.execute(refuse, user=SUPERUSER)
    one = captured({"retain": "1s"}).start()
    trial = Trial(database, one)
    trial.emit(40)
    one.wait_log("PRUNE_REFUSED", 60)
    line, = one.log_lines("PRUNE_REFUSED")
    assert name in line and "publishing continues" in line and "retain = " in line
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 60)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 30, lambda: "marked\n" + one.log_tail())
    one.wait_ready()
    database.execute(mend, user=SUPERUSER)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 0, 90, lambda: "old rows go\n" + one.log_tail())
    assert len(one.log_lines("PRUNE_REFUSED")) == 1 and len(one.log_lines("PIPELINE_ACTIVE")) == 1, one.log_tail()
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)


def test_old_rows_that_may_be_deleted_go_although_others_stay(kafka, database, captured, prefix):
    """A foreign key holds one row in ten, and in front of them all is a row that waits for its topic."""
    kafka.create_topic(f"{prefix}.order", partitions=3)
    one = captured({"retain": "1s"}).start()
    database.execute("SELECT outbox.emit('a.b', 'nowhere', '1', '{}')", user=SUPERUSER)
    waits = database.scalar("SELECT max(seq) FROM outbox.event")
    trial = Trial(database, one)
    database.execute("CREATE TABLE outbox.mine (seq bigint REFERENCES outbox.event (seq)); "
                     "CREATE FUNCTION outbox.refer() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = outbox AS "
                     "$$ BEGIN IF new.seq % 10 = 3 THEN INSERT INTO mine VALUES (new.seq); END IF; RETURN NULL; END $$; "
                     "CREATE TRIGGER refer AFTER INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.refer()", user=SUPERUSER)
    trial.emit(100)
    held = database.scalar("SELECT array_agg(seq ORDER BY seq) FROM outbox.mine", user=SUPERUSER)
    eventually(lambda: database.scalar("SELECT array_agg(seq ORDER BY seq) FROM outbox.event") == [waits, *held], 60, lambda: "only those stay\n" + one.log_tail())
    assert len(held) == 10
    line, = one.log_lines("PRUNE_REFUSED")
    assert "class=retry" in line


MANY = "INSERT INTO outbox.event (event_type, aggregate_type, aggregate_id, published_at) SELECT 'a.b', 'order', 'old', now() - interval '1 day' " \
       "FROM generate_series(1, %d)"
# What makes it cost a second to delete ten of them: their triggers, a foreign key without an index, also one that is looked after when all is done.
COSTLY = {"trigger": "CREATE FUNCTION outbox.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN OLD; END $$; "
                     "CREATE TRIGGER slow BEFORE DELETE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.slow();",
          "reference": "CREATE TABLE outbox.mine (seq bigint REFERENCES outbox.event (seq)); "
                       "INSERT INTO outbox.mine SELECT NULL FROM generate_series(1, 500000)"}
COSTLY["deferred reference"] = COSTLY["reference"].replace("(seq))", "(seq) DEFERRABLE INITIALLY DEFERRED)")


@pytest.mark.slow
@pytest.mark.parametrize("why, capture", [("trigger", "poll"), ("deferred reference", "wal"), soak("trigger", "wal"), soak("reference", "poll"),
                                          soak("reference", "wal"), soak("deferred reference", "poll")])
def test_old_rows_that_cost_much_to_delete_hold_up_no_mark(kafka, database, captured, why, prefix):
    kafka.create_topic(f"{prefix}.order", partitions=3)
    database.execute(MANY % 1000 + ";" + COSTLY[why], user=SUPERUSER)
    one = captured({"retain": "1h", "in_flight_events": 100, "batch_events": 50}, database={"statement_timeout": "20s"}).start()
    trial = Trial(database, one)
    with trial, trial.one_connection():
        while one.metric("rows_pruned_total") < 40:
            begun = time.monotonic()
            count = one.published()
            trial.emit(50)
            one.wait_published(count + 50, 20)
            eventually(lambda: one.metric("unmarked_events") == 0, 20, lambda: "marked\n" + one.log_tail(), interval=0.02)
            assert time.monotonic() - begun <= at_pace(3), "marks wait for old rows"
    assert not one.log_lines("QUERY_CANCELED|PRUNE_REFUSED") and len(one.log_lines("PIPELINE_ACTIVE")) == 1, one.log_tail()
    one.stop()


def test_an_old_row_that_somebody_locks_holds_up_neither_marks_nor_other_old_rows(kafka, database, captured, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    database.execute(MANY % 200, user=SUPERUSER)
    captured().start().stop()   # no transaction may be open while a slot is made
    holder = database.connect(autocommit=False)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT seq FROM outbox.event ORDER BY seq LIMIT 3 FOR UPDATE")
            one = captured({"retain": "1h"}).start()
            trial = Trial(database, one)
            trial.emit(100)
            eventually(lambda: one.metric("rows_pruned_total") == 197, 20, lambda: "the others go\n" + one.log_tail())
            eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 20, one.log_tail)
            assert not one.log_lines("MARK_BLOCKED|PRUNE_REFUSED"), one.log_tail()
        holder.rollback()
    finally:
        holder.close()
    one.wait_published(100)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


@pytest.mark.soak   # it rests for 30 s, three times
def test_an_old_row_whose_reference_somebody_locks_keeps_no_other(kafka, database, captured, prefix):
    """Which the row's own lock does not tell."""
    database.execute("CREATE TABLE outbox.mine (seq bigint PRIMARY KEY REFERENCES outbox.event (seq) ON DELETE CASCADE);"
                     + MANY % 200 + "; INSERT INTO outbox.mine SELECT seq FROM outbox.event", user=SUPERUSER)
    captured().start().stop()   # no transaction may be open while a slot is made
    holder = database.connect(SUPERUSER, autocommit=False)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT seq FROM outbox.mine ORDER BY seq LIMIT 1 FOR UPDATE")
            one = captured({"retain": "1h"}).start()
            eventually(lambda: one.metric("rows_pruned_total") == 199, 150, lambda: "the others go\n" + one.log_tail())
            assert not one.log_lines("MARK_BLOCKED|PRUNE_REFUSED") and len(one.log_lines("PIPELINE_ACTIVE")) == 1, one.log_tail()
        holder.rollback()
    finally:
        holder.close()


@pytest.mark.parametrize("waits, capture", [("their topic", "poll"), soak("their topic", "wal"), ("a trigger", "wal"), soak("a trigger", "poll")])
def test_old_rows_behind_thousands_that_stay_are_deleted(kafka, database, captured, waits, prefix):
    """Which wait for their topic; or which a trigger keeps without a word."""
    kafka.create_topic(f"{prefix}.order")
    if waits == "a trigger":
        database.execute(MANY % 6000 + "; UPDATE outbox.event SET aggregate_id = 'kept'; CREATE FUNCTION outbox.keep() RETURNS trigger LANGUAGE plpgsql AS "
                         "$$ BEGIN RETURN CASE WHEN OLD.aggregate_id <> 'kept' THEN OLD END; END $$; "
                         "CREATE TRIGGER keep BEFORE DELETE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.keep()", user=SUPERUSER)
    else:
        database.execute("INSERT INTO outbox.event (event_type, aggregate_type) SELECT 'a.b', 'nowhere' FROM generate_series(1, 6000)", user=SUPERUSER)
    database.execute(MANY % 100, user=SUPERUSER)
    one = captured({"retain": "1h"}).start(wait_ready=False)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event") == 6000, 40, lambda: "old rows go\n" + one.log_tail())
    assert database.scalar("SELECT count(*) FROM outbox.event WHERE aggregate_id = 'old'") == 0


@pytest.mark.slow   # pruning rests for 30 s
def test_a_row_whose_mark_is_taken_back_while_it_is_pruned_stays(kafka, database, captured, prefix):
    """As the remedy of a refused requeue says: the DELETE waits for that transaction."""
    kafka.create_topic(f"{prefix}.order")
    one = captured({"retain": "3s"}).start()
    Trial(database, one).emit(1)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NOT NULL") == 1, 20, one.log_tail, interval=0.02)
    connection = database.connect(SUPERUSER, autocommit=False)
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE outbox.event SET published_at = NULL")
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%WITH edge%%' AND datname = current_database()"
            eventually(lambda: database.scalar(waits, user=SUPERUSER) == 1, 60, lambda: "pruning waits\n" + one.log_tail())
        connection.commit()
    finally:
        connection.close()
    eventually(lambda: database.scalar(waits, user=SUPERUSER) == 0, 20, "pruning goes on")
    assert database.scalar("SELECT count(*) FROM outbox.event") == 1, "an event that nobody has published again"
    one.stop()


def test_what_a_trigger_says_is_no_line_of_the_log(kafka, database, captured, prefix):
    topic = f"{prefix}.order"
    kafka.create_topic(topic)
    database.execute("""CREATE FUNCTION outbox.talk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE WARNING 'talkative %', repeat('x', 10000); RETURN NEW; END $$;
        CREATE TRIGGER talk BEFORE UPDATE ON outbox.event FOR EACH ROW EXECUTE FUNCTION outbox.talk()""", user=SUPERUSER)
    one = captured().start()
    Trial(database, one).emit(100)
    wait_for_records(kafka.brokers, topic, 100)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 30, lambda: "marked\n" + one.log_tail())
    assert "talkative" not in one.log_text() and len(one.log_text()) < 20000
