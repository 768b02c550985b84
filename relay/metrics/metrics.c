/* Families sorted by name, in each the series sorted by their label text: exposition is one walk,
 * and the same state always gives the same bytes. Look-ups are binary searches and happen when a
 * series is first needed, never per event.
 *
 * Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4). */
#include "metrics/metrics.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/memory.h"
#include "base/utf8.h"

enum { LABELS_MAX = 8, COLLECTORS_MAX = 64 };

typedef enum MetricType {
    METRIC_COUNTER,
    METRIC_COUNTER_SECONDS,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
} MetricType;

static const char *const TYPE_NAMES[] = {"counter", "counter", "gauge", "histogram"};

typedef struct Series {
    char *labels; /* `pipeline="orders",topic="x"`, escaped; "" without labels */
    union {
        uint64_t counter;
        double real;
        Histogram histogram;
    } value;
} Series;

typedef struct Family {
    char *name;
    char *help;
    MetricType type;
    Series **series;
    size_t count;
} Family;

/* Memory of whoever asked for it; what is asked for follows. */
typedef struct Kept {
    SLIST_ENTRY(Kept) link;
    max_align_t memory[];
} Kept;

struct Metrics {
    Family **families;
    size_t count;
    struct {
        void (*collect)(void *arg);
        void *arg;
    } collectors[COLLECTORS_MAX];
    size_t collector_count;
    SLIST_HEAD(, Kept) kept;
};

typedef struct Label {
    const char *name;
    const char *value;
} Label;

static bool metrics_name_valid(const char *name, bool colons)
{
    if (*name == '\0' || isdigit((unsigned char)*name)) {
        return false;
    }
    for (const char *c = name; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '_' && !(colons && *c == ':')) {
            return false;
        }
    }
    return true;
}

/* quotes: a label value, where a quote is escaped too. */
static void metrics_add_escaped(Text *out, const char *value, bool quotes)
{
    size_t length = strlen(value);
    for (size_t i = 0; i < length;) {
        size_t bytes = utf8_sequence(value + i, length - i);
        if (bytes == 0) {
            text_add(out, "\xEF\xBF\xBD"); /* the format is UTF-8 */
            i++;
            continue;
        }
        if (value[i] == '\n') {
            text_add(out, "\\n");
        } else if (value[i] == '\\' || (quotes && value[i] == '"')) {
            text_add_char(out, '\\');
            text_add_char(out, value[i]);
        } else {
            text_append(out, value + i, bytes);
        }
        i += bytes;
    }
}

static int label_compare(const void *a, const void *b)
{
    return strcmp(((const Label *)a)->name, ((const Label *)b)->name);
}

static size_t metrics_read_labels(va_list args, Label *labels)
{
    size_t count = 0;
    for (;;) {
        // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): the callers started it
        const char *name = va_arg(args, const char *);
        if (name == NULL) {
            break;
        }
        assert(count < LABELS_MAX);
        assert(metrics_name_valid(name, false) && strncmp(name, "__", 2) != 0 &&
               strcmp(name, "le") != 0);
        labels[count].name = name;
        labels[count].value = va_arg(args, const char *);
        assert(labels[count].value != NULL);
        count++;
    }
    qsort(labels, count, sizeof(labels[0]), label_compare);
    return count;
}

/* overflow: every value becomes "other". */
static void metrics_label_text(const Label *labels, size_t count, bool overflow, Text *out)
{
    for (size_t i = 0; i < count; i++) {
        text_printf(out, "%s%s=\"", i > 0 ? "," : "", labels[i].name);
        metrics_add_escaped(out, overflow ? "other" : labels[i].value, true);
        text_add_char(out, '"');
    }
}

/* Index of the key in a sorted array of pointers to structs that begin with a char *; *ret_found
 * says whether it is there, else the index is where it belongs. */
static size_t metrics_search(void *const *items, size_t count, const char *key, bool *ret_found)
{
    size_t low = 0;
    size_t high = count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = NULL;
        memcpy(&other, items[middle], sizeof(other));
        int order = strcmp(key, other);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void *metrics_insert(void *items, size_t *count, size_t index, void *item)
{
    void **array = x_realloc(items, (*count + 1) * sizeof(void *));
    memmove(array + index + 1, array + index, (*count - index) * sizeof(void *));
    array[index] = item;
    (*count)++;
    return array;
}

static Family *metrics_family(Metrics *metrics, const char *name, const char *help, MetricType type)
{
    bool found = false;
    size_t index = metrics_search((void *const *)metrics->families, metrics->count, name, &found);
    if (found) {
        assert(metrics->families[index]->type == type);
        return metrics->families[index];
    }
    assert(metrics_name_valid(name, true));
    Family *family = x_calloc(1, sizeof(*family));
    family->name = x_strdup(name);
    family->help = x_strdup(help);
    family->type = type;
    metrics->families = metrics_insert(metrics->families, &metrics->count, index, family);
    return family;
}

static Series *metrics_series(Metrics *metrics, const char *name, const char *help, MetricType type,
                              va_list args)
{
    Label labels[LABELS_MAX];
    size_t label_count = metrics_read_labels(args, labels);
    AUTO_BUFFER text = TEXT_EMPTY;
    metrics_label_text(labels, label_count, false, &text);

    Family *family = metrics_family(metrics, name, help, type);
    bool found = false;
    size_t index =
        metrics_search((void *const *)family->series, family->count, text_string(&text), &found);
    if (!found && family->count >= METRICS_SERIES_MAX) {
        text_clear(&text);
        metrics_label_text(labels, label_count, true, &text);
        index = metrics_search((void *const *)family->series, family->count, text_string(&text),
                               &found);
    }
    if (!found) {
        Series *series = x_calloc(1, sizeof(*series));
        series->labels = x_strdup(text_string(&text));
        family->series = metrics_insert(family->series, &family->count, index, series);
    }
    return family->series[index];
}

/* The four constructors differ in the type and in the member they hand out. */
#define METRICS_SERIES(type)                                                                       \
    va_list args;                                                                                  \
    va_start(args, help);                                                                          \
    Series *series = metrics_series(metrics, name, help, type, args);                              \
    va_end(args)

uint64_t *metrics_counter(Metrics *metrics, const char *name, const char *help, ...)
{
    METRICS_SERIES(METRIC_COUNTER);
    return &series->value.counter;
}

double *metrics_counter_seconds(Metrics *metrics, const char *name, const char *help, ...)
{
    METRICS_SERIES(METRIC_COUNTER_SECONDS);
    return &series->value.real;
}

double *metrics_gauge(Metrics *metrics, const char *name, const char *help, ...)
{
    METRICS_SERIES(METRIC_GAUGE);
    return &series->value.real;
}

Histogram *metrics_histogram(Metrics *metrics, const char *name, const char *help, ...)
{
    METRICS_SERIES(METRIC_HISTOGRAM);
    return &series->value.histogram;
}

static void family_remove(Family *family, size_t at)
{
    free(family->series[at]->labels);
    free(family->series[at]);
    family->count--;
    memmove(&family->series[at], &family->series[at + 1], (family->count - at) * sizeof(Series *));
}

void metrics_remove(Metrics *metrics, const char *name, ...)
{
    Label labels[LABELS_MAX];
    va_list args;
    va_start(args, name);
    size_t label_count = metrics_read_labels(args, labels);
    va_end(args);
    bool found = false;
    size_t at = metrics_search((void *const *)metrics->families, metrics->count, name, &found);
    if (!found) {
        return;
    }
    Family *family = metrics->families[at];
    AUTO_BUFFER text = TEXT_EMPTY;
    metrics_label_text(labels, label_count, false, &text);
    at = metrics_search((void *const *)family->series, family->count, text_string(&text), &found);
    if (found) {
        family_remove(family, at);
    }
}

/* Values are escaped: a '"' in the text of labels ends one. */
static bool labels_have(const char *labels, const char *label)
{
    size_t length = strlen(label);
    for (const char *at = labels; (at = strstr(at, label)) != NULL; at += length) {
        if ((at == labels || at[-1] == ',') && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

void metrics_remove_labelled(Metrics *metrics, const char *label, const char *value)
{
    Label labels[1] = {{.name = label, .value = value}};
    AUTO_BUFFER text = TEXT_EMPTY;
    metrics_label_text(labels, 1, false, &text);
    for (size_t i = 0; i < metrics->count; i++) {
        Family *family = metrics->families[i];
        for (size_t j = family->count; j > 0; j--) {
            if (labels_have(family->series[j - 1]->labels, text_string(&text))) {
                family_remove(family, j - 1);
            }
        }
    }
}

void metrics_on_collect(Metrics *metrics, void (*collect)(void *arg), void *arg)
{
    assert(metrics->collector_count < COLLECTORS_MAX);
    metrics->collectors[metrics->collector_count].collect = collect;
    metrics->collectors[metrics->collector_count].arg = arg;
    metrics->collector_count++;
}

static void metrics_add_real(Text *out, double value)
{
    if (isinf(value)) {
        text_add(out, value > 0 ? "+Inf" : "-Inf");
        return;
    }
    char digits[32];
    (void)snprintf(digits, sizeof(digits), "%.15g", value);
    if (strtod(digits, NULL) != value) {
        (void)snprintf(digits, sizeof(digits), "%.17g",
                       value); /* shortest text that reads back equal */
    }
    text_add(out, digits);
}

static void metrics_add_name(Text *out, const char *name, const char *suffix, const char *labels)
{
    text_printf(out, "%s%s", name, suffix);
    if (labels[0] != '\0') {
        text_printf(out, "{%s}", labels);
    }
    text_add_char(out, ' ');
}

static void metrics_add_histogram(Text *out, const char *name, const char *labels,
                                  const Histogram *histogram)
{
    uint64_t cumulated = 0;
    const char *comma = labels[0] != '\0' ? "," : "";
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        cumulated += histogram->counts[i];
        text_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", name, labels, comma,
                    histogram_bound_text(i), cumulated);
    }
    text_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma,
                histogram->total);
    metrics_add_name(out, name, "_sum", labels);
    text_printf(out, "%" PRIu64 ".%06u\n", (uint64_t)(histogram->sum_us / 1000000),
                (unsigned)(histogram->sum_us % 1000000));
    metrics_add_name(out, name, "_count", labels);
    text_printf(out, "%" PRIu64 "\n", histogram->total);
}

static bool metrics_hidden(const Family *family, const Series *series)
{
    return (family->type == METRIC_GAUGE || family->type == METRIC_COUNTER_SECONDS) &&
           isnan(series->value.real);
}

static void metrics_expose_family(const Family *family, Text *out)
{
    bool headed = false;
    for (size_t i = 0; i < family->count; i++) {
        const Series *series = family->series[i];
        if (metrics_hidden(family, series)) {
            continue;
        }
        if (!headed) {
            text_printf(out, "# HELP %s ", family->name);
            metrics_add_escaped(out, family->help, false);
            text_printf(out, "\n# TYPE %s %s\n", family->name, TYPE_NAMES[family->type]);
            headed = true;
        }
        if (family->type == METRIC_HISTOGRAM) {
            metrics_add_histogram(out, family->name, series->labels, &series->value.histogram);
            continue;
        }
        metrics_add_name(out, family->name, "", series->labels);
        if (family->type == METRIC_COUNTER) {
            text_printf(out, "%" PRIu64, series->value.counter);
        } else {
            metrics_add_real(out, series->value.real);
        }
        text_add_char(out, '\n');
    }
}

void metrics_expose(Metrics *metrics, Text *out)
{
    for (size_t i = 0; i < metrics->collector_count; i++) {
        metrics->collectors[i].collect(metrics->collectors[i].arg);
    }
    for (size_t i = 0; i < metrics->count; i++) {
        metrics_expose_family(metrics->families[i], out);
    }
}

Metrics *metrics_new(void)
{
    Metrics *metrics = x_calloc(1, sizeof(*metrics));
    SLIST_INIT(&metrics->kept);
    return metrics;
}

void *metrics_keep(Metrics *metrics, size_t bytes)
{
    Kept *kept = x_calloc(1, sizeof(*kept) + bytes);
    SLIST_INSERT_HEAD(&metrics->kept, kept, link);
    return kept->memory;
}

void metrics_free(Metrics **metrics)
{
    Metrics *old = *metrics;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->count; i++) {
        Family *family = old->families[i];
        for (size_t s = 0; s < family->count; s++) {
            free(family->series[s]->labels);
            free(family->series[s]);
        }
        free(family->series);
        free(family->name);
        free(family->help);
        free(family);
    }
    free(old->families);
    while (!SLIST_EMPTY(&old->kept)) {
        Kept *kept = SLIST_FIRST(&old->kept);
        SLIST_REMOVE_HEAD(&old->kept, link);
        free(kept);
    }
    free(old);
    *metrics = NULL;
}
