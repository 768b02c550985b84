/* migrate_arguments: the flags of `outboxd migrate`, and what they amount to. One thread, before
 * anything else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "command/command.h"
#include "migrate/migrate_script.h"

enum { MIGRATE_NOT_GIVEN = -1 };

/* What the flags are read into. */
typedef struct MigrateOptions {
    ConfigOverrides overrides; /* dsn alone */
    const char *schema;
    int64_t to;   /* version, or MIGRATE_NOT_GIVEN */
    int64_t down; /* likewise */
    int64_t from; /* likewise */
    int capture;  /* 1: wal */
    bool no_roles;
    bool make_roles;
    StringList writers;
    StringList relays;
    bool print;
    bool status;
    bool baseline;
    bool guard;
} MigrateOptions;

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
} MigrateArguments;

enum {
    MIGRATE_FORM_UP,
    MIGRATE_FORM_STATUS,
    MIGRATE_FORM_BASELINE,
    MIGRATE_FORM_DOWN,
    MIGRATE_FORM_GUARD,
    MIGRATE_FORM_COUNT
};

extern const CommandForm MIGRATE_FORMS[MIGRATE_FORM_COUNT];
extern const Flag MIGRATE_FLAGS[];
extern const FlagRule MIGRATE_RULES[];
extern const MigrateOptions MIGRATE_DEFAULTS;

/** What a line that was read means. An exit code: 0, or 1 after a line on stderr with its remedy.
 * What *ret_arguments points at belongs to the line. */
int migrate_arguments_read(const CommandLine *line, MigrateArguments *ret_arguments);

/** So many roles that --writer and --relay name. */
size_t migrate_arguments_grantees(const MigrateArguments *arguments);
