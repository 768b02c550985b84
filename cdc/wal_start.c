#include "cdc/wal_start.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"

WalStart *start_new(const PipelineConfig *pipeline)
{
    WalStart *start = x_calloc(1, sizeof(*start));
    start->facts = x_calloc(1, sizeof(*start->facts));
    start->found = x_calloc(1, sizeof(*start->found));
    AUTO_TEXT name = ident_literal(pipeline->name);
    start->position_key = x_format("pipeline = %s", name);
    return start;
}

void start_forget(WalStart *start)
{
    *start->facts = (SlotFacts){0};
    start->facts_told = false;
    start->found_told = false;
}

void start_free(WalStart **start)
{
    if (*start == NULL) {
        return;
    }
    free((*start)->facts);
    free((*start)->found);
    free((*start)->position_table);
    free((*start)->position_key);
    free(*start);
    *start = NULL;
}
