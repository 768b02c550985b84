#include "cdc/reselect.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cdc/change_made.h"
#include "cdc/keyed_rows.h"
#include "change/change_json.h"

enum {
    ROW_BYTES = 65536, /* what is read of a row, before any was */
    ROWS_WEIGHED = 8,  /* over so many rows */
};

/* A change that waits for its row; whatever it points to but the table lives in its batch. */
typedef struct Lacking {
    const Batch *batch;
    size_t kind; /* in Reselect.kinds */
    ChangePlace *place;
    Slice *row;           /* as it was sent, with what the old row had */
    const Slice *old_row; /* NULL: not sent */
    Slice *again;         /* what was read of it: SLICE_UNSENT: nothing */
    size_t found;         /* rows that have its key */
    Event *events[CHANGE_RECORDS_MAX];
    TableCount *count;
    Slice topic;
    Slice name;
    size_t bytes_due; /* what the batch counts for the values that are missing */
} Lacking;

/* A table as some of the changes have it. */
typedef struct Kind {
    ChangeTable *table;
    const MappingConfig *mapping;
    VEC(uint16_t) key; /* its replica identity */
} Kind;

/* The changes that a table of the question is about, by the places of their rows there. */
typedef struct Asked {
    VEC(size_t) changes;
} Asked;

struct Reselect {
    const WalContext *wal;
    const WalStart *start;
    void (*completed)(void *arg);
    void *arg;
    KeyedRows *rows;
    VEC(Lacking) changes; /* in the order of the stream */
    VEC(Kind) kinds;
    Batch *batch; /* that is completed; NULL: none */
    ChangeEvents *events;
    KeyedQuestion *question;
    VEC(Asked) asked;
    size_t row_bytes; /* that are read of a row, as it was lately */
};

/* Whether a value of the new row is missing, but for one that no record shows as it is. */
static bool is_missing(const ChangeTable *table, const ChangeRow *row, size_t at)
{
    const ChangeTableColumn *column = &table->columns[at];
    bool old =
        row->old_row != NULL && row->old_row[at].data != NULL && !slice_is_unsent(row->old_row[at]);
    return slice_is_unsent(row->new_row[at]) && !old && column->shown && column->type != NULL &&
           column->redact.kind != REDACT_MASK;
}

/* The value of a row as the records of the change have it. */
static Slice merged(const ChangeRow *row, size_t at)
{
    Slice value = row->new_row[at];
    bool old = slice_is_unsent(value) && row->old_row != NULL && row->old_row[at].data != NULL;
    return old ? row->old_row[at] : value;
}

/* With FULL, the old row is there. */
static bool is_key(const CapturedRelation *relation, size_t at)
{
    return relation->identity != 'f' && relation->in_identity[at];
}

bool reselect_wants(const CapturedTable *table, const ChangeRow *row)
{
    bool missing = false;
    size_t keys = 0;
    if (row->op != 'u' || row->new_row == NULL || table->relation == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->table->count; i++) {
        missing = missing || is_missing(table->table, row, i);
        if (is_key(table->relation, i)) {
            Slice value = merged(row, i);
            if (slice_is_null(value) || slice_is_unsent(value)) {
                return false;
            }
            keys++;
        }
    }
    return missing && keys > 0;
}

/* Adding. */

static size_t reselect_kind(Reselect *reselect, const CapturedTable *table)
{
    for (size_t i = reselect->kinds.count; i > 0; i--) {
        if (reselect->kinds.items[i - 1].table == table->table) {
            return i - 1;
        }
    }
    Kind *kind = vec_add(&reselect->kinds);
    *kind = (Kind){.table = change_table_hold(table->table), .mapping = table->mapping};
    for (size_t i = 0; i < table->table->count; i++) {
        if (is_key(table->relation, i)) {
            *vec_add(&kind->key) = (uint16_t)i;
        }
    }
    return reselect->kinds.count - 1;
}

static Slice kept(Arena *arena, Slice value)
{
    return slice_is_null(value) || slice_is_unsent(value) ? value : arena_copy(arena, value);
}

void reselect_add(Reselect *reselect, Batch *batch, const ReselectChange *change)
{
    Arena *arena = &batch->arena;
    const ChangeRow *row = change->row;
    size_t count = change->table->table->count;
    Slice *old_row = row->old_row != NULL ? arena_alloc(arena, count * sizeof(Slice)) : NULL;
    Lacking lacking = {.batch = batch,
                       .kind = reselect_kind(reselect, change->table),
                       .place = arena_alloc(arena, sizeof(ChangePlace)),
                       .row = arena_alloc(arena, count * sizeof(Slice)),
                       .old_row = old_row,
                       .again = arena_alloc(arena, count * sizeof(Slice)),
                       .count = change->table->count,
                       .topic = change->table->topic,
                       .name = change->table->name,
                       .bytes_due = reselect->row_bytes};
    memcpy(lacking.events, change->events, sizeof(lacking.events));
    for (size_t i = 0; i < count; i++) {
        lacking.row[i] = kept(arena, merged(row, i));
        lacking.again[i] = SLICE_UNSENT;
        batch->bytes += lacking.row[i].length;
        if (old_row != NULL) {
            old_row[i] = kept(arena, row->old_row[i]);
        }
    }
    *lacking.place = *row->place;
    lacking.place->origin = kept(arena, row->place->origin);
    batch->bytes += lacking.bytes_due; /* so that it is full in time */
    *vec_add(&reselect->changes) = lacking;
}

bool reselect_has(const Reselect *reselect, const Batch *batch)
{
    return reselect->changes.count > 0 && reselect->changes.items[0].batch == batch;
}

/* Asking. */

static void add_once(KeyedTable *table, uint16_t column)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        if (table->columns.items[i] == column) {
            return;
        }
    }
    *vec_add(&table->columns) = column;
}

/* The place of the table in the question. */
static size_t reselect_ask_of(Reselect *reselect, const Kind *kind)
{
    KeyedQuestion *question = reselect->question;
    for (size_t i = 0; i < question->tables.count; i++) {
        if (question->tables.items[i].table == kind->table) {
            return i;
        }
    }
    KeyedTable *added = vec_add(&question->tables);
    *added = (KeyedTable){.table = kind->table,
                          .filter = start_filter(reselect->start, reselect->wal->pipeline,
                                                 kind->mapping, kind->table->oid)};
    for (size_t i = 0; i < kind->key.count; i++) {
        *vec_add(&added->key) = kind->key.items[i];
    }
    *vec_add(&reselect->asked) = (Asked){0};
    return question->tables.count - 1;
}

static void reselect_ask(Reselect *reselect, size_t at)
{
    const Lacking *change = &reselect->changes.items[at];
    const Kind *kind = &reselect->kinds.items[change->kind];
    const ChangeRow row = {.old_row = change->old_row, .new_row = change->row};
    size_t place = reselect_ask_of(reselect, kind);
    KeyedTable *table = &reselect->question->tables.items[place];
    for (size_t i = 0; i < kind->table->count; i++) {
        if (is_missing(kind->table, &row, i)) {
            add_once(table, (uint16_t)i);
        }
    }
    *vec_add(&table->rows) = change->row;
    *vec_add(&reselect->asked.items[place].changes) = at;
    size_t count = reselect->question->transactions.count;
    uint32_t xid = change->place->xid;
    if (count == 0 || reselect->question->transactions.items[count - 1] != xid) {
        *vec_add(&reselect->question->transactions) = xid;
    }
}

static void reselect_clear_question(Reselect *reselect)
{
    for (size_t i = 0; i < reselect->asked.count; i++) {
        vec_free(&reselect->asked.items[i].changes);
    }
    reselect->asked.count = 0;
    keyed_question_clear(reselect->question);
}

void reselect_complete(Reselect *reselect, Batch *batch, ChangeEvents *events)
{
    reselect->batch = batch;
    reselect->events = events;
    for (size_t i = 0; i < reselect->changes.count && reselect->changes.items[i].batch == batch;
         i++) {
        reselect_ask(reselect, i);
    }
    keyed_rows_read(reselect->rows, reselect->question);
}

/* Answers. */

static void on_row(void *arg, size_t table, size_t row, const Slice *values)
{
    Reselect *reselect = arg;
    const KeyedTable *asked = &reselect->question->tables.items[table];
    Lacking *change = &reselect->changes.items[reselect->asked.items[table].changes.items[row]];
    if (change->found++ > 0) {
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < asked->columns.count; i++) {
        uint16_t at = asked->columns.items[i];
        if (slice_is_unsent(change->row[at])) {
            change->again[at] = kept(&reselect->batch->arena, values[i]);
            bytes += values[i].length;
        }
    }
    reselect->batch->bytes += bytes;
    reselect->row_bytes = (reselect->row_bytes * (ROWS_WEIGHED - 1) + bytes) / ROWS_WEIGHED;
}

static void on_unread(void *arg, size_t table, const Error *err)
{
    const Reselect *reselect = arg;
    log_write(LOG_WARN, reselect->wal->pipeline->name, CODE_RESELECT_UNREAD,
              LOG_FIELDS(log_text("table", reselect->question->tables.items[table].table->name)),
              "rows cannot be read again, and placeholders stand for what was not sent: %s",
              error_message(err));
}

static void on_lost(void *arg, const Error *err)
{
    claim_lose(((const Reselect *)arg)->wal->claim, err);
}

/* Takes over what was read, and names it; the null slice: nothing was. */
static Slice reselect_take_over(const Lacking *change, const ChangeTable *table, Arena *arena)
{
    AUTO_BUFFER names = TEXT_EMPTY;
    for (size_t i = 0; change->found == 1 && i < table->count; i++) {
        if (!slice_is_unsent(change->again[i])) {
            change->row[i] = change->again[i];
            text_add_char(&names, names.length > 0 ? ',' : '[');
            (void)change_json_string(&names, slice_of(table->columns[i].name));
        }
    }
    if (names.length == 0) {
        return SLICE_NULL;
    }
    text_add_char(&names, ']');
    return arena_copy(arena, (Slice){.data = text_string(&names), .length = names.length});
}

static void reselect_add_header(ChangePlace *place, Slice names, Arena *arena)
{
    RecordHeader *headers = arena_alloc(arena, (place->context_count + 1) * sizeof(*headers));
    if (place->context_count > 0) {
        memcpy(headers, place->context, place->context_count * sizeof(*headers));
    }
    headers[place->context_count++] =
        (RecordHeader){.name = SLICE_LITERAL(RESELECT_HEADER), .value = names};
    place->context = headers;
}

/* The last record of a change has the new row, and so all that was missing. If it cannot be made,
 * those before it can. */
static void reselect_make(Reselect *reselect, Lacking *change)
{
    Batch *batch = reselect->batch;
    const ChangeTable *table = reselect->kinds.items[change->kind].table;
    Slice names = reselect_take_over(change, table, &batch->arena);
    if (!slice_is_null(names)) {
        reselect_add_header(change->place, names, &batch->arena);
    }
    change->place->now_ns = clock_wall_us() * 1000;
    const PipelineConfig *pipeline = reselect->wal->pipeline;
    ChangeShown shown = {.kind = change_made_kind('u'), .table = change->name};
    ChangeRow row = {.op = 'u',
                     .old_row = change->old_row,
                     .new_row = change->row,
                     .place = change->place,
                     .asked = true};
    ChangeRecords records = {0};
    AUTO_ERROR why = {0};
    AUTO_ERROR ignored = {0};
    bool made =
        change_event_row(reselect->events, table, &row, &batch->arena, &records, &why) == OK;
    row.awaited = true;
    if (!made &&
        change_event_row(reselect->events, table, &row, &batch->arena, &records, &ignored) != OK) {
        records.count = 1; /* nor could it be with all values */
    }
    uint64_t bytes = 0;
    batch->bytes -= change->bytes_due;
    for (size_t i = 0; i < records.count; i++) {
        ChangeRecord *record = &records.items[i];
        bool last = i + 1 == records.count;
        bytes += record->key.length + record->value.length;
        record->topic = change->topic;
        record->header_count -= !last && !slice_is_null(names);
        shown.row = change_made_row(pipeline, table, &row, i, records.count, &batch->arena);
        if (change->events[i] != NULL && last && !made) {
            change_made_refuse(change->events[i], change->topic, &shown, &why);
        } else if (change->events[i] != NULL) {
            change_made_fill(pipeline, change->events[i], record, &shown);
        }
    }
    table_count_add(change->count, bytes, change->place->committed_at_us);
}

/* Tables of which no change is left are let go. */
static void reselect_forget(Reselect *reselect, size_t count)
{
    vec_remove(&reselect->changes, 0, count);
    for (size_t i = 0; reselect->changes.count == 0 && i < reselect->kinds.count; i++) {
        change_table_free(&reselect->kinds.items[i].table);
        vec_free(&reselect->kinds.items[i].key);
    }
    reselect->kinds.count = reselect->changes.count == 0 ? 0 : reselect->kinds.count;
}

static void on_done(void *arg)
{
    Reselect *reselect = arg;
    size_t count = 0;
    while (count < reselect->changes.count &&
           reselect->changes.items[count].batch == reselect->batch) {
        reselect_make(reselect, &reselect->changes.items[count++]);
    }
    reselect_clear_question(reselect);
    reselect_forget(reselect, count);
    reselect->batch = NULL;
    reselect->completed(reselect->arg);
}

/* Its life. */

void reselect_close(Reselect *reselect)
{
    keyed_rows_close(reselect->rows);
    reselect_clear_question(reselect);
    reselect_forget(reselect, reselect->changes.count);
    reselect->batch = NULL;
}

void reselect_tell(Reselect *reselect, void (*completed)(void *arg), void *arg)
{
    reselect->completed = completed;
    reselect->arg = arg;
}

Reselect *reselect_new(const WalContext *wal, const WalStart *start)
{
    Reselect *reselect = x_calloc(1, sizeof(*reselect));
    reselect->wal = wal;
    reselect->start = start;
    reselect->question = x_calloc(1, sizeof(*reselect->question));
    reselect->row_bytes = ROW_BYTES;
    reselect->rows = keyed_rows_new(&(KeyedRowsParts){.wal = wal,
                                                      .settings = "",
                                                      .arg = reselect,
                                                      .row = on_row,
                                                      .unread = on_unread,
                                                      .lost = on_lost,
                                                      .done = on_done});
    return reselect;
}

void reselect_free(Reselect **reselect)
{
    Reselect *old = *reselect;
    *reselect = NULL;
    if (old == NULL) {
        return;
    }
    reselect_close(old);
    keyed_rows_free(&old->rows);
    vec_free(&old->changes);
    vec_free(&old->kinds);
    vec_free(&old->asked);
    free(old->question);
    free(old);
}
