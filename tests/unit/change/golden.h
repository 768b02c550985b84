/* golden: tests/fixtures/golden in memory, and what the encoder makes of it. */
#pragma once

#include "base/text.h"
#include "base/vec.h"
#include "change/change_event.h"

/* A record as one text for each part; NULL: none. */
typedef struct GoldenRecord {
    char *topic;
    char *headers; /* name=value, tabs between */
    char *key;
    char *value;
} GoldenRecord;

typedef struct GoldenRecords {
    ChangeModes modes;
    const MappingConfig *mapping; /* golden_mapping.c; NULL: none */
    bool transactions;            /* told of */
    char *prefix;
    char *run;
    VEC(GoldenRecord) records;
} GoldenRecords;

/** Reads what Debezium wrote: "15/numeric.default". */
void golden_load(const char *name, GoldenRecords *ret);
void golden_clear(GoldenRecords *records);

/** Encodes "15/numeric.raw" as the profile of *expected asks for. */
void golden_replay(const char *name, const GoldenRecords *expected, GoldenRecords *ret);

/** The clock of the envelope becomes 0, in place. */
void golden_mask(char *value);

/** Bytes of a line's field, in place: \xNN is one byte. */
size_t golden_unescape(char *text);
