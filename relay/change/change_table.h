/* change_table: one table as its records show it: which columns, which of them are the key, and
 * everything about them that is the same in each record, made once. A table is made anew when a
 * RELATION message or the catalog says something else of it. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"
#include "base/text.h"
#include "change/change_catalog.h"
#include "change/change_out.h"
#include "change/change_redact.h"
#include "change/change_type.h"
#include "config/change_mode.h"
#include "config/tables.h"

typedef struct ChangeTableColumn {
    char *name;
    uint32_t type_oid; /* that its rows have */
    char *member;      /* ,"name": of an object */
    size_t member_length;
    ChangeType *type; /* NULL: no record has it */
    bool shown;       /* rows have it */
    bool optional;
    char *fallback;      /* of the schema, as JSON; NULL: none */
    ChangeRedact redact; /* how much of it records show */
    char *null;          /* what SQL NULL is: null, the default, or a zero */
    char *unchanged;     /* what a TOAST value is that was not sent */
    uint16_t in_key;     /* its place; 0: not in it */
} ChangeTableColumn;

typedef struct ChangeTable {
    uint32_t oid;
    char *name;      /* schema.table, for people and for transactions */
    char *topic;     /* that of the mapping, else prefix.schema.table, as Kafka takes it */
    Text place;      /* "schema":"...","table":"..." of the source block */
    Text key_head;   /* {"schema":{...},"payload": with a brace to close, or "" */
    Text value_head; /* the same of the value */
    char *key_table; /* the member of the key that names the table, with its comma; "": none */
    size_t key_count;
    uint16_t *key; /* columns in their order */
    size_t count;
    ChangeTableColumn *columns;
    size_t holders; /* beside its owner */
} ChangeTable;

/* A column as a RELATION message has it, or the catalog. */
typedef struct ChangeColumn {
    Slice name;
    uint32_t type;
    int32_t modifier;
} ChangeColumn;

/* A table as its rows come. */
typedef struct ChangeRelation {
    uint32_t oid;
    const ChangeColumn *columns;
    size_t count;
} ChangeRelation;

/* What the records of a pipeline's tables have in common. */
typedef struct ChangeTables {
    const ChangeCatalog *catalog;
    const ChangeModes *modes;
    const char *prefix;   /* topic_prefix */
    const char *database; /* its name */
} ChangeTables;

/** Columns are those of the rows to come, in their order; what the catalog knows of them is found
 * by name. mapping: what the configuration makes of the table, which is not kept; NULL: all of it,
 * as Debezium does by default. RETRY / CHANGE_SCHEMA_STALE: the catalog does not know the table.
 * FATAL / MAPPING_COLUMN: the mapping cannot be followed, FATAL / TEMPLATE_INVALID: its topic. */
Status change_table_new(const ChangeTables *tables, const MappingConfig *mapping,
                        const ChangeRelation *relation, ChangeOut *out, ChangeTable **ret,
                        Error *err);
/** The table as the catalog has it: how rows that are written from now on will be; those of a
 * server of 18 and later (180000) may have columns that are computed from others. The same errors.
 */
Status change_table_of_catalog(const ChangeTables *tables, const MappingConfig *mapping,
                               uint32_t oid, int server_version, ChangeTable **ret, Error *err);
/** Lets go of it: it is freed with the last that does. */
void change_table_free(ChangeTable **table);
/** One more holder, who frees it, too; its owner may have another one by then. */
ChangeTable *change_table_hold(ChangeTable *table);
