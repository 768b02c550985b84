/* arena: memory that is released in one go. A batch owns one; event and record bytes live in it
 * until the broker has acknowledged the batch, so the producer never copies them.
 *
 * Loop thread only: chunks are recycled between arenas. The bytes may be read from any thread while
 * the arena lives. */
#pragma once

#include <stddef.h>

#include "base/slice.h"

/* Under AddressSanitizer each piece is a chunk of its own, so that its ends are guarded. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_GUARDED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_GUARDED
#endif
#endif

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
    ArenaChunk *chunks; /* newest first */
    char *next;
    char *end;
    size_t bytes; /* asked of the system, for limits and metrics */
} Arena;

/** Releases everything; the arena is empty and usable again. */
void arena_release(Arena *arena);

/** Memory from malloc is the arena's from now on, and released with it. */
void arena_adopt(Arena *arena, void *memory, size_t bytes);

/** Gives spare chunks back to the system: when idle, and at the end. */
void arena_trim(void);

/** Slow path of arena_alloc: starts a new chunk. */
void *arena_grow(Arena *arena, size_t bytes);

/** bytes of uninitialised memory, aligned for any type; never NULL. */
static inline void *arena_alloc(Arena *arena, size_t bytes)
{
#ifndef ARENA_GUARDED
    bytes = (bytes + 15U) & ~(size_t)15U;
    if ((size_t)(arena->end - arena->next) >= bytes && arena->next != NULL) {
        void *memory = arena->next;
        arena->next += bytes;
        return memory;
    }
#endif
    return arena_grow(arena, bytes);
}

/** A copy of the bytes (the null slice stays null). */
static inline Slice arena_copy(Arena *arena, Slice bytes)
{
    if (bytes.data == NULL) {
        return SLICE_NULL;
    }
    char *copy = arena_alloc(arena, bytes.length);
    memcpy(copy, bytes.data, bytes.length);
    return (Slice){.data = copy, .length = bytes.length};
}
