#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "flow/topic.h"

static Metrics *metrics;
static Topics *topics;

static void begin(void)
{
    metrics = metrics_new();
    topics = topics_new(metrics, "orders");
}

static void end(void)
{
    topics_free(&topics);
    metrics_free(&metrics);
}

TestSuite(topic, .init = begin, .fini = end);

static Topic *get(const char *name)
{
    Topic *topic = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(topics_get(topics, slice_of(name), &topic, &err), OK, "%s", error_message(&err));
    return topic;
}

static void assert_refused(Slice name)
{
    Topic *topic = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(topics_get(topics, name, &topic, &err), FAILED, "'%.*s'", SLICE_ARG(name));
    cr_assert_null(topic);
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_eq(err.code, CODE_TOPIC_NAME_INVALID);
}

Test(topic, one_name_is_one_topic)
{
    Topic *orders = get("orders.events");
    Topic *payments = get("payments.events");
    cr_assert_neq(orders, payments);
    cr_assert_eq(get("orders.events"), orders);
    cr_assert_eq(get("orders.events"), orders);
    cr_assert_eq(get("payments.events"), payments);
    cr_assert_str_eq(orders->name, "orders.events");
}

Test(topic, a_name_that_begins_like_another_is_another)
{
    Topic *longer = get("orders.events");
    Topic *shorter = get("orders");
    cr_assert_neq(longer, shorter);
    cr_assert_eq(get("orders.events"), longer);
    cr_assert_eq(get("orders"), shorter);
}

Test(topic, a_name_need_not_end_with_nul)
{
    static const char TEXT[] = {'a', 'b', 'c', 'd'};
    Topic *topic = NULL;
    cr_assert_eq(topics_get(topics, (Slice){.data = TEXT + 1, .length = 2}, &topic, NULL), OK);
    cr_assert_str_eq(topic->name, "bc");
    cr_assert_eq(get("bc"), topic);
}

Test(topic, a_name_is_any_text_that_can_be_shown)
{
    char name[TOPIC_NAME_MAX + 2];
    memset(name, 'x', sizeof(name));
    cr_assert_not_null(get("a"));
    cr_assert_not_null(get("order item/\xc3\xa4"));
    Topic *longest = NULL;
    cr_assert_eq(
        topics_get(topics, (Slice){.data = name, .length = TOPIC_NAME_MAX}, &longest, NULL), OK);
    assert_refused((Slice){.data = name, .length = TOPIC_NAME_MAX + 1});
    assert_refused(SLICE_NULL);
    assert_refused(SLICE_LITERAL(""));
    assert_refused(SLICE_LITERAL("two\nlines"));
    assert_refused(SLICE_LITERAL("\xff"));
    assert_refused(SLICE_LITERAL("a\xc3"));
    assert_refused(SLICE_LITERAL("turned\xe2\x80\xaeround"));
}

static Status short_names(Slice name, Error *err)
{
    return name.length < 4 ? OK : error_set(err, CODE_TOPIC_NAME_INVALID, "long");
}

Test(topic, the_destination_has_rules_of_its_own)
{
    topics_set_rule(topics, short_names);
    cr_assert_not_null(get("abc"));
    assert_refused(SLICE_LITERAL("abcd"));
    assert_refused(SLICE_LITERAL("a\nb"));
    topics_set_rule(topics, NULL);
    cr_assert_not_null(get("abcd"));
}

Test(topic, a_name_with_a_nul_byte_is_not_the_part_before_it)
{
    static const char NAME[] = "orders\0and much more than any other name here has";
    (void)get("orders");
    assert_refused((Slice){.data = NAME, .length = sizeof(NAME) - 1});
}

Test(topic, their_number_is_limited_and_the_known_ones_go_on)
{
    char name[32];
    for (int i = 0; i < TOPICS_MAX; i++) {
        snprintf(name, sizeof(name), "topic-%d", i);
        (void)get(name);
    }
    Topic *topic = NULL;
    AUTO_ERROR err = {0};
    cr_assert_eq(topics_get(topics, SLICE_LITERAL("one-more"), &topic, &err), OK);
    cr_assert(topic->beyond, "a stand-in");
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_eq(err.code, CODE_TOPICS_TOO_MANY);
    cr_assert_not_null(strstr(error_message(&err), "one-more"));
    cr_assert_eq(get("another"), topic);
    cr_assert_not(topics_have_room(topics));
    cr_assert_str_eq(get("topic-0")->name, "topic-0");
    cr_assert_str_eq(get("topic-1999")->name, "topic-1999");
}

Test(topic, a_pipeline_of_tables_has_as_many_as_there_are_tables)
{
    char name[32];
    topics_allow(topics, TOPICS_MAX_TABLES);
    for (int i = 0; i < TOPICS_MAX + 1; i++) {
        snprintf(name, sizeof(name), "topic-%d", i);
        cr_assert_not(get(name)->beyond);
    }
    cr_assert(topics_have_room(topics));
}

static char forgotten[32];

static void note_forgotten(void *arg, Topic *topic)
{
    (void)arg;
    snprintf(forgotten, sizeof(forgotten), "%s", topic->name);
}

static void fill_at(int64_t now_us)
{
    topics_pass_time(topics, now_us);
    char name[32];
    for (int i = 0; i < TOPICS_MAX; i++) {
        snprintf(name, sizeof(name), "topic-%d", i);
        (void)get(name);
    }
}

Test(topic, one_that_was_not_used_for_an_hour_gives_its_place_to_a_new_one)
{
    int64_t hour_us = TOPIC_IDLE_SECONDS * INT64_C(1000000);
    topics_on_forget(topics, NULL, note_forgotten, NULL);
    fill_at(hour_us);
    topics_pass_time(topics, hour_us + 5);
    for (int i = 0; i < TOPICS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "topic-%d", i);
        (void)(i == 7 ? NULL : get(name));
    }
    topics_pass_time(topics, hour_us * 2);
    cr_assert(get("new")->beyond, "within the hour");
    topics_pass_time(topics, hour_us * 2 + 1);
    cr_assert(topics_have_room(topics));
    cr_assert_str_eq(get("new")->name, "new");
    cr_assert_str_eq(forgotten, "topic-7");
    cr_assert(get("newer")->beyond, "all others were used later");
    Text text = TEXT_EMPTY;
    metrics_expose(metrics, &text);
    cr_assert_null(strstr(text.data, "topic=\"topic-7\""));
    text_free(&text);
}

static Topic *needed;

static bool is_not_needed(void *arg, const Topic *topic)
{
    (void)arg;
    return topic != needed;
}

Test(topic, one_that_is_in_use_keeps_its_place)
{
    topics_on_forget(topics, is_not_needed, note_forgotten, NULL);
    fill_at(1);
    for (int i = 0; i < TOPICS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "topic-%d", i);
        get(name)->in_flight = i == 9 ? 0 : 1;
    }
    needed = get("topic-9"); /* events wait for it */
    topics_pass_time(topics, (TOPIC_IDLE_SECONDS + 1) * INT64_C(1000000));
    cr_assert_not(topics_have_room(topics));
    cr_assert(get("new")->beyond);
    needed = NULL;
    cr_assert(topics_have_room(topics));
    cr_assert_str_eq(get("new")->name, "new");
}

static void count_topic(void *arg, Topic *topic)
{
    *(size_t *)arg += strlen(topic->name);
}

Test(topic, each_visits_every_topic_once)
{
    (void)get("a");
    (void)get("bb");
    (void)get("a");
    (void)get("cccc");
    size_t length = 0;
    topics_each(topics, count_topic, &length);
    cr_assert_eq(length, 7);
}

Test(topic, each_has_its_own_counter)
{
    ++*get("a")->published;
    ++*get("b")->published;
    ++*get("b")->published;
    Text text = TEXT_EMPTY;
    metrics_expose(metrics, &text);
    cr_assert_not_null(
        strstr(text.data, "outboxd_events_published_total{pipeline=\"orders\",topic=\"a\"} 1\n"));
    cr_assert_not_null(
        strstr(text.data, "outboxd_events_published_total{pipeline=\"orders\",topic=\"b\"} 2\n"));
    text_free(&text);
}
