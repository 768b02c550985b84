/* What the files of the claim share; nobody else includes this. */
#pragma once

#include <assert.h>
#include <stddef.h>

#include "claim/claim.h"
#include "rows/repeats.h"

typedef enum ClaimState {
    CLAIM_LOST,    /* closed; waits for claim_start() */
    CLAIM_DELAYED, /* back-off before connecting */
    CLAIM_OPENING, /* connects, makes its settings, looks, tries the lock */
    CLAIM_STANDBY, /* the lock, or the slot, is somebody else's */
    CLAIM_HELD,
    CLAIM_ENDED, /* drained */
} ClaimState;

/* What the looks found: claim_look.c. */
typedef struct ClaimLook {
    PreconditionLook look;
    char *dead_letter; /* that table as SQL, or NULL */
    int backend_pid;
    int owner_pid;    /* of our session that had the lock last; 0: none */
    bool warned;      /* what the first one found was said */
    bool again;       /* we stood by since the last one */
    bool schema_told; /* claim_schema.c has asked */
} ClaimLook;

/* Why, and how often, it was lost: claim_state.c. */
typedef struct ClaimLoss {
    struct event *report; /* delivers `lost` or `drained` outside of every call */
    Error error;          /* also: what is wrong with an answer */
    Repeats repeats;
    bool begun;        /* see claim_begin() */
    bool doubts;       /* a statement was refused ... */
    unsigned refusals; /* ... the last of so many in a row */
} ClaimLoss;

/* Letters are stored by who marks, ahead of the marks. */
typedef struct ClaimLetters {
    Letters letters; /* first */
    struct Claim *claim;
} ClaimLetters;

static_assert(offsetof(ClaimLetters, letters) == 0, "a Letters * is cast to its ClaimLetters");

/* Who marks: claim_marks.c. */
typedef struct ClaimMarks {
    PgConn *conn; /* of its own, or NULL */
    Marker *marker;
    HistoryMemory history;
    ClaimLetters letters;
} ClaimMarks;

/* Who waits for the connection: claim_jobs.c. */
typedef struct ClaimJobs {
    TAILQ_HEAD(, ClaimJob) waiting; /* each at most once: as many as their owners have */
    ClaimJob ping;
} ClaimJobs;

struct Claim {
    ClaimOptions options;
    ClaimState state;
    char *application_name;
    PgConn *conn;
    ClaimLock *lock;
    uint32_t table_oid; /* whose lock that is */
    ClaimLook *look;
    ClaimLoss *loss;
    ClaimMarks *marks;
    ClaimJobs *jobs;
    struct event *timer;    /* back-off, standby */
    struct event *pulse;    /* while the lock is ours */
    int64_t lease_until_us; /* monotonic */
    int64_t asked_us;
    bool asking; /* an answer renews the lease */
};

/* claim_state.c */
/** One of the two timers. */
void claim_arm(struct event *timer, int64_t delay_ms);
/** Appends the settings of a session: that of the lock, or the marker's own. */
void claim_add_settings(const Claim *claim, PgConn *conn, Text *sql);

/* claim_look.c */
ClaimLook *claim_look_new(void);
void claim_look_free(ClaimLook **look);
/** Appends a look, and by whom we are served, and asks. */
void claim_ask_look(Claim *claim, Text *sql, void (*done)(void *arg, const Error *err));

/* claim_schema.c */
/** Asks which version made the schema, if it is time to ask, and then tries the lock. */
void claim_ask_schema(Claim *claim);

/* claim_jobs.c */
ClaimJobs *claim_jobs_new(void);
/** The connection is gone. */
void claim_drop_jobs(ClaimJobs *jobs);
void claim_want_first(Claim *claim, ClaimJob *job);
/** Of MarkerOptions.yields, and of PgConnOptions.idle. */
bool claim_jobs_wait(const void *arg);
void claim_on_idle(void *arg);

/* claim_lease.c */
/** Of the job "ping". */
void claim_ask_ping(void *arg);
/** Of PgConnOptions. */
void claim_answered(void *arg);

/* claim_marks.c */
ClaimMarks *claim_marks_new(Claim *claim);
void claim_marks_free(ClaimMarks **marks);
