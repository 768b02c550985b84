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
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_internal.h"
#include "rows/row.h"

enum {
    KNOWN_PAGE_MAX = 16384, /* rows beside the fetch's own */
};

#define WIDE_BEGIN "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "

/* A page ends among rows of one number: the next begins with that number again. */
static bool wide_wants(const Fetch *fetch, KnownRow row)
{
    for (size_t i = fetch->wanted_count; i > 0 && fetch->wanted[i - 1].seq == row.seq; i--) {
        if (fetch->wanted[i - 1].id == row.id) {
            return true;
        }
    }
    return false;
}

static void wide_want(Fetch *fetch, KnownRow row)
{
    if (fetch->wanted_count == fetch->wanted_capacity) {
        fetch->wanted_capacity = fetch->wanted_capacity > 0 ? fetch->wanted_capacity * 2 : 64;
        fetch->wanted = x_realloc(fetch->wanted, fetch->wanted_capacity * sizeof(*fetch->wanted));
    }
    fetch->wanted[fetch->wanted_count++] = row;
}

static void wide_note_present(Fetch *fetch, int64_t seq)
{
    if (fetch->present_count == fetch->present_capacity) {
        fetch->present_capacity = fetch->present_capacity > 0 ? fetch->present_capacity * 2 : 64;
        fetch->present =
            x_realloc(fetch->present, fetch->present_capacity * sizeof(*fetch->present));
    }
    fetch->present[fetch->present_count++] = seq;
}

/* int16 number of fields, then int32 length and value of seq and of the event id. */
static void wide_on_key(void *arg, const char *bytes, size_t length)
{
    PollSource *poll = arg;
    Fetch *fetch = &poll->fetch;
    if (fetch->error.class != ERROR_NONE || !fetch_strip_header(fetch, &bytes, &length)) {
        return;
    }
    ByteReader reader = bytes_reader(bytes, length);
    bool fits = bytes_u16(&reader) == 2 && bytes_i32(&reader) == 8;
    int64_t seq = bytes_i64(&reader);
    int32_t id_length = bytes_i32(&reader);
    Slice id = id_length < 0 ? SLICE_NULL : bytes_slice(&reader, (size_t)id_length);
    if (!fits || !bytes_complete(&reader)) {
        error_set(&fetch->error, CODE_COPY_ROW,
                  "cannot read a row of %zu bytes: not a number and an event id", length);
        return;
    }
    fetch->page_rows++;
    fetch->page_end = seq;
    KnownRow row = known_row(seq, id);
    if (known_has(&poll->known, row)) {
        wide_note_present(fetch, seq);
    } else if (fetch->wanted_count < fetch->limit && !wide_wants(fetch, row)) {
        wide_want(fetch, row);
    }
}

static void wide_on_keys_done(void *arg, const Error *err);

static void wide_ask_page(PollSource *poll, int64_t from, Text *sql)
{
    Fetch *fetch = &poll->fetch;
    size_t known = poll->known.count < KNOWN_PAGE_MAX ? poll->known.count : KNOWN_PAGE_MAX;
    fetch->page_limit = fetch->limit + known;
    fetch->page_rows = 0;
    fetch->header_read = false;
    fetch_add_keys_sql(poll->table, fetch->sweep ? &GAPS_NONE : &poll->gaps, from,
                       fetch->page_limit, sql);
    claim_ask(poll->claim, &(PgQuery){.step = "fetch keys",
                                      .sql = sql->data,
                                      .arg = poll,
                                      .row = wide_on_key,
                                      .result = fetch_on_result,
                                      .done = wide_on_keys_done});
}

void wide_ask_rows(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, fetch->lean != LEAN_NONE ? WIDE_BEGIN : "");
    fetch->header_read = false;
    if (fetch->wanted_count > 0) {
        fetch_add_chosen_sql(poll->table, fetch->wanted, fetch->wanted_count, fetch->lean, &sql);
    }
    guard_add_query(poll, &sql);
    text_add(&sql, "; COMMIT");
    claim_ask(poll->claim, &(PgQuery){.step = "fetch rows",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .rows_wanted = 1,
                                      .row = fetch->wanted_count > 0 ? fetch_on_row : NULL,
                                      .result = fetch_on_result,
                                      .done = fetch->done});
}

static void wide_on_keys_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Fetch *fetch = &poll->fetch;
    if (fetch->error.class != ERROR_NONE) {
        claim_lose(poll->claim, &fetch->error);
        return;
    }
    if (err != NULL) {
        fetch->failed(poll, err);
        return;
    }
    bool full = fetch->page_rows >= fetch->page_limit;
    if (full && fetch->wanted_count < fetch->limit) {
        /* With more rows of one number than a page holds the page would never end. */
        bool stuck = fetch->page_from == fetch->page_end;
        fetch->page_from = fetch->page_end + stuck;
        AUTO_BUFFER sql = TEXT_EMPTY;
        wide_ask_page(poll, fetch->page_from, &sql);
        return;
    }
    fetch->cut = fetch->wanted_count >= fetch->limit;
    wide_ask_rows(poll);
}

void wide_send(PollSource *poll, bool with_fence, int64_t now_us)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (with_fence) {
        text_add(&sql, "BEGIN; ");
        fence_add_query(poll, now_us, &sql);
        text_add(&sql, "COMMIT; ");
    }
    text_add(&sql, WIDE_BEGIN);
    poll->fetch.page_from = INT64_MIN;
    wide_ask_page(poll, INT64_MIN, &sql);
}
