#include "table_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "flow/schema.h"

enum { RIG_TABLE = 5000, TEXT_MAX = 16384 };

const char RIG_UNSENT[] = "(not sent)";

static void know(Rig *rig, ChangeTypeFacts type, const char *name)
{
    type.schema = x_strdup("shop");
    type.name = x_strdup(name);
    type.delimiter = ',';
    *vec_add(&rig->catalog.types) = type;
}

Rig *rig_new(bool schemas)
{
    Rig *rig = x_calloc(1, sizeof(*rig));
    rig->modes.told = schemas ? TOLD_SCHEMAS : 0;
    know(rig, (ChangeTypeFacts){.oid = RIG_TEXT, .kind = 'b'}, "text");
    know(rig, (ChangeTypeFacts){.oid = 1043, .kind = 'b'}, "varchar");
    know(rig, (ChangeTypeFacts){.oid = RIG_MOOD, .kind = 'e'}, "mood");
    know(rig, (ChangeTypeFacts){.oid = RIG_MOODS, .kind = 'b', .element = RIG_MOOD}, "_mood");
    know(rig, (ChangeTypeFacts){.oid = RIG_FEELING, .kind = 'd', .base = RIG_MOOD, .modifier = -1},
         "feeling");
    know(rig, (ChangeTypeFacts){.oid = RIG_NAME, .kind = 'd', .base = 1043, .modifier = 9}, "name");
    know(rig, (ChangeTypeFacts){.oid = RIG_CITEXT, .kind = 'b'}, "citext");
    know(rig, (ChangeTypeFacts){.oid = RIG_PAIR, .kind = 'c'}, "pair");
    rig_label(rig, "sad,ok");
    const ChangeOptions options = {
        .modes = rig->modes, .prefix = "p", .database = "db", .run = "run"};
    rig->events = change_events_new(&options);
    return rig;
}

void rig_free(Rig **rig)
{
    change_table_free(&(*rig)->table);
    change_events_free(&(*rig)->events);
    change_catalog_clear(&(*rig)->catalog);
    change_out_free(&(*rig)->out);
    arena_release(&(*rig)->arena);
    error_clear(&(*rig)->err);
    free(*rig);
    *rig = NULL;
}

void rig_label(Rig *rig, const char *labels)
{
    for (size_t i = 0; i < rig->catalog.types.count; i++) {
        if (rig->catalog.types.items[i].oid == RIG_MOOD) {
            free(rig->catalog.types.items[i].labels);
            rig->catalog.types.items[i].labels = x_strdup(labels);
        }
    }
}

/* The catalog knows one table, or none. */
static void forget_table(Rig *rig)
{
    ChangeCatalog others = {.types = {0}};
    memcpy(&others.types, &rig->catalog.types, sizeof(others.types));
    memset(&rig->catalog.types, 0, sizeof(rig->catalog.types));
    change_catalog_clear(&rig->catalog);
    rig->catalog = others;
    change_table_free(&rig->table);
}

Status rig_table(Rig *rig, const RigColumn *columns, const MappingConfig *mapping)
{
    forget_table(rig);
    ChangeTableFacts *facts = vec_add(&rig->catalog.tables);
    *facts = (ChangeTableFacts){
        .oid = RIG_TABLE, .schema = x_strdup("shop"), .name = x_strdup("item"), .identity = 'd'};
    ChangeColumn given[RIG_COLUMNS_MAX];
    size_t count = 0;
    for (; columns[count].name != NULL; count++) {
        const RigColumn *column = &columns[count];
        int32_t modifier = column->modifier != 0 ? column->modifier : -1;
        given[count] = (ChangeColumn){slice_of(column->name), column->type, modifier};
        *vec_add(&facts->columns) = (ChangeColumnFacts){
            .name = x_strdup(column->name),
            .type = column->type,
            .modifier = modifier,
            .not_null = column->not_null,
            .fallback = column->fallback != NULL ? x_strdup(column->fallback) : NULL,
            .in_key = column->in_key};
    }
    const ChangeTables tables = {
        .catalog = &rig->catalog, .modes = &rig->modes, .prefix = "p", .database = "d b"};
    return change_table_new(&tables, mapping, &(ChangeRelation){RIG_TABLE, given, count}, &rig->out,
                            &rig->table, &rig->err);
}

static const Slice *row_of(const char *const *texts, size_t count, Slice *row)
{
    for (size_t i = 0; texts != NULL && i < count; i++) {
        row[i] = texts[i] == RIG_UNSENT ? SLICE_UNSENT : slice_of(texts[i]);
    }
    return texts != NULL ? row : NULL;
}

Status rig_change(Rig *rig, char op, const char *const *old, const char *const *new)
{
    Slice before[RIG_COLUMNS_MAX];
    Slice after[RIG_COLUMNS_MAX];
    const ChangeRow row = {.op = op,
                           .old_row = row_of(old, rig->table->count, before),
                           .new_row = row_of(new, rig->table->count, after),
                           .place = &rig->place};
    return change_event_row(rig->events, rig->table, &row, &rig->arena, &rig->records, &rig->err);
}

const char *rig_text(Slice part)
{
    static char texts[4][TEXT_MAX];
    static size_t next;
    char *text = texts[next++ % 4];
    cr_assert_lt(part.length, TEXT_MAX);
    memcpy(text, part.data != NULL ? part.data : "(none)", part.data != NULL ? part.length : 6);
    text[part.data != NULL ? part.length : 6] = '\0';
    return text;
}

const char *rig_between(const Rig *rig, const char *from, const char *to)
{
    char *text = (char *)rig_text(rig->records.items[0].value);
    char *begin = strstr(text, from);
    cr_assert_not_null(begin, "%s", text);
    begin += strlen(from);
    char *end = strstr(begin, to);
    cr_assert_not_null(end, "%s", text);
    *end = '\0';
    return begin;
}
