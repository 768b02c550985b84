/* Old tables of which nothing is left but rows that wait for their topic. Each is read again once a
 * topic came; of what waits there still it is left again, and the others have their turn. */
#include "outbox/poll_left.h"

void left_remove(LeftTables *left, uint32_t oid)
{
    size_t kept = 0;
    for (size_t i = 0; i < left->tables.count; i++) {
        if (left->tables.items[i].oid != oid) {
            left->tables.items[kept++] = left->tables.items[i];
        }
    }
    left->tables.count = kept;
}

void left_add(LeftTables *left, uint32_t oid, size_t parked)
{
    left_remove(left, oid);
    *vec_add(&left->tables) = (LeftTable){.oid = oid, .parked = parked};
}

void left_go_back(LeftTables *left)
{
    for (size_t i = 0; i < left->tables.count; i++) {
        left->tables.items[i].go_back = true;
        left->tables.items[i].parked = 0; /* the pipeline counts them again */
    }
}

bool left_is_wanted(const LeftTables *left)
{
    for (size_t i = 0; i < left->tables.count; i++) {
        if (left->tables.items[i].go_back) {
            return true;
        }
    }
    return false;
}

void left_drop_wanted(LeftTables *left)
{
    size_t kept = 0;
    for (size_t i = 0; i < left->tables.count; i++) {
        if (!left->tables.items[i].go_back) {
            left->tables.items[kept++] = left->tables.items[i];
        }
    }
    left->tables.count = kept;
}

size_t left_parked(const LeftTables *left)
{
    size_t parked = 0;
    for (size_t i = 0; i < left->tables.count; i++) {
        parked += left->tables.items[i].parked;
    }
    return parked;
}

void left_add_oids(const LeftTables *left, Text *sql)
{
    for (size_t i = 0; i < left->tables.count; i++) {
        if (!left->tables.items[i].go_back) {
            text_printf(sql, ", %u", left->tables.items[i].oid);
        }
    }
}

bool left_is_empty(const LeftTables *left)
{
    return left->tables.count == 0;
}

void left_release(LeftTables *left)
{
    vec_free(&left->tables);
}
