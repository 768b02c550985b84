#include "base/arena.h"

#include <stdlib.h>

#include "base/memory.h"

/* A small first chunk (most batches at low rates hold one event), then standard ones. Those are
 * recycled: giving each back to the system makes malloc merge its free lists every time, which cost
 * a tenth of all CPU time at full speed. */
enum {
    ARENA_CHUNK_FIRST = 4 * 1024,
    ARENA_CHUNK_STANDARD = 64 * 1024,
    ARENA_SPARES_MAX = 64, /* standard chunks kept: 4 MiB */
};

struct ArenaChunk {
    ArenaChunk *older;
    size_t bytes;
    void *adopted; /* memory that others asked for; NULL: none */
    _Alignas(16) char memory[];
};

static ArenaChunk *spares;
static size_t spare_count;

static ArenaChunk *chunk_new(size_t bytes)
{
    if (bytes == ARENA_CHUNK_STANDARD && spares != NULL) {
        ArenaChunk *chunk = spares;
        spares = chunk->older;
        spare_count--;
        return chunk;
    }
    ArenaChunk *chunk = x_malloc(sizeof(*chunk) + bytes);
    chunk->bytes = bytes;
    chunk->adopted = NULL;
    return chunk;
}

static void chunk_free(ArenaChunk *chunk)
{
    free(chunk->adopted);
    if (chunk->bytes == ARENA_CHUNK_STANDARD && spare_count < ARENA_SPARES_MAX) {
        chunk->older = spares;
        spares = chunk;
        spare_count++;
    } else {
        free(chunk);
    }
}

void arena_trim(void)
{
    while (spares != NULL) {
        ArenaChunk *older = spares->older;
        free(spares);
        spares = older;
    }
    spare_count = 0;
}

void *arena_grow(Arena *arena, size_t bytes)
{
    size_t size = arena->chunks != NULL ? ARENA_CHUNK_STANDARD : ARENA_CHUNK_FIRST;
#ifdef ARENA_GUARDED
    size = bytes;
#endif
    if (size < bytes) {
        size = bytes;
    }
    ArenaChunk *chunk = chunk_new(size);
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    arena->next = chunk->memory + bytes;
    arena->end = chunk->memory + size;
    arena->bytes += sizeof(*chunk) + size;
    return chunk->memory;
}

/* Behind the chunk that is being filled. */
void arena_adopt(Arena *arena, void *memory, size_t bytes)
{
    ArenaChunk *chunk = chunk_new(0);
    chunk->adopted = memory;
    if (arena->chunks != NULL) {
        chunk->older = arena->chunks->older;
        arena->chunks->older = chunk;
    } else {
        chunk->older = NULL;
        arena->chunks = chunk;
    }
    arena->bytes += bytes;
}

void arena_release(Arena *arena)
{
    ArenaChunk *chunk = arena->chunks;
    while (chunk != NULL) {
        ArenaChunk *older = chunk->older;
        chunk_free(chunk);
        chunk = older;
    }
    *arena = (Arena){0};
}
