/* change_source: where a change stands, and what each record says of that: the blocks source and
 * transaction, and the times of the envelope. They are most of a record and mostly the same as in
 * the one before, so that they are put together once for as long as they are. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "flow/record.h"

/* Which row of a snapshot it is, if it is one. */
typedef enum ChangeSnapshot {
    SNAPSHOT_NO,
    SNAPSHOT_ROW,
    SNAPSHOT_FIRST,
    SNAPSHOT_FIRST_OF_TABLE,
    SNAPSHOT_LAST_OF_TABLE,
    SNAPSHOT_LAST,
    SNAPSHOT_INCREMENTAL, /* read beside the stream */
} ChangeSnapshot;

/* Where a change stands. */
typedef struct ChangePlace {
    int64_t committed_at_us; /* since 1970 */
    int64_t now_ns;          /* since 1970: of the envelope */
    uint64_t last_commit;    /* end of the transaction seen last; 0: none */
    uint64_t lsn;            /* 0: none */
    uint32_t xid;            /* 0: none */
    Slice origin;            /* replication origin of the transaction; null: it began here */
    uint64_t origin_lsn;     /* where it ended there; 0: not told */
    ChangeSnapshot snapshot;
    const RecordHeader *context; /* of the transaction: behind Debezium's headers; as records do,
                                    its texts live as long as the arena */
    size_t context_count;
    bool in_transaction;  /* the next two are told (transaction_topic) */
    uint64_t total_order; /* from 1; of the first record, where a key changes */
    uint64_t table_order;
} ChangePlace;

typedef struct ChangeSource ChangeSource;

ChangeSource *change_source_new(const char *prefix, const char *database);
void change_source_free(ChangeSource **source);

/** Appends both blocks, with a comma behind. table: "schema":"...","table":"...". */
void change_source_write(ChangeSource *source, Slice table, const ChangePlace *place, Text *json);

/** Appends "ts_ms":1,"ts_us":1,"ts_ns":1 of a time since 1970. */
void change_source_write_times(ChangeSource *source, int64_t now_ns, Text *json);

/** Appends {"id":"xid:lsn", with the LSN of this record: within a transaction they differ. */
void change_source_write_id(const ChangePlace *place, Text *json);
