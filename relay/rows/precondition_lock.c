/* The publisher's lock: its key is in pg_locks for everybody to see, so any role can take it, and
 * keep every relay on standby. Who lacks the rights that this pipeline needs is no relay of it. One
 * that has them, a relay or somebody who may do all that a relay does, is left to itself. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "rows/precondition_internal.h"

enum { GRANTED, PID, ROLE, APPLICATION, FIELDS };

static bool lock_is_held_by_stranger(const Facts *facts, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    const char *column = pipeline->capture == CAPTURE_TABLES                ? "lock_no_keeper"
                         : pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "lock_no_deleter"
                         : pipeline->outbox.on_publish == ON_PUBLISH_KEEP   ? "lock_no_keeper"
                                                                            : "lock_no_marker";
    AUTO_TEXT all = x_strdup(facts_value(facts, column));
    char *rest = all;
    char *fields[FIELDS] = {0};
    size_t count = 0;
    while (count < FIELDS && rest != NULL) {
        fields[count++] = strsep(&rest, "\037");
    }
    if (count <= ROLE) {
        return false;
    }
    const char *application = count > APPLICATION ? fields[APPLICATION] : "";
    bool holds = *fields[GRANTED] == 't';
    text_printf(
        &say->message,
        "role %s, pid %s%s%.60s%s, %s the publisher's lock of %s, and lacks the rights of this "
        "pipeline's relay%s",
        fields[ROLE], fields[PID], *application != '\0' ? " (" : "", application,
        *application != '\0' ? ")" : "", holds ? "holds" : "waits for", facts->table,
        holds ? ": no relay can publish" : ": no relay could publish after it");
    text_printf(&say->remedy,
                "A superuser runs: SELECT pg_terminate_backend(%s); then ask role %s why it takes "
                "this lock.",
                fields[PID], fields[ROLE]);
    return true;
}

const Precondition PRECONDITIONS_LOCK[] = {
    {CODE_LOCK_HELD_BY_STRANGER, FOR_BOTH | PRECONDITION_RUNNING | PRECONDITION_CHECK | ALARMS,
     true,
     "stranger.no_marker AS lock_no_marker, stranger.no_deleter AS lock_no_deleter,"
     " stranger.no_keeper AS lock_no_keeper",
     lock_is_held_by_stranger},
    {CODE_LOCK_HELD_BY_STRANGER, FOR_TABLES | PRECONDITION_RUNNING | PRECONDITION_CHECK | ALARMS,
     true, "stranger.no_keeper AS lock_no_keeper", lock_is_held_by_stranger},
};
const size_t PRECONDITIONS_LOCK_COUNT = sizeof(PRECONDITIONS_LOCK) / sizeof(Precondition);
