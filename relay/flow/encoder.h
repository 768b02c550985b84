/* encoder: Event -> Record (all but topic and key, which the router sets). One for each pipeline;
 * all calls on the loop thread.
 *
 * An encoder may need something that is not here yet: a schema that a registry has to be asked for.
 * It never waits inside encode(): it asks, answers ENCODE_WAIT, and calls `ready` when it knows
 * more. What it must keep, and what the pipeline makes of it:
 *
 *  1. After ENCODE_WAIT, `ready` follows, whatever became of the question: what cannot be had is an
 *     answer of the next encode(). It is asked again meanwhile, for the same event and for others,
 *     and after a rewind for events that have the same row: it asks its own source once.
 *  2. The event waits, and with it all that follow in its topic, so no key loses its order. All
 *     other topics go on. The first ENCODER_LATE_SECONDS it waits in memory and nothing is said;
 *     after that *err is logged and shown as the reason, and what waits leaves memory like the
 * events of a missing topic (flow/parking.h). It waits without end: to give up is the encoder's, by
 *     ENCODE_POISON.
 *  3. ENCODE_POISON says that the event can never be expressed (headers that are no JSON object, a
 *     payload that its schema does not take): on_poison decides. A trouble of the source of schemas
 *     is not that.
 *  4. Nothing of an event or its topic is remembered beyond the call; free() ends every question.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "flow/event.h"
#include "flow/record.h"

enum { ENCODER_LATE_SECONDS = 5 };

typedef struct Encoder Encoder;

typedef enum EncodeResult {
    ENCODE_OK,
    ENCODE_WAIT,   /* not yet: *err (RETRY) says what is waited for; `ready` will follow */
    ENCODE_POISON, /* never: *err (POISON) says why; the record is complete as far as it goes */
} EncodeResult;

/* Called by the encoder on the loop thread, never from inside encode(). */
typedef struct EncoderEvents {
    void *arg;
    /** Something that was not there may be there now: what waits is encoded again, soon. */
    void (*ready)(void *arg);
} EncoderEvents;

struct Encoder {
    /** Fills value, headers and timestamp of *record. Header arrays and new bytes come from arena.
     */
    EncodeResult (*encode)(Encoder *encoder, const Event *event, Arena *arena, Record *record,
                           Error *err);
    void (*free)(Encoder *encoder);
    EncoderEvents events; /* set by who uses it; an encoder that never waits calls none */
};
