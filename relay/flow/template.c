#include "flow/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "config/template.h"

typedef enum PartKind { PART_TEXT, PART_VALUE, PART_SEQ, PART_OCCURRED_AT } PartKind;

typedef struct CompiledPart {
    PartKind kind;
    size_t column; /* of the schema */
    char *text;
    size_t length;
} CompiledPart;

enum { TEMPLATE_PARTS_MAX = 32 };

struct Template {
    CompiledPart parts[TEMPLATE_PARTS_MAX];
    size_t count;
};

void template_free(Template **template)
{
    if (*template == NULL) {
        return;
    }
    for (size_t i = 0; i < (*template)->count; i++) {
        free((*template)->parts[i].text);
    }
    free(*template);
    *template = NULL;
}

static bool template_find_column(const Schema *schema, Slice name, CompiledPart *part)
{
    static const PartKind KINDS[] = {
        [PLACE_ROW] = PART_VALUE, [PLACE_SEQ] = PART_SEQ, [PLACE_OCCURRED_AT] = PART_OCCURRED_AT};
    size_t column = schema_find(schema, name);
    if (column == SCHEMA_NONE) {
        return false;
    }
    *part = (CompiledPart){.kind = KINDS[schema->columns[column].place], .column = column};
    return true;
}

static Status template_parse(Template *template, const char *text, const Schema *schema, Error *err)
{
    const char *cursor = text;
    for (TemplatePart part; template_next(&cursor, &part); template->count++) {
        CompiledPart *compiled = &template->parts[template->count];
        if (template->count == TEMPLATE_PARTS_MAX) {
            return error_set(err, CODE_TEMPLATE_INVALID, "template '%s' has more than %d parts",
                             text, TEMPLATE_PARTS_MAX);
        }
        if (!part.is_column) {
            *compiled = (CompiledPart){.kind = PART_TEXT,
                                       .text = x_strndup(part.text.data, part.text.length),
                                       .length = part.text.length};
        } else if (!template_find_column(schema, part.text, compiled)) {
            return error_set(err, CODE_TEMPLATE_INVALID, "template '%s': no column '%.*s' in '%s'",
                             text, SLICE_ARG(part.text), schema->table);
        }
    }
    return OK;
}

Status template_compile(const char *text, const Schema *schema, Template **ret_template, Error *err)
{
    AUTO(Template, template_free) template = x_calloc(1, sizeof(*template));
    if (template_parse(template, text, schema, err) != OK) {
        return FAILED;
    }
    *ret_template = template;
    template = NULL;
    return OK;
}

static Slice template_part(const CompiledPart *part, const Event *event, char *scratch, size_t size)
{
    switch (part->kind) {
    case PART_TEXT:
        return (Slice){.data = part->text, .length = part->length};
    case PART_VALUE:
        return event_value(event, part->column);
    case PART_SEQ: {
        int length = snprintf(scratch, size, "%lld", (long long)event->seq);
        return (Slice){.data = scratch, .length = (size_t)length};
    }
    case PART_OCCURRED_AT:
        return event->occurred_at_us != EVENT_NO_TIME
                   ? timestamp_format(event->occurred_at_us, scratch)
                   : SLICE_NULL;
    }
    return SLICE_NULL;
}

Slice template_render(const Template *template, const Event *event, Arena *arena, bool *ret_null)
{
    char scratch[TIMESTAMP_TEXT_MAX];
    *ret_null = false;
    if (template->count == 0) {
        return SLICE_NULL;
    }
    if (template->count == 1) {
        Slice only = template_part(&template->parts[0], event, scratch, sizeof(scratch));
        *ret_null = slice_is_null(only);
        return only.data == scratch ? arena_copy(arena, only) : only;
    }
    size_t length = 0;
    for (size_t i = 0; i < template->count; i++) {
        Slice part = template_part(&template->parts[i], event, scratch, sizeof(scratch));
        *ret_null |= slice_is_null(part);
        length += part.length;
    }
    char *text = arena_alloc(arena, length + 1);
    size_t used = 0;
    for (size_t i = 0; i < template->count; i++) {
        Slice part = template_part(&template->parts[i], event, scratch, sizeof(scratch));
        if (part.data != NULL) {
            memcpy(text + used, part.data, part.length);
        }
        used += part.length;
    }
    text[used] = '\0';
    return (Slice){.data = text, .length = used};
}

char *template_glob(const Template *template)
{
    Text glob = TEXT_EMPTY;
    for (size_t i = 0; i < template->count; i++) {
        const CompiledPart *part = &template->parts[i];
        if (part->kind != PART_TEXT) {
            text_add_char(&glob, '*');
            continue;
        }
        for (size_t k = 0; k < part->length; k++) {
            if (strchr("*?[\\", part->text[k]) != NULL) {
                text_add_char(&glob, '\\');
            }
            text_add_char(&glob, part->text[k]);
        }
    }
    return glob.data != NULL ? glob.data : x_strdup("");
}

const char *template_constant(const Template *template)
{
    if (template->count == 0) {
        return "";
    }
    return template->count == 1 && template->parts[0].kind == PART_TEXT ? template->parts[0].text
                                                                        : NULL;
}
