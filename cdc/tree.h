/* tree: which tables of the stream are the outbox: the table itself, the leaves of its partitions,
 * the tables that inherit from it. By OID: names are given again.
 *
 * What was a part once stays one while the process lives: a partition that is detached has rows in
 * the log that were committed before. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "config/config.h"

enum {
    TREE_MEMBERS_MAX = 65536,
    TREE_STRANGERS_MAX = 4096, /* then the first is forgotten, and asked about again */
};

typedef struct OidList {
    uint32_t *items;
    size_t count;
} OidList;

typedef struct Tree {
    OidList members;      /* without the table itself; ascending */
    OidList strangers;    /* that the server was asked about */
    size_t stranger_next; /* to be forgotten */
    bool full;            /* the server told of more members: they are not known */
    bool divided;         /* the table is partitioned, or others inherit from it */
    char *generated;      /* names of its generated columns, each between newlines; NULL: none */
} Tree;

/** Appends a query of one row with what the tree is now and, unless 0, what `relation` is: columns
 * "members", "divided", "generated", "stranger" and "insert_lsn". */
void tree_add_query(const PipelineConfig *pipeline, uint32_t table_oid, uint32_t relation,
                    int server_version, Text *sql);

/** Reads its row. `relation` and `fits`, whether it has the columns of an event, as asked. True
 * when the relation is a part of the table by elimination alone: it was one, and is none any more.
 */
bool tree_read(Tree *tree, const PGresult *row, uint32_t relation, bool fits);

bool tree_has(const Tree *tree, uint32_t oid);
bool tree_has_stranger(const Tree *tree, uint32_t oid);
/** The column's values are computed by the server. */
bool tree_generates(const Tree *tree, const char *column);
void tree_release(Tree *tree);
