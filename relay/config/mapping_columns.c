#include "config/mapping_columns.h"

#include <string.h>

/* A list of columns, be it of names or of groups. */
typedef struct ColumnList {
    const char *path;
    const StringList *names; /* or */
    const ColumnLength *lengths;
    size_t count;
} ColumnList;

/* Those before LIST_KEY put something else in the place of a value. */
enum { LIST_MASKS, LIST_CUTS, LIST_HASHES, LIST_KEY, LIST_COLUMNS, LIST_EXCLUDED, LIST_COUNT };

typedef struct ColumnLists {
    ColumnList items[LIST_COUNT];
} ColumnLists;

static ColumnLists lists_of(const MappingConfig *mapping)
{
    return (ColumnLists){{
        [LIST_MASKS] = {"mask_columns", NULL, mapping->masks, mapping->mask_count},
        [LIST_CUTS] = {"truncate_columns", NULL, mapping->cuts, mapping->cut_count},
        [LIST_HASHES] = {"hash_columns", &mapping->hash, NULL, mapping->hash.count},
        [LIST_KEY] = {"key", &mapping->key, NULL, mapping->key.count},
        [LIST_COLUMNS] = {"columns", &mapping->columns, NULL, mapping->columns.count},
        [LIST_EXCLUDED] = {"exclude_columns", &mapping->exclude, NULL, mapping->exclude.count},
    }};
}

/* NULL: the group was none. */
static const char *list_name(const ColumnList *list, size_t index)
{
    return list->names != NULL ? list->names->items[index] : list->lengths[index].column;
}

/* Whether the column is among the first so many of the list. */
static bool list_has(const ColumnList *list, size_t count, const char *column)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = list_name(list, i);
        if (name != NULL && strcmp(name, column) == 0) {
            return true;
        }
    }
    return false;
}

static void columns_check_list(Load *load, const MappingConfig *mapping, const ColumnList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list_name(list, i);
        if (name == NULL || (*name == '\0' && list->names == NULL)) {
            continue; /* said already */
        }
        if (*name == '\0' || list_has(list, i, name)) {
            rules_problem(load, SCOPE_MAPPING, list->path, mapping, "leave it out",
                          "%s of \"%s\" names %s%s%s", list->path, mapping->table,
                          *name != '\0' ? "column \"" : "a column without a name", name,
                          *name != '\0' ? "\" twice" : "");
        }
    }
}

static void columns_check_both(Load *load, const MappingConfig *mapping, const ColumnList *first,
                               const ColumnList *second)
{
    for (size_t i = 0; i < second->count; i++) {
        const char *name = list_name(second, i);
        if (name != NULL && list_has(first, first->count, name)) {
            rules_problem(load, SCOPE_MAPPING, second->path, mapping, "leave it in one of them",
                          "column \"%s\" of \"%s\" is in both %s and %s", name, mapping->table,
                          first->path, second->path);
        }
    }
}

/* One value cannot be two things. */
static void columns_check_changed(Load *load, const MappingConfig *mapping,
                                  const ColumnLists *lists)
{
    for (size_t i = 1; i < LIST_KEY; i++) {
        for (size_t j = 0; j < i; j++) {
            columns_check_both(load, mapping, &lists->items[j], &lists->items[i]);
        }
    }
}

/* Records are found by their key: it has the values of the row. */
static void columns_check_key(Load *load, const MappingConfig *mapping, const ColumnLists *lists)
{
    const ColumnList *columns = &lists->items[LIST_COLUMNS];
    for (size_t i = 0; i < mapping->key.count; i++) {
        const char *name = mapping->key.items[i];
        const char *taken = NULL;
        for (size_t j = 0; taken == NULL && j < LIST_COUNT; j++) {
            const ColumnList *list = &lists->items[j];
            if (j != LIST_KEY && j != LIST_COLUMNS && list_has(list, list->count, name)) {
                taken = list->path;
            }
        }
        if (taken != NULL) {
            rules_problem(load, SCOPE_MAPPING, taken, mapping,
                          "take the column out of it, or choose another key",
                          "key column \"%s\" of \"%s\" is in %s: records could not be told apart "
                          "by it",
                          name, mapping->table, taken);
        } else if (columns->count > 0 && !list_has(columns, columns->count, name)) {
            rules_problem(load, SCOPE_MAPPING, columns->path, mapping, "add it to columns",
                          "key column \"%s\" of \"%s\" is not among its columns", name,
                          mapping->table);
        }
    }
}

static void columns_check_salt(Load *load, const MappingConfig *mapping)
{
    bool salt = *mapping->hash_salt != '\0';
    if (mapping->hash.count > 0 && !salt) {
        rules_problem(load, SCOPE_MAPPING, "hash_columns", mapping,
                      "add hash_salt = \"${file:/run/secrets/salt}\";",
                      "hash_columns of \"%s\" need hash_salt: without one, whoever guesses a value "
                      "can prove it",
                      mapping->table);
    } else if (mapping->hash.count == 0 && salt) {
        rules_problem(load, SCOPE_MAPPING, "hash_salt", mapping,
                      "name the columns in hash_columns, or remove it",
                      "hash_salt of \"%s\" has no effect without hash_columns", mapping->table);
    }
}

void mapping_columns_check(Load *load, const MappingConfig *mapping)
{
    ColumnLists lists = lists_of(mapping);
    for (size_t i = 0; i < LIST_COUNT; i++) {
        columns_check_list(load, mapping, &lists.items[i]);
    }
    if (mapping->columns.count > 0 && mapping->exclude.count > 0) {
        rules_problem(load, SCOPE_MAPPING, "exclude_columns", mapping, "leave one of them out",
                      "\"%s\" has both columns and exclude_columns", mapping->table);
    }
    columns_check_changed(load, mapping, &lists);
    columns_check_key(load, mapping, &lists);
    columns_check_salt(load, mapping);
}

void mapping_each_column(const MappingConfig *mapping,
                         void (*see)(void *arg, const char *option, const char *column), void *arg)
{
    ColumnLists lists = lists_of(mapping);
    for (size_t i = 0; i < LIST_COUNT; i++) {
        const ColumnList *list = &lists.items[i];
        for (size_t k = 0; k < list->count; k++) {
            see(arg, list->path, list_name(list, k));
        }
    }
}
