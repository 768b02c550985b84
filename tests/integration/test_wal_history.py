"""Another history of the server under capture = "wal": put back to an older copy while the relay lives, or failed over without the slot
(trials 1.5): a gap, exit 4, and --new-slot brings everything that the table still shows unpublished."""

import pytest

from conftest import pair_database as database  # noqa: F401
from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.trial import Trial

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture
def topic(kafka, prefix):
    return kafka.create_topic(f"{prefix}.order")


def ids(records):
    from support.consume import headers_of
    return [headers_of(r)["ce_id"] for r in records]


def done(database, one):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, 40, lambda: "all published\n" + one.log_tail())


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_put_back_to_an_older_copy_while_the_relay_lives(wal_relay, wal, pair, database, kafka, topic, on_publish):  # noqa: F811
    one = wal_relay({"on_publish": on_publish}).start()
    trial = Trial(database, one)
    trial.emit(50)
    wait_for_records(kafka.brokers, topic, 50)
    done(database, one)
    wal.wait_confirmed()
    trial.emit(5)
    copy = pair.freeze()
    gone = trial.emit(100)
    done(database, one)
    wal.wait_confirmed()
    with trial:
        pair.put_back(copy)
        kept = set(ids(read_topics(kafka.brokers, topic)))
        trial.forget(gone)
        trial.emit(50)          # the numbers of those that are gone
        assert one.wait_exit(40) == 4, one.log_tail()
        assert one.log_lines("SLOT_OTHER_HISTORY.*--new-slot"), one.log_tail()
        two = wal_relay({"on_publish": on_publish}, args=["--new-slot"]).start()
        trial.relays = [two]
        done(database, two)
        trial.emit(20)
        done(database, two)
    records = [r for r in read_topics(kafka.brokers, topic) if ids([r])[0] not in gone]
    result = trial.result(records)
    print(result)
    result.assert_none_lost(duplicates=55)
    assert kept and two.running()


def test_put_back_while_the_relay_is_down_goes_on(wal_relay, wal, pair, database, kafka, topic):  # noqa: F811
    """Nothing remembers the other history: the copy fits together by itself."""
    one = wal_relay().start()
    trial = Trial(database, one)
    trial.emit(50)
    done(database, one)
    wal.wait_confirmed()
    copy = pair.freeze()
    gone = trial.emit(100)
    done(database, one)
    one.stop()
    pair.put_back(copy)
    trial.forget(gone)
    trial.emit(50)
    one.start()
    done(database, one)
    records = [r for r in read_topics(kafka.brokers, topic) if ids([r])[0] not in gone]
    trial.result(records).assert_none_lost(duplicates=50)


@pytest.mark.parametrize("lag", [False, True], ids=["with everything", "lagging"])
def test_failed_over_without_the_slot_is_a_gap(wal_relay, wal, pair, database, kafka, topic, lag):  # noqa: F811
    one = wal_relay().start()
    trial = Trial(database, one)
    trial.emit(50)
    done(database, one)
    wal.wait_confirmed()
    gone = []
    if lag:
        pair.lag_standby()
        gone = trial.emit(30)
        done(database, one)
    else:
        pair.catch_up()
    with trial:
        pair.promote()
        trial.forget(gone)
        trial.emit(50)
        assert one.wait_exit(60) == 4, one.log_tail()
        assert one.log_lines("SLOT_(MISSING|OTHER_TIMELINE)"), one.log_tail()
        two = wal_relay(args=["--new-slot"]).start()
        trial.relays = [two]
        done(database, two)
        trial.emit(20)
        done(database, two)
    records = [r for r in read_topics(kafka.brokers, topic) if ids([r])[0] not in gone]
    result = trial.result(records)
    print(result)
    result.assert_none_lost(duplicates=50)


def test_promoted_with_a_slot_of_the_same_name_made_there_by_hand_is_a_gap(wal_relay, wal, pair, database, kafka, topic):  # noqa: F811
    """A slot that begins behind our position would hide what lies between."""
    one = wal_relay().start()
    trial = Trial(database, one)
    trial.emit(20)
    done(database, one)
    wal.wait_confirmed()
    one.stop()
    trial.emit(20)
    pair.catch_up()
    pair.promote()
    database.execute("SELECT pg_create_logical_replication_slot('outboxd_orders', 'pgoutput')", user=SUPERUSER)
    one.start(wait_ready=False)
    assert one.wait_exit(40) == 4, one.log_tail()
    assert one.log_lines("SLOT_AHEAD"), one.log_tail()
    two = wal_relay(args=["--new-slot"]).start()
    done(database, two)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost(duplicates=0)
