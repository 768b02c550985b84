#include "cdc/wal_start.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"

WalStart *start_new(const PipelineConfig *pipeline)
{
    WalStart *start = x_calloc(1, sizeof(*start));
    start->given = (SlotCase){.facts = x_calloc(1, sizeof(SlotFacts)),
                              .stored = x_calloc(1, sizeof(SlotStored)),
                              .known = x_calloc(1, sizeof(SlotKnown))};
    slot_forget_stored(start->given.stored);
    start->instance = x_calloc(1, sizeof(*start->instance));
    start->found = x_calloc(1, sizeof(*start->found));
    start->mapped = x_calloc(1, sizeof(*start->mapped));
    AUTO_TEXT name = ident_literal(pipeline->name);
    start->position_key = x_format("pipeline = %s", name);
    return start;
}

void start_forget(WalStart *start)
{
    *start->given.facts = (SlotFacts){0};
    slot_forget_stored(start->given.stored);
    *start->given.known = (SlotKnown){0};
    *start->instance = (Instance){0};
    mapped_clear(start->mapped);
    start->facts_told = false;
    start->found_told = false;
}

void start_free(WalStart **start)
{
    if (*start == NULL) {
        return;
    }
    free((*start)->given.facts);
    free((*start)->given.stored->publication);
    free((*start)->given.stored);
    free((*start)->given.known);
    free((*start)->instance);
    free((*start)->found);
    mapped_clear((*start)->mapped);
    free((*start)->mapped);
    free((*start)->position_table);
    free((*start)->captured_table);
    free((*start)->position_key);
    free(*start);
    *start = NULL;
}

const char *start_filter(const WalStart *start, const PipelineConfig *pipeline,
                         const MappingConfig *mapping, uint32_t oid)
{
    const MappedTable *mapped = mapped_find(start->mapped, oid);
    return mapped != NULL ? mapped_row_filter(pipeline, mapped) : mapped_filter_of(mapping);
}
