/* migrate_arguments: the command line of `outboxd migrate`. One thread, before anything else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pg/migrate_script.h"

enum { MIGRATE_NOT_GIVEN = -1 };

typedef struct MigrateArguments {
    const char *dsn; /* NULL: libpq's environment */
    const char *schema;
    int to;   /* version, or MIGRATE_NOT_GIVEN */
    int down; /* version, or MIGRATE_NOT_GIVEN */
    int from; /* version, or MIGRATE_NOT_GIVEN */
    MigrateRoles roles;
    MigrateGrantees grantees;
    bool print;
    bool status;
    bool baseline;
    bool guard;
    bool wal; /* --capture wal */
    bool help;
} MigrateArguments;

/* The text of --help. */
extern const char MIGRATE_USAGE[];

/** Reads the command line. An exit code: 0, or 1 after a line on stderr with its remedy. What
 * *ret_arguments points at belongs to argv. */
int migrate_arguments_parse(int argc, char **argv, MigrateArguments *ret_arguments);

/** So many roles that --writer and --relay name. */
size_t migrate_arguments_grantees(const MigrateArguments *arguments);
