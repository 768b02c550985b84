/* A relation that is not in the tree now is a part of the outbox all the same when the publication
 * names its tables one by one and this is none of the others: then it can be in the stream only
 * because it was a partition (or a child) that has been detached or dropped since. With a
 * publication of all tables, or of a schema, that cannot be told, and it counts as a stranger. */
#include "cdc/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

enum { POSTGRES_SCHEMAS = 150000 }; /* publications of schemas */

static int oids_compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Behind the others; members_sort() follows. */
static void members_append(Tree *tree, uint32_t oid)
{
    OidList *list = &tree->members;
    if (list->count >= 2 * (size_t)TREE_MEMBERS_MAX) {
        tree->full = true;
        return;
    }
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count == 0 ? 1 : 2 * list->count;
        list->items = x_realloc(list->items, room * sizeof(*list->items));
    }
    list->items[list->count++] = oid;
}

/* Each once, and no more than TREE_MEMBERS_MAX. */
static void members_sort(Tree *tree)
{
    OidList *list = &tree->members;
    size_t kept = 0;
    if (list->count > 0) {
        qsort(list->items, list->count, sizeof(*list->items), oids_compare);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (kept == 0 || list->items[kept - 1] != list->items[i]) {
            list->items[kept++] = list->items[i];
        }
    }
    tree->full = tree->full || kept > TREE_MEMBERS_MAX;
    list->count = kept < TREE_MEMBERS_MAX ? kept : TREE_MEMBERS_MAX;
    if (list->count > 0) { /* members_append() goes by powers of two */
        size_t room = 1;
        while (room < list->count) {
            room *= 2;
        }
        list->items = x_realloc(list->items, room * sizeof(*list->items));
    }
}

static size_t strangers_find(const Tree *tree, uint32_t oid)
{
    size_t i = 0;
    while (i < tree->strangers.count && tree->strangers.items[i] != oid) {
        i++;
    }
    return i;
}

static void strangers_add(Tree *tree, uint32_t oid)
{
    OidList *list = &tree->strangers;
    if (strangers_find(tree, oid) < list->count) {
        return;
    }
    if (list->count < TREE_STRANGERS_MAX) {
        list->items = x_realloc(list->items, (list->count + 1) * sizeof(*list->items));
        list->items[list->count++] = oid;
        return;
    }
    list->items[tree->stranger_next] = oid;
    tree->stranger_next = (tree->stranger_next + 1) % TREE_STRANGERS_MAX;
}

/* Those that are members by now. */
static void strangers_sift(Tree *tree)
{
    OidList *list = &tree->strangers;
    for (size_t i = 0; i < list->count;) {
        if (tree_has(tree, list->items[i])) {
            list->items[i] = list->items[--list->count];
        } else {
            i++;
        }
    }
    tree->stranger_next = list->count > 0 ? tree->stranger_next % list->count : 0;
}

bool tree_has(const Tree *tree, uint32_t oid)
{
    const OidList *list = &tree->members;
    return list->count > 0 &&
           bsearch(&oid, list->items, list->count, sizeof(*list->items), oids_compare) != NULL;
}

bool tree_has_stranger(const Tree *tree, uint32_t oid)
{
    return strangers_find(tree, oid) < tree->strangers.count;
}

bool tree_generates(const Tree *tree, const char *column)
{
    if (tree->generated == NULL) {
        return false;
    }
    AUTO_TEXT line = x_format("\n%s\n", column);
    return strstr(tree->generated, line) != NULL;
}

void tree_release(Tree *tree)
{
    free(tree->members.items);
    free(tree->strangers.items);
    free(tree->generated);
    *tree = (Tree){0};
}

/* True: the relation is in the publication for a reason of its own. */
static void tree_add_stranger(const PipelineConfig *pipeline, uint32_t relation, int server_version,
                              Text *sql)
{
    AUTO_TEXT publication = ident_literal(pipeline->wal.publication);
    text_printf(sql,
                "(SELECT b.puballtables%s OR EXISTS (WITH RECURSIVE above AS (SELECT %u::oid AS id"
                " UNION SELECT i.inhparent FROM pg_inherits i JOIN above ON i.inhrelid = above.id)"
                " SELECT FROM pg_publication_rel r JOIN above ON r.prrelid = above.id"
                " WHERE r.prpubid = b.oid) FROM pg_publication b WHERE b.pubname = %s) AS stranger",
                server_version >= POSTGRES_SCHEMAS
                    ? " OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = b.oid)"
                    : "",
                relation, publication);
}

void tree_add_query(const PipelineConfig *pipeline, uint32_t table_oid, uint32_t relation,
                    int server_version, Text *sql)
{
    text_printf(
        sql,
        "SELECT (WITH RECURSIVE tree AS (SELECT inhrelid AS id FROM pg_inherits"
        " WHERE inhparent = %u UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree"
        " ON i.inhparent = tree.id) SELECT string_agg(id::text, ',') FROM tree) AS members,"
        " (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = %u) AS divided,"
        " (SELECT E'\\n' || string_agg(a.attname, E'\\n') || E'\\n' FROM pg_attribute a"
        " WHERE a.attrelid = %u AND a.attnum > 0 AND NOT a.attisdropped"
        " AND a.attgenerated <> '') AS generated, pg_current_wal_insert_lsn() AS insert_lsn, ",
        table_oid, table_oid, table_oid);
    if (relation == 0) {
        text_add(sql, "false AS stranger");
    } else {
        tree_add_stranger(pipeline, relation, server_version, sql);
    }
}

static const char *tree_value(const PGresult *row, const char *column)
{
    return pg_field(row, 0, column);
}

bool tree_read(Tree *tree, const PGresult *row, uint32_t relation, bool fits)
{
    const char *list = tree_value(row, "members");
    tree->divided = *tree_value(row, "divided") == 't' || *list != '\0' || tree->members.count > 0;
    while (*list != '\0') {
        char *end = NULL;
        uint32_t oid = (uint32_t)strtoul(list, &end, 10);
        if (end == list) {
            break;
        }
        members_append(tree, oid);
        list = *end == ',' ? end + 1 : end;
    }
    members_sort(tree);
    strangers_sift(tree);
    free(tree->generated);
    const char *generated = tree_value(row, "generated");
    tree->generated = *generated != '\0' ? x_strdup(generated) : NULL;
    if (relation == 0 || tree_has(tree, relation)) {
        return false;
    }
    if (tree->divided && fits && *tree_value(row, "stranger") == 'f') {
        members_append(tree, relation);
        members_sort(tree);
        strangers_sift(tree);
        return true;
    }
    strangers_add(tree, relation);
    return false;
}
