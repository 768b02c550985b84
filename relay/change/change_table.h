/* change_table: one table as its records show it: which columns, which of them are the key, and
 * everything about them that is the same in each record, made once. A table is made anew when a
 * RELATION message or the catalog says something else of it. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"
#include "change/change_catalog.h"
#include "change/change_out.h"
#include "change/change_type.h"
#include "config/change_mode.h"
#include "config/tables.h"

typedef struct ChangeTableColumn {
    char *name;
    char *field;      /* the name as JSON */
    ChangeType *type; /* NULL: it is left out */
    bool optional;
    char *fallback;        /* of the schema, as JSON; NULL: none */
    const char *null;      /* what SQL NULL is: null, the default, or a zero; borrowed from here */
    const char *unchanged; /* what a TOAST value is that was not sent; borrowed from here */
    uint16_t in_key;       /* its place; 0: not in it */
} ChangeTableColumn;

typedef struct ChangeTable {
    uint32_t oid;
    char *name;        /* schema.table, for people and for transactions */
    char *topic;       /* prefix.schema.table, as Kafka takes it */
    char *place;       /* "schema":"...","table":"..." of the source block */
    char *key_head;    /* {"schema":{...},"payload": or "" */
    char *value_head;  /* the same of the value */
    const char *close; /* "}" or "" */
    size_t key_count;
    uint16_t *key; /* columns in their order */
    size_t count;
    ChangeTableColumn columns[];
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
 * by name. mapping: what the configuration makes of the table; NULL: all of it, as Debezium does by
 * default. NULL: the catalog does not know the table. */
ChangeTable *change_table_new(const ChangeTables *tables, const MappingConfig *mapping,
                              const ChangeRelation *relation, ChangeOut *out);
void change_table_free(ChangeTable **table);

/** Appends a row as an object. An unchanged value is taken from `old` where that has it (NULL: it
 * has none). POISON when a value cannot be read: table and column are named. */
Status change_table_write_row(const ChangeTable *table, const Slice *row, const Slice *old,
                              ChangeOut *out, Error *err);

/** Appends the key of a row as an object; the table has one. */
Status change_table_write_key(const ChangeTable *table, const Slice *row, const Slice *old,
                              ChangeOut *out, Error *err);

/** Appends the same as Debezium writes it into a header. */
Status change_table_write_key_text(const ChangeTable *table, const Slice *row, const Slice *old,
                                   ChangeOut *out, Error *err);

/** What a topic's name may not have becomes '_', once for each UTF-16 unit. To be freed. */
char *change_topic_name(const char *prefix, const char *schema, const char *table);
