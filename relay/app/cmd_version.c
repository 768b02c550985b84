/* outboxd version */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>

#include "app/commands.h"
#include "base/error.h"

static int version_command(CommandLine *line)
{
    (void)line;
    int pq = PQlibVersion();
    printf("outboxd %s (libpq %d.%d, librdkafka %s)\n", OUTBOXD_VERSION, pq / 10000, pq % 10000,
           rd_kafka_version_str());
    return EXIT_OK;
}

static const CommandForm FORMS[] = {{0}};

const Command COMMAND_VERSION = {
    .name = "version",
    .summary = "prints the versions of outboxd and its libraries",
    .about = "Prints the versions of outboxd and of the libraries that it uses.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .run = version_command,
};
