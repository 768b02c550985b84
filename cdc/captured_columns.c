#include "cdc/captured_columns.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A column that the table has or had. */
typedef struct Place {
    uint16_t number;
    const ChangeColumnFacts *column; /* NULL: it was dropped */
    size_t needed;                   /* places before it that the relation must have */
} Place;

typedef struct Places {
    VEC(Place) items;
} Places;

/* How well they fit: a name that is the same tells most. */
enum { FIT_NONE = -1, FIT_TYPE = 2, FIT_DROPPED_LESS = 1, FIT_DROPPED_MORE = 3, FIT_NAME = 4 };

static bool place_may_miss(const Place *place)
{
    return place->column == NULL || place->column->generated;
}

static void places_add(Places *places, uint16_t number, const ChangeColumnFacts *column)
{
    size_t needed = 0;
    if (places->items.count > 0) {
        const Place *before = &places->items.items[places->items.count - 1];
        needed = before->needed + !place_may_miss(before);
    }
    *vec_add(&places->items) = (Place){number, column, needed};
}

/* Two questions are asked, so one that was dropped between them is in both answers. */
static void places_collect(const ChangeTableFacts *table, const DroppedColumns *dropped,
                           Places *places)
{
    size_t gone = 0;
    for (size_t i = 0; i <= table->columns.count; i++) {
        const bool last = i == table->columns.count;
        const ChangeColumnFacts *column = last ? NULL : &table->columns.items[i];
        while (gone < dropped->numbers.count &&
               (last || dropped->numbers.items[gone] <= column->number)) {
            uint16_t number = dropped->numbers.items[gone++];
            if (last || number != column->number) {
                places_add(places, number, NULL);
            }
        }
        if (!last) {
            places_add(places, column->number, column);
        }
    }
}

static int32_t place_fit(const Place *place, const ChangeColumn *column, int32_t dropped)
{
    if (place->column == NULL) {
        return dropped;
    }
    if (slice_equal(slice_of(place->column->name), column->name)) {
        return FIT_NAME;
    }
    return place->column->type == column->type ? FIT_TYPE : 0;
}

/* Of the columns from the last to the first: best[i][a] is how well those from i on fit into the
 * places from a on. No more places can be left out than there are to spare. */
static bool columns_fit(const CapturedRelation *relation, const Places *places, int32_t dropped,
                        uint16_t *ret_numbers)
{
    const size_t count = relation->count;
    const size_t width = places->items.count + 1;
    if (places->items.count < count) {
        return false;
    }
    const size_t spare = places->items.count - count;
    int32_t *best = x_calloc((count + 1) * width, sizeof(*best));
    for (size_t i = count; i-- > 0;) {
        for (size_t a = i + spare + 1; a-- > i;) {
            const Place *place = &places->items.items[a];
            int32_t rest = best[(i + 1) * width + a + 1];
            int32_t with = rest == FIT_NONE
                               ? FIT_NONE
                               : rest + place_fit(place, &relation->columns[i], dropped);
            int32_t without =
                a < i + spare && place_may_miss(place) ? best[i * width + a + 1] : FIT_NONE;
            best[i * width + a] = with >= without ? with : without;
        }
    }
    const bool fits = best[0] != FIT_NONE;
    for (size_t i = 0, a = 0; fits && i < count; a++) {
        const Place *place = &places->items.items[a];
        int32_t rest = best[(i + 1) * width + a + 1];
        if (rest != FIT_NONE &&
            best[i * width + a] == rest + place_fit(place, &relation->columns[i], dropped)) {
            ret_numbers[i++] = place->number;
        }
    }
    free(best);
    return fits;
}

/* Where a column was dropped, one of its type that came since may look like it, renamed: it is
 * taken for it, since what is hidden too much does less harm, but that is not certain. */
bool captured_columns_find(CapturedRelation *relation, const ChangeTableFacts *table,
                           const DroppedColumns *dropped)
{
    Places places = {0};
    places_collect(table, dropped, &places);
    uint16_t *numbers = x_calloc(relation->count + 1, sizeof(*numbers));
    uint16_t *others = x_calloc(relation->count + 1, sizeof(*others));
    const bool fits = columns_fit(relation, &places, FIT_DROPPED_LESS, numbers) &&
                      columns_fit(relation, &places, FIT_DROPPED_MORE, others);
    for (size_t i = 0; fits && i < relation->count; i++) {
        relation->numbers[i] = numbers[i];
        relation->certain[i] = numbers[i] == others[i];
    }
    free(numbers);
    free(others);
    vec_free(&places.items);
    return fits;
}

/* What else a column may be. */

/* As many are before it in the relation as must be before the place, and can be. */
static bool place_may_be(const Places *places, size_t a, size_t at)
{
    const Place *place = &places->items.items[a];
    return place->column != NULL && place->needed <= at && at <= a;
}

static bool relation_has_name(const CapturedRelation *relation, const char *name)
{
    for (size_t i = 0; i < relation->count; i++) {
        if (slice_equal(relation->columns[i].name, slice_of(name))) {
            return true;
        }
    }
    return false;
}

static bool column_has_name(const Places *places, const CapturedRelation *relation, size_t at)
{
    for (size_t a = at; a < places->items.count; a++) {
        if (place_may_be(places, a, at) &&
            slice_equal(slice_of(places->items.items[a].column->name),
                        relation->columns[at].name)) {
            return true;
        }
    }
    return false;
}

void captured_columns_list(const CapturedRelation *relation, const ChangeTableFacts *table,
                           const DroppedColumns *dropped, MaybeColumns *ret)
{
    Places places = {0};
    places_collect(table, dropped, &places);
    for (size_t i = 0; i < relation->count; i++) {
        bool known = column_has_name(&places, relation, i);
        for (size_t a = i; !known && a < places.items.count; a++) {
            const ChangeColumnFacts *column = places.items.items[a].column;
            if (place_may_be(&places, a, i) && !relation_has_name(relation, column->name)) {
                *vec_add(&ret->items) = (MaybeColumn){
                    .at = i, .number = column->number, .name = x_strdup(column->name)};
            }
        }
    }
    vec_free(&places.items);
}

void captured_columns_clear(MaybeColumns *maybe)
{
    for (size_t i = 0; i < maybe->items.count; i++) {
        free(maybe->items.items[i].name);
    }
    vec_free(&maybe->items);
}
