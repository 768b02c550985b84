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
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"

const char *verify_changed(const WalSource *wal)
{
    const char *then = wal->facts.publication_then;
    const char *now = claim_look(wal->claim)->identity;
    if (wal->rotation.continuous) {
        return "";
    }
    return *then != '\0' && *now != '\0' && strcmp(then, now) != 0 ? now : "";
}

void verify_begin(WalSource *wal)
{
    Verify *verify = &wal->verify;
    const PreconditionLook *look = claim_look(wal->claim);
    const SlotFacts *facts = &wal->facts;
    *verify = (Verify){.wal_end = facts->position.lsn};
    verify->unproven = *verify_changed(wal) != '\0';
    snprintf(verify->identity, sizeof(verify->identity), "%s",
             verify->unproven ? facts->publication_then : look->identity);
    if (!verify->unproven && !look->pending && look->wal_end > verify->wal_end) {
        verify->wal_end = look->wal_end;
        verify->write = strcmp(facts->publication_then, look->identity) != 0;
    }
}

bool verify_must_prove(const WalSource *wal)
{
    return wal->verify.unproven;
}

MarkerPosition verify_cap(const WalSource *wal, const MarkerPosition *acked)
{
    uint64_t stored = marker_position(wal->marker).lsn;
    uint64_t cap = wal->verify.wal_end > stored ? wal->verify.wal_end : stored;
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

void verify_push(WalSource *wal, bool at_once)
{
    MarkerPosition position = verify_cap(wal, &wal->acked);
    MarkerPosition *pushed = &wal->verify.pushed;
    MarkerPosition stored = marker_position(wal->marker);
    bool known = position.lsn == pushed->lsn && position.tx_lsn == pushed->tx_lsn &&
                 position.tx_ordinal == pushed->tx_ordinal;
    bool same = position.lsn == stored.lsn && position.tx_lsn == stored.tx_lsn &&
                position.tx_ordinal == stored.tx_ordinal;
    /* One write of ours for what others wrote, when a look is beyond it: a second one would look
     * like another's to the next question whether there was any. */
    bool early = wal->verify.idle && position.lsn < wal->acked.lsn;
    if (known || same || early || wal->acked.lsn == 0) {
        return;
    }
    *pushed = position;
    marker_add_position(wal->marker, &position, at_once);
    marker_next(wal->marker);
}

void verify_take(WalSource *wal, uint64_t wal_end, const char *identity)
{
    Verify *verify = &wal->verify;
    if (wal->state != WAL_ACTIVE || wal_end == 0 || *identity == '\0') {
        return;
    }
    if (strcmp(identity, verify->identity) != 0) {
        AUTO_ERROR err = {0};
        error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_PUBLICATION_CHANGED,
                     "the publication, or its entry for '%s', was changed (%s, before %s): "
                     "comparing the table with the WAL before anything is read",
                     wal->options.pipeline->outbox.table, identity, verify->identity);
        claim_lose(wal->claim, &err);
        return;
    }
    if (wal_end > verify->wal_end) {
        verify->wal_end = wal_end;
        if (wal->acked.lsn > marker_position(wal->marker).lsn) {
            verify_push(wal, true);
        }
    }
    verify_go_on(wal);
}

bool verify_same_publication(WalSource *wal)
{
    const PreconditionLook *look = claim_look(wal->claim);
    bool same = strcmp(look->identity, wal->verify.identity) == 0;
    if (look->taken && !look->pending && (!same || precondition_broken(look) == NULL)) {
        verify_take(wal, look->wal_end, look->identity);
    }
    return wal->state == WAL_ACTIVE;
}

void verify_adopt(WalSource *wal)
{
    Verify *verify = &wal->verify;
    if (!verify->unproven) {
        return;
    }
    log_write(LOG_INFO, wal->options.pipeline->name, CODE_PUBLICATION_PROVEN, LOG_NO_FIELDS,
              "no event was missed while the publication was changed: continuing");
    snprintf(verify->identity, sizeof(verify->identity), "%s", claim_look(wal->claim)->identity);
    verify->unproven = false;
    verify->write = true;
    if (!claim_look(wal->claim)->pending && claim_look(wal->claim)->wal_end > verify->wal_end) {
        verify->wal_end = claim_look(wal->claim)->wal_end;
    }
}

/* The identity is stored behind the fact; a restart in between proves it once more. */
static void on_identity_stored(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    wal_tell(wal, NEWS_SETTLED);
}

static void verify_store_identity(WalSource *wal)
{
    AUTO_TEXT identity = ident_literal(wal->verify.identity);
    wal->verify.write = false;
    position_note(wal, "publication", identity, on_identity_stored);
}

static void on_last_result(void *arg, const PGresult *result)
{
    claim_read_last_look(((WalSource *)arg)->claim, result);
}

static void on_last_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    wal->verify.asking = false;
    if (err != NULL) {
        claim_lose(wal->claim, err);
        return;
    }
    const PreconditionLook *look = claim_look(wal->claim);
    if (look->taken && !look->pending && precondition_broken(look) == NULL &&
        strcmp(look->identity, wal->verify.identity) == 0) {
        verify_take(wal, look->wal_end, look->identity);
    }
    wal_tell(wal, NEWS_SETTLED);
}

void verify_run(void *arg)
{
    WalSource *wal = arg;
    Verify *verify = &wal->verify;
    if (wal->state != WAL_ACTIVE || !verify->ask) {
        return;
    }
    verify->ask = false;
    verify->asking = true;
    AUTO_BUFFER sql = TEXT_EMPTY;
    wal_add_look(wal, &sql);
    claim_ask(wal->claim, &(PgQuery){.step = "verify last row",
                                     .sql = sql.data,
                                     .rows_wanted = 2,
                                     .arg = wal,
                                     .result = on_last_result,
                                     .done = on_last_done});
}

void verify_go_on(WalSource *wal)
{
    Verify *verify = &wal->verify;
    if (wal->state == WAL_ACTIVE && verify->write && !verify->asking && !verify->ask &&
        !marker_pending(wal->marker)) {
        verify_store_identity(wal);
    }
}

bool verify_last(WalSource *wal)
{
    Verify *verify = &wal->verify;
    bool behind = wal->state == WAL_ACTIVE && wal->acked.lsn > marker_position(wal->marker).lsn;
    if (behind && !verify->asked) {
        verify->asked = true;
        verify->ask = true;
        wal_want(wal, JOB_VERIFY);
    }
    return verify->ask || verify->asking;
}
