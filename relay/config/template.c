#include "config/template.h"

bool template_next(const char **cursor, TemplatePart *ret_part)
{
    const char *c = *cursor;
    if (*c == '\0') {
        return false;
    }
    if (c[0] == '$' && c[1] == '{') {
        const char *end = strchr(c, '}');
        ret_part->is_column = true;
        ret_part->text = SLICE_NULL;
        if (end != NULL) {
            ret_part->text = (Slice){.data = c + 2, .length = (size_t)(end - c - 2)};
        }
        *cursor = end != NULL ? end + 1 : c + strlen(c);
        return true;
    }
    ret_part->is_column = false;
    if (c[0] == '$' && c[1] == '$' && c[2] == '{') {
        ret_part->text = (Slice){.data = c + 1, .length = 2};
        *cursor = c + 3;
        return true;
    }
    const char *start = c++;
    while (*c != '\0' && !(c[0] == '$' && (c[1] == '{' || (c[1] == '$' && c[2] == '{')))) {
        c++;
    }
    ret_part->text = (Slice){.data = start, .length = (size_t)(c - start)};
    *cursor = c;
    return true;
}

const char *glob_problem(const char *pattern)
{
    if (*pattern == '\0') {
        return "an empty pattern matches nothing";
    }
    for (const char *c = pattern; *c != '\0'; c++) {
        if (*c == '\\') {
            if (*++c == '\0') {
                return "nothing follows the last backslash";
            }
            continue;
        }
        if (*c != '[') {
            continue;
        }
        c++;
        c += *c == '!' || *c == '^' ? 1 : 0;
        c += *c == ']' ? 1 : 0; /* a literal ] may come first */
        c = strchr(c, ']');
        if (c == NULL) {
            return "\"[\" has no closing \"]\"";
        }
    }
    return NULL;
}
