/* dead_letter_feed: a dead letter of hundreds of megabytes, sent a slice at a time.
 *
 * libpq copies the parameters of a statement into its buffer, which never shrinks again: the event
 * would stand in memory once more. What is large goes by COPY instead, from where it stands. */
#pragma once

#include "rows/dead_letter.h"

/* From so many bytes on that stand apart. Below, an INSERT says the same in one message. */
enum { DEAD_LETTER_FEED_BYTES = 4 * 1024 * 1024 };

typedef struct DeadLetterFeed DeadLetterFeed;

/** NULL: the letter, made by dead_letter_build, is not large. Copies what it needs of it, but
 * borrows the bytes of the event. table is the name as SQL. */
DeadLetterFeed *dead_letter_feed_new(const DeadLetter *letter, const char *table);
void dead_letter_feed_free(DeadLetterFeed **feed);

/** COPY ... FROM STDIN. */
const char *dead_letter_feed_sql(const DeadLetterFeed *feed);

/** As PgQuery.feed. */
Slice dead_letter_feed_next(DeadLetterFeed *feed, const char **ret_why);
