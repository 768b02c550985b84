/* Walks the option table. The sample and the effective values share the layout: load is NULL for
 * the sample. */
#include "config/print.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"
#include "config/units.h"
#include "config/value.h"

enum { WIDTH = 100, INDENT = 4 };

typedef struct Printer {
    Text *text;
    const Load *load; /* NULL: the sample */
    int depth;
    int commented_from; /* depth from which all lines are comments, as routes in the sample; 0: none
                         */
} Printer;

static const char HEAD[] =
    "Configuration of outboxd: every option, with its default. Written by: outboxd config print\n"
    "Remove the // in front of each option that you change.\n"
    "\n";
const char PRINT_RULES[] =
    "Durations and sizes are strings with a unit: \"250ms\", \"5s\", \"10min\", \"1h\", \"7d\"; "
    "\"64KiB\" and \"4MiB\" (1024), \"1kB\" and \"1MB\" (1000).\n"
    "Every string may contain ${env:NAME} and ${file:/path}. The last newline of such a file is "
    "ignored.\n"
    "@include \"more.conf\" on a line of its own includes that file. Its path starts from the "
    "folder of this file.\n"
    "The environment overrides this file, and the command line overrides both. OUTBOXD_PIPELINE_* "
    "apply only if outboxd starts without a file, to its one pipeline.";

static void print_indent(const Printer *printer)
{
    int outer = printer->commented_from > 0 ? printer->commented_from : printer->depth;
    text_printf(printer->text, "%*s%s%*s", outer * INDENT, "",
                printer->commented_from > 0 ? "// " : "", (printer->depth - outer) * INDENT, "");
}

/* Words in comment lines. */
static void print_comment(const Printer *printer, const char *words)
{
    size_t room =
        (size_t)(WIDTH - printer->depth * INDENT - 3 - (printer->commented_from > 0 ? 3 : 0));
    for (const char *line = words; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        size_t whole = length;
        if (length > room) {
            length = room;
            while (length > 0 && line[length] != ' ') {
                length--;
            }
            length = length > 0 ? length : whole;
        }
        print_indent(printer);
        text_printf(printer->text, "//%s%.*s\n", length > 0 ? " " : "", (int)length, line);
        line += length;
        line += *line == ' ' || *line == '\n' ? 1 : 0;
    }
}

/* A libconfig string. References that are not meant as such are escaped, so that it reads back. */
static void print_string(Text *text, const char *value, bool template)
{
    text_add_char(text, '"');
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            text_printf(text, "\\%c", *c);
        } else if (*c == '\n') {
            text_add(text, "\\n");
        } else if ((unsigned char)*c < 0x20) {
            text_printf(text, "\\x%02x", (unsigned char)*c);
        } else {
            bool reference =
                !template && (strncmp(c, "${env:", 6) == 0 || strncmp(c, "${file:", 7) == 0);
            text_add(text, reference ? "$" : "");
            text_add_char(text, *c);
        }
    }
    text_add_char(text, '"');
}

static void print_number(Text *text, const Option *option, int64_t value)
{
    if (option->type == OPTION_DURATION || option->type == OPTION_SIZE) {
        text_add_char(text, '"');
        if (option->type == OPTION_DURATION) {
            units_add_duration(text, value);
        } else {
            units_add_size(text, value);
        }
        text_add_char(text, '"');
    } else {
        text_printf(text, "%" PRId64, value);
    }
}

static void print_choice(Text *text, const Option *option, const void *field)
{
    int value;
    memcpy(&value, field, sizeof(value));
    for (const OptionChoice *choice = option->choices; choice->name != NULL; choice++) {
        if (choice->value == value) {
            text_printf(text, "\"%s\"", choice->name);
        }
    }
}

static void print_letters(Text *text, const Option *option, unsigned bits)
{
    text_add_char(text, '"');
    for (const OptionChoice *choice = option->choices; choice->name != NULL; choice++) {
        text_add(text, (bits & (unsigned)choice->value) != 0 ? choice->name : "");
    }
    text_add_char(text, '"');
}

/* Items one a line, with the place of each where it is known. */
static void print_list(const Printer *printer, const Option *option, const StringList *list)
{
    Text *text = printer->text;
    bool properties = list == &printer->load->config->kafka.properties;
    text_add(text, "[");
    for (size_t i = 0; i < list->count; i++) {
        const char *raw = load_item_raw(printer->load, list->items[i]);
        const char *item = raw != NULL ? raw : list->items[i];
        AUTO_TEXT shown =
            (option->flags & OPTION_SECRET) != 0 ? mask_property(item) : x_strdup(item);
        text_printf(text, "\n%*s", (printer->depth + 1) * INDENT, "");
        print_string(text, shown, raw != NULL);
        text_add(text, i + 1 < list->count ? "," : "");
        if (properties) {
            text_printf(text, "  // %s", printer->load->property_places.items[i]);
        }
    }
    if (list->count > 0) {
        text_printf(text, "\n%*s", printer->depth * INDENT, "");
    }
    text_add(text, list->count > 0 ? "]" : " ]");
}

/* Is a name, of which defaults are made, a reference? */
static bool print_name_is_reference(const Load *load, const void *base)
{
    return load_raw(load, load->config, option_find(SCOPE_CONFIG, "name")) != NULL ||
           load_raw(load, base, option_find(SCOPE_PIPELINE, "name")) != NULL;
}

/* What stands in place of a text: a reference as it was written, a mask for a secret. */
static char *print_shown(const Printer *printer, const Option *option, const void *base,
                         const char *value, bool *ret_raw)
{
    const char *raw = load_raw(printer->load, base, option);
    *ret_raw = true;
    if ((option->flags & OPTION_DSN) != 0) {
        const DatabaseConfig *database = &printer->load->config->database;
        const char *shown = strcmp(option->path, "database.dsn") == 0
                                ? database->dsn_shown
                                : database->replication_dsn_shown;
        return x_strdup(shown != NULL ? shown : "");
    }
    if ((option->flags & OPTION_SECRET) != 0) {
        return x_strdup(*value != '\0' ? MASK : "");
    }
    if (option->fallback == NULL && load_origin(printer->load, base, option) == NULL &&
        print_name_is_reference(printer->load, base)) {
        return x_strdup(""); /* made of the name, which is not shown */
    }
    *ret_raw = raw != NULL || option->type == OPTION_TEMPLATE;
    return x_strdup(raw != NULL ? raw : value);
}

static void print_value(const Printer *printer, const Option *option, const void *base)
{
    const void *field = (const char *)base + option->offset;
    switch (option->type) {
    case OPTION_BOOL:
        text_add(printer->text, option_is_on(option, base) ? "true" : "false");
        break;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        print_number(printer->text, option, *(const int64_t *)field);
        break;
    case OPTION_ENUM:
        print_choice(printer->text, option, field);
        break;
    case OPTION_LETTERS:
        print_letters(printer->text, option, *(const unsigned *)field);
        break;
    case OPTION_STRING_LIST:
        print_list(printer, option, field);
        break;
    default: {
        bool raw;
        const char *value = *(char *const *)field;
        AUTO_TEXT shown = print_shown(printer, option, base, value, &raw);
        print_string(printer->text, shown, raw);
    }
    }
}

/* The value of the sample: the example where there is one. */
static void print_sample_value(Text *text, const Option *option)
{
    const char *value = option->example != NULL ? option->example : option->fallback;
    bool bare = option->type == OPTION_BOOL || option->type == OPTION_INT ||
                option->type == OPTION_STRING_LIST || option->type == OPTION_GROUPS;
    if (bare) {
        text_add(text, value);
    } else {
        print_string(text, value != NULL ? value : "", true);
    }
}

void print_add_facts(Text *out, const Option *option)
{
    AUTO_BUFFER facts = TEXT_EMPTY;
    if ((option->flags & OPTION_TABLES) != 0) {
        text_add(&facts, "Only with capture = \"tables\". ");
    }
    if (option->type == OPTION_ENUM) {
        option_add_choices(option, false, &facts);
        text_add(&facts, ". ");
    } else if (option->type == OPTION_INT || option->type == OPTION_DURATION ||
               option->type == OPTION_SIZE) {
        text_add(&facts, "From ");
        value_add_range(&facts, option);
        text_add(&facts, ". ");
    }
    if ((option->flags & OPTION_REQUIRED) != 0 &&
        (option->fallback == NULL || *option->fallback == '\0')) {
        text_add(&facts, "Required. ");
    }
    AUTO_BUFFER name = TEXT_EMPTY;
    if (option_environment(option, &name)) {
        text_printf(&facts, "Environment: %s", name.data);
    }
    if (facts.length > 0) {
        text_append(out, facts.data, facts.length - (facts.data[facts.length - 1] == ' '));
    }
}

static void print_facts(const Printer *printer, const Option *option)
{
    AUTO_BUFFER facts = TEXT_EMPTY;
    print_add_facts(&facts, option);
    if (facts.length > 0) {
        print_comment(printer, facts.data);
    }
}

static const char *print_origin(const Printer *printer, const void *base, const Option *option)
{
    const char *origin = load_origin(printer->load, base, option);
    return origin != NULL ? origin : "default";
}

static const char *print_origin_kind(const Printer *printer, const void *base, const Option *option)
{
    const char *origin = print_origin(printer, base, option);
    return strncmp(origin, "OUTBOXD_", 8) == 0 ? "environment "
           : strncmp(origin, "--", 2) == 0     ? "command line "
                                               : "";
}

static void print_option(const Printer *printer, const Option *option, const void *base)
{
    const char *dot = strrchr(option->path, '.');
    const char *name = dot != NULL ? dot + 1 : option->path;
    print_comment(printer, option->help);
    print_facts(printer, option);
    print_indent(printer);
    if (printer->load == NULL) {
        bool set = (option->flags & OPTION_IN_SAMPLE) != 0;
        text_printf(printer->text, "%s%s = ", set ? "" : "//", name);
        print_sample_value(printer->text, option);
        text_add(printer->text, ";\n\n");
        return;
    }
    text_printf(printer->text, "%s = ", name);
    print_value(printer, option, base);
    text_printf(printer->text, ";  // %s%s\n\n", print_origin_kind(printer, base, option),
                print_origin(printer, base, option));
}

/* The blank line behind the last option of a block is one too many. */
static void print_trim(Text *text)
{
    if (text->length >= 2 && text->data[text->length - 2] == '\n') {
        text->data[--text->length] = '\0';
    }
}

static void print_scope(Printer *printer, OptionScope scope, const void *base);

static void print_element(Printer *printer, OptionScope scope, const void *base, bool last)
{
    print_indent(printer);
    text_add(printer->text, "{\n");
    printer->depth++;
    print_scope(printer, scope, base);
    printer->depth--;
    print_trim(printer->text);
    print_indent(printer);
    text_add(printer->text, last ? "}\n" : "},\n");
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void print_groups(Printer *printer, const Option *option, const void *base)
{
    OptionScope inner = option->groups->scope;
    bool sample = printer->load == NULL;
    print_comment(printer, option->help);
    if (sample && inner != SCOPE_PIPELINE) {
        printer->commented_from = printer->depth;
    }
    print_indent(printer);
    text_printf(printer->text, "%s = (\n", option->path);
    printer->depth++;
    if (sample) {
        print_element(printer, inner, NULL, true);
    }
    size_t count = sample ? 0 : option_group_count(option, base);
    for (size_t i = 0; i < count; i++) {
        print_element(printer, inner, option_group(option, base, i), i + 1 == count);
    }
    printer->depth--;
    print_indent(printer);
    text_add(printer->text, ");\n\n");
    printer->commented_from = 0;
}

/* Opens and closes groups as the prefix of the paths changes. */
static void print_group_change(Printer *printer, const char *from, const char *to)
{
    if (strcmp(from, to) == 0) {
        return;
    }
    if (*from != '\0') {
        printer->depth--;
        print_trim(printer->text);
        print_indent(printer);
        text_add(printer->text, "};\n\n");
    }
    if (*to != '\0') {
        print_indent(printer);
        text_printf(printer->text, "%s:\n", to);
        print_indent(printer);
        text_add(printer->text, "{\n");
        printer->depth++;
    }
}

/* Whether there is something to show: what this capture has no use for would be refused, and what
 * is NULL is neither in the file nor has it a default. */
static bool print_has(const Option *option, const void *base)
{
    if (option->scope == SCOPE_PIPELINE) {
        return option_applies(option, ((const PipelineConfig *)base)->capture);
    }
    return option->scope != SCOPE_ROUTE ||
           *(char *const *)(const void *)((const char *)base + option->offset) != NULL;
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void print_scope(Printer *printer, OptionScope scope, const void *base)
{
    size_t count;
    const Option *options = options_all(&count);
    char group[64] = "";
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if (option->scope != scope || (option->flags & OPTION_NOT_BUILT) != 0 ||
            (base != NULL && !print_has(option, base))) {
            continue;
        }
        const char *dot = strchr(option->path, '.');
        char next[64] = "";
        if (dot != NULL) {
            memcpy(next, option->path, (size_t)(dot - option->path));
        }
        print_group_change(printer, group, next);
        memcpy(group, next, sizeof(group));
        bool example = base == NULL && option->example != NULL; /* on one line */
        if (option->type == OPTION_GROUPS && !example) {
            print_groups(printer, option, base);
        } else {
            print_option(printer, option, base);
        }
    }
    print_group_change(printer, group, "");
}

void print_sample(Text *text)
{
    Printer printer = {.text = text};
    print_comment(&printer, HEAD);
    print_comment(&printer, PRINT_RULES);
    text_add(text, "\n");
    print_scope(&printer, SCOPE_CONFIG, NULL);
    print_trim(text);
}

void print_effective(Text *text, const Load *load)
{
    Printer printer = {.text = text, .load = load};
    AUTO_TEXT head = x_format("Effective configuration%s%s: from file, environment and command "
                              "line. Secrets are shown as " MASK ".",
                              *load->config->file != '\0' ? " of " : "", load->config->file);
    print_comment(&printer, head);
    text_add(text, "\n");
    print_scope(&printer, SCOPE_CONFIG, load->config);
    print_trim(text);
}
