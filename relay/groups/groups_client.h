/* groups_client: the client that a round asks through, and the topics that it was told of. Blocks
 * as groups_ask.h says. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/config.h"
#include "token/token.h"

typedef struct GroupsClient GroupsClient;

GroupsClient *groups_client_make(const Config *config);
void groups_client_free(GroupsClient **client);

/** Connects, the first time; handles what librdkafka has told. */
Status groups_client_connect(GroupsClient *client, Error *err);
/** Logs in with that token from here on; what is wrong with it is the reason (see below). */
void groups_client_login(GroupsClient *client, const TokenValue *token);
/** NULL before the first groups_client_connect() that succeeded. */
rd_kafka_t *groups_client_handle(const GroupsClient *client);

/** Those topics are asked about from now on. */
void groups_client_know(GroupsClient *client, const StringList *topics);
const StringList *groups_client_topics(const GroupsClient *client);

/** A round was complete: what was wrong before is over. */
void groups_client_answered(GroupsClient *client);
/** Why there is no connection, as librdkafka said last; "": it said nothing. */
const char *groups_client_reason(GroupsClient *client);
