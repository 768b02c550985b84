/* poll: the source that reads an outbox table by polling. See README.md of this folder for how a
 * row travels, and source.h for the life of a source. */
#pragma once

#include "claim/claim.h"

/** Everything in options must outlive the source. The error is FATAL / EXIT_CONFIG. */
Status poll_source_new(const SourceOptions *options, Source **ret_source, Error *err);
