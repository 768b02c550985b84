/* The wide fetch: everything that is looked for, however many of the rows there are known.
 *
 * Rows that are known (in flight, parked, ...) and lie among those that are looked for would fill a
 * fetch and hide what is behind them, and their payloads would travel for nothing. So here the
 * server first sends pages of (seq, event id), then the rows that are not known, by number, all in
 * one transaction with one snapshot:
 *
 *   1. which transactions are writing to the table now?      (sometimes: for the fence)
 *   2. BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
 *   3. COPY pages of (seq, event id)                         (until enough are unknown)
 *   4. COPY the unknown rows
 *   5. WAL insert and flush positions; COMMIT                (for the guard)
 *
 * 1. has a transaction of its own, because the snapshot of 2. must be younger than its answer. A
 * page holds as many rows as are known and a fetch more, so that one page is enough as a rule. */
#include "outbox/poll_wide.h"

#include <string.h>

#include "base/bytes.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_fence.h"
#include "outbox/poll_guard.h"
#include "outbox/poll_read.h"

enum {
    KNOWN_PAGE_MAX = 16384, /* rows beside the fetch's own */
};

#define WIDE_BEGIN "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "

void wide_begin(Wide *wide, void (*done)(void *arg, const Error *err),
                void (*failed)(Poll *poll, const Error *err))
{
    wide_release(wide);
    wide->done = done;
    wide->failed = failed;
}

void wide_release(Wide *wide)
{
    vec_free(&wide->wanted);
    vec_free(&wide->present);
    error_clear(&wide->error);
    memset(wide, 0, sizeof(*wide));
}

size_t wide_wanted(const Wide *wide)
{
    return wide->wanted.count;
}

const KnownRow *wide_first(const Wide *wide)
{
    return wide->wanted.items;
}

const int64_t *wide_present(const Wide *wide, size_t *ret_count)
{
    *ret_count = wide->present.count;
    return wide->present.items;
}

/* A page ends among rows of one number: the next begins with that number again. */
static bool wide_wants(const Wide *wide, KnownRow row)
{
    const KnownRow *wanted = wide->wanted.items;
    for (size_t i = wide->wanted.count; i > 0 && wanted[i - 1].seq == row.seq; i--) {
        if (wanted[i - 1].id == row.id) {
            return true;
        }
    }
    return false;
}

/* int16 number of fields, then int32 length and value of seq and of the event id. */
static void wide_on_key(void *arg, const char *bytes, size_t length)
{
    const Poll *poll = arg;
    Wide *wide = poll->reading->wide;
    if (wide->error.class != ERROR_NONE ||
        !intake_strip_header(&wide->header_read, &bytes, &length, &wide->error)) {
        return;
    }
    ByteReader reader = bytes_reader(bytes, length);
    bool fits = bytes_u16(&reader) == 2 && bytes_i32(&reader) == 8;
    int64_t seq = bytes_i64(&reader);
    int32_t id_length = bytes_i32(&reader);
    Slice id = id_length < 0 ? SLICE_NULL : bytes_slice(&reader, (size_t)id_length);
    if (!fits || !bytes_complete(&reader)) {
        error_set(&wide->error, CODE_COPY_ROW,
                  "cannot read a row of %zu bytes: not a number and an event id", length);
        return;
    }
    wide->page_rows++;
    wide->page_end = seq;
    KnownRow row = known_row(seq, id);
    if (known_has(poll->reading->known, row)) {
        *vec_add(&wide->present) = seq;
    } else if (wide->wanted.count < poll->reading->fetch->limit && !wide_wants(wide, row)) {
        *vec_add(&wide->wanted) = row;
    }
}

static void wide_on_keys_done(void *arg, const Error *err);

static void wide_ask_page(Poll *poll, int64_t from, Text *sql)
{
    const Reading *reading = poll->reading;
    Wide *wide = reading->wide;
    size_t known = known_count(reading->known);
    known = known < KNOWN_PAGE_MAX ? known : KNOWN_PAGE_MAX;
    wide->page_limit = reading->fetch->limit + known;
    wide->page_rows = 0;
    wide->header_read = false;
    fetch_add_keys_sql(poll->table, reading->fetch->sweep ? &GAPS_NONE : reading->gaps, from,
                       wide->page_limit, sql);
    claim_ask(poll->claim, &(PgQuery){.step = "fetch keys",
                                      .sql = sql->data,
                                      .arg = poll,
                                      .row = wide_on_key,
                                      .result = read_on_result,
                                      .done = wide_on_keys_done});
}

/* Asks for the rows that are wanted, and ends the transaction of the fetch. */
static void wide_ask_rows(Poll *poll)
{
    const Wide *wide = poll->reading->wide;
    size_t wanted = wide->wanted.count;
    TableLean lean = poll->reading->fetch->lean;
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, lean != LEAN_NONE ? WIDE_BEGIN : "");
    if (wanted > 0) {
        fetch_add_chosen_sql(poll->table, wide->wanted.items, wanted, lean, &sql);
    }
    guard_add_query(poll->reading->guard, poll->table, claim_table(poll->claim), &sql);
    text_add(&sql, "; COMMIT");
    claim_ask(poll->claim, &(PgQuery){.step = "fetch rows",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .rows_wanted = 1,
                                      .row = wanted > 0 ? read_on_row : NULL,
                                      .result = read_on_result,
                                      .done = wide->done});
}

static void wide_on_keys_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    Wide *wide = poll->reading->wide;
    size_t limit = poll->reading->fetch->limit;
    if (wide->error.class != ERROR_NONE) {
        claim_lose(poll->claim, &wide->error);
        return;
    }
    if (err != NULL) {
        wide->failed(poll, err);
        return;
    }
    bool full = wide->page_rows >= wide->page_limit;
    if (full && wide->wanted.count < limit) {
        /* With more rows of one number than a page holds the page would never end. */
        bool stuck = wide->page_from == wide->page_end;
        wide->page_from = wide->page_end + stuck;
        AUTO_BUFFER sql = TEXT_EMPTY;
        wide_ask_page(poll, wide->page_from, &sql);
        return;
    }
    poll->reading->fetch->cut = wide->wanted.count >= limit;
    wide_ask_rows(poll);
}

void wide_send(Poll *poll, bool with_fence, int64_t now_us)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (with_fence) {
        text_add(&sql, "BEGIN; ");
        fence_add_query(poll->reading->fence, claim_table(poll->claim), now_us, &sql);
        text_add(&sql, "COMMIT; ");
    }
    text_add(&sql, WIDE_BEGIN);
    poll->reading->wide->page_from = INT64_MIN;
    wide_ask_page(poll, INT64_MIN, &sql);
}

void wide_send_lean(Poll *poll, KnownRow row, TableLean lean)
{
    Fetch *fetch = poll->reading->fetch;
    *vec_add(&poll->reading->wide->wanted) = row;
    fetch->lean = lean;
    fetch->cut = true;
    wide_ask_rows(poll);
}
