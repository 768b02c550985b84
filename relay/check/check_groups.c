/* The consumer groups that shall be watched: may they be described? Only warnings: publishing does
 * not need them. */
#include <string.h>

#include "check/check.h"
#include "config/lists.h"
#include "groups/groups_ask.h"

static void groups_warn(Check *check, const Error *err)
{
    check_warning(check, "kafka", *error_own_hint(err) != '\0' ? error_own_hint(err) : NULL, "%s",
                  error_message(err));
}

/* Groups that are named outright: each is asked about. */
static size_t groups_check_names(Check *check, rd_kafka_t *rk, const StringList *patterns)
{
    GroupOffsets groups[GROUPS_ASKED_MAX] = {0};
    size_t count = 0;
    size_t seen = 0;
    for (size_t i = 0; i < patterns->count && count < GROUPS_ASKED_MAX; i++) {
        if (groups_is_name(patterns->items[i])) {
            groups[count++].group = patterns->items[i];
        }
    }
    rd_kafka_topic_partition_list_t *any = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(
        any, check->topic_count > 0 ? check->topics[0].name : "outboxd", 0);
    groups_offsets(rk, any, groups, count);
    for (size_t i = 0; i < count; i++) {
        if (groups[i].committed != NULL) {
            rd_kafka_topic_partition_list_destroy(groups[i].committed);
            seen++;
        } else {
            groups_warn(check, &groups[i].error);
        }
        error_clear(&groups[i].error);
    }
    rd_kafka_topic_partition_list_destroy(any);
    return seen;
}

void check_groups(Check *check)
{
    const StringList *patterns = &check->config->monitor.consumer_groups;
    if (patterns->count == 0) {
        return;
    }
    AUTO_ERROR err = {0};
    rd_kafka_t *rk = NULL;
    if (groups_client_new(check->config, &rk, &err) != OK) {
        return; /* check_properties has said it */
    }
    if (!check_kafka_login(check, rk)) {
        rd_kafka_destroy(rk);
        return;
    }
    StringList found = {0};
    size_t seen = groups_check_names(check, rk, patterns);
    bool globs = false;
    for (size_t i = 0; i < patterns->count; i++) {
        globs |= !groups_is_name(patterns->items[i]);
    }
    if (globs && (groups_list(rk, patterns, &found, &err) != OK ||
                  groups_check_globs(rk, patterns, &found, &err) != OK)) {
        groups_warn(check, &err);
    }
    seen += found.count;
    if (found.count > GROUPS_ASKED_MAX) {
        check_warning(check, "kafka", "use narrower patterns",
                      "monitor.consumer_groups matches %zu groups; the relay watches %d of them",
                      found.count, GROUPS_ASKED_MAX);
    }
    text_printf(&check->facts, "groups         %zu consumer group%s may be described\n", seen,
                seen == 1 ? "" : "s");
    string_list_free(&found);
    rd_kafka_destroy(rk);
}
