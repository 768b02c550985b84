/* Walks what libconfig parsed, along the option table. Every problem is noted with its place; the
 * walk goes on, so that a user sees them all. */
#include <libconfig.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/lists.h"
#include "config/load.h"

/* One group of settings: the file, a group of one of its lists, or a group inside of these. */
typedef struct Group {
    const config_setting_t *setting;
    OptionScope scope;
    const char *prefix; /* "" or "kafka." */
    void *base;
    const char *where; /* for messages: ` in pipeline "orders"` */
} Group;

static void file_read_group(Load *load, const Group *group);

static char *file_place(const Load *load, const config_setting_t *setting)
{
    intptr_t exact = (intptr_t)config_setting_get_hook(setting);
    int line = exact > 0 ? (int)exact : (int)config_setting_source_line(setting);
    return source_place(load->source, line);
}

/* The line as the file has it, without the name of the file. */
static int file_line(const Load *load, const config_setting_t *setting)
{
    size_t flat = (size_t)config_setting_source_line(setting);
    return flat > 0 && flat <= load->source->line_count ? load->source->lines[flat - 1].line : 0;
}

static void file_free_hook(void *hook)
{
    (void)hook; /* a number */
}

/* Our own scan has seen the strings and numbers in the same order as the parser. It knows the lines
 * of strings in a list (the parser looks one token ahead, so its line may be a later one), and the
 * numbers that do not fit. The hook of a setting keeps the line, or BAD_NUMBER. */
enum { BAD_NUMBER = -1 };

typedef struct Literals {
    const Source *source;
    size_t strings; /* seen */
    size_t numbers;
} Literals;

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the file */
static void file_match_literals(Literals *seen, config_setting_t *setting)
{
    intptr_t hook = 0;
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_STRING:
        if (seen->strings < seen->source->string_count) {
            int line = seen->source->strings[seen->strings++];
            hook = config_setting_name(setting) == NULL ? line : 0;
        }
        break;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
    case CONFIG_TYPE_FLOAT:
        if (seen->numbers < seen->source->number_count) {
            hook = seen->source->numbers[seen->numbers++] ? 0 : BAD_NUMBER;
        }
        break;
    default:
        break;
    }
    config_setting_set_hook(setting, (void *)hook); // NOLINT(performance-no-int-to-ptr)
    for (int i = 0; i < config_setting_length(setting); i++) {
        file_match_literals(seen, config_setting_get_elem(setting, (unsigned)i));
    }
}

static const char *file_kind(const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_GROUP:
        return "a group { }";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "a number";
    case CONFIG_TYPE_FLOAT:
        return "a number with a fraction";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    case CONFIG_TYPE_ARRAY:
        return "an array [ ]";
    default:
        return "a list ( )";
    }
}

/* How a value of that type looks, for the remedy. */
static char *file_example(const Option *option)
{
    const char *name = strrchr(option->path, '.') ? strrchr(option->path, '.') + 1 : option->path;
    switch (option->type) {
    case OPTION_DURATION:
        return x_format("write it with its unit, in quotes, such as %s = \"5s\";", name);
    case OPTION_SIZE:
        return x_format("write it with its unit, in quotes, such as %s = \"4MiB\";", name);
    case OPTION_BOOL:
        return x_format("write %s = true; or %s = false;", name, name);
    case OPTION_INT:
        return x_format("write a whole number, such as %s = %s;", name,
                        option->fallback != NULL ? option->fallback : option->example);
    case OPTION_STRING_LIST:
        return x_format("write %s = [ \"...\", \"...\" ];", name);
    case OPTION_GROUPS:
        return x_format("write %s = ( { ... }, { ... } );", name);
    default:
        return x_format("write %s = \"%s\";", name,
                        option->fallback && *option->fallback ? option->fallback : "...");
    }
}

static void file_wrong_type(Load *load, const Option *option, const void *base,
                            const config_setting_t *setting)
{
    AUTO_TEXT place = file_place(load, setting);
    AUTO_TEXT remedy = file_example(option);
    problems_add(load->problems, false, place, remedy, "\"%s%s\" is %s, but must be %s%s",
                 option_scope_prefix(option->scope), option->path, file_kind(setting),
                 option->type == OPTION_BOOL ? "" : "a ",
                 option->type == OPTION_ENUM ? "string" : option_type_name(option->type));
    if (option->scope != SCOPE_CONFIG && option->scope != SCOPE_PIPELINE) {
        load_note(load, option, base, place); /* it is there, if not as it should be */
    }
}

static bool file_is_list(const config_setting_t *setting)
{
    int type = config_setting_type(setting);
    return type == CONFIG_TYPE_LIST || type == CONFIG_TYPE_ARRAY;
}

static void file_read_strings(Load *load, const Option *option, void *base,
                              const config_setting_t *setting)
{
    if (!file_is_list(setting)) {
        file_wrong_type(load, option, base, setting);
        return;
    }
    string_list_free((StringList *)(void *)((char *)base + option->offset));
    if ((void *)((char *)base + option->offset) == &load->config->kafka.properties) {
        string_list_free(&load->property_places);
    }
    for (int i = 0; i < config_setting_length(setting); i++) {
        const config_setting_t *item = config_setting_get_elem(setting, (unsigned)i);
        AUTO_TEXT place = file_place(load, item);
        const char *text = config_setting_get_string(item);
        if (text == NULL) {
            problems_add(load->problems, false, place, "put it in quotes",
                         "\"%s\" holds %s, but must hold strings", option->path, file_kind(item));
            continue;
        }
        value_add_item(load, option, base, text, place);
    }
    AUTO_TEXT place = file_place(load, setting);
    load_note(load, option, base, place);
}

static void file_read_scalar(Load *load, const Option *option, void *base,
                             const config_setting_t *setting)
{
    AUTO_TEXT place = file_place(load, setting);
    int type = config_setting_type(setting);
    if ((intptr_t)config_setting_get_hook(setting) == BAD_NUMBER) {
        return; /* said already, and what libconfig made of it is noise */
    }
    const char *text = config_setting_get_string(setting);
    bool bare = option->type == OPTION_BOOL || option->type == OPTION_INT;
    if (text != NULL && (!bare || strstr(text, "${") != NULL)) {
        /* a reference is a string whatever it stands for */
        value_set_text(load, option, base, text, place);
    } else if (type == CONFIG_TYPE_BOOL && option->type == OPTION_BOOL) {
        value_set_bool(load, option, base, config_setting_get_bool(setting) != 0, place);
    } else if ((type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) &&
               option->type == OPTION_INT) {
        int64_t value = type == CONFIG_TYPE_INT ? config_setting_get_int(setting)
                                                : config_setting_get_int64(setting);
        value_set_int(load, option, base, value, place);
    } else {
        file_wrong_type(load, option, base, setting);
    }
}

/* Defaults first, then what the group says. */
/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void file_read_element(Load *load, const Group *group)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope == group->scope) {
            value_set_default(load, &options[i], group->base);
        }
    }
    file_read_group(load, group);
    AUTO_TEXT place = file_place(load, group->setting);
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if (option->scope == group->scope && (option->flags & OPTION_REQUIRED) != 0 &&
            option->fallback == NULL && load_origin(load, group->base, option) == NULL) {
            const char *quote = option->type == OPTION_INT ? "" : "\"";
            AUTO_TEXT remedy =
                x_format("add %s = %s%s%s;", option->path, quote, option->example, quote);
            problems_add(load->problems, false, place, remedy, "no \"%s\"%s", option->path,
                         group->where);
        }
    }
}

static char *file_where(const OptionGroups *groups, const config_setting_t *setting, size_t index,
                        const char *outer)
{
    const char *name = NULL;
    if (groups->scope != SCOPE_PIPELINE) {
        return x_format(" in %s %zu of%s", groups->called, index + 1, outer + strlen(" in"));
    }
    if (config_setting_lookup_string(setting, "name", &name) == CONFIG_TRUE) {
        return x_format(" in pipeline \"%s\"", name);
    }
    return x_format(" in pipeline %zu", index + 1);
}

/* True when the setting can be read as groups: a list, which source.c makes of `[ { ... } ]`, too,
 * or nothing in brackets. */
static bool file_is_groups(const config_setting_t *setting)
{
    return config_setting_type(setting) == CONFIG_TYPE_LIST ||
           (config_setting_type(setting) == CONFIG_TYPE_ARRAY &&
            config_setting_length(setting) == 0);
}

/* A list of groups, each with its own struct. */
/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void file_read_groups(Load *load, const Option *option, const Group *outer,
                             const config_setting_t *setting)
{
    const OptionGroups *groups = option->groups;
    if (!file_is_groups(setting)) {
        file_wrong_type(load, option, outer->base, setting);
        return;
    }
    size_t count = (size_t)config_setting_length(setting);
    if (count > groups->most) {
        AUTO_TEXT place = file_place(load, setting);
        problems_add(load->problems, false, place, NULL, "\"%s\"%s holds %zu groups, more than %zu",
                     option->path, outer->where, count, groups->most);
        return;
    }
    option_groups_make(option, outer->base, count);
    for (size_t i = 0; i < count; i++) {
        const config_setting_t *item = config_setting_get_elem(setting, (unsigned)i);
        char *element = option_group(option, outer->base, i);
        if (groups->line != NO_LINE) {
            *(int *)(void *)(element + groups->line) = file_line(load, item);
        }
        if (config_setting_type(item) != CONFIG_TYPE_GROUP) {
            AUTO_TEXT place = file_place(load, item);
            problems_add(load->problems, false, place, "write { ... }",
                         "\"%s\" holds %s, but must hold groups", option->path, file_kind(item));
            continue;
        }
        AUTO_TEXT where = file_where(groups, item, i, outer->where);
        file_read_element(load, &(Group){item, groups->scope, "", element, where});
    }
    AUTO_TEXT place = file_place(load, setting);
    load_note(load, option, outer->base, place);
}

static void file_unknown(Load *load, const Group *group, const config_setting_t *setting)
{
    char buffer[64];
    const char *name = config_setting_name(setting);
    const char *near = option_nearest(group->scope, group->prefix, name, buffer, sizeof(buffer));
    AUTO_TEXT place = file_place(load, setting);
    AUTO_TEXT meant =
        near != NULL ? x_format("; did you mean \"%s%s\"?", group->prefix, near) : x_strdup("");
    problems_add(load->problems, false, place,
                 near != NULL ? NULL : "see outboxd config print for all options",
                 "unknown option \"%s%s\"%s%s", group->prefix, name, group->where, meant);
}

/* NOLINTNEXTLINE(misc-no-recursion): groups of the table are two deep, scopes four */
static void file_read_setting(Load *load, const Group *group, const config_setting_t *setting)
{
    AUTO_TEXT path = x_format("%s%s", group->prefix, config_setting_name(setting));
    const Option *option = option_find(group->scope, path);
    if (option == NULL && option_is_group(group->scope, path)) {
        if (config_setting_type(setting) != CONFIG_TYPE_GROUP) {
            AUTO_TEXT place = file_place(load, setting);
            AUTO_TEXT remedy = x_format("write %s: { ... };", path);
            problems_add(load->problems, false, place, remedy,
                         "\"%s\"%s is %s, but must be a group", path, group->where,
                         file_kind(setting));
            return;
        }
        AUTO_TEXT prefix = x_format("%s.", path);
        file_read_group(load, &(Group){setting, group->scope, prefix, group->base, group->where});
        return;
    }
    if (option == NULL) {
        file_unknown(load, group, setting);
    } else if ((option->flags & OPTION_NOT_BUILT) != 0) {
        AUTO_TEXT place = file_place(load, setting);
        problems_add(load->problems, false, place, option->example,
                     "\"%s\"%s is not built yet in version %s", path, group->where,
                     OUTBOXD_VERSION);
    } else if (option->type == OPTION_GROUPS) {
        file_read_groups(load, option, group, setting);
    } else if (option->type == OPTION_STRING_LIST) {
        file_read_strings(load, option, group->base, setting);
    } else {
        file_read_scalar(load, option, group->base, setting);
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): groups of the table are two deep, scopes four */
static void file_read_group(Load *load, const Group *group)
{
    for (int i = 0; i < config_setting_length(group->setting); i++) {
        file_read_setting(load, group, config_setting_get_elem(group->setting, (unsigned)i));
    }
}

void file_read(Load *load)
{
    config_t parsed;
    config_init(&parsed);
    config_set_destructor(&parsed, file_free_hook);
    if (config_read_string(&parsed, text_string(&load->source->text)) != CONFIG_TRUE) {
        AUTO_TEXT place = source_place(load->source, config_error_line(&parsed));
        problems_add(load->problems, false, place,
                     strcmp(config_error_text(&parsed), "syntax error") == 0
                         ? "check this line and the one before it for a missing quote, brace or "
                           "semicolon, or a comma before a closing bracket"
                         : NULL,
                     "%s", config_error_text(&parsed));
    } else {
        Literals seen = {.source = load->source};
        file_match_literals(&seen, config_root_setting(&parsed));
        file_read_group(load,
                        &(Group){config_root_setting(&parsed), SCOPE_CONFIG, "", load->config, ""});
    }
    config_destroy(&parsed);
}
