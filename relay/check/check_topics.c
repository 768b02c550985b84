/* Which topics will be written? Those that the configuration names outright, and those that the
 * oldest unpublished events lead to: these go through the relay's own reader, router and encoder,
 * so an event that would hold its topic is found before it does. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "check/check.h"
#include "encode/encode.h"
#include "flow/refusal.h" /* Event.refusal */
#include "flow/router.h"
#include "flow/template.h"
#include "outbox/fetch_sql.h"
#include "pg/encoding.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/row.h"
#include "sink/kafka/kafka_name.h"
#include "sink/kafka/kafka_record.h"

enum {
    BACKLOG_EVENTS = 1000, /* so many of the oldest are looked at */
    BATCH_EVENTS = 50,     /* so many are in memory at once */
    COUNT_MOST = 100000,   /* waiting rows that are counted */
    TOPICS_NAMED = 5,      /* of the waiting rows */
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

/* What the database lets into the topic. */
static void need_limit(const Check *check, TopicNeed *need)
{
    if (check->emit_bytes > need->emit_bytes) {
        need->emit_bytes = check->emit_bytes;
        free(need->emit_limit);
        need->emit_limit = x_strdup(check->emit_limit);
    }
}

/* One topic template and the key template beside it. */
static void topics_of(Check *check, const PipelineConfig *pipeline, const char *topic_text,
                      const char *key_text, const char *user)
{
    AUTO(Schema, schema_free) schema = schema_of_outbox(pipeline);
    AUTO(Template, template_free) topic = NULL;
    AUTO(Template, template_free) key = NULL;
    if (template_compile(topic_text, schema, &topic, NULL) != OK ||
        template_compile(key_text, schema, &key, NULL) != OK) {
        return; /* a problem of the configuration, said there */
    }
    const char *name = template_constant(topic);
    const char *constant_key = template_constant(key);
    if (name == NULL || *name == '\0') {
        return;
    }
    TopicNeed *need = topic_need(check, slice_of(name));
    need->aside = pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    need->keyless |= constant_key != NULL && *constant_key == '\0';
    need->user = need->user != NULL ? need->user : x_strdup(user);
    need_limit(check, need);
}

void check_need_topic(Check *check, const PipelineConfig *pipeline, const char *topic,
                      const char *user, bool keyless, bool keyless_delete)
{
    if (pipeline->sink != SINK_KAFKA) {
        return;
    }
    TopicNeed *need = topic_need(check, slice_of(topic));
    need->aside = pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    need->keyless |= keyless;
    need->user = need->user != NULL ? need->user : x_strdup(user);
    if (keyless_delete && need->keyless_delete == NULL) {
        need->keyless_delete = x_strdup(user);
    }
}

void check_static_topics(Check *check, const PipelineConfig *pipeline)
{
    if (pipeline->sink != SINK_KAFKA) {
        return;
    }
    for (size_t i = 0; i < pipeline->route.rule_count; i++) {
        const RouteConfig *route = &pipeline->route.rules[i];
        if (route->topic != NULL) {
            AUTO_TEXT user = x_format("route %zu of pipeline \"%s\"", i + 1, pipeline->name);
            topics_of(check, pipeline, route->topic,
                      route->key != NULL ? route->key : pipeline->route.key, user);
        }
    }
    AUTO_TEXT user = x_format("pipeline \"%s\"", pipeline->name);
    topics_of(check, pipeline, pipeline->route.topic, pipeline->route.key, user);
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
    bool begun;       /* the header of the copy was read */
    bool takes_bytes; /* texts of this database may be no UTF-8 */
} Backlog;

static Status backlog_begin(Backlog *b, const PreconditionLook *look, Error *err)
{
    for (size_t i = 0; i < b->check->topic_count; i++) {
        b->check->topics[i].waiting = 0;
    }
    b->metrics = metrics_new();
    b->topics = topics_new(b->metrics, b->pipeline->name);
    topics_set_rule(b->topics, kafka_name_refuse);
    b->batch = batch_new();
    if (table_new(b->pipeline, &b->table, err) != OK) {
        return FAILED;
    }
    (void)precondition_take_columns(look, b->table);
    return router_new(b->pipeline, b->table->schema, b->topics, &b->router, err) == OK &&
                   encoder_new(b->pipeline, b->table->schema, &b->encoder, err) == OK
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
    bool stops = unrouted ? pipeline->route.on_unrouted == ON_UNROUTED_STOP
                          : pipeline->on_poison == ON_POISON_STOP;
    AUTO_TEXT message = x_format(
        "event seq %lld of %s would not be published by pipeline \"%s\"%s: %s",
        (long long)event->seq, pipeline->outbox.table, pipeline->name,
        stops ? ", and would hold back the later events of its topic" : "", error_message(err));
    const char *hint = *error_own_hint(err) != '\0' ? error_own_hint(err) : NULL;
    if (stops) {
        check_problem(b->check, EXIT_CONFIG, "backlog", hint, "%s", message);
    } else {
        check_warning(b->check, "backlog", hint, "%s", message);
    }
}

static void backlog_need(Backlog *b, const Event *event, const Record *record)
{
    TopicNeed *need = topic_need(b->check, slice_of(record->topic->name));
    need->waiting++;
    need_limit(b->check, need);
    need->aside = b->pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
    if (need->user == NULL) {
        need->user = x_format("pipeline \"%s\"", b->pipeline->name);
    }
    if (need->event == NULL) {
        need->event = x_format("seq %lld", (long long)event->seq);
    }
    need->keyless |= slice_is_null(record->key);
    int64_t bytes = (int64_t)kafka_record_bytes(record);
    if (bytes > need->record_bytes) {
        need->record_bytes = bytes;
        free(need->record_event);
        need->record_event =
            x_format("seq %lld of %s", (long long)event->seq, b->pipeline->outbox.table);
    }
}

/* Said once: what follows is of the same kind. */
static void backlog_beyond(Backlog *b, const Error *err)
{
    if (!b->beyond) {
        b->beyond = true;
        check_problem(b->check, EXIT_CONFIG, "backlog", error_own_hint(err), "pipeline \"%s\": %s",
                      b->pipeline->name, error_message(err));
    }
}

static Status backlog_row(Backlog *b, const char *bytes, size_t length, Error *err)
{
    if (b->batch->count >= BATCH_EVENTS) {
        batch_free(&b->batch);
        b->batch = batch_new();
    }
    Event *event;
    if (row_read(bytes, length, b->table->schema, b->batch, &event, err) != OK) {
        return FAILED;
    }
    if (b->takes_bytes) {
        row_check_texts(b->batch);
    }
    b->events++;
    Record record = {0};
    AUTO_ERROR why = {0};
    RouteResult routed = router_route(b->router, event, &b->batch->arena, &record, &why);
    if (event->refusal != NULL) {
        backlog_unpublishable(b, event, false, &event->refusal->error);
    } else if (routed != ROUTE_OK) {
        backlog_unpublishable(b, event, routed == ROUTE_NONE, &why);
    } else if (b->encoder->encode(b->encoder, event, &b->batch->arena, &record, &why) ==
               ENCODE_POISON) {
        backlog_unpublishable(b, event, false, &why);
    } else if (record.topic->beyond) {
        backlog_beyond(b, &why);
    } else {
        backlog_need(b, event, &record);
    }
    return OK;
}

/* A message of the copy: header, rows, trailer. */
static Status backlog_take(void *arg, const char *bytes, size_t length, Error *err)
{
    Backlog *b = arg;
    if (!b->begun) {
        b->begun = true;
        if (row_skip_header(&bytes, &length, err) != OK) {
            return FAILED;
        }
    }
    return length == 0 || row_is_trailer(bytes, length) ? OK : backlog_row(b, bytes, length, err);
}

static Status backlog_read(Backlog *b, Error *err)
{
    PgSession *session = b->check->session;
    b->takes_bytes = pg_takes_bytes(pg_session_raw(session));
    AUTO_BUFFER sql = TEXT_EMPTY;
    Gaps none = {0};
    gaps_reset(&none);
    fetch_add_sql(b->table, &none, BACKLOG_EVENTS, &sql);
    return pg_session_copy(session, "backlog", sql.data, b, backlog_take, err);
}

/* How many rows are unpublished; what lies beyond COUNT_MOST is not counted. NULL after a problem.
 */
static PGresult *backlog_count(const Backlog *b)
{
    AUTO_TEXT slot = ident_literal(b->pipeline->wal.slot != NULL ? b->pipeline->wal.slot : "");
    AUTO_TEXT sql = x_format("SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM %s WHERE true%s"
                             " LIMIT %d) AS pending), EXISTS (SELECT FROM"
                             " pg_catalog.pg_replication_slots s WHERE s.slot_name = %s)",
                             b->table->name, b->table->unpublished, COUNT_MOST + 1, slot);
    return check_query(b->check, "count backlog", sql, 0, NULL);
}

/* "9 to orders.events, 1 to billing.events" */
static void backlog_add_topics(const Backlog *b, Text *text)
{
    const char *between = ": ";
    size_t named = 0;
    size_t others = 0;
    for (size_t i = 0; i < b->check->topic_count; i++) {
        const TopicNeed *need = &b->check->topics[i];
        if (need->waiting > 0 && named < TOPICS_NAMED) {
            text_printf(text, "%s%zu to %s", between, need->waiting, need->name);
            between = ", ";
            named++;
        } else if (need->waiting > 0) {
            others++;
        }
    }
    if (others > 0) {
        text_printf(text, " and more to %zu other topics", others);
    }
}

/* Whoever adopts a table with rows in it should know before it happens. */
static void backlog_say(Backlog *b, const PreconditionLook *look)
{
    const PipelineConfig *pipeline = b->pipeline;
    PGresult *r = backlog_count(b);
    long long count = r != NULL ? strtoll(pg_value(r, 0, 0), NULL, 10) : 0;
    bool slot = r != NULL && pg_value(r, 0, 1)[0] == 't';
    PQclear(r);
    bool kept = pipeline->outbox.on_publish == ON_PUBLISH_KEEP;
    bool log = pipeline->capture == CAPTURE_WAL;
    if (count == 0 || (kept && slot)) {
        return; /* kept rows do not tell whether they were published */
    }
    Text *facts = &b->check->facts;
    bool one = count == 1;
    text_printf(facts, "waiting        %s%lld row%s of %s %s %s, and %s %s %s",
                count > COUNT_MOST ? "over " : "", count > COUNT_MOST ? COUNT_MOST : count,
                one ? "" : "s", pipeline->outbox.table, one ? "is" : "are",
                kept ? "there" : "not published",
                log && !slot ? "the first outboxd run publishes" : "outboxd run publishes",
                one ? "it" : "them",
                !log   ? "first"
                : slot ? "as the relay reads them from the WAL"
                       : "before it reads the WAL");
    if (b->events > 0 && (long long)b->events < count) {
        text_printf(facts, "; of the oldest %zu", b->events);
    }
    if (b->events > 0) {
        backlog_add_topics(b, facts);
    }
    text_add(facts, "\n");
    bool ours = strcmp(look->schema, "outbox") == 0 && strcmp(look->name, "event") == 0;
    if (!ours && !slot && pipeline->outbox.on_publish == ON_PUBLISH_MARK) {
        AUTO_TEXT published = ident_quote(pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
        text_printf(facts,
                    "               if consumers already have them: UPDATE %s SET %s = now() WHERE "
                    "%s IS NULL;\n",
                    b->table->name, published, published);
    } else if (!ours && !slot) {
        text_printf(facts,
                    "               if consumers already have them, empty the table first: DELETE "
                    "FROM %s;\n",
                    b->table->name);
    }
}

void check_backlog(Check *check, const PipelineConfig *pipeline, const PreconditionLook *look)
{
    Backlog b = {.check = check, .pipeline = pipeline};
    AUTO_ERROR err = {0};
    bool begun = backlog_begin(&b, look, &err) == OK;
    bool routed = pipeline->sink == SINK_KAFKA;
    if (begun && routed && backlog_read(&b, &err) != OK) {
        check_problem(check, EXIT_POSTGRES, "database",
                      *error_own_hint(&err) != '\0' ? error_own_hint(&err) : NULL, "%s",
                      error_message(&err));
    }
    if (b.unpublishable > 1) {
        check_warning(check, "backlog", NULL, "%zu of the oldest %zu events of %s are like that",
                      b.unpublishable, b.events, pipeline->outbox.table);
    }
    if (begun) {
        backlog_say(&b, look);
    }
    backlog_end(&b);
}
