#include "rows/precondition_some.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

Some some_read(const Facts *facts, const char *column)
{
    Some some = {.text = x_strdup(facts_value(facts, column))};
    char *rest = some.text;
    const char *count = strsep(&rest, "\036");
    some.count = strtoul(count, NULL, 10);
    while (rest != NULL && some.shown < SOME_MAX) {
        some.names[some.shown++] = strsep(&rest, "\036");
    }
    return some;
}

bool some_are_named(const Facts *facts, const char *column)
{
    const char *value = facts_value(facts, column);
    const char *named = value + strspn(value, "0123456789");
    return *named != '/' || strtoul(named + 1, NULL, 10) > 0;
}

void some_clear(Some *some)
{
    free(some->text);
    *some = (Some){0};
}

void some_add_rest(const Some *some, bool as_sql, Text *text)
{
    if (some->count > some->shown) {
        text_printf(text, as_sql ? ", ... (%zu more: see outboxd check)" : " and %zu more",
                    some->count - some->shown);
    }
}

void some_add(const Some *some, Text *text)
{
    for (size_t i = 0; i < some->shown; i++) {
        text_printf(text, "%s%s", i > 0 ? ", " : "", some->names[i]);
    }
    some_add_rest(some, false, text);
}

void some_add_sql(const Some *some, const char *before, Text *sql)
{
    for (size_t i = 0; i < some->shown; i++) {
        text_printf(sql, "%s%s%s", i > 0 ? ", " : "", before, some->names[i]);
    }
    some_add_rest(some, true, sql);
}
