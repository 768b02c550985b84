#include "watch/sightings.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

/* The look that is being read. */
typedef struct Reading {
    Sighting *rows; /* room for SIGHTINGS_MAX */
    size_t count;
    size_t oldest_count;
    int64_t page_last;
} Reading;

static void rows_free(Sighting *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rows[i].event_id);
        free(rows[i].event_type);
        free(rows[i].aggregate_id);
    }
    free(rows);
}

void sightings_init(Sightings *s)
{
    *s = (Sightings){.page_after = INT64_MIN,
                     .low = INT64_MAX,
                     .high = INT64_MIN,
                     .look.top = INT64_MIN,
                     .before.top = INT64_MIN};
}

void sightings_free(Sightings *s)
{
    rows_free(s->rows, s->count);
    if (s->reading != NULL) {
        rows_free(s->reading->rows, s->reading->count);
        free(s->reading);
    }
    sightings_init(s);
}

static bool text_equal(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool row_is(const Sighting *row, int64_t seq, Slice event_id)
{
    return row->seq == seq && !row->id_too_long && slice_equal(slice_of(row->event_id), event_id);
}

static bool row_same(const Sighting *a, const Sighting *b)
{
    return a->seq == b->seq && a->id_too_long == b->id_too_long &&
           text_equal(a->event_id, b->event_id);
}

/* The first row with this number or a higher one. */
static size_t rows_find(const Sighting *rows, size_t count, int64_t seq)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rows[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static Sighting *sightings_find(const Sightings *s, int64_t seq, Slice event_id)
{
    for (size_t i = rows_find(s->rows, s->count, seq); i < s->count && s->rows[i].seq == seq; i++) {
        if (row_is(&s->rows[i], seq, event_id)) {
            return &s->rows[i];
        }
    }
    return NULL;
}

/* Reading a look. */

static Reading *sightings_reading(Sightings *s)
{
    if (s->reading == NULL) {
        s->reading = x_calloc(1, sizeof(*s->reading));
        s->reading->rows = x_malloc(SIGHTINGS_MAX * sizeof(Sighting));
        s->reading->page_last = INT64_MIN;
    }
    return s->reading;
}

static bool reading_has(const Reading *reading, const Sighting *row)
{
    for (size_t i = reading->count; i > 0 && reading->rows[i - 1].seq == row->seq; i--) {
        if (row_same(&reading->rows[i - 1], row)) {
            reading->rows[i - 1].oldest |= row->oldest;
            return true;
        }
    }
    return false;
}

void sightings_add(Sightings *s, const SightedRow *row)
{
    Reading *reading = sightings_reading(s);
    reading->oldest_count += row->part == 'o';
    if (row->part == 'p' && row->seq > reading->page_last) {
        reading->page_last = row->seq;
    }
    Sighting fresh = {.seq = row->seq,
                      .event_id = (char *)row->event_id,
                      .id_too_long = row->id_too_long,
                      .oldest = row->part == 'o'};
    if (reading->count == SIGHTINGS_MAX || reading_has(reading, &fresh)) {
        return;
    }
    fresh.event_id = row->event_id != NULL ? x_strdup(row->event_id) : NULL;
    fresh.event_type = x_strdup(row->event_type);
    fresh.aggregate_id = x_strdup(row->aggregate_id);
    fresh.occurred_at_us = row->occurred_at_us;
    fresh.since_us = row->age_us; /* until sightings_end() */
    reading->rows[reading->count++] = fresh;
}

/* The last look that would have shown a row of this number and was not the one that did; 0: none.
 * `last` is that look, `before` the one before it. */
static int64_t proof_us(int64_t complete_us, const Look *before, int64_t seq)
{
    bool above = before->sent_us > 0 && seq > before->top;
    return above && before->sent_us > complete_us ? before->sent_us : complete_us;
}

/* A row that is seen for the first time. */
static void row_begin(Sighting *row, const Look *look, int64_t proof)
{
    int64_t age_us = row->since_us;
    row->first_us = look->sent_us;
    row->first_lsn = look->insert_lsn;
    bool told = age_us != SIGHTINGS_NO_AGE && age_us >= 0;
    int64_t since_us = told ? look->sent_us - age_us : proof > 0 ? proof : look->sent_us;
    row->since_us = since_us > proof || proof == 0 ? since_us : proof;
}

static void row_go_on(Sighting *row, Sighting *old, const Look *look)
{
    bool looked = old->first_us > 0; /* else the relay told us of it, and this look is the first */
    row->since_us = old->since_us;
    row->first_us = looked ? old->first_us : look->sent_us;
    row->first_lsn = looked ? old->first_lsn : look->insert_lsn;
    row->stands = true;
    row->published = old->published;
    row->unknown_us = old->unknown_us;
    row->asked_us = old->asked_us;
    row->unseen = old->unseen;
    row->said = old->said;
    old->unseen = false; /* what is left of these is over */
}

/* The next page, after this one was looked at twice. */
static void sightings_turn(Sightings *s, const Reading *reading)
{
    bool rest = reading->oldest_count >= SIGHTINGS_OLDEST;
    if (!rest) {
        s->page_after = INT64_MIN;
        return;
    }
    int64_t last = INT64_MIN;
    for (size_t i = 0; i < s->count; i++) {
        last = s->rows[i].oldest ? s->rows[i].seq : last;
    }
    if (s->page_after == INT64_MIN || (s->page_seen && reading->page_last == INT64_MIN)) {
        s->page_after = last; /* from the beginning */
        s->page_seen = false;
    } else if (!s->page_seen) {
        s->page_seen = true;
    } else {
        s->page_after = reading->page_last > last ? reading->page_last : last;
        s->page_seen = false;
    }
}

static void sightings_set_range(Sightings *s)
{
    s->low = INT64_MAX;
    s->high = INT64_MIN;
    for (size_t i = 0; i < s->count; i++) {
        const Sighting *row = &s->rows[i];
        if (row->oldest || row->unknown_us > 0) {
            s->low = row->seq < s->low ? row->seq : s->low;
            s->high = row->seq > s->high ? row->seq : s->high;
        }
    }
}

void sightings_end(Sightings *s, const Look *look)
{
    Reading *reading = sightings_reading(s);
    Sighting *old = s->rows;
    size_t old_count = s->count;
    s->before = s->look;
    s->look = *look;
    s->look.complete = reading->oldest_count < SIGHTINGS_OLDEST;
    for (size_t i = 0; i < reading->count; i++) {
        Sighting *row = &reading->rows[i];
        size_t at = rows_find(old, old_count, row->seq);
        while (at < old_count && old[at].seq == row->seq && !row_same(&old[at], row)) {
            at++;
        }
        if (at < old_count && old[at].seq == row->seq) {
            row_go_on(row, &old[at], look);
        } else {
            row_begin(row, look, proof_us(s->complete_us, &s->before, row->seq));
        }
    }
    s->rows = reading->rows;
    s->count = reading->count;
    s->reading = NULL;
    if (s->look.complete) {
        s->complete_us = look->sent_us;
    }
    sightings_turn(s, reading);
    sightings_set_range(s);
    free(reading);
    for (size_t i = 0; i < old_count; i++) {
        s->gone += old[i].unseen;
    }
    rows_free(old, old_count);
}

void sightings_settled(Sightings *s, int64_t seq, Slice event_id)
{
    Sighting *row = sightings_find(s, seq, event_id);
    if (row != NULL) {
        row->published = true;
        row->unknown_us = 0; /* if the table goes on to show it, it counts anew */
        row->asked_us = 0;
    }
}

void sightings_waits(Sightings *s, const SightedRow *row, int64_t since_us)
{
    const Sighting *oldest = sightings_oldest(s, true);
    Sighting *known = sightings_find(s, row->seq, slice_of(row->event_id));
    if (known != NULL) {
        known->published = false;
        return;
    }
    if (s->count == SIGHTINGS_MAX || (oldest != NULL && oldest->since_us <= since_us)) {
        return;
    }
    if (s->rows == NULL) {
        s->rows = x_malloc(SIGHTINGS_MAX * sizeof(*s->rows));
    }
    size_t at = rows_find(s->rows, s->count, row->seq);
    memmove(s->rows + at + 1, s->rows + at, (s->count - at) * sizeof(*s->rows));
    s->rows[at] = (Sighting){.seq = row->seq,
                             .event_id = row->event_id != NULL ? x_strdup(row->event_id) : NULL,
                             .event_type = x_strdup(row->event_type),
                             .aggregate_id = x_strdup(row->aggregate_id),
                             .occurred_at_us = row->occurred_at_us,
                             .since_us = since_us,
                             .oldest = true,
                             .stands = true};
    s->count++;
    sightings_set_range(s);
}

/* Ages. */

int64_t sightings_since(const Sightings *s, int64_t seq, Slice event_id, int64_t occurred_at_us,
                        int64_t arrived_us)
{
    const Sighting *row = sightings_find(s, seq, event_id);
    if (row != NULL) {
        return row->since_us < arrived_us ? row->since_us : arrived_us;
    }
    int64_t ahead_us = s->look.sent_us > 0 ? s->look.server_us - s->look.sent_us
                                           : clock_wall_us() - clock_monotonic_us();
    int64_t since_us = arrived_us;
    if (occurred_at_us != EVENT_NO_TIME && occurred_at_us < arrived_us + ahead_us) {
        since_us = occurred_at_us - ahead_us;
    }
    /* The last look did not list it: either it came later, or there were too many rows. */
    bool above = s->look.sent_us > 0 && seq > s->look.top;
    int64_t proof = above ? s->look.sent_us : proof_us(s->complete_us, &s->before, seq);
    since_us = since_us > proof ? since_us : proof;
    return since_us < arrived_us ? since_us : arrived_us;
}

Sighting *sightings_oldest(const Sightings *s, bool quiet)
{
    Sighting *oldest = NULL;
    for (size_t i = 0; i < s->count; i++) {
        Sighting *row = &s->rows[i];
        bool counts = !row->published && (row->stands || quiet);
        if (counts && (oldest == NULL || row->since_us < oldest->since_us)) {
            oldest = row;
        }
    }
    return oldest;
}

/* What nobody knows. */

static void row_known(Sighting *row, Judgement *judgement)
{
    judgement->over += row->unseen;
    row->unseen = row->said = false;
    row->unknown_us = 0;
    row->asked_us = 0;
}

static void row_unknown(Sighting *row, const Judge *judge, int64_t now_us, Judgement *judgement)
{
    if (judgement->unknown++ == 0) {
        judgement->first_unknown = row->seq;
    }
    if (row->unknown_us == 0) {
        row->unknown_us = now_us;
    }
    bool asked_before = row->asked_us > 0; /* an answer had the time between two looks */
    bool again = !asked_before || now_us - row->asked_us >= judge->ask_after_us;
    if (judge->look_again != NULL && now_us - row->unknown_us >= judge->ask_after_us && again) {
        judgement->asked += row->asked_us == 0;
        row->asked_us = now_us;
        judge->look_again(judge->arg, row->seq);
    }
    if (!row->unseen && now_us - row->unknown_us >= judge->unseen_after_us &&
        (judge->look_again == NULL || asked_before)) {
        row->unseen = true;
        judgement->found++;
    }
}

void sightings_judge(Sightings *s, const Judge *judge, int64_t now_us, Judgement *ret)
{
    *ret = (Judgement){.over = s->gone};
    s->gone = 0;
    for (size_t i = 0; i < s->count; i++) {
        Sighting *row = &s->rows[i];
        if (judge == NULL) {
            row->unknown_us = row->unseen ? row->unknown_us : 0;
        } else if (row->stands && !row->id_too_long) {
            SourceSight sight = judge->sight(judge->arg, row);
            row->checked = true;
            row->published |= sight == SIGHT_PUBLISHED;
            ret->behind += sight == SIGHT_BEHIND;
            if (sight == SIGHT_UNKNOWN) {
                row_unknown(row, judge, now_us, ret);
            } else {
                row_known(row, ret);
            }
        } else {
            ret->unjudged++;
        }
        ret->unseen += row->unseen;
    }
    sightings_set_range(s);
}

void sightings_excuse(Sightings *s)
{
    s->gone = 0;
    for (size_t i = 0; i < s->count; i++) {
        s->rows[i].unseen = s->rows[i].said = false;
        s->rows[i].unknown_us = 0;
        s->rows[i].asked_us = 0;
    }
}

bool sightings_doubt(const Sightings *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->rows[i].unknown_us > 0) {
            return true;
        }
    }
    return false;
}
