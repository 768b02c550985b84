#include "app/status_watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/screen.h"
#include "base/memory.h"

static void series_add(WatchSeries *series, double value)
{
    series->values[series->next] = value;
    series->next = (series->next + 1) % WATCH_LOOKS;
    series->count += series->count < WATCH_LOOKS;
}

static double series_at(const WatchSeries *series, size_t index)
{
    return series->values[(series->next + WATCH_LOOKS - series->count + index) % WATCH_LOOKS];
}

/* 0 when nothing is known. */
static double series_most(const WatchSeries *series)
{
    double most = 0;
    for (size_t i = 0; i < series->count; i++) {
        double value = series_at(series, i);
        most = value > most ? value : most; /* never NAN */
    }
    return most;
}

static WatchPipeline *watch_find(Watch *watch, const char *name)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (strcmp(watch->pipelines[i].name, name) == 0) {
            return &watch->pipelines[i];
        }
    }
    watch->pipelines =
        x_realloc(watch->pipelines, (watch->count + 1) * sizeof(watch->pipelines[0]));
    WatchPipeline *added = &watch->pipelines[watch->count++];
    *added = (WatchPipeline){.name = x_strdup(name)};
    return added;
}

static double watch_number(const json_t *pipeline, const char *key)
{
    const json_t *value = json_object_get(pipeline, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void watch_note(Watch *watch, const json_t *status)
{
    size_t index = 0;
    const json_t *pipeline = NULL;
    for (size_t i = 0; i < watch->count; i++) {
        watch->pipelines[i].seen = false;
    }
    json_array_foreach(json_object_get(status, "pipelines"), index, pipeline)
    {
        const char *name = json_string_value(json_object_get(pipeline, "name"));
        WatchPipeline *found = watch_find(watch, name != NULL ? name : "");
        found->seen = true;
        series_add(&found->lag, watch_number(pipeline, "lag_seconds"));
        series_add(&found->rate, watch_number(pipeline, "events_per_second"));
    }
    for (size_t i = 0; i < watch->count; i++) {
        if (!watch->pipelines[i].seen) {
            series_add(&watch->pipelines[i].lag, NAN);
            series_add(&watch->pipelines[i].rate, NAN);
        }
    }
}

void watch_add_sparkline(const WatchSeries *series, Text *out)
{
    static const char *const BARS[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    enum { BAR_COUNT = sizeof(BARS) / sizeof(BARS[0]) };
    double most = series_most(series);
    for (size_t i = 0; i < series->count; i++) {
        double value = series_at(series, i);
        if (isnan(value)) {
            text_add_char(out, ' ');
            continue;
        }
        double share = most > 0 && value > 0 ? value / most : 0;
        text_add(out, BARS[(size_t)(share * (BAR_COUNT - 1) + 0.5)]);
    }
}

static void watch_add_series(const WatchSeries *series, const char *what, Text *out)
{
    text_printf(out, "  %-11s", what);
    watch_add_sparkline(series, out);
    for (size_t i = series->count; i < WATCH_LOOKS; i++) {
        text_add_char(out, ' ');
    }
    text_add(out, "  most ");
}

void watch_add_screen(const Watch *watch, bool colours, Text *out)
{
    for (size_t i = 0; i < watch->count; i++) {
        const WatchPipeline *pipeline = &watch->pipelines[i];
        text_add_char(out, '\n');
        screen_add(out, colours, COLOUR_DIM, pipeline->name);
        text_add_char(out, '\n');
        watch_add_series(&pipeline->lag, "lag", out);
        screen_add_duration(out, series_most(&pipeline->lag));
        text_add_char(out, '\n');
        watch_add_series(&pipeline->rate, "per second", out);
        screen_add_count(out, (int64_t)(series_most(&pipeline->rate) + 0.5));
        text_add_char(out, '\n');
    }
}

void watch_free(Watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        free(watch->pipelines[i].name);
    }
    free(watch->pipelines);
    *watch = (Watch){0};
}
