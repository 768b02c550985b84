#include "sink/kafka/kafka_health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/kafka/kafka_error.h"

enum { REASON_SECONDS = 10 }; /* another reason does not replace one that is so young */

struct KafkaHealth {
    const SinkEvents *events;
    const char *pipeline; /* its name */
    const Config *config;
    double *connected; /* the metric */
    bool answers;
    bool troubled;
    int brokers;
    char cluster[64]; /* id of the one that answered; "": none yet */
    char reason[400]; /* what the connection to a broker failed with; "": none since one answered */
    int64_t reason_us; /* monotonic: when */
    rd_kafka_resp_err_t reason_code;
    Error *login; /* why there is no token to log in with */
    char *remedy; /* of a login that is refused; NULL: that of the code */
};

KafkaHealth *kafka_health_new(const SinkOptions *options, const SinkEvents *events)
{
    KafkaHealth *health = x_calloc(1, sizeof(*health));
    health->events = events;
    health->pipeline = options->pipeline->name;
    health->config = options->config;
    health->connected = options->stats->broker->kafka_connected;
    health->login = x_calloc(1, sizeof(Error));
    return health;
}

void kafka_health_free(KafkaHealth **health)
{
    if (*health != NULL) {
        error_clear((*health)->login);
        free((*health)->login);
        free((*health)->remedy);
        free(*health);
        *health = NULL;
    }
}

void kafka_health_note_answer(KafkaHealth *health, bool answers)
{
    health->answers = answers;
    *health->connected = answers ? 1 : 0;
}

bool kafka_health_answers(const KafkaHealth *health)
{
    return health->answers;
}

int kafka_health_brokers(const KafkaHealth *health)
{
    return health->brokers;
}

const char *kafka_health_bootstrap(const KafkaHealth *health)
{
    return health->config->kafka.brokers;
}

/* Said when the first broker answers, and when another cluster does. */
void kafka_health_note_cluster(KafkaHealth *health, const char *cluster, int brokers)
{
    health->brokers = brokers;
    health->reason[0] = '\0';
    kafka_health_note_answer(health, true);
    const char *id = cluster != NULL ? cluster : "unknown";
    if (strcmp(health->cluster, id) == 0 || (cluster == NULL && health->cluster[0] != '\0')) {
        return;
    }
    snprintf(health->cluster, sizeof(health->cluster), "%s", id);
    log_write(LOG_INFO, health->pipeline, CODE_KAFKA_CONNECTED,
              LOG_FIELDS(log_text("cluster", health->cluster),
                         log_text("bootstrap", kafka_health_bootstrap(health)),
                         log_number("brokers", brokers)),
              "a Kafka broker answers");
}

/* What one broker's connection fails with is the reason that people look for; "all brokers are
 * down" comes behind it. The first of several stays for a while, or two would alternate. */
void kafka_health_note_reason(KafkaHealth *health, rd_kafka_resp_err_t code, const char *text)
{
    int64_t now_us = clock_monotonic_us();
    bool of_connection = code == RD_KAFKA_RESP_ERR__TRANSPORT ||
                         code == RD_KAFKA_RESP_ERR__RESOLVE || code == RD_KAFKA_RESP_ERR__SSL ||
                         code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
                         code == RD_KAFKA_RESP_ERR__BAD_MSG || code == RD_KAFKA_RESP_ERR__TIMED_OUT;
    /* a refusal is what is meant, and the end of its connection comes beside it */
    bool refusal = code == RD_KAFKA_RESP_ERR__AUTHENTICATION && health->reason_code != code;
    bool fresh = health->reason[0] != '\0' && !refusal &&
                 now_us - health->reason_us < REASON_SECONDS * INT64_C(1000000);
    if (!of_connection || fresh) {
        return;
    }
    health->reason_us = now_us;
    health->reason_code = code;
    const char *times = strstr(text, " (after "); /* the same failure is the same text */
    int length = times != NULL ? (int)(times - text) : (int)strlen(text);
    snprintf(health->reason, sizeof(health->reason), "%.*s", length, text);
}

void kafka_health_note_login(KafkaHealth *health, const Error *err)
{
    if (err != NULL) {
        error_copy(health->login, err);
    } else {
        error_clear(health->login);
    }
}

const Error *kafka_health_login(const KafkaHealth *health)
{
    return health->login;
}

void kafka_health_set_remedy(KafkaHealth *health, const char *text)
{
    free(health->remedy);
    health->remedy = text != NULL ? x_strdup(text) : NULL;
}

void kafka_health_unreachable(const KafkaHealth *health, rd_kafka_resp_err_t code, Error *err)
{
    if (health->login->class != ERROR_NONE) {
        error_copy(err, health->login);
        return;
    }
    bool known = health->reason[0] != '\0';
    kafka_connection_error(known ? health->reason_code : code, known ? health->reason : NULL,
                           kafka_health_bootstrap(health), err);
    if (err->code == CODE_KAFKA_AUTHENTICATION && health->remedy != NULL) {
        error_hint(err, "%s", health->remedy);
    }
}

void kafka_health_trouble(KafkaHealth *health, const Error *err)
{
    /* A broker that refuses one topic has answered. */
    bool answered = err->code == CODE_KAFKA_TOPIC_UNKNOWN || err->code == CODE_KAFKA_TOPIC_DENIED ||
                    err->code == CODE_KAFKA_DENIED;
    health->troubled = true;
    kafka_health_note_answer(health, answered);
    health->events->trouble(health->events->arg, err);
}

void kafka_health_healed(KafkaHealth *health)
{
    kafka_health_note_answer(health, true);
    if (health->troubled) {
        health->troubled = false;
        health->events->healed(health->events->arg);
    }
}

void kafka_health_refused(const KafkaHealth *health, Error *err)
{
    const rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__AUTHENTICATION;
    bool known = health->reason[0] != '\0' && health->reason_code == code;
    error_set(err, CODE_KAFKA_AUTHENTICATION, "%s",
              known ? health->reason : rd_kafka_err2str(code));
}
