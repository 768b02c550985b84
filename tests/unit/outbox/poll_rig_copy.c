/* The rows of the table that is played, as COPY brings them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "poll_rig.h"
#include "stub/copy.h"

const char *rig_event_id(int64_t seq, char *at, size_t size)
{
    snprintf(at, size, "%lld.%d", (long long)seq, rig.rows[seq].version);
    return at;
}

static void put_row(StubReply *reply, Text *bytes, int64_t seq)
{
    static char payload[100000];
    Slice texts[COPY_TEXT_FIELDS] = {0};
    memset(payload, 'p', rig.payload_bytes);
    char id[32];
    texts[0] = slice_of(rig_event_id(seq, id, sizeof(id)));
    texts[FIELD_EVENT_TYPE - FIELD_EVENT_ID] = SLICE_LITERAL("order.placed");
    texts[FIELD_PAYLOAD - FIELD_EVENT_ID] = (Slice){.data = payload, .length = rig.payload_bytes};
    copy_put_row(bytes, seq, COPY_TIME_NULL, texts, 0);
    stub_reply_copy_row(reply, bytes->data, bytes->length);
    text_clear(bytes);
}

static void put_key(StubReply *reply, Text *bytes, int64_t seq)
{
    copy_put_be(bytes, 2, 2);
    copy_put_int64(bytes, seq);
    char id[32];
    copy_put_field(bytes, slice_of(rig_event_id(seq, id, sizeof(id))));
    stub_reply_copy_row(reply, bytes->data, bytes->length);
    text_clear(bytes);
}

/* The transaction of a wide fetch sees what was there at its first statement. */
static bool snapshot_shows(int64_t seq)
{
    if (!rig.in_snapshot) {
        rig.snapshot[seq] = rig.rows[seq].visible && !rig.rows[seq].marked;
    }
    return rig.snapshot[seq];
}

/* The statement fails here. */
static bool meets_unreadable(int64_t seq)
{
    return rig.unreadable != 0 && seq == rig.unreadable && !rig.keys_only && !rig.lean;
}

/* Unpublished rows between low and high, at most *limit. reply NULL: it is only looked whether all
 * of them can be read. */
static bool put_range(StubReply *reply, Text *bytes, int64_t low, int64_t high, size_t *limit)
{
    for (int64_t seq = low < 0 ? 0 : low; seq < RIG_ROWS && seq <= high && *limit > 0; seq++) {
        if (!snapshot_shows(seq)) {
            continue;
        }
        if (meets_unreadable(seq)) {
            return false;
        }
        if (reply != NULL) {
            (rig.keys_only ? put_key : put_row)(reply, bytes, seq);
        }
        --*limit;
    }
    return true;
}

static bool put_chosen(StubReply *reply, Text *bytes, const char *list)
{
    char *end = NULL;
    bool read = true;
    do {
        size_t limit = 1;
        int64_t seq = strtoll(list, &end, 10);
        read = put_range(reply, bytes, seq, seq, &limit);
        cr_assert(limit == 0 || !read, "row %lld was seen and is gone", (long long)seq);
        list = end + 1;
    } while (read && *end == ',');
    return read;
}

static bool put_sought(StubReply *reply, Text *bytes, const char *sql)
{
    const char *beyond = strstr(sql, "\"seq\" > ");
    cr_assert_not_null(beyond, "%s", sql);
    int64_t top = strtoll(beyond + 8, NULL, 10);
    size_t limit = strtoul(strstr(beyond, "LIMIT ") + 6, NULL, 10);
    const char *lows = strstr(sql, "unnest('{");
    if (lows != NULL) {
        lows += 9;
        const char *highs = strstr(lows, "'{") + 2;
        for (const char *comma = ","; *comma == ',';) {
            char *low_end = NULL;
            char *high_end = NULL;
            int64_t low = strtoll(lows, &low_end, 10);
            int64_t high = strtoll(highs, &high_end, 10);
            cr_assert(low <= high && high_end > highs && low_end > lows, "%s", sql);
            if (!put_range(reply, bytes, low, high, &limit)) {
                return false;
            }
            comma = high_end;
            lows = low_end + 1;
            highs = high_end + 1;
        }
    }
    return put_range(reply, bytes, top == INT64_MIN ? 0 : top + 1, INT64_MAX, &limit);
}

static bool put_rows(StubReply *reply, Text *bytes, const char *sql, const char *chosen)
{
    return chosen != NULL ? put_chosen(reply, bytes, chosen + 14) : put_sought(reply, bytes, sql);
}

/* False: it failed, and nothing may follow. */
bool rig_serve_copy(const char *sql, StubReply *reply)
{
    Text bytes = TEXT_EMPTY;
    text_add_slice(&bytes, COPY_HEADER); /* comes in one message with the first row */
    stub_reply_copy(reply);
    rig.keys_only = strstr(sql, "\"seq\"::bigint, CASE WHEN pg_catalog.octet_length(") != NULL;
    rig.lean = strstr(sql, "::bigint, NULL::timestamptz") != NULL;
    const char *chosen = strstr(sql, "\"seq\" = ANY('{");
    const char *end = strstr(sql, " TO STDOUT");
    const char *small = strstr(sql, "pg_relation_size(c.reltoastrelid) = 0");
    bool only_small = small != NULL && small < end;
    rig.small_reads += only_small;
    bool read = (only_small && rig.large) || /* the statement finds no row */
                ((!rig.unreadable_at_once || put_rows(NULL, NULL, sql, chosen)) &&
                 put_rows(reply, &bytes, sql, chosen));
    if (!read) {
        rig.unreadable_reads++;
        stub_reply_error(reply, "54000", "out of memory");
        text_free(&bytes);
        return false;
    }
    text_add(&bytes, "\377\377"); /* the trailer */
    stub_reply_copy_row(reply, bytes.data, bytes.length);
    text_free(&bytes);
    return true;
}
