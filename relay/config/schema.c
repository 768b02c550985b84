/* The option table as JSON, for editors and generators. */
#include <inttypes.h>

#include "config/print.h"

static void schema_member(Text *text, const char *name, const char *value)
{
    text_printf(text, ",\"%s\":", name);
    text_add_json(text, slice_of(value));
}

static void schema_choices(Text *text, const Option *option)
{
    text_add(text, ",\"values\":[");
    const char *between = "";
    for (const OptionChoice *choice = option->choices; choice->name != NULL; choice++) {
        if (!choice->not_built) {
            text_add(text, between);
            text_add_json(text, slice_of(choice->name));
            between = ",";
        }
    }
    text_add(text, "]");
}

static const char *schema_type(const Option *option)
{
    static const char *const NAMES[] = {
        [OPTION_STRING] = "string",       [OPTION_BOOL] = "boolean",      [OPTION_INT] = "integer",
        [OPTION_DURATION] = "duration",   [OPTION_SIZE] = "size",         [OPTION_ENUM] = "enum",
        [OPTION_STRING_LIST] = "strings", [OPTION_TEMPLATE] = "template", [OPTION_GLOB] = "glob",
        [OPTION_LETTERS] = "letters",     [OPTION_GROUPS] = "groups",
    };
    return NAMES[option->type];
}

static void schema_option(Text *text, const Option *option)
{
    text_printf(text, "{\"path\":\"%s%s\",\"type\":\"%s\"", option_scope_prefix(option->scope),
                option->path, schema_type(option));
    if (option->fallback != NULL) {
        schema_member(text, "default", option->fallback);
    }
    if (option->type == OPTION_INT || option->type == OPTION_DURATION ||
        option->type == OPTION_SIZE) {
        text_printf(text, ",\"unit\":\"%s\",\"min\":%" PRId64 ",\"max\":%" PRId64,
                    option->type == OPTION_DURATION ? "ms"
                    : option->type == OPTION_SIZE   ? "bytes"
                                                    : "",
                    option->min, option->max);
    }
    if (option->choices != NULL) {
        schema_choices(text, option);
    }
    if ((option->flags & OPTION_TABLES) != 0) {
        schema_member(text, "capture", "tables");
    }
    AUTO_BUFFER name = TEXT_EMPTY;
    if (option_environment(option, &name)) {
        schema_member(text, "environment", name.data);
    }
    text_printf(text, ",\"secret\":%s,\"required\":%s",
                (option->flags & OPTION_SECRET) != 0 ? "true" : "false",
                (option->flags & OPTION_REQUIRED) != 0 ? "true" : "false");
    schema_member(text, "reload", option_reload(option));
    schema_member(text, "help", option->help);
    text_add_char(text, '}');
}

void print_schema(Text *text)
{
    size_t count;
    const Option *options = options_all(&count);
    const char *between = "";
    text_add(text, "{\"version\":\"" OUTBOXD_VERSION "\",\"options\":[");
    for (size_t i = 0; i < count; i++) {
        if ((options[i].flags & OPTION_NOT_BUILT) == 0) {
            text_printf(text, "%s\n", between);
            schema_option(text, &options[i]);
            between = ",";
        }
    }
    text_add(text, "\n]}\n");
}
