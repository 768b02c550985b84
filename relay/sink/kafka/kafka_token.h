/* kafka_token: the token of kafka.oauth_command (token/token.h) that a producer logs in with.
 *
 * librdkafka asks for one when the producer is made, when four fifths of the life of the present
 * one are over, and ten seconds after a failure; it goes on with the one that it has meanwhile.
 * After a failure we do not wait for that: it is given one as soon as there is one.
 * Once a broker has refused one, that is the trouble until a broker takes another. Loop thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "sink/kafka/kafka_health.h"
#include "sink/kafka/kafka_producer.h"
#include "token/token.h"

typedef struct KafkaToken KafkaToken;

KafkaToken *kafka_token_new(struct event_base *base, const char *pipeline, KafkaProducer *producer,
                            KafkaHealth *health);
void kafka_token_free(KafkaToken **token);

/** librdkafka asks for one (RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH). */
void kafka_token_asked(KafkaToken *token);

/** A login failed. True: the producer has no token, or a broker refuses the one that it has; then
 * another one is asked for, and kafka_health_unreachable() says it. */
bool kafka_token_blamed(KafkaToken *token);

/** A broker answers: it has taken the token. */
void kafka_token_accepted(KafkaToken *token);

/** The producer is closed. */
void kafka_token_forget(KafkaToken *token);

/** Gives it to a client. Errors: RETRY / TOKEN_OUTPUT_INVALID. */
Status kafka_token_give(rd_kafka_t *rk, const TokenValue *value, Error *err);
