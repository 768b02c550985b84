/* groups_message: what the relay and its helper process for consumer groups say to each other. Both
 * are the same program. A message is its length (4 bytes, big-endian), then numbers of 8 bytes,
 * big-endian, and NUL-terminated texts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "groups/groups_round.h"
#include "token/token.h"

enum { GROUPS_MESSAGE_HEAD = 4, GROUPS_MESSAGE_MAX = 16 * 1024 * 1024 };

/* What the helper logs in with: it runs no program of anybody's. */
typedef struct GroupsToken {
    char *secret; /* "": none */
    char *principal;
    StringList extensions;
    int64_t expires_ms;
} GroupsToken;

/* What the helper needs to look: the configuration, the topics, and a token. */
typedef struct GroupsRequest {
    Config *config; /* the parts that groups_round.c uses, with one pipeline */
    StringList topics;
    StringList patterns; /* of topics that may be written, too */
    GroupsToken token;
} GroupsRequest;

typedef struct GroupsAnswerRow {
    const char *group; /* in the message */
    const char *topic;
    int64_t lag_events;
    double lag_seconds;       /* NAN: not known */
    double change_per_second; /* NAN: not known */
    bool grows;
    bool committed;
} GroupsAnswerRow;

typedef struct GroupsAnswer {
    GroupsAnswerRow *rows;
    size_t count;
    size_t groups_left_out;
    Error error; /* class ERROR_NONE: complete */
} GroupsAnswer;

/** Appends a whole message. token: NULL: none is needed. */
void groups_request_write(const Config *config, const StringList *topics,
                          const StringList *patterns, const TokenValue *token, Text *out);
void groups_answer_write(const RoundView *view, Text *out);

/** Length of what follows GROUPS_MESSAGE_HEAD bytes; above GROUPS_MESSAGE_MAX: not a message. */
size_t groups_message_length(const char head[GROUPS_MESSAGE_HEAD]);

/** Reads what follows the head; false when it is not a request. Free in any case. */
bool groups_request_read(const char *bytes, size_t length, GroupsRequest *ret_request);
/** The token of the request, borrowed; false: it has none. */
bool groups_request_token(const GroupsRequest *request, TokenValue *ret_value);
void groups_request_free(GroupsRequest *request);

/** Reads what follows the head; rows point into it. False when it is not an answer. Free in any
 * case. */
bool groups_answer_read(const char *bytes, size_t length, GroupsAnswer *ret_answer);
void groups_answer_free(GroupsAnswer *answer);
