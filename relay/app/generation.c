#include "app/generation.h"

#include <stdlib.h>

#include "base/memory.h"

Generation *generation_new(Config *config)
{
    Generation *generation = x_malloc(sizeof(*generation));
    *generation = (Generation){.config = config, .users = 1};
    return generation;
}

Generation *generation_hold(Generation *generation)
{
    generation->users++;
    return generation;
}

void generation_drop(Generation **generation)
{
    Generation *old = *generation;
    *generation = NULL;
    if (old != NULL && --old->users == 0) {
        config_free(&old->config);
        free(old);
    }
}
