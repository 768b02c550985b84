"""Small byte budgets: fetches are cut short and cancelled all the time, which must not show anywhere."""

from support.common import eventually
from support.consume import read_topics

EMIT = """SELECT count(outbox.emit('order.placed', 'order', (g %% 500)::text,
                                  jsonb_build_object('n', g, 'pad', repeat('x', 300))))
            FROM generate_series(1, %s) AS g"""


def test_cancelled_fetches_cause_neither_trouble_nor_duplicates(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", 3)
    count = 6000
    database.execute(EMIT, (count,))
    one = relay({"batch_bytes": "64KiB", "in_flight_bytes": "256KiB"}).start()
    eventually(lambda: one.metric("rows_marked_total") >= count, 120, "all rows are marked")
    assert len(read_topics(kafka.brokers, topic)) == count
    assert not one.log_lines(" (warn|error) "), one.log_tail()
    assert one.metric("rewinds_total") == 0 and one.metric("events_replayed_total") == 0


def test_a_window_smaller_than_a_batch_goes_on(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", 3)
    count = 3000
    database.execute(EMIT, (count,))
    one = relay({"batch_bytes": "32KiB", "in_flight_bytes": "32KiB"}).start()
    eventually(lambda: one.metric("rows_marked_total") >= count, 120, "all rows are marked")
    assert len(read_topics(kafka.brokers, topic)) == count
