/* encode: the encoders of this room. An encoder turns an event into value, headers and timestamp of
 * a record; payload bytes are passed on untouched. The contract is flow/encoder.h; those of today
 * need nothing but the event, so they never answer ENCODE_WAIT. */
#pragma once

#include "config/config.h"
#include "flow/encoder.h"

/** The encoder that the pipeline's `headers` asks for, of events whose rows are of this schema,
 * which it does not keep. The pipeline's configuration must outlive
 * it. The error is FATAL / EXIT_CONFIG. */
Status encoder_new(const PipelineConfig *pipeline, const Schema *schema, Encoder **ret_encoder,
                   Error *err);
