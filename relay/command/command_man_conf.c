/* outboxd.conf(5): the option table as a man page. */
#include <string.h>

#include "command/command_pages.h"
#include "command/roff.h"
#include "config/print.h"

/* The heading of the options that stand together: a scope, or a group in it. */
static void conf_add_heading(Text *out, const Option *option, size_t group_length)
{
    static const char *const WHERE[SCOPE_COUNT] = {
        [SCOPE_CONFIG] = "Top level of the file",
        [SCOPE_PIPELINE] = "In each group of the list pipelines",
        [SCOPE_ROUTE] = "In each group of the list routes of a pipeline",
        [SCOPE_MAPPING] = "In each group of the list mappings of a pipeline",
        [SCOPE_MASK] = "In each group of the list mask_columns of a mapping",
        [SCOPE_CUT] = "In each group of the list truncate_columns of a mapping",
    };
    AUTO_BUFFER heading = TEXT_EMPTY;
    if (group_length == 0) {
        text_add(&heading, WHERE[option->scope]);
    } else {
        text_printf(&heading, "In the group %.*s%s", (int)group_length, option->path,
                    option->scope == SCOPE_PIPELINE ? " of a pipeline" : "");
    }
    roff_add_macro(out, "SS", text_string(&heading));
}

static void conf_add_option(Text *out, const Option *option, size_t group_length)
{
    text_add(out, ".TP\n\\fB");
    roff_add(out, option->path + (group_length > 0 ? group_length + 1 : 0));
    text_add(out, "\\fR\n");
    roff_add_words(out, option->help);
    AUTO_BUFFER facts = TEXT_EMPTY;
    if (option->fallback != NULL && *option->fallback != '\0') {
        text_printf(&facts, "Default: %s. ", option->fallback);
    }
    print_add_facts(&facts, option);
    if (facts.length > 0) {
        text_add(out, ".br\n");
        roff_add_words(out, text_string(&facts));
    }
}

void command_man_add_conf(Text *out)
{
    roff_add_head(out, "outboxd.conf", 5, "configuration file of outboxd");
    roff_add_macro(out, "SH", "SYNOPSIS");
    text_add(out, ".I ");
    roff_add(out, CONFIG_DEFAULT_FILE);
    text_add_char(out, '\n');
    roff_add_macro(out, "SH", "DESCRIPTION");
    roff_add_words(out,
                   "The file is in the format of libconfig. An unknown option is an error, and "
                   "the message proposes the nearest known name.\n\n"
                   "`outboxd config print` prints every option as a commented sample, `outboxd "
                   "config print -c FILE` the values in effect and where each one comes from, "
                   "with secrets masked. `outboxd check -c FILE` reports every mistake with "
                   "its file and line.");
    text_add(out, ".PP\n");
    roff_add_words(out, PRINT_RULES);
    roff_add_macro(out, "SH", "OPTIONS");
    size_t count;
    const Option *options = options_all(&count);
    const Option *before = NULL;
    size_t length_before = 0;
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if ((option->flags & OPTION_NOT_BUILT) != 0) {
            continue;
        }
        size_t length = strcspn(option->path, ".");
        length = option->path[length] == '.' ? length : 0;
        if (before == NULL || before->scope != option->scope || length != length_before ||
            strncmp(before->path, option->path, length) != 0) {
            conf_add_heading(out, option, length);
        }
        conf_add_option(out, option, length);
        before = option;
        length_before = length;
    }
    roff_add_macro(out, "SH", "SEE ALSO");
    text_add(out, ".BR outboxd (1),\n.BR outboxd\\-config (1),\n.BR outboxd\\-check (1)\n");
}
