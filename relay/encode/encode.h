/* encode: the encoders of this room. An encoder turns an event into value, headers and timestamp of
 * a record; payload bytes are passed on untouched. */
#pragma once

#include "config/config.h"
#include "flow/encoder.h"

/** The encoder that the pipeline's `headers` asks for. The pipeline's configuration must outlive
 * it. The error is FATAL / EXIT_CONFIG. */
Status encoder_new(const PipelineConfig *pipeline, Encoder **ret_encoder, Error *err);
