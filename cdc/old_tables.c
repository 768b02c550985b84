#include "cdc/old_tables.h"

#include <stdlib.h>

#include "base/memory.h"

void old_tables_add(OldTables *tables, uint32_t oid, const char *name)
{
    tables->items = x_realloc(tables->items, (tables->count + 1) * sizeof(*tables->items));
    tables->items[tables->count++] =
        (OldTable){.oid = oid, .name = *name != '\0' ? x_strdup(name) : NULL};
}

size_t old_tables_find(const OldTables *tables, uint32_t oid)
{
    size_t at = 0;
    while (at < tables->count && tables->items[at].oid != oid) {
        at++;
    }
    return at;
}

void old_tables_clear(OldTables *tables)
{
    for (size_t i = 0; i < tables->count; i++) {
        free(tables->items[i].name);
        tree_release(&tables->items[i].tree);
    }
    free(tables->items);
    *tables = (OldTables){0};
}

bool said_tables_news(SaidTables *said, uint32_t oid, bool gone)
{
    size_t at = 0;
    while (at < said->count && said->items[at].oid != oid) {
        at++;
    }
    if (at == said->count) {
        said->items = x_realloc(said->items, (at + 1) * sizeof(*said->items));
        said->items[said->count++] = (SaidTable){.oid = oid, .gone = gone};
        return true;
    }
    bool news = gone && !said->items[at].gone;
    said->items[at].gone = gone;
    return news;
}

void said_tables_release(SaidTables *said)
{
    free(said->items);
    *said = (SaidTables){0};
}
