#include "app/overrides.h"

#include <stdlib.h>
#include <unistd.h>

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
