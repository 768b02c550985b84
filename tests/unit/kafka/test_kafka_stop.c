/* Nothing leaves: after a refusal, after a purge, while held. */
#include <criterion/criterion.h>
#include <string.h>

#include "mock.h"

TestSuite(kafka_stop, .init = mock_prepare, .fini = mock_end);

static void given_records_out(int64_t count)
{
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    for (int64_t i = 2; i <= count; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.troubles >= 1);
}

static void turn_for_us(int64_t us)
{
    for (int64_t until_us = clock_monotonic_us() + us; clock_monotonic_us() < until_us;) {
        event_base_loop(mock.base, EVLOOP_ONCE);
    }
}

Test(kafka_stop, what_is_held_does_not_leave_and_goes_on_in_its_order)
{
    given_records_out(30);
    mock.sink->ops->hold(mock.sink, true);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    MOCK_WAIT(mock.healed >= 1);
    turn_for_us(300000);
    cr_assert_eq(mock.settled, 1, "%s", mock_told());
    mock.sink->ops->hold(mock.sink, false);
    MOCK_WAIT(mock.delivered == 30);
    for (int64_t i = 1; i <= 30; i++) {
        cr_assert_eq(mock.times[i], 1);
        cr_assert_eq(mock.order[i - 1], i);
    }
}

Test(kafka_stop, what_is_held_can_be_taken_back)
{
    given_records_out(30);
    mock.sink->ops->hold(mock.sink, true);
    mock.sink->ops->purge(mock.sink);
    MOCK_WAIT(mock.settled == 30);
    cr_assert_eq(mock.purged, 29);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    for (int64_t i = 2; i <= 30; i++) {
        mock_send(i, "orders");
    }
    MOCK_WAIT(mock.delivered == 30);
    cr_assert_eq(mock.purged, 29);
}

Test(kafka_stop, a_record_that_comes_back_for_a_retry_after_a_purge_is_taken_back_too)
{
    mock_add_property("batch.num.messages=1");
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 400);
    mock_send(2, "orders");
    turn_for_us(100000); /* on the wire */
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    mock_send(3, "orders");
    turn_for_us(100000); /* on the wire, too: it will be told to try again */
    mock.sink->ops->purge(mock.sink);
    MOCK_WAIT(mock.settled == 3);
    cr_assert_eq(mock.delivered, 2, "%s", mock_told());
    cr_assert_eq(mock.purged, 1);
    cr_assert_eq(mock.order[2], 3);
}

Test(kafka_stop, what_is_behind_a_refused_request_stays_until_it_is_taken_back)
{
    mock_add_property("batch.num.messages=1");
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    mock_send(2, "orders");
    MOCK_WAIT(mock.failed == 1);
    KafkaSink *kafka = (KafkaSink *)mock.sink;
    cr_assert_eq(kafka_stop_paused(kafka->stop), 1, "its partition");
    cr_assert_eq(mock.report.request, 1);
    cr_assert_eq(mock.report.request_events, 1);
    mock_send(3, "orders"); /* a send lets it go on */
    MOCK_WAIT(mock.delivered == 2);
    cr_assert_eq(kafka_stop_paused(kafka->stop), 0);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    mock_send(4, "orders");
    MOCK_WAIT(mock.failed == 2);
    cr_assert_eq(kafka_stop_paused(kafka->stop), 1, "each time");
    cr_assert_eq(mock.report.request, 2);
}
