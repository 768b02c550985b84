#include "change/change_row.h"

#include <stdlib.h>

#include "change/change_java.h"
#include "change/change_number.h"
#include "change/change_time.h"
#include "change/change_value.h"
#include "flow/schema.h"

static Status unreadable(const ChangeTable *table, const ChangeTableColumn *column, Error *err)
{
    error_set(err, CODE_CHANGE_UNREADABLE,
              "table '%s', column '%s': the text of the value is none of its type", table->name,
              column->name);
    if (column->type->shape >= SHAPE_MONEY && column->type->shape <= SHAPE_MONEY_DOUBLE) {
        return error_hint(err, "Money is read as lc_monetary = 'C' prints it, with a dollar sign "
                               "and two digits. If the currency has two digits, set lc_monetary "
                               "to 'C' for the role of the relay, else make the column numeric.");
    }
    return FAILED;
}

static Status unsent(const ChangeTable *table, const ChangeTableColumn *column, Error *err)
{
    error_set(err, CODE_CHANGE_UNREADABLE,
              "table '%s', column '%s': PostgreSQL did not send the value, since the UPDATE left "
              "it as it was, and its type has nothing that stands for it",
              table->name, column->name);
    return error_hint(err, "Run ALTER TABLE ... REPLICA IDENTITY FULL, so that later changes have "
                           "the old value, or allow NULL in the column.");
}

/* NaN, infinities, or a timestamp that the mode cannot hold, where NULL is none either. */
static Status inexpressible(const ChangeTable *table, const ChangeTableColumn *column, Error *err)
{
    error_set(
        err, CODE_CHANGE_UNREADABLE,
        "table '%s', column '%s': records have nothing for this value, and the column may not "
        "be NULL",
        table->name, column->name);
    return error_hint(err,
                      "Other modes may express it: decimal = \"string\" has NaN, and time = "
                      "\"microseconds\" the years before 1678 and behind 2261. Otherwise leave the "
                      "column out (exclude_columns), or allow NULL in it.");
}

static Status stale(const ChangeTable *table, const ChangeTableColumn *column, Error *err)
{
    return error_set(err, CODE_CHANGE_SCHEMA_STALE,
                     "table '%s', column '%s': a label of its enum is newer than its schema",
                     table->name, column->name);
}

/* The value of a column, with what stands for one that is not there. */
static Status write_value(const ChangeTable *table, size_t at, const Slice *row, const Slice *old,
                          ChangeOut *out, Error *err)
{
    const ChangeTableColumn *column = &table->columns[at];
    Slice value = row[at];
    if (slice_is_unsent(value) && old != NULL && old[at].data != NULL) {
        value = old[at];
    }
    if (slice_is_unsent(value)) {
        if (column->unchanged == NULL && !out->awaited) {
            return unsent(table, column, err);
        }
        text_add(&out->json, column->unchanged != NULL ? column->unchanged : column->null);
        return OK;
    }
    if (slice_is_null(value)) {
        text_add(&out->json, column->null);
        return OK;
    }
    switch (column->redact.kind == REDACT_NONE ? change_value_write(column->type, value, out)
                                               : change_redact_write(&column->redact, value, out)) {
    case CHANGE_WRITTEN:
        return OK;
    case CHANGE_AS_NULL:
        if (!column->optional && column->fallback == NULL) {
            return inexpressible(table, column, err);
        }
        text_add(&out->json, column->null);
        return OK;
    case CHANGE_STALE:
        return stale(table, column, err);
    case CHANGE_BAD:
        break;
    }
    return unreadable(table, column, err);
}

/* Members begin with a comma; the first one's is the brace. */
static void close_object(Text *json, size_t begin)
{
    if (json->length == begin) {
        text_put_char(json, '{');
    } else {
        json->data[begin] = '{';
    }
    text_put_char(json, '}');
}

Status change_row_write(const ChangeTable *table, const Slice *row, const Slice *old,
                        ChangeOut *out, Error *err)
{
    size_t begin = out->json.length;
    for (size_t i = 0; i < table->count; i++) {
        const ChangeTableColumn *column = &table->columns[i];
        if (column->shown) {
            text_put(&out->json, (Slice){.data = column->member, .length = column->member_length});
            if (write_value(table, i, row, old, out, err) != OK) {
                return FAILED;
            }
        }
    }
    close_object(&out->json, begin);
    return OK;
}

Status change_row_write_key(const ChangeTable *table, const Slice *row, const Slice *old,
                            ChangeOut *out, Error *err)
{
    size_t begin = out->json.length;
    for (size_t i = 0; i < table->key_count; i++) {
        const ChangeTableColumn *column = &table->columns[table->key[i]];
        text_put(&out->json, (Slice){.data = column->member, .length = column->member_length});
        if (write_value(table, table->key[i], row, old, out, err) != OK) {
            return FAILED;
        }
    }
    if (table->key_table[0] != '\0') {
        text_add(&out->json, table->key_table);
    }
    close_object(&out->json, begin);
    return OK;
}

/* A string with only quotes and backslashes escaped. */
static void add_plain(Text *out, Slice text)
{
    text_add_char(out, '"');
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            text_add_char(out, '\\');
        }
        text_add_char(out, text.data[i]);
    }
    text_add_char(out, '"');
}

/* Values of these are java.util.Date. */
static bool is_java_date(const ChangeType *type)
{
    return type->modes->time == TIME_CONNECT &&
           (type->shape == SHAPE_DATE || type->shape == SHAPE_TIME || type->shape == SHAPE_STAMP);
}

/* Puts the date that Java prints in the place of the number that begins there. */
static void print_java_date(const ChangeType *type, size_t begin, Text *json)
{
    char *end = NULL;
    int64_t number = strtoll(json->data + begin, &end, 10);
    if (*end == '\0' && json->length > begin) {
        text_cut(json, begin);
        change_java_date(type->unit == UNIT_DAYS ? number * (CHANGE_DAY_US / 1000) : number, json);
    }
}

/* NaN and the infinities are strings in JSON alone. */
static void unquote_number(size_t begin, Text *json)
{
    if (json->length > begin + 2 && json->data[begin] == '"') {
        memmove(json->data + begin, json->data + begin + 1, json->length - begin - 2);
        text_cut(json, json->length - 2);
    }
}

static bool is_floating(const ChangeType *type)
{
    return type->shape == SHAPE_FLOAT || type->shape == SHAPE_DECIMAL_DOUBLE;
}

Status change_row_write_key_text(const ChangeTable *table, const Slice *row, const Slice *old,
                                 ChangeOut *out, Error *err)
{
    for (size_t i = 0; i < table->key_count; i++) {
        const ChangeTableColumn *column = &table->columns[table->key[i]];
        Slice value = row[table->key[i]];
        text_add_char(&out->json, i == 0 ? '{' : ',');
        add_plain(&out->json, slice_of(column->name));
        text_add_char(&out->json, ':');
        bool there = !slice_is_null(value) && !slice_is_unsent(value);
        size_t begin = out->json.length;
        if (there && change_type_is_text(column->type)) {
            add_plain(&out->json, value);
        } else if (there && column->type->shape == SHAPE_DECIMAL) {
            text_add_slice(&out->json, value);
        } else if (there && column->type->shape == SHAPE_MONEY &&
                   change_number_money(value, &out->parts)) {
            text_append(&out->json, out->parts.data, out->parts.length);
        } else if (write_value(table, table->key[i], row, old, out, err) != OK) {
            return FAILED;
        } else if (is_java_date(column->type)) {
            print_java_date(column->type, begin, &out->json);
        } else if (is_floating(column->type)) {
            unquote_number(begin, &out->json);
        }
    }
    text_add(&out->json, "}");
    return OK;
}
