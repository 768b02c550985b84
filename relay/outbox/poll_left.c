/* Old tables of which nothing is left but rows that wait for their topic. Each is read again once a
 * topic came; of what waits there still it is left again, and the others have their turn. */
#include <stdlib.h>

#include "base/memory.h"
#include "outbox/poll_internal.h"

void left_remove(LeftTables *left, uint32_t oid)
{
    size_t kept = 0;
    for (size_t i = 0; i < left->count; i++) {
        if (left->items[i].oid != oid) {
            left->items[kept++] = left->items[i];
        }
    }
    left->count = kept;
}

void left_add(LeftTables *left, uint32_t oid, size_t parked)
{
    left_remove(left, oid);
    left->items = x_realloc(left->items, (left->count + 1) * sizeof(*left->items));
    left->items[left->count++] = (LeftTable){.oid = oid, .parked = parked};
}

void left_go_back(LeftTables *left)
{
    for (size_t i = 0; i < left->count; i++) {
        left->items[i].go_back = true;
        left->items[i].parked = 0; /* the pipeline counts them again */
    }
}

bool left_is_wanted(const LeftTables *left)
{
    for (size_t i = 0; i < left->count; i++) {
        if (left->items[i].go_back) {
            return true;
        }
    }
    return false;
}

void left_drop_wanted(LeftTables *left)
{
    size_t kept = 0;
    for (size_t i = 0; i < left->count; i++) {
        if (!left->items[i].go_back) {
            left->items[kept++] = left->items[i];
        }
    }
    left->count = kept;
}

size_t left_parked(const LeftTables *left)
{
    size_t parked = 0;
    for (size_t i = 0; i < left->count; i++) {
        parked += left->items[i].parked;
    }
    return parked;
}

void left_add_oids(const LeftTables *left, Text *sql)
{
    for (size_t i = 0; i < left->count; i++) {
        if (!left->items[i].go_back) {
            text_printf(sql, ", %u", left->items[i].oid);
        }
    }
}

void left_release(LeftTables *left)
{
    free(left->items);
    *left = (LeftTables){0};
}
