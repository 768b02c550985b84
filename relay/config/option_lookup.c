/* Finding options in the table by path, and what users call them. */
#include <stdio.h>
#include <string.h>

#include "config/nearest.h"
#include "config/options.h"

const Option *option_find(OptionScope scope, const char *path)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope == scope && strcmp(options[i].path, path) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

bool option_is_group(OptionScope scope, const char *path)
{
    size_t count;
    const Option *options = options_all(&count);
    size_t length = strlen(path);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope == scope && strncmp(options[i].path, path, length) == 0 &&
            options[i].path[length] == '.') {
            return true;
        }
    }
    return false;
}

const char *option_nearest(OptionScope scope, const char *prefix, const char *name, char *buffer,
                           size_t capacity)
{
    size_t count;
    const Option *options = options_all(&count);
    size_t length = strlen(prefix);
    Nearest nearest = nearest_begin(name);
    buffer[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope != scope || strncmp(options[i].path, prefix, length) != 0) {
            continue;
        }
        const char *rest = options[i].path + length;
        char level[64];
        snprintf(level, sizeof(level), "%.*s", (int)strcspn(rest, "."), rest);
        if (nearest_offer(&nearest, level)) {
            snprintf(buffer, capacity, "%s", level);
        }
    }
    return buffer[0] != '\0' ? buffer : NULL;
}

static char environment_letter(char c)
{
    if (c == '.') {
        return '_';
    }
    return (char)(c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
}

bool option_environment(const Option *option, Text *ret_name)
{
    if (option->scope == SCOPE_ROUTE || option->type == OPTION_GROUPS ||
        strcmp(option->path, "kafka.properties") == 0) {
        return false;
    }
    text_add(ret_name, option->scope == SCOPE_PIPELINE ? "OUTBOXD_PIPELINE_" : "OUTBOXD_");
    for (const char *c = option->path; *c != '\0'; c++) {
        text_add_char(ret_name, environment_letter(*c));
    }
    return true;
}

const char *option_reload(const Option *option)
{
    return (option->flags & OPTION_FIXED) != 0                                        ? "restart"
           : (option->flags & OPTION_RELOADABLE) != 0 || option->scope == SCOPE_ROUTE ? "live"
                                                                                      : "pipeline";
}

const char *option_scope_prefix(OptionScope scope)
{
    static const char *const PREFIXES[SCOPE_COUNT] = {"", "pipelines.", "pipelines.routes."};
    return PREFIXES[scope];
}

const char *option_type_name(OptionType type)
{
    static const char *const NAMES[] = {
        [OPTION_STRING] = "string",
        [OPTION_BOOL] = "true or false",
        [OPTION_INT] = "whole number",
        [OPTION_DURATION] = "duration",
        [OPTION_SIZE] = "size",
        [OPTION_ENUM] = "one of",
        [OPTION_STRING_LIST] = "list of strings",
        [OPTION_TEMPLATE] = "template",
        [OPTION_GLOB] = "pattern",
        [OPTION_GROUPS] = "list of groups",
    };
    return NAMES[type];
}

void option_add_choices(const Option *option, bool all, Text *text)
{
    const char *between = "";
    for (const OptionChoice *choice = option->choices; choice->name != NULL; choice++) {
        if (all || !choice->not_built) {
            text_printf(text, "%s\"%s\"", between, choice->name);
            between = " | ";
        }
    }
}
