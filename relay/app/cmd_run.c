#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/problems_print.h"
#include "app/relay.h"

int command_run(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},  {"dsn", required_argument, NULL, 'd'},
        {"brokers", required_argument, NULL, 'b'}, {"new-slot", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    ConfigOverrides overrides = {0};
    bool new_slot = false;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
    for (int c; (c = getopt_long(argc, argv, "c:h", OPTIONS, NULL)) != -1;) {
        switch (c) {
        case 'c':
            overrides.file = optarg;
            break;
        case 'd':
            overrides.dsn = optarg;
            break;
        case 'b':
            overrides.brokers = optarg;
            break;
        case 'n':
            new_slot = true;
            break;
        case 'h':
            puts("usage: outboxd run [-c FILE] [--dsn DSN] [--brokers LIST] [--new-slot]\n"
                 "Moves events until SIGTERM, which drains within shutdown_timeout; a second one "
                 "ends at "
                 "once.\nWithout a file, --dsn and --brokers run one pipeline named 'outbox'.\n"
                 "--new-slot, after a data gap (exit code 4): makes the replication slot again, "
                 "publishes the\nrows that are still unpublished, and says what it could not "
                 "recover.\n"
                 "Exit codes: 0 clean, 1 configuration, 2 PostgreSQL, 3 Kafka, 4 data gap, 5 drain "
                 "incomplete, 70 internal.");
            return EXIT_OK;
        default:
            return EXIT_CONFIG;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "outboxd run: unexpected argument '%s'\n", argv[optind]);
        return EXIT_CONFIG;
    }
    Config *config = NULL;
    Problems problems = {0};
    Status loaded = config_load(&overrides, &config, &problems);
    problems_print(&problems, stderr);
    problems_free(&problems);
    if (loaded != OK) {
        return EXIT_CONFIG;
    }
    config->new_slot = new_slot;
    ExitCode code = relay_run(config);
    config_free(&config);
    return (int)code;
}
