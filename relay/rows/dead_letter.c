#include "rows/dead_letter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/utf8.h"
#include "flow/made.h"
#include "flow/refusal.h"
#include "pg/ident.h"

enum {
    PARAM_PIPELINE,
    PARAM_SEQ,
    PARAM_EVENT_ID,
    PARAM_EVENT,
    PARAM_TOPIC,
    PARAM_KEY,
    PARAM_VALUE,
    PARAM_HEADERS,
    PARAM_TIMESTAMP,
    PARAM_REASON,
    PARAM_CLASS,
    PARAM_CODE,
    PARAM_ATTEMPTS,
};

/* As bytea is printed. */
static void add_hex(Text *text, Slice bytes)
{
    static const char DIGITS[] = "0123456789abcdef";
    if (slice_is_null(bytes)) {
        text_add(text, "null");
        return;
    }
    text_add(text, "\"\\\\x");
    for (size_t i = 0; i < bytes.length; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        text_append(text, (char[]){DIGITS[byte >> 4], DIGITS[byte & 15]}, 2);
    }
    text_add_char(text, '"');
}

/* At most so many bytes, and no part of a character at the end. */
static Slice cut(Slice value, size_t most)
{
    if (value.length > most) {
        value.length = utf8_cut(value.data, value.length, most);
    }
    return value;
}

/* What a text column of any database can hold: bytes that are not UTF-8, and NUL, become U+FFFD, or
 * with ascii_only every character beyond ASCII "?". The caller's to free. */
static char *clean_text(Slice value, bool ascii_only)
{
    Text clean = TEXT_EMPTY;
    text_append(&clean, "", 0);
    for (size_t i = 0; i < value.length;) {
        size_t step = utf8_sequence(value.data + i, value.length - i);
        bool odd = step == 0 || value.data[i] == '\0';
        step = step > 0 ? step : 1;
        if (ascii_only && (odd || step > 1)) {
            text_add_char(&clean, '?');
        } else if (odd) {
            text_add(&clean, "\xEF\xBF\xBD");
        } else {
            text_append(&clean, value.data + i, step);
        }
        i += step;
    }
    return clean.data != NULL ? clean.data : x_strdup("");
}

/* As text_add_json, of what the database can hold. */
static void add_jsonb(Text *text, Slice value, bool ascii_only)
{
    if (slice_is_null(value)) {
        text_add(text, "null");
        return;
    }
    bool plain = value.length == 0 || (memchr(value.data, '\0', value.length) == NULL &&
                                       utf8_valid(value.data, value.length));
    if (plain && !ascii_only) {
        text_add_json(text, value);
        return;
    }
    AUTO_TEXT clean = clean_text(value, ascii_only);
    text_add_json(text, slice_of(clean));
}

static bool is_text(Slice value)
{
    return value.length == 0 ||
           (memchr(value.data, '\0', value.length) == NULL && utf8_valid(value.data, value.length));
}

static bool is_ascii(Slice value)
{
    for (size_t i = 0; i < value.length; i++) {
        if ((unsigned char)value.data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Whether the value stands apart of the JSON. */
static bool is_apart(const DeadLetter *letter, Slice value, bool bytes)
{
    bool odd = !bytes && (!is_text(value) || (letter->foreign && !is_ascii(value)));
    return value.length > DEAD_LETTER_NEAR_BYTES || odd;
}

/* What is read is the bytes that stand apart. */
static void add_member(Text *json, const DeadLetter *letter, Slice value, bool bytes)
{
    if (value.length > DEAD_LETTER_NEAR_BYTES) {
        text_add(json, "null");
    } else if (bytes) {
        add_hex(json, value);
    } else {
        add_jsonb(json, value, letter->foreign);
    }
}

/* Every column as text, exactly as PostgreSQL prints it, so that the event can be made again. */
static char *event_json(const DeadLetter *letter, const PipelineConfig *pipeline,
                        const Event *event)
{
    Text json = TEXT_EMPTY;
    if (event->seq == EVENT_NO_SEQ) {
        text_add(&json, "{\"seq\":null");
    } else {
        text_printf(&json, "{\"seq\":%lld", (long long)event->seq);
    }
    if (event->commit_lsn != 0) {
        text_printf(&json, ",\"" DEAD_LETTER_LSN "\":\"%X/%X\",\"" DEAD_LETTER_ORDINAL "\":%llu",
                    (unsigned)(event->commit_lsn >> 32), (unsigned)event->commit_lsn,
                    (unsigned long long)event->ordinal);
    }
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        text_printf(&json, ",\"%s\":", event_field_name(field));
        bool cut = field == FIELD_EVENT_ID && refusal_has(event->refusal, field);
        add_member(&json, letter, cut ? SLICE_NULL : event->row[field],
                   column_is_bytes((size_t)field));
    }
    char scratch[TIMESTAMP_TEXT_MAX];
    text_add(&json, ",\"occurred_at\":");
    add_jsonb(&json,
              event->occurred_at_us == EVENT_NO_TIME
                  ? SLICE_NULL
                  : timestamp_format(event->occurred_at_us, scratch),
              false);
    if (pipeline->capture == CAPTURE_TABLES && !slice_is_null(event->row[MADE_ROW])) {
        text_add(&json, ",\"" DEAD_LETTER_ROW "\":");
        text_add_slice(&json, event->row[MADE_ROW]);
    }
    /* Apart: one may be called like a field. */
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        text_add(&json, i > 0 ? "," : ",\"" DEAD_LETTER_HEADER_COLUMNS "\":{");
        add_jsonb(&json, slice_of(pipeline->outbox.header_columns.items[i]), false);
        text_add_char(&json, ':');
        add_member(&json, letter, event->row[FIELD_COUNT + i], false);
    }
    text_add(&json, pipeline->outbox.header_columns.count > 0 ? "}}" : "}");
    return json.data;
}

static char *headers_json(const Record *record, bool ascii_only)
{
    Text json = TEXT_EMPTY;
    text_add_char(&json, '[');
    for (size_t i = 0; i < record->header_count; i++) {
        text_add(&json, i > 0 ? ",{\"name\":" : "{\"name\":");
        add_jsonb(&json, record->headers[i].name, ascii_only);
        text_add(&json, ",\"value\":");
        add_jsonb(&json, cut(record->headers[i].value, DEAD_LETTER_HEADER_BYTES), ascii_only);
        text_add_char(&json, '}');
    }
    text_add_char(&json, ']');
    return json.data;
}

static void set_text(DeadLetter *letter, int param, char *owned)
{
    letter->owned[param] = owned;
    letter->values[param] = owned;
}

static void set_bytes(DeadLetter *letter, int param, Slice bytes)
{
    letter->values[param] = bytes.data;
    letter->lengths[param] = (int)bytes.length;
    letter->formats[param] = 1;
}

/* All but the event. */
static void set_rest(DeadLetter *letter, const PipelineConfig *pipeline, const Event *event,
                     const Record *record, const Error *reason)
{
    bool ascii_only = letter->ascii_only;
    const char *hint = error_own_hint(reason);
    AUTO_TEXT reason_text =
        x_format("%s%s%s", error_message(reason), *hint != '\0' ? ". " : "", hint);
    Slice id = event->row[FIELD_EVENT_ID];
    letter->count = DEAD_LETTER_PARAMS;
    set_text(letter, PARAM_PIPELINE, x_strdup(pipeline->name));
    set_text(letter, PARAM_SEQ,
             event->seq != EVENT_NO_SEQ ? x_format("%lld", (long long)event->seq) : NULL);
    set_text(letter, PARAM_EVENT_ID, slice_is_null(id) ? NULL : clean_text(id, letter->foreign));
    set_text(letter, PARAM_TOPIC, record->topic != NULL ? x_strdup(record->topic->name) : NULL);
    set_bytes(letter, PARAM_KEY, cut(record->key, DEAD_LETTER_KEY_BYTES));
    set_bytes(letter, PARAM_VALUE, cut(record->value, DEAD_LETTER_VALUE_BYTES));
    set_text(letter, PARAM_HEADERS, headers_json(record, ascii_only));
    set_text(letter, PARAM_TIMESTAMP,
             record->timestamp_ms != 0 ? x_format("%lld", (long long)record->timestamp_ms) : NULL);
    set_text(letter, PARAM_REASON, clean_text(slice_of(reason_text), ascii_only));
    set_text(letter, PARAM_CLASS, x_strdup(error_class_name(reason->class)));
    set_text(letter, PARAM_CODE, x_strdup(error_code_name(reason->code)));
    set_text(letter, PARAM_ATTEMPTS, x_format("%d", event->attempts > 0 ? event->attempts : 1));
}

#define REST                                                                                       \
    "$5, $6::bytea, $7::bytea, $8::jsonb, to_timestamp($9::float8 / 1000), $10, $11, $12, "        \
    "$13::int"

/* The same of a letter among others: its parameters are columns, which have their types. */
#define GROUP_COLUMNS "p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14"
#define GIVEN         "outboxd_given."
#define GROUP_REST                                                                                 \
    GIVEN "p5, " GIVEN "p6, " GIVEN "p7, " GIVEN "p8, to_timestamp(" GIVEN "p9 / 1000), " GIVEN    \
          "p10, " GIVEN "p11, " GIVEN "p12, " GIVEN "p13"

static char *apart_name(const PipelineConfig *pipeline, int target)
{
    return target < FIELD_COUNT
               ? x_strdup(event_field_name((EventField)target))
               : x_format(DEAD_LETTER_HEADER_COLUMNS ".%s",
                          pipeline->outbox.header_columns.items[target - FIELD_COUNT]);
}

typedef struct Apart {
    DeadLetter *letter;
    const PipelineConfig *pipeline;
    Text names;
    Text values;
} Apart;

static void apart_add(Apart *apart, int target, Slice bytes, bool hex)
{
    DeadLetter *letter = apart->letter;
    int param = letter->count++;
    text_add(&apart->names, param > DEAD_LETTER_PARAMS ? ", " : "");
    letter->names[param] = apart_name(apart->pipeline, target);
    letter->hex[param] = hex;
    AUTO_TEXT literal = ident_literal(letter->names[param]);
    text_add(&apart->names, literal);
    text_printf(&apart->values, "%s$%d::%s", param > DEAD_LETTER_PARAMS ? ", " : "", param + 1,
                hex ? "text::bytea" : "bytea");
    set_bytes(letter, param, bytes); /* a text is its own bytes in the binary format, too */
}

void dead_letter_build(DeadLetter *letter, const char *table, const PipelineConfig *pipeline,
                       const Event *event, const Record *record, const Error *reason)
{
    *letter = (DeadLetter){.ascii_only = letter->ascii_only,
                           .takes_bytes = letter->takes_bytes,
                           .foreign = letter->foreign};
    set_rest(letter, pipeline, event, record, reason);
    set_text(letter, PARAM_EVENT, event_json(letter, pipeline, event));
    Apart apart = {.letter = letter, .pipeline = pipeline};
    for (int field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        if (is_apart(letter, event->row[field], column_is_bytes((size_t)field))) {
            apart_add(&apart, field, event->row[field], false);
        }
    }
    for (int i = 0; i < (int)pipeline->outbox.header_columns.count; i++) {
        if (is_apart(letter, event->row[FIELD_COUNT + i], false)) {
            apart_add(&apart, FIELD_COUNT + i, event->row[FIELD_COUNT + i], false);
        }
    }
    const Refusal *refusal = event->refusal;
    for (size_t i = 0; refusal != NULL && i < refusal->count; i++) {
        const RefusedValue *value = &refusal->values[i];
        apart_add(&apart, value->target, value->bytes, value->hex);
    }
    bool any = letter->count > DEAD_LETTER_PARAMS;
    letter->whole = refusal == NULL || !refusal->partial;
    letter->sql =
        x_format("INSERT INTO %s (" DEAD_LETTER_COLUMNS
                 ") VALUES ($1, $2::bigint, $3, $4::jsonb, " REST ", %s%s%s, %s%s%s, %s)",
                 table, any ? "ARRAY[" : "NULL", text_string(&apart.names), any ? "]::text[]" : "",
                 any ? "ARRAY[" : "NULL", text_string(&apart.values), any ? "]::bytea[]" : "",
                 letter->whole ? "true" : "false");
    text_free(&apart.names);
    text_free(&apart.values);
}

/* The copy. */

bool dead_letter_has_row(const Event *event, const OutboxTable *outbox, bool takes_bytes)
{
    const Refusal *refusal = event->refusal;
    bool partial = refusal != NULL && refusal->partial;
    bool odd_text = refusal != NULL && refusal->odd_text;
    bool named = table_has(outbox, FIELD_EVENT_ID) && !slice_is_null(event->row[FIELD_EVENT_ID]);
    /* What is no text at all is shown best from here. */
    return event->seq != EVENT_NO_SEQ && named && (partial || !takes_bytes || !odd_text);
}

/* How the statement calls what it is given of a letter. */
typedef struct CopyNames {
    const char *pipeline;
    const char *seq;
    const char *shown_id;
    const char *near;
    const char *id;
    const char *rest;
} CopyNames;

static const CopyNames ALONE = {"$1", "$2::bigint", "$3", "$4::int", "$14::text", REST};
static const CopyNames GROUPED = {GIVEN "p1", GIVEN "p2",  GIVEN "p3",
                                  GIVEN "p4", GIVEN "p14", GROUP_REST};

typedef struct Copied {
    const CopyNames *name;
    const PipelineConfig *pipeline;
    bool takes_bytes;
    Text columns; /* as v1, v2, ... */
    Text near;    /* as n1, ... : whether the value is in the JSON */
    Text names;   /* of fields, then of header columns */
    Text members;
    Text header_names;
    Text header_members;
    Text apart_names;
    Text apart_values;
    Text all_near;
} Copied;

static void copied_add(Copied *copied, int target, const char *column)
{
    bool bytes = column_is_bytes((size_t)target);
    bool header = target >= FIELD_COUNT;
    Text *names = header ? &copied->header_names : &copied->names;
    Text *members = header ? &copied->header_members : &copied->members;
    const char *name = header ? column : event_field_name((EventField)target);
    AUTO_TEXT literal = ident_literal(name);
    text_printf(names, "%s%s", names->length > 0 ? ", " : "", literal);
    const char *comma = members->length > 0 ? ", " : "";
    if (*column == '\0') {
        text_printf(members, "%sNULL::text", comma);
        return;
    }
    AUTO_TEXT quoted = ident_quote(column);
    bool first = copied->columns.length == 0;
    text_printf(&copied->columns, "%s%s::%s AS v%d", first ? "" : ", ", quoted,
                bytes ? "bytea" : "text", target);
    text_printf(&copied->near, ", coalesce(octet_length(v%d) <= %s", target, copied->name->near);
    if (copied->takes_bytes && !bytes) {
        text_printf(&copied->near, " AND v%d COLLATE \"C\" ~ '^[\\x01-\\x7f]*$'", target);
    }
    text_printf(&copied->near, ", true) AS n%d", target);
    text_printf(members, "%sCASE WHEN n%d THEN v%d::text END", comma, target, target);
    AUTO_TEXT apart = apart_name(copied->pipeline, target);
    AUTO_TEXT apart_literal = ident_literal(apart);
    text_printf(&copied->apart_names, "%sCASE WHEN NOT n%d THEN %s END", first ? "" : ", ", target,
                apart_literal);
    text_printf(&copied->apart_values,
                bytes ? "%sCASE WHEN NOT n%d THEN v%d END"
                      : "%sCASE WHEN NOT n%d THEN convert_to(v%d, '%s') END",
                first ? "" : ", ", target, target, copied->takes_bytes ? "sql_ascii" : "UTF8");
    text_printf(&copied->all_near, "%sn%d", first ? "" : " AND ", target);
}

/* As timestamp_format, but also what that cannot: infinity, and years before Christ. */
static void copied_add_time(Copied *copied, bool has)
{
    text_add(&copied->names, ", 'occurred_at'");
    if (!has) {
        text_add(&copied->members, ", NULL::text");
        return;
    }
    AUTO_TEXT quoted = ident_quote(table_column(copied->pipeline, FIELD_OCCURRED_AT));
    text_printf(&copied->columns, ", %s::timestamptz AS v%d", quoted, FIELD_OCCURRED_AT);
    text_printf(&copied->members, ", replace(to_jsonb(v%d) #>> '{}', '+00:00', 'Z')",
                FIELD_OCCURRED_AT);
}

static void copied_release(Copied *copied)
{
    Text *texts[] = {&copied->columns,     &copied->near,         &copied->names,
                     &copied->members,     &copied->header_names, &copied->header_members,
                     &copied->apart_names, &copied->apart_values, &copied->all_near};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        text_free(texts[i]);
    }
}

/* INSERT ... SELECT; given: SQL in front of the subquery that finds the row. */
static void add_copy(Text *sql, const DeadLetter *letter, const char *table,
                     const OutboxTable *outbox, const CopyNames *name, const char *given)
{
    const PipelineConfig *pipeline = outbox->config;
    Copied copied = {.name = name, .pipeline = pipeline, .takes_bytes = letter->takes_bytes};
    for (int field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        bool has = table_has(outbox, (EventField)field);
        copied_add(&copied, field, has ? table_column(pipeline, (EventField)field) : "");
    }
    copied_add_time(&copied, table_has(outbox, FIELD_OCCURRED_AT));
    for (int i = 0; i < (int)pipeline->outbox.header_columns.count; i++) {
        copied_add(&copied, FIELD_COUNT + i, pipeline->outbox.header_columns.items[i]);
    }
    AUTO_TEXT headers =
        pipeline->outbox.header_columns.count == 0
            ? x_strdup("")
            : x_format(" || jsonb_build_object('" DEAD_LETTER_HEADER_COLUMNS
                       "', jsonb_object(ARRAY[%s]::text[], ARRAY[%s]::text[]))",
                       text_string(&copied.header_names), text_string(&copied.header_members));
    AUTO_TEXT id_column = ident_quote(table_column(pipeline, FIELD_EVENT_ID));
    AUTO_TEXT same = x_format("%s::text = %s", id_column, name->id);
    AUTO_BUFFER named = TEXT_EMPTY;
    table_add_id_is(id_column, name->id, same, &named);
    text_printf(sql,
                "INSERT INTO %s (" DEAD_LETTER_COLUMNS ") SELECT %s, %s, %s,"
                " jsonb_build_object('seq', %s) || jsonb_object(ARRAY[%s]::text[],"
                " ARRAY[%s]::text[])%s, %s, CASE WHEN NOT (%s) THEN ARRAY[%s]::text[] END,"
                " CASE WHEN NOT (%s) THEN ARRAY[%s]::bytea[] END, true"
                " FROM %s(SELECT *%s FROM (SELECT %s FROM %s WHERE %s = %s AND %s"
                " LIMIT 1) AS e OFFSET 0) AS n",
                table, name->pipeline, name->seq, name->shown_id, name->seq,
                text_string(&copied.names), text_string(&copied.members), headers, name->rest,
                text_string(&copied.all_near), text_string(&copied.apart_names),
                text_string(&copied.all_near), text_string(&copied.apart_values), given,
                text_string(&copied.near), text_string(&copied.columns), outbox->name, outbox->seq,
                name->seq, text_string(&named));
    copied_release(&copied);
}

/* The parameters of a copy. */
static void set_copy(DeadLetter *letter, const PipelineConfig *pipeline, const Event *event,
                     const Record *record, const Error *reason)
{
    *letter = (DeadLetter){.ascii_only = letter->ascii_only, .takes_bytes = letter->takes_bytes};
    set_rest(letter, pipeline, event, record, reason);
    set_text(letter, PARAM_EVENT, x_format("%d", DEAD_LETTER_NEAR_BYTES));
    Slice id = event->row[FIELD_EVENT_ID];
    set_text(letter, letter->count++, x_strndup(id.data, id.length));
}

void dead_letter_build_copy(DeadLetter *letter, const char *table, const OutboxTable *outbox,
                            const Event *event, const Record *record, const Error *reason)
{
    set_copy(letter, outbox->config, event, record, reason);
    Text sql = TEXT_EMPTY;
    add_copy(&sql, letter, table, outbox, &ALONE, "");
    letter->sql = sql.data;
}

/* Several copies. */

enum { COPY_PARAMS = DEAD_LETTER_PARAMS + 1 };

void dead_letter_group_add(DeadLetterGroup *group, const PipelineConfig *pipeline,
                           const Event *event, const Record *record, const Error *reason)
{
    DeadLetter *letter = vec_add(&group->letters);
    *letter = (DeadLetter){.ascii_only = group->ascii_only, .takes_bytes = group->takes_bytes};
    set_copy(letter, pipeline, event, record, reason);
}

/* Nothing is stored unless everything is: a row that is gone, or a letter that a trigger or a rule
 * swallows, makes it fail. */
void dead_letter_group_build(DeadLetterGroup *group, const char *table, const OutboxTable *outbox)
{
    static const char *const TYPES[COPY_PARAMS] = {"text",  "bigint", "text",  "int",    "text",
                                                   "bytea", "bytea",  "jsonb", "float8", "text",
                                                   "text",  "text",   "int",   "text"};
    size_t params = group->letters.count * COPY_PARAMS;
    group->values = x_malloc(params * sizeof(*group->values));
    group->lengths = x_malloc(params * sizeof(*group->lengths));
    group->formats = x_malloc(params * sizeof(*group->formats));
    AUTO_BUFFER given = TEXT_EMPTY;
    text_add(&given, "(VALUES ");
    for (size_t i = 0; i < group->letters.count; i++) {
        const DeadLetter *letter = &group->letters.items[i];
        for (size_t p = 0; p < COPY_PARAMS; p++) {
            size_t at = i * COPY_PARAMS + p;
            text_printf(&given, "%s$%zu::%s", p > 0 ? ", " : i > 0 ? ", (" : "(", at + 1, TYPES[p]);
            group->values[at] = letter->values[p];
            group->lengths[at] = letter->lengths[p];
            group->formats[at] = letter->formats[p];
        }
        text_add(&given, ")");
    }
    text_add(&given, ") AS outboxd_given(" GROUP_COLUMNS "), LATERAL ");
    Text sql = TEXT_EMPTY;
    text_add(&sql, "WITH stored AS (");
    add_copy(&sql, group->letters.items, table, outbox, &GROUPED, text_string(&given));
    text_printf(&sql, " RETURNING 1) SELECT 1 / (count(*) = %zu)::int AS all_stored FROM stored",
                group->letters.count);
    group->sql = sql.data;
    group->param_count = (int)params;
}

void dead_letter_group_release(DeadLetterGroup *group)
{
    for (size_t i = 0; i < group->letters.count; i++) {
        dead_letter_release(&group->letters.items[i]);
    }
    vec_free(&group->letters);
    free(group->values);
    free(group->lengths);
    free(group->formats);
    free(group->sql);
    *group = (DeadLetterGroup){0};
}

void dead_letter_release(DeadLetter *letter)
{
    for (int i = 0; i < DEAD_LETTER_PARAMS_MAX; i++) {
        free(letter->owned[i]);
        free(letter->names[i]);
    }
    free(letter->sql);
    *letter = (DeadLetter){0};
}
