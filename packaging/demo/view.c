/* view.c - see view.h. */
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "life.h"

enum {
    COLUMNS_DEFAULT = 160,
    COLUMNS_MIN = 60,
    BURST = 2, /* stories shown at once at the start: the first orders */
    PROGRESS_TERMINAL_US = 200000,
    PROGRESS_FILE_US = 10000000,
    UUID_TEXT_BYTES = 36,
    SHORT_ID_MAX = 16,
    PAYLOAD_INDENT = 16,
    PAYLOAD_MAX = 1024,
};

static int columns_now(bool terminal)
{
    struct winsize size;

    if (!terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        return COLUMNS_DEFAULT;
    }
    return size.ws_col < COLUMNS_MIN ? COLUMNS_MIN : size.ws_col;
}

void view_open(View *ret_view, int shown_per_minute)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

    *ret_view = (View){.shown_per_minute = shown_per_minute,
                       .allowance = shown_per_minute / 60 > BURST ? shown_per_minute / 60 : BURST,
                       .refilled_us = life_monotonic_us(),
                       .progressed_us = life_monotonic_us(),
                       .terminal = isatty(STDOUT_FILENO) == 1};
    if (term == NULL || strcmp(term, "dumb") == 0) {
        ret_view->terminal = false;
    }
    ret_view->colour = ret_view->terminal && (no_colour == NULL || no_colour[0] == '\0');
    ret_view->columns = columns_now(ret_view->terminal);
}

static bool followed(const View *view, const char *id)
{
    for (size_t i = 0; i < VIEW_FOLLOWED; i++) {
        if (id[0] != '\0' && strcmp(view->followed[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static bool looks_like_uuid(const char *id)
{
    return strlen(id) == UUID_TEXT_BYTES && id[8] == '-' && id[13] == '-';
}

/* Whoever has seen the cause shall see the effect, and nobody sees an effect alone; new stories
 * begin as the allowance permits. Causes that are events have a UUID, others (a cart) do not. */
static bool wanted(View *view, const Seen *seen)
{
    double most = view->shown_per_minute / 60 > BURST ? view->shown_per_minute / 60 : BURST;
    int64_t now_us = life_monotonic_us();

    view->allowance += (double)(now_us - view->refilled_us) * view->shown_per_minute / 60e6;
    view->refilled_us = now_us;
    if (view->allowance > most) {
        view->allowance = most;
    }
    if (followed(view, seen->causation)) {
        return true;
    }
    if (view->allowance < 1 || looks_like_uuid(seen->causation)) {
        return false;
    }
    view->allowance -= 1;
    return true;
}

/* "0192c3a4-…-9f1e" keeps its first and last four digits; other ids are shown whole. */
static const char *short_id(const char *id, char ret_text[SEEN_TEXT_MAX])
{
    if (!looks_like_uuid(id)) {
        snprintf(ret_text, SEEN_TEXT_MAX, "%s", id[0] != '\0' ? id : "-");
    } else {
        snprintf(ret_text, SHORT_ID_MAX, "%.4s\u2026%.4s", id, id + UUID_TEXT_BYTES - 4);
    }
    return ret_text;
}

/* printf pads by bytes: a width in columns needs as many more as the text has UTF-8 continuation
 * bytes. */
static int padded(int columns, const char *text)
{
    for (; *text != '\0'; text++) {
        columns += (*text & 0xc0) == 0x80;
    }
    return columns;
}

static void progress_clear(View *view)
{
    if (view->progress_shown) {
        fputs("\r\033[K", stdout);
    }
    view->progress_shown = false;
}

/* One payload on one line, cut to the width of the terminal. */
static void payload_print(const View *view, const Seen *seen)
{
    char text[PAYLOAD_MAX];
    int room = view->columns - PAYLOAD_INDENT;

    if (seen->payload == NULL) {
        printf("%*s(no payload: a tombstone)\n", PAYLOAD_INDENT, "");
        return;
    }
    size_t size = room < PAYLOAD_MAX ? (size_t)room : PAYLOAD_MAX;
    if (seen->payload_bytes < size) {
        seen_copy_printable(text, size, seen->payload, seen->payload_bytes);
        printf("%*s%s\n", PAYLOAD_INDENT, "", text);
    } else {
        seen_copy_printable(text, size - 1, seen->payload, seen->payload_bytes);
        printf("%*s%s\u2026\n", PAYLOAD_INDENT, "", text);
    }
}

static void event_print(const View *view, const Seen *seen)
{
    const char *bold = view->colour ? "\033[1m" : "", *dim = view->colour ? "\033[2m" : "";
    const char *green = view->colour ? "\033[32m" : "", *plain = view->colour ? "\033[0m" : "";
    char id[SEEN_TEXT_MAX], cause[SEEN_TEXT_MAX], lag[LAG_TEXT_MAX];

    short_id(seen->causation, cause);
    printf("%-15s %skey%s %-5s %s%-13s%s %sid%s %s   %scorrelation%s %-13s %scausation%s %-*s  "
           "%slag%s %s%s%s\n",
           seen->topic, dim, plain, seen->key, bold, seen->type, plain, dim, plain,
           short_id(seen->id, id), dim, plain, seen->correlation[0] ? seen->correlation : "-", dim,
           plain, padded(10, cause), cause, dim, plain, green,
           seen->has_time ? lag_text(seen->lag_us, lag) : "unknown", plain);
    fputs(dim, stdout);
    payload_print(view, seen);
    fputs(plain, stdout);
}

void view_event(View *view, const Seen *seen)
{
    if (!wanted(view, seen)) {
        if (!view->terminal && !view->gap_shown) {
            puts("...");
            fflush(stdout);
        }
        view->gap_shown = true;
        return;
    }
    progress_clear(view);
    view->gap_shown = false;
    event_print(view, seen);
    snprintf(view->followed[view->followed_next], SEEN_TEXT_MAX, "%s", seen->id);
    view->followed_next = (view->followed_next + 1) % VIEW_FOLLOWED;
    fflush(stdout);
}

void view_progress(View *view, const Lag *lag)
{
    int64_t now_us = life_monotonic_us();
    int64_t every_us = view->terminal ? PROGRESS_TERMINAL_US : PROGRESS_FILE_US;
    char p50[LAG_TEXT_MAX], p99[LAG_TEXT_MAX];

    if (now_us - view->progressed_us < every_us || lag->count == 0 ||
        (!view->terminal && lag->count == view->progress_count)) {
        return;
    }
    view->columns = columns_now(view->terminal);
    progress_clear(view);
    printf("  %llu events received, lag p50 %s, p99 %s%s", (unsigned long long)lag->count,
           lag_text(lag_percentile_us(lag, 50), p50), lag_text(lag_percentile_us(lag, 99), p99),
           view->terminal ? "" : "\n");
    fflush(stdout);
    view->progress_shown = view->terminal;
    view->progressed_us = now_us;
    view->progress_count = lag->count;
}

void view_close(View *view)
{
    progress_clear(view);
    fflush(stdout);
}
