/* kafka_record: how large a record is on the wire. */
#pragma once

#include "flow/record.h"

/** An upper bound of the bytes this record takes alone in a record batch of message format 2
 * (uncompressed; Kafka protocol guide, "Record Batch"). */
size_t kafka_record_bytes(const Record *record);
