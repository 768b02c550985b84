#include "change/change_source.h"

#include <stdlib.h>

#include "base/memory.h"
#include "change/change_json.h"

#define DEBEZIUM_VERSION "3.6.1.Final"

/* What the pieces depend on, beside the origin. */
typedef struct Same {
    int64_t committed_at_us;
    uint64_t last_commit;
    uint64_t origin_lsn;
    uint32_t xid;
    ChangeSnapshot snapshot;
} Same;

/* Pieces between what differs from record to record of one transaction: LSN, table, LSN again, and
 * the counts of the block transaction. */
typedef struct Pieces {
    Text head;    /* up to the LSN in "sequence"; empty: of no transaction yet */
    Text times;   /* behind it, up to the table */
    Text numbers; /* behind that, up to the next LSN */
    Text end;     /* behind that, up to the value of "transaction" */
    Same of;
    char *origin; /* NULL: none */
} Pieces;

/* Both blocks of the rows of a snapshot of one table. */
typedef struct Whole {
    Text blocks; /* empty: of none yet */
    Text table;
    uint64_t lsn;
} Whole;

struct ChangeSource {
    char *begin;    /* "source":{"version":..., up to "ts_ms": */
    char *database; /* as JSON */
    Pieces *pieces;
    Whole *whole;
    Text now;
    int64_t now_ns; /* whose text that is */
};

static char *json_of(const char *text)
{
    AUTO_BUFFER json = TEXT_EMPTY;
    (void)change_json_string(&json, slice_of(text));
    return x_strdup(text_string(&json));
}

ChangeSource *change_source_new(const char *prefix, const char *database)
{
    ChangeSource *source = x_calloc(1, sizeof(*source));
    AUTO_TEXT name = json_of(prefix);
    source->begin = x_format("\"source\":{\"version\":\"" DEBEZIUM_VERSION
                             "\",\"connector\":\"postgresql\",\"name\":%s,\"ts_ms\":",
                             name);
    source->database = json_of(database);
    source->pieces = x_calloc(1, sizeof(*source->pieces));
    source->whole = x_calloc(1, sizeof(*source->whole));
    return source;
}

void change_source_free(ChangeSource **source)
{
    ChangeSource *old = *source;
    *source = NULL;
    if (old == NULL) {
        return;
    }
    text_free(&old->pieces->head);
    text_free(&old->pieces->times);
    text_free(&old->pieces->numbers);
    text_free(&old->pieces->end);
    free(old->pieces->origin);
    free(old->pieces);
    text_free(&old->whole->blocks);
    text_free(&old->whole->table);
    free(old->whole);
    text_free(&old->now);
    free(old->begin);
    free(old->database);
    free(old);
}

static void add_sequence(Text *json, uint64_t lsn)
{
    if (lsn == 0) {
        TEXT_PUT(json, "null");
        return;
    }
    TEXT_PUT(json, "\\\"");
    change_json_number(json, (int64_t)lsn);
    TEXT_PUT(json, "\\\"");
}

/* 0 is none. */
static void add_number_or_null(Text *json, int64_t number)
{
    if (number == 0) {
        TEXT_PUT(json, "null");
    } else {
        change_json_number(json, number);
    }
}

static void add_origin(Text *json, const ChangePlace *place)
{
    if (slice_is_null(place->origin)) {
        text_add(json, "null,\"origin_lsn\":null");
        return;
    }
    (void)change_json_string(json, place->origin);
    text_add(json, ",\"origin_lsn\":");
    change_json_number(json, (int64_t)place->origin_lsn);
}

static bool is_of_same(const Pieces *pieces, const ChangePlace *place)
{
    const Same *of = &pieces->of;
    bool same = pieces->head.length > 0 && of->committed_at_us == place->committed_at_us &&
                of->last_commit == place->last_commit && of->origin_lsn == place->origin_lsn &&
                of->xid == place->xid && of->snapshot == place->snapshot;
    return same && slice_equal(slice_of(pieces->origin), place->origin);
}

static Text *begin_piece(Text *piece, const char *with)
{
    text_clear(piece);
    text_add(piece, with);
    return piece;
}

static void make_pieces(ChangeSource *source, const ChangePlace *place)
{
    static const char *const SNAPSHOTS[] = {
        [SNAPSHOT_NO] = "false",
        [SNAPSHOT_ROW] = "true",
        [SNAPSHOT_FIRST] = "first",
        [SNAPSHOT_FIRST_OF_TABLE] = "first_in_data_collection",
        [SNAPSHOT_LAST_OF_TABLE] = "last_in_data_collection",
        [SNAPSHOT_LAST] = "last",
        [SNAPSHOT_INCREMENTAL] = "incremental",
    };
    Pieces *pieces = source->pieces;
    Text *json = begin_piece(&pieces->head, source->begin);
    change_json_number(json, place->committed_at_us / 1000);
    text_add(json, ",\"snapshot\":\"");
    text_add(json, SNAPSHOTS[place->snapshot]);
    text_add(json, "\",\"db\":");
    text_add(json, source->database);
    text_add(json, ",\"sequence\":\"[");
    add_sequence(json, place->last_commit);
    text_add_char(json, ',');
    json = begin_piece(&pieces->times, "]\",\"ts_us\":");
    change_json_number(json, place->committed_at_us);
    text_add(json, ",\"ts_ns\":");
    change_json_number(json, place->committed_at_us * 1000);
    text_add_char(json, ',');
    json = begin_piece(&pieces->numbers, ",\"txId\":");
    add_number_or_null(json, place->xid);
    text_add(json, ",\"lsn\":");
    json = begin_piece(&pieces->end, ",\"xmin\":null,\"origin\":");
    add_origin(json, place);
    text_add(json, "},\"transaction\":");
}

static void set_pieces(ChangeSource *source, const ChangePlace *place)
{
    Pieces *pieces = source->pieces;
    if (is_of_same(pieces, place)) {
        return;
    }
    make_pieces(source, place);
    pieces->of = (Same){.committed_at_us = place->committed_at_us,
                        .last_commit = place->last_commit,
                        .origin_lsn = place->origin_lsn,
                        .xid = place->xid,
                        .snapshot = place->snapshot};
    free(pieces->origin);
    pieces->origin =
        slice_is_null(place->origin) ? NULL : x_strndup(place->origin.data, place->origin.length);
    text_clear(&source->whole->blocks);
}

void change_source_write_id(const ChangePlace *place, Text *json)
{
    TEXT_PUT(json, "{\"id\":\"");
    change_json_number(json, place->xid);
    text_put_char(json, ':');
    change_json_number(json, (int64_t)place->lsn);
    text_put_char(json, '"');
}

static void write_blocks(const Pieces *pieces, Slice table, const ChangePlace *place, Text *json)
{
    text_put(json, text_slice(&pieces->head));
    add_sequence(json, place->lsn);
    text_put(json, text_slice(&pieces->times));
    text_put(json, table);
    text_put(json, text_slice(&pieces->numbers));
    add_number_or_null(json, (int64_t)place->lsn);
    text_put(json, text_slice(&pieces->end));
    if (!place->in_transaction) {
        TEXT_PUT(json, "null,");
        return;
    }
    change_source_write_id(place, json);
    TEXT_PUT(json, ",\"total_order\":");
    change_json_number(json, (int64_t)place->total_order);
    TEXT_PUT(json, ",\"data_collection_order\":");
    change_json_number(json, (int64_t)place->table_order);
    TEXT_PUT(json, "},");
}

static bool is_whole(const Whole *whole, Slice table, const ChangePlace *place)
{
    return whole->blocks.length > 0 && whole->lsn == place->lsn &&
           slice_equal(text_slice(&whole->table), table);
}

void change_source_write(ChangeSource *source, Slice table, const ChangePlace *place, Text *json)
{
    set_pieces(source, place);
    if (place->snapshot == SNAPSHOT_NO || place->in_transaction) {
        write_blocks(source->pieces, table, place, json);
        return;
    }
    Whole *whole = source->whole;
    if (!is_whole(whole, table, place)) {
        text_clear(&whole->blocks);
        write_blocks(source->pieces, table, place, &whole->blocks);
        whole->lsn = place->lsn;
        text_clear(&whole->table);
        text_add_slice(&whole->table, table);
    }
    text_put(json, text_slice(&whole->blocks));
}

void change_source_write_times(ChangeSource *source, int64_t now_ns, Text *json)
{
    Text *now = &source->now;
    if (now->length == 0 || source->now_ns != now_ns) {
        source->now_ns = now_ns;
        text_clear(now);
        TEXT_PUT(now, "\"ts_ms\":");
        change_json_number(now, now_ns / 1000000);
        TEXT_PUT(now, ",\"ts_us\":");
        change_json_number(now, now_ns / 1000);
        TEXT_PUT(now, ",\"ts_ns\":");
        change_json_number(now, now_ns);
    }
    text_put(json, text_slice(now));
}
