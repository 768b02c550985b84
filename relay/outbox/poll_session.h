/* What a reader of a table is to its claim: poll_session.c. */
#pragma once

#include "outbox/poll_internal.h"

/* With the lock in our hands. */
typedef struct Session {
    History found;         /* by the session that is being opened */
    char *publisher_table; /* as SQL; NULL: no row proves the history */
    char *publisher_key;   /* condition that finds the row */
    char *publisher_ctid;  /* where it was claimed */
    int owner_pid;         /* of the reader that held the lock last */
    bool taken;            /* somebody else held the lock since */
    bool unread;           /* the answer about the history was none */
} Session;

extern const ClaimReader SESSION_READER;

Session *session_new(void);
void session_free(Session **session);

/** outbox.publisher as SQL; NULL: there is none. */
static inline const char *session_publisher_table(const Session *session)
{
    return session->publisher_table;
}

/** Somebody else publishes. */
void session_lock_taken(void *arg, const ClaimLock *lock);
/** The locks are ours, and which table is to be read is known: judges the history, claims. */
void session_judge(Poll *poll);
