/* made_encoder: of events whose source made the record (flow/made.h): hands it on. */
#pragma once

#include "flow/encoder.h"

Encoder *made_encoder_new(void);
