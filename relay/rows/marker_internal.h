/* What the files of the marker share; nobody else includes this. */
#pragma once

#include "flow/source.h"
#include "rows/dead_letter_feed.h"
#include "rows/mark_sql.h"
#include "rows/marker.h"

enum { MARK_UNSEEN_MS = 20 }; /* rows that could not be seen yet are tried again then */

typedef struct MarkerAside {
    Event *event;
    Record record;
    Error reason;
    bool at_once;  /* the table takes no COPY */
    bool foreign;  /* it has characters that the database lacks */
    bool by_bytes; /* it has no row any more, or the server could not copy that: from memory */
    struct MarkerAside *next;
} MarkerAside;

/* Rows that were given up and not said yet. */
typedef struct MarkerGone {
    size_t rows;
    int64_t said_us;
} MarkerGone;

/* Rows whose marking the server refuses for what they are: a trigger, or a constraint. */
typedef struct MarkerRejected {
    Error error;  /* of the first one; stays until nothing is left to be marked */
    size_t most;  /* rows in a statement; 0: as many as ever */
    size_t turn;  /* which one is tried next */
    bool told;    /* ... after this was told to the owner */
    bool probing; /* it is tried */
} MarkerRejected;

/* A lock of somebody else is in the way. */
typedef struct MarkerLock {
    bool ask;         /* who holds it */
    bool said;        /* since a statement passed last */
    int64_t retry_us; /* not before */
    int64_t since_us; /* monotonic; 0: nothing is in the way */
    Text holder;
} MarkerLock;

/* Rows that are looked at. */
typedef struct MarkerLook {
    EventRow rows[SOURCE_LOOKS_MAX];
    uint64_t looks[SOURCE_LOOKS_MAX];
    size_t count;
    bool due;    /* to be asked */
    bool denied; /* in this session */
} MarkerLook;

struct Marker {
    MarkerOptions options;
    struct event *timer; /* mark_interval is over */
    /* The session. */
    bool active;
    bool prepared;
    unsigned names;          /* raised when the table's name, or the table, is another one */
    unsigned names_prepared; /* ... as it was when the statements were asked for */
    unsigned rounds;         /* in a row in which a mark wrote nothing and nothing told why */
    MarkSql sql;
    uint32_t table_oid;
    char *row_table;
    char *row_key;
    char *row_ctid; /* NULL: not claimed */
    char *dead_letter;
    MarkerLock lock;
    bool refused; /* the last statement was, or rows are */
    MarkerRejected rejected;
    MarkerLook look;
    /* What waits. */
    bool draining;
    bool with_position;
    bool caught_up;
    MarkQueue queue;
    bool recovering;
    bool at_once;
    int64_t since_us; /* when the oldest of what waits came; 0: nothing waits */
    int64_t unseen_until_us;
    MarkerAside *asides;
    MarkerAside *last_aside;
    size_t group;  /* letters that the last statement stored, or is storing */
    size_t alone;  /* so many go one at a time, as together they failed */
    size_t stored; /* committed, and not reported yet: nothing is sent meanwhile */
    int64_t group_sent_us;
    DeadLetterFeed *feed; /* what the running statement is fed with, or NULL */
    bool copied;          /* the running statement wrote the dead letter from the event's row */
    /* The running statement. */
    MarkMissing missing;
    char *row_ctid_next; /* where the row will be once it is committed */
    size_t rows_sent;    /* with a row */
    size_t hit;
    size_t asked_replaced;
    size_t ignored;          /* rows that are there as they were: something swallows our writes */
    unsigned ignored_rounds; /* in a row */
    size_t not_hit;          /* without a position: how many are not there any more */
    bool owned;              /* the row that proves the history is ours still */
    bool beyond;             /* the position is not in the server's log: it did not move */
    bool same_table;
    bool waits_for_name; /* another table has it: marker_renamed() goes on */
    bool relocate;       /* it was not where it was: look for it by its key */
    /* Said, or to be said. */
    MarkerGone vanished;
    MarkerGone replaced;
    /* Upkeep. */
    int64_t next_prune_us;
    int64_t prune_said_us; /* that it is refused */
    int64_t prune_after;   /* seq */
    int64_t next_count_us;
    double backlog; /* -1: unknown */
    bool backlog_capped;
};

/* marker.c */
bool marker_touches_rows(const Marker *marker);
/** After each statement. */
void marker_go_on(Marker *marker);
/** A statement failed. True: it only waited for a lock in vain, or was refused, and will be tried
 * again. */
bool marker_must_wait(Marker *marker, const Error *err);
/** A statement passed. */
void marker_passed(Marker *marker);

/** marker_next() again after so long. */
void marker_arm(Marker *marker, int64_t after_us);

/* marker_mark.c */
/** Sends the next mark, or what must go before it, when it is time; else arms the timer. */
void mark_next(Marker *marker);
void mark_forget_running(Marker *marker);

/* marker_refused.c */
/** Rows are as they were after a mark that passed. True: they will be tried again; false: not now,
 * and the mark is settled as it is. */
bool mark_is_ignored(Marker *marker);
/** A mark failed. True: for what a row is, and the rows are tried again without it. */
bool mark_is_rejected(Marker *marker, const Error *err);
/** What is left is refused. True: nothing is sent now. */
bool mark_rests(Marker *marker);

/* marker_aside.c */
/** Sends the first dead letters that wait. */
void aside_send(Marker *marker);
void aside_forget_all(Marker *marker);

/* marker_look.c */
/** Asks for the rows of marker_look_at(). */
void look_send(Marker *marker);

/* marker_upkeep.c */
/** Sends a statement of upkeep if one is due. */
void upkeep_next(Marker *marker);
