/* pgoutput_fixture: what tests/fixtures/pgoutput/record wrote: CopyData messages of real servers.
 */
#pragma once

#include "base/slice.h"
#include "cdc/pgoutput.h"

enum { FIXTURE_MESSAGES_MAX = 512, FIXTURE_PATH_MAX = 512 };

typedef struct Fixture {
    char path[FIXTURE_PATH_MAX]; /* without ".bin" */
    PgOutputReader reader;       /* as the stream begins */
    Slice messages[FIXTURE_MESSAGES_MAX];
    size_t count;
    char *bytes;
} Fixture;

/** Reads <path>.bin, relative to tests/fixtures/pgoutput, such as "17/changes"; aborts when that
 * cannot be. */
Fixture *fixture_load(const char *path);
void fixture_free(Fixture **fixture);

/** Calls visit for every recording of every version, in an order that stays the same; returns how
 * many there are. */
size_t fixture_each(void (*visit)(const Fixture *fixture));

/** A file as a string to be freed; aborts when it cannot be read. */
char *fixture_file(const char *path, size_t *ret_length);
