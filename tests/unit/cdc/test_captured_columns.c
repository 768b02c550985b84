#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cdc/captured_columns.h"
#include "stub/random.h"

/* A table that lives through random DDL: the relation is it at one time, the catalog it at the
 * end. */

enum { COLUMNS_MAX = 40, TYPES = 3, STEPS = 6 };

typedef struct ModelColumn {
    uint16_t number;
    char name[8];
    uint32_t type;
    bool dropped;
} ModelColumn;

typedef struct Model {
    ModelColumn columns[COLUMNS_MAX];
    uint16_t count;
    unsigned names; /* given so far */
} Model;

static void model_add(Model *model, Random *random)
{
    ModelColumn *column = &model->columns[model->count];
    *column =
        (ModelColumn){.number = ++model->count, .type = 20 + (uint32_t)random_below(random, TYPES)};
    snprintf(column->name, sizeof(column->name), "c%u", model->names++);
}

static ModelColumn *model_any(Model *model, Random *random)
{
    for (size_t tries = 0; tries < 100; tries++) {
        ModelColumn *column = &model->columns[random_below(random, model->count)];
        if (!column->dropped) {
            return column;
        }
    }
    return NULL;
}

static void model_alter(Model *model, Random *random)
{
    ModelColumn *column = model_any(model, random);
    size_t what = random_below(random, 4);
    if (what == 0 && model->count < COLUMNS_MAX) {
        model_add(model, random);
    } else if (what == 1 && column != NULL) {
        snprintf(column->name, sizeof(column->name), "c%u", model->names++);
    } else if (what == 2 && column != NULL) {
        column->dropped = true;
    } else if (column != NULL) {
        column->type = 20 + (uint32_t)random_below(random, TYPES);
    }
}

static CapturedRelation *model_relation(const Model *model, uint16_t *ret_true)
{
    CapturedRelation *relation = x_calloc(1, sizeof(*relation));
    relation->columns = x_calloc(COLUMNS_MAX, sizeof(*relation->columns));
    relation->numbers = x_calloc(COLUMNS_MAX, sizeof(*relation->numbers));
    relation->certain = x_calloc(COLUMNS_MAX, sizeof(*relation->certain));
    relation->names = x_calloc(COLUMNS_MAX, sizeof(model->columns[0].name));
    for (size_t i = 0; i < model->count; i++) {
        const ModelColumn *column = &model->columns[i];
        if (!column->dropped) {
            char *name = relation->names + relation->count * sizeof(column->name);
            memcpy(name, column->name, sizeof(column->name));
            relation->columns[relation->count] =
                (ChangeColumn){.name = slice_of(name), .type = column->type};
            ret_true[relation->count++] = column->number;
        }
    }
    return relation;
}

static void model_catalog(const Model *model, ChangeTableFacts *table, DroppedColumns *dropped)
{
    for (size_t i = 0; i < model->count; i++) {
        const ModelColumn *column = &model->columns[i];
        if (column->dropped) {
            *vec_add(&dropped->numbers) = column->number;
        } else {
            *vec_add(&table->columns) = (ChangeColumnFacts){
                .name = x_strdup(column->name), .type = column->type, .number = column->number};
        }
    }
}

static bool is_listed(const MaybeColumns *maybe, size_t at, uint16_t number)
{
    for (size_t i = 0; i < maybe->items.count; i++) {
        if (maybe->items.items[i].at == at && maybe->items.items[i].number == number) {
            return true;
        }
    }
    return false;
}

static bool has_its_name(const ChangeTableFacts *table, const CapturedRelation *relation, size_t at,
                         uint16_t number)
{
    for (size_t i = 0; i < table->columns.count; i++) {
        const ChangeColumnFacts *column = &table->columns.items[i];
        if (column->number == number) {
            return slice_equal(slice_of(column->name), relation->columns[at].name);
        }
    }
    return false;
}

static void walk(uint64_t seed)
{
    Random random = random_new(seed);
    Model model = {0};
    for (size_t i = 0; i < 4; i++) {
        model_add(&model, &random);
    }
    for (size_t i = random_below(&random, STEPS); i > 0; i--) {
        model_alter(&model, &random);
    }
    uint16_t real[COLUMNS_MAX];
    AUTO(CapturedRelation, captured_relation_free) relation = model_relation(&model, real);
    for (size_t i = random_below(&random, STEPS); i > 0; i--) {
        model_alter(&model, &random);
    }
    ChangeTableFacts table = {0};
    DroppedColumns dropped = {0};
    model_catalog(&model, &table, &dropped);
    cr_assert(captured_columns_find(relation, &table, &dropped), "seed %" PRIu64, seed);
    MaybeColumns maybe = {0};
    captured_columns_list(relation, &table, &dropped, &maybe);
    for (size_t i = 0; i < relation->count; i++) {
        bool there = !model.columns[real[i] - 1].dropped;
        bool found = relation->numbers[i] == real[i] || is_listed(&maybe, i, real[i]);
        cr_assert(!there || found || has_its_name(&table, relation, i, real[i]),
                  "seed %" PRIu64 ": column %u of then is taken for %u", seed, real[i],
                  relation->numbers[i]);
        cr_assert(dropped.numbers.count > 0 || relation->numbers[i] == real[i],
                  "seed %" PRIu64 ": without a dropped column there is no doubt", seed);
    }
    captured_columns_clear(&maybe);
    for (size_t i = 0; i < table.columns.count; i++) {
        free(table.columns.items[i].name);
    }
    vec_free(&table.columns);
    vec_free(&dropped.numbers);
}

/* Else a column that a mapping hides by its name of now would be shown under its name of then. */
Test(captured_columns, whatever_a_column_is_now_is_among_what_it_is_taken_for)
{
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        walk(seed);
    }
}
