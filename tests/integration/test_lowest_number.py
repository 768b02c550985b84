"""A row with the lowest number there is, which stands for "no row" inside the relay: it is named with its remedy, and holds up nothing."""

import pytest

from support.common import eventually
from support.consume import read_topics, wait_for_records
from support.postgres import SUPERUSER
from support.trial import Trial

LOWEST = -2**63
SOON = {"interval": "500ms"}


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_the_lowest_number_is_named_and_holds_up_nothing(kafka, database, captured, capture, on_publish, prefix):
    topic = f"{prefix}.order"
    kafka.create_topic(topic, partitions=3)
    options = {"on_publish": on_publish, "unseen_after": "2s", **({"sweep_interval": "1s"} if capture == "poll" else {})}
    one = captured(options, monitor=SOON).start()
    trial = Trial(database, one)
    trial.emit(20)
    wait_for_records(kafka.brokers, topic, 20)
    database.execute("INSERT INTO outbox.event (seq, event_type, aggregate_type, aggregate_id, payload) OVERRIDING SYSTEM VALUE "
                     "VALUES (%s, 'order.placed', 'order', '1', '{}')", (LOWEST,), user=SUPERUSER)
    trial.emit(10)
    eventually(lambda: one.log_lines("EVENT_UNSEEN.*is the lowest there is"), 60, lambda: "it is said\n" + one.log_tail())
    eventually(lambda: "is the lowest there is" in one.ready()[1] and str(LOWEST) in one.ready()[1], 30, lambda: str(one.ready()))
    one.stop()
    one.start(wait_ready=False)
    trial.emit(10)
    wait_for_records(kafka.brokers, topic, 40)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    # The remedy.
    trial.expect(database.execute(
        "WITH gone AS (DELETE FROM outbox.event WHERE seq = %s RETURNING event_id, event_type, aggregate_type, aggregate_id, payload) "
        "INSERT INTO outbox.event (event_id, event_type, aggregate_type, aggregate_id, payload) SELECT * FROM gone "
        "RETURNING aggregate_id, event_id::text", (LOWEST,), user=SUPERUSER))
    wait_for_records(kafka.brokers, topic, 41)
    trial.result(read_topics(kafka.brokers, topic)).assert_none_lost()
    eventually(lambda: one.ready()[0], 60, lambda: str(one.ready()))
