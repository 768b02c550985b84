/* Patterns: what can never match, and what was written in another language. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/load.h"

static bool pattern_takes_all(const char *pattern)
{
    return pattern == NULL || (*pattern == '*' && pattern[strspn(pattern, "*")] == '\0');
}

static bool pattern_is_literal(const char *pattern)
{
    return strpbrk(pattern, "*?[\\") == NULL;
}

/* Does all that `second` takes match `first`, too? False where it is not plain to see. */
static bool pattern_covers(const char *first, const char *second)
{
    if (pattern_takes_all(first)) {
        return true;
    }
    if (second == NULL) {
        return false;
    }
    if (strcmp(first, second) == 0) {
        return true;
    }
    if (pattern_is_literal(second)) {
        return fnmatch(first, second, 0) == 0;
    }
    size_t prefix = strcspn(first, "*?[\\");
    bool open = prefix > 0 && strcmp(first + prefix, "*") == 0;
    return open && strncmp(first, second, prefix) == 0;
}

static char *pattern_place(const Load *load, const RouteConfig *route)
{
    static const char *const PATHS[] = {"event_type", "aggregate_type", "topic"};
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        const char *place = load_origin(load, route, option_find(SCOPE_ROUTE, PATHS[i]));
        if (place != NULL) {
            return x_strdup(place);
        }
    }
    return x_strdup(load->config->file);
}

static void rules_check_reach(Load *load, const PipelineConfig *pipeline)
{
    for (size_t i = 1; i < pipeline->route.rule_count; i++) {
        const RouteConfig *route = &pipeline->route.rules[i];
        for (size_t j = 0; j < i; j++) {
            const RouteConfig *before = &pipeline->route.rules[j];
            if (before->event_type == NULL && before->aggregate_type == NULL) {
                break; /* said of that route */
            }
            if (!pattern_covers(before->event_type, route->event_type) ||
                !pattern_covers(before->aggregate_type, route->aggregate_type)) {
                continue;
            }
            AUTO_TEXT place = pattern_place(load, route);
            AUTO_TEXT remedy =
                x_format("move route %zu before route %zu, or remove it", i + 1, j + 1);
            problems_add(load->problems, true, place, remedy,
                         "route %zu of pipeline \"%s\" can never match: route %zu takes all of its "
                         "events",
                         i + 1, pipeline->name, j + 1);
            break;
        }
    }
}

/* Signs of a regular expression that no name of a type or group has. "payment.*" is a good glob. */
static bool pattern_is_regex(const char *pattern)
{
    size_t length = strlen(pattern);
    if (length == 0) {
        return false;
    }
    if (*pattern == '^' || pattern[length - 1] == '$' || strpbrk(pattern, "()|+{}") != NULL ||
        strncmp(pattern, ".*", 2) == 0) {
        return true;
    }
    for (const char *c = strchr(pattern, '\\'); c != NULL; c = strchr(c + 1, '\\')) {
        if (c[1] == '.' || strchr("dwsbDWSB", c[1]) != NULL) {
            return c[1] != '\0';
        }
    }
    return false;
}

/* The same as a glob, where that is plain; else NULL. */
static char *pattern_as_glob(const char *pattern)
{
    if (strpbrk(pattern, "()|+{}") != NULL) {
        return NULL;
    }
    AUTO_BUFFER glob = TEXT_EMPTY;
    text_add(&glob, "");
    for (const char *c = pattern + (*pattern == '^' ? 1 : 0); *c != '\0'; c++) {
        if (*c == '$' && c[1] == '\0') {
            break;
        }
        if (*c == '\\' && c[1] != '.') {
            return NULL; /* \d and the like */
        }
        if (*c == '\\') {
            text_add_char(&glob, *++c);
        } else if (c[0] == '.' && c[1] == '*') {
            text_add_char(&glob, '*');
            c++;
        } else {
            text_add_char(&glob, *c == '.' ? '?' : *c);
        }
    }
    return x_strdup(glob.data);
}

void rules_check_pattern(Load *load, const char *place, const char *what, const char *pattern)
{
    if (pattern == NULL || !pattern_is_regex(pattern)) {
        return;
    }
    AUTO_TEXT glob = pattern_as_glob(pattern);
    AUTO_TEXT remedy = x_format("%s%s%sin a pattern, * matches any text, ? one character, [...] "
                                "one of these, and anything else itself",
                                glob != NULL ? "write \"" : "", glob != NULL ? glob : "",
                                glob != NULL ? "\": " : "");
    problems_add(load->problems, true, place, remedy,
                 "%s \"%s\" looks like a regular expression, but it is a glob pattern, like those "
                 "for file names",
                 what, pattern);
}

void rules_check_patterns(Load *load, const PipelineConfig *pipeline)
{
    for (size_t i = 0; i < pipeline->route.rule_count; i++) {
        const RouteConfig *route = &pipeline->route.rules[i];
        AUTO_TEXT place = pattern_place(load, route);
        rules_check_pattern(load, place, "event_type", route->event_type);
        rules_check_pattern(load, place, "aggregate_type", route->aggregate_type);
    }
    rules_check_reach(load, pipeline);
}
