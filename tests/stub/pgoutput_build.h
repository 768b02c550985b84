/* pgoutput_build: messages of pgoutput as a server of PostgreSQL sends them, protocol 1, written
 * after its documentation ("Logical Replication Message Formats"). Everything is appended. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "base/text.h"
#include "stub/copy.h"

/* A value of a row that is no text; compared by address. */
#define BUILD_NULL      SLICE_NULL
#define BUILD_UNCHANGED ((Slice){.data = "u", .length = SIZE_MAX})
#define BUILD_BINARY    ((Slice){.data = "b", .length = SIZE_MAX})

typedef struct BuildColumn {
    const char *name;
    uint32_t type; /* OID */
} BuildColumn;

static inline void build_string(Text *out, const char *text)
{
    text_add(out, text);
    text_add_char(out, '\0');
}

static inline void build_begin(Text *out, uint64_t final_lsn, uint32_t xid)
{
    text_add_char(out, 'B');
    copy_put_be(out, final_lsn, 8);
    copy_put_be(out, 0, 8);
    copy_put_be(out, xid, 4);
}

static inline void build_commit(Text *out, uint64_t commit_lsn, uint64_t end_lsn)
{
    text_add_char(out, 'C');
    text_add_char(out, '\0');
    copy_put_be(out, commit_lsn, 8);
    copy_put_be(out, end_lsn, 8);
    copy_put_be(out, 0, 8);
}

static inline void build_relation(Text *out, uint32_t id, const char *schema, const char *name,
                                  const BuildColumn *columns, size_t count)
{
    text_add_char(out, 'R');
    copy_put_be(out, id, 4);
    build_string(out, schema);
    build_string(out, name);
    text_add_char(out, 'd');
    copy_put_be(out, count, 2);
    for (size_t i = 0; i < count; i++) {
        text_add_char(out, i == 0 ? '\1' : '\0');
        build_string(out, columns[i].name);
        copy_put_be(out, columns[i].type, 4);
        copy_put_be(out, UINT32_MAX, 4);
    }
}

static inline void build_row(Text *out, const Slice *values, size_t count)
{
    copy_put_be(out, count, 2);
    for (size_t i = 0; i < count; i++) {
        if (slice_is_null(values[i])) {
            text_add_char(out, 'n');
        } else if (values[i].length == SIZE_MAX) {
            text_add_char(out, values[i].data[0]);
            if (values[i].data[0] == 'b') {
                copy_put_field(out, SLICE_LITERAL("\1"));
            }
        } else {
            text_add_char(out, 't');
            copy_put_field(out, values[i]);
        }
    }
}

static inline void build_insert(Text *out, uint32_t relation, const Slice *values, size_t count)
{
    text_add_char(out, 'I');
    copy_put_be(out, relation, 4);
    text_add_char(out, 'N');
    build_row(out, values, count);
}

static inline void build_message(Text *out, bool transactional, const char *prefix, Slice content)
{
    text_add_char(out, 'M');
    text_add_char(out, transactional ? '\1' : '\0');
    copy_put_be(out, 77, 8);
    build_string(out, prefix);
    copy_put_field(out, content);
}

/** What outbox.emit_message writes, with the columns that an event cannot be without. */
static inline void build_event_content(Text *content, const char *event_id)
{
    copy_put_be(content, FIELD_COUNT, 2);
    copy_put_field(content, SLICE_NULL); /* seq */
    copy_put_int64(content, 1500000);
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        Slice value = field == FIELD_EVENT_ID         ? slice_of(event_id)
                      : field == FIELD_EVENT_TYPE     ? SLICE_LITERAL("placed")
                      : field == FIELD_AGGREGATE_TYPE ? SLICE_LITERAL("order")
                                                      : SLICE_NULL;
        copy_put_field(content, value);
    }
}
