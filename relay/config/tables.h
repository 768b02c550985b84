/* tables: what capture = "tables" reads, and what its records look like. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/change_mode.h"
#include "config/string_list.h"

typedef enum TablesFormat {
    TABLES_FORMAT_DEBEZIUM,
    TABLES_FORMAT_FLAT,
    TABLES_FORMAT_CLOUDEVENTS,
} TablesFormat;

/* What stands for a large value that an update did not change, and that PostgreSQL did not send. */
typedef enum ToastMode { TOAST_PLACEHOLDER, TOAST_RESELECT } ToastMode;

typedef enum SnapshotMode {
    SNAPSHOT_MODE_INITIAL,
    SNAPSHOT_MODE_INITIAL_ONLY,
    SNAPSHOT_MODE_NEVER,
    SNAPSHOT_MODE_WHEN_NEEDED,
} SnapshotMode;

/* Of MappingConfig.operations. */
enum {
    OPERATION_CREATE = 1 << 0,
    OPERATION_UPDATE = 1 << 1,
    OPERATION_DELETE = 1 << 2,
    OPERATION_TRUNCATE = 1 << 3,
};

/* A column whose text is replaced by so many asterisks, or cut to so many characters. */
typedef struct ColumnLength {
    char *column;
    int64_t characters;
} ColumnLength;

/* What becomes of the tables that one name, or pattern, means. */
typedef struct MappingConfig {
    char *table;         /* schema.table as written; each part may be a pattern (*, ?, [...]) */
    char *topic;         /* template of prefix, database, schema and table */
    StringList key;      /* columns; none: the primary key, else a unique index, else no key */
    bool key_table;      /* the table is a part of the key */
    unsigned operations; /* bits of OPERATION_; one that is not there is read and left out */
    StringList columns;  /* those that records have; none: all */
    StringList exclude;  /* those that they do not have */
    ColumnLength *masks; /* mask_columns */
    size_t mask_count;
    ColumnLength *cuts; /* truncate_columns */
    size_t cut_count;
    StringList hash; /* hash_columns: SHA-256 of salt and text, as hexadecimal digits */
    char *hash_salt; /* secret; "" when there are no hash_columns */
    char *filter;    /* a condition, as after WHERE; "": all rows */
    int line;        /* in the file; 0: none */
} MappingConfig;

/* capture = "tables" alone. */
typedef struct TablesConfig {
    char *topic_prefix; /* logical name: topics, names of schemas, source.name */
    ChangeModes modes;  /* schemas, transaction_topic, decimal, time, interval, binary, hstore,
                           unknown_types */
    TablesFormat format;
    ToastMode toast;
    SnapshotMode snapshot;
    int64_t snapshot_workers;
    int64_t snapshot_xmin_max_ms;
    int64_t snapshot_wal_max_bytes;
    int64_t heartbeat_ms; /* 0: none */
    MappingConfig *mappings;
    size_t mapping_count;
} TablesConfig;

/** Calls back for each column that the lists of a mapping name, with the option whose list it is.
 */
void mapping_each_column(const MappingConfig *mapping,
                         void (*see)(void *arg, const char *option, const char *column), void *arg);
