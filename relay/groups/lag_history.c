#include "groups/lag_history.h"

#include <string.h>

int64_t lag_first(int64_t committed, int64_t low)
{
    return committed < low ? low : committed;
}

int64_t lag_events(int64_t committed, int64_t low, int64_t end)
{
    int64_t first = lag_first(committed, low);
    return end > first ? end - first : 0;
}

static void history_remove(LagHistory *history, size_t index)
{
    history->count--;
    memmove(&history->points[index], &history->points[index + 1],
            (history->count - index) * sizeof(history->points[0]));
}

/* The inner point whose neighbours are nearest to each other for their age; but not what was just
 * inserted, nor its neighbours, or a search would lose what it finds. */
static void history_thin(LagHistory *history, size_t inserted)
{
    const LagPoint *points = history->points;
    int64_t now_us = points[history->count - 1].until_us;
    size_t least = inserted > LAG_POINTS_MAX / 2 ? 1 : history->count - 2;
    double least_worth = -1;
    for (size_t i = 1; i + 1 < history->count; i++) {
        if (i + 1 >= inserted && i <= inserted + 1) {
            continue;
        }
        double gap = (double)(points[i + 1].from_us - points[i - 1].until_us);
        double age = (double)(now_us - points[i].until_us) + 1e6;
        if (least_worth < 0 || gap / age < least_worth) {
            least_worth = gap / age;
            least = i;
        }
    }
    history_remove(history, least);
}

static void history_insert(LagHistory *history, size_t index, int64_t time_us, int64_t offset)
{
    memmove(&history->points[index + 1], &history->points[index],
            (history->count - index) * sizeof(history->points[0]));
    history->points[index] = (LagPoint){.offset = offset, .from_us = time_us, .until_us = time_us};
    history->count++;
    if (history->count == LAG_POINTS_MAX) {
        history_thin(history, index); /* so there is always room for one */
    }
}

void lag_history_look(LagHistory *history, int64_t now_us, int64_t end)
{
    LagPoint *last = history->count > 0 ? &history->points[history->count - 1] : NULL;
    if (last != NULL && (end < last->offset || now_us < last->until_us)) {
        history->count = 0; /* made anew, or the clock was set back */
        last = NULL;
    }
    if (last != NULL && end == last->offset) {
        last->until_us = now_us;
    } else {
        history_insert(history, history->count, now_us, end);
    }
}

/* Index of the first point beyond that offset: its record had come by then. */
static size_t history_after(const LagHistory *history, int64_t offset)
{
    size_t index = 0;
    while (index < history->count && history->points[index].offset <= offset) {
        index++;
    }
    return index;
}

void lag_history_learn(LagHistory *history, int64_t time_us, int64_t offset)
{
    size_t next = 0; /* the first point that is later */
    while (next < history->count && history->points[next].until_us < time_us) {
        next++;
    }
    if (next == history->count || history->points[next].from_us <= time_us) {
        return; /* known better */
    }
    LagPoint *later = &history->points[next];
    LagPoint *earlier = next > 0 ? &history->points[next - 1] : NULL;
    if (offset >= later->offset) {
        later->from_us = time_us;
    } else if (earlier != NULL && offset <= earlier->offset) {
        earlier->until_us = time_us;
    } else {
        history_insert(history, next, time_us, offset);
    }
}

bool lag_history_bracket(const LagHistory *history, int64_t offset, LagBracket *ret_bracket)
{
    size_t after = history_after(history, offset);
    if (after == history->count) {
        return false;
    }
    const LagPoint *later = &history->points[after];
    *ret_bracket = (LagBracket){.after_us = INT64_MIN,
                                .before_us = later->from_us,
                                .first_offset = offset,
                                .end_offset = later->offset};
    if (after > 0) {
        ret_bracket->after_us = history->points[after - 1].until_us;
        ret_bracket->first_offset = history->points[after - 1].offset;
    }
    return true;
}

int64_t lag_bracket_time_us(const LagBracket *bracket, int64_t offset)
{
    double share = ((double)(offset - bracket->first_offset) + 0.5) /
                   (double)(bracket->end_offset - bracket->first_offset);
    return bracket->after_us + (int64_t)(share * (double)(bracket->before_us - bracket->after_us));
}
