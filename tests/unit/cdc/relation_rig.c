#include "relation_rig.h"

#include <string.h>

#include "base/memory.h"
#include "stub/given_schema.h"

RelationRig told;
static char *header_columns[] = {GIVEN("tenant"), GIVEN("region")};

static void begin(void)
{
    told.pipeline = given_pipeline();
    told.pipeline.outbox.header_columns.items = header_columns;
    told.pipeline.outbox.header_columns.count = 2;
    told.table = (OutboxTable){.config = &told.pipeline};
    told.relations = (Relations){.tree = &told.tree,
                                 .table = &told.table,
                                 .table_oid = OUTBOX,
                                 .schema = x_strdup("outbox"),
                                 .name = x_strdup("event")};
    told.batch = batch_new();
    error_clear(&told.err);
}

static void end(void)
{
    relations_release(&told.relations);
    tree_release(&told.tree);
    batch_free(&told.batch);
    text_free(&told.bytes);
}

TestSuite(relation, .init = begin, .fini = end);

const BuildColumn ENVELOPE[ENVELOPE_COLUMNS] = {
    {"seq", INT8},          {"event_id", TEXT}, {"event_type", TEXT}, {"aggregate_type", TEXT},
    {"aggregate_id", TEXT}, {"payload", JSONB},
};

Status told_put(uint32_t id, const char *schema, const char *name, const BuildColumn *columns,
                size_t count)
{
    text_clear(&told.bytes);
    build_relation(&told.bytes, id, schema, name, columns, count);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = told.bytes.data, .length = told.bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &told.err), OK, "%s",
                 error_message(&told.err));
    told.table.schema = given_schema_of(&told.pipeline);
    return relations_put(&told.relations, &message.relation, &told.err);
}

void told_put_with(const char *column, uint32_t type)
{
    BuildColumn columns[ENVELOPE_COLUMNS + 1];
    memcpy(columns, ENVELOPE, sizeof(ENVELOPE));
    columns[ENVELOPE_COLUMNS] = (BuildColumn){column, type};
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", columns, ENVELOPE_COLUMNS + 1), OK, "%s",
                 error_message(&told.err));
}

Status told_read_row(const Slice *values, size_t count, Event **ret_event)
{
    bool known = false;
    const Relation *relation = relations_find(&told.relations, OUTBOX, &known);
    cr_assert(known && relation != NULL);
    text_clear(&told.bytes);
    build_insert(&told.bytes, OUTBOX, values, count);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = told.bytes.data, .length = told.bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &told.err), OK, "%s",
                 error_message(&told.err));
    Status status = relation_read_row(relation, &message.change.new_tuple, NULL, told.batch,
                                      ret_event, &told.err);
    memset(told.bytes.data, '#', told.bytes.length);
    return status;
}

Event *told_read_with(Slice value)
{
    Event *event = NULL;
    const Slice values[] = {ENVELOPE_VALUES, value};
    cr_assert_eq(told_read_row(values, ENVELOPE_COLUMNS + 1, &event), OK, "%s",
                 error_message(&told.err));
    return event;
}

void told_assert_slice(Slice value, Slice expected, const char *what)
{
    cr_assert(slice_equal(value, expected), "%s: '%.*s', not '%.*s'", what, SLICE_ARG(value),
              SLICE_ARG(expected));
}

void told_put_type(uint32_t id, const char *schema, const char *name)
{
    PgOutputType type = {.id = id, .schema = slice_of(schema), .name = slice_of(name)};
    AUTO_ERROR none = {0};
    cr_assert_eq(relations_put_type(&told.relations, &type, &none), OK);
}
