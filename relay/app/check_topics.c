/* Which topics will be written? Those that the configuration names outright, and those that the
 * oldest unpublished events lead to: these go through the relay's own reader, router and encoder,
 * so an event that would stop the pipeline is found before it does. */
#include <stdlib.h>
#include <string.h>

#include "app/check.h"
#include "base/memory.h"
#include "encode/encode.h"
#include "flow/refusal.h"
#include "flow/router.h"
#include "flow/template.h"
#include "outbox/fetch_sql.h"
#include "pg/conn.h"
#include "pg/sqlstate.h"
#include "rows/row.h"

enum {
    BACKLOG_EVENTS = 1000, /* so many of the oldest are looked at */
    BATCH_EVENTS = 50,     /* so many are in memory at once */
};

static TopicNeed *topic_need(Check *check, Slice name)
{
    for (size_t i = 0; i < check->topic_count; i++) {
        if (slice_equal(slice_of(check->topics[i].name), name)) {
            return &check->topics[i];
        }
    }
    check->topics = x_realloc(check->topics, (check->topic_count + 1) * sizeof(*check->topics));
    TopicNeed *need = &check->topics[check->topic_count++];
    *need = (TopicNeed){.name = x_strndup(name.data, name.length)};
    return need;
}

/* One topic template and the key template beside it. */
static void topics_of(Check *check, const PipelineConfig *pipeline, const char *topic_text,
                      const char *key_text, const char *user)
{
    AUTO(Template, template_free) topic = NULL;
    AUTO(Template, template_free) key = NULL;
    if (template_compile(topic_text, pipeline, &topic, NULL) != OK ||
        template_compile(key_text, pipeline, &key, NULL) != OK) {
        return; /* a problem of the configuration, said there */
    }
    const char *name = template_constant(topic);
    const char *constant_key = template_constant(key);
    if (name == NULL || *name == '\0') {
        return;
    }
    TopicNeed *need = topic_need(check, slice_of(name));
    need->aside = pipeline->on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    need->keyless |= constant_key != NULL && *constant_key == '\0';
    need->user = need->user != NULL ? need->user : x_strdup(user);
}

void check_static_topics(Check *check, const PipelineConfig *pipeline)
{
    if (pipeline->sink != SINK_KAFKA) {
        return;
    }
    for (size_t i = 0; i < pipeline->route_count; i++) {
        const RouteConfig *route = &pipeline->routes[i];
        if (route->topic != NULL) {
            AUTO_TEXT user = x_format("route %zu of pipeline \"%s\"", i + 1, pipeline->name);
            topics_of(check, pipeline, route->topic,
                      route->key != NULL ? route->key : pipeline->key, user);
        }
    }
    AUTO_TEXT user = x_format("pipeline \"%s\"", pipeline->name);
    topics_of(check, pipeline, pipeline->topic, pipeline->key, user);
}

/* The oldest events of one pipeline on their way through the relay's own code. */
typedef struct Backlog {
    Check *check;
    const PipelineConfig *pipeline;
    OutboxTable *table;
    Metrics *metrics;
    Topics *topics;
    bool beyond; /* more topics than there may be: said */
    Router *router;
    Encoder *encoder;
    Batch *batch;
    size_t events;
    size_t unpublishable;
    bool takes_bytes; /* texts of this database may be no UTF-8 */
} Backlog;

static Status backlog_begin(Backlog *b, Error *err)
{
    b->metrics = metrics_new();
    b->topics = topics_new(b->metrics, b->pipeline->name);
    b->batch = batch_new();
    return table_new(b->pipeline, &b->table, err) == OK &&
                   router_new(b->pipeline, b->topics, &b->router, err) == OK &&
                   encoder_new(b->pipeline, &b->encoder, err) == OK
               ? OK
               : FAILED;
}

static void backlog_end(Backlog *b)
{
    batch_free(&b->batch);
    if (b->encoder != NULL) {
        b->encoder->free(b->encoder);
    }
    router_free(&b->router);
    topics_free(&b->topics);
    metrics_free(&b->metrics);
    table_free(&b->table);
}

/* What on_poison or on_unrouted would do to an event, for the remedy and the weight. */
static void backlog_unpublishable(Backlog *b, const Event *event, bool unrouted, const Error *err)
{
    if (b->unpublishable++ > 0) {
        return; /* the first one says it */
    }
    const PipelineConfig *pipeline = b->pipeline;
    bool stops = unrouted ? pipeline->on_unrouted == ON_UNROUTED_STOP
                          : pipeline->on_poison == ON_POISON_STOP;
    AUTO_TEXT message = x_format(
        "event seq %lld of %s would %s pipeline \"%s\": %s", (long long)event->seq, pipeline->table,
        stops ? "stop" : "not be published by", pipeline->name, err->message);
    const char *hint = *err->hint != '\0' ? err->hint : NULL;
    if (stops) {
        check_problem(b->check, EXIT_CONFIG, "backlog", hint, "%s", message);
    } else {
        check_warning(b->check, "backlog", hint, "%s", message);
    }
}

static void backlog_need(Backlog *b, const Event *event, const Record *record)
{
    TopicNeed *need = topic_need(b->check, slice_of(record->topic->name));
    need->aside = b->pipeline->on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    if (need->user == NULL) {
        need->user = x_format("pipeline \"%s\"", b->pipeline->name);
    }
    if (need->event == NULL) {
        need->event = x_format("seq %lld", (long long)event->seq);
    }
    need->keyless |= slice_is_null(record->key);
    int64_t bytes = (int64_t)record_wire_bytes(record);
    if (bytes > need->record_bytes) {
        need->record_bytes = bytes;
        free(need->record_event);
        need->record_event = x_format("seq %lld of %s", (long long)event->seq, b->pipeline->table);
    }
}

/* Said once: what follows is of the same kind. */
static void backlog_beyond(Backlog *b, const Error *err)
{
    if (!b->beyond) {
        b->beyond = true;
        check_problem(b->check, EXIT_CONFIG, "backlog", err->hint, "pipeline \"%s\": %s",
                      b->pipeline->name, err->message);
    }
}

static Status backlog_row(Backlog *b, const char *bytes, size_t length, Error *err)
{
    if (b->batch->count >= BATCH_EVENTS) {
        batch_free(&b->batch);
        b->batch = batch_new();
    }
    Event *event;
    if (row_read(bytes, length, b->table->extra_count, b->batch, &event, err) != OK) {
        return FAILED;
    }
    if (b->takes_bytes) {
        row_check_texts(b->batch, b->table->extra_count);
    }
    b->events++;
    Record record = {0};
    Error why = {0};
    RouteResult routed = router_route(b->router, event, &b->batch->arena, &record, &why);
    if (event->refusal != NULL) {
        backlog_unpublishable(b, event, false, &event->refusal->error);
    } else if (routed != ROUTE_OK) {
        backlog_unpublishable(b, event, routed == ROUTE_NONE, &why);
    } else if (b->encoder->encode(b->encoder, event, &b->batch->arena, &record, &why) != OK) {
        backlog_unpublishable(b, event, false, &why);
    } else if (record.topic->beyond) {
        backlog_beyond(b, &why);
    } else {
        backlog_need(b, event, &record);
    }
    return OK;
}

static Status backlog_copy(Backlog *b, PGconn *conn, Error *err)
{
    bool first = true;
    char *bytes = NULL;
    int length;
    Status status = OK;
    while ((length = PQgetCopyData(conn, &bytes, 0)) > 0) {
        const char *row = bytes;
        size_t rest = (size_t)length;
        if (status == OK && first) {
            status = row_skip_header(&row, &rest, err);
        }
        first = false;
        if (status == OK && rest > 0 && !row_is_trailer(row, rest)) {
            status = backlog_row(b, row, rest, err);
        }
        PQfreemem(bytes);
    }
    PGresult *r;
    while ((r = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(r) != PGRES_COMMAND_OK && status == OK) {
            status = sqlstate_error(r, err);
        }
        PQclear(r);
    }
    return status;
}

static Status backlog_read(Backlog *b, PGconn *conn, Error *err)
{
    b->takes_bytes = pg_takes_bytes(conn);
    AUTO_BUFFER sql = TEXT_EMPTY;
    Gaps none = {0};
    gaps_reset(&none);
    fetch_add_sql(b->table, &none, BACKLOG_EVENTS, &sql);
    PGresult *r = PQexec(conn, sql.data);
    Status status = PQresultStatus(r) == PGRES_COPY_OUT ? OK : sqlstate_error(r, err);
    PQclear(r);
    return status == OK ? backlog_copy(b, conn, err) : FAILED;
}

void check_backlog(Check *check, PGconn *conn, const PipelineConfig *pipeline)
{
    if (pipeline->sink != SINK_KAFKA) {
        return;
    }
    Backlog b = {.check = check, .pipeline = pipeline};
    Error err;
    if (backlog_begin(&b, &err) == OK && backlog_read(&b, conn, &err) != OK) {
        check_problem(check, EXIT_POSTGRES, "database", *err.hint != '\0' ? err.hint : NULL, "%s",
                      err.message);
    }
    if (b.unpublishable > 1) {
        check_warning(check, "backlog", NULL, "%zu of the oldest %zu events of %s are like that",
                      b.unpublishable, b.events, pipeline->table);
    }
    backlog_end(&b);
}
