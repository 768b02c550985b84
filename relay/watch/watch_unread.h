/* watch_unread: the series of slots that nobody reads (rows/unread.h). Loop thread. */
#pragma once

#include <libpq-fe.h>

#include "metrics/metrics.h"

typedef struct WatchUnread WatchUnread;

WatchUnread *watch_unread_new(Metrics *metrics);
void watch_unread_free(WatchUnread **unread);

/** An answer to unread_add_query(). */
void watch_unread_add(WatchUnread *unread, const PGresult *result);

/** They are not known any more. */
void watch_unread_forget(WatchUnread *unread);
