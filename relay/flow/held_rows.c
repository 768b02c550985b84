#include "flow/held_rows.h"

enum {
    LOOK_SECONDS = 2,
    TRY_MOST_SECONDS = 300, /* between two tries, and so much later for each event that waits: */
    TRY_ROW_US = 3000,
    TRY_DOUBLINGS_MAX = 14, /* in memory: each try encodes all that waits once more */
    TRIED_SECONDS = 10, /* so long after everything came again, one that did not is gone, where */
    TRIED_MOST_SECONDS = 60, /* ... no look can tell */
};

Hold *held_rows_find(const HeldRows *rows, const Event *event)
{
    for (Hold *hold = held_rows_are(rows) ? rows->parking->holds : NULL; hold != NULL;
         hold = hold->next) {
        if (parking_is_row(hold, event)) {
            return hold;
        }
    }
    return NULL;
}

bool held_rows_store(const HeldRows *rows, const Event *event)
{
    Hold *hold = held_rows_find(rows, event);
    if (hold != NULL && hold->row->trying && hold->row->letter) {
        rows->parking->trying--;
        hold->row->trying = false;
        hold->row->storing = true;
    }
    return hold != NULL && hold->row->storing;
}

void held_rows_not_stored(const HeldRows *rows, const Event *event)
{
    Hold *hold = held_rows_find(rows, event);
    if (hold != NULL && hold->row->storing) {
        hold->row->storing = false;
        hold->row->trying = true;
        rows->parking->trying++;
    }
}

/* Nothing is in the way any more: what is behind the row comes, if it is not on its way already. */
static unsigned row_mended(const HeldRows *rows, Hold *hold)
{
    bool in_memory = hold->in_memory > 0;
    if (hold->parked > 0) {
        (void)parking_release(rows->parking, hold->topic);
        return AGAIN_FROM_ROWS;
    }
    parking_end_row(rows->parking, hold);
    return in_memory ? AGAIN_FROM_MEMORY : AGAIN_NOTHING;
}

unsigned held_rows_done(const HeldRows *rows, const Event *event, const Topic *type)
{
    unsigned again = AGAIN_NOTHING;
    Hold *own = held_rows_find(rows, event);
    if (own != NULL && (own->row->trying || own->row->storing)) {
        again |= row_mended(rows, own);
    }
    /* One behind it is published, so it is not there any more. */
    const Topic *topics[] = {type, event->topic};
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]) && rows->parking->trying > 0; i++) {
        Hold *hold = topics[i] != NULL ? topics[i]->hold : NULL;
        if (hold != NULL && hold->kind == HOLD_ROW && hold->row->trying && !hold->row->sent &&
            !hold->row->letter && event->seq > hold->row->seq) {
            again |= row_mended(rows, hold);
        }
    }
    return again;
}

unsigned held_rows_moved(const HeldRows *rows, const Event *event, const Topic *topic)
{
    Hold *own = rows->parking->trying > 0 ? held_rows_find(rows, event) : NULL;
    bool moved = own != NULL && own->topic != topic && own->row->trying;
    return moved ? row_mended(rows, own) : AGAIN_NOTHING;
}

unsigned held_rows_try(const HeldRows *rows, Hold *hold)
{
    if (hold->row->trying || hold->row->storing) {
        return AGAIN_NOTHING;
    }
    if (hold->parked > 0) {
        return AGAIN_FROM_ROWS;
    }
    parking_try_row(rows->parking, hold);
    return AGAIN_FROM_MEMORY;
}

/* It came again already, and is on its way. */
static bool row_is_here(const HeldRows *rows, const Hold *hold)
{
    for (const Batch *batch = rows->window->acker.oldest; batch != NULL; batch = batch->newer) {
        for (size_t i = 0; i < batch->count; i++) {
            if (!event_is_settled(batch->events[i]) && parking_is_row(hold, batch->events[i])) {
                return true;
            }
        }
    }
    return false;
}

static unsigned row_look(const HeldRows *rows, Hold *hold, uint64_t look)
{
    if (hold->row->trying) {
        bool gone = look == SOURCE_ROW_GONE;
        bool before = hold->row->gone; /* a fetch that waited for a lock has an older snapshot */
        hold->row->gone = gone;
        bool over = gone && before && !row_is_here(rows, hold);
        return over ? row_mended(rows, hold) : AGAIN_NOTHING;
    }
    bool changed = hold->row->look != 0 && hold->row->look != look;
    hold->row->look = look;
    return changed ? held_rows_try(rows, hold) : AGAIN_NOTHING;
}

unsigned held_rows_look(const HeldRows *rows, EventRow row, uint64_t look)
{
    unsigned again = AGAIN_NOTHING;
    for (Hold *hold = rows->parking->holds, *next; hold != NULL; hold = next) {
        next = hold->next;
        if (hold->kind == HOLD_ROW && hold->row->in_row && hold->row->seq == row.seq &&
            hold->row->id == row.id) {
            again |= row_look(rows, hold, look);
        }
    }
    return again;
}

static bool row_is_looked_at(const Hold *hold)
{
    return hold->kind == HOLD_ROW && hold->row->in_row && !hold->over;
}

/* The rows whose turn it is: in their order, as many as are looked at at once. */
static size_t choose_rows(HeldRows *rows, Hold *ret_holds[SOURCE_LOOKS_MAX])
{
    size_t count = 0;
    size_t all = 0;
    for (Hold *hold = rows->parking->holds; hold != NULL; hold = hold->next) {
        if (row_is_looked_at(hold) && all++ >= rows->look_from && count < SOURCE_LOOKS_MAX) {
            ret_holds[count++] = hold;
        }
    }
    rows->look_from = rows->look_from + count < all ? rows->look_from + count : 0;
    return count;
}

static void look_at_rows(HeldRows *rows, int64_t now_us)
{
    Source *source = rows->source;
    if (now_us < rows->look_us) {
        return;
    }
    Hold *holds[SOURCE_LOOKS_MAX];
    EventRow looked_at[SOURCE_LOOKS_MAX];
    size_t count = choose_rows(rows, holds);
    for (size_t i = 0; i < count; i++) {
        looked_at[i] = (EventRow){.seq = holds[i]->row->seq, .id = holds[i]->row->id};
    }
    rows->look_us = now_us + LOOK_SECONDS * INT64_C(1000000);
    bool told = count > 0 && source->ops->look_at_rows != NULL &&
                source->ops->look_at_rows(source, looked_at, count);
    for (size_t i = 0; i < count; i++) {
        holds[i]->row->untold = !told;
    }
}

static int64_t row_try_us(const Hold *hold)
{
    unsigned tries = hold->row->tries < TRY_DOUBLINGS_MAX ? hold->row->tries : TRY_DOUBLINGS_MAX;
    int64_t later_s = PARKING_TRY_SECONDS * ((INT64_C(1) << tries) - 1);
    if (hold->in_memory == 0 && later_s > TRY_MOST_SECONDS) {
        later_s = TRY_MOST_SECONDS;
    }
    return hold->row->try_us + later_s * 1000000 + (int64_t)hold->parked * TRY_ROW_US;
}

/* All that waited came again, and the event did not. Where a look can tell, it does. */
static bool row_is_gone(const HeldRows *rows, const Hold *hold, int64_t now_us)
{
    bool by_time = !hold->row->in_row || hold->row->untold;
    int64_t seconds = rows->window->acker.events == 0 ? TRIED_SECONDS : TRIED_MOST_SECONDS;
    return by_time && hold->row->trying && now_us >= hold->row->trying_us + seconds * 1000000;
}

unsigned held_rows_watch(HeldRows *rows, int64_t now_us)
{
    unsigned again = AGAIN_NOTHING;
    look_at_rows(rows, now_us);
    for (Hold *hold = rows->parking->holds, *next; hold != NULL; hold = next) {
        next = hold->next;
        if (hold->kind != HOLD_ROW || hold->over) {
            continue;
        }
        if (row_is_gone(rows, hold, now_us)) {
            again |= row_mended(rows, hold);
        } else if (!hold->row->trying && now_us >= row_try_us(hold)) {
            again |= held_rows_try(rows, hold);
        }
    }
    return again;
}
