/* change_mapping: what a mapping of the configuration makes of one table: its topic, and of each
 * column whether records have it and how much of it they show. NULL as the mapping: all of it, as
 * Debezium does by default. Called when a table is made. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "change/change_redact.h"
#include "change/change_type.h"
#include "config/tables.h"

/* Whose names a topic is made of. */
typedef struct ChangeNames {
    const char *prefix;
    const char *database;
    const char *schema;
    const char *table;
} ChangeNames;

/** What a topic's name may not have becomes '_' in the values of the template, once for each UTF-16
 * unit, and what is beyond 249 bytes is left out. *ret_topic is to be freed. FATAL /
 * TEMPLATE_INVALID when the template names something else. */
Status change_mapping_topic(const MappingConfig *mapping, const ChangeNames *names,
                            char **ret_topic, Error *err);

/** Whether rows have the column; its place in a key is another matter. */
bool change_mapping_shows(const MappingConfig *mapping, const char *column);

/** Whether the mapping says that no record may have it. */
bool change_mapping_excludes(const MappingConfig *mapping, const char *column);

typedef struct ChangeRedactColumn {
    const char *table; /* for people */
    const char *name;
    const ChangeType *type;
    size_t length; /* of varchar(n) and char(n); 0: no limit */
} ChangeRedactColumn;

/** How much of the column records show; *ret is to be cleared. FATAL / MAPPING_COLUMN when less is
 * asked for and its values are no text. */
Status change_mapping_redact(const MappingConfig *mapping, const ChangeRedactColumn *column,
                             ChangeRedact *ret, Error *err);
