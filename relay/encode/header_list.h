/* header_list: the headers of one record while they are collected, in an arena. */
#pragma once

#include "base/arena.h"
#include "flow/record.h"

typedef struct HeaderList {
    Arena *arena;
    RecordHeader *items;
    size_t count;
    size_t capacity;
    unsigned shadowed; /* left out: the envelope has that name */
} HeaderList;

/** Room for `expected` headers; grows when more come. */
void headers_begin(HeaderList *list, Arena *arena, size_t expected);

void headers_grow(HeaderList *list);

/** Adds a header; a null value makes a header with a null value. */
static inline void headers_add(HeaderList *list, Slice name, Slice value)
{
    if (list->count == list->capacity) {
        headers_grow(list);
    }
    list->items[list->count++] = (RecordHeader){.name = name, .value = value};
}

/** Adds a header unless the value is null. */
static inline void headers_add_known(HeaderList *list, Slice name, Slice value)
{
    if (!slice_is_null(value)) {
        headers_add(list, name, value);
    }
}
