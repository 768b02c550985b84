/* check: what `outboxd check` knows while it looks at the configuration, the database and the
 * brokers, in this order. One thread; library calls block, each within a time limit. Nothing is
 * changed, except that --create-topics makes topics. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "base/text.h"
#include "config/load.h"
#include "pg/session.h"
#include "rows/mapped.h"
#include "rows/precondition.h"

/* A topic that the configuration, or an event of the backlog, leads to. */
typedef struct TopicNeed {
    char *name;
    char *user;           /* whose: `route 2 of pipeline "orders"` */
    char *event;          /* "seq 1042" when it comes from the backlog, else NULL */
    bool aside;           /* on_missing_topic of who needs it */
    bool keyless;         /* some of its records have no key */
    char *keyless_delete; /* whose deletes have none; NULL: all have */
    int64_t record_bytes; /* of the largest event of the backlog that was looked at */
    char *record_event;   /* that event */
    int64_t emit_bytes;   /* the largest that emit accepts for it; 0: not told */
    char *emit_limit;     /* the function that says so, as SQL */
    size_t waiting;       /* of the events of the pipeline that is looked at go there */
} TopicNeed;

typedef struct Check {
    const Load *load;
    const Config *config;
    Problems *problems;
    PgSession *session; /* while the database is looked at */
    ExitCode code;      /* of the first kind that failed */
    TopicNeed *topics;
    size_t topic_count;
    int64_t emit_bytes; /* of the pipeline that is looked at; 0: not told */
    const char *emit_limit;
    size_t created;
    bool create_topics;
    bool clear_told;         /* that something travels in the clear */
    bool pooled;             /* a pooler answers for the server of database.dsn */
    int partitions;          /* of new topics; -1: the broker's default */
    int replication;         /* likewise */
    StringList topic_config; /* "key=value" of new topics; borrowed */
    Text facts;              /* what holds, a line each */
} Check;

/** Notes an error of that kind; remedy may be NULL. */
void check_problem(Check *check, ExitCode kind, const char *place, const char *remedy,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));
/** Notes something that will hurt but does not stop. */
void check_warning(Check *check, const char *place, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** Releases what was found; configuration and problems are the caller's. */
void check_free(Check *check);

/** All that needs no connection: topics that are named outright, and the three that follow. */
void check_offline(Check *check);

/** Properties that librdkafka does not know or does not take; without a connection. */
void check_properties(Check *check);

/** Looks at the destinations of the sinks; without a connection. */
void check_sinks(Check *check);

/** Warns of files with secrets that others can read, and of secrets that would travel in the clear.
 */
void check_secrets(Check *check);

/** Connects as the relay does, with time-outs; replication: as a walsender of the database, which
 * asks for the right to replicate and for a place. NULL after a problem, which is noted. The caller
 * closes it. */
PgSession *check_connect(Check *check, bool replication);

/** Connects and looks at server, role, tables and backlog. */
void check_database(Check *check);

/** Warns when the server has fewer connections left than the relay needs. */
void check_connections(Check *check);

/** Reads the list of what must hold for one pipeline. False when something of it is broken. The
 * caller releases *ret_look, which must be zero. */
bool check_table(Check *check, const PipelineConfig *pipeline, PreconditionLook *ret_look);

/** Looks at what capture = "wal" needs besides: the replication connection, slot and position. */
void check_wal(Check *check, const PipelineConfig *pipeline, const PreconditionLook *look);

/** Looks at what else the publication of one pipeline publishes. */
void check_publication(Check *check, const PipelineConfig *pipeline, const PreconditionLook *look);

/** Runs one query in check->session; a failure is noted and gives NULL. The caller clears the
 * result. step: its name, static text. */
PGresult *check_query(Check *check, const char *step, const char *sql, int count,
                      const char *const *values);

/** Shows what each mapping of capture = "tables" means, notes the topics of the tables, and shows
 * the SQL that an administrator runs. */
void check_mapped(Check *check, const PipelineConfig *pipeline);

/** Tests the filters of the mappings on each of their tables, before SQL with them is shown. */
void check_filters(Check *check, const PipelineConfig *pipeline, Mapped *mapped);

/** Shows the filter of a mapping, if it has one, and what follows from it. */
void check_say_filter(Check *check, const MappingConfig *mapping);

/** Notes the topic of a mapped table. keyless: of all its records; keyless_delete: of deletes. */
void check_need_topic(Check *check, const PipelineConfig *pipeline, const char *topic,
                      const char *user, bool keyless, bool keyless_delete);

/** Notes the topics that the configuration names outright. */
void check_static_topics(Check *check, const PipelineConfig *pipeline);

/** Notes the topics that the oldest unpublished events go to, and how many events wait for the
 * start of the relay. */
void check_backlog(Check *check, const PipelineConfig *pipeline, const PreconditionLook *look);

/** Connects to the brokers, looks at the topics, and makes the missing ones when asked to. */
void check_kafka(Check *check);

/** Looks whether the groups of monitor.consumer_groups may be described; the brokers
 * must answer. */
void check_groups(Check *check);

/** Gives a client the token that it logs in with, if it needs one; false after a problem. */
bool check_kafka_login(Check *check, rd_kafka_t *rk);

/** A broker refuses the login, as reason says: true if it was a token's, and notes the problem. */
bool check_kafka_refused(Check *check, const char *reason);
