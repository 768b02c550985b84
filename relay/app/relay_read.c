#include "app/relay_read.h"

#include <unistd.h>

#include "check/check.h"

Config *relay_read(const ConfigOverrides *overrides, Problems *problems)
{
    Load load;
    Status status = load_run(&load, overrides, environ, problems);
    Config *config = load.config;
    Check check = {
        .load = &load, .config = config, .problems = problems, .partitions = -1, .replication = -1};
    if (status == OK) {
        check_offline(&check);
    }
    check_free(&check);
    load_free(&load);
    if (problems->errors > 0) {
        config_free(&config);
    }
    return config;
}
