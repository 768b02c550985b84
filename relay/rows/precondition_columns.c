/* Columns: there, of a type that can be read, filled as the capture needs it; what numbers the
 * rows. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/columns.h"
#include "pg/ident.h"
#include "rows/precondition_internal.h"

/* What the column has to be; NULL: whatever it is. */
static const char *column_wanted(const NeededColumn *column)
{
    return column->index < COLUMN_COUNT ? column_wants(column->index) : NULL;
}

/* What adds a column that a table which is adopted often lacks; NULL: no advice. */
static const char *column_ddl(const Facts *facts, size_t index)
{
    if (index == FIELD_SEQ) {
        return "bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) UNIQUE; -- rewrites the table, which "
               "nobody can use until then";
    }
    bool marked =
        index == FIELD_PUBLISHED_AT && facts->pipeline->outbox.on_publish == ON_PUBLISH_MARK;
    return marked ? "timestamptz; -- immediate, without a rewrite" : NULL;
}

/* Missing. */

/* Each column that our own migrations made is there, or somebody took it. */
static bool column_was_made(const Facts *facts, size_t index)
{
    return OUTBOX_COLUMNS[index].made_as != NULL && facts_say(facts, "ours") &&
           strcmp(facts_value(facts, "table_name"), "event") == 0;
}

/* Why the pipeline cannot be without the column; malloc'd; NULL: it can. */
static char *missing_need(const Facts *facts, const NeededColumn *column, const char *present,
                          const NeededColumn *needed, size_t count)
{
    if (column->index >= COLUMN_COUNT) {
        return x_strdup("header_columns names it");
    }
    char *need = column_need(facts->pipeline, column->index);
    bool value = column->index == FIELD_PAYLOAD;
    for (size_t i = 0; value && need == NULL && i < count && present[i] != '\0'; i++) {
        if (needed[i].index == FIELD_PAYLOAD_BYTES && present[i] == '-') {
            need = x_strdup("it is the record's value, and there is no payload_bytes");
        }
    }
    if (need == NULL && column_was_made(facts, column->index)) {
        need = x_strdup("outboxd migrate created it");
    }
    const OutboxTable *known = facts->outbox;
    if (need == NULL && known->looked_at && (known->absent & TABLE_COLUMN(column->index)) == 0) {
        need = x_strdup("it existed when this relay started");
    }
    return need;
}

static void remedy_missing(const Facts *facts, const NeededColumn *column, const char *need,
                           Text *remedy)
{
    const char *ddl = column_ddl(facts, column->index);
    if (ddl != NULL) {
        AUTO_TEXT quoted = ident_quote(column->name);
        text_printf(remedy, "%sALTER TABLE %s ADD COLUMN %s %s",
                    column->index == FIELD_PUBLISHED_AT ? "on_publish = \"delete\", or: " : "",
                    facts->table, quoted, ddl);
        return;
    }
    if (column->path == NULL) {
        text_add(remedy, "take it out of header_columns, or add it to the table");
        return;
    }
    bool first = column->index <= FIELD_EVENT_TYPE; /* nothing goes without them */
    bool template = strncmp(need, "the topic", 9) == 0 || strncmp(need, "the key", 7) == 0;
    text_printf(remedy, "name the column of your table in %s%s", column->path,
                first      ? ""
                : template ? ", or write a topic and a key without it"
                           : ", or say that it has none: \"\"");
}

static void say_missing(const Facts *facts, const NeededColumn *column, const char *need,
                        Saying *say)
{
    text_printf(&say->message, "%s has no column \"%s\" (%s)", facts->pipeline->outbox.table,
                column->name, need);
    say->column = column->name;
    remedy_missing(facts, column, need, &say->remedy);
}

/* Reads along the columns of the answer: how many are absent and needed, which are absent. */
static bool columns_read(const Facts *facts, size_t nth, Saying *say, uint32_t *ret_absent)
{
    const char *present = facts_value(facts, "present");
    size_t count = 0;
    NeededColumn *needed = needed_columns(facts->pipeline, &count);
    bool missing = false;
    size_t said = 0;
    for (size_t i = 0; i < count && present[i] != '\0' && !missing; i++) {
        if (present[i] != '-') {
            continue;
        }
        AUTO_TEXT need = missing_need(facts, &needed[i], present, needed, count);
        if (need == NULL) {
            *ret_absent |= TABLE_COLUMN(needed[i].index);
        } else if (say != NULL && said++ == nth) {
            missing = true;
            say_missing(facts, &needed[i], need, say);
        }
    }
    free(needed);
    return missing;
}

static bool columns_are_missing(const Facts *facts, Saying *say)
{
    uint32_t absent = 0;
    return columns_read(facts, facts->nth, say, &absent);
}

uint32_t columns_absent(const Facts *facts)
{
    uint32_t absent = 0;
    (void)columns_read(facts, 0, NULL, &absent);
    return absent;
}

/* Of another type. */

static bool type_does_not_fit(const NeededColumn *column, const char *type)
{
    return column->index < COLUMN_COUNT && !column_takes(column->index, type);
}

static void say_type(const Facts *facts, const NeededColumn *column, const char *type, Saying *say)
{
    const char *wanted = column_wanted(column);
    if (wanted != NULL) {
        text_printf(&say->message, "column \"%s\" of %s is %s, but %s must be %s", column->name,
                    facts->pipeline->outbox.table, type, column->path, wanted);
        text_printf(&say->remedy, "name another column in %s, or say that it has none: \"\"",
                    column->path);
    } else {
        text_printf(&say->message,
                    "column \"%s\" of %s is bytea: as columns.payload it would be sent in hex",
                    column->name, facts->pipeline->outbox.table);
        text_add(&say->remedy, "name it in columns.payload_bytes, and set columns.payload = \"\"");
    }
}

static bool columns_are_of_other_type(const Facts *facts, Saying *say)
{
    AUTO_TEXT types = x_strdup(facts_value(facts, "types"));
    size_t count = 0;
    NeededColumn *needed = needed_columns(facts->pipeline, &count);
    char *rest = *types != '\0' ? types : NULL;
    size_t said = 0;
    for (size_t i = 0; i < count && rest != NULL && say->message.length == 0; i++) {
        const char *type = strsep(&rest, "/");
        bool other = *type != '\0' && type_does_not_fit(&needed[i], type); /* "": missing */
        if (other && said++ == facts->nth) {
            say_type(facts, &needed[i], type, say);
        }
    }
    free(needed);
    return say->message.length > 0;
}

/* Generated: pgoutput leaves them out before PostgreSQL 18, and virtual ones always. */
static bool columns_are_not_in_log(const Facts *facts, Saying *say)
{
    const char *generated = facts_value(facts, "generated");
    bool stored_are_sent =
        facts->version >= POSTGRES_18 && *facts_value(facts, "generated_sent") == 's';
    size_t count = 0;
    NeededColumn *needed = needed_columns(facts->pipeline, &count);
    bool missing = false;
    size_t said = 0;
    for (size_t i = 0; i < count && generated[i] != '\0' && !missing; i++) {
        missing = (generated[i] == 'v' || (generated[i] == 's' && !stored_are_sent)) &&
                  said++ == facts->nth;
        if (!missing) {
            continue;
        }
        text_printf(&say->message,
                    "column \"%s\" of %s is generated, and the WAL does not contain it%s",
                    needed[i].name, facts->table,
                    facts->version < POSTGRES_18 ? " before PostgreSQL 18" : "");
        if (facts->version >= POSTGRES_18 && generated[i] == 's') {
            AUTO_TEXT publication = ident_quote(facts->pipeline->wal.publication);
            text_printf(&say->remedy,
                        "ALTER PUBLICATION %s SET (publish_generated_columns = stored);",
                        publication);
        } else {
            text_printf(&say->remedy, "take it out of %s, or set capture = \"poll\"",
                        needed[i].path != NULL ? needed[i].path : "header_columns");
        }
    }
    free(needed);
    return missing;
}

/* published_at: NULL says that a row is still to be published. */

static bool published_is_never_null(const Facts *facts, Saying *say)
{
    AUTO_TEXT column = ident_quote(facts->pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    text_printf(&say->message,
                "column \"%s\" of %s is NOT NULL: every row would count as published",
                facts->pipeline->outbox.columns[FIELD_PUBLISHED_AT], facts->table);
    text_printf(&say->remedy, "ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL; and insert NULL",
                facts->table, column);
    return facts_say(facts, "published_not_null");
}

static bool published_has_default(const Facts *facts, Saying *say)
{
    AUTO_TEXT column = ident_quote(facts->pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    const char *value = facts_value(facts, "published_default");
    bool generated = *facts_value(facts, "published_generated") != '\0';
    text_printf(&say->message, "column \"%s\" of %s %s %s: every new row would count as published",
                facts->pipeline->outbox.columns[FIELD_PUBLISHED_AT], facts->table,
                generated ? "is generated as" : "has the default", value);
    text_printf(&say->remedy,
                "ALTER TABLE %s ALTER COLUMN %s DROP %s; then set it to NULL in the rows that were "
                "not published",
                facts->table, column, generated ? "EXPRESSION" : "DEFAULT");
    bool null = strncasecmp(value, "NULL", 4) == 0 && (value[4] == '\0' || value[4] == ':');
    return *value != '\0' && !null;
}

/* Of a column that is not there, that is said, and no more. */
static bool column_is_there(const Facts *facts, size_t index)
{
    const char *present = facts_value(facts, "present");
    size_t count = 0;
    NeededColumn *needed = needed_columns(facts->pipeline, &count);
    bool there = true;
    for (size_t i = 0; i < count && present[i] != '\0'; i++) {
        there = there && !(needed[i].index == index && present[i] == '-');
    }
    free(needed);
    return there;
}

/* The numbers. Polling publishes in their order; the log has an order of its own. */

static bool numbers_may_be_missing(const Facts *facts, Saying *say)
{
    AUTO_TEXT column = ident_quote(facts->pipeline->outbox.columns[FIELD_SEQ]);
    text_printf(&say->message,
                "column %s of %s may be NULL: the relay cannot read an event without a number",
                column, facts->table);
    text_printf(&say->remedy,
                "UPDATE %s SET %s = DEFAULT WHERE %s IS NULL; ALTER TABLE %s ALTER COLUMN %s SET "
                "NOT NULL;",
                facts->table, column, column, facts->table, column);
    return facts_say(facts, "seq_nullable");
}

static bool numbers_are_cached(const Facts *facts, Saying *say)
{
    const char *cache = facts_value(facts, "cache");
    text_printf(&say->message,
                "sequence %s has CACHE %s: sessions would number events out of order",
                facts_value(facts, "sequence"), cache);
    text_printf(&say->remedy, "ALTER SEQUENCE %s CACHE 1;", facts_value(facts, "sequence"));
    return *cache != '\0' && strcmp(cache, "1") != 0;
}

static bool numbers_go_down(const Facts *facts, Saying *say)
{
    text_printf(&say->message, "sequence %s can descend or start over",
                facts_value(facts, "sequence"));
    text_printf(&say->remedy, "ALTER SEQUENCE %s INCREMENT 1 NO CYCLE;",
                facts_value(facts, "sequence"));
    return *facts_value(facts, "increment") == '-' || facts_say(facts, "cycles");
}

/* The log has its own order; the table has but this one. */
static void say_rows_of_table(Saying *say)
{
    text_add(&say->message, ": rows that are read from the table (those from before the slot, and "
                            "those that wait for their topic) are published in the order of their "
                            "numbers, so events of one key may be out of order");
}

static bool numbers_of_rows_go_down(const Facts *facts, Saying *say)
{
    bool down = numbers_go_down(facts, say);
    say_rows_of_table(say);
    return down;
}

static bool numbers_of_rows_are_cached(const Facts *facts, Saying *say)
{
    bool cached = numbers_are_cached(facts, say);
    say_rows_of_table(say);
    return cached;
}

static const char DRAWN_ELSEWHERE[] =
    "let the INSERT draw it (GENERATED ALWAYS AS IDENTITY), or set capture = \"wal\", which "
    "publishes in the order of commits";

static bool are_from_elsewhere(const Facts *facts)
{
    bool told = *facts_value(facts, "seq_number") != '\0';
    return told && (*facts_value(facts, "sequence") == '\0' || facts_deny(facts, "drawn"));
}

static bool numbers_come_from_elsewhere(const Facts *facts, Saying *say)
{
    text_printf(
        &say->message,
        "column \"%s\" of %s is not numbered by the INSERT itself: a number that was drawn earlier "
        "may commit later, and its event is then published after newer ones of its key",
        facts->pipeline->outbox.columns[FIELD_SEQ], facts->table);
    text_add(&say->remedy, DRAWN_ELSEWHERE);
    return are_from_elsewhere(facts);
}

static const char DRAWN_BY_INSERT[] =
    "let the INSERT draw it (GENERATED ALWAYS AS IDENTITY), or make sure that every topic exists: "
    "events read from the WAL are in the order of commits";

static bool numbers_of_rows_come_from_elsewhere(const Facts *facts, Saying *say)
{
    text_printf(&say->message, "column \"%s\" of %s is not numbered by the INSERT itself",
                facts->pipeline->outbox.columns[FIELD_SEQ], facts->table);
    say_rows_of_table(say);
    text_add(&say->remedy, DRAWN_BY_INSERT);
    return are_from_elsewhere(facts);
}

static bool are_in_blocks(const Facts *facts)
{
    const char *increment = facts_value(facts, "increment");
    return *increment != '\0' && *increment != '-' && strcmp(increment, "1") != 0;
}

static bool numbers_of_rows_come_in_blocks(const Facts *facts, Saying *say)
{
    text_printf(&say->message,
                "sequence %s has INCREMENT %s, as for an application that hands out "
                "the numbers between by itself (hi/lo)",
                facts_value(facts, "sequence"), facts_value(facts, "increment"));
    say_rows_of_table(say);
    text_add(&say->remedy, DRAWN_BY_INSERT);
    return are_in_blocks(facts);
}

static bool numbers_come_in_blocks(const Facts *facts, Saying *say)
{
    const char *increment = facts_value(facts, "increment");
    text_printf(&say->message,
                "sequence %s has INCREMENT %s, as for an application that assigns the numbers in "
                "between itself (hi/lo), so events of one key may be out of order",
                facts_value(facts, "sequence"), increment);
    text_add(&say->remedy, DRAWN_ELSEWHERE);
    return are_in_blocks(facts);
}

static bool numbers_are_not_unique(const Facts *facts, Saying *say)
{
    AUTO_TEXT column = ident_quote(facts->pipeline->outbox.columns[FIELD_SEQ]);
    text_printf(
        &say->message,
        "no unique index on \"%s\" of %s: two rows with the same number may be marked together",
        facts->pipeline->outbox.columns[FIELD_SEQ], facts->table);
    text_printf(&say->remedy, "CREATE UNIQUE INDEX CONCURRENTLY ON %s (%s);", facts->table, column);
    return facts->pipeline->outbox.on_publish != ON_PUBLISH_KEEP &&
           *facts_value(facts, "kind") == 'r' && column_is_there(facts, FIELD_SEQ) &&
           facts_deny(facts, "unique");
}

static bool unpublished_are_not_indexed(const Facts *facts, Saying *say)
{
    AUTO_TEXT column = ident_quote(facts->pipeline->outbox.columns[FIELD_SEQ]);
    AUTO_TEXT published = ident_quote(facts->pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    text_printf(&say->message,
                "no index on the unpublished rows of %s: published rows slow down %s", facts->table,
                facts->pipeline->capture == CAPTURE_WAL ? "the first start and each count"
                                                        : "each poll");
    bool partitioned = *facts_value(facts, "kind") == 'p'; /* which takes no CONCURRENTLY */
    text_printf(&say->remedy, "CREATE INDEX %sON %s (%s) WHERE %s IS NULL;%s",
                partitioned ? "" : "CONCURRENTLY ", facts->table, column, published,
                partitioned
                    ? " (writers wait until it is done; to avoid that: ON ONLY, then CONCURRENTLY "
                      "on each partition, then ALTER INDEX ... ATTACH PARTITION)"
                    : "");
    return facts->pipeline->outbox.on_publish == ON_PUBLISH_MARK &&
           column_is_there(facts, FIELD_SEQ) && column_is_there(facts, FIELD_COUNT) &&
           facts_deny(facts, "indexed");
}

#define SEQ_INDEX(condition)                                                                       \
    "EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid"          \
    " AND i.indkey[0] = sq.attnum AND " condition ")"

const Precondition PRECONDITIONS_COLUMNS[] = {
    {CODE_COLUMN_MISSING, FOR_BOTH | BY_ALL | REPEATS, false, "col.present", columns_are_missing},
    {CODE_COLUMN_TYPE, FOR_BOTH | BY_ALL | REPEATS, false, "col.types", columns_are_of_other_type},
    {CODE_COLUMN_GENERATED, FOR_WAL | BY_ALL | REPEATS, false, "col.generated",
     columns_are_not_in_log},
    {CODE_PUBLISHED_NOT_NULL, FOR_BOTH | BY_ALL, false, "pub.attnotnull AS published_not_null",
     published_is_never_null},
    {CODE_PUBLISHED_BY_DEFAULT, FOR_BOTH | BY_ALL, false,
     "pub.value AS published_default, pub.attgenerated AS published_generated",
     published_has_default},
    {CODE_SEQ_NULLABLE, FOR_BOTH | BY_ALL, false, "NOT sq.attnotnull AS seq_nullable",
     numbers_may_be_missing},
    {CODE_SEQUENCE_CACHE, FOR_POLL | BY_ALL, false,
     "sq.sql AS sequence, sq.seqcache AS cache, sq.attnum AS seq_number", numbers_are_cached},
    {CODE_SEQUENCE_DESCENDS, FOR_POLL | BY_ALL, false,
     "sq.seqincrement AS increment, sq.seqcycle AS cycles", numbers_go_down},
    {CODE_SEQUENCE_CACHE, FOR_WAL | BY_ALL | FIRST, true,
     "sq.sql AS sequence, sq.seqcache AS cache, sq.attnum AS seq_number",
     numbers_of_rows_are_cached},
    {CODE_SEQUENCE_DESCENDS, FOR_WAL | BY_ALL | FIRST, true,
     "sq.seqincrement AS increment, sq.seqcycle AS cycles", numbers_of_rows_go_down},
    {CODE_SEQUENCE_ELSEWHERE, FOR_POLL | BY_ALL, true, "sq.drawn", numbers_come_from_elsewhere},
    {CODE_SEQUENCE_ELSEWHERE, FOR_WAL | BY_CHECK, true, "sq.drawn",
     numbers_of_rows_come_from_elsewhere},
    {CODE_SEQUENCE_BLOCKS, FOR_POLL | BY_ALL, true, NULL, numbers_come_in_blocks},
    {CODE_SEQUENCE_BLOCKS, FOR_WAL | BY_CHECK, true, NULL, numbers_of_rows_come_in_blocks},
    {CODE_SEQ_NOT_UNIQUE, FOR_BOTH | BY_ALL, true,
     SEQ_INDEX("i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL") " AS unique",
     numbers_are_not_unique},
    {CODE_UNPUBLISHED_NOT_INDEXED, FOR_BOTH | BY_ALL, true,
     SEQ_INDEX("i.indpred IS NOT NULL") " AS indexed", unpublished_are_not_indexed},
};
const size_t PRECONDITIONS_COLUMNS_COUNT = sizeof(PRECONDITIONS_COLUMNS) / sizeof(Precondition);
