/* outboxd run: the relay. */
#include "app/commands.h"
#include "app/relay.h"
#include "command/overrides.h"

typedef struct RunOptions {
    ConfigOverrides overrides;
    bool new_slot;
} RunOptions;

static int run_command(CommandLine *line)
{
    const RunOptions *options = line->options;
    Config *config = NULL;
    if (overrides_load(&options->overrides, true, &config) != OK) {
        return EXIT_CONFIG;
    }
    config->new_slot = options->new_slot;
    return (int)relay_run(config, &options->overrides);
}

static const CommandForm FORMS[] = {{0}};
static const Flag FLAGS[] = {
    {FLAG_CONFIG(RunOptions, overrides)},
    {FLAG_DSN(RunOptions, overrides)},
    {FLAG_BROKERS(RunOptions, overrides)},
    {.name = "new-slot",
     FLAG_SWITCH(RunOptions, new_slot),
     .help = "after a data gap (exit code 4): creates the replication slot again, publishes the "
             "rows that are still unpublished, and says what may be missing"},
    {0}};
static const CommandExit EXITS[] = {
    {EXIT_OK, "clean stop"},
    {EXIT_CONFIG, "usage or configuration error"},
    {EXIT_POSTGRES, "PostgreSQL cannot be reached, or does not let the relay work"},
    {EXIT_KAFKA, "Kafka cannot be reached, or does not let the relay work"},
    {EXIT_GAP, "data gap detected"},
    {EXIT_DRAIN,
     "draining took longer than shutdown_timeout: no event is lost, duplicates are possible"},
    {EXIT_INTERNAL, "internal error"},
    {0}};

const Command COMMAND_RUN = {
    .name = "run",
    .summary = "runs the relay until SIGTERM",
    .about = "Publishes events until SIGTERM, and then drains for at most shutdown_timeout. A "
             "second SIGTERM ends the relay at once. The relay stays in the foreground and logs to "
             "stderr. Without a file, --dsn and --brokers run one pipeline named 'outbox'.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = FLAGS,
    .exits = EXITS,
    .options_size = sizeof(RunOptions),
    .run = run_command,
};
