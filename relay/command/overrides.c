#include "command/overrides.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command/problems_print.h"
#include "token/token.h"

bool overrides_have_file(const ConfigOverrides *overrides)
{
    return overrides->file != NULL || access(CONFIG_DEFAULT_FILE, F_OK) == 0;
}

void overrides_without_brokers(ConfigOverrides *overrides)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): never set
    if (!overrides_have_file(overrides) && getenv("OUTBOXD_KAFKA_BROKERS") == NULL) {
        overrides->brokers = BROKERS_UNKNOWN;
    }
}

Status overrides_load(const ConfigOverrides *overrides, bool warnings, Config **ret_config)
{
    Problems problems = {0};
    Status status = config_load(overrides, ret_config, &problems);
    if (warnings || status != OK) {
        problems_print(&problems, stderr);
    }
    problems_free(&problems);
    if (status == OK) {
        token_open_all(*ret_config);
    }
    return status;
}
