/* Old tables of which nothing is left but rows that wait for their topic. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "base/vec.h"

typedef struct LeftTable {
    uint32_t oid;
    size_t parked;
    bool go_back; /* a topic is there: it is read before anything else */
} LeftTable;

typedef struct LeftTables {
    VEC(LeftTable) tables;
} LeftTables;

void left_add(LeftTables *left, uint32_t oid, size_t parked);
void left_remove(LeftTables *left, uint32_t oid);
bool left_is_empty(const LeftTables *left);
/** A topic is there: all of them are read again. */
void left_go_back(LeftTables *left);
bool left_is_wanted(const LeftTables *left);
/** Those that were to be read again are gone: somebody finished them. */
void left_drop_wanted(LeftTables *left);
size_t left_parked(const LeftTables *left);
/** ", 1, 2": those that are not to be read now. */
void left_add_oids(const LeftTables *left, Text *sql);
void left_release(LeftTables *left);
