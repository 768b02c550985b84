#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/relation_internal.h"
#include "config/columns.h"
#include "flow/event.h"

/* pg_type.dat */
enum {
    BOOL_OID = 16,
    BYTEA_OID = 17,
    CIDR_OID = 650,
    INET_OID = 869,
    BPCHAR_OID = 1042,
};

/* A type that is not built in, such as a domain, and the type below it. */
struct RelationType {
    uint32_t id;
    uint32_t base;
};

void relations_reset(Relations *relations)
{
    for (size_t i = 0; i < relations->count; i++) {
        free(relations->items[i]);
    }
    relations->count = 0;
    relations->stranger_count = relations->stranger_next = 0;
    relations->forgot = false;
    relations->type_count = 0;
}

void relations_release(Relations *relations)
{
    relations_reset(relations);
    free(relations->items);
    free(relations->strangers);
    free(relations->types);
    free(relations->schema);
    free(relations->name);
    *relations = (Relations){0};
}

static Conversion column_conversion(uint32_t type, ColumnClass class)
{
    switch (type) {
    case BOOL_OID:
        return BOOL_TEXT;
    case BPCHAR_OID:
        return BPCHAR_TEXT;
    case INET_OID:
    case CIDR_OID:
        return INET_TEXT;
    case BYTEA_OID:
        return class == COLUMN_BYTES ? BYTEA_BYTES : AS_SENT;
    default:
        return AS_SENT;
    }
}

static Status relations_too_many(const char *what, int most, Error *err)
{
    return error_set(err, CODE_PG_PROTOCOL, "the server told of more than %d %s in one stream",
                     most, what);
}

/* pgoutput tells of a domain with the name of the type below it (logicalrep_write_typ() of
 * PostgreSQL; the empty schema is pg_catalog). */
Status relations_put_type(Relations *relations, const PgOutputType *message, Error *err)
{
    static const struct {
        const char *name;
        uint32_t id;
    } converted[] = {{"bool", BOOL_OID},
                     {"bytea", BYTEA_OID},
                     {"cidr", CIDR_OID},
                     {"inet", INET_OID},
                     {"bpchar", BPCHAR_OID}};
    RelationType type = {.id = message->id};
    bool built_in =
        message->schema.length == 0 || slice_equal(message->schema, SLICE_LITERAL("pg_catalog"));
    for (size_t i = 0; built_in && i < sizeof(converted) / sizeof(converted[0]); i++) {
        if (slice_equal(message->name, slice_of(converted[i].name))) {
            type.base = converted[i].id;
        }
    }
    for (size_t i = 0; i < relations->type_count; i++) {
        if (relations->types[i].id == type.id) {
            relations->types[i] = type.base != 0 ? type : relations->types[--relations->type_count];
            return OK;
        }
    }
    if (type.base == 0) {
        return OK; /* as sent, like one that nobody told of */
    }
    if (relations->type_count >= RELATIONS_TYPES_MAX) {
        return relations_too_many("types", RELATIONS_TYPES_MAX, err);
    }
    relations->types =
        x_realloc(relations->types, (relations->type_count + 1) * sizeof(*relations->types));
    relations->types[relations->type_count++] = type;
    return OK;
}

static uint32_t relations_base_type(const Relations *relations, uint32_t id)
{
    for (size_t i = 0; i < relations->type_count; i++) {
        if (relations->types[i].id == id) {
            return relations->types[i].base;
        }
    }
    return id;
}

static bool relation_has(const Relation *relation, int target)
{
    for (size_t i = 0; i < relation->use_count; i++) {
        if (relation->uses[i].target == target) {
            return true;
        }
    }
    return false;
}

static void relation_use(Relation *relation, const Relations *relations, size_t number,
                         const PgOutputColumn *column)
{
    size_t first = relation->use_count;
    int targets = (int)relation->schema->count;
    for (int target = 0; target < targets; target++) {
        if (column->name.length == 0 || relation_has(relation, target) ||
            !slice_equal(column->name, slice_of(relations->table->schema->columns[target].name))) {
            continue;
        }
        relation->uses[relation->use_count++] = (ColumnUse){
            .column = number,
            .target = target,
            .conversion = column_conversion(relations_base_type(relations, column->type),
                                            relations->table->schema->columns[target].class)};
    }
    for (size_t i = first; i < relation->use_count; i++) {
        relation->uses[i].shared = relation->use_count - first > 1;
    }
}

uint32_t relations_owner(const Relations *relations, uint32_t id)
{
    if (id == relations->table_oid || tree_has(relations->tree, id)) {
        return relations->table_oid;
    }
    for (size_t i = 0; relations->old != NULL && i < relations->old->count; i++) {
        const OldTable *old = &relations->old->items[i];
        if (old->oid == id || tree_has(&old->tree, id)) {
            return old->oid;
        }
    }
    return 0;
}

bool relations_own_by_name(const Relations *relations, const PgOutputRelation *message)
{
    return relations_owner(relations, message->id) == 0 &&
           slice_equal(message->schema, slice_of(relations->schema)) &&
           slice_equal(message->name, slice_of(relations->name));
}

/* By its OID. By its name, too: what a table that was made again had in the log before. */
static bool relations_own(const Relations *relations, const PgOutputRelation *message)
{
    return relations_owner(relations, message->id) != 0 ||
           relations_own_by_name(relations, message);
}

static Relation *relation_new(const Relations *relations, const PgOutputRelation *message)
{
    const Schema *schema = relations->table->schema;
    Relation *relation = x_calloc(1, sizeof(*relation) + schema->count * sizeof(relation->uses[0]));
    relation->id = message->id;
    relation->schema = schema;
    relation->column_count = message->columns;
    relation->event_bytes_max = relations->table->config->limits.event_bytes;
    ByteReader rest = bytes_reader(message->bytes.data, message->bytes.length);
    relation->published = relation->column_count;
    for (size_t i = 0; i < message->columns; i++) {
        PgOutputColumn column = pgoutput_column(&rest);
        relation_use(relation, relations, i, &column);
        if (column.name.length > 0 &&
            slice_equal(column.name,
                        slice_of(relations->table->config->outbox.columns[FIELD_PUBLISHED_AT]))) {
            relation->published = i;
        }
    }
    return relation;
}

/* What an event cannot be without, as far as the table is said to have it. */
enum { NEEDED_COLUMNS = 7 };

typedef struct NeededColumn {
    EventField field;
    const char *column; /* "": not needed */
} NeededColumn;

/* The name, or "" where the table has no such column and the pipeline does without. */
static const char *needed_name(const Relations *relations, EventField field)
{
    bool absent = (relations->absent & TABLE_COLUMN(field)) != 0;
    return absent ? "" : column_name(relations->table->config, field);
}

static void relations_needed(const Relations *relations, NeededColumn ret_needed[NEEDED_COLUMNS])
{
    const PipelineConfig *pipeline = relations->table->config;
    const char *payload = needed_name(relations, FIELD_PAYLOAD);
    bool bytes_alone = *payload == '\0';
    bool keep = pipeline->outbox.on_publish == ON_PUBLISH_KEEP;
    const NeededColumn needed[NEEDED_COLUMNS] = {
        {FIELD_SEQ, keep ? "" : column_name(pipeline, FIELD_SEQ)},
        {FIELD_EVENT_ID, column_name(pipeline, FIELD_EVENT_ID)},
        {FIELD_EVENT_TYPE, column_name(pipeline, FIELD_EVENT_TYPE)},
        {FIELD_AGGREGATE_TYPE, needed_name(relations, FIELD_AGGREGATE_TYPE)},
        {FIELD_AGGREGATE_ID, needed_name(relations, FIELD_AGGREGATE_ID)},
        {FIELD_PAYLOAD, payload},
        {FIELD_PAYLOAD_BYTES, bytes_alone ? column_name(pipeline, FIELD_PAYLOAD_BYTES) : ""},
    };
    memcpy(ret_needed, needed, sizeof(needed));
}

static bool message_has(const PgOutputRelation *message, Slice name)
{
    ByteReader rest = bytes_reader(message->bytes.data, message->bytes.length);
    bool found = false;
    for (size_t column = 0; column < message->columns && !found; column++) {
        found = slice_equal(pgoutput_column(&rest).name, name);
    }
    return found;
}

bool relations_could_be_ours(const Relations *relations, const PgOutputRelation *message)
{
    NeededColumn needed[NEEDED_COLUMNS];
    relations_needed(relations, needed);
    for (size_t i = 0; i < NEEDED_COLUMNS; i++) {
        Slice name = slice_of(needed[i].column);
        if (name.length > 0 && !message_has(message, name)) {
            return false;
        }
    }
    return true;
}

/* A column that is used and not sent: it may have become a generated one. */
static bool relations_miss_column(const Relations *relations, const PgOutputRelation *message)
{
    int targets = (int)relations->table->schema->count;
    for (int target = 0; target < targets; target++) {
        Slice name = slice_of(relations->table->schema->columns[target].name);
        if (name.length > 0 && !message_has(message, name)) {
            return true;
        }
    }
    return false;
}

bool relations_must_ask(const Relations *relations, const PgOutputRelation *message)
{
    if (relations_own_by_name(relations, message) && relations->old != NULL) {
        return true;
    }
    if (relations_own(relations, message)) {
        return relations_miss_column(relations, message);
    }
    /* A table that is none of ours may be attached later: then it has our columns. */
    return !tree_has_stranger(relations->tree, message->id) ||
           relations_could_be_ours(relations, message);
}

bool relations_told_before(const Relations *relations, const PgOutputRelation *message)
{
    bool known = false;
    return relations_find(relations, message->id, &known) != NULL;
}

/* A generated column that is used and not in the message: its values would be lost in silence. */
static Status relation_check_generated(const Relations *relations, const Relation *relation,
                                       Error *err)
{
    int targets = (int)relation->schema->count;
    for (int target = 0; target < targets; target++) {
        const char *column = relations->table->schema->columns[target].name;
        if (slice_of(column).length == 0 || relation_has(relation, target) ||
            !tree_generates(relations->tree, column)) {
            continue;
        }
        error_set_as(
            err, ERROR_FATAL, EXIT_POSTGRES, CODE_COLUMN_GENERATED,
            "column '%s' of table '%s' is generated, and the server does not send its value",
            column, relations->table->config->outbox.table);
        return error_hint(err,
                          "Fill the column by a trigger or a default instead, name another one in "
                          "the configuration, or use capture = \"poll\"; with PostgreSQL 18: ALTER "
                          "PUBLICATION %s SET (publish_generated_columns = stored);",
                          relations->table->config->wal.publication);
    }
    return OK;
}

/* The log stays what it is, also when the table is mended. */
static const char *relation_way_out(const Relations *relations)
{
    return relations->table->config->outbox.on_publish == ON_PUBLISH_KEEP
               ? "`outboxd run --new-slot` skips this part of the WAL, creates the slot again and "
                 "publishes the rows of the table from its beginning."
               : "`outboxd run --new-slot` skips this part of the WAL, creates the slot again and "
                 "publishes the rows of the table that are still unpublished.";
}

/* A row is read as its table was when it was written. A column that was added later reads as NULL;
 * one that an event cannot be without was renamed or dropped: going on would publish events without
 * key or value, in silence. */
static Status relation_check(const Relations *relations, const Relation *relation, Error *err)
{
    NeededColumn needed[NEEDED_COLUMNS];
    relations_needed(relations, needed);
    if (relation_check_generated(relations, relation, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < NEEDED_COLUMNS; i++) {
        if (slice_of(needed[i].column).length == 0 ||
            relation_has(relation, (int)needed[i].field)) {
            continue;
        }
        error_set_as(err, ERROR_FATAL, EXIT_POSTGRES, CODE_COLUMN_MISSING,
                     "table '%s' has no column '%s' at this position of the WAL",
                     relations->table->config->outbox.table, needed[i].column);
        return error_hint(err,
                          "If it was renamed, set columns.%s to its new name; \"\" continues "
                          "without it. If the table has the column again: %s",
                          event_field_name(needed[i].field), relation_way_out(relations));
    }
    return OK;
}

static size_t strangers_find(const Relations *relations, uint32_t id)
{
    size_t i = 0;
    while (i < relations->stranger_count && relations->strangers[i] != id) {
        i++;
    }
    return i;
}

static void strangers_put(Relations *relations, uint32_t id)
{
    if (strangers_find(relations, id) < relations->stranger_count) {
        return;
    }
    if (relations->stranger_count < RELATIONS_STRANGERS_MAX) {
        size_t count = relations->stranger_count;
        if ((count & (count - 1)) == 0) { /* full: room doubles */
            relations->strangers =
                x_realloc(relations->strangers, (count > 0 ? 2 * count : 1) * sizeof(uint32_t));
        }
        relations->strangers[relations->stranger_count++] = id;
        return;
    }
    relations->forgot = true;
    relations->strangers[relations->stranger_next] = id;
    relations->stranger_next = (relations->stranger_next + 1) % RELATIONS_STRANGERS_MAX;
}

static void strangers_remove(Relations *relations, uint32_t id)
{
    size_t at = strangers_find(relations, id);
    if (at < relations->stranger_count) {
        relations->strangers[at] = 0; /* no relation has it; its place is used again in its turn */
    }
}

static size_t relations_at(const Relations *relations, uint32_t id)
{
    size_t i = 0;
    while (i < relations->count && relations->items[i]->id != id) {
        i++;
    }
    return i;
}

Status relations_put(Relations *relations, const PgOutputRelation *message, Error *err)
{
    size_t at = relations_at(relations, message->id);
    bool known = at < relations->count;
    if (relations->tree->full) { /* one that is not kept would pass for a stranger */
        return relations_too_many("partitions of the outbox", TREE_MEMBERS_MAX, err);
    }
    if (!relations_own(relations, message)) {
        if (known) {
            free(relations->items[at]);
            relations->items[at] = relations->items[--relations->count];
        }
        strangers_put(relations, message->id);
        return OK;
    }
    if (!known && relations->count >= RELATIONS_MAX) {
        return relations_too_many("tables of the outbox", RELATIONS_MAX, err);
    }
    Relation *relation = relation_new(relations, message);
    if (relation_check(relations, relation, err) != OK) {
        free(relation);
        return FAILED;
    }
    if (known) {
        free(relations->items[at]);
        relations->items[at] = relation;
        return OK;
    }
    strangers_remove(relations, message->id);
    relations->items =
        x_realloc(relations->items, (relations->count + 1) * sizeof(*relations->items));
    relations->items[relations->count++] = relation;
    return OK;
}

const Relation *relations_find(const Relations *relations, uint32_t id, bool *ret_known)
{
    size_t at = relations_at(relations, id);
    if (at < relations->count) {
        *ret_known = true;
        return relations->items[at];
    }
    *ret_known = relations->forgot || strangers_find(relations, id) < relations->stranger_count;
    return NULL;
}
