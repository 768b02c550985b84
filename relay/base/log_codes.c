/* How it works: the rows are included twice, into the table by code and into the list of titles and
 * codes. The enum has them in the same order, so the codes of a group lie side by side. */
#include "base/log_codes.h"

#include <assert.h>
#include <stdbool.h>
#include <strings.h>

static const LogCode CODES[CODE_COUNT] = {
    [CODE_NONE] = {.name = "", .levels = "", .meaning = "", .remedy = ""},
#define GROUP(title)
#define CODE(code, fixed_class, fixed_exit_code, log_levels, what, what_to_do)                     \
    [CODE_##code] = {.name = #code,                                                                \
                     .class = (fixed_class),                                                       \
                     .exit_code = (fixed_exit_code),                                               \
                     .levels = (log_levels),                                                       \
                     .meaning = (what),                                                            \
                     .remedy = (what_to_do)},
#include "base/error_codes_relay.inc"
#include "base/error_codes_server.inc"
#undef CODE
#undef GROUP
};

/* A title, or NULL for each code of the group that it began. */
static const char *const LINES[] = {
#define GROUP(title)                                          (title),
#define CODE(name, class, exit_code, levels, meaning, remedy) NULL,
#include "base/error_codes_relay.inc"
#include "base/error_codes_server.inc"
#undef CODE
#undef GROUP
};

enum {
    LINE_COUNT = sizeof(LINES) / sizeof(LINES[0]),
    GROUP_COUNT = LINE_COUNT - (CODE_COUNT - 1),
};

static_assert(GROUP_COUNT > 0 && GROUP_COUNT < 32, "each file of rows begins with a GROUP");

const LogCodeGroup *log_code_groups(size_t *ret_count)
{
    static LogCodeGroup groups[GROUP_COUNT];
    static bool made;
    LogCodeGroup *group = NULL;
    const LogCode *code = &CODES[CODE_NONE + 1];
    for (size_t i = 0; !made && i < LINE_COUNT; i++) {
        if (LINES[i] != NULL) {
            group = group != NULL ? group + 1 : groups;
            *group = (LogCodeGroup){.title = LINES[i], .codes = code};
        } else if (group != NULL) {
            group->count++;
            code++;
        }
    }
    made = true;
    *ret_count = GROUP_COUNT;
    return groups;
}

const LogCode *log_code_of(ErrorCode code)
{
    assert(code >= CODE_NONE && code < CODE_COUNT);
    return &CODES[code];
}

const char *error_code_name(ErrorCode code)
{
    return log_code_of(code)->name;
}

ErrorCode error_code_find(const char *name)
{
    for (ErrorCode code = CODE_NONE + 1; code < CODE_COUNT; code++) {
        if (strcasecmp(CODES[code].name, name) == 0) {
            return code;
        }
    }
    return CODE_NONE;
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
            text_printf(out, "| `%s` | %s | ", code->name, code->levels);
            markdown_add_cell(out, code->meaning);
            text_add(out, " | ");
            markdown_add_cell(out, code->remedy[0] != '\0' ? code->remedy : "None needed.");
            text_add(out, " |\n");
        }
    }
}
