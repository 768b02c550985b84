/* precondition_rig: a row of facts in which everything is in order but what a test gives, and what
 * the list of preconditions makes of it. */
#pragma once

#include <criterion/criterion.h>

#include "rows/precondition.h"
#include "stub/given.h"

typedef struct Given {
    const char *column; /* NULL: everything is in order */
    const char *value;
    const char *also; /* a second one, or NULL */
    const char *also_value;
    Capture capture;
    OnPublish on_publish;
    PreconditionReader reader;
    bool messages;
    MessagesFrom messages_from;
    SnapshotMode snapshot; /* of tables */
    const char *filter;    /* of the first mapping */
} Given;

/** The pipeline that is looked at. */
PipelineConfig given_outbox(const Given *given);
PreconditionLook given_look(const Given *given);
/** What does not hold, by the first code; CODE_NONE when all is in order. */
void given_expect(const Given *given, ErrorCode code, bool warning, const char *remedy);
