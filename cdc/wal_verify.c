/* A position says that everything before it is published. That rests on preconditions (the table in
 * the publication, above all), and the log does not tell when they did not hold: what was inserted
 * meanwhile is simply not in it. So no position is stored beyond the end of the log of the last
 * look that found all of them good. What is acknowledged beyond it is stored as a part: a restart
 * begins at the look, and leaves out what was done.
 *
 * When the publication is found to be another one than it was (dropped and put back, changed), the
 * position stands still until a look at the table shows that no row is unpublished which the stream
 * should have brought. Where rows do not tell (keep), and when one was missed, that is a gap. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"

const char *verify_changed(const WalSource *wal)
{
    const char *then = wal->facts.publication_then;
    const char *now = wal->look.identity;
    return *then != '\0' && *now != '\0' && strcmp(then, now) != 0 ? now : "";
}

static void verify_suspect(WalSource *wal, uint64_t since, const char *identity)
{
    Verify *verify = &wal->verify;
    if (strcmp(verify->now, identity) == 0) {
        return;
    }
    snprintf(verify->now, sizeof(verify->now), "%s", identity);
    verify->since = since;
    log_write(LOG_WARN, wal->options.pipeline->name, "PUBLICATION_CHANGED",
              LOG_FIELDS(log_text("was", verify->identity), log_text("is", identity)),
              "the publication, or its entry for '%s', is not the one it was: the position stands "
              "still until the table shows whether events were missed",
              wal->options.pipeline->table);
}

void verify_begin(WalSource *wal)
{
    Verify *verify = &wal->verify;
    const PreconditionLook *look = &wal->look;
    const SlotFacts *facts = &wal->facts;
    bool changed = *verify_changed(wal) != '\0';
    *verify = (Verify){.wal_end = facts->position.lsn};
    snprintf(verify->identity, sizeof(verify->identity), "%s",
             changed ? facts->publication_then : look->identity);
    if (changed) {
        verify_suspect(wal, look->wal_end, look->identity);
    } else if (!look->pending && look->wal_end > verify->wal_end) {
        verify->wal_end = look->wal_end;
        verify->write = strcmp(facts->publication_then, look->identity) != 0;
    }
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
    if (known || same || wal->acked.lsn == 0) {
        return;
    }
    *pushed = position;
    marker_add_position(wal->marker, &position, at_once);
    marker_next(wal->marker);
}

static void verify_gap(WalSource *wal, const char *message)
{
    Error err;
    error_set(&err, ERROR_FATAL, EXIT_GAP, "PUBLICATION_CHANGED", "%s", message);
    error_hint(&err, "`outboxd run --new-slot` makes the slot again, publishes the rows that are "
                     "still unpublished, and says what it cannot recover.");
    wal_lose(wal, &err);
}

void verify_take(WalSource *wal, uint64_t wal_end, const char *identity)
{
    Verify *verify = &wal->verify;
    if (wal->state != WAL_ACTIVE || wal_end == 0 || *identity == '\0') {
        return;
    }
    if (strcmp(identity, verify->identity) != 0) {
        if (wal->options.pipeline->on_publish == ON_PUBLISH_KEEP) {
            verify_gap(wal, "the publication is not the one it was, and rows that are kept do not "
                            "tell whether they were published: events may be missing");
            return;
        }
        verify_suspect(wal, wal_end, identity);
        return;
    }
    if (*verify->now != '\0') {
        /* Back to what it was, by its identity, between two looks: that cannot be. */
        verify_suspect(wal, wal_end, identity);
        return;
    }
    if (wal_end > verify->wal_end) {
        verify->wal_end = wal_end;
        if (wal->acked.lsn > marker_position(wal->marker).lsn) {
            verify_push(wal, true);
        }
    }
    verify_send_waiting(wal);
}

void verify_take_rows(WalSource *wal, const SourceLook *look)
{
    Verify *verify = &wal->verify;
    if (*verify->now == '\0' || wal->state != WAL_ACTIVE || look->insert_lsn < verify->since ||
        look->behind > 0) {
        return;
    }
    if (look->unknown > 0) {
        char message[256];
        snprintf(message, sizeof(message),
                 "the publication was changed, and %zu rows were inserted meanwhile that the log "
                 "does not bring, such as number %lld",
                 look->unknown, (long long)look->first_unknown);
        verify_gap(wal, message);
        return;
    }
    if (!look->complete) {
        return;
    }
    log_write(LOG_INFO, wal->options.pipeline->name, "PUBLICATION_PROVEN", LOG_NO_FIELDS,
              "no event was missed while the publication was changed: going on");
    snprintf(verify->identity, sizeof(verify->identity), "%s", verify->now);
    verify->now[0] = '\0';
    verify->wal_end = verify->since > verify->wal_end ? verify->since : verify->wal_end;
    verify->write = true;
    verify_push(wal, true);
    verify_send_waiting(wal);
}

/* The identity is stored behind the fact; a restart in between proves it once more. */
static void on_identity_stored(void *arg, const Error *err)
{
    WalSource *wal = arg;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    position_send_waiting(wal);
    marker_next(wal->marker);
    wal_check_drained(wal);
}

static void verify_store_identity(WalSource *wal)
{
    AUTO_TEXT identity = ident_literal(wal->verify.identity);
    wal->verify.write = !position_note(wal, "publication", identity, on_identity_stored);
}

static void on_last_result(void *arg, const PGresult *result)
{
    WalSource *wal = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        precondition_read_wal_end(result, &wal->look.wal_end)) {
        return;
    }
    uint64_t wal_end = wal->look.wal_end;
    precondition_release(&wal->look);
    precondition_read(wal->options.pipeline, result, 0, PRECONDITION_RUNNING, &wal->look);
    wal->look.wal_end = wal_end;
}

static void on_last_done(void *arg, const Error *err)
{
    WalSource *wal = arg;
    wal->verify.asking = false;
    if (err != NULL) {
        wal_lose(wal, err);
        return;
    }
    wal_renew_lease(wal);
    const PreconditionLook *look = &wal->look;
    if (look->taken && !look->pending && precondition_broken(look) == NULL &&
        strcmp(look->identity, wal->verify.identity) == 0) {
        verify_take(wal, look->wal_end, look->identity);
    }
    wal_check_drained(wal);
}

void verify_send_waiting(WalSource *wal)
{
    Verify *verify = &wal->verify;
    if (wal->state != WAL_ACTIVE || pg_conn_is_busy(wal->control) || verify->asking) {
        return;
    }
    if (verify->ask) {
        verify->ask = false;
        verify->asking = true;
        AUTO_BUFFER sql = TEXT_EMPTY;
        wal_session_add_look(wal, &sql);
        wal_ask(wal,
                &(PgQuery){
                    .sql = sql.data, .arg = wal, .result = on_last_result, .done = on_last_done});
    } else if (verify->write && !marker_pending(wal->marker)) {
        verify_store_identity(wal);
    }
}

bool verify_last(WalSource *wal)
{
    Verify *verify = &wal->verify;
    bool behind = wal->state == WAL_ACTIVE && *verify->now == '\0' &&
                  wal->acked.lsn > marker_position(wal->marker).lsn;
    if (behind && !verify->asked) {
        verify->asked = true;
        verify->ask = true;
        verify_send_waiting(wal);
    }
    return verify->ask || verify->asking;
}
