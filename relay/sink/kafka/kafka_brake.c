#include "sink/kafka/kafka_brake.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "flow/event.h"
#include "flow/topic.h" /* Topic: its name */
#include "sink/kafka/kafka_error.h"

/* One refused partition at a time has the loop's attention; others wait for their turn. */
struct Brake {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int fd;
    bool open;
    bool wanted;                    /* the loop is to pause `partition` of `topic` */
    char topic[KAFKA_NAME_MAX + 1]; /* the last one that was wanted; "": none */
    int32_t partition;
};

Brake *brake_new(int fd)
{
    Brake *brake = x_calloc(1, sizeof(*brake));
    brake->fd = fd;
    pthread_mutex_init(&brake->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&brake->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return brake;
}

void brake_free(Brake **brake)
{
    if (*brake == NULL) {
        return;
    }
    pthread_cond_destroy(&(*brake)->changed);
    pthread_mutex_destroy(&(*brake)->mutex);
    free(*brake);
    *brake = NULL;
}

static struct timespec brake_deadline(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += BRAKE_WAIT_MS / 1000;
    at.tv_nsec += BRAKE_WAIT_MS % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

static bool brake_is_on(const Brake *brake, const char *topic, int32_t partition)
{
    return brake->partition == partition && strcmp(brake->topic, topic) == 0;
}

/* Until the loop has paused what is wanted; false: waited long enough. */
static bool brake_wait(Brake *brake, const struct timespec *deadline)
{
    while (brake->open && brake->wanted) {
        if (pthread_cond_timedwait(&brake->changed, &brake->mutex, deadline) != 0) {
            return false;
        }
    }
    return true;
}

static void brake_hit(Brake *brake, const char *topic, int32_t partition)
{
    struct timespec deadline = brake_deadline();
    pthread_mutex_lock(&brake->mutex);
    /* Called for each record of the request: only the first has to wait. */
    if (!brake_is_on(brake, topic, partition) && brake_wait(brake, &deadline) && brake->open) {
        snprintf(brake->topic, sizeof(brake->topic), "%s", topic);
        brake->partition = partition;
        brake->wanted = true;
        uint64_t one = 1;
        (void)!write(brake->fd, &one, sizeof(one));
        (void)brake_wait(brake, &deadline);
    }
    pthread_mutex_unlock(&brake->mutex);
}

/* In one of librdkafka's threads, before the report is queued. What is not refused for what it is
 * may come from librdkafka's main thread, which must not wait: the loop needs it to pause. */
static rd_kafka_resp_err_t on_acknowledgement(rd_kafka_t *rk, rd_kafka_message_t *message,
                                              void *arg)
{
    (void)rk;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR && kafka_error_refuses(message->err)) {
        const Event *event = message->_private;
        brake_hit(arg, event->topic->name, message->partition);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

// NOLINTBEGIN(readability-non-const-parameter): the type is librdkafka's
static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *arg,
                                  char *text, size_t size)
{
    (void)conf;
    (void)text;
    (void)size;
    return rd_kafka_interceptor_add_on_acknowledgement(rk, "brake", on_acknowledgement, arg);
}
// NOLINTEND(readability-non-const-parameter)

void brake_install(Brake *brake, rd_kafka_conf_t *conf)
{
    (void)rd_kafka_conf_interceptor_add_on_new(conf, "brake", on_new, brake);
}

void brake_open(Brake *brake, bool open)
{
    pthread_mutex_lock(&brake->mutex);
    brake->open = open;
    brake->wanted = false;
    brake->topic[0] = '\0';
    pthread_cond_broadcast(&brake->changed);
    pthread_mutex_unlock(&brake->mutex);
}

bool brake_wanted(Brake *brake, char ret_topic[KAFKA_NAME_MAX + 1], int32_t *ret_partition)
{
    pthread_mutex_lock(&brake->mutex);
    bool wanted = brake->wanted;
    if (wanted) {
        snprintf(ret_topic, KAFKA_NAME_MAX + 1, "%s", brake->topic);
        *ret_partition = brake->partition;
    }
    pthread_mutex_unlock(&brake->mutex);
    return wanted;
}

void brake_paused(Brake *brake)
{
    pthread_mutex_lock(&brake->mutex);
    brake->wanted = false;
    pthread_cond_broadcast(&brake->changed);
    pthread_mutex_unlock(&brake->mutex);
}

void brake_reset(Brake *brake)
{
    pthread_mutex_lock(&brake->mutex);
    if (!brake->wanted) {
        brake->topic[0] = '\0';
    }
    pthread_mutex_unlock(&brake->mutex);
}
