/* The look at the rows of an outbox table: one statement, one snapshot. It lists the unpublished
 * rows with the lowest numbers, where there are more also a page of the rest (by turns, each page
 * twice), and those that nobody knew last time; with the server's clock, its insert position and
 * the highest number in the table. sightings.h says what follows from it for the age of rows.
 *
 * The net. The owner of the outbox asks its source about each row that two looks showed. What the
 * source does not know although it has caught up with the first of them may have been lost: a
 * table that was out of the publication for a while, a number that came behind the bound of the
 * sweep, a fault of ours. After a while the source looks at that row again if it can; what is then
 * still unknown and still unpublished is said: EVENT_UNSEEN. Nothing is ever published from here:
 * only a source knows the order of keys. */
#include "watch/watch_rows.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/timestamp.h"
#include "flow/event.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "watch/fact.h"
#include "watch/sightings.h"

enum { SAID_ROWS = 5 /* of one look have a line of their own */ };

struct WatchRows {
    const WatchOptions *options;
    size_t index; /* of the pipeline */
    const PipelineConfig *config;
    const OutboxTable *table;
    Sightings *sightings;
    uint64_t *found; /* the metric */
    size_t unseen;
    int64_t sent_us; /* monotonic: when the rows were asked for */
    int64_t next_us; /* monotonic: not before */
    bool is_there;   /* the table */
    bool answered;   /* the answer came, and is not judged yet */
    bool put_off;    /* the last look came before next_us */
    bool lean;       /* one that waits has a value that failed it */
};

WatchRows *rows_new(const WatchOptions *options, size_t index, const OutboxTable *table,
                    uint64_t *found)
{
    WatchRows *p = x_calloc(1, sizeof(*p));
    *p = (WatchRows){.options = options,
                     .index = index,
                     .config = &options->config->pipelines[index],
                     .table = table,
                     .sightings = x_malloc(sizeof(*p->sightings))};
    p->found = found;
    sightings_init(p->sightings);
    return p;
}

void rows_free(WatchRows **rows)
{
    if (*rows != NULL) {
        sightings_free((*rows)->sightings);
        free((*rows)->sightings);
        free(*rows);
        *rows = NULL;
    }
}

void rows_set_table(WatchRows *p, bool is_there)
{
    p->is_there = is_there;
}

/* False: no row tells whether it is published. */
static bool rows_tell(const WatchRows *p)
{
    return p->is_there && p->config->outbox.on_publish != ON_PUBLISH_KEEP;
}

/* The query. */

/* clock - time, so that no time that PostgreSQL can hold overflows; those far ahead are told as
 * none. */
#define LATEST_TIME "timestamptz '290000-01-01'"

static void add_columns(const WatchRows *p, char part, Text *sql)
{
    char *const *columns = p->config->outbox.columns;
    AUTO_TEXT id = *columns[FIELD_EVENT_ID] != '\0' ? ident_quote(columns[FIELD_EVENT_ID]) : NULL;
    AUTO_TEXT occurred_at =
        table_has(p->table, FIELD_OCCURRED_AT) ? ident_quote(columns[FIELD_OCCURRED_AT]) : NULL;
    AUTO_TEXT type = p->lean ? x_strdup("NULL") : ident_quote(columns[FIELD_EVENT_TYPE]);
    AUTO_TEXT key = !p->lean && table_has(p->table, FIELD_AGGREGATE_ID)
                        ? ident_quote(columns[FIELD_AGGREGATE_ID])
                        : NULL;
    text_printf(
        sql,
        "SELECT '%c' AS part, %s::bigint AS seq, %s::text AS id, %s::timestamptz AS at,"
        " left(%s::text, 100) AS type, left(%s::text, 100) AS key FROM %s AS o WHERE true%s",
        part, p->table->seq, id != NULL ? id : "NULL", occurred_at != NULL ? occurred_at : "NULL",
        type, key != NULL ? key : "NULL", p->table->name, p->table->unpublished);
}

static void add_unknown(const WatchRows *p, Text *sql)
{
    size_t count = 0;
    for (size_t i = 0; i < p->sightings->count && count < SIGHTINGS_UNKNOWN; i++) {
        const Sighting *row = &p->sightings->rows[i];
        if (row->unknown_us == 0) {
            continue;
        }
        if (count == 0) {
            text_add(sql, " UNION ALL (");
            add_columns(p, 'u', sql);
            text_printf(sql, " AND %s IN (", p->table->seq);
        }
        text_printf(sql, "%s%" PRId64, count > 0 ? ", " : "", row->seq);
        count++;
    }
    if (count > 0) {
        text_printf(sql, ") ORDER BY o.%s LIMIT %d)", p->table->seq, SIGHTINGS_UNKNOWN);
    }
}

static void add_query(const WatchRows *p, Text *sql)
{
    text_printf(
        sql,
        "SELECT s.*, r.part, r.seq, CASE WHEN octet_length(r.id) <= %d THEN r.id END AS id,"
        " octet_length(r.id) > %d AS long, r.type, r.key,"
        " CASE WHEN isfinite(r.at) THEN extract(epoch FROM clock_timestamp() - r.at) END"
        " AS age, CASE WHEN isfinite(r.at) AND r.at < " LATEST_TIME
        " THEN (extract(epoch FROM r.at) * 1000000)::bigint END AS occurred_at"
        " FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS server,"
        " CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() - '0/0'::pg_lsn END"
        " AS insert_lsn, (SELECT max(%s)::bigint FROM %s) AS top) s LEFT JOIN ((",
        SIGHTINGS_ID_MAX, SIGHTINGS_ID_MAX, p->table->seq, p->table->name);
    add_columns(p, 'o', sql);
    text_printf(sql, " ORDER BY o.%s LIMIT %d)", p->table->seq, SIGHTINGS_OLDEST);
    if (p->sightings->page_after > INT64_MIN) {
        text_add(sql, " UNION ALL (");
        add_columns(p, 'p', sql);
        text_printf(sql, " AND %s > %" PRId64 " ORDER BY o.%s LIMIT %d)", p->table->seq,
                    p->sightings->page_after, p->table->seq, SIGHTINGS_PAGE);
    }
    add_unknown(p, sql);
    text_add(sql, ") r ON true ORDER BY r.seq");
}

bool rows_begin(WatchRows *p, int64_t now_us, Text *sql)
{
    p->put_off = now_us < p->next_us;
    if (p->put_off || !rows_tell(p)) {
        return false;
    }
    p->sent_us = now_us;
    add_query(p, sql);
    return true;
}

/* Type and key are for people alone. One that the server cannot print is no reason to see no rows.
 */
bool rows_lean(WatchRows *p, const Error *err)
{
    bool leans = !p->lean && sqlstate_is_of_data(err);
    p->lean = p->lean || leans;
    return leans;
}

/* The answer. */

static int64_t age_us(const PGresult *r, int row)
{
    double age = fact_real(r, row, "age");
    return isnan(age) || fabs(age) > 9e12 ? SIGHTINGS_NO_AGE : (int64_t)(age * 1e6);
}

/* Where a record could end: at the beginning of a page the server counts the page's header as
 * written, which no reader of the log is ever told before something follows. */
static uint64_t lsn_before_header(uint64_t lsn)
{
    enum { PAGE = 8192, SHORT_HEADER = 24, LONG_HEADER = 40 };
    uint64_t in_page = lsn % PAGE;
    return in_page == SHORT_HEADER || in_page == LONG_HEADER ? lsn - in_page : lsn;
}

void rows_read(WatchRows *p, const PGresult *r)
{
    Look look = {.sent_us = p->sent_us, .top = INT64_MIN};
    for (int row = 0; row < PQntuples(r); row++) {
        look.server_us = fact_integer(r, row, "server", 0);
        look.insert_lsn = lsn_before_header((uint64_t)fact_integer(r, row, "insert_lsn", 0));
        look.top = fact_integer(r, row, "top", INT64_MIN);
        const char *part = fact(r, row, "part");
        if (*part == '\0') { /* there is none */
            p->lean = false;
            continue;
        }
        sightings_add(p->sightings, &(SightedRow){.part = *part,
                                                  .seq = fact_integer(r, row, "seq", 0),
                                                  .event_id = pg_field_or_null(r, row, "id"),
                                                  .id_too_long = fact_true(r, row, "long"),
                                                  .event_type = fact(r, row, "type"),
                                                  .aggregate_id = fact(r, row, "key"),
                                                  .occurred_at_us = fact_integer(
                                                      r, row, "occurred_at", EVENT_NO_TIME),
                                                  .age_us = age_us(r, row)});
    }
    if (PQntuples(r) > 0) {
        sightings_end(p->sightings, &look);
        p->answered = true;
    }
}

/* The net. */

static SourceSight on_sight(void *arg, const Sighting *row)
{
    const WatchRows *p = arg;
    return p->options->sight(p->options->arg, p->index, row);
}

static void on_look_again(void *arg, int64_t seq)
{
    const WatchRows *p = arg;
    p->options->look_again(p->options->arg, p->index, seq);
}

static int64_t rows_unseen_after_us(const PipelineConfig *config)
{
    int64_t sweeps_ms = config->capture == CAPTURE_POLL ? 2 * config->poll.sweep_interval_ms : 0;
    int64_t after_ms =
        config->outbox.unseen_after_ms > sweeps_ms ? config->outbox.unseen_after_ms : sweeps_ms;
    return after_ms * 1000;
}

/* The slot has to go first: --new-slot makes a new one only where there is a gap. */
static char *rows_remedy(const PipelineConfig *config, const Sighting *first)
{
    if (first != NULL && first->seq == EVENT_NO_SEQ) {
        return x_format("The number %" PRId64 " is the lowest there is, and the relay uses it for "
                        "events without a row: a row with it is never published. Insert the event "
                        "again under a number of the sequence, and delete the row with this one.",
                        first->seq);
    }
    if (config->capture == CAPTURE_POLL) {
        return x_strdup("The relay read these numbers again and did not get the rows. Check "
                        "row-level security, and the rows by their seq. A restart of the relay "
                        "reads every unpublished row again.");
    }
    AUTO_TEXT slot = ident_literal(config->wal.slot);
    return x_format("These rows were not in the stream: the table was not in the publication when "
                    "they were inserted, their partition was attached with them, or somebody set "
                    "them back to unpublished. Set published_at of those that are already in their "
                    "topic or need not be published. Otherwise stop the relay, run SELECT "
                    "pg_drop_replication_slot(%s); and start it once as: outboxd run --new-slot. "
                    "That publishes every row that the table shows unpublished.",
                    slot);
}

static const Sighting *rows_first_unseen(const Sightings *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->rows[i].unseen) {
            return &s->rows[i];
        }
    }
    return NULL;
}

static const Sighting *rows_first_unsaid(const Sightings *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->rows[i].unseen && !s->rows[i].said) {
            return &s->rows[i];
        }
    }
    return NULL;
}

static Slice rows_time(int64_t monotonic_us, int64_t now_us, char *scratch)
{
    return timestamp_format(clock_wall_us() - (now_us - monotonic_us), scratch);
}

static void rows_say_unseen(WatchRows *p, int64_t now_us)
{
    size_t said = 0;
    AUTO_TEXT remedy = rows_remedy(p->config, rows_first_unsaid(p->sightings));
    for (size_t i = 0; i < p->sightings->count; i++) {
        Sighting *row = &p->sightings->rows[i];
        if (!row->unseen || row->said) {
            continue;
        }
        row->said = true;
        if (said++ >= SAID_ROWS) {
            continue;
        }
        char scratch[TIMESTAMP_TEXT_MAX];
        AUTO_TEXT since = x_format("%.*s", SLICE_ARG(rows_time(row->since_us, now_us, scratch)));
        log_write(LOG_ERROR, p->config->name, CODE_EVENT_UNSEEN,
                  LOG_FIELDS(log_number("seq", row->seq),
                             log_text("event_id", row->event_id != NULL ? row->event_id : ""),
                             log_text("event_type", row->event_type), log_text("since", since),
                             log_text("hint", said == 1 ? remedy : "")),
                  "the table holds an unpublished event that the relay has not seen, although it "
                  "has read everything: this event waits");
    }
    if (said > SAID_ROWS) {
        log_write(LOG_ERROR, p->config->name, CODE_EVENT_UNSEEN,
                  LOG_FIELDS(log_number("events", (long long)(said - SAID_ROWS))),
                  "further unpublished events have not been seen");
    }
}

/* Shown in /status and /readyz as long as it lasts. */
static void rows_complain(const WatchRows *p)
{
    const Sighting *first = rows_first_unseen(p->sightings);
    if (first == NULL) {
        p->options->unseen(p->options->arg, p->index, NULL);
        return;
    }
    AUTO_ERROR err = {0};
    char scratch[TIMESTAMP_TEXT_MAX];
    error_set_as(&err, ERROR_RETRY, EXIT_GAP, CODE_EVENT_UNSEEN,
                 "the relay has not seen %zu%s unpublished events; the first: seq %" PRId64
                 ", id %s, type '%s', waiting since %.*s",
                 p->unseen, p->sightings->look.complete ? "" : " or more", first->seq,
                 first->event_id != NULL ? first->event_id : "NULL", first->event_type,
                 SLICE_ARG(rows_time(first->since_us, clock_monotonic_us(), scratch)));
    AUTO_TEXT remedy = rows_remedy(p->config, first);
    error_hint(&err, "%s", remedy);
    p->options->unseen(p->options->arg, p->index, &err);
}

static void rows_tell_source(const WatchRows *p, const Judgement *judgement)
{
    const Sightings *s = p->sightings;
    SourceLook look = {.sent_us = s->look.sent_us,
                       .insert_lsn = s->look.insert_lsn,
                       .complete = s->look.complete,
                       .rows = s->count,
                       .unjudged = judgement->unjudged,
                       .behind = judgement->behind,
                       .unknown = judgement->unknown,
                       .first_unknown = judgement->first_unknown};
    p->options->looked(p->options->arg, p->index, &look);
}

static WatchRole rows_role(const WatchRows *p)
{
    return p->options->role(p->options->arg, p->index);
}

static void rows_follow(const WatchRows *p)
{
    p->options->follow(p->options->arg, p->index, p->sightings->low, p->sightings->high);
}

void rows_end(WatchRows *p, int64_t next_us)
{
    p->next_us = next_us;
    if (!p->answered) {
        return;
    }
    p->answered = false;
    WatchRole role = rows_role(p);
    if (role.stands_by) {
        sightings_excuse(p->sightings);
    }
    int64_t now_us = clock_monotonic_us();
    Judge judge = {.arg = p,
                   .sight = on_sight,
                   .look_again = p->config->capture == CAPTURE_POLL ? on_look_again : NULL,
                   .ask_after_us = p->config->outbox.unseen_after_ms * 1000 / 2,
                   .unseen_after_us = rows_unseen_after_us(p->config)};
    Judgement judgement;
    sightings_judge(p->sightings, role.judges ? &judge : NULL, now_us, &judgement);
    bool changed = judgement.unseen != p->unseen;
    p->unseen = judgement.unseen;
    *p->found += judgement.asked;
    if (judge.look_again == NULL) {
        *p->found += judgement.found;
    }
    if (judgement.asked > 0) {
        log_write(LOG_INFO, p->config->name, CODE_EVENT_LOOKED_AGAIN,
                  LOG_FIELDS(log_number("events", (long long)judgement.asked),
                             log_number("first_seq", judgement.first_unknown)),
                  "the table holds unpublished events that were not read; reading them by number");
    }
    if (judgement.found > 0) {
        rows_say_unseen(p, now_us);
    }
    if (judgement.over > 0 && judgement.unseen == 0) {
        log_write(LOG_INFO, p->config->name, CODE_EVENT_UNSEEN_OVER, LOG_NO_FIELDS,
                  "the relay has seen all unpublished events");
    }
    if (changed) {
        rows_complain(p);
    }
    rows_follow(p);
    if (role.judges) {
        rows_tell_source(p, &judgement);
    }
}

int64_t rows_again_ms(const WatchRows *p)
{
    enum { RESTLESS_MS = 1000, LEAST_MS = 100 };
    if (!rows_tell(p)) {
        return -1;
    }
    WatchRole role = rows_role(p);
    bool doubt = role.judges && sightings_doubt(p->sightings);
    int64_t ms = role.waits || doubt ? RESTLESS_MS : -1;
    if (role.judges && p->sightings->count > 0) {
        /* Rows on their way: soon enough to judge those that stay. */
        int64_t soon_ms = p->config->outbox.unseen_after_ms / (doubt ? 6 : 3);
        ms = ms < 0 || soon_ms < ms ? soon_ms : ms;
    }
    return ms >= 0 && ms < LEAST_MS ? LEAST_MS : ms;
}

int64_t rows_due_us(const WatchRows *p, int64_t now_us)
{
    int64_t ms = rows_again_ms(p);
    if (ms < 0) {
        return INT64_MAX;
    }
    int64_t due_us = now_us + ms * 1000;
    return p->put_off && p->next_us < due_us ? p->next_us : due_us;
}

/* What others ask. */

int64_t rows_next_us(const WatchRows *p)
{
    return p->next_us;
}

size_t rows_unseen(const WatchRows *p)
{
    return p->unseen;
}

void rows_settled(WatchRows *p, int64_t seq, Slice event_id)
{
    sightings_settled(p->sightings, seq, event_id);
}

void rows_parked(WatchRows *p, const Event *event)
{
    enum { TEXT_MAX = 100 }; /* as in a look */
    Slice id = event_field(event, FIELD_EVENT_ID);
    Slice type = event_field(event, FIELD_EVENT_TYPE);
    Slice key = event_field(event, FIELD_AGGREGATE_ID);
    if (!rows_tell(p) || id.length > SIGHTINGS_ID_MAX) {
        return;
    }
    int64_t since_us = sightings_since(p->sightings, event->seq, id, event->occurred_at_us,
                                       event->batch->arrived_us);
    AUTO_TEXT id_text = slice_is_null(id) ? NULL : x_format("%.*s", SLICE_ARG(id));
    AUTO_TEXT type_text =
        x_format("%.*s", (int)(type.length < TEXT_MAX ? type.length : TEXT_MAX), type.data);
    AUTO_TEXT key_text =
        x_format("%.*s", (int)(key.length < TEXT_MAX ? key.length : TEXT_MAX), key.data);
    sightings_waits(p->sightings,
                    &(SightedRow){.seq = event->seq,
                                  .event_id = id_text,
                                  .event_type = type_text,
                                  .aggregate_id = key_text,
                                  .occurred_at_us = event->occurred_at_us},
                    since_us);
    rows_follow(p);
}

double rows_event_age(const WatchRows *p, const Event *event)
{
    int64_t since_us = sightings_since(p->sightings, event->seq, event_field(event, FIELD_EVENT_ID),
                                       event->occurred_at_us, event->batch->arrived_us);
    return (double)(clock_monotonic_us() - since_us) / 1e6;
}

bool rows_oldest(WatchRows *p, bool owner, int64_t published_us, WatchOldest *ret)
{
    const Sightings *s = p->sightings;
    bool quiet = !owner || published_us < s->look.sent_us;
    Sighting *row = NULL;
    while ((row = sightings_oldest(s, quiet)) != NULL && owner && !row->checked) {
        row->checked = true;
        row->published = on_sight(p, row) == SIGHT_PUBLISHED;
        if (!row->published) {
            break;
        }
    }
    if (row == NULL) {
        return false;
    }
    /* Of rows that another relay publishes, one that was seen once may just have passed by: it is
     * as old as it was then. */
    bool waits = owner || row->stands;
    int64_t until_us = waits ? clock_monotonic_us() : s->look.sent_us;
    *ret = (WatchOldest){.seq = row->seq,
                         .occurred_at_us = row->occurred_at_us,
                         .lag_seconds = (double)(until_us - row->since_us) / 1e6,
                         .waits = waits,
                         .event_type = row->event_type,
                         .aggregate_id = row->aggregate_id};
    return true;
}

bool rows_have_looked(const WatchRows *p)
{
    return p->sightings->look.sent_us > 0;
}
