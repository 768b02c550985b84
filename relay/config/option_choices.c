/* The words that options with a fixed set of values take. */
#include "config/option_choices.h"

#include "config/config.h"

const OptionChoice CHOICES_CAPTURES[] = {
#define CAPTURE(kind, name, make) {name, CAPTURE_##kind, false},
#include "config/captures.inc"
#undef CAPTURE
    {NULL, 0, false},
};
const OptionChoice CHOICES_SINKS[] = {
#define SINK(kind, name, make, check, stores) {name, SINK_##kind, false},
#include "config/sinks.inc"
#undef SINK
    {NULL, 0, false},
};
const OptionChoice CHOICES_FILE_FORMATS[] = {
    {"json", FILE_FORMAT_JSON, false},
    {"raw", FILE_FORMAT_RAW, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_ON_PUBLISHES[] = {
    {"mark", ON_PUBLISH_MARK, false},
    {"delete", ON_PUBLISH_DELETE, false},
    {"keep", ON_PUBLISH_KEEP, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_DELIVERIES[] = {
    {"at-least-once", DELIVERY_AT_LEAST_ONCE, false},
    {"exactly-once", DELIVERY_EXACTLY_ONCE, true},
    {NULL, 0, false},
};
const OptionChoice CHOICES_HEADER_STYLES[] = {
    {"cloudevents", HEADERS_CLOUDEVENTS, false},
    {"plain", HEADERS_PLAIN, false},
    {"debezium", HEADERS_DEBEZIUM, true},
    {NULL, 0, false},
};
const OptionChoice CHOICES_MESSAGES_FROM[] = {
    {"granted", MESSAGES_FROM_GRANTED, false},
    {"anyone", MESSAGES_FROM_ANYONE, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_ON_POISONS[] = {
    {"stop", ON_POISON_STOP, false},
    {"dead_letter", ON_POISON_DEAD_LETTER, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_ON_MISSING_TOPICS[] = {
    {"wait", ON_MISSING_TOPIC_WAIT, false},
    {"dead_letter", ON_MISSING_TOPIC_DEAD_LETTER, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_ON_UNROUTEDS[] = {
    {"stop", ON_UNROUTED_STOP, false},
    {"drop", ON_UNROUTED_DROP, false},
    {"dead_letter", ON_UNROUTED_DEAD_LETTER, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_TIMESTAMPS[] = {
    {"occurred_at", TIMESTAMP_OCCURRED_AT, false},
    {"publish", TIMESTAMP_PUBLISH, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_ON_FAILURES[] = {
    {"stop", ON_FAILURE_STOP_PIPELINE, false},
    {"exit", ON_FAILURE_EXIT, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_POOLERS[] = {
    {"none", POOLER_NONE, false},
    {"session", POOLER_SESSION, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_LOG_FORMATS[] = {
    {"logfmt", LOG_FORMAT_LOGFMT, false},
    {"json", LOG_FORMAT_JSON, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_LOG_LEVELS[] = {
    {"debug", LOG_DEBUG, false}, {"info", LOG_INFO, false}, {"warn", LOG_WARN, false},
    {"error", LOG_ERROR, false}, {NULL, 0, false},
};
const OptionChoice CHOICES_FORMATS[] = {
    {"debezium", TABLES_FORMAT_DEBEZIUM, false},
    {"flat", TABLES_FORMAT_FLAT, true},
    {"cloudevents", TABLES_FORMAT_CLOUDEVENTS, true},
    {NULL, 0, false},
};
const OptionChoice CHOICES_SNAPSHOTS[] = {
    {"initial", SNAPSHOT_MODE_INITIAL, false},
    {"initial_only", SNAPSHOT_MODE_INITIAL_ONLY, false},
    {"never", SNAPSHOT_MODE_NEVER, false},
    {"when_needed", SNAPSHOT_MODE_WHEN_NEEDED, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_UNKNOWN_TYPES[] = {
    {"text", UNKNOWN_TEXT, false},
    {"omit", UNKNOWN_OMIT, false},
    {"bytes", UNKNOWN_BYTES, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_DECIMALS[] = {
    {"precise", DECIMAL_PRECISE, false},
    {"string", DECIMAL_STRING, false},
    {"double", DECIMAL_DOUBLE, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_TIMES[] = {
    {"adaptive", TIME_ADAPTIVE, false},
    {"adaptive_time_microseconds", TIME_ADAPTIVE_TIME_MICROSECONDS, false},
    {"connect", TIME_CONNECT, false},
    {"isostring", TIME_ISOSTRING, false},
    {"microseconds", TIME_MICROSECONDS, false},
    {"nanoseconds", TIME_NANOSECONDS, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_INTERVALS[] = {
    {"numeric", INTERVAL_NUMERIC, false},
    {"string", INTERVAL_STRING, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_BINARIES[] = {
    {"bytes", BINARY_BYTES, false},
    {"base64", BINARY_BASE64, false},
    {"base64-url-safe", BINARY_BASE64_URL_SAFE, false},
    {"hex", BINARY_HEX, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_HSTORES[] = {
    {"json", HSTORE_JSON, false},
    {"map", HSTORE_MAP, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_TOASTS[] = {
    {"placeholder", TOAST_PLACEHOLDER, false},
    {"reselect", TOAST_RESELECT, false},
    {NULL, 0, false},
};
const OptionChoice CHOICES_OPERATIONS[] = {
    {"c", OPERATION_CREATE, false},
    {"u", OPERATION_UPDATE, false},
    {"d", OPERATION_DELETE, false},
    {"t", OPERATION_TRUNCATE, false},
    {NULL, 0, false},
};
