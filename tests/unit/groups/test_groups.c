/* Names, trends, and what relay and helper say to each other. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "groups/groups_ask.h"
#include "groups/groups_message.h"
#include "groups/groups_round.h"

Test(groups, a_name_without_wildcards_is_one_group)
{
    cr_assert(groups_is_name("billing.v2"));
    cr_assert_not(groups_is_name("billing-*"));
    cr_assert_not(groups_is_name("billing-?"));
    cr_assert_not(groups_is_name("billing-[ab]"));
    cr_assert_not(groups_is_name("billing\\*"));
}

Test(groups, an_example_of_a_glob_is_matched_by_it)
{
    static const char *const CASES[][2] = {
        {"search-*", "search-"},    {"*", "outboxd"}, {"a?c", "axc"},
        {"lit\\*eral", "lit*eral"}, {"[ab]c", NULL},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_TEXT example = groups_example(CASES[i][0]);
        if (CASES[i][1] == NULL) {
            cr_expect_null(example, "%s", CASES[i][0]);
        } else {
            cr_assert_not_null(example);
            cr_expect_str_eq(example, CASES[i][1]);
        }
    }
}

static GroupRow row_of(size_t count, int64_t a, int64_t b, int64_t c, int64_t d)
{
    GroupRow row = {.sample_count = count};
    int64_t events[GROUP_SAMPLES] = {a, b, c, d};
    for (size_t i = 0; i < count; i++) {
        row.samples[i].at_us = (int64_t)i * 15000000;
        row.samples[i].events = events[i];
    }
    return row;
}

Test(groups, a_trend_needs_a_rise_in_every_round)
{
    GroupRow row = row_of(4, 100, 110, 120, 190);
    cr_assert(group_row_grows(&row));
    cr_assert_float_eq(group_row_change(&row), 2, 1e-9);
    row = row_of(4, 100, 190, 180, 190);
    cr_assert_not(group_row_grows(&row), "commits make the lag go up and down");
    row = row_of(3, 100, 110, 120, 0);
    cr_assert_not(group_row_grows(&row), "too early to say");
    row = row_of(4, 90, 60, 30, 0);
    cr_assert_float_eq(group_row_change(&row), -2, 1e-9);
    row = row_of(1, 5, 0, 0, 0);
    cr_assert(isnan(group_row_change(&row)));
}

static void write_answer(Text *out)
{
    static char names[4][16] = {"billing", "orders", "", "t"};
    GroupRow rows[2] = {row_of(4, 1, 2, 3, 4), row_of(1, 7, 0, 0, 0)};
    rows[0].group = names[0];
    rows[0].topic = names[1];
    rows[0].lag_events = 4;
    rows[0].lag_seconds = 1.5;
    rows[0].committed = true;
    rows[1].group = names[2];
    rows[1].topic = names[3];
    rows[1].lag_seconds = NAN;
    AUTO_ERROR err = {0};
    error_set(&err, CODE_KAFKA_GROUP_DENIED, "no");
    error_hint(&err, "Grant it.");
    RoundView view = {.rows = rows, .count = 2, .groups_left_out = 3, .error = &err};
    groups_answer_write(&view, out);
}

Test(groups, an_answer_arrives_as_it_was_sent)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    write_answer(&text);
    cr_assert_eq(groups_message_length(text.data), text.length - GROUPS_MESSAGE_HEAD);
    GroupsAnswer answer;
    cr_assert(groups_answer_read(text.data + GROUPS_MESSAGE_HEAD, text.length - GROUPS_MESSAGE_HEAD,
                                 &answer));
    cr_assert_eq(answer.count, 2);
    cr_assert_eq(answer.groups_left_out, 3);
    cr_assert_eq(answer.error.code, CODE_KAFKA_GROUP_DENIED);
    cr_assert_str_eq(error_own_hint(&answer.error), "Grant it.");
    cr_assert_str_eq(answer.rows[0].group, "billing");
    cr_assert_eq(answer.rows[0].lag_events, 4);
    cr_assert_float_eq(answer.rows[0].lag_seconds, 1.5, 0);
    cr_assert(answer.rows[0].grows && answer.rows[0].committed);
    cr_assert_str_eq(answer.rows[1].topic, "t");
    cr_assert(isnan(answer.rows[1].lag_seconds) && isnan(answer.rows[1].change_per_second));
    cr_assert_not(answer.rows[1].grows || answer.rows[1].committed);
    groups_answer_free(&answer);
}

Test(groups, a_request_arrives_as_it_was_sent)
{
    static char texts[][24] = {"sasl.username=relay", "linger.ms=2", "billing", "search-*",
                               "orders.events",       "shop",        "a:1,b:2"};
    char *properties[] = {texts[0], texts[1]};
    char *globs[] = {texts[2], texts[3]};
    char *names[] = {texts[4]};
    PipelineConfig pipeline = {.limits.in_flight_events = 5000};
    Config config = {.name = texts[5], .pipelines = &pipeline, .pipeline_count = 1};
    config.kafka.brokers = texts[6];
    config.kafka.properties = (StringList){.items = properties, .count = 2};
    config.monitor.consumer_groups = (StringList){.items = globs, .count = 2};
    config.monitor.groups_interval_ms = 15000;
    config.log.level = LOG_WARN;
    StringList topics = {.items = names, .count = 1};
    AUTO_BUFFER text = TEXT_EMPTY;
    static char glob[] = "*.events";
    char *glob_names[] = {glob};
    StringList patterns = {.items = glob_names, .count = 1};
    static char extension[][8] = {"cluster", "lkc-1"};
    char *extension_texts[] = {extension[0], extension[1]};
    const StringList extensions = {.items = extension_texts, .count = 2};
    const TokenValue token = {.number = 7,
                              .secret = "s3",
                              .principal = "relay",
                              .extensions = &extensions,
                              .expires_ms = 1764373600123};
    groups_request_write(&config, &topics, &patterns, &token, &text);
    const char *bytes = text.data + GROUPS_MESSAGE_HEAD;
    size_t length = text.length - GROUPS_MESSAGE_HEAD;
    GroupsRequest request;
    cr_assert(groups_request_read(bytes, length, &request));
    cr_assert_str_eq(request.config->name, "shop");
    cr_assert_str_eq(request.config->kafka.brokers, "a:1,b:2");
    cr_assert_str_eq(request.config->kafka.properties.items[1], "linger.ms=2");
    cr_assert_str_eq(request.config->monitor.consumer_groups.items[1], "search-*");
    cr_assert_eq(request.config->monitor.groups_interval_ms, 15000);
    cr_assert_eq(request.config->log.level, LOG_WARN);
    cr_assert_eq(request.config->pipelines[0].limits.in_flight_events, 5000);
    cr_assert_str_eq(request.topics.items[0], "orders.events");
    cr_assert_str_eq(request.patterns.items[0], "*.events");
    TokenValue arrived;
    cr_assert(groups_request_token(&request, &arrived));
    cr_assert_str_eq(arrived.secret, "s3");
    cr_assert_str_eq(arrived.principal, "relay");
    cr_assert_str_eq(arrived.extensions->items[1], "lkc-1");
    cr_assert_eq(arrived.expires_ms, 1764373600123);
    groups_request_free(&request);
    for (size_t cut = 0; cut < length; cut++) {
        char *part = x_malloc(cut + 1);
        memcpy(part, bytes, cut);
        cr_assert_not(groups_request_read(part, cut, &request), "cut to %zu", cut);
        groups_request_free(&request);
        free(part);
    }
}

Test(groups, an_answer_that_is_cut_or_damaged_is_refused_or_harmless)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    write_answer(&text);
    size_t length = text.length - GROUPS_MESSAGE_HEAD;
    for (size_t cut = 0; cut < length; cut++) {
        char *part = x_malloc(cut + 1); /* of its own, so that a read beyond it is found */
        memcpy(part, text.data + GROUPS_MESSAGE_HEAD, cut);
        GroupsAnswer answer;
        cr_assert_not(groups_answer_read(part, cut, &answer), "cut to %zu", cut);
        groups_answer_free(&answer);
        free(part);
    }
    for (size_t i = 0; i < length; i++) {
        for (int bit = 0; bit < 8; bit++) {
            char *copy = x_malloc(length);
            memcpy(copy, text.data + GROUPS_MESSAGE_HEAD, length);
            copy[i] = (char)(copy[i] ^ (1 << bit));
            GroupsAnswer answer;
            if (groups_answer_read(copy, length, &answer)) {
                cr_assert_leq(answer.count, GROUP_ROWS_MAX);
            }
            groups_answer_free(&answer);
            free(copy);
        }
    }
}
