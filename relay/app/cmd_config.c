/* outboxd config print [-c FILE] [--dsn DSN] [--brokers LIST] | config schema */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/problems_print.h"
#include "app/screen.h"
#include "base/error.h"
#include "config/print.h"

static const char USAGE[] = "outboxd config print [-c FILE] [--dsn DSN] [--brokers LIST]\n"
                            "outboxd config schema\n"
                            "\n"
                            "print   the complete commented sample; with an option the effective "
                            "values, each with the place\n"
                            "        it came from, secrets masked\n"
                            "schema  every option as JSON\n";

static int config_usage(void)
{
    (void)fprintf(stderr, "%s", USAGE);
    return EXIT_CONFIG;
}

/* A full disk must not look like success. */
static int config_write(const Text *text)
{
    return screen_write("outboxd config", text, EXIT_OK, NULL);
}

static int config_print_effective(const ConfigOverrides *overrides, Text *text)
{
    Problems problems = {0};
    Load load;
    Status status = load_run(&load, overrides, environ, &problems);
    problems_print(&problems, stderr);
    if (status == OK) {
        print_effective(text, &load);
    }
    config_free(&load.config);
    load_free(&load);
    problems_free(&problems);
    return status == OK ? EXIT_OK : EXIT_CONFIG;
}

static int config_print(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},
        {"dsn", required_argument, NULL, 'd'},
        {"brokers", required_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    ConfigOverrides overrides = {0};
    bool effective = false;
    int option;
    while ((option = getopt_long(argc, argv, "c:", OPTIONS, NULL)) != -1) { // NOLINT
        effective = true;
        if (option == 'c') {
            overrides.file = optarg;
        } else if (option == 'd') {
            overrides.dsn = optarg;
        } else if (option == 'b') {
            overrides.brokers = optarg;
        } else {
            return config_usage();
        }
    }
    if (optind < argc) {
        return config_usage();
    }
    AUTO_BUFFER text = TEXT_EMPTY;
    int code = EXIT_OK;
    if (effective) {
        code = config_print_effective(&overrides, &text);
    } else {
        print_sample(&text);
    }
    return code == EXIT_OK ? config_write(&text) : code;
}

int command_config(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf("%s", USAGE);
        return EXIT_OK;
    }
    if (argc >= 2 && strcmp(argv[1], "print") == 0) {
        return config_print(argc - 1, argv + 1);
    }
    if (argc == 2 && strcmp(argv[1], "schema") == 0) {
        AUTO_BUFFER text = TEXT_EMPTY;
        print_schema(&text);
        return config_write(&text);
    }
    return config_usage();
}
