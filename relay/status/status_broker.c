#include "status/status_broker.h"

#include <librdkafka/rdkafka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "command/screen.h"
#include "config/lists.h"
#include "groups/groups_ask.h"
#include "groups/groups_learn.h"
#include "groups/groups_round.h"
#include "status/status_groups.h"

enum { METADATA_MS = 5000, ROUNDS_MAX = 3 };

static void broker_count(const Config *config, StatusBroker *found)
{
    rd_kafka_t *rk = NULL;
    if (groups_client_new(config, &rk, &found->error) != OK) {
        return;
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, NULL, &metadata, METADATA_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        found->brokers = metadata->broker_cnt;
        rd_kafka_metadata_destroy(metadata);
    } else {
        error_set(&found->error, CODE_KAFKA_UNREACHABLE, "no Kafka broker of '%s' answers: %s",
                  config->kafka.brokers, rd_kafka_err2str(code));
        error_hint(&found->error, "Check kafka.brokers, and whether the brokers are running.");
    }
    rd_kafka_destroy(rk);
}

static json_t *broker_groups(const Config *config)
{
    StringList names = {0};
    StringList patterns = {0};
    groups_config_topics(config, &names, &patterns);
    Round *round = round_new(config);
    RoundView view;
    int rounds = 0;
    do { /* a coordinator may be loading */
        round_run(round, &names, &patterns);
        round_view(round, &view);
    } while (view.error->class != ERROR_NONE && ++rounds < ROUNDS_MAX);
    json_t *groups = json_array();
    for (size_t i = 0; i < view.count; i++) {
        const GroupRow *row = &view.rows[i];
        json_t *seconds = isnan(row->lag_seconds) ? json_null() : json_real(row->lag_seconds);
        json_array_append_new(groups, json_pack("{s:s,s:s,s:I,s:o,s:n,s:b,s:b}", "group",
                                                row->group, "topic", row->topic, "lag_events",
                                                (json_int_t)row->lag_events, "lag_seconds", seconds,
                                                "change_per_second", "grows", 0, "committed",
                                                row->committed ? 1 : 0));
    }
    bool up = view.error->class == ERROR_NONE;
    json_t *object = json_pack("{s:b,s:s?,s:I,s:f,s:o}", "up", up ? 1 : 0, "error",
                               up ? NULL : error_message(view.error), "groups_left_out",
                               (json_int_t)view.groups_left_out, "objective_seconds",
                               (double)config->monitor.lag_objective_ms / 1000, "groups", groups);
    round_free(&round);
    string_list_free(&names);
    string_list_free(&patterns);
    return object;
}

void status_broker_read(const Config *config, StatusBroker *ret_found)
{
    memset(ret_found, 0, sizeof(*ret_found));
    broker_count(config, ret_found);
    if (ret_found->brokers > 0 && config->monitor.consumer_groups.count > 0) {
        ret_found->groups = broker_groups(config);
    }
}

void status_broker_free(StatusBroker *found)
{
    json_decref(found->groups);
    error_clear(&found->error);
    memset(found, 0, sizeof(*found));
}

void status_broker_add_screen(const StatusBroker *found, const Config *config, bool colours,
                              Text *out)
{
    if (found->brokers > 0) {
        text_add(out, "kafka ");
        screen_add(out, false, COLOUR_NONE, config->kafka.brokers);
        text_printf(out, " (%d broker%s)\n", found->brokers, found->brokers == 1 ? "" : "s");
    } else {
        screen_add(out, colours, COLOUR_BAD, error_message(&found->error));
        text_add(out, "\n  remedy  ");
        screen_add(out, false, COLOUR_NONE, error_own_hint(&found->error));
        text_add_char(out, '\n');
    }
    status_groups_add(found->groups, colours, out);
}

void status_broker_status(const StatusBroker *found, const Config *config, json_t *status)
{
    json_t *kafka = document_object(status, "kafka");
    document_bool(kafka, "connected", found->brokers > 0);
    document_count(kafka, "broker_count", found->brokers);
    document_text(kafka, "brokers", config->kafka.brokers);
    document_text(kafka, "error", found->brokers > 0 ? NULL : error_message(&found->error));
    if (found->groups != NULL) {
        (void)json_object_set(status, "consumer_groups", found->groups);
    } else {
        document_null(status, "consumer_groups");
    }
}
