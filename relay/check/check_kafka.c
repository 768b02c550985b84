/* The brokers and the topics. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "check/check.h"
#include "config/mask.h"
#include "config/nearest.h"
#include "sink/kafka/kafka_conf.h"
#include "sink/kafka/kafka_error.h"
#include "sink/kafka/kafka_topic.h"

enum {
    BATCH_BYTES = 1000000,
    CONNECT_TIMEOUT_MS = 10000,
    CREATE_TIMEOUT_MS = 30000,
};

static const PipelineConfig *kafka_pipeline(const Check *check)
{
    for (size_t i = 0; i < check->config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &check->config->pipelines[i];
        if (pipeline->outbox.table != NULL && pipeline->sink == SINK_KAFKA) {
            return pipeline;
        }
    }
    return NULL;
}

/* rd_kafka_conf_dump() leaves aliases such as compression.type out; the table for people has them,
 * in the first column. */
static char *property_nearest(const char *name)
{
    char *table = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&table, &length);
    if (memory == NULL) {
        return NULL;
    }
    rd_kafka_conf_properties_show(memory);
    char *meant = NULL;
    if (fclose(memory) == 0) {
        Nearest nearest = nearest_begin(name);
        for (char *rest = table, *line; (line = strsep(&rest, "\n")) != NULL;) {
            line[strcspn(line, " |")] = '\0';
            if (*line != '\0' && nearest_offer(&nearest, line)) {
                free(meant);
                meant = x_strdup(line);
            }
        }
    }
    free(table);
    return meant;
}

static void property_unknown(Check *check, const char *name, const char *place)
{
    AUTO_TEXT meant = property_nearest(name);
    check_problem(check, EXIT_CONFIG, place, meant ? NULL : "see CONFIGURATION.md of librdkafka",
                  "librdkafka has no property \"%s\"%s%s%s", name, meant ? "; did you mean \"" : "",
                  meant ? meant : "", meant ? "\"?" : "");
}

void check_properties(Check *check)
{
    const StringList *list = &check->config->kafka.properties;
    for (size_t i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (equals == NULL) {
            continue; /* said when the file was read */
        }
        AUTO_TEXT name = x_strndup(list->items[i], (size_t)(equals - list->items[i]));
        const char *place = check->load->property_places.items[i];
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        char text[256];
        rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, equals + 1, text, sizeof(text));
        if (result == RD_KAFKA_CONF_UNKNOWN) {
            property_unknown(check, name, place);
        } else if (result != RD_KAFKA_CONF_OK) {
            bool secret = mask_is_secret(slice_of(name));
            check_problem(check, EXIT_CONFIG, place, NULL, "Kafka property \"%s\": %s", name,
                          secret ? "librdkafka does not accept this value" : text);
        }
        rd_kafka_conf_destroy(conf);
    }
}

/* The reason that librdkafka gave last for not being connected; "" when it gave none. Behind a
 * refusal comes that the connection has ended. */
static void kafka_drain_events(rd_kafka_t *rk, Text *reason, bool *refused)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, 0)) != NULL) {
        bool general = rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR && !general && !*refused) {
            *refused = rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__AUTHENTICATION;
            text_clear(reason);
            text_add(reason, rd_kafka_event_error_string(event));
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
}

/* A producer that nothing is produced with; NULL after a problem. */
static rd_kafka_t *kafka_open(Check *check)
{
    const PipelineConfig *pipeline = kafka_pipeline(check);
    rd_kafka_conf_t *conf = NULL;
    AUTO_ERROR err = {0};
    if (pipeline == NULL) {
        return NULL;
    }
    if (kafka_conf_new(check->config, pipeline, BATCH_BYTES, &conf, &err) != OK) {
        return NULL; /* check_properties has said it */
    }
    char text[512];
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        check_problem(check, EXIT_CONFIG, "kafka", NULL, "librdkafka refuses the properties: %s",
                      text);
    } else if (!check_kafka_login(check, rk)) {
        rd_kafka_destroy(rk);
        rk = NULL;
    }
    return rk;
}

static bool kafka_connect(Check *check, rd_kafka_t *rk, int *ret_brokers)
{
    int64_t deadline = clock_monotonic_us() + (int64_t)CONNECT_TIMEOUT_MS * 1000;
    AUTO_BUFFER reason = TEXT_EMPTY;
    rd_kafka_resp_err_t err;
    bool refused = false;
    do {
        err = topic_lookup(rk, NULL, 0, ret_brokers);
        kafka_drain_events(rk, &reason, &refused);
        /* Refused addresses and credentials do not heal within our patience. */
    } while (err != RD_KAFKA_RESP_ERR_NO_ERROR && reason.length == 0 &&
             clock_monotonic_us() < deadline);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return true;
    }
    if (refused && check_kafka_refused(check, reason.data)) {
        return false;
    }
    check_problem(check, EXIT_KAFKA, "kafka",
                  "check that the brokers are running, and that addresses, security.protocol and "
                  "credentials are right",
                  "no broker of \"%s\" answers: %s", check->config->kafka.brokers,
                  reason.length > 0 ? reason.data : rd_kafka_err2str(err));
    return false;
}

static void kafka_check_limits(Check *check, const TopicNeed *need, const TopicLimits *limits)
{
    if (limits->compacted && need->keyless) {
        check_problem(check, EXIT_KAFKA, "kafka",
                      "give the records a key, or set cleanup.policy=delete on the topic",
                      "topic \"%s\" has cleanup.policy=compact, and %s makes records without a "
                      "key: they would be refused",
                      need->name, need->user);
    }
    if (limits->compacted && need->keyless_delete != NULL) {
        check_problem(check, EXIT_KAFKA, "kafka",
                      "ALTER TABLE ... REPLICA IDENTITY FULL, or use the columns of the replica "
                      "identity as the key",
                      "topic \"%s\" has cleanup.policy=compact, and a delete of %s does not have "
                      "its key: the deleted row would stay in the topic",
                      need->name, need->keyless_delete);
    }
    if (limits->max_message_bytes >= 0 && need->record_bytes > limits->max_message_bytes) {
        AUTO_TEXT remedy = x_format("raise max.message.bytes of the topic to %lld or more",
                                    (long long)need->record_bytes);
        check_problem(check, EXIT_KAFKA, "kafka", remedy,
                      "%s creates a record of up to %lld bytes, but topic \"%s\" accepts %lld: the "
                      "broker would refuse it",
                      need->record_event, (long long)need->record_bytes, need->name,
                      (long long)limits->max_message_bytes);
    }
}

/* What emit lets in and the topic does not take would be found by the relay alone, much later. */
static void kafka_check_emit(Check *check, const TopicNeed *need, const TopicLimits *limits)
{
    if (limits->max_message_bytes < 0 || need->emit_bytes <= limits->max_message_bytes) {
        return;
    }
    AUTO_TEXT remedy = x_format(
        "raise the topic's: kafka-configs.sh --bootstrap-server %s --alter --entity-type topics "
        "--entity-name %s --add-config max.message.bytes=%lld (message.max.bytes of the brokers is "
        "the default of all topics); or let emit refuse them, as the owner of the schema: CREATE "
        "OR REPLACE FUNCTION %s RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT %lld';",
        check->config->kafka.brokers, need->name, (long long)need->emit_bytes, need->emit_limit,
        (long long)limits->max_message_bytes);
    check_warning(check, "kafka", remedy,
                  "emit accepts records of up to %lld bytes (%s), but topic \"%s\" accepts %lld: "
                  "the broker would refuse larger ones",
                  (long long)need->emit_bytes, need->emit_limit, need->name,
                  (long long)limits->max_message_bytes);
}

static const char *kafka_consequence(const TopicNeed *need)
{
    return need->aside ? "its events would become dead letters, all others are published"
                       : "its events would wait, all others are published";
}

static void kafka_missing(Check *check, const TopicNeed *need)
{
    if (check->config->kafka.create_topics) {
        return; /* the broker makes it */
    }
    AUTO_TEXT remedy =
        x_format("outboxd check%s%s --create-topics --partitions N; or send these events elsewhere",
                 *check->config->file != '\0' ? " -c " : "", check->config->file);
    check_problem(check, EXIT_KAFKA, "kafka", remedy,
                  "topic \"%s\" does not exist, needed by %s%s%s%s: %s", need->name, need->user,
                  need->event ? " (" : "", need->event ? need->event : "", need->event ? ")" : "",
                  kafka_consequence(need));
}

/* One CreateTopics request for one topic, so that one refusal does not hide another. */
static rd_kafka_resp_err_t kafka_create(const Check *check, rd_kafka_t *rk, const char *name,
                                        char *text, size_t capacity)
{
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(name, check->partitions, check->replication, text, capacity);
    if (topic == NULL) {
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    }
    for (size_t i = 0; i < check->topic_config.count; i++) {
        const char *item = check->topic_config.items[i];
        const char *equals = strchr(item, '=');
        AUTO_TEXT key = x_strndup(item, (size_t)(equals - item));
        (void)rd_kafka_NewTopic_set_config(topic, key, equals + 1);
    }
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, CREATE_TIMEOUT_MS, text, capacity);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, CREATE_TIMEOUT_MS, text, capacity);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &topic, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CREATE_TIMEOUT_MS + 1000);
    const rd_kafka_CreateTopics_result_t *result =
        event != NULL ? rd_kafka_event_CreateTopics_result(event) : NULL;
    rd_kafka_resp_err_t err =
        event != NULL ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const char *reason = event != NULL ? rd_kafka_event_error_string(event) : NULL;
    size_t count = 0;
    const rd_kafka_topic_result_t **topics =
        result != NULL ? rd_kafka_CreateTopics_result_topics(result, &count) : NULL;
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR && count == 1) {
        err = rd_kafka_topic_result_error(topics[0]);
        reason = rd_kafka_topic_result_error_string(topics[0]);
    }
    snprintf(text, capacity, "%s", reason != NULL ? reason : rd_kafka_err2str(err));
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(topic);
    return err;
}

static void kafka_create_missing(Check *check, rd_kafka_t *rk, const TopicNeed *need)
{
    char text[512];
    rd_kafka_resp_err_t err = kafka_create(check, rk, need->name, text, sizeof(text));
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        check_problem(check, EXIT_KAFKA, "kafka", NULL, "cannot create topic \"%s\": %s",
                      need->name, text);
        return;
    }
    check->created += err == RD_KAFKA_RESP_ERR_NO_ERROR ? 1 : 0;
    text_printf(&check->facts, "created        topic \"%s\"\n", need->name);
}

static void kafka_check_topic(Check *check, rd_kafka_t *rk, const TopicNeed *need,
                              const TopicLookup *lookup, bool may_create)
{
    if (lookup->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_check_limits(check, need, &lookup->limits);
        kafka_check_emit(check, need, &lookup->limits);
    } else if (lookup->error != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
               lookup->error != RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
        AUTO_ERROR err = {0};
        kafka_topic_error(lookup->error, need->name, &err);
        check_problem(check, EXIT_KAFKA, "kafka",
                      *error_own_hint(&err) != '\0' ? error_own_hint(&err) : NULL, "%s: %s",
                      error_message(&err), kafka_consequence(need));
    } else if (may_create) {
        kafka_create_missing(check, rk, need);
    } else {
        kafka_missing(check, need);
    }
}

static void kafka_check_topics(Check *check, rd_kafka_t *rk, int *ret_brokers)
{
    TopicLookup *lookups = x_calloc(check->topic_count + 1, sizeof(*lookups));
    for (size_t i = 0; i < check->topic_count; i++) {
        lookups[i].name = check->topics[i].name;
    }
    rd_kafka_resp_err_t err = topic_lookup(rk, lookups, check->topic_count, ret_brokers);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        check_problem(check, EXIT_KAFKA, "kafka", NULL, "cannot query topics: %s",
                      rd_kafka_err2str(err));
    }
    /* A topic is not made from a configuration that is wrong. */
    bool may_create = check->create_topics && check->code != EXIT_CONFIG;
    for (size_t i = 0; i < check->topic_count && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        kafka_check_topic(check, rk, &check->topics[i], &lookups[i], may_create);
    }
    free(lookups);
}

void check_kafka(Check *check)
{
    rd_kafka_t *rk = kafka_open(check);
    if (rk == NULL) {
        return;
    }
    size_t before = check->problems->errors;
    int brokers = 0;
    bool connected = kafka_connect(check, rk, &brokers);
    if (connected && check->topic_count > 0) {
        kafka_check_topics(check, rk, &brokers);
    }
    if (check->problems->errors == before) {
        text_printf(&check->facts, "kafka          %d broker%s, %zu topic%s\n", brokers,
                    brokers == 1 ? "" : "s", check->topic_count,
                    check->topic_count == 1 ? "" : "s");
    }
    if (connected) {
        check_groups(check);
    }
    rd_kafka_destroy(rk);
}
