#include "base/log_codes.h"

#include <string.h>
#include <strings.h>

enum { GROUPS_MAX = 16 };

const LogCodeGroup *log_code_groups(size_t *ret_count)
{
    static LogCodeGroup groups[GROUPS_MAX];
    static size_t count;
    if (count == 0) {
        for (size_t i = 0; i < LOG_CODES_RELAY_COUNT && count < GROUPS_MAX; i++) {
            groups[count++] = LOG_CODES_RELAY[i];
        }
        for (size_t i = 0; i < LOG_CODES_POSTGRES_COUNT && count < GROUPS_MAX; i++) {
            groups[count++] = LOG_CODES_POSTGRES[i];
        }
    }
    *ret_count = count;
    return groups;
}

static const LogCode *groups_find(const LogCodeGroup *groups, size_t count, const char *code)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < groups[i].count; j++) {
            if (strcasecmp(groups[i].codes[j].code, code) == 0) {
                return &groups[i].codes[j];
            }
        }
    }
    return NULL;
}

const LogCode *log_code_find(const char *code)
{
    const LogCode *found = groups_find(LOG_CODES_RELAY, LOG_CODES_RELAY_COUNT, code);
    return found != NULL ? found : groups_find(LOG_CODES_POSTGRES, LOG_CODES_POSTGRES_COUNT, code);
}

const char *log_code_remedy(const Error *err)
{
    const LogCode *known = err->hint[0] == '\0' ? log_code_find(err->code) : NULL;
    return known != NULL ? known->remedy : err->hint;
}

/* A cell of a table: "|" would end it, and "<" would begin HTML. */
static void markdown_add_cell(Text *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '|') {
            text_add(out, "\\|");
        } else if (*c == '<') {
            text_add(out, "&lt;");
        } else {
            text_add_char(out, *c);
        }
    }
}

void log_codes_add_markdown(Text *out)
{
    text_add(out,
             "# Codes of log lines and errors\n\n"
             "Made by `outboxd explain --markdown` from the table that the program carries; "
             "`outboxd explain CODE` prints one\nentry. "
             "A line is written once for each new fact: while it lasts, a reminder comes once a "
             "minute, and what\nwould be a line for each event or attempt is counted and summed "
             "up. Level: that of the log line; \"command\" is\nsaid by "
             "sub-commands alone. Dead letters carry the same codes.\n");
    size_t count = 0;
    const LogCodeGroup *groups = log_code_groups(&count);
    for (size_t i = 0; i < count; i++) {
        text_printf(out, "\n## %s\n\n| code | level | meaning | remedy |\n|---|---|---|---|\n",
                    groups[i].title);
        for (size_t j = 0; j < groups[i].count; j++) {
            const LogCode *code = &groups[i].codes[j];
            text_printf(out, "| `%s` | %s | ", code->code, code->levels);
            markdown_add_cell(out, code->meaning);
            text_add(out, " | ");
            markdown_add_cell(out, code->remedy[0] != '\0' ? code->remedy : "None needed.");
            text_add(out, " |\n");
        }
    }
}
