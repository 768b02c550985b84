#include "groups/groups_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "config/lists.h"
#include "groups/groups_ask.h"
#include "sink/kafka/kafka_token.h"

struct GroupsClient {
    const Config *config;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    StringList topics;               /* known to rk */
    VEC(rd_kafka_topic_t *) handles; /* of each */
    char reason[256];                /* why librdkafka has no connection, as it said last */
};

GroupsClient *groups_client_make(const Config *config)
{
    GroupsClient *client = x_calloc(1, sizeof(*client));
    client->config = config;
    return client;
}

void groups_client_free(GroupsClient **client)
{
    GroupsClient *old = *client;
    for (size_t i = 0; i < old->handles.count; i++) {
        rd_kafka_topic_destroy(old->handles.items[i]);
    }
    if (old->rk != NULL) {
        rd_kafka_queue_destroy(old->queue);
        rd_kafka_destroy(old->rk);
    }
    string_list_free(&old->topics);
    vec_free(&old->handles);
    free(old);
    *client = NULL;
}

static bool error_is_of_connection(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__RESOLVE ||
           code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL;
}

static void client_serve(GroupsClient *client)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(client->queue, 0)) != NULL) {
        const char *facility = NULL;
        const char *text = NULL;
        int level = 0;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
            if (error_is_of_connection(rd_kafka_event_error(event))) {
                (void)snprintf(client->reason, sizeof(client->reason), "%s",
                               rd_kafka_event_error_string(event));
            }
        } else if (rd_kafka_event_log(event, &facility, &text, &level) == 0) {
            log_write(LOG_DEBUG, NULL, CODE_KAFKA_LOG,
                      LOG_FIELDS(log_text("facility", facility), log_text("client", "groups")),
                      "%s", text);
        }
        rd_kafka_event_destroy(event);
    }
}

Status groups_client_connect(GroupsClient *client, Error *err)
{
    if (client->rk == NULL) {
        if (groups_client_new(client->config, &client->rk, err) != OK) {
            return FAILED;
        }
        client->queue = rd_kafka_queue_get_main(client->rk);
    }
    client_serve(client);
    return OK;
}

void groups_client_login(GroupsClient *client, const TokenValue *token)
{
    AUTO_ERROR err = {0};
    if (groups_client_connect(client, &err) == OK &&
        kafka_token_give(client->rk, token, &err) != OK) {
        (void)snprintf(client->reason, sizeof(client->reason), "%s", error_message(&err));
    }
}

void groups_client_know(GroupsClient *client, const StringList *topics)
{
    for (size_t i = 0; i < topics->count; i++) {
        bool known = false;
        for (size_t k = 0; k < client->topics.count && !known; k++) {
            known = strcmp(client->topics.items[k], topics->items[i]) == 0;
        }
        rd_kafka_topic_t *handle =
            known ? NULL : rd_kafka_topic_new(client->rk, topics->items[i], NULL);
        if (handle != NULL) {
            string_list_add(&client->topics, topics->items[i]);
            *vec_add(&client->handles) = handle;
        }
    }
}

rd_kafka_t *groups_client_handle(const GroupsClient *client)
{
    return client->rk;
}

const StringList *groups_client_topics(const GroupsClient *client)
{
    return &client->topics;
}

void groups_client_answered(GroupsClient *client)
{
    client->reason[0] = '\0';
}

const char *groups_client_reason(GroupsClient *client)
{
    if (client->rk != NULL) {
        client_serve(client);
    }
    return client->reason;
}
