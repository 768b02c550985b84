#include "cdc/captured_past.h"

#include <stdlib.h>

#include "base/memory.h"

static ChangeColumnFacts *past_find(ChangeTableFacts *table, Slice name)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        if (slice_equal(slice_of(table->columns.items[i].name), name)) {
            return &table->columns.items[i];
        }
    }
    return NULL;
}

static ChangeColumnFacts *past_add(ChangeTableFacts *table, const ChangeColumn *column)
{
    ChangeColumnFacts *added = vec_add(&table->columns);
    *added = (ChangeColumnFacts){.name = x_strndup(column->name.data, column->name.length),
                                 .type = column->type,
                                 .modifier = column->modifier};
    return added;
}

static void past_set(char **name, Slice to)
{
    free(*name);
    *name = x_strndup(to.data, to.length);
}

/* Names. */

static bool past_knows_all(const CapturedRelation *relation, ChangeTableFacts *table)
{
    for (size_t i = 0; i < relation->count; i++) {
        if (past_find(table, relation->columns[i].name) == NULL) {
            return false;
        }
    }
    return true;
}

/* The next column that the log has: generated ones may be left out of it. */
static size_t past_next(const ChangeTableFacts *table, size_t at, bool generated)
{
    while (at < table->columns.count && !generated && table->columns.items[at].generated) {
        at++;
    }
    return at;
}

/* The columns are those of then, by number and types. */
static bool past_is_same(const CapturedRelation *relation, const ChangeTableFacts *table,
                         bool generated)
{
    size_t at = 0;
    for (size_t i = 0; i < relation->count; i++) {
        at = past_next(table, at, generated);
        if (at == table->columns.count ||
            table->columns.items[at].type != relation->columns[i].type) {
            return false;
        }
        at++;
    }
    return past_next(table, at, generated) == table->columns.count;
}

/* A column that was renamed since has its name of then; a mapping may mean it by that of now. */
static void past_take_names(const CapturedRelation *relation, ChangeTableFacts *table)
{
    bool generated = past_is_same(relation, table, true);
    if (past_knows_all(relation, table) || (!generated && !past_is_same(relation, table, false))) {
        return;
    }
    for (size_t i = 0, at = 0; i < relation->count; i++, at++) {
        at = past_next(table, at, generated);
        ChangeColumnFacts *column = &table->columns.items[at];
        if (!slice_equal(slice_of(column->name), relation->columns[i].name)) {
            past_set(&column->alias, slice_of(column->name));
            past_set(&column->name, relation->columns[i].name);
        }
    }
}

/* A column that was renamed while this process reads: a mapping may mean it by its old name. */
static void past_take_called(const CapturedRelation *relation, ChangeTableFacts *table)
{
    for (size_t i = 0; i < relation->count; i++) {
        ChangeColumnFacts *column = past_find(table, relation->columns[i].name);
        if (column != NULL && relation->called[i] != NULL) {
            past_set(&column->alias, slice_of(relation->called[i]));
        }
    }
}

void captured_past_follow(const CapturedRelation *before, const ChangeRelation *now,
                          ChangeCatalog *catalog)
{
    ChangeTableFacts *table = change_catalog_edit(catalog, now->oid);
    for (size_t i = 0; table != NULL && i < now->count; i++) {
        ChangeColumnFacts *column = past_find(table, now->columns[i].name);
        Slice called = captured_relation_called(before, now, i);
        if (column != NULL && !slice_is_null(called)) {
            past_set(&column->alias, called);
        }
    }
}

/* The key. */

static size_t past_identity(const CapturedRelation *relation)
{
    size_t count = 0;
    for (size_t i = 0; i < relation->count; i++) {
        count += relation->in_identity[i];
    }
    return count;
}

/* Rows have all columns of the key of now. */
static bool past_has_key(const CapturedRelation *relation, const ChangeTableFacts *table)
{
    size_t has = 0;
    for (size_t i = 0; i < table->columns.count; i++) {
        const ChangeColumnFacts *column = &table->columns.items[i];
        for (size_t j = 0; column->in_key > 0 && j < relation->count; j++) {
            has += slice_equal(slice_of(column->name), relation->columns[j].name);
        }
        has -= column->in_key > 0;
    }
    return has == 0;
}

static bool past_is_key(const CapturedRelation *relation, ChangeTableFacts *table)
{
    size_t in_key = 0;
    for (size_t i = 0; i < table->columns.count; i++) {
        in_key += table->columns.items[i].in_key > 0;
    }
    for (size_t i = 0; i < relation->count; i++) {
        const ChangeColumnFacts *column = past_find(table, relation->columns[i].name);
        if (relation->in_identity[i] && (column == NULL || column->in_key == 0)) {
            return false;
        }
    }
    return in_key == past_identity(relation);
}

/* Its order is not told: that of the columns. */
static void past_take_identity(const CapturedRelation *relation, ChangeTableFacts *table)
{
    uint16_t place = 0;
    for (size_t i = 0; i < table->columns.count; i++) {
        table->columns.items[i].in_key = 0;
    }
    for (size_t i = 0; i < relation->count; i++) {
        if (relation->in_identity[i]) {
            ChangeColumnFacts *column = past_find(table, relation->columns[i].name);
            column = column != NULL ? column : past_add(table, &relation->columns[i]);
            column->in_key = ++place;
            column->not_null = true;
        }
    }
}

static void past_take_key(const CapturedRelation *relation, ChangeTableFacts *table)
{
    bool tells =
        relation->identity == 'd' || (relation->identity == 'i' && !past_has_key(relation, table));
    if (tells && past_identity(relation) > 0 && !past_is_key(relation, table)) {
        past_take_identity(relation, table);
    }
}

static void past_describe(const CapturedRelation *relation, ChangeTableFacts *table)
{
    for (size_t i = 0; i < relation->count; i++) {
        (void)past_add(table, &relation->columns[i]);
    }
    if (relation->identity != 'f') {
        past_take_identity(relation, table);
    }
}

void captured_past_apply(const CapturedRelation *relation, bool gone, ChangeCatalog *catalog)
{
    ChangeTableFacts *table = change_catalog_edit(catalog, relation->oid);
    if (table == NULL && gone) {
        table = change_catalog_put_table(catalog, relation->oid, relation->schema, relation->name,
                                         relation->identity);
        past_describe(relation, table);
    }
    if (table == NULL) {
        return;
    }
    past_set(&table->schema, slice_of(relation->schema));
    past_set(&table->name, slice_of(relation->name));
    past_take_names(relation, table);
    past_take_called(relation, table);
    past_take_key(relation, table);
}
