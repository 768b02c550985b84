/* envelope: the headers that the outbox's columns make: cloudevents (CloudEvents 1.0, Kafka
 * binding, binary mode; extensions in lower-case letters) or plain. Which column becomes which
 * header stands with the columns (config/outbox_columns.inc); with ranks between theirs come the
 * two headers of cloudevents that are no columns, ce_specversion and ce_source. A column that is
 * NULL makes no header; its name belongs to the envelope all the same. */
#pragma once

#include "config/config.h"
#include "encode/header_list.h"
#include "encode/row_headers.h"
#include "flow/event.h"

typedef struct Envelope Envelope;

/** Of events whose rows are of this schema, which it does not keep. The configuration must outlive
 * it. */
Envelope *envelope_new(const EncodeConfig *config, const Schema *schema);
void envelope_free(Envelope **envelope);

/** Adds the headers of the event, by rank. */
void envelope_add(const Envelope *envelope, const Event *event, HeaderList *list);

/** The names that nothing else may have: its own, and those of the position. Owned by it. */
const HeaderNames *envelope_names(const Envelope *envelope);
