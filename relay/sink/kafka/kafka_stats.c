#include "sink/kafka/kafka_stats.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static double member(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void raise_to(double *most, double value)
{
    *most = value > *most ? value : *most;
}

void kafka_stats_read(const char *json, size_t length, Stats *stats)
{
    json_error_t where;
    json_t *told = json_loadb(json, length, 0, &where);
    if (!json_is_object(told)) {
        json_decref(told);
        return;
    }
    double up = 0;
    double median_us = 0;
    double slow_us = 0;
    const char *name = NULL;
    json_t *broker = NULL;
    json_object_foreach(json_object_get(told, "brokers"), name, broker)
    {
        const char *state = json_string_value(json_object_get(broker, "state"));
        const json_t *rtt = json_object_get(broker, "rtt");
        /* A broker of bootstrap.servers that turned out to be a known one has no id of its own. */
        bool counts = member(broker, "nodeid") >= 0;
        up += counts && state != NULL && (strcmp(state, "UP") == 0 || strcmp(state, "UPDATE") == 0);
        if (member(rtt, "cnt") > 0) {
            raise_to(&median_us, member(rtt, "p50"));
            raise_to(&slow_us, member(rtt, "p99"));
        }
    }
    *stats->broker->brokers_up = up;
    *stats->broker->queue_messages = member(told, "msg_cnt");
    *stats->broker->queue_bytes = member(told, "msg_size");
    *stats->broker->rtt_p50 = median_us > 0 ? median_us / 1e6 : NAN;
    *stats->broker->rtt_p99 = slow_us > 0 ? slow_us / 1e6 : NAN;
    json_decref(told);
}

void kafka_stats_none(Stats *stats)
{
    *stats->broker->brokers_up = *stats->broker->queue_messages = *stats->broker->queue_bytes = 0;
    *stats->broker->rtt_p50 = *stats->broker->rtt_p99 = NAN;
}
