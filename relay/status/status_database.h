/* status_database: what can be said about the outbox without a relay: backlog and dead letters,
 * straight from the database. Blocks, with time limits. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

typedef struct BacklogRow {
    char *aggregate_type;
    int64_t pending;    /* events */
    double age_seconds; /* of the oldest */
} BacklogRow;

/* One schema that `outboxd migrate` made. */
typedef struct BacklogSchema {
    char *name;       /* quoted for SQL */
    bool present;     /* it is there, and ours */
    BacklogRow *rows; /* oldest first */
    size_t row_count;
    int64_t dead_letters;
    double dead_letter_age_seconds; /* of the newest; negative: there is none */
} BacklogSchema;

typedef struct StatusDatabase {
    char *server; /* "db:5432/shop" */
    char *version;
    BacklogSchema *schemas;
    size_t schema_count;
    char **unknown_tables; /* configured, but not made by migrate: no view tells their backlog */
    size_t unknown_count;
} StatusDatabase;

/** Looks at the outbox of every pipeline in the configuration; *ret_found is freed with
 * status_database_free. Errors: those of pg/sqlstate.h. */
Status status_database_read(const Config *config, StatusDatabase *ret_found, Error *err);
void status_database_free(StatusDatabase *found);

/** Appends the screen. */
void status_database_add_screen(const StatusDatabase *found, bool colours, Text *out);
/** Sets the same in a JSON object. */
void status_database_status(const StatusDatabase *found, json_t *database);
