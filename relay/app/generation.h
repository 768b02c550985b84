/* generation: a configuration that others use, and that is freed with the last of them. After a
 * reload, pipelines that go on read the one that they were made by. Loop thread. */
#pragma once

#include "config/config.h"

typedef struct Generation {
    Config *config;
    unsigned users;
} Generation;

/** Takes the configuration; the first user is the caller. */
Generation *generation_new(Config *config);

/** One more user. */
Generation *generation_hold(Generation *generation);

/** One less; NULL is allowed. */
void generation_drop(Generation **generation);
