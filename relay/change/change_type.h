/* change_type: what a column's type becomes: the pieces of its Connect schema, what stands for a
 * value that is missing, and how PostgreSQL's text of a value is written (change_value.h). Made
 * once for each column, from the catalog; constant afterwards. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "change/change_catalog.h"
#include "config/change_mode.h"

typedef enum ChangeShape {
    SHAPE_BOOLEAN,
    SHAPE_WHOLE, /* int2, int4, int8, oid */
    SHAPE_FLOAT,
    SHAPE_DECIMAL,
    SHAPE_DECIMAL_ANY, /* a struct with the scale of each value */
    SHAPE_DECIMAL_TEXT,
    SHAPE_DECIMAL_DOUBLE,
    SHAPE_MONEY,
    SHAPE_MONEY_TEXT,
    SHAPE_MONEY_DOUBLE,
    SHAPE_TEXT,
    SHAPE_ENUM,         /* the same, where its schema names all labels (schemas = true) */
    SHAPE_BYTES,        /* bytea */
    SHAPE_OPAQUE,       /* text of a type that nobody knows, as bytes */
    SHAPE_OPAQUE_SHAPE, /* the same of a geometric one, whose numbers are laid out as Java's */
    SHAPE_NEVER,        /* of which Debezium never has a value: bit[] */
    SHAPE_BIT,          /* one bit: a boolean */
    SHAPE_BITS,
    SHAPE_DATE,
    SHAPE_TIME,
    SHAPE_STAMP,
    SHAPE_STAMP_ZONE,
    SHAPE_TIME_ZONE,
    SHAPE_INTERVAL,
    SHAPE_HSTORE,
    SHAPE_POINT,
    SHAPE_GEOMETRY, /* EWKB of PostGIS, as hexadecimal digits */
    SHAPE_ARRAY,
    SHAPE_VECTOR, /* oidvector, int2vector: Debezium has no elements of them */
} ChangeShape;

/* How dates and times are counted, or written. */
typedef enum ChangeUnit { UNIT_DAYS, UNIT_MS, UNIT_US, UNIT_NS, UNIT_TEXT } ChangeUnit;

typedef struct ChangeType ChangeType;

struct ChangeType {
    ChangeShape shape;
    const ChangeModes *modes; /* the caller's */
    ChangeUnit unit;
    int32_t scale;         /* of a numeric with one: digits behind the point */
    bool optional;         /* its schema says so, whatever its column is */
    bool single;           /* SHAPE_FLOAT: a float4 */
    bool scaled;           /* of a numeric: it has a scale */
    int32_t digits;        /* SHAPE_STAMP_ZONE: of the seconds; 0: as needed */
    int64_t low;           /* SHAPE_WHOLE: what fits */
    int64_t high;          /* the same */
    char *head;            /* of the schema, before "optional": "type" and what it is made of */
    char *tail;            /* behind it: "name", "version", "doc", "parameters", or "" */
    char *zero;            /* JSON in the place of a value that is not there but must be */
    char *unchanged;       /* JSON of an unchanged TOAST value; NULL: as a NULL */
    ChangeType *element;   /* SHAPE_ARRAY; owned */
    uint32_t oid;          /* SHAPE_ENUM */
    char *labels;          /* the same: with commas between */
    bool in_array;         /* it is one of an array's elements */
    bool element_required; /* an element cannot be NULL */
    char delimiter;        /* between elements */
};

/** NULL: the type is not expressed (unknown_types = "omit"). *modes stays where it is as long as
 * the type lives. */
ChangeType *change_type_new(const ChangeCatalog *catalog, const ChangeModes *modes, uint32_t oid,
                            int32_t modifier);
void change_type_free(ChangeType **type);

/** Its values are written as they are, as strings. */
bool change_type_is_text(const ChangeType *type);

/** How many characters a column of this type takes: varchar(n), char(n) and domains over them; 0:
 * no limit. */
size_t change_type_length(const ChangeCatalog *catalog, uint32_t oid, int32_t modifier);
