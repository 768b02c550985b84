/* The slot, as far as it does not depend on our position (cdc/slot.h judges that). The right to
 * read it only the replication connection can tell (pg/connection_error.c): on managed servers a
 * membership gives it, not the attribute. */
#include <stdlib.h>
#include <string.h>

#include "rows/precondition_internal.h"

enum { MORE_PLACES = 4 };

static bool slot_is_foreign(const Facts *facts, Saying *say)
{
    const char *plugin = facts_value(facts, "slot_plugin");
    text_printf(&say->message, "slot \"%s\" cannot be used: ", facts->pipeline->wal.slot);
    if (*facts_value(facts, "slot_name") == '\0') {
        return false;
    }
    if (strcmp(facts_value(facts, "slot_type"), "logical") != 0) {
        text_add(&say->message, "it is a physical slot");
    } else if (strcmp(plugin, "pgoutput") != 0) {
        text_printf(&say->message, "its plug-in is %s", plugin);
    } else if (facts_deny(facts, "slot_here")) {
        text_printf(&say->message, "it belongs to database %s",
                    facts_value(facts, "slot_database"));
    } else if (facts_say(facts, "two_phase")) {
        text_add(&say->message, "it decodes two-phase transactions at PREPARE");
    } else {
        return false;
    }
    text_add(&say->remedy, "name another slot in pipelines.slot");
    return true;
}

static bool slots_are_all_taken(const Facts *facts, Saying *say)
{
    long places = strtol(facts_value(facts, "slot_places"), NULL, 10);
    text_printf(&say->message, "all %ld slots that max_replication_slots allows are in use",
                places);
    text_printf(&say->remedy,
                "ALTER SYSTEM SET max_replication_slots = %ld; then restart PostgreSQL; or free a "
                "place: SELECT slot_name, active FROM pg_replication_slots;",
                places + MORE_PLACES);
    return facts_say(facts, "slots_full") && *facts_value(facts, "slot_name") == '\0';
}

static bool slot_is_left_over(const Facts *facts, Saying *say)
{
    text_printf(
        &say->message,
        "slot \"%s\" exists although the pipeline polls; nobody reads it, and it retains %s of WAL",
        facts->pipeline->wal.slot, facts_value(facts, "slot_retains"));
    text_printf(&say->remedy, "SELECT pg_drop_replication_slot('%s');", facts->pipeline->wal.slot);
    return *facts_value(facts, "slot_name") != '\0' && facts_say(facts, "slot_here") &&
           strcmp(facts_value(facts, "slot_plugin"), "pgoutput") == 0 &&
           facts_deny(facts, "slot_active");
}

#define SLOT_FACTS                                                                                 \
    "s.slot_name, s.slot_type, s.plugin AS slot_plugin, s.database AS slot_database,"              \
    " s.database = pg_catalog.current_database() AS slot_here"

const Precondition PRECONDITIONS_SLOT[] = {
    {CODE_SLOT_FOREIGN, FOR_LOG | BY_ALL, false,
     SLOT_FACTS ", pg_catalog.to_jsonb(s) ->> 'two_phase' AS two_phase", slot_is_foreign},
    {CODE_NO_SLOT_FREE, FOR_LOG | BY_START | BY_CHECK, false,
     "pg_catalog.current_setting('max_replication_slots') AS slot_places,"
     " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots) >="
     " pg_catalog.current_setting('max_replication_slots')::integer AS slots_full",
     slots_are_all_taken},
    {CODE_SLOT_LEFT_OVER, FOR_POLL | BY_ALL, true,
     SLOT_FACTS ", s.active AS slot_active, CASE WHEN s.slot_name IS NOT NULL AND NOT"
                " pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_size_pretty("
                "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)) END"
                " AS slot_retains",
     slot_is_left_over},
};
const size_t PRECONDITIONS_SLOT_COUNT = sizeof(PRECONDITIONS_SLOT) / sizeof(Precondition);
