#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

/* Small first chunk (most batches at low rates hold one event), doubling up to the maximum. */
enum {
    ARENA_CHUNK_FIRST = 4 * 1024,
    ARENA_CHUNK_MAX = 256 * 1024,
};

struct ArenaChunk {
    ArenaChunk *older;
    size_t bytes;
    _Alignas(16) char memory[];
};

void *arena_grow(Arena *arena, size_t bytes)
{
    size_t size = arena->chunks ? arena->chunks->bytes * 2 : ARENA_CHUNK_FIRST;
    if (size > ARENA_CHUNK_MAX) {
        size = ARENA_CHUNK_MAX;
    }
    if (size < bytes) {
        size = bytes;
    }
    ArenaChunk *chunk = x_malloc(sizeof(*chunk) + size);
    chunk->older = arena->chunks;
    chunk->bytes = size;
    arena->chunks = chunk;
    arena->next = chunk->memory + bytes;
    arena->end = chunk->memory + size;
    arena->bytes += sizeof(*chunk) + size;
    return chunk->memory;
}

void arena_release(Arena *arena)
{
    ArenaChunk *chunk = arena->chunks;
    while (chunk != NULL) {
        ArenaChunk *older = chunk->older;
        free(chunk);
        chunk = older;
    }
    *arena = (Arena){0};
}
