/* watch_trouble: whether, and how often, it is said that looks fail. */
#pragma once

#include "base/error.h"
#include "watch/watch.h"

typedef struct WatchTrouble WatchTrouble;

/** options must outlive it. */
WatchTrouble *watch_trouble_new(const WatchOptions *options);
void watch_trouble_free(WatchTrouble **trouble);

/** A look failed: says so, unless that was said, or the pipelines' own connections are away, too.
 */
void watch_trouble_say(WatchTrouble *trouble, const Error *err);
/** An open connection broke. Is that PostgreSQL, or ours alone? */
void watch_trouble_cut(WatchTrouble *trouble, const Error *err);
/** The next attempt is under way or over: by now the pipelines know of their own connections. */
void watch_trouble_say_cut(WatchTrouble *trouble);
/** A whole look succeeded. */
void watch_trouble_over(WatchTrouble *trouble);
