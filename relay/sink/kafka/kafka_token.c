#include "sink/kafka/kafka_token.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

/* The shortest pause of token/: asked before its pause is over, it repeats the failure at once. */
enum { AGAIN_SECONDS = 1 };

/* librdkafka wants a name for its log; the broker takes the principal out of the token. */
static const char NOBODY[] = "outboxd";

struct KafkaToken {
    const char *pipeline; /* its name */
    KafkaProducer *producer;
    KafkaHealth *health;
    TokenWait *wait; /* NULL: none is asked for */
    struct event *again;
    unsigned number; /* of the one that the producer has and nobody has refused; 0: none */
    bool failed;     /* there is no new one, or a broker refuses this one */
};

Status kafka_token_give(rd_kafka_t *rk, const TokenValue *value, Error *err)
{
    char text[512];
    const char **extensions = (const char **)(void *)value->extensions->items; /* it copies them */
    rd_kafka_resp_err_t failed = rd_kafka_oauthbearer_set_token(
        rk, value->secret, value->expires_ms, *value->principal != '\0' ? value->principal : NOBODY,
        extensions, value->extensions->count, text, sizeof(text));
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return OK;
    }
    /* Its words repeat what it does not take. */
    return error_set_as(err, ERROR_RETRY, EXIT_KAFKA, CODE_TOKEN_OUTPUT_INVALID,
                        "librdkafka does not take what kafka.oauth_command printed (%s): %s",
                        rd_kafka_err2name(failed),
                        value->extensions->count > 0
                            ? "its end, or its extensions: names of letters, values of one line"
                            : "its end");
}

/* Whoever is connected goes on; then the log alone says it, once for each failure. */
static void token_tell(KafkaToken *token, const Error *err)
{
    bool same = token->failed && error_same(kafka_health_login(token->health), err);
    token->failed = true;
    kafka_health_note_login(token->health, err);
    if (!kafka_health_answers(token->health)) {
        kafka_health_trouble(token->health, err);
    } else if (!same) {
        log_error(LOG_WARN, token->pipeline, err,
                  "open connections stay in use; outboxd fetches another token");
    }
}

static void token_well(KafkaToken *token)
{
    token->failed = false;
    kafka_health_note_login(token->health, NULL);
}

static void token_on_answer(void *arg, const TokenValue *value, const Error *err)
{
    KafkaToken *token = arg;
    rd_kafka_t *rk = kafka_producer_handle(token->producer);
    AUTO_ERROR untaken = {0};
    token->wait = NULL;
    if (rk == NULL) {
        return;
    }
    if (err == NULL && kafka_token_give(rk, value, &untaken) == OK) {
        token->number = value->number;
        if (kafka_health_login(token->health)->code != CODE_TOKEN_REFUSED) {
            token_well(token); /* else no broker has taken one since */
        }
        return;
    }
    if (err == NULL) {
        token_discard(TOKEN_KAFKA, value->number, &untaken);
    }
    const Error *why = err != NULL ? err : &untaken;
    token->number = 0;
    (void)rd_kafka_oauthbearer_set_token_failure(rk, error_message(why));
    event_add(token->again, &(struct timeval){.tv_sec = AGAIN_SECONDS});
    token_tell(token, why);
}

void kafka_token_asked(KafkaToken *token)
{
    if (token->wait == NULL && token_is_wanted(TOKEN_KAFKA)) {
        event_del(token->again);
        token->wait = token_ask(TOKEN_KAFKA, true, token_on_answer, token);
    }
}

static void token_on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    kafka_token_asked(arg);
}

bool kafka_token_blamed(KafkaToken *token)
{
    if (token->number != 0) {
        AUTO_ERROR err = {0};
        kafka_health_refused(token->health, &err);
        token_refuse(TOKEN_KAFKA, token->number, &err);
        token->number = 0;
        token_tell(token, &err);
        kafka_token_asked(token);
    }
    return token->failed;
}

void kafka_token_accepted(KafkaToken *token)
{
    if (token->number != 0) {
        token_accept(TOKEN_KAFKA, token->number);
        token_well(token);
    }
}

void kafka_token_forget(KafkaToken *token)
{
    token_forget(&token->wait);
    event_del(token->again);
    token->number = 0;
    token_well(token);
}

KafkaToken *kafka_token_new(struct event_base *base, const char *pipeline, KafkaProducer *producer,
                            KafkaHealth *health)
{
    KafkaToken *token = x_calloc(1, sizeof(*token));
    token->again = event_new(base, -1, 0, token_on_again, token);
    token->pipeline = pipeline;
    token->producer = producer;
    token->health = health;
    return token;
}

void kafka_token_free(KafkaToken **token)
{
    if (*token != NULL) {
        kafka_token_forget(*token);
        event_free((*token)->again);
        free(*token);
        *token = NULL;
    }
}
