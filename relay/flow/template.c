#include "flow/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "config/columns.h"
#include "config/template.h"

typedef enum PartKind { PART_TEXT, PART_FIELD, PART_EXTRA } PartKind;

typedef struct CompiledPart {
    PartKind kind;
    size_t index; /* of the field or extra column */
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

static bool template_find_column(const PipelineConfig *pipeline, Slice name, CompiledPart *part)
{
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        const char *column = column_name(pipeline, field);
        if (*column != '\0' && slice_equal(slice_of(column), name)) {
            *part = (CompiledPart){.kind = PART_FIELD, .index = field};
            return true;
        }
    }
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        if (slice_equal(slice_of(pipeline->outbox.header_columns.items[i]), name)) {
            *part = (CompiledPart){.kind = PART_EXTRA, .index = i};
            return true;
        }
    }
    return false;
}

static Status template_parse(Template *template, const char *text, const PipelineConfig *pipeline,
                             Error *err)
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
        } else if (!template_find_column(pipeline, part.text, compiled)) {
            return error_set(err, CODE_TEMPLATE_INVALID, "template '%s': no column '%.*s' in '%s'",
                             text, SLICE_ARG(part.text), pipeline->outbox.table);
        }
    }
    return OK;
}

Status template_compile(const char *text, const PipelineConfig *pipeline, Template **ret_template,
                        Error *err)
{
    AUTO(Template, template_free) template = x_calloc(1, sizeof(*template));
    if (template_parse(template, text, pipeline, err) != OK) {
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
    case PART_EXTRA:
        return event->extra[part->index];
    case PART_FIELD:
        break;
    }
    if (part->index == FIELD_SEQ) {
        int length = snprintf(scratch, size, "%lld", (long long)event->seq);
        return (Slice){.data = scratch, .length = (size_t)length};
    }
    if (part->index == FIELD_OCCURRED_AT && event->occurred_at_us != EVENT_NO_TIME) {
        return timestamp_format(event->occurred_at_us, scratch);
    }
    return event->field[part->index];
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
