/* What the files of the watch share; nobody else includes this. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "pg/conn.h"
#include "rows/precondition.h"
#include "rows/table.h"
#include "watch/growth.h"
#include "watch/watch.h"
#include "watch/watch_rows.h"
#include "watch/watch_series.h"
#include "watch/watch_trouble.h"
#include "watch/watch_unread.h"

/* A query that was slow is asked less often: at most this part of the time goes into it. */
enum { SHARE_OF_TIME = 20 };

typedef struct Watched {
    const PipelineConfig *config;
    OutboxTable *table;
    char *pause_table; /* quoted; NULL: there is none */
    char *dead_letter; /* likewise */
    char *position;    /* likewise; NULL also when it may not be read */
    WatchFacts *facts;
    PreconditionLook *look; /* the last that was taken */
    Growth *growth;
    WatchRows *rows;
    WatchSeries *series;
    int64_t dead_next_us; /* monotonic: dead letters are not asked for before */
} Watched;

typedef struct WatchedServer {
    WatchServer shown;
    char oldest_xid[24];         /* as seen in pg_locks */
    int64_t oldest_xid_since_us; /* monotonic; 0: no transaction has an xid */
} WatchedServer;

/* How much of a look is asked. */
typedef enum WatchLook {
    LOOK_ROWS,  /* rows alone, of those pipelines where something waits */
    LOOK_BRIEF, /* pauses and rows */
    LOOK_WHOLE,
} WatchLook;

typedef enum WatchStep {
    STEP_NAMES,  /* which tables are there */
    STEP_PAUSES, /* what is paused */
    STEP_PRECONDITIONS,
    STEP_SERVER, /* slots, transactions */
    STEP_ROWS,   /* for each pipeline */
    STEP_DEAD,   /* for each pipeline */
    STEP_END,
} WatchStep;

/* The look that is under way, or was last. */
typedef struct WatchTurn {
    WatchLook kind;
    WatchStep step;
    size_t index; /* of the pipeline, in STEP_ROWS and STEP_DEAD */
    int64_t begun_us;
    int64_t step_us; /* when the query of the step was sent */
    bool notified;   /* the pauses may have changed */
    bool hurried;    /* look again as soon as this look is over */
    bool nameless;   /* the names could not be read: only the preconditions are looked at */
    bool prepared;   /* the statements of STEP_PRECONDITIONS, in this session */
    uint64_t wal_end;
    Error error; /* the first */
} WatchTurn;

struct Watch {
    const WatchOptions *options; /* a copy */
    char *application_name;
    PgConn *conn;
    struct event *timer;
    Watched *pipelines;
    size_t count;
    WatchedServer *server;
    WatchTurn *turn;
    WatchTrouble *trouble;
    WatchUnread *unread;
    bool looking;
    bool draining;
    bool stopped;
    bool knows_pauses;
    bool opened; /* connected */
    unsigned attempt;
    int64_t ended_us;      /* monotonic: when the last look ended */
    int64_t next_whole_us; /* likewise: when the next whole one begins */
    double *up;
    Histogram *duration;
};

/* watch_read.c: queries and their answers */
/** Appends the query of the present step; false: it has none. */
bool watch_add_query(Watch *watch, Text *sql);
/** A result of the present step. */
void watch_read(Watch *watch, const PGresult *result);
/** Before the first result of the present step: what is not told again is not known any more. */
void watch_forget(Watch *watch);
/** PostgreSQL cannot be asked: what changes all the time is not known any more. */
void watch_forget_server(Watch *watch);

/* watch_preconditions.c */
void watch_add_preconditions(Watch *watch, Text *sql);
void watch_read_preconditions(Watch *watch, const PGresult *result);
