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
    relation->numbers = x_calloc(relation->count + 1, sizeof(*relation->numbers));
    relation->certain = x_calloc(relation->count + 1, sizeof(*relation->certain));
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
    free((*relation)->numbers);
    free((*relation)->certain);
    free((*relation)->columns);
    free((*relation)->in_identity);
    free((*relation)->names);
    free(*relation);
    *relation = NULL;
}

static bool relation_has(const CapturedRelation *relation, Slice name)
{
    for (size_t i = 0; i < relation->count; i++) {
        if (slice_equal(relation->columns[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* In the place of a column that is gone there is a new one of its type. One that was dropped and
 * another that was added look the same: what is hidden too much does less harm. */
static bool relation_renamed(const CapturedRelation *relation, const CapturedRelation *before,
                             size_t at)
{
    const ChangeColumn *was = &before->columns[at];
    const ChangeColumn *is = &relation->columns[at];
    return was->type == is->type && !relation_has(before, is->name) &&
           !relation_has(relation, was->name);
}

static uint16_t relation_number(const CapturedRelation *relation, const CapturedRelation *before,
                                size_t at)
{
    for (size_t i = 0; i < before->count; i++) {
        if (slice_equal(before->columns[i].name, relation->columns[at].name)) {
            return before->numbers[i];
        }
    }
    return at < before->count && relation_renamed(relation, before, at) ? before->numbers[at] : 0;
}

void captured_relation_follow(CapturedRelation *relation, const CapturedRelation *before)
{
    uint16_t highest = 0;
    for (size_t i = 0; before != NULL && i < before->count; i++) {
        highest = before->numbers[i] > highest ? before->numbers[i] : highest;
    }
    for (size_t i = 0; i < relation->count; i++) {
        uint16_t number = before != NULL ? relation_number(relation, before, i) : 0;
        relation->numbers[i] = number != 0 ? number : ++highest;
        relation->certain[i] = true;
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
