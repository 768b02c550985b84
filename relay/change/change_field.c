#include "change/change_field.h"

#include <string.h>

/* Parameters are the last of the tail, if it has any. */
static void add_tail(const char *tail, const char *parameter, Text *out)
{
    size_t length = strlen(tail);
    bool more = length > 0 && tail[length - 1] == '}';
    if (parameter == NULL || parameter[0] == '\0') {
        text_append(out, tail, length);
        return;
    }
    text_append(out, tail, more ? length - 1 : length);
    text_printf(out, "%s%s}", more ? "," : ",\"parameters\":{", parameter);
}

void change_field_write(const ChangeType *type, const ChangeField *field, Text *out)
{
    text_printf(out, "{%s,\"optional\":%s", type->head,
                field->optional || type->optional ? "true" : "false");
    add_tail(type->tail, field->parameter, out);
    if (field->fallback != NULL) {
        text_add(out, ",\"default\":");
        text_add(out, field->fallback);
    }
    if (field->name != NULL) {
        text_add(out, ",\"field\":");
        text_add(out, field->name);
    }
    text_add(out, "}");
}
