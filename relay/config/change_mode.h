/* change_mode: how values are expressed; the names of the choices are those of the configuration,
 * and but for unknown_types "text" those of Debezium. Zeroes are Debezium's defaults. */
#pragma once

typedef enum ChangeDecimal { DECIMAL_PRECISE, DECIMAL_STRING, DECIMAL_DOUBLE } ChangeDecimal;

typedef enum ChangeTime {
    TIME_ADAPTIVE,
    TIME_ADAPTIVE_TIME_MICROSECONDS,
    TIME_CONNECT,
    TIME_ISOSTRING,
    TIME_MICROSECONDS,
    TIME_NANOSECONDS,
} ChangeTime;

typedef enum ChangeIntervals { INTERVAL_NUMERIC, INTERVAL_STRING } ChangeIntervals;

typedef enum ChangeBinary {
    BINARY_BYTES,
    BINARY_BASE64,
    BINARY_BASE64_URL_SAFE,
    BINARY_HEX,
} ChangeBinary;

typedef enum ChangeHstore { HSTORE_JSON, HSTORE_MAP } ChangeHstore;

typedef enum ChangeUnknown { UNKNOWN_OMIT, UNKNOWN_TEXT, UNKNOWN_BYTES } ChangeUnknown;

/* Of ChangeModes.told. */
enum {
    TOLD_SCHEMAS = 1 << 0,      /* each record carries its schema */
    TOLD_TRANSACTIONS = 1 << 1, /* begin and end have records, and each change its place between */
};

typedef struct ChangeModes {
    ChangeDecimal decimal;
    ChangeTime time;
    ChangeIntervals interval;
    ChangeBinary binary;
    ChangeHstore hstore;
    ChangeUnknown unknown;
    unsigned told; /* bits of TOLD_ */
} ChangeModes;
