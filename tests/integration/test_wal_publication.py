"""The publication changes under capture = "wal": what is dropped, put back or made again is seen, nothing is skipped in silence, and what the
relay prints brings everything back (trials 1.3 and 1.4)."""

import uuid

import pytest

from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.trial import Trial
from support.wal import PUBLICATION

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
CREATE = f"CREATE PUBLICATION {PUBLICATION} FOR TABLE outbox.event WITH (publish = 'insert')"
OUT, IN = f"ALTER PUBLICATION {PUBLICATION} DROP TABLE outbox.event", f"ALTER PUBLICATION {PUBLICATION} ADD TABLE outbox.event"
SOON = {"interval": "500ms"}


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


@pytest.fixture
def soon(wal_relay):
    """A relay that looks at its preconditions often."""
    return lambda options=None, **more: wal_relay(options, monitor=SOON, **more)


def begun(one, trial, kafka, topic, wal):
    one.start()
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 20)
    wal.wait_confirmed()


def follow_the_remedy(one, wal_relay, options=None):
    """Exit 4, and what the log says to run."""
    assert one.wait_exit(40) == 4, one.log_tail()
    assert one.log_lines("run --new-slot"), one.log_tail()
    return wal_relay(options, args=["--new-slot"], monitor=SOON).start()


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
@pytest.mark.parametrize("missed", [0, 20])
def test_table_taken_out_and_put_back_while_running(soon, wal_relay, wal, database, kafka, topic, on_publish, missed):
    one = soon({"on_publish": on_publish})
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with trial:
        database.execute(OUT)
        if missed:
            trial.emit(missed)
            eventually(lambda: not one.ready()[0], 20, "it is loud")
            assert one.log_lines("PUBLICATION_INCOMPLETE.*ALTER PUBLICATION"), one.log_tail()
        database.execute(IN)
        trial.emit(30)
        if missed:
            one = follow_the_remedy(one, wal_relay, {"on_publish": on_publish})
            trial.relays = [one]
        trial.emit(10)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())
    result = trial.result(read_topics(kafka.brokers, topic))
    print(result)
    result.assert_none_lost(duplicates=0 if not missed else 60)
    one.wait_ready()
    assert result.quiet < 10
    wal.wait_confirmed()


def test_table_taken_out_and_put_back_between_two_looks(wal_relay, wal, database, kafka, topic):
    """Nobody sees it broken: the server tells of the table again, and what follows waits until nothing was missed before it."""
    one = wal_relay(monitor={"interval": "10s"})
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    with trial:
        database.execute(f"BEGIN; {OUT}; COMMIT")
        trial.emit(20)
        database.execute(f"BEGIN; {IN}; COMMIT")
        trial.emit(200)
        two = follow_the_remedy(one, wal_relay)
        trial.relays = [two]
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + two.log_tail())
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(duplicates=0, inverted=0)
    assert one.log_lines("PUBLICATION_(CHANGED|INCOMPLETE)"), one.log_tail()


def test_table_taken_out_and_put_back_in_one_transaction_goes_on(soon, wal, database, kafka, topic):
    one = soon()
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    database.execute(f"BEGIN; {OUT}; {IN}; COMMIT")
    trial.emit(20)
    eventually(lambda: one.log_lines("code=PUBLICATION_PROVEN"), 30, lambda: "it is proven that nothing is missing\n" + one.log_tail())
    identity = wal.position()["publication"]
    trial.emit(20)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all published")
    wal.wait_confirmed()
    one.stop()
    one.start()
    trial.emit(5)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all published")
    assert not one.log_lines("code=PUBLICATION_CHANGED")[1:], "the new identity is the known one"
    assert identity
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


@pytest.mark.parametrize("missed", [0, 20])
def test_table_taken_out_and_put_back_while_stopped(soon, wal_relay, wal, database, kafka, topic, missed):
    one = soon()
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    one.stop()
    database.execute(OUT)
    missed and trial.emit(missed)
    database.execute(IN)
    trial.emit(10)
    one.start(wait_ready=False)
    if missed:
        one = follow_the_remedy(one, wal_relay)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())
    trial.emit(10)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)


@pytest.mark.parametrize("when", ["running", "stopped"])
@pytest.mark.parametrize("then", ["made again", "made again later"])
def test_publication_dropped_and_made_again(soon, wal_relay, wal, database, kafka, topic, when, then):
    one = soon()
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    if when == "stopped":
        one.stop()
    database.execute(f"DROP PUBLICATION {PUBLICATION}")
    trial.emit(20)
    if then == "made again":
        database.execute(CREATE)
    if when == "stopped":
        one.start(wait_ready=False)

    def gone():
        return not one.running() or one.log_lines("PUBLICATION_MISSING.*CREATE PUBLICATION")
    eventually(gone, 40, lambda: "it is loud\n" + one.log_tail())
    if one.running():   # it waits, and says what for; an idle database would lose nothing
        assert not one.ready()[0]
        then == "made again" or database.execute(CREATE)
        then = "made again"
    assert one.wait_exit(40) == 4, one.log_tail()
    assert one.log_lines("PUBLICATION_(GONE|CHANGED).*run --new-slot"), one.log_tail()
    if then != "made again":
        database.execute(CREATE)
    again = soon().start(wait_ready=False)
    assert again.wait_exit(40) == 4, "a restart alone does not mend it\n" + again.log_tail()
    trial.emit(5)
    two = wal_relay(args=["--new-slot"]).start()
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + two.log_tail())
    trial.emit(5)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + two.log_tail())
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)


def test_where_rows_are_kept_a_changed_publication_is_a_gap(soon, wal_relay, wal, database, kafka, topic):
    one = soon({"on_publish": "keep"})
    trial = Trial(database, one)
    one.start()
    trial.emit(5)
    wait_for_records(kafka.brokers, topic, 5)
    database.execute(f"BEGIN; {OUT}; {IN}; COMMIT")
    trial.emit(5)
    two = follow_the_remedy(one, wal_relay, {"on_publish": "keep"})
    assert one.log_lines("PUBLICATION_CHANGED"), one.log_tail()
    trial.emit(5)
    wait_for_records(kafka.brokers, topic, 15)
    eventually(lambda: not trial.result(read_topics(kafka.brokers, topic)).lost, 20, "none is lost")
    assert two.running()


@pytest.mark.parametrize("on_publish", ["mark", "keep"])
@pytest.mark.parametrize("when", ["running", "stopped"])
def test_a_table_leaves_the_publication_of_its_schema_and_comes_back(soon, wal_relay, wal, database, kafka, topic, when, on_publish):
    """Nothing of the publication is touched, and rows that came meanwhile are not in the log for us."""
    database.execute(f"DROP PUBLICATION {PUBLICATION}; CREATE PUBLICATION {PUBLICATION} FOR TABLES IN SCHEMA outbox WITH (publish = 'insert')",
                     user=SUPERUSER)
    one = soon({"on_publish": on_publish})
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    if when == "stopped":
        one.stop()
    missed = str(uuid.uuid4())
    database.execute("CREATE SCHEMA aside; ALTER TABLE outbox.event SET SCHEMA aside", user=SUPERUSER)
    database.execute("INSERT INTO aside.event (event_id, event_type, aggregate_type, aggregate_id, payload) VALUES "
                     "(%s, 'order.placed', 'order', 'aside', '{}')", (missed,), user=SUPERUSER)
    database.execute("ALTER TABLE aside.event SET SCHEMA outbox", user=SUPERUSER)
    trial.expect([("aside", missed)])
    trial.emit(10)
    if when == "stopped":
        one.start(wait_ready=False)
    two = follow_the_remedy(one, wal_relay, {"on_publish": on_publish})
    assert one.log_lines("code=PUBLICATION_CHANGED"), one.log_tail()
    trial.emit(5)
    eventually(lambda: not trial.result(read_topics(kafka.brokers, topic)).lost, 20, lambda: "none is lost\n" + two.log_tail())
    if on_publish == "mark":
        trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()


def test_a_kill_between_two_looks_repeats_nothing(wal_relay, wal, database, kafka, topic):
    """The position stays at the last look; what is done beyond it is known as a part."""
    one = wal_relay(monitor={"interval": "10min"})
    trial = Trial(database, one)
    one.start()
    for _ in range(5):
        trial.emit(100)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all published")
    position = wal.position()
    assert position["tx_lsn"] is not None and position["lsn"] < position["tx_lsn"], position
    one.kill()
    wal.wait_inactive()
    one.start()
    trial.emit(10)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all published")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
    one.stop()
    assert wal.confirmed() == wal.position()["lsn"] >= position["lsn"]
    one.start()
    trial.emit(10)
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 20, "all published")
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)


def test_a_slot_is_not_told_what_lies_beyond_the_last_good_look(soon, wal, database, kafka, topic):
    one = soon()
    trial = Trial(database, one)
    begun(one, trial, kafka, topic, wal)
    database.execute(OUT)
    place = wal.now()
    eventually(lambda: not one.ready()[0], 20, "it is loud")
    for _ in range(5):
        wal.noise()
    for _ in range(20):
        assert (wal.confirmed() or 0) <= place, "the slot went past the place where the table was taken out"
        wal.noise()
    database.execute(IN)
    eventually(lambda: one.ready()[0], 30, lambda: "it goes on\n" + one.log_tail())
    wal.wait_confirmed()
