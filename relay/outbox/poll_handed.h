/* What the pipeline has of ours: the batches that are handed on, oldest first. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/vec.h"
#include "flow/batch.h"

typedef struct Handed {
    VEC(Batch *) batches;
} Handed;

void handed_add(Handed *handed, Batch *batch);
/** It came back. */
void handed_remove(Handed *handed, const Batch *batch);
bool handed_is_empty(const Handed *handed);
size_t handed_events(const Handed *handed);
/** None of them will come back. */
void handed_forget(Handed *handed);
void handed_release(Handed *handed);
