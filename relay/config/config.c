/* Building and releasing the structs of config.h. The strings inside are released by walking the
 * option table, so that a new option cannot be forgotten. */
#include "config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/lists.h"
#include "config/options.h"

bool string_list_has(const StringList *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

void string_list_add(StringList *list, const char *text)
{
    *vec_add(list) = x_strdup(text);
}

void string_list_free(StringList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (StringList){0};
}

void string_list_remove(StringList *list, size_t index)
{
    free(list->items[index]);
    vec_remove(list, index, 1);
}

void problems_add(Problems *problems, bool warning, const char *place, const char *remedy,
                  const char *format, ...)
{
    AUTO_BUFFER message = TEXT_EMPTY;
    va_list args;
    va_start(args, format);
    char *formatted = NULL;
    if (vasprintf(&formatted, format, args) >= 0) {
        text_add(&message, formatted);
        free(formatted);
    }
    va_end(args);
    *vec_add(problems) = (Problem){
        .warning = warning,
        .place = x_strdup(place),
        .message = x_strdup(text_string(&message)),
        .remedy = remedy != NULL ? x_strdup(remedy) : NULL,
    };
    problems->errors += warning ? 0 : 1;
}

void problems_free(Problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free(problems->items[i].place);
        free(problems->items[i].message);
        free(problems->items[i].remedy);
    }
    free(problems->items);
    *problems = (Problems){0};
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void config_free_scope(OptionScope scope, void *base)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope != scope || (options[i].flags & OPTION_NOT_BUILT) != 0) {
            continue;
        }
        char *field = (char *)base + options[i].offset;
        if (options[i].type == OPTION_STRING || options[i].type == OPTION_TEMPLATE ||
            options[i].type == OPTION_GLOB) {
            free(*(char **)(void *)field);
        } else if (options[i].type == OPTION_STRING_LIST) {
            string_list_free((StringList *)(void *)field);
        } else if (options[i].type == OPTION_GROUPS) {
            config_free_groups(&options[i], base);
            free(*(char **)(void *)field);
        }
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
void config_free_groups(const Option *option, void *base)
{
    for (size_t i = 0; i < option_group_count(option, base); i++) {
        config_free_scope(option->groups->scope, option_group(option, base, i));
    }
}

void config_free(Config **config)
{
    if (*config == NULL) {
        return;
    }
    config_free_scope(SCOPE_CONFIG, *config);
    string_list_free(&(*config)->kafka.written);
    free((*config)->file);
    free((*config)->database.dsn_shown);
    free((*config)->database.replication_dsn_shown);
    free(*config);
    *config = NULL;
}

bool config_has_sink(const Config *config, SinkKind sink)
{
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (config->pipelines[i].sink == sink) {
            return true;
        }
    }
    return false;
}

char *const *config_replication_dsn(const Config *config)
{
    const DatabaseConfig *database = &config->database;
    return *database->replication_dsn != '\0' ? &database->replication_dsn : &database->dsn;
}

const PipelineConfig *config_pipeline(const Config *config, const char *name)
{
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (strcmp(config->pipelines[i].name, name) == 0) {
            return &config->pipelines[i];
        }
    }
    return NULL;
}
