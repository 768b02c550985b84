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

/* A column of another name may be another column: a NULL of then would be shown as the default of
 * that. Debezium, too, knows no default and no NOT NULL of a name that the catalog does not have.
 */
static void past_distrust(ChangeColumnFacts *column)
{
    free(column->fallback);
    column->fallback = NULL;
    column->not_null = false;
}

/* A column that was renamed since has its name of then; a mapping may mean it by that of now. */
static void past_take_names(const CapturedRelation *relation, ChangeTableFacts *table)
{
    for (size_t i = 0, at = 0; i < relation->count; i++) {
        while (at < table->columns.count &&
               table->columns.items[at].number < relation->numbers[i]) {
            at++;
        }
        if (at == table->columns.count || table->columns.items[at].number != relation->numbers[i]) {
            ChangeColumnFacts *other = past_find(table, relation->columns[i].name);
            if (other != NULL) { /* it is dropped by now, and its name was given again */
                past_distrust(other);
            }
            continue;
        }
        ChangeColumnFacts *column = &table->columns.items[at];
        if (!slice_equal(slice_of(column->name), relation->columns[i].name)) {
            change_column_alias(column, slice_of(column->name), relation->certain[i]);
            past_set(&column->name, relation->columns[i].name);
            past_distrust(column);
        }
    }
}

/* All names by which this process met a column, of which a mapping may mean any. */
static void past_take_met(const CapturedRelation *relation, ChangeTableFacts *table,
                          CapturedNames *met)
{
    for (size_t i = 0; i < relation->count; i++) {
        ChangeColumnFacts *column = past_find(table, relation->columns[i].name);
        column = column != NULL ? column : past_add(table, &relation->columns[i]);
        for (size_t j = 0; j < met->items.count; j++) {
            const CapturedName *name = &met->items.items[j];
            if (name->number == relation->numbers[i] &&
                !slice_equal(slice_of(name->name), relation->columns[i].name)) {
                change_column_alias(column, slice_of(name->name),
                                    name->certain && relation->certain[i]);
            }
        }
        captured_names_add(met, relation->numbers[i], relation->columns[i].name,
                           relation->certain[i]);
    }
}

/* A column that has another name by now, in a table of which columns were dropped: whatever it may
 * be hides it. */
static void past_take_maybe(const CapturedRelation *relation, ChangeTableFacts *table,
                            const MaybeColumns *maybe, const CapturedNames *met)
{
    for (size_t i = 0; i < maybe->items.count; i++) {
        const MaybeColumn *may = &maybe->items.items[i];
        ChangeColumnFacts *column = past_find(table, relation->columns[may->at].name);
        change_column_alias(column, slice_of(may->name), false);
        for (size_t j = 0; j < met->items.count; j++) {
            if (met->items.items[j].number == may->number) {
                change_column_alias(column, slice_of(met->items.items[j].name), false);
            }
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
    for (size_t i = 0; tells && i < relation->count; i++) {
        ChangeColumnFacts *column = past_find(table, relation->columns[i].name);
        if (relation->in_identity[i] && column != NULL) {
            column->not_null = true; /* whatever it is called by now */
        }
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

void captured_past_apply(CapturedRelation *relation, const CapturedPast *past,
                         ChangeCatalog *catalog)
{
    ChangeTableFacts *table = change_catalog_edit(catalog, relation->oid);
    if (table == NULL && past->gone) {
        table = change_catalog_put_table(catalog, relation->oid, relation->schema, relation->name,
                                         relation->identity);
        past_describe(relation, table);
    }
    if (table == NULL) {
        return;
    }
    captured_names_meet(past->met, table);
    past_set(&table->schema, slice_of(relation->schema));
    past_set(&table->name, slice_of(relation->name));
    MaybeColumns maybe = {0};
    if (past->gone || !captured_columns_find(relation, table, past->dropped)) {
        captured_relation_follow(relation, past->before);
    } else {
        captured_columns_list(relation, table, past->dropped, &maybe);
        past_take_names(relation, table);
    }
    past_take_met(relation, table, past->met);
    past_take_maybe(relation, table, &maybe, past->met);
    captured_columns_clear(&maybe);
    past_take_key(relation, table);
}
