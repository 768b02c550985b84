/* Finding options in the table by path, what users call them, and the lists of groups. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/config.h"
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

bool option_applies(const Option *option, int capture)
{
    return (option->flags & (capture == CAPTURE_TABLES ? OPTION_OUTBOX : OPTION_TABLES)) == 0;
}

static size_t *option_group_number(const Option *option, const void *base)
{
    return (size_t *)(void *)((char *)base + option->groups->count);
}

static char **option_group_array(const Option *option, const void *base)
{
    return (char **)(void *)((char *)base + option->offset);
}

bool option_is_on(const Option *option, const void *base)
{
    const void *field = (const char *)base + option->offset;
    return option->bit != 0 ? (*(const unsigned *)field & option->bit) != 0 : *(const bool *)field;
}

void option_switch(const Option *option, void *base, bool on)
{
    void *field = (char *)base + option->offset;
    if (option->bit == 0) {
        *(bool *)field = on;
    } else if (on) {
        *(unsigned *)field |= option->bit;
    } else {
        *(unsigned *)field &= ~option->bit;
    }
}

size_t option_group_count(const Option *option, const void *base)
{
    return *option_group_number(option, base);
}

void *option_group(const Option *option, const void *base, size_t index)
{
    return *option_group_array(option, base) + index * option->groups->size;
}

void option_groups_make(const Option *option, void *base, size_t count)
{
    free(*option_group_array(option, base));
    *option_group_array(option, base) = x_calloc(count > 0 ? count : 1, option->groups->size);
    *option_group_number(option, base) = count;
}

bool option_environment(const Option *option, Text *ret_name)
{
    bool in_file_only = option->scope != SCOPE_CONFIG && option->scope != SCOPE_PIPELINE;
    if (in_file_only || option->type == OPTION_GROUPS ||
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
    return (option->flags & OPTION_FIXED) != 0        ? "restart"
           : (option->flags & OPTION_RELOADABLE) != 0 ? "live"
                                                      : "pipeline";
}

const char *option_scope_prefix(OptionScope scope)
{
    static const char *const PREFIXES[SCOPE_COUNT] = {
        [SCOPE_CONFIG] = "",
        [SCOPE_PIPELINE] = "pipelines.",
        [SCOPE_ROUTE] = "pipelines.routes.",
        [SCOPE_MAPPING] = "pipelines.mappings.",
        [SCOPE_MASK] = "pipelines.mappings.mask_columns.",
        [SCOPE_CUT] = "pipelines.mappings.truncate_columns.",
    };
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
        [OPTION_LETTERS] = "string of letters",
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
