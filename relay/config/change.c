#include "config/change.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/columns.h"
#include "config/dsn.h"
#include "config/lists.h"
#include "config/options.h"

/* One value. */

static bool text_equal(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool list_equal(const StringList *a, const StringList *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++) {
        equal = strcmp(a->items[i], b->items[i]) == 0;
    }
    return equal;
}

static bool option_is_equal(const Option *option, const void *from, const void *to);

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static bool group_equal(OptionScope scope, const void *from, const void *to)
{
    size_t count;
    const Option *options = options_all(&count);
    bool equal = true;
    for (size_t i = 0; equal && i < count; i++) {
        equal = options[i].scope != scope || (options[i].flags & OPTION_NOT_BUILT) != 0 ||
                option_is_equal(&options[i], from, to);
    }
    return equal;
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static bool groups_equal(const Option *option, const void *from, const void *to)
{
    size_t count = option_group_count(option, from);
    bool equal = count == option_group_count(option, to);
    for (size_t i = 0; equal && i < count; i++) {
        equal = group_equal(option->groups->scope, option_group(option, from, i),
                            option_group(option, to, i));
    }
    return equal;
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static bool option_is_equal(const Option *option, const void *from, const void *to)
{
    const void *a = (const char *)from + option->offset;
    const void *b = (const char *)to + option->offset;
    switch (option->type) {
    case OPTION_BOOL:
        return option_is_on(option, from) == option_is_on(option, to);
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        return *(const int64_t *)a == *(const int64_t *)b;
    case OPTION_ENUM:
    case OPTION_LETTERS:
        return memcmp(a, b, sizeof(int)) == 0;
    case OPTION_STRING_LIST:
        return list_equal(a, b);
    case OPTION_GROUPS:
        return groups_equal(option, from, to);
    case OPTION_STRING:
    case OPTION_TEMPLATE:
    case OPTION_GLOB:
        break;
    }
    return text_equal(*(char *const *)a, *(char *const *)b);
}

static void text_copy(char **to, const char *from)
{
    free(*to);
    *to = from != NULL ? x_strdup(from) : NULL;
}

static void list_copy(StringList *to, const StringList *from)
{
    string_list_free(to);
    for (size_t i = 0; i < from->count; i++) {
        string_list_add(to, from->items[i]);
    }
}

static void option_copy(const Option *option, void *to, const void *from);

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void group_copy(const OptionGroups *groups, char *to, const char *from)
{
    size_t count;
    const Option *options = options_all(&count);
    if (groups->line != NO_LINE) {
        memcpy(to + groups->line, from + groups->line, sizeof(int));
    }
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope == groups->scope && (options[i].flags & OPTION_NOT_BUILT) == 0) {
            option_copy(&options[i], to, from);
        }
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void groups_copy(const Option *option, void *to, const void *from)
{
    size_t count = option_group_count(option, from);
    config_free_groups(option, to);
    option_groups_make(option, to, count);
    for (size_t i = 0; i < count; i++) {
        group_copy(option->groups, option_group(option, to, i), option_group(option, from, i));
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): scopes are four deep */
static void option_copy(const Option *option, void *to, const void *from)
{
    void *b = (char *)to + option->offset;
    const void *a = (const char *)from + option->offset;
    switch (option->type) {
    case OPTION_BOOL:
        option_switch(option, to, option_is_on(option, from));
        return;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        *(int64_t *)b = *(const int64_t *)a;
        return;
    case OPTION_ENUM:
    case OPTION_LETTERS:
        memcpy(b, a, sizeof(int));
        return;
    case OPTION_STRING_LIST:
        list_copy(b, a);
        return;
    case OPTION_GROUPS:
        groups_copy(option, to, from);
        return;
    case OPTION_STRING:
    case OPTION_TEMPLATE:
    case OPTION_GLOB:
        text_copy(b, *(char *const *)a);
        return;
    }
}

/* What differs. */

static void change_name(const Option *option, Text *names)
{
    AUTO_TEXT name = x_format("%s%s", option_scope_prefix(option->scope), option->path);
    size_t length = strlen(name);
    const char *at = names != NULL ? strstr(text_string(names), name) : NULL;
    while (at != NULL && at[length] != ' ' && at[length] != '\0') {
        at = strstr(at + length, name);
    }
    if (names != NULL && at == NULL) {
        text_printf(names, "%s%s", names->length > 0 ? " " : "", name);
    }
}

static Change change_more(Change a, Change b)
{
    return a > b ? a : b;
}

/* But for the password it is the same place and the same user. */
static bool dsn_differs_by_password(const char *from, const char *to)
{
    Dsn a = {0};
    Dsn b = {0};
    DsnProblem problem = {0};
    bool same = dsn_read(NULL, from, &a, &problem) == OK && dsn_read(NULL, to, &b, &problem) == OK;
    dsn_problem_free(&problem);
    size_t passwords_a = dsn_get(&a, "password") != NULL;
    size_t passwords_b = dsn_get(&b, "password") != NULL;
    same = same && a.count - passwords_a == b.count - passwords_b;
    for (size_t i = 0; same && i < a.count; i++) {
        const char *key = a.pairs[i].key;
        same = strcmp(key, "password") == 0 || text_equal(a.pairs[i].value, dsn_get(&b, key));
    }
    dsn_free(&a);
    dsn_free(&b);
    return same;
}

static Change change_of_option(const Option *option, const void *from, const void *to)
{
    if (option_is_equal(option, from, to)) {
        return CHANGE_NONE;
    }
    if ((option->flags & OPTION_DSN) != 0) {
        const char *a = *(char *const *)(const void *)((const char *)from + option->offset);
        const char *b = *(char *const *)(const void *)((const char *)to + option->offset);
        return dsn_differs_by_password(a, b) ? CHANGE_LIVE : CHANGE_RENEWS;
    }
    return (option->flags & OPTION_RELOADABLE) != 0 ? CHANGE_LIVE : CHANGE_RENEWS;
}

/* Pipelines are compared by themselves: they are found by name. */
static bool change_counts(const Option *option, OptionScope scope, const char *prefix)
{
    bool pipelines = scope == SCOPE_CONFIG && option->type == OPTION_GROUPS;
    return option->scope == scope && !pipelines &&
           (option->flags & (OPTION_NOT_BUILT | OPTION_FIXED)) == 0 &&
           strncmp(option->path, prefix, strlen(prefix)) == 0;
}

static Change change_of_scope(OptionScope scope, const char *prefix, const void *from,
                              const void *to, Text *names)
{
    size_t count;
    const Option *options = options_all(&count);
    Change most = CHANGE_NONE;
    for (size_t i = 0; i < count; i++) {
        if (!change_counts(&options[i], scope, prefix)) {
            continue;
        }
        Change change = change_of_option(&options[i], from, to);
        if (change != CHANGE_NONE) {
            change_name(&options[i], names);
        }
        most = change_more(most, change);
    }
    return most;
}

Change change_of_config(const Config *from, const Config *to, const char *prefix, Text *names)
{
    return change_of_scope(SCOPE_CONFIG, prefix, from, to, names);
}

/* A column that is needed only now may be absent from what is read: nobody asked for it. */
static bool change_needs_columns(const PipelineConfig *from, const PipelineConfig *to)
{
    bool needs = from->outbox.columns_named != to->outbox.columns_named;
    for (size_t i = 0; !needs && i < COLUMN_COUNT; i++) {
        AUTO_TEXT before = column_need(from, i);
        AUTO_TEXT now = column_need(to, i);
        needs = before == NULL && now != NULL;
    }
    return needs;
}

Change change_of_pipeline(const PipelineConfig *from, const PipelineConfig *to, Text *names)
{
    Change change = change_of_scope(SCOPE_PIPELINE, "", from, to, names);
    return change_needs_columns(from, to) ? CHANGE_RENEWS : change;
}

/* What is taken over. */

/* With a token command that comes or goes, the way to log in is another one as a whole. */
static void change_keep_login(const Config *from, Config *to, Text *names)
{
    static const char *const PATHS[] = {"kafka.brokers", "kafka.properties"};
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        const Option *option = option_find(SCOPE_CONFIG, PATHS[i]);
        if (!option_is_equal(option, from, to)) {
            change_name(option, names);
            option_copy(option, to, from);
        }
    }
    list_copy(&to->kafka.written, &from->kafka.written);
}

void change_keep_fixed(const Config *from, Config *to, Text *names)
{
    size_t count;
    const Option *options = options_all(&count);
    bool login = (*from->kafka.oauth_command == '\0') != (*to->kafka.oauth_command == '\0');
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if (option->scope == SCOPE_CONFIG && (option->flags & OPTION_FIXED) != 0 &&
            !option_is_equal(option, from, to)) {
            change_name(option, names);
            option_copy(option, to, from);
        }
    }
    if (login) {
        change_keep_login(from, to, names);
    }
}

void change_apply(PipelineConfig *to, const PipelineConfig *from)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope == SCOPE_PIPELINE && (options[i].flags & OPTION_RELOADABLE) != 0) {
            option_copy(&options[i], to, from);
        }
    }
}

static void change_dsn(char **to, const char *from)
{
    if (strcmp(*to, from) != 0) {
        explicit_bzero(*to, strlen(*to));
        text_copy(to, from);
    }
}

void change_password(Config *to, const Config *from)
{
    change_dsn(&to->database.dsn, from->database.dsn);
    change_dsn(&to->database.replication_dsn, from->database.replication_dsn);
}

void change_kafka(Config *to, const Config *from)
{
    for (size_t i = 0; i < to->kafka.properties.count; i++) { /* some hold secrets */
        explicit_bzero(to->kafka.properties.items[i], strlen(to->kafka.properties.items[i]));
    }
    text_copy(&to->kafka.brokers, from->kafka.brokers);
    list_copy(&to->kafka.properties, &from->kafka.properties);
    list_copy(&to->kafka.written, &from->kafka.written);
    to->kafka.create_topics = from->kafka.create_topics;
}
