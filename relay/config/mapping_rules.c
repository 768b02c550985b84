/* What a pipeline with capture = "tables" is missing, and what its mappings say together. Whether
 * the tables are there, what else a pattern means and which keys they have, only the database can
 * tell. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/load.h"
#include "config/mapping_columns.h"
#include "config/nearest.h"
#include "config/table_rules.h"
#include "config/template.h"

/* What a template of a mapping may name. */
static const char *const VARIABLES[] = {"prefix", "database", "schema", "table"};
enum { VARIABLE_COUNT = sizeof(VARIABLES) / sizeof(VARIABLES[0]) };

/* What the file tells of the tables of one mapping. */
typedef struct Meant {
    TableName name;
    bool known;  /* the name could be read */
    char *topic; /* what its template comes to; NULL: that depends on the tables of a pattern */
} Meant;

/* Topics. */

static bool variable_is(Slice name)
{
    for (size_t i = 0; i < VARIABLE_COUNT; i++) {
        if (slice_equal(name, slice_of(VARIABLES[i]))) {
            return true;
        }
    }
    return false;
}

/* The problem of one ${name}, or NULL; freed by the caller. */
static char *variable_problem(Slice name)
{
    if (slice_is_null(name)) {
        return x_strdup("\"${\" has no closing \"}\"");
    }
    if (variable_is(name)) {
        return NULL;
    }
    AUTO_TEXT wanted = x_strndup(name.data, name.length);
    Nearest nearest = nearest_begin(wanted);
    const char *meant = NULL;
    for (size_t i = 0; i < VARIABLE_COUNT; i++) {
        meant = nearest_offer(&nearest, VARIABLES[i]) ? VARIABLES[i] : meant;
    }
    return x_format("there is no ${%s}%s%s%s", wanted, meant ? "; did you mean ${" : "",
                    meant ? meant : "", meant ? "}?" : "");
}

static bool topic_names(const char *topic, const char *variable)
{
    const char *cursor = topic;
    TemplatePart part;
    while (template_next(&cursor, &part)) {
        if (part.is_column && slice_equal(part.text, slice_of(variable))) {
            return true;
        }
    }
    return false;
}

static void topic_check(Load *load, const PipelineConfig *pipeline, const MappingConfig *mapping)
{
    const char *cursor = mapping->topic;
    TemplatePart part;
    size_t literal = 0;
    while (template_next(&cursor, &part)) {
        AUTO_TEXT problem = part.is_column ? variable_problem(part.text) : NULL;
        if (problem != NULL) {
            rules_problem(load, SCOPE_MAPPING, "topic", mapping,
                          "use ${prefix}, ${database}, ${schema} and ${table}; $${ stands for ${",
                          "topic template \"%s\": %s", mapping->topic, problem);
            return;
        }
        if (part.is_column) {
            literal += slice_equal(part.text, slice_of(VARIABLES[0]))
                           ? strlen(pipeline->tables.topic_prefix)
                           : 1;
            continue;
        }
        literal += part.text.length;
        if (!rules_topic_letters(part.text)) {
            rules_problem(load, SCOPE_MAPPING, "topic", mapping,
                          "a topic name consists of a-z, A-Z, 0-9, '.', '_', '-'; ${table} stands "
                          "for the name of the table",
                          "topic \"%s\" contains a character that Kafka does not allow",
                          mapping->topic);
            return;
        }
    }
    bool dots = strcmp(mapping->topic, ".") == 0 || strcmp(mapping->topic, "..") == 0;
    if (dots || literal > TOPIC_LENGTH_MAX) {
        rules_problem(load, SCOPE_MAPPING, "topic", mapping, "give it another name",
                      "topic \"%s\" can never be the name of a topic: %s", mapping->topic,
                      dots ? "Kafka does not allow it" : "it is longer than 249 bytes");
    }
}

/* The topic as far as the file tells; NULL when it depends on which tables a pattern means. The
 * database is the same for all, so its variable may stand for itself. */
static char *topic_of(const PipelineConfig *pipeline, const MappingConfig *mapping,
                      const TableName *name)
{
    AUTO_BUFFER topic = TEXT_EMPTY;
    const char *cursor = mapping->topic;
    TemplatePart part;
    while (template_next(&cursor, &part)) {
        Slice text = part.text;
        if (part.is_column) {
            bool schema = slice_equal(text, SLICE_LITERAL("schema"));
            const TablePart *of = schema ? &name->schema : &name->table;
            bool table = schema || slice_equal(text, SLICE_LITERAL("table"));
            if (table && of->pattern) {
                return NULL;
            }
            text = table ? slice_of(of->name)
                   : slice_equal(text, SLICE_LITERAL("prefix"))
                       ? slice_of(pipeline->tables.topic_prefix)
                       : SLICE_LITERAL("${database}");
        }
        text_append(&topic, text.data, text.length);
    }
    return x_strdup(text_string(&topic));
}

/* Tables. */

static void mapping_check_table(Load *load, const MappingConfig *mapping, const char *problem)
{
    if (problem != NULL && *mapping->table != '\0') {
        rules_problem(load, SCOPE_MAPPING, "table", mapping,
                      "write schema.table; put a part with capitals, spaces or dots in double "
                      "quotes, written as \\\" in this file",
                      "\"%s\" cannot be the table of a mapping: %s", mapping->table, problem);
    }
}

/* Tables that one pattern means, and that have one topic between them. */
static void mapping_check_sharing(Load *load, const MappingConfig *mapping, const TableName *name)
{
    bool shared = (name->schema.pattern && !topic_names(mapping->topic, "schema")) ||
                  (name->table.pattern && !topic_names(mapping->topic, "table"));
    if (shared && !mapping->key_table && mapping->key.count == 0) {
        rules_problem(load, SCOPE_MAPPING, "topic", mapping,
                      "add key_table = true, or key if those columns are unique over all of these "
                      "tables",
                      "the tables of \"%s\" share the topic \"%s\": rows of different tables could "
                      "have the same key",
                      mapping->table, mapping->topic);
    }
}

static bool keys_differ(const MappingConfig *a, const MappingConfig *b)
{
    bool same = a->key.count == b->key.count;
    for (size_t i = 0; same && i < a->key.count; i++) {
        same = strcmp(a->key.items[i], b->key.items[i]) == 0;
    }
    return a->key.count > 0 && b->key.count > 0 && !same;
}

static void mapping_check_pair(Load *load, const MappingConfig *a, const Meant *first,
                               const MappingConfig *b, const Meant *second)
{
    if (table_name_same(&first->name, &second->name)) {
        AUTO_TEXT place = rules_place(load, SCOPE_MAPPING, "table", a);
        rules_problem(load, SCOPE_MAPPING, "table", b,
                      "leave one of them: a table is published by one mapping",
                      "table \"%s\" is mapped already at %s", b->table, place);
    } else if (first->topic != NULL && second->topic != NULL &&
               strcmp(first->topic, second->topic) == 0 && !a->key_table && !b->key_table &&
               !keys_differ(a, b)) {
        rules_problem(
            load, SCOPE_MAPPING, "topic", b,
            "add key_table = true to one of them, give them key columns of different "
            "names, or different topics",
            "\"%s\" and \"%s\" share the topic \"%s\": their rows could have the same key",
            a->table, b->table, b->topic);
    }
}

static void mappings_check_pairs(Load *load, const TablesConfig *tables, const Meant *mapped)
{
    for (size_t i = 0; i < tables->mapping_count; i++) {
        size_t before = load->problems->count;
        for (size_t j = 0; mapped[i].known && j < i && load->problems->count == before; j++) {
            if (mapped[j].known) {
                mapping_check_pair(load, &tables->mappings[j], &mapped[j], &tables->mappings[i],
                                   &mapped[i]);
            }
        }
    }
}

static void mapping_check(Load *load, const PipelineConfig *pipeline, const MappingConfig *mapping,
                          Meant *ret)
{
    const char *problem = table_name_read(mapping->table, &ret->name);
    ret->known = problem == NULL;
    mapping_check_table(load, mapping, problem);
    topic_check(load, pipeline, mapping);
    mapping_columns_check(load, mapping);
    if (ret->known) {
        mapping_check_sharing(load, mapping, &ret->name);
        ret->topic = topic_of(pipeline, mapping, &ret->name);
    }
}

void rules_check_mappings(Load *load, const PipelineConfig *pipeline)
{
    const TablesConfig *tables = &pipeline->tables;
    if (*tables->topic_prefix == '\0' &&
        load_origin(load, pipeline, option_find(SCOPE_PIPELINE, "topic_prefix")) == NULL) {
        rules_problem(load, SCOPE_PIPELINE, "capture", pipeline, "add topic_prefix = \"shop\";",
                      "pipeline \"%s\" has no topic_prefix: capture = \"tables\" needs it",
                      pipeline->name);
    }
    if (tables->mapping_count == 0) {
        rules_problem(load, SCOPE_PIPELINE, "capture", pipeline,
                      "add mappings = ( { table = \"public.item\"; } );",
                      "pipeline \"%s\" has no mappings: capture = \"tables\" would publish nothing",
                      pipeline->name);
    }
    Meant *mapped = x_calloc(tables->mapping_count + 1, sizeof(*mapped));
    for (size_t i = 0; i < tables->mapping_count; i++) {
        if (tables->mappings[i].table != NULL) { /* it was a group */
            mapping_check(load, pipeline, &tables->mappings[i], &mapped[i]);
        }
    }
    mappings_check_pairs(load, tables, mapped);
    for (size_t i = 0; i < tables->mapping_count; i++) {
        table_name_free(&mapped[i].name);
        free(mapped[i].topic);
    }
    free(mapped);
}
