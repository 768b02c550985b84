#include "cdc/captured_relation.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

CapturedRelation *captured_relation_new(const PgOutputRelation *message)
{
    CapturedRelation *relation = x_calloc(1, sizeof(*relation));
    Slice schema = message->schema.length > 0 ? message->schema : SLICE_LITERAL("pg_catalog");
    relation->oid = message->id;
    relation->schema = x_strndup(schema.data, schema.length);
    relation->name = x_strndup(message->name.data, message->name.length);
    relation->identity = message->replica_identity;
    relation->count = message->columns;
    relation->columns = x_calloc(relation->count + 1, sizeof(*relation->columns));
    relation->called = x_calloc(relation->count + 1, sizeof(*relation->called));
    relation->in_identity = x_calloc(relation->count + 1, sizeof(*relation->in_identity));
    relation->names = x_malloc(message->bytes.length + 1); /* they are a part of it */
    char *next = relation->names;
    ByteReader rest = bytes_reader(message->bytes.data, message->bytes.length);
    for (size_t i = 0; i < relation->count; i++) {
        PgOutputColumn column = pgoutput_column(&rest);
        memcpy(next, column.name.data, column.name.length);
        relation->columns[i] = (ChangeColumn){.name = {.data = next, .length = column.name.length},
                                              .type = column.type,
                                              .modifier = column.type_modifier};
        relation->in_identity[i] = column.key;
        next += column.name.length;
    }
    return relation;
}

void captured_relation_free(CapturedRelation **relation)
{
    if (*relation == NULL) {
        return;
    }
    free((*relation)->schema);
    free((*relation)->name);
    for (size_t i = 0; i < (*relation)->count; i++) {
        free((*relation)->called[i]);
    }
    free((*relation)->called);
    free((*relation)->columns);
    free((*relation)->in_identity);
    free((*relation)->names);
    free(*relation);
    *relation = NULL;
}

static bool has_column(const ChangeColumn *columns, size_t count, Slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(columns[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* In the place of a column that is gone there is a new one of its type. One that was dropped and
 * another that was added look the same: what is hidden too much does less harm. */
static bool is_renamed(const CapturedRelation *before, const ChangeRelation *now, size_t at)
{
    const ChangeColumn *was = &before->columns[at];
    const ChangeColumn *is = &now->columns[at];
    return was->type == is->type && !has_column(before->columns, before->count, is->name) &&
           !has_column(now->columns, now->count, was->name);
}

Slice captured_relation_called(const CapturedRelation *before, const ChangeRelation *now, size_t at)
{
    if (at >= before->count) {
        return SLICE_NULL;
    }
    const Slice was = before->columns[at].name;
    bool same = slice_equal(was, now->columns[at].name);
    if (!same && !is_renamed(before, now, at)) {
        return SLICE_NULL;
    }
    if (before->called[at] != NULL) {
        return slice_of(before->called[at]);
    }
    return same ? SLICE_NULL : was;
}

void captured_relation_follow(CapturedRelation *relation, const CapturedRelation *before)
{
    const ChangeRelation now = {relation->oid, relation->columns, relation->count};
    for (size_t i = 0; i < relation->count; i++) {
        Slice called = captured_relation_called(before, &now, i);
        if (!slice_is_null(called)) {
            relation->called[i] = x_strndup(called.data, called.length);
        }
    }
}

void captured_relation_add_types(const CapturedRelation *relation, Text *out)
{
    text_add_char(out, '{');
    for (size_t i = 0; i < relation->count; i++) {
        text_printf(out, "%s%u", i > 0 ? "," : "", relation->columns[i].type);
    }
    text_add_char(out, '}');
}
