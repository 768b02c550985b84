#include "encode/header_list.h"

#include <string.h>

void headers_begin(HeaderList *list, Arena *arena, size_t expected)
{
    *list = (HeaderList){.arena = arena, .capacity = expected};
    list->items = arena_alloc(arena, expected * sizeof(*list->items));
}

void headers_grow(HeaderList *list)
{
    size_t capacity = list->capacity * 2 + 8;
    RecordHeader *items = arena_alloc(list->arena, capacity * sizeof(*items));
    memcpy(items, list->items, list->count * sizeof(*items));
    list->items = items;
    list->capacity = capacity;
}
