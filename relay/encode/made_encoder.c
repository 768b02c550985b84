#include "encode/made_encoder.h"

#include <stdlib.h>

#include "base/memory.h"
#include "flow/made.h"

static EncodeResult made_encode(Encoder *encoder, const Event *event, Arena *arena, Record *record,
                                Error *err)
{
    (void)encoder;
    (void)arena;
    (void)err;
    record->value = event_field(event, FIELD_PAYLOAD);
    record->headers = made_headers(event, &record->header_count);
    return ENCODE_OK;
}

static void made_free(Encoder *encoder)
{
    free(encoder);
}

Encoder *made_encoder_new(void)
{
    Encoder *encoder = x_calloc(1, sizeof(*encoder));
    *encoder = (Encoder){.encode = made_encode, .free = made_free};
    return encoder;
}
