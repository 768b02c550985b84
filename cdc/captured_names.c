#include "cdc/captured_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void captured_names_add(CapturedNames *names, uint16_t number, Slice name, bool certain)
{
    if (number == 0) {
        return;
    }
    for (size_t i = 0; i < names->items.count; i++) {
        CapturedName *known = &names->items.items[i];
        if (known->number == number && slice_equal(slice_of(known->name), name)) {
            known->certain = known->certain || certain;
            return;
        }
    }
    *vec_add(&names->items) = (CapturedName){
        .number = number, .certain = certain, .name = x_strndup(name.data, name.length)};
}

void captured_names_add_all(CapturedNames *names, const CapturedNames *from)
{
    for (size_t i = 0; i < from->items.count; i++) {
        const CapturedName *name = &from->items.items[i];
        captured_names_add(names, name->number, slice_of(name->name), name->certain);
    }
}

void captured_names_meet(CapturedNames *names, const ChangeTableFacts *table)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        const ChangeColumnFacts *column = &table->columns.items[i];
        captured_names_add(names, column->number, slice_of(column->name), true);
    }
}

void captured_names_apply(CapturedNames *names, ChangeTableFacts *table)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        ChangeColumnFacts *column = &table->columns.items[i];
        for (size_t j = 0; j < names->items.count; j++) {
            const CapturedName *met = &names->items.items[j];
            if (met->number == column->number && strcmp(met->name, column->name) != 0) {
                change_column_alias(column, slice_of(met->name), met->certain);
            }
        }
    }
    captured_names_meet(names, table);
}

void captured_names_clear(CapturedNames *names)
{
    for (size_t i = 0; i < names->items.count; i++) {
        free(names->items.items[i].name);
    }
    vec_free(&names->items);
}
