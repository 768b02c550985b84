/* Who marks, on the connection of the claim or on one of its own. */
#include <stdlib.h>

#include "base/memory.h"
#include "claim/claim_internal.h"

static void on_marker_ready(void *arg, const Error *err)
{
    Claim *claim = arg;
    if (err != NULL) {
        claim_lose(claim, err);
        return;
    }
    claim->options.reader->marker_opened(claim->options.arg);
}

static void on_marker_opened(void *arg, const Error *err)
{
    Claim *claim = arg;
    if (err != NULL) {
        claim_lose(claim, err);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    claim_add_settings(claim, claim->marks->conn, &sql);
    pg_conn_send(claim->marks->conn, &(PgQuery){.step = "session of the marker",
                                                .sql = sql.data,
                                                .arg = claim,
                                                .done = on_marker_ready});
}

void claim_open_marker(Claim *claim)
{
    pg_conn_open(claim->marks->conn);
}

void claim_start_marker(Claim *claim, MarkerSession session)
{
    session.dead_letter = claim->look->dead_letter;
    marker_start(claim->marks->marker, &session);
}

static void on_marker_lost(void *arg, const Error *err)
{
    claim_lose(arg, err);
}

static void on_marker_refused(void *arg, const Error *err)
{
    const SourceEvents *events = &((Claim *)arg)->options.events->events;
    events->refused(events->arg, err);
}

static void on_marker_aside(void *arg, Event *event, ErrorCode reason)
{
    const LettersEvents *events = &((Claim *)arg)->marks->letters.letters.events;
    events->settled(events->arg, event, reason, NULL);
}

static void on_marker_aside_refused(void *arg, Event *event, ErrorCode reason, const Error *err)
{
    const LettersEvents *events = &((Claim *)arg)->marks->letters.letters.events;
    events->settled(events->arg, event, reason, err);
}

static void letters_take(Letters *letters, Event *event, const Record *record, const Error *reason)
{
    const Claim *claim = ((ClaimLetters *)letters)->claim;
    marker_add_aside(claim->marks->marker, event, record, reason);
    marker_next(claim->marks->marker);
}

static void on_marker_row_looks(void *arg, EventRow row, uint64_t look)
{
    const SourceEvents *events = &((Claim *)arg)->options.events->events;
    events->row_looks(events->arg, row, look);
}

static void on_marked(void *arg)
{
    Claim *claim = arg;
    const SourceEvents *events = &claim->options.events->events;
    claim->loss->refusals = 0;
    claim->options.reader->marked(claim->options.arg);
    events->progress(events->arg);
}

static void on_marker_idle(void *arg)
{
    Claim *claim = arg;
    claim->options.reader->idle(claim->options.arg);
}

static void on_replaced(void *arg)
{
    Claim *claim = arg;
    const ClaimReader *reader = claim->options.reader;
    if (reader->replaced != NULL) {
        reader->replaced(claim->options.arg);
    } else {
        claim_lose_table(claim);
    }
}

/* The connection that waited may hold the publisher's lock: then the lease comes first. */
static void on_marker_blocked(void *arg)
{
    Claim *claim = arg;
    if (claim->marks->conn == NULL) {
        claim_ping(claim);
    }
}

static bool on_marker_yields(const void *arg)
{
    const Claim *claim = arg;
    return claim->marks->conn == NULL && claim_jobs_wait(claim);
}

static const MarkerOwner MARKER_OWNER = {
    .lost = on_marker_lost,
    .refused = on_marker_refused,
    .aside = on_marker_aside,
    .aside_refused = on_marker_aside_refused,
    .row_looks = on_marker_row_looks,
    .marked = on_marked,
    .idle = on_marker_idle,
    .blocked = on_marker_blocked,
    .yields = on_marker_yields,
    .replaced = on_replaced,
};

ClaimMarks *claim_marks_new(Claim *claim)
{
    const SourceOptions *source = claim->options.source;
    const ClaimReader *reader = claim->options.reader;
    bool apart = reader->marks_apart;
    ClaimMarks *marks = x_calloc(1, sizeof(*marks));
    marks->letters =
        (ClaimLetters){.letters = {.take = letters_take, .of_source = true}, .claim = claim};
    claim->options.events->letters = &marks->letters.letters;
    history_begin(&marks->history);
    if (apart) {
        int64_t silence_ms = source->config->database.statement_timeout_ms + 5000;
        marks->conn = claim_new_conn(
            claim, &(PgConnOptions){.silence_timeout_ms = silence_ms,
                                    .tcp_user_timeout_ms = source->pipeline->claim.lease_ms,
                                    .arg = claim,
                                    .opened = on_marker_opened});
    }
    marks->marker = marker_new(&(MarkerOptions){.base = source->base,
                                                .pipeline = source->pipeline,
                                                .table = claim->options.table,
                                                .stats = source->stats,
                                                .conn = apart ? marks->conn : claim->conn,
                                                .history = &marks->history,
                                                .owner = &MARKER_OWNER,
                                                .arg = claim});
    return marks;
}

void claim_marks_free(ClaimMarks **marks)
{
    marker_free(&(*marks)->marker);
    pg_conn_free(&(*marks)->conn);
    history_end(&(*marks)->history);
    free(*marks);
    *marks = NULL;
}
