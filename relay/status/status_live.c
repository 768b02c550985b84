#include "status/status_live.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "command/screen.h"

enum { LIVE_AROUND = 32 }; /* characters of a line beside its bars, at most */

static void series_add(LiveSeries *series, double value)
{
    series->values[series->next] = value;
    series->next = (series->next + 1) % LIVE_LOOKS;
    series->count += series->count < LIVE_LOOKS;
}

static double series_at(const LiveSeries *series, size_t index)
{
    return series->values[(series->next + LIVE_LOOKS - series->count + index) % LIVE_LOOKS];
}

/* 0 when nothing is known. */
static double series_most(const LiveSeries *series)
{
    double most = 0;
    for (size_t i = 0; i < series->count; i++) {
        double value = series_at(series, i);
        most = value > most ? value : most; /* never NAN */
    }
    return most;
}

static LivePipeline *live_find(Live *live, const char *name)
{
    for (size_t i = 0; i < live->count; i++) {
        if (strcmp(live->pipelines[i].name, name) == 0) {
            return &live->pipelines[i];
        }
    }
    live->pipelines = x_realloc(live->pipelines, (live->count + 1) * sizeof(live->pipelines[0]));
    LivePipeline *added = &live->pipelines[live->count++];
    *added = (LivePipeline){.name = x_strdup(name)};
    return added;
}

static double live_number(const json_t *pipeline, const char *key)
{
    const json_t *value = json_object_get(pipeline, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void live_note(Live *live, const json_t *status)
{
    size_t index = 0;
    const json_t *pipeline = NULL;
    for (size_t i = 0; i < live->count; i++) {
        live->pipelines[i].seen = false;
    }
    json_array_foreach(json_object_get(status, "pipelines"), index, pipeline)
    {
        const char *name = json_string_value(json_object_get(pipeline, "name"));
        LivePipeline *found = live_find(live, name != NULL ? name : "");
        found->seen = true;
        series_add(&found->lag, live_number(pipeline, "lag_seconds"));
        series_add(&found->rate, live_number(pipeline, "events_per_second"));
    }
    for (size_t i = 0; i < live->count; i++) {
        if (!live->pipelines[i].seen) {
            series_add(&live->pipelines[i].lag, NAN);
            series_add(&live->pipelines[i].rate, NAN);
        }
    }
}

void live_add_sparkline(const LiveSeries *series, size_t looks, Text *out)
{
    static const char *const BARS[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    enum { BAR_COUNT = sizeof(BARS) / sizeof(BARS[0]) };
    double most = series_most(series);
    for (size_t i = series->count > looks ? series->count - looks : 0; i < series->count; i++) {
        double value = series_at(series, i);
        if (isnan(value)) {
            text_add_char(out, ' ');
            continue;
        }
        double share = most > 0 && value > 0 ? value / most : 0;
        text_add(out, BARS[(size_t)(share * (BAR_COUNT - 1) + 0.5)]);
    }
}

static void live_add_series(const LiveSeries *series, const char *what, size_t looks, Text *out)
{
    text_printf(out, "  %-11s", what);
    live_add_sparkline(series, looks, out);
    for (size_t i = series->count; i < looks; i++) {
        text_add_char(out, ' ');
    }
    text_add(out, "  most ");
}

void live_add_screen(const Live *live, bool colours, size_t columns, Text *out)
{
    bool fits = columns == 0 || columns >= LIVE_LOOKS + LIVE_AROUND;
    size_t looks = fits ? LIVE_LOOKS : columns > LIVE_AROUND ? columns - LIVE_AROUND : 0;
    for (size_t i = 0; i < live->count; i++) {
        const LivePipeline *pipeline = &live->pipelines[i];
        text_add_char(out, '\n');
        screen_add(out, colours, COLOUR_DIM, pipeline->name);
        text_add_char(out, '\n');
        live_add_series(&pipeline->lag, "lag", looks, out);
        screen_add_duration(out, series_most(&pipeline->lag));
        text_add_char(out, '\n');
        live_add_series(&pipeline->rate, "per second", looks, out);
        screen_add_count(out, screen_whole(series_most(&pipeline->rate)));
        text_add_char(out, '\n');
    }
}

void live_free(Live *live)
{
    for (size_t i = 0; i < live->count; i++) {
        free(live->pipelines[i].name);
    }
    free(live->pipelines);
    *live = (Live){0};
}
