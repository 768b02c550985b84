#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/log_codes.h"

typedef struct Seen {
    const LogCode *codes[400];
    size_t count;
} Seen;

static Seen all(void)
{
    Seen seen = {0};
    size_t groups = 0;
    const LogCodeGroup *group = log_code_groups(&groups);
    for (size_t i = 0; i < groups; i++) {
        for (size_t j = 0; j < group[i].count; j++) {
            cr_assert_lt(seen.count, 400);
            seen.codes[seen.count++] = &group[i].codes[j];
        }
    }
    return seen;
}

Test(log_codes, each_code_is_there_once_and_says_what_it_means)
{
    Seen seen = all();
    cr_assert_gt(seen.count, 100);
    for (size_t i = 0; i < seen.count; i++) {
        const LogCode *code = seen.codes[i];
        cr_assert_gt(strlen(code->name), 0);
        for (const char *c = code->name; *c != '\0'; c++) {
            cr_assert(isupper((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '_', "%s",
                      code->name);
        }
        cr_assert_gt(strlen(code->meaning), 10, "%s", code->name);
        cr_assert_eq(code->meaning[strlen(code->meaning) - 1], '.', "%s: %s", code->name,
                     code->meaning);
        cr_assert_not_null(code->remedy, "%s", code->name);
        for (size_t j = i + 1; j < seen.count; j++) {
            cr_assert_str_neq(code->name, seen.codes[j]->name);
        }
    }
}

Test(log_codes, levels_are_those_of_the_log)
{
    Seen seen = all();
    for (size_t i = 0; i < seen.count; i++) {
        char levels[64];
        snprintf(levels, sizeof(levels), "%s", seen.codes[i]->levels);
        char *rest = levels;
        for (const char *level; (level = strsep(&rest, ",")) != NULL;) {
            level += *level == ' ';
            cr_assert(strcmp(level, "debug") == 0 || strcmp(level, "info") == 0 ||
                          strcmp(level, "warn") == 0 || strcmp(level, "error") == 0 ||
                          strcmp(level, "command") == 0,
                      "%s: '%s'", seen.codes[i]->name, level);
        }
    }
}

Test(log_codes, what_stops_a_pipeline_has_a_remedy)
{
    Seen seen = all();
    for (size_t i = 0; i < seen.count; i++) {
        if (strstr(seen.codes[i]->levels, "error") != NULL &&
            strcmp(seen.codes[i]->name, "KAFKA_LOG") != 0) {
            cr_assert_gt(strlen(seen.codes[i]->remedy), 0, "%s", seen.codes[i]->name);
        }
    }
}

Test(log_codes, one_is_found_whatever_its_case)
{
    cr_assert_eq(error_code_find("event_Unrouted"), CODE_EVENT_UNROUTED);
    cr_assert_eq(error_code_find("MIGRATE_SQL"), CODE_MIGRATE_SQL);
    cr_assert_eq(error_code_find("EVENT"), CODE_NONE);
    cr_assert_eq(error_code_find(""), CODE_NONE);
    cr_assert_str_eq(error_code_name(CODE_EVENT_UNROUTED), "EVENT_UNROUTED");
    cr_assert_str_eq(error_code_name(CODE_NONE), "");
}

Test(log_codes, the_page_is_the_one_that_is_committed)
{
    AUTO_BUFFER page = TEXT_EMPTY;
    log_codes_add_markdown(&page);
    static char committed[200000];
    FILE *file = fopen(SOURCE_DIR "/relay/LOGS.md", "r");
    cr_assert_not_null(file);
    committed[fread(committed, 1, sizeof(committed) - 1, file)] = '\0';
    (void)fclose(file);
    cr_assert_str_eq(text_string(&page), committed,
                     "relay/LOGS.md is old: outboxd explain --markdown > relay/LOGS.md");
}

Test(log_codes, each_code_has_a_row_of_four_cells)
{
    AUTO_BUFFER page = TEXT_EMPTY;
    log_codes_add_markdown(&page);
    Seen seen = all();
    size_t rows = 0;
    for (char *line = strtok((char *)text_string(&page), "\n"); line != NULL;
         line = strtok(NULL, "\n")) {
        if (strncmp(line, "| `", 3) != 0) {
            continue;
        }
        size_t bars = 0;
        for (const char *c = line; *c != '\0'; c++) {
            bars += *c == '|' && (c == line || c[-1] != '\\');
        }
        cr_assert_eq(bars, 5, "%s", line);
        rows++;
    }
    cr_assert_eq(rows, seen.count);
}

Test(log_codes, what_warns_has_a_remedy)
{
    Seen seen = all();
    for (size_t i = 0; i < seen.count; i++) {
        const LogCode *code = seen.codes[i];
        bool warns = strstr(code->levels, "warn") != NULL || strstr(code->levels, "error") != NULL;
        cr_assert(!warns || code->remedy[0] != '\0', "%s", code->name);
        cr_assert_null(strstr(code->remedy, "None needed"), "%s", code->name);
    }
}

Test(log_codes, the_remedy_of_an_error_is_its_hint_or_that_of_its_code)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_POSTGRES_UNREACHABLE, "refused");
    cr_assert_str_eq(error_remedy(&err), log_code_of(CODE_POSTGRES_UNREACHABLE)->remedy);
    error_hint(&err, "Start it.");
    cr_assert_str_eq(error_remedy(&err), "Start it.");
    cr_assert_str_eq(error_remedy(&(Error){0}), "");
}
