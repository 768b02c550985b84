/* How it works: escapes are per character; lines are broken before column 78, since formatters
 * fill them anyway and people read the source, too. */
#include "command/roff.h"

#include <ctype.h>
#include <string.h>

enum { WIDTH = 78 };

static void roff_add_char(Text *out, char c)
{
    switch (c) {
    case '\\':
        text_add(out, "\\e");
        break;
    case '-': /* else it becomes a hyphen, which no shell understands */
        text_add(out, "\\-");
        break;
    case '\'':
        text_add(out, "\\(aq");
        break;
    case '`':
        text_add(out, "\\(ga");
        break;
    case '^':
        text_add(out, "\\(ha");
        break;
    case '~':
        text_add(out, "\\(ti");
        break;
    default:
        text_add_char(out, c);
    }
}

void roff_add(Text *out, const char *text)
{
    for (; *text != '\0'; text++) {
        roff_add_char(out, *text);
    }
}

static size_t roff_column(const Text *out)
{
    size_t column = 0;
    while (column < out->length && out->data[out->length - 1 - column] != '\n') {
        column++;
    }
    return column;
}

/* Does the word end a sentence? The next one says so, too. */
static bool roff_ends_sentence(const char *word, size_t length, const char *next)
{
    return length > 0 && strchr(".!?", word[length - 1]) != NULL &&
           (isupper((unsigned char)*next) || strchr("\"`$", *next) != NULL);
}

/* One paragraph. */
static void roff_add_paragraph(Text *out, const char *words, const char *end)
{
    bool bold = false;
    bool fresh = true; /* nothing is on the line yet */
    for (const char *at = words; at < end;) {
        size_t length = strcspn(at, " \n");
        length = length < (size_t)(end - at) ? length : (size_t)(end - at);
        if (!fresh && roff_column(out) + 1 + length > WIDTH) {
            text_add_char(out, '\n');
            fresh = true;
        }
        text_add(out, fresh ? "" : " ");
        text_add(out, fresh && *at == '.' ? "\\&" : "");
        for (size_t i = 0; i < length; i++) {
            if (at[i] == '`') {
                bold = !bold;
                text_add(out, bold ? "\\fB" : "\\fR");
            } else {
                roff_add_char(out, at[i]);
            }
        }
        const char *next = at + length + (at + length < end);
        fresh = next < end && !bold && roff_ends_sentence(at, length, next);
        text_add(out, fresh ? "\n" : "");
        at = next;
    }
    text_add(out, bold ? "\\fR\n" : "\n");
}

void roff_add_words(Text *out, const char *words)
{
    for (const char *at = words; *at != '\0';) {
        const char *end = strstr(at, "\n\n");
        text_add(out, at == words ? "" : ".PP\n");
        roff_add_paragraph(out, at, end != NULL ? end : at + strlen(at));
        at = end != NULL ? end + 2 : "";
    }
}

void roff_add_macro(Text *out, const char *macro, const char *argument)
{
    text_printf(out, ".%s \"", macro);
    for (; *argument != '\0'; argument++) {
        if (*argument == '"') {
            text_add(out, "\\(dq");
        } else {
            roff_add_char(out, *argument);
        }
    }
    text_add(out, "\"\n");
}

/* The length of a flag ("--new-slot", "-c") or of a word that stands for a value ("FILE"). */
static size_t synopsis_run(const char *at, bool *ret_flag)
{
    size_t length = 0;
    *ret_flag = *at == '-';
    while (*ret_flag ? islower((unsigned char)at[length]) || at[length] == '-'
                     : isupper((unsigned char)at[length])) {
        length++;
    }
    return length;
}

static void roff_add_marked(Text *out, const char *text, bool may_break)
{
    int depth = 0;
    for (const char *at = text; *at != '\0';) {
        bool flag;
        size_t length = synopsis_run(at, &flag);
        if (length > 0) {
            text_add(out, flag ? "\\fB" : "\\fI");
            for (size_t i = 0; i < length; i++) {
                roff_add_char(out, at[i]);
            }
            text_add(out, "\\fR");
            at += length;
            continue;
        }
        depth += (*at == '[') - (*at == ']');
        if (*at == ' ' && may_break && (depth == 0 || at[1] == '[')) {
            bool dot = at > text && at[-1] == '.'; /* it ends no sentence */
            text_add(out, dot ? "\\&\n" : "\n");
        } else if (*at == ' ' && may_break) {
            text_add(out, "\\ ");
        } else {
            roff_add_char(out, *at);
        }
        at++;
    }
    text_add_char(out, '\n');
}

void roff_add_flags(Text *out, const char *flags)
{
    roff_add_marked(out, flags, false);
}

void roff_add_synopsis(Text *out, const char *synopsis)
{
    roff_add_marked(out, synopsis, true);
}

void roff_add_head(Text *out, const char *page, int section, const char *summary)
{
    text_add(out, ".\\\" Written by outboxd help --man; do not edit.\n.TH \"");
    for (const char *at = page; *at != '\0'; at++) {
        const char upper[] = {(char)toupper((unsigned char)*at), '\0'};
        roff_add(out, upper);
    }
    /* Names of options are not hyphenated: .nh for mandoc; groff turns it on again by HY. */
    text_printf(out,
                "\" %d \"" OUTBOXD_DATE "\" \"outboxd " OUTBOXD_VERSION
                "\"\n.nr HY 0\n.nh\n.ad l\n.SH NAME\n",
                section);
    roff_add(out, page);
    text_add(out, " \\- ");
    roff_add(out, summary);
    text_add_char(out, '\n');
}
