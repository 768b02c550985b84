/* encoder: Event -> Record (all but topic and key, which the router sets). */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "flow/event.h"
#include "flow/record.h"

typedef struct Encoder Encoder;

struct Encoder {
    /** Fills value, headers and timestamp of *record. Header arrays and new bytes come from arena.
     * Fails with POISON when the event cannot be expressed (headers that are no JSON object, ...).
     */
    Status (*encode)(const Encoder *encoder, const Event *event, Arena *arena, Record *record,
                     Error *err);
    void (*free)(Encoder *encoder);
};
