#include "golden.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/timestamp.h"
#include "cdc/pgoutput.h"
#include "flow/schema.h"
#include "golden_mapping.h"

#define FIXTURES SOURCE_DIR "/tests/fixtures/golden/"

/* A file as a string to be freed. */
static char *read_file(const char *name)
{
    AUTO_TEXT path = x_format(FIXTURES "%s", name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    (void)fseek(file, 0, SEEK_END);
    size_t length = (size_t)ftell(file);
    rewind(file);
    char *text = x_malloc(length + 1);
    cr_assert_eq(fread(text, 1, length, file), length);
    text[length] = '\0';
    (void)fclose(file);
    return text;
}

size_t golden_unescape(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0';) {
        unsigned byte = 0;
        if (at[0] == '\\' && sscanf(at, "\\x%2x", &byte) == 1) {
            *to++ = (char)byte;
            at += 4;
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

static unsigned mode_of(const char *options, const char *name, const char *const *values)
{
    AUTO_TEXT wanted = x_format(" %s=", name);
    const char *at = strstr(options, wanted);
    size_t length = at != NULL ? strcspn(at + strlen(wanted), " ") : 0;
    for (unsigned i = 0; at != NULL && values[i] != NULL; i++) {
        if (strlen(values[i]) == length && strncmp(at + strlen(wanted), values[i], length) == 0) {
            return i;
        }
    }
    cr_assert_null(at, "%s", options);
    return 0;
}

static void read_options(char *options, GoldenRecords *ret)
{
    static const char *const DECIMAL[] = {"precise", "string", "double", NULL};
    static const char *const TIME[] = {"adaptive",
                                       "adaptive_time_microseconds",
                                       "connect",
                                       "isostring",
                                       "microseconds",
                                       "nanoseconds",
                                       NULL};
    static const char *const INTERVAL[] = {"numeric", "string", NULL};
    static const char *const BINARY[] = {"bytes", "base64", "base64-url-safe", "hex", NULL};
    static const char *const HSTORE[] = {"json", "map", NULL};
    static const char *const UNKNOWN[] = {"omit", "text", "bytes", NULL};
    static const char *const SCHEMAS[] = {"false", "true", NULL};
    ret->modes = (ChangeModes){
        .decimal = mode_of(options, "decimal", DECIMAL),
        .time = mode_of(options, "time", TIME),
        .interval = mode_of(options, "interval", INTERVAL),
        .binary = mode_of(options, "binary", BINARY),
        .hstore = mode_of(options, "hstore", HSTORE),
        .unknown = mode_of(options, "unknown", UNKNOWN),
        .told = mode_of(options, "schemas", SCHEMAS) != 0 ? TOLD_SCHEMAS : 0,
    };
    ret->mapping = golden_mapping(options);
    ret->transactions = strstr(options, " transactions=true") != NULL;
    char prefix[64] = "";
    cr_assert_eq(sscanf(options, "prefix=%63s", prefix), 1);
    ret->prefix = x_strdup(prefix);
}

/* "null", "-\tTEXT" or "#N\tPAYLOAD". */
static char *whole(char *text, char *const *defined)
{
    if (strcmp(text, "null") == 0) {
        return NULL;
    }
    char *payload = strchr(text, '\t');
    cr_assert_not_null(payload);
    *payload++ = '\0';
    if (text[0] == '-') {
        return x_strdup(payload);
    }
    return x_format("{\"schema\":%s,\"payload\":%s}", defined[atoi(text + 1)], payload);
}

void golden_load(const char *name, GoldenRecords *ret)
{
    enum { DEFINED_MAX = 1000 };
    char *defined[DEFINED_MAX] = {NULL};
    *ret = (GoldenRecords){0};
    AUTO_TEXT text = read_file(name);
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); rest != NULL; line = strsep(&rest, "\n")) {
        char *value = strchr(line, '\t');
        cr_assert_not_null(value, "%s: %s", name, line);
        *value++ = '\0';
        GoldenRecord *last =
            ret->records.count > 0 ? &ret->records.items[ret->records.count - 1] : NULL;
        if (strcmp(line, "options") == 0) {
            read_options(value, ret);
        } else if (strcmp(line, "define") == 0) {
            char *after = strchr(value, '\t');
            int number = atoi(value + 1);
            cr_assert(after != NULL && number < DEFINED_MAX);
            defined[number] = after + 1;
        } else if (strcmp(line, "record") == 0) {
            char *headers = strchr(value, '\t');
            cr_assert_not_null(headers);
            *headers++ = '\0';
            *vec_add(&ret->records) = (GoldenRecord){
                .topic = x_strdup(value),
                .headers = x_strdup(headers[0] == '#' ? defined[atoi(headers + 1)] : "")};
        } else if (strcmp(line, "key") == 0) {
            last->key = whole(value, defined);
        } else {
            last->value = whole(value, defined);
        }
        const char *run = strstr(value, "runId=");
        if (run != NULL && ret->run == NULL) {
            ret->run = x_strndup(run + strlen("runId="), CHANGE_UUID_LENGTH);
        }
    }
    ret->run = ret->run != NULL ? ret->run : x_strdup("");
}

void golden_clear(GoldenRecords *records)
{
    for (size_t i = 0; i < records->records.count; i++) {
        GoldenRecord *record = &records->records.items[i];
        free(record->topic);
        free(record->headers);
        free(record->key);
        free(record->value);
    }
    vec_free(&records->records);
    free(records->prefix);
    free(records->run);
}

static void mask_number(char **at, const char *name)
{
    if (*at == NULL || strncmp(*at, name, strlen(name)) != 0) {
        *at = NULL;
        return;
    }
    char *digits = *at + strlen(name);
    size_t count = strspn(digits, "0123456789");
    digits[0] = '0';
    memmove(digits + 1, digits + count, strlen(digits + count) + 1);
    *at = digits + 1;
}

void golden_mask(char *value)
{
    char *op = NULL;
    char *beat = strncmp(value, "{\"ts_ms\":", 9) == 0 ? value + 1 : NULL;
    mask_number(&beat, "\"ts_ms\":");
    for (char *at = value; (at = strstr(at, "\"op\":\"")) != NULL; at++) {
        op = at;
    }
    char *at = op != NULL ? op + strlen("\"op\":\"c\",") : NULL;
    mask_number(&at, "\"ts_ms\":");
    mask_number(&at, ",\"ts_us\":");
    mask_number(&at, ",\"ts_ns\":");
}

/* One replay of a subject. */
typedef struct Replay {
    GoldenRecords *ret;
    const GoldenRecords *expected;
    ChangeEvents *events;
    ChangeCatalog catalog;
    ChangeOut out;
    Arena arena;
    VEC(ChangeTable *) tables;
    ChangePlace place;
    ChangePlace begin; /* of a transaction whose begin is not yet told */
    ChangeTransaction transaction;
    bool transactions;
    bool begun;
    PgOutputReader reader;
    PGresult *types;
    PGresult *facts;
    Error err;
} Replay;

static char *copy_of(Slice slice)
{
    return slice_is_null(slice) ? NULL : x_strndup(slice.data, slice.length);
}

static void keep(Replay *replay, const ChangeRecord *record)
{
    AUTO_BUFFER headers = TEXT_EMPTY;
    for (size_t i = 0; i < record->header_count; i++) {
        text_add(&headers, i > 0 ? "\t" : "");
        text_add_slice(&headers, record->headers[i].name);
        text_add_char(&headers, '=');
        text_add_slice(&headers, record->headers[i].value);
    }
    *vec_add(&replay->ret->records) = (GoldenRecord){.topic = copy_of(record->topic),
                                                     .headers = x_strdup(text_string(&headers)),
                                                     .key = copy_of(record->key),
                                                     .value = copy_of(record->value)};
}

static ChangeTable *table_of(const Replay *replay, uint32_t oid)
{
    for (size_t i = 0; i < replay->tables.count; i++) {
        if (replay->tables.items[i]->oid == oid) {
            return replay->tables.items[i];
        }
    }
    return NULL;
}

static ChangeTable *table_new(Replay *replay, const ChangeRelation *relation)
{
    const ChangeTables tables = {&replay->catalog, &replay->ret->modes, replay->ret->prefix,
                                 "golden"};
    ChangeTable *table = NULL;
    cr_assert_eq(change_table_new(&tables, replay->ret->mapping, relation, &replay->out, &table,
                                  &replay->err),
                 OK, "%s", error_message(&replay->err));
    return table;
}

static void on_relation(Replay *replay, const PgOutputRelation *relation)
{
    ChangeColumn columns[PGOUTPUT_COLUMNS_MAX];
    ByteReader rest = bytes_reader(relation->bytes.data, relation->bytes.length);
    for (size_t i = 0; i < relation->columns; i++) {
        PgOutputColumn column = pgoutput_column(&rest);
        columns[i] = (ChangeColumn){column.name, column.type, column.type_modifier};
    }
    ChangeTable *table =
        table_new(replay, &(ChangeRelation){relation->id, columns, relation->columns});
    for (size_t i = 0; i < replay->tables.count; i++) {
        if (replay->tables.items[i]->oid == relation->id) {
            change_table_free(&replay->tables.items[i]);
            replay->tables.items[i] = table;
            return;
        }
    }
    *vec_add(&replay->tables) = table;
}

/* NULL when the tuple was not sent. */
static const Slice *row_of(Replay *replay, const PgOutputTuple *tuple)
{
    if (tuple->bytes.data == NULL) {
        return NULL;
    }
    Slice *row = arena_alloc(&replay->arena, (tuple->columns + 1) * sizeof(*row));
    ByteReader rest = bytes_reader(tuple->bytes.data, tuple->bytes.length);
    for (size_t i = 0; i < tuple->columns; i++) {
        PgOutputValue value = pgoutput_value(&rest);
        row[i] = value.kind == VALUE_UNCHANGED ? SLICE_UNSENT : value.bytes;
    }
    return row;
}

/* A transaction that has only our own messages has no records of its begin and end. */
static void on_begun(Replay *replay)
{
    if (replay->transactions && replay->begin.lsn != 0) {
        ChangeRecord record;
        change_event_transaction(replay->events, NULL, &replay->begin, &replay->arena, &record);
        keep(replay, &record);
        replay->begin.lsn = 0;
        replay->begun = true;
    }
}

static void on_commit(Replay *replay)
{
    if (replay->begun) {
        ChangeRecord record;
        change_event_transaction(replay->events, &replay->transaction, &replay->place,
                                 &replay->arena, &record);
        keep(replay, &record);
        replay->begun = false;
    }
    change_transaction_clear(&replay->transaction);
}

static void on_row(Replay *replay, const ChangeTable *table, ChangeRow *row)
{
    ChangeRecords records;
    row->place = &replay->place;
    row->asked = true; /* a label that its schema lacks does not make Debezium ask */
    replay->place.in_transaction = replay->transactions;
    on_begun(replay);
    change_transaction_next(&replay->transaction, table->name, &replay->place.total_order,
                            &replay->place.table_order);
    cr_assert_eq(
        change_event_row(replay->events, table, row, &replay->arena, &records, &replay->err), OK,
        "%s", error_message(&replay->err));
    uint64_t changes = 0;
    for (size_t i = 0; i < records.count; i++) {
        keep(replay, &records.items[i]);
        changes += !slice_is_null(records.items[i].value);
    }
    change_transaction_count(&replay->transaction, table->name, changes);
}

static void on_change(Replay *replay, const PgOutput *message)
{
    char op = message->kind == PGOUTPUT_INSERT ? 'c' : message->kind == PGOUTPUT_UPDATE ? 'u' : 'd';
    ChangeRow row = {.op = op,
                     .old_row = row_of(replay, &message->change.old_tuple),
                     .new_row = row_of(replay, &message->change.new_tuple)};
    const ChangeTable *table = table_of(replay, message->change.relation);
    cr_assert_not_null(table);
    on_row(replay, table, &row);
}

static void on_truncate(Replay *replay, const PgOutputTruncate *truncate)
{
    ByteReader rest = bytes_reader(truncate->bytes.data, truncate->bytes.length);
    for (uint32_t i = 0; i < truncate->relations; i++) {
        const ChangeTable *table = table_of(replay, bytes_u32(&rest));
        on_row(replay, table, &(ChangeRow){.op = 't'});
    }
}

static void on_message(Replay *replay, const PgOutputLogicalMessage *message)
{
    ChangePlace place = replay->place;
    if (!message->transactional) {
        place.last_commit = replay->place.lsn;
        replay->place.last_commit = replay->place.lsn;
        place.xid = 0;
    }
    if (strncmp(message->prefix.data, "golden.", 7) == 0) {
        return;
    }
    place.in_transaction = replay->transactions && message->transactional;
    if (message->transactional) {
        on_begun(replay);
        place.total_order = replay->transaction.records + 1;
        place.table_order = 1;
        change_transaction_count_message(&replay->transaction);
    }
    ChangeRecord record;
    cr_assert_eq(change_event_message(replay->events,
                                      &(ChangeMessage){message->prefix, message->content, &place},
                                      &replay->arena, &record, &replay->err),
                 OK);
    keep(replay, &record);
}

static void on_pgoutput(Replay *replay, uint64_t lsn, Slice bytes)
{
    PgOutput message;
    cr_assert_eq(pgoutput_read(&replay->reader, bytes, &message, &replay->err), OK, "%s",
                 error_message(&replay->err));
    replay->place.lsn = lsn;
    switch (message.kind) {
    case PGOUTPUT_BEGIN:
        replay->place.committed_at_us = message.begin.committed_at + TIMESTAMP_POSTGRES_EPOCH_US;
        replay->place.xid = message.begin.xid;
        replay->place.origin = SLICE_NULL;
        replay->begin = replay->place;
        break;
    case PGOUTPUT_ORIGIN:
        replay->place.origin = arena_copy(&replay->arena, message.origin.name);
        replay->place.origin_lsn = message.origin.lsn;
        break;
    case PGOUTPUT_COMMIT:
        replay->place.last_commit = message.commit.end_lsn;
        on_commit(replay);
        break;
    case PGOUTPUT_RELATION:
        on_relation(replay, &message.relation);
        break;
    case PGOUTPUT_TRUNCATE:
        on_truncate(replay, &message.truncate);
        break;
    case PGOUTPUT_MESSAGE:
        on_message(replay, &message.message);
        break;
    case PGOUTPUT_TYPE:
        break;
    default:
        on_change(replay, &message);
        break;
    }
}

/* The row of a snapshot as COPY writes it; in place. */
static size_t copy_fields(char *line, Slice *row, size_t most)
{
    static const char FROM[] = "bfnrtv";
    static const char TO[] = "\b\f\n\r\t\v";
    size_t count = 0;
    for (char *field = strsep(&line, "\t"); field != NULL && count < most;
         field = strsep(&line, "\t")) {
        char *to = field;
        bool null = strcmp(field, "\\N") == 0;
        for (const char *at = field; *at != '\0'; at++) {
            const char *escape = at[0] == '\\' ? strchr(FROM, at[1]) : NULL;
            at += at[0] == '\\';
            *to++ = escape != NULL ? TO[escape - FROM] : *at;
        }
        row[count++] = null ? SLICE_NULL : (Slice){.data = field, .length = (size_t)(to - field)};
    }
    return count;
}

/* The columns that the catalog knows of a table, but for generated ones. */
static size_t known_columns(const ChangeTableFacts *facts, ChangeColumn *columns)
{
    size_t count = 0;
    for (size_t i = 0; i < facts->columns.count; i++) {
        const ChangeColumnFacts *column = &facts->columns.items[i];
        if (!column->generated) {
            columns[count++] =
                (ChangeColumn){slice_of(column->name), column->type, column->modifier};
        }
    }
    return count;
}

/* The marker is that of Debezium's record, whose place in the snapshot ours has. */
static void on_snapshot_row(Replay *replay, char *line)
{
    static ChangeColumn columns[PGOUTPUT_COLUMNS_MAX];
    char *values = strchr(line, '\t');
    *values++ = '\0';
    uint32_t oid = (uint32_t)strtoul(line, NULL, 10);
    const ChangeTableFacts *facts = change_catalog_table(&replay->catalog, oid);
    size_t count = known_columns(facts, columns);
    ChangeTable *table = table_new(replay, &(ChangeRelation){oid, columns, count});
    Slice given[PGOUTPUT_COLUMNS_MAX];
    Slice row[PGOUTPUT_COLUMNS_MAX];
    cr_assert_eq(copy_fields(values, given, PGOUTPUT_COLUMNS_MAX), facts->columns.count);
    for (size_t i = 0, at = 0; i < facts->columns.count; i++) {
        if (!facts->columns.items[i].generated) {
            row[at++] = given[i];
        }
    }
    const GoldenRecords *expected = replay->expected;
    const char *source =
        strstr(expected->records.items[replay->ret->records.count].value, "\"source\":{");
    char snapshot[32] = "";
    long long lsn = 0;
    long long us = 0;
    cr_assert_eq(sscanf(strstr(source, "\"snapshot\":"), "\"snapshot\":\"%31[a-z_]", snapshot), 1);
    cr_assert_eq(sscanf(strstr(source, "\"ts_us\":"), "\"ts_us\":%lld", &us), 1);
    cr_assert_eq(
        sscanf(strstr(source, "\"txId\":"), "\"txId\":%u,\"lsn\":%lld", &replay->place.xid, &lsn),
        2);
    static const char *const MARKERS[] = {
        "false", "true", "first", "first_in_data_collection", "last_in_data_collection", "last"};
    for (unsigned i = SNAPSHOT_ROW; i <= SNAPSHOT_LAST; i++) {
        if (strcmp(MARKERS[i], snapshot) == 0) {
            replay->place.snapshot = (ChangeSnapshot)i;
        }
    }
    replay->place.lsn = (uint64_t)lsn;
    replay->place.committed_at_us = us;
    on_row(replay, table, &(ChangeRow){.op = 'r', .new_row = row});
    change_table_free(&table);
}

/* One row of an answer to a query of the catalog. */
static void add_fact(PGresult **result, char *line)
{
    enum { COLUMNS_MAX = 16 };
    if (*result == NULL) {
        static PGresAttDesc columns[COLUMNS_MAX];
        static char name[] = "a";
        for (size_t i = 0; i < COLUMNS_MAX; i++) {
            columns[i].name = name;
        }
        *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
        PQsetResultAttrs(*result, COLUMNS_MAX, columns);
    }
    int row = PQntuples(*result);
    int column = 0;
    for (char *field = strsep(&line, "\t"); field != NULL; field = strsep(&line, "\t"), column++) {
        if (strcmp(field, "\\N") == 0) {
            PQsetvalue(*result, row, column, NULL, -1);
        } else {
            size_t length = golden_unescape(field);
            PQsetvalue(*result, row, column, field, (int)length);
        }
    }
}

static void take_facts(Replay *replay)
{
    if (replay->types != NULL) {
        cr_assert_eq(change_catalog_read_types(&replay->catalog, replay->types, &replay->err), OK);
        PQclear(replay->types);
    }
    if (replay->facts != NULL) {
        cr_assert_eq(change_catalog_read_tables(&replay->catalog, replay->facts, &replay->err), OK);
        PQclear(replay->facts);
    }
    replay->types = replay->facts = NULL;
}

static void replay_line(Replay *replay, char *line)
{
    char *value = strchr(line, '\t');
    *value++ = '\0';
    if (strcmp(line, "type") == 0) {
        add_fact(&replay->types, value);
    } else if (strcmp(line, "table") == 0) {
        add_fact(&replay->facts, value);
    } else if (strcmp(line, "row") == 0) {
        take_facts(replay);
        on_snapshot_row(replay, value);
    } else {
        take_facts(replay);
        size_t length = golden_unescape(value);
        on_pgoutput(replay, strtoull(line, NULL, 10), (Slice){.data = value, .length = length});
    }
}

void golden_replay(const char *name, const GoldenRecords *expected, GoldenRecords *ret)
{
    *ret = (GoldenRecords){.modes = expected->modes,
                           .mapping = expected->mapping,
                           .prefix = x_strdup(expected->prefix),
                           .run = x_strdup(expected->run)};
    Replay replay = {.ret = ret,
                     .expected = expected,
                     .reader = {.protocol = 1},
                     .transactions = expected->transactions};
    ChangeOptions options = {
        .modes = ret->modes, .prefix = ret->prefix, .database = "golden", .run = ret->run};
    replay.events = change_events_new(&options);
    AUTO_TEXT text = read_file(name);
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); rest != NULL; line = strsep(&rest, "\n")) {
        replay_line(&replay, line);
    }
    if (expected->transactions) {
        ChangeRecord record;
        change_event_heartbeat(replay.events, 0, &replay.arena, &record);
        keep(&replay, &record);
    }
    change_events_free(&replay.events);
    for (size_t i = 0; i < replay.tables.count; i++) {
        change_table_free(&replay.tables.items[i]);
    }
    vec_free(&replay.tables);
    change_catalog_clear(&replay.catalog);
    change_out_free(&replay.out);
    arena_release(&replay.arena);
    error_clear(&replay.err);
}
