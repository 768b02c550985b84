#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>

#include "app/commands.h"
#include "base/error.h"

int command_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        fprintf(stderr, "outboxd version: takes no arguments\n");
        return EXIT_CONFIG;
    }
    int pq = PQlibVersion();
    printf("outboxd %s (libpq %d.%d, librdkafka %s)\n", OUTBOXD_VERSION, pq / 10000, pq % 10000,
           rd_kafka_version_str());
    return EXIT_OK;
}
