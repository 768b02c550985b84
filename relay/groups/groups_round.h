/* groups_round: one round of looking at the consumer groups: asks Kafka, remembers what is needed
 * for the next round, and keeps one row for each group and topic.
 *
 * Blocks; runs in the helper process (groups_helper.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "token/token.h"

enum {
    GROUP_ROWS_MAX = 1000,
    GROUP_SAMPLES = 4,        /* successive rounds that a trend is made of */
    GROUP_KEPT_INTERVALS = 4, /* so long numbers are shown that could not be had again */
};

typedef struct GroupRow {
    char *group;
    char *topic;
    int64_t lag_events;
    double lag_seconds; /* since the oldest record not consumed came; 0: none; NAN: not known */
    bool committed;     /* false: the group has not committed anything yet */
    int64_t updated_us; /* monotonic */
    struct {
        int64_t at_us;
        int64_t events;
    } samples[GROUP_SAMPLES]; /* oldest first */
    size_t sample_count;
    bool seen; /* in this round */
} GroupRow;

/** Events per second by which the lag grows (negative: shrinks) over the last samples; NAN with
 * less than two. */
double group_row_change(const GroupRow *row);

/** True when the lag grew from each of the last GROUP_SAMPLES rounds to the next: the commits of a
 * healthy group make it go up and down. */
bool group_row_grows(const GroupRow *row);

typedef struct Round Round;

/* What the last round found. */
typedef struct RoundView {
    const GroupRow *rows;
    size_t count;
    size_t groups_left_out; /* matched, but beyond GROUPS_ASKED_MAX that consume our topics */
    const Error *error;     /* the first; class ERROR_NONE: the round is complete */
} RoundView;

/** config must outlive the round; connects in the first round_run(). */
Round *round_new(const Config *config);
void round_free(Round **round);

/** From here on it logs in with that token. */
void round_login(Round *round, const TokenValue *token);

/** Asks Kafka; blocks for some seconds at most. Topics add to those of earlier rounds, and so do
 * those that groups_learn.h finds by the patterns. */
void round_run(Round *round, const StringList *topics, const StringList *patterns);

void round_view(const Round *round, RoundView *ret_view);
