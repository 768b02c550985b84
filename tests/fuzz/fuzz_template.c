/* Topic and key templates, and the globs of routes. The input: a template, a NUL, a glob.
 *
 * Written from its parts again, a template has the same parts. One that compiles gives every event
 * a text that its glob matches, as the watch of missing topics relies on; and a glob that is called
 * sound is one that fnmatch takes. */
#include <fnmatch.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "check.h"
#include "config/template.h"
#include "flow/batch.h"
#include "flow/template.h"
#include "stub/given.h"
#include "target.h"

/* The template that has these parts; false: it is not well-formed. */
static bool written(const char *text, Text *out, size_t *ret_parts)
{
    const char *cursor = text;
    *ret_parts = 0;
    text_add(out, "");
    for (TemplatePart part; template_next(&cursor, &part); ++*ret_parts) {
        if (part.is_column && slice_is_null(part.text)) {
            return false;
        }
        fuzz_check(part.is_column || part.text.length > 0);
        if (part.is_column) {
            text_printf(out, "${%.*s}", SLICE_ARG(part.text));
        } else if (slice_equal(part.text, SLICE_LITERAL("${"))) {
            text_add(out, "$${");
        } else {
            text_add_slice(out, part.text);
        }
    }
    return true;
}

static void check_parts(const char *text)
{
    AUTO_BUFFER first = TEXT_EMPTY;
    AUTO_BUFFER second = TEXT_EMPTY;
    size_t parts = 0;
    size_t again = 0;
    if (written(text, &first, &parts)) {
        fuzz_check(strcmp(first.data, text) == 0);
        fuzz_check(written(first.data, &second, &again) && again == parts);
    }
}

static void check_render(const Template *template, const Event *event, Arena *arena)
{
    AUTO_TEXT glob = template_glob(template);
    bool null_column = false;
    Slice rendered = template_render(template, event, arena, &null_column);
    fuzz_touch(rendered);
    AUTO_TEXT name = x_strndup(rendered.data != NULL ? rendered.data : "", rendered.length);
    fuzz_check(fnmatch(glob, name, 0) == 0);
    const char *constant = template_constant(template);
    fuzz_check(constant == NULL || strcmp(constant, name) == 0);
}

static void check_template(const char *text)
{
    PipelineConfig pipeline = given_pipeline();
    static char *extra[] = {GIVEN("tenant")};
    pipeline.outbox.header_columns.items = extra;
    pipeline.outbox.header_columns.count = 1;
    AUTO(Schema, schema_free) schema = schema_of_outbox(&pipeline);
    Template *template = NULL;
    AUTO_ERROR err = {0};
    if (template_compile(text, schema, &template, &err) != OK) {
        fuzz_check(err.class == ERROR_FATAL && err.exit_code == EXIT_CONFIG && template == NULL);
        return;
    }
    Batch *batch = batch_new();
    Event *event = batch_add(batch, schema);
    check_render(template, event, &batch->arena); /* all NULL */
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        event->row[field] = SLICE_LITERAL("a*[b\\c");
    }
    event->row[FIELD_COUNT] = SLICE_LITERAL("");
    event->occurred_at_us = INT64_C(1795252364120000);
    event->seq = INT64_MIN + 1;
    check_render(template, event, &batch->arena);
    template_free(&template);
    batch_free(&batch);
}

static void check_glob(const char *pattern)
{
    if (glob_problem(pattern) == NULL) {
        int result = fnmatch(pattern, "order.placed", 0);
        fuzz_check(*pattern != '\0' && (result == 0 || result == FNM_NOMATCH));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_TEXT both = x_malloc(size + 2);
    if (size > 0) {
        memcpy(both, data, size);
    }
    both[size] = both[size + 1] = '\0';
    check_parts(both);
    check_template(both);
    check_glob(both + strlen(both) + 1);
    return 0;
}
