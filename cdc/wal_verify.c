/* A position says that everything before it is published. That rests on preconditions (the table in
 * the publication, above all), and the log does not tell when they did not hold: what was inserted
 * meanwhile is simply not in it. So no position is stored beyond the end of the log of the last
 * look that found all of them good. What is acknowledged beyond it is stored as a part: a restart
 * begins at the look, and leaves out what was done.
 *
 * When the publication is found to be another one than it was (dropped and put back, changed),
 * nothing is read behind that before it is proven that nothing was missed: the stream is left, and
 * what the table shows unpublished is compared with what the log will bring (wal_fill.c,
 * wal_scout.c). Where rows do not tell (keep), and when one was missed, that is a gap. */
#include "cdc/wal_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "rows/mapped_memory.h"

/* A last look, before a stop: one. */
typedef enum LastLook { LAST_NOT_WANTED, LAST_WANTED, LAST_ASKED, LAST_OVER } LastLook;

struct Verify {
    const WalContext *wal;
    const Progress *progress;
    PositionRow *row;
    uint64_t wal_end;                         /* of the last good look */
    char identity[PRECONDITION_IDENTITY_MAX]; /* of the publication, then */
    Text note;                                /* what the position row says of it */
    bool unproven; /* it is another one now, and it is not known whether events were missed */
    MarkerPosition pushed; /* last position that was given to the marker */
    bool write;            /* the identity is to be stored */
    LastLook last;
    ClaimJob job;
};

/* Of captured tables more is noted than a look tells: each of them by its entries. */
static void verify_note(Verify *verify, const Mapped *mapped)
{
    text_clear(&verify->note);
    if (verify->wal->pipeline->capture == CAPTURE_TABLES) {
        mapped_memory_add(mapped, &verify->note);
    } else {
        text_add(&verify->note, verify->identity);
    }
}

void verify_begin(Verify *verify, uint64_t stored, const char *then, bool changed,
                  const Mapped *mapped)
{
    bool tables = verify->wal->pipeline->capture == CAPTURE_TABLES;
    const PreconditionLook *look = claim_look(verify->wal->claim);
    verify->wal_end = stored;
    verify->unproven = changed;
    verify->pushed = (MarkerPosition){0};
    verify->write = false;
    verify->last = LAST_NOT_WANTED;
    snprintf(verify->identity, sizeof(verify->identity), "%s",
             changed && !tables ? then : look->identity);
    verify_note(verify, mapped);
    if (!changed && !look->pending && look->wal_end > stored) {
        verify->wal_end = look->wal_end;
        verify->write = strcmp(then, text_string(&verify->note)) != 0;
    }
}

const char *verify_identity(const Verify *verify)
{
    return text_string(&verify->note);
}

void verify_stored(Verify *verify)
{
    verify->write = false;
}

bool verify_must_prove(const Verify *verify)
{
    return verify->unproven;
}

void verify_start_marker(Verify *verify)
{
    verify->pushed = (MarkerPosition){0};
}

MarkerPosition verify_cap(const Verify *verify, const MarkerPosition *acked)
{
    uint64_t stored = marker_position(verify->wal->marker).lsn;
    uint64_t cap = verify->wal_end > stored ? verify->wal_end : stored;
    MarkerPosition position = *acked;
    if (acked->lsn <= cap) {
        return position;
    }
    position.lsn = cap;
    if (acked->tx_lsn == 0) { /* all that commits before it is done */
        position.tx_lsn = acked->lsn - 1;
        position.tx_ordinal = INT64_MAX;
    }
    return position;
}

void verify_pushed(Verify *verify, const MarkerPosition *position)
{
    verify->pushed = *position;
}

void verify_push(Verify *verify, bool at_once)
{
    Marker *marker = verify->wal->marker;
    const MarkerPosition *acked = progress_acked(verify->progress);
    MarkerPosition position = verify_cap(verify, acked);
    const MarkerPosition *pushed = &verify->pushed;
    MarkerPosition stored = marker_position(marker);
    bool known = position.lsn == pushed->lsn && position.tx_lsn == pushed->tx_lsn &&
                 position.tx_ordinal == pushed->tx_ordinal;
    bool same = position.lsn == stored.lsn && position.tx_lsn == stored.tx_lsn &&
                position.tx_ordinal == stored.tx_ordinal;
    /* One write of ours for what others wrote, when a look is beyond it: a second one would look
     * like another's to the next question whether there was any. */
    bool early = progress_follows(verify->progress) && position.lsn < acked->lsn;
    if (known || same || early || acked->lsn == 0) {
        return;
    }
    verify_pushed(verify, &position);
    marker_add_position(marker, &position, at_once);
    marker_next(marker);
}

/* It is acknowledged, and the marker does not have all of it. */
static bool verify_is_behind(const Verify *verify)
{
    return progress_acked(verify->progress)->lsn > marker_position(verify->wal->marker).lsn;
}

void verify_take(Verify *verify, uint64_t wal_end, const char *identity)
{
    const WalContext *wal = verify->wal;
    if (wal->state != WAL_ACTIVE || wal_end == 0 || *identity == '\0') {
        return;
    }
    if (strcmp(identity, verify->identity) != 0) {
        AUTO_ERROR err = {0};
        if (wal->pipeline->capture == CAPTURE_TABLES) {
            error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_PUBLICATION_CHANGED,
                         "the publications, or which tables they publish, were changed: comparing "
                         "them with what was captured before anything is read");
            error_hint(&err, "If no change is missing, the relay logs PUBLICATION_PROVEN and "
                             "continues. Otherwise it stops and names the tables.");
            claim_lose(wal->claim, &err);
            return;
        }
        error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_PUBLICATION_CHANGED,
                     "the publication, or its entry for '%s', was changed (%s, before %s): "
                     "comparing the table with the WAL before anything is read",
                     wal->pipeline->outbox.table, identity, verify->identity);
        claim_lose(wal->claim, &err);
        return;
    }
    if (wal_end > verify->wal_end) {
        verify->wal_end = wal_end;
        if (verify_is_behind(verify)) {
            verify_push(verify, true);
        }
    }
    verify_go_on(verify);
}

bool verify_same_publication(Verify *verify)
{
    const PreconditionLook *look = claim_look(verify->wal->claim);
    bool same = strcmp(look->identity, verify->identity) == 0;
    if (look->taken && !look->pending && (!same || precondition_broken(look) == NULL)) {
        verify_take(verify, look->wal_end, look->identity);
    }
    return verify->wal->state == WAL_ACTIVE;
}

void verify_adopt(Verify *verify)
{
    const PreconditionLook *look = claim_look(verify->wal->claim);
    if (!verify->unproven) {
        return;
    }
    log_write(LOG_INFO, verify->wal->pipeline->name, CODE_PUBLICATION_PROVEN, LOG_NO_FIELDS,
              "no event was missed while the publication was changed: continuing");
    snprintf(verify->identity, sizeof(verify->identity), "%s", look->identity);
    text_clear(&verify->note);
    text_add(&verify->note, verify->identity);
    verify->unproven = false;
    verify->write = true;
    if (!look->pending && look->wal_end > verify->wal_end) {
        verify->wal_end = look->wal_end;
    }
}

/* The identity is stored behind the fact; a restart in between proves it once more. */
static void on_identity_stored(void *arg, const Error *err)
{
    const Verify *verify = arg;
    if (!wal_goes_on(verify->wal, err)) {
        return;
    }
    if (verify->wal->pipeline->capture == CAPTURE_TABLES) { /* next time it is compared with this */
        log_write(LOG_INFO, verify->wal->pipeline->name, CODE_PUBLICATION_PROVEN, LOG_NO_FIELDS,
                  "no change was missed while the publications were changed: continuing");
    }
    wal_tell(verify->wal, NEWS_SETTLED);
}

static void verify_store_identity(Verify *verify)
{
    AUTO_TEXT identity = ident_literal(text_string(&verify->note));
    verify->write = false;
    position_note(verify->row, "publication", identity, verify, on_identity_stored);
}

static void on_last_result(void *arg, const PGresult *result)
{
    claim_read_last_look(((Verify *)arg)->wal->claim, result);
}

static void on_last_done(void *arg, const Error *err)
{
    Verify *verify = arg;
    verify->last = LAST_OVER;
    if (!wal_goes_on(verify->wal, err)) {
        return;
    }
    const PreconditionLook *look = claim_look(verify->wal->claim);
    if (look->taken && !look->pending && precondition_broken(look) == NULL &&
        strcmp(look->identity, verify->identity) == 0) {
        verify_take(verify, look->wal_end, look->identity);
    }
    wal_tell(verify->wal, NEWS_SETTLED);
}

static void verify_run(void *arg)
{
    Verify *verify = arg;
    if (verify->wal->state != WAL_ACTIVE || verify->last != LAST_WANTED) {
        return;
    }
    verify->last = LAST_ASKED;
    AUTO_BUFFER sql = TEXT_EMPTY;
    wal_add_look(verify->wal, &sql);
    claim_ask(verify->wal->claim, &(PgQuery){.step = "verify last row",
                                             .sql = sql.data,
                                             .rows_wanted = 2,
                                             .arg = verify,
                                             .result = on_last_result,
                                             .done = on_last_done});
}

static bool verify_last_is_open(const Verify *verify)
{
    return verify->last == LAST_WANTED || verify->last == LAST_ASKED;
}

void verify_go_on(Verify *verify)
{
    if (verify->wal->state == WAL_ACTIVE && verify->write && !verify_last_is_open(verify) &&
        !marker_pending(verify->wal->marker)) {
        verify_store_identity(verify);
    }
}

bool verify_last(Verify *verify)
{
    bool behind = verify->wal->state == WAL_ACTIVE && verify_is_behind(verify);
    if (behind && verify->last == LAST_NOT_WANTED) {
        verify->last = LAST_WANTED;
        wal_want(verify->wal, &verify->job);
    }
    return verify_last_is_open(verify);
}

Verify *verify_new(const WalContext *wal, const Progress *progress, PositionRow *row)
{
    Verify *verify = x_calloc(1, sizeof(*verify));
    verify->wal = wal;
    verify->progress = progress;
    verify->row = row;
    verify->job = (ClaimJob){.run = verify_run, .arg = verify};
    return verify;
}

void verify_free(Verify **verify)
{
    if (*verify != NULL) {
        text_free(&(*verify)->note);
        free(*verify);
        *verify = NULL;
    }
}
