/* status_broker: what can be said about Kafka without a relay: do brokers answer, and how far are
 * the consumer groups? Blocks, with time limits. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

typedef struct StatusBroker {
    int brokers; /* 0: none answers, *error says why */
    Error error;
    json_t *groups; /* as "consumer_groups" of the status object; NULL: not asked for */
} StatusBroker;

/** Asks the brokers of the configuration, and about monitor.consumer_groups in the topics that it
 * names outright. Freed with status_broker_free. */
void status_broker_read(const Config *config, StatusBroker *ret_found);
void status_broker_free(StatusBroker *found);

/** Appends the screen. */
void status_broker_add_screen(const StatusBroker *found, const Config *config, bool colours,
                              Text *out);
/** Sets the members "kafka" and "consumer_groups". */
void status_broker_status(const StatusBroker *found, const Config *config, json_t *status);
