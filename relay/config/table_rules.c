/* Names of tables, as SQL reads them: schema.table, each part in double quotes or folded to lower
 * case. */
#include "config/table_rules.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "config/load.h"
#include "config/template.h"

/* The end of the part at c, or NULL when it is none. */
static const char *table_part(const char *c)
{
    const char *start = c;
    if (*c != '"') {
        c += strcspn(c, ".\" \t\r\n");
        return c > start && (*c == '\0' || *c == '.') ? c : NULL;
    }
    for (c++; *c != '\0'; c++) {
        if (*c == '"' && c[1] != '"') {
            return c > start + 1 ? c + 1 : NULL;
        }
        c += *c == '"' ? 1 : 0;
    }
    return NULL;
}

/* The two parts, as they are written. */
static bool table_split(const char *text, Slice parts[2])
{
    const char *dot = table_part(text);
    const char *end = dot != NULL && *dot == '.' ? table_part(dot + 1) : NULL;
    if (end == NULL || *end != '\0') {
        return false;
    }
    parts[0] = (Slice){.data = text, .length = (size_t)(dot - text)};
    parts[1] = (Slice){.data = dot + 1, .length = (size_t)(end - dot - 1)};
    return true;
}

static char *table_without_quotes(Slice part)
{
    AUTO_BUFFER name = TEXT_EMPTY;
    for (size_t i = 1; i + 1 < part.length; i++) {
        text_add_char(&name, part.data[i]);
        i += part.data[i] == '"' ? 1 : 0;
    }
    return x_strdup(text_string(&name));
}

/* What is wrong with a part without quotes, or NULL. */
static const char *table_pattern_problem(const char *part)
{
    return strchr(part, '"') != NULL    ? "a double quote stands inside of a name"
           : strchr(part, '\\') != NULL ? "a backslash is no part of a pattern"
                                        : glob_problem(part);
}

static const char *table_read_part(Slice written, TablePart *ret)
{
    ret->pattern = false;
    if (*written.data == '"') {
        ret->name = table_without_quotes(written);
        return NULL;
    }
    ret->name = x_strndup(written.data, written.length);
    for (char *c = ret->name; *c != '\0'; c++) {
        *c = (char)(isascii(*c) ? tolower((unsigned char)*c) : *c);
    }
    ret->pattern = strpbrk(ret->name, "*?[") != NULL;
    return table_pattern_problem(ret->name);
}

const char *table_name_read(const char *text, TableName *ret)
{
    Slice parts[2];
    *ret = (TableName){0};
    if (!table_split(text, parts)) {
        return "it is not written as schema.table";
    }
    const char *problem = table_read_part(parts[0], &ret->schema);
    const char *other = table_read_part(parts[1], &ret->table);
    return problem != NULL ? problem : other;
}

void table_name_free(TableName *name)
{
    free(name->schema.name);
    free(name->table.name);
    *name = (TableName){0};
}

static bool table_part_same(const TablePart *a, const TablePart *b)
{
    return a->pattern == b->pattern && strcmp(a->name, b->name) == 0;
}

bool table_name_same(const TableName *a, const TableName *b)
{
    return table_part_same(&a->schema, &b->schema) && table_part_same(&a->table, &b->table);
}

void rules_check_table(Load *load, const PipelineConfig *pipeline)
{
    const char *table = pipeline->outbox.table;
    const char *place = load_origin(load, pipeline, option_find(SCOPE_PIPELINE, "table"));
    if (place == NULL || *table == '\0') {
        return; /* the default, or said already */
    }
    const char *end = table_part(table);
    if (end != NULL && *end == '\0') {
        bool ours = strcasecmp(table, "event") == 0;
        AUTO_TEXT remedy =
            x_format("write table = \"%s.%s\", or %s", ours ? "outbox" : "public", table,
                     ours ? "\"public.event\" if the table is your own"
                          : "with the schema that the table is in");
        problems_add(load->problems, false, place, remedy,
                     "table \"%s\" of pipeline \"%s\" has no schema", table, pipeline->name);
        return;
    }
    Slice parts[2];
    if (!table_split(table, parts)) {
        problems_add(load->problems, false, place,
                     "write schema.table; put a part with capitals, spaces or dots in double "
                     "quotes, written as \\\" in this file",
                     "table \"%s\" of pipeline \"%s\" is not written as schema.table", table,
                     pipeline->name);
    }
}
