/* kafka_brake: stops a partition inside librdkafka at the moment when the broker refuses a request.
 *
 * After a refusal librdkafka raises its producer's epoch by itself and goes on with the next
 * records of the partition, in the same broker thread, at once: a purge comes too late, and records
 * overtake the refused ones (measured with 2.0.2 and 2.16 on Kafka 4.3: 1 to 18 requests). So an
 * interceptor holds that broker thread for the moment until the loop has paused the partition.
 * Requests that were on the wire already are refused by the broker (their sequence numbers have a
 * gap), retried, and stay in the paused partition until they are purged.
 *
 * The interceptor calls nothing of librdkafka, as its rules demand; it waits for the loop for at
 * most BRAKE_WAIT_MS, usually some 30 us, and only on a refusal. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "sink/kafka/kafka_name.h"

enum { BRAKE_WAIT_MS = 1000 };

typedef struct Brake Brake;

/** fd: an eventfd that wakes the loop. */
Brake *brake_new(int fd);
/** After the last producer with it is destroyed. */
void brake_free(Brake **brake);

/** Puts the interceptor into a producer's configuration. */
void brake_install(Brake *brake, rd_kafka_conf_t *conf);

/** Loop: whether broker threads are to wait at all (false while there is no producer to pause). */
void brake_open(Brake *brake, bool open);

/** Loop: which partition is to be paused, if any; then brake_paused(). */
bool brake_wanted(Brake *brake, char ret_topic[KAFKA_NAME_MAX + 1], int32_t *ret_partition);

/** Loop: it is; its broker thread goes on. */
void brake_paused(Brake *brake);

/** Loop: partitions go on; the next refusal brakes again. */
void brake_reset(Brake *brake);
