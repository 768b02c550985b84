/* options: every option of outboxd, declared once.
 *
 * From this table come parsing, defaults, ranges, units, environment names, secret masking,
 * `outboxd config print`, `outboxd config schema` and conf/outboxd.conf. An option that CONTRACT
 * names and that is not built yet is in the table too, so that it is refused by name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

typedef enum OptionType {
    OPTION_STRING,
    OPTION_BOOL,
    OPTION_INT,
    OPTION_DURATION, /* int64_t milliseconds; a quoted string with a unit in the file */
    OPTION_SIZE,     /* int64_t bytes; a quoted string with a unit in the file */
    OPTION_ENUM,
    OPTION_STRING_LIST,
    OPTION_TEMPLATE, /* a string with ${column} */
    OPTION_GLOB,     /* a string with *, ? and [...] */
    OPTION_LETTERS,  /* unsigned; a string of choices of one letter, each at most once */
    OPTION_GROUPS,   /* a list of groups: pipelines, routes, mappings */
} OptionType;

/* Where an option stands: in the file itself, or in a group of one of its lists. */
typedef enum OptionScope {
    SCOPE_CONFIG,
    SCOPE_PIPELINE,
    SCOPE_ROUTE,
    SCOPE_MAPPING,
    SCOPE_MASK, /* a group of mask_columns */
    SCOPE_CUT,  /* of truncate_columns */
    SCOPE_COUNT
} OptionScope;

enum {
    OPTION_SECRET = 1,     /* masked wherever it is shown */
    OPTION_RELOADABLE = 2, /* a reload applies it while the pipelines go on; any other starts the
                              pipelines anew that it is about */
    OPTION_NOT_BUILT = 4,  /* known, refused by name */
    OPTION_REQUIRED = 8,   /* must not be empty */
    OPTION_FOREVER = 16,   /* a duration that may be "forever" */
    OPTION_IN_SAMPLE = 32, /* set, not commented out, in the sample */
    OPTION_NAME = 64,      /* [a-zA-Z0-9._-]{1,63} */
    OPTION_DSN = 128,      /* kept as written; references are replaced by dsn_read */
    OPTION_FIXED = 256,    /* a reload leaves it as it is: it needs a restart of the program */
    OPTION_OUTBOX = 512,   /* of a pipeline that reads an outbox: refused with capture = "tables" */
    OPTION_TABLES = 1024,  /* of capture = "tables" alone: refused with the others */
};

typedef struct OptionChoice {
    const char *name;
    int value;
    bool not_built;
} OptionChoice;

#define NO_LINE SIZE_MAX

/* What the groups of a list become. */
typedef struct OptionGroups {
    OptionScope scope;  /* of the options in a group */
    size_t size;        /* of the struct that each becomes */
    size_t line;        /* offset of its line in the file, an int; NO_LINE: it keeps none */
    size_t count;       /* offset of their number, in the struct that the list stands in */
    size_t most;        /* so many groups a list may have */
    const char *called; /* in messages: "route" */
} OptionGroups;

typedef struct Option {
    OptionScope scope;
    const char *path; /* within its scope: "database.dsn", "columns.seq" */
    OptionType type;
    size_t offset;        /* in the struct of its scope; of a list of groups: of their array */
    const char *fallback; /* default, as text; NULL: computed or none, see help */
    const char *example;  /* value shown in the sample when it is not the default; NULL: fallback.
                             Of what is not built: what to do instead */
    int64_t min;          /* range of numbers: ms, bytes, count; longest string for strings */
    int64_t max;
    const OptionChoice *choices; /* of OPTION_ENUM and OPTION_LETTERS; ends with a NULL name */
    const OptionGroups *groups;  /* of OPTION_GROUPS */
    unsigned flags;
    unsigned bit;     /* of OPTION_BOOL: it is this one of an unsigned; 0: a bool of its own */
    const char *help; /* one paragraph */
} Option;

/** The table; *ret_count entries, those of a scope together, in the order of the sample. */
const Option *options_all(size_t *ret_count);

/** The option with that path in the scope, or NULL. */
const Option *option_find(OptionScope scope, const char *path);

/** True when some option of the scope lies below path ("database", "columns"). */
bool option_is_group(OptionScope scope, const char *path);

/** The known name at the level of prefix ("" or "kafka.") that is nearest to name, or NULL when
 * none is near. It is written to buffer. */
const char *option_nearest(OptionScope scope, const char *prefix, const char *name, char *buffer,
                           size_t capacity);

/** What a reload (SIGHUP) does for it: "live", "pipeline" (it starts the pipelines anew that it is
 * about) or "restart" (the program must be restarted). */
const char *option_reload(const Option *option);

/** Whether a pipeline with that capture has a use for it. */
bool option_applies(const Option *option, int capture);

/** The value of an OPTION_BOOL in base, the struct of its scope. */
bool option_is_on(const Option *option, const void *base);
void option_switch(const Option *option, void *base, bool on);

/** How many groups the list has in base, the struct of its scope. */
size_t option_group_count(const Option *option, const void *base);
/** One of them. */
void *option_group(const Option *option, const void *base, size_t index);
/** Makes room for that many, zeroed; the texts of those before were freed. */
void option_groups_make(const Option *option, void *base, size_t count);

/** Appends the name of the environment variable ("OUTBOXD_PIPELINE_TABLE"); false when the option
 * has none (lists of groups, and what is in them). */
bool option_environment(const Option *option, Text *ret_name);

/** The scope's prefix of full paths: "", "pipelines.", "pipelines.mappings.mask_columns.". */
const char *option_scope_prefix(OptionScope scope);

/** What users call the type: "duration", "list of strings". */
const char *option_type_name(OptionType type);

/** Appends the choices: `"mark" | "delete"`; those not built only when all is true. */
void option_add_choices(const Option *option, bool all, Text *text);
