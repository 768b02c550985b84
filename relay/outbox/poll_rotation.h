/* The table was renamed and made anew under its name: see poll_rotation.c. */
#pragma once

#include "outbox/poll_internal.h"
#include "outbox/poll_name.h"

/* What is between two tables that had the name, in the catalog: poll_between.c. */
typedef struct Between {
    void (*done)(Poll *poll);
    bool denies;        /* a right that we lack on the first one is an error */
    bool linked;        /* the catalog tells every table up to the present one */
    uint32_t successor; /* had the name after the first one, and has it no more; 0: none */
    size_t strays;      /* tables that may have been between, with unpublished rows */
    Text stray_names;
    Text stray_counts; /* the query that counts their rows */
    Error denied;
} Between;

typedef struct Rotation {
    bool active; /* the table that is read is no longer the one of the configured name */
    bool whole;  /* nothing was read since everything was looked at from the beginning */
    bool locked; /* the lock of the new table is ours, too */
    bool said_taken;
    bool others;       /* further tables had the name and are not finished */
    bool undone;       /* the name came back, and such tables go first */
    uint32_t next_oid; /* of the table that has the configured name by now; 0: none has */
    uint32_t old_oid;  /* at the start: a table of before that may not be finished */
    uint32_t dropped;  /* at the start: a table that had the name is gone */
    uint32_t carrier;  /* has the name at the end */
    char *name;        /* present one, as SQL, of the table that is read */
    int64_t retry_us;
    ClaimLock *lock; /* of the other table */
    NameWatch *watch;
    Between *between;
} Rotation;

static inline bool rotation_is_active(const Rotation *rotation)
{
    return rotation->active;
}

/** The name came back to the first table, and others go before it. */
static inline bool rotation_is_undone(const Rotation *rotation)
{
    return rotation->undone;
}

/* poll_between.c */
/** What is between old_oid and the table next_oid? Then done(), unless that loses the claim.
 * denies: old_oid is to be finished now, for which rights on it are needed. */
void between_ask(Poll *poll, uint32_t old_oid, uint32_t next_oid, bool denies,
                 void (*done)(Poll *poll));
uint32_t between_successor(const Between *between);
void between_release(Between *between);

/* poll_rotation.c */
void rotation_new(Poll *poll);
/** The session is gone. */
void rotation_reset(Poll *poll);
void rotation_free(Poll *poll);
/** The lock is ours: looks for a table of before that is not finished: NEWS_TABLES_KNOWN. */
void rotation_start(Poll *poll);
/** Something hints that another table has the name: it is looked at soon ... */
void rotation_want_look(Poll *poll);
/** ... at once, if the reader is free; err: what was refused, or NULL. */
void rotation_notice(Poll *poll, const Error *err);
/** Rows were read. */
void rotation_note_read(Poll *poll);
/** True when the reader, which must be free, was sent a question instead of a fetch. */
bool rotation_next(Poll *poll);
/** Who has the other table. */
const ClaimLock *rotation_lock(const Poll *poll);

/** SQL: true for rows "p" of outbox.publisher that tell of a table that had the configured name,
 * whatever pipeline wrote them. */
void rotation_add_ours(const Poll *poll, Text *sql);
/** SQL: the OID of the table that has the name now, as "named", whose row in outbox.publisher is
 * made if it is another one than that which is read, as "noted": the beginning of a WITH. */
void rotation_add_named(const Poll *poll, Text *sql);

/* poll_rotation_end.c: the old table is finished, or left, or gone back to */
/** An old table that was left with rows that wait is read again, before the present one ... */
void rotation_go_back(Poll *poll);
/** ... now that everything acknowledged is marked. */
void rotation_return(Poll *poll);
/** After a complete fetch of which nothing is out: goes on with the new table when the old one is
 * finished. */
void rotation_check_finished(Poll *poll);
