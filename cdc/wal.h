/* wal: the source that reads the outbox from logical replication. See README.md of this folder, and
 * source.h for the life of a source. */
#pragma once

#include "claim/claim.h"

/** Everything in options must outlive the source. The error is FATAL / EXIT_CONFIG. */
Status wal_source_new(const SourceOptions *options, Source **ret_source, Error *err);
