/* change_catalog: what the catalog says of tables and of the types of their columns, asked for by
 * two queries with the tables' OIDs as $1 (oid[]). Owns all that it holds. Loop thread. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "base/vec.h"

extern const char CHANGE_CATALOG_TABLES[]; /* a row for each column */
extern const char CHANGE_CATALOG_TYPES[];  /* a row for each type, those that others are made of
                                              among them */
extern const char CHANGE_CATALOG_TYPES_BY_OID[]; /* the same of these types: $1 is their OIDs */

/* A name that a column has at another time, by which a mapping may mean it. */
typedef struct ChangeAlias {
    char *name;
    bool certain; /* false: it may be another's; hides what it means, and shows nothing */
} ChangeAlias;

typedef struct ChangeColumnFacts {
    char *name;
    VEC(ChangeAlias) aliases;
    uint16_t number; /* attnum */
    uint32_t type;
    int32_t modifier; /* -1: none */
    bool not_null;
    char *fallback;  /* expression of the default, or of what it is generated from; NULL: none */
    bool generated;  /* always computed from others */
    uint16_t in_key; /* place in the primary key, else in the first unique index; 0: not in it */
} ChangeColumnFacts;

typedef struct ChangeTableFacts {
    uint32_t oid;
    char *schema;
    char *name;
    char identity; /* of replicas: d, n, f, i */
    VEC(ChangeColumnFacts) columns;
} ChangeTableFacts;

typedef struct ChangeTypeFacts {
    uint32_t oid;
    char *schema;
    char *name;
    char kind;        /* b base, c composite, d domain, e enum, r range, m multirange, p pseudo */
    uint32_t base;    /* of a domain; else 0 */
    int32_t modifier; /* of a domain */
    uint32_t element; /* of an array; else 0 */
    char delimiter;   /* between elements of an array of it */
    char *labels;     /* of an enum, in their order, with commas between; NULL */
} ChangeTypeFacts;

typedef struct ChangeCatalog {
    VEC(ChangeTypeFacts) types;   /* by OID */
    VEC(ChangeTableFacts) tables; /* by OID */
} ChangeCatalog;

/** Reads the answer to one of the queries: what was known of these tables or types is replaced.
 * RETRY / PG_PROTOCOL when the answer is no such thing. */
Status change_catalog_read_types(ChangeCatalog *catalog, const PGresult *result, Error *err);
Status change_catalog_read_tables(ChangeCatalog *catalog, const PGresult *result, Error *err);

/** A table without columns, in the place of what was known of it: the caller adds them. */
ChangeTableFacts *change_catalog_put_table(ChangeCatalog *catalog, uint32_t oid, const char *schema,
                                           const char *name, char identity);
/** For a caller that knows better; its columns are in their order. NULL: the table is not known. */
ChangeTableFacts *change_catalog_edit(ChangeCatalog *catalog, uint32_t oid);

void change_column_alias(ChangeColumnFacts *column, Slice name, bool certain);

/** NULL: not known. */
const ChangeTypeFacts *change_catalog_type(const ChangeCatalog *catalog, uint32_t oid);
const ChangeTableFacts *change_catalog_table(const ChangeCatalog *catalog, uint32_t oid);

void change_catalog_clear(ChangeCatalog *catalog);
