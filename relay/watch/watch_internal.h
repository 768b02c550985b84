/* What the files of the watch share; nobody else includes this. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "pg/conn.h"
#include "rows/precondition.h"
#include "rows/table.h"
#include "watch/watch.h"

enum { GROWTH_SAMPLES = 64, GROWTH_SECONDS = 60 };

/* How much WAL the slot held over the last minute. */
typedef struct Growth {
    struct {
        int64_t at_us; /* monotonic */
        double bytes;
    } samples[GROWTH_SAMPLES];
    size_t count;
    size_t next;
} Growth;

/** Notes what the slot holds now (NAN: forgets everything) and returns bytes a second; NAN: not
 * known yet. */
double growth_note(Growth *growth, int64_t now_us, double bytes);

/* A query that was slow is asked less often: at most this part of the time goes into it. */
enum { SHARE_OF_TIME = 20 };

typedef struct Watched {
    const PipelineConfig *config;
    OutboxTable *table;
    bool has_table;
    char *pause_table; /* quoted; NULL: there is none */
    char *dead_letter;
    WatchFacts facts;
    PreconditionLook look; /* the last that was taken */
    Growth growth;
    Sightings sightings;
    int64_t rows_sent_us; /* monotonic: when the rows were asked for */
    bool rows_read;       /* the answer came, and is not judged yet */
    size_t unseen;
    int64_t rows_next_us; /* monotonic: not before */
    bool rows_put_off;    /* the last look came before that */
    bool rows_lean;       /* one that waits has a value that failed it */
    int64_t dead_next_us;
    bool was_connected; /* itself, when our connection broke */
    uint64_t reconnects;
    struct {
        double *paused;
        double *dead_letters;
        double *oldest_transaction;
        double *retained;
        double *confirmed_lag;
        double *safe;
        double *seconds_left;
        double *active;
        double *spill;
        double *status[4];
        double *unseen;
        uint64_t *unseen_found;
    } gauge;
} Watched;

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

struct Watch {
    WatchOptions options;
    char *application_name;
    PgConn *conn;
    struct event *timer;
    Watched *pipelines;
    size_t count;
    WatchServer server;
    WatchStep step;
    size_t index; /* of the pipeline, in STEP_ROWS and STEP_DEAD */
    bool looking;
    WatchLook kind;
    bool notified; /* the pauses may have changed */
    bool hurried;  /* look again as soon as this look is over */
    bool nameless; /* the names could not be read: only the preconditions are looked at */
    bool prepared; /* the statements of STEP_PRECONDITIONS, in this session */
    uint64_t wal_end;
    bool draining;
    bool stopped;
    bool knows_pauses;
    bool failing;
    bool opened;     /* connected */
    bool cut;        /* the connection broke: is that PostgreSQL, or ours alone? */
    Error cut_error; /* ... in these words */
    bool said;       /* and not yet that it recovered */
    int64_t said_us; /* monotonic */
    Error error;     /* the first of this look */
    unsigned attempt;
    int64_t look_us;  /* monotonic: when it began */
    int64_t ended_us; /* monotonic: when the last one ended */
    int64_t step_us;
    int64_t next_whole_us;       /* monotonic */
    int64_t next_rows_us;        /* INT64_MAX: with the next whole look */
    char oldest_xid[24];         /* as seen in pg_locks */
    int64_t oldest_xid_since_us; /* monotonic; 0: no transaction has an xid */
    double *up;
    Histogram *duration;
};

/* watch_rows.c: the rows of one pipeline */
/** False: its rows tell nothing. */
bool rows_add_query(const Watched *pipeline, Text *sql);
/** A look at the rows failed. True: the next asks for less, and may pass. */
bool rows_lean(Watched *pipeline, const Error *err);
void rows_read(Watched *pipeline, const PGresult *result);
void rows_judge(Watch *watch, size_t index);
int64_t rows_again_ms(const Watch *watch, size_t index);

/* watch_read.c: fields by name; what is not there is "", false, NAN, or `missing` */
const char *fact(const PGresult *result, int row, const char *column);
bool fact_true(const PGresult *result, int row, const char *column);
double fact_real(const PGresult *result, int row, const char *column);
int64_t fact_integer(const PGresult *result, int row, const char *column, int64_t missing);

/* watch_read.c: queries and their answers */
/** Appends the query of the present step; false: it has none. */
bool watch_add_query(Watch *watch, Text *sql);
/** A result of the present step. */
void watch_read(Watch *watch, const PGresult *result);
/* watch_preconditions.c */
void watch_add_preconditions(Watch *watch, Text *sql);
void watch_read_preconditions(Watch *watch, const PGresult *result);

/** Before the first result of the present step: what is not told again is not known any more. */
void watch_forget(Watch *watch);
/** PostgreSQL cannot be asked: what changes all the time is not known any more. */
void watch_forget_server(Watch *watch);
