/* Results: what the server of the test says, and how libpq's callers look at it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stub/libpq_internal.h"

static const char NULL_VALUE[] = "(NULL)"; /* an object of its own: equal literals may be one */
const char *const STUB_NULL = NULL_VALUE;

/* Building replies. */

PGresult *result_of(ExecStatusType status)
{
    PGresult *result = calloc(1, sizeof(*result));
    result->status = status;
    pthread_mutex_lock(&stub.lock);
    stub.open_results++;
    pthread_mutex_unlock(&stub.lock);
    return result;
}

PGresult *result_error(const char *state, const char *message)
{
    PGresult *result = result_of(PGRES_FATAL_ERROR);
    snprintf(result->state, sizeof(result->state), "%s", state != NULL ? state : "");
    snprintf(result->message, sizeof(result->message), "%s", message);
    return result;
}

Item *reply_item(StubReply *reply, ItemKind kind)
{
    if (reply->count == ITEMS_MAX) {
        abort();
    }
    reply->items[reply->count] = (Item){.kind = kind};
    return &reply->items[reply->count++];
}

bool reply_has_failed(const StubReply *reply)
{
    for (size_t i = 0; i < reply->count; i++) {
        const PGresult *result = reply->items[i].result;
        if (result != NULL && result->status == PGRES_FATAL_ERROR) {
            return true;
        }
    }
    return false;
}

void reply_end_copy(StubReply *reply)
{
    if (reply->copying) {
        reply->copying = false;
        reply_item(reply, ITEM_COPY_END);
        reply_item(reply, ITEM_RESULT)->result = result_of(PGRES_COMMAND_OK);
    }
}

/* Names are taken with the first row, values with each. */
static void result_add_row(PGresult *result, va_list args)
{
    char *names[COLUMNS_MAX];
    char *values[COLUMNS_MAX];
    int columns = 0;
    for (const char *name; (name = va_arg(args, const char *)) != NULL; columns++) {
        const char *value = va_arg(args, const char *);
        if (columns == COLUMNS_MAX) {
            abort();
        }
        names[columns] = strdup(name);
        values[columns] = value == STUB_NULL ? NULL : strdup(value);
    }
    if (result->rows > 0 && columns != result->columns) {
        abort();
    }
    size_t before = (size_t)result->rows * (size_t)columns;
    result->values = realloc(result->values, (before + (size_t)columns) * sizeof(char *));
    for (int i = 0; i < columns; i++) {
        free(result->names[i]);
        result->names[i] = names[i];
        result->values[before + (size_t)i] = values[i];
    }
    result->columns = columns;
    result->rows++;
}

PGresult *stub_result(const char *name, ...)
{
    PGresult *result = result_of(PGRES_TUPLES_OK);
    (void)name; /* a name before the arguments, for C17 */
    va_list args;
    va_start(args, name);
    result_add_row(result, args);
    va_end(args);
    return result;
}

void stub_reply_row(StubReply *reply, ...)
{
    reply_end_copy(reply);
    PGresult *result = result_of(PGRES_TUPLES_OK);
    va_list args;
    va_start(args, reply);
    result_add_row(result, args);
    va_end(args);
    reply_item(reply, ITEM_RESULT)->result = result;
}

void stub_reply_more(StubReply *reply, ...)
{
    va_list args;
    va_start(args, reply);
    result_add_row(reply->items[reply->count - 1].result, args);
    va_end(args);
}

void stub_reply_no_row(StubReply *reply)
{
    reply_end_copy(reply);
    reply_item(reply, ITEM_RESULT)->result = result_of(PGRES_TUPLES_OK);
}

void stub_reply_command(StubReply *reply, int rows)
{
    reply_end_copy(reply);
    PGresult *result = result_of(PGRES_COMMAND_OK);
    snprintf(result->tuples, sizeof(result->tuples), "%d", rows);
    reply_item(reply, ITEM_RESULT)->result = result;
}

void stub_reply_copy(StubReply *reply)
{
    reply_end_copy(reply);
    reply_item(reply, ITEM_RESULT)->result = result_of(PGRES_COPY_OUT);
    reply->copying = true;
}

void stub_reply_copy_row(StubReply *reply, const char *bytes, size_t length)
{
    Item *item = reply_item(reply, ITEM_COPY_ROW);
    item->bytes = malloc(length > 0 ? length : 1);
    memcpy(item->bytes, bytes, length);
    item->length = length;
}

void stub_reply_error(StubReply *reply, const char *state, const char *message)
{
    if (reply->copying) { /* PQgetCopyData says -1 or -2, PQgetResult why */
        reply->copying = false;
        reply_item(reply, ITEM_COPY_END);
    }
    reply_item(reply, ITEM_RESULT)->result = result_error(state, message);
}

void stub_reply_break(StubReply *reply, const char *state)
{
    Item *item = reply_item(reply, ITEM_BREAK);
    snprintf(item->state, sizeof(item->state), "%s", state != NULL ? state : "");
}

void stub_reply_hang(StubReply *reply)
{
    reply_item(reply, ITEM_HANG);
}

/* Results. */

void PQclear(PGresult *result)
{
    if (result == NULL) {
        return;
    }
    for (int i = 0; i < result->columns; i++) {
        free(result->names[i]);
    }
    for (int i = 0; i < result->rows * result->columns; i++) {
        free(result->values[i]);
    }
    free(result->values);
    free(result);
    pthread_mutex_lock(&stub.lock);
    stub.open_results--;
    pthread_mutex_unlock(&stub.lock);
}

ExecStatusType PQresultStatus(const PGresult *result)
{
    return result != NULL ? result->status : PGRES_FATAL_ERROR;
}

int PQntuples(const PGresult *result)
{
    return result->rows;
}

int PQnfields(const PGresult *result)
{
    return result->columns;
}

char *PQfname(const PGresult *result, int column)
{
    return column < result->columns ? result->names[column] : NULL;
}

int PQfnumber(const PGresult *result, const char *name)
{
    for (int i = 0; i < result->columns; i++) {
        if (strcmp(result->names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

char *PQgetvalue(const PGresult *result, int row, int column)
{
    static char empty[1];
    if (row >= result->rows || column >= result->columns) {
        abort(); /* libpq warns and returns NULL */
    }
    char *value = result->values[row * result->columns + column];
    return value != NULL ? value : empty;
}

int PQgetisnull(const PGresult *result, int row, int column)
{
    return row >= result->rows || column >= result->columns ||
           result->values[row * result->columns + column] == NULL;
}

char *PQcmdTuples(PGresult *result)
{
    return result->tuples;
}

char *PQresultErrorField(const PGresult *result, int field)
{
    if (result == NULL || result->state[0] == '\0') {
        return NULL;
    }
    if (field == PG_DIAG_SQLSTATE) {
        return (char *)result->state;
    }
    if (field == PG_DIAG_SOURCE_FILE) { /* of the server's code, as far as anybody asks */
        bool slot = strncmp(result->message, "replication slot", 16) == 0;
        bool memory = strncmp(result->message, "invalid memory alloc", 20) == 0;
        return (char *)(slot ? "slot.c" : memory ? "mcxt.c" : "elsewhere.c");
    }
    return field == PG_DIAG_MESSAGE_PRIMARY ? (char *)result->message : NULL;
}

char *PQresultErrorMessage(const PGresult *result)
{
    return (char *)result->message;
}

void PQfreemem(void *memory)
{
    free(memory);
}

void stub_lie_at(size_t n, size_t times, StubLie lie, const char *about)
{
    stub.lie_at = n;
    stub.lie_times = times;
    stub.lie = lie;
    stub.lie_about = about;
}

size_t stub_lies(void)
{
    return stub.lies;
}

static void result_drop_rows(PGresult *result)
{
    for (int i = 0; i < result->rows * result->columns; i++) {
        free(result->values[i]);
    }
    free(result->values);
    result->values = NULL;
    result->rows = 0;
}

static void result_drop_columns(PGresult *result)
{
    for (int i = 0; i < result->columns; i++) {
        free(result->names[i]);
        result->names[i] = NULL;
    }
    result->columns = 0;
}

static void result_keep_column(PGresult *result)
{
    for (int row = 0; row < result->rows; row++) {
        for (int i = 1; i < result->columns; i++) {
            free(result->values[row * result->columns + i]);
        }
    }
    for (int row = 1; row < result->rows; row++) {
        result->values[row] = result->values[row * result->columns];
    }
    for (int i = 1; i < result->columns; i++) {
        free(result->names[i]);
        result->names[i] = NULL;
    }
    result->columns = result->columns > 1 ? 1 : result->columns;
}

static void result_lie(PGresult *result, StubLie lie)
{
    static const ExecStatusType STATUS[STUB_LIES] = {
        [LIE_NO_ROW] = PGRES_TUPLES_OK,  [LIE_ONE_COLUMN] = PGRES_TUPLES_OK,
        [LIE_NULLS] = PGRES_TUPLES_OK,   [LIE_COMMAND] = PGRES_COMMAND_OK,
        [LIE_EMPTY] = PGRES_EMPTY_QUERY, [LIE_COPY_IN] = PGRES_COPY_IN,
        [LIE_COPY_OUT] = PGRES_COPY_OUT, [LIE_COPY_BOTH] = PGRES_COPY_BOTH,
    };
    result->status = STATUS[lie];
    if (lie == LIE_NULLS) {
        for (int i = 0; i < result->rows * result->columns; i++) {
            free(result->values[i]);
            result->values[i] = NULL;
        }
    } else if (lie == LIE_ONE_COLUMN) {
        result_keep_column(result);
    } else {
        result_drop_rows(result);
        if (lie != LIE_NO_ROW) {
            result_drop_columns(result);
        }
    }
}

void reply_lie(StubReply *reply, const StubQuery *query)
{
    const char *sql = query->sql != NULL ? query->sql : query->statement;
    if (stub.lie_about != NULL && strstr(sql, stub.lie_about) == NULL) {
        return;
    }
    for (size_t i = 0; i < reply->count; i++) {
        PGresult *result = reply->items[i].kind == ITEM_RESULT ? reply->items[i].result : NULL;
        if (result == NULL || result->status != PGRES_TUPLES_OK || result->rows == 0 ||
            stub.lie_at == 0 || (stub.lie_at > 1 && stub.lie_at--)) {
            continue;
        }
        if (stub.lie_times == 0) {
            return;
        }
        stub.lie_times--;
        stub.lies++;
        result_lie(result, stub.lie);
    }
}

void reply_free(StubReply *reply)
{
    for (size_t i = 0; reply != NULL && i < reply->count; i++) {
        free(reply->items[i].bytes);
        PQclear(reply->items[i].result);
    }
    free(reply);
}
