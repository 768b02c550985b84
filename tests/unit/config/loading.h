/* loading: a configuration from text, with an environment of the test's own. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "config/load.h"

typedef struct Loading {
    char directory[64];
    char *path; /* of the file; NULL: none */
    Load load;
    Problems problems;
    Status status;
} Loading;

/* What every file of the tests needs and none of them is about. */
#define BASICS                                                                                     \
    "database: { dsn = \"host=db\"; }; kafka: { brokers = \"k:9092\"; };\n" /* line 1              \
                                                                             */
#define PIPELINE "pipelines: ( { name = \"orders\"; } );\n"

/* An environment from literals, which nobody writes to. */
#define LOADING_ENVIRONMENT(...)                                                                   \
    ((char *const *)(const void *)(const char *const[]){__VA_ARGS__, NULL})

static inline void loading_write(const Loading *loading, const char *name, const char *text)
{
    AUTO_TEXT path = x_format("%s/%s", loading->directory, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

static inline void loading_begin(Loading *loading)
{
    *loading = (Loading){.directory = "/tmp/outboxd-unit-XXXXXX"};
    cr_assert_not_null(mkdtemp(loading->directory));
}

/** Loads text as the file main.conf (NULL: no file) with NAME=value strings up to NULL. */
static inline void loading_run(Loading *loading, const char *text, const ConfigOverrides *overrides,
                               char *const *environment)
{
    static char *const NOTHING[] = {NULL};
    ConfigOverrides given = overrides != NULL ? *overrides : (ConfigOverrides){0};
    if (text != NULL) {
        loading_write(loading, "main.conf", text);
        loading->path = x_format("%s/main.conf", loading->directory);
        given.file = loading->path;
    }
    loading->status = load_run(&loading->load, &given, environment != NULL ? environment : NOTHING,
                               &loading->problems);
}

static inline Config *loading_config(const Loading *loading)
{
    for (size_t i = 0; i < loading->problems.count; i++) {
        cr_log_info("%s: %s", loading->problems.items[i].place, loading->problems.items[i].message);
    }
    cr_assert_eq(loading->status, OK, "%s: %s",
                 loading->problems.count > 0 ? loading->problems.items[0].place : "?",
                 loading->problems.count > 0 ? loading->problems.items[0].message : "?");
    return loading->load.config;
}

static inline void loading_end(Loading *loading)
{
    config_free(&loading->load.config);
    load_free(&loading->load);
    problems_free(&loading->problems);
    free(loading->path);
    AUTO_TEXT command = x_format("rm -r '%s'", loading->directory);
    cr_assert_eq(system(command), 0);
}

/** The problem at index, as "file:line: message" without the directory. */
static inline char *loading_problem(const Loading *loading, size_t index)
{
    cr_assert_lt(index, loading->problems.count, "only %zu problems", loading->problems.count);
    const Problem *problem = &loading->problems.items[index];
    size_t length = strlen(loading->directory);
    bool inside = strncmp(problem->place, loading->directory, length) == 0;
    return x_format("%s: %s%s", problem->place + (inside ? length + 1 : 0),
                    problem->warning ? "warning: " : "", problem->message);
}

/** Loads text and expects exactly these problems, in this order; the list ends with NULL. */
static inline void assert_problems(const char *text, const char *const *expected)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, text, NULL, NULL);
    size_t count = 0;
    for (; expected[count] != NULL; count++) {
        AUTO_TEXT problem = loading_problem(&loading, count);
        cr_assert_str_eq(problem, expected[count]);
    }
    cr_assert_eq(loading.problems.count, count, "also: %s",
                 loading.problems.count > count ? loading.problems.items[count].message : "");
    loading_end(&loading);
}
#define ASSERT_PROBLEMS(text, ...) assert_problems(text, (const char *const[]){__VA_ARGS__, NULL})

/** Expects text to load without a problem. */
static inline void assert_loads(const char *text)
{
    assert_problems(text, (const char *const[]){NULL});
}
