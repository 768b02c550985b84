/* Delivery reports and whatever else librdkafka tells come as events on its main queue, which wakes
 * the loop through an eventfd: that is read before the queue is drained, or a wake-up is lost. */
#include "sink/kafka/kafka_producer.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/vec.h"
#include "sink/kafka/kafka_conf.h"

struct KafkaProducer {
    const Config *config;
    const PipelineConfig *pipeline;
    Worker *worker;
    KafkaProducerEvents events;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int fd;
    struct event *io;
    struct event *later; /* what must not happen while an event of librdkafka is in our hands */
    Brake *brake;
    size_t batch_bytes;
    bool closing;
    bool lost;
    bool refused; /* by librdkafka, when it was made last */
    Error *loss;  /* nobody took it yet; NULL: there is none */
};

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    KafkaProducer *producer = arg;
    uint64_t count = 0;
    (void)!read(fd, &count, sizeof(count)); /* before the queue: see above */
    producer->events.woken(producer->events.arg);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaProducer *producer = arg;
    producer->events.later(producer->events.arg);
}

KafkaProducer *kafka_producer_new(const SinkOptions *options, const KafkaProducerEvents *events)
{
    KafkaProducer *producer = x_calloc(1, sizeof(*producer));
    producer->config = options->config;
    producer->pipeline = options->pipeline;
    producer->worker = options->worker;
    producer->events = *events;
    producer->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    producer->io = event_new(options->base, producer->fd, EV_READ | EV_PERSIST, on_io, producer);
    producer->later = event_new(options->base, -1, 0, on_later, producer);
    producer->brake = brake_new(producer->fd);
    event_add(producer->io, NULL);
    return producer;
}

static void forget_loss(KafkaProducer *producer)
{
    error_clear(producer->loss);
    free(producer->loss);
    producer->loss = NULL;
}

/* rd_kafka_new() (2.0.2) frees the interceptors of a configuration that it refuses late, as for a
 * key of another certificate, and rd_kafka_conf_destroy() would free them once more. So it stays,
 * some kilobytes; further attempts are made without interceptors first. */
static void producer_keep_refused(rd_kafka_conf_t *conf)
{
    static VEC(rd_kafka_conf_t *) refused;
    *vec_add(&refused) = conf;
}

Status kafka_producer_open(KafkaProducer *producer, size_t batch_bytes, Error *err)
{
    rd_kafka_conf_t *conf = NULL;
    char text[512];
    producer->lost = false;
    producer->batch_bytes = batch_bytes;
    if (producer->refused && kafka_conf_try(producer->config, producer->pipeline, err) != OK) {
        return FAILED;
    }
    if (kafka_conf_new(producer->config, producer->pipeline, batch_bytes, &conf, err) != OK) {
        return FAILED;
    }
    producer->events.configure(producer->events.arg, conf);
    brake_install(producer->brake, conf);
    producer->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    producer->refused = producer->rk == NULL;
    if (producer->refused) {
        producer_keep_refused(conf);
        return kafka_conf_refused(text, err);
    }
    rd_kafka_set_log_queue(producer->rk, NULL);
    producer->queue = rd_kafka_queue_get_main(producer->rk);
    brake_open(producer->brake, true);
    uint64_t one = 1;
    rd_kafka_queue_io_event_enable(producer->queue, producer->fd, &one, sizeof(one));
    event_active(producer->io, EV_READ, 0); /* what came before the line above */
    return OK;
}

/* The end. */

typedef struct DestroyJob {
    KafkaProducer *producer;
    rd_kafka_t *rk;
} DestroyJob;

static void destroy_run(void *arg)
{
    DestroyJob *job = arg;
    rd_kafka_destroy(job->rk);
}

static void destroy_done(void *arg)
{
    DestroyJob *job = arg;
    KafkaProducer *producer = job->producer;
    free(job);
    producer->closing = false;
    producer->events.closed(producer->events.arg);
}

static rd_kafka_t *producer_detach(KafkaProducer *producer)
{
    rd_kafka_t *rk = producer->rk;
    producer->rk = NULL;
    brake_open(producer->brake, false);
    if (producer->queue != NULL) {
        rd_kafka_queue_io_event_enable(producer->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(producer->queue);
        producer->queue = NULL;
    }
    return rk;
}

void kafka_producer_close(KafkaProducer *producer)
{
    DestroyJob *job = x_malloc(sizeof(*job));
    *job = (DestroyJob){.producer = producer, .rk = producer_detach(producer)};
    producer->closing = true;
    worker_submit(producer->worker, destroy_run, destroy_done, job);
}

void kafka_producer_free(KafkaProducer **producer)
{
    KafkaProducer *old = *producer;
    if (old == NULL) {
        return;
    }
    event_free(old->io);
    event_free(old->later);
    rd_kafka_t *rk = producer_detach(old);
    if (rk != NULL) {
        rd_kafka_destroy(rk);
    }
    brake_free(&old->brake);
    forget_loss(old);
    close(old->fd);
    free(old);
    *producer = NULL;
}

void kafka_producer_lose(KafkaProducer *producer, const Error *err)
{
    if (!producer->lost) {
        producer->lost = true;
        producer->loss = producer->loss != NULL ? producer->loss : x_calloc(1, sizeof(Error));
        error_copy(producer->loss, err);
        kafka_producer_later(producer);
    }
}

bool kafka_producer_take_loss(KafkaProducer *producer, Error *ret_err)
{
    if (!producer->lost || producer->loss == NULL) {
        return false;
    }
    error_copy(ret_err, producer->loss);
    forget_loss(producer);
    return true;
}

void kafka_producer_later(KafkaProducer *producer)
{
    event_active(producer->later, 0, 0);
}

/* What others ask. */

rd_kafka_t *kafka_producer_handle(const KafkaProducer *producer)
{
    return producer->rk;
}

bool kafka_producer_is_closing(const KafkaProducer *producer)
{
    return producer->closing;
}

bool kafka_producer_is_lost(const KafkaProducer *producer)
{
    return producer->lost;
}

size_t kafka_producer_batch_bytes(const KafkaProducer *producer)
{
    return producer->batch_bytes;
}

Brake *kafka_producer_brake(const KafkaProducer *producer)
{
    return producer->brake;
}

rd_kafka_event_t *kafka_producer_poll(KafkaProducer *producer)
{
    return producer->queue != NULL ? rd_kafka_queue_poll(producer->queue, 0) : NULL;
}

void kafka_producer_poll_again(KafkaProducer *producer)
{
    event_active(producer->io, EV_READ, 0);
}
