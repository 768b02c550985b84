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

static bool oids_have(const OidList *list, uint32_t oid)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == oid) {
            return true;
        }
    }
    return false;
}

static void oids_add(OidList *list, uint32_t oid)
{
    if (!oids_have(list, oid)) {
        list->items = x_realloc(list->items, (list->count + 1) * sizeof(*list->items));
        list->items[list->count++] = oid;
    }
}

static void oids_remove(OidList *list, uint32_t oid)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == oid) {
            list->items[i] = list->items[--list->count];
            return;
        }
    }
}

bool tree_has(const Tree *tree, uint32_t oid)
{
    return oids_have(&tree->members, oid);
}

bool tree_has_stranger(const Tree *tree, uint32_t oid)
{
    return oids_have(&tree->strangers, oid);
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
    AUTO_TEXT publication = ident_literal(pipeline->publication);
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
        oids_add(&tree->members, oid);
        oids_remove(&tree->strangers, oid);
        list = *end == ',' ? end + 1 : end;
    }
    free(tree->generated);
    const char *generated = tree_value(row, "generated");
    tree->generated = *generated != '\0' ? x_strdup(generated) : NULL;
    if (relation == 0 || tree_has(tree, relation)) {
        return false;
    }
    if (tree->divided && fits && *tree_value(row, "stranger") == 'f') {
        oids_add(&tree->members, relation);
        oids_remove(&tree->strangers, relation);
        return true;
    }
    oids_add(&tree->strangers, relation);
    return false;
}
