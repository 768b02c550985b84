#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "cdc/slot.h"
#include "stub/given.h"

/* Facts by what differs from a slot that is read and in order: the position is 0/5000, the slot
 * stands at 0/4000. */
typedef enum Differs {
    AS_EXPECTED = 0,
    NO_POSITION = 1 << 0,
    NO_SLOT = 1 << 1,
    SLOT_BEHIND_US = 1 << 2, /* not by far: at the same place */
    SLOT_AHEAD_OF_US = 1 << 3,
    INVALID_SLOT = 1 << 4,
    OTHER_SYSTEM = 1 << 5,
    OTHER_TIMELINE = 1 << 6,
    FAILOVER_SLOT = 1 << 7,
    OTHER_NAME = 1 << 8,
    FILL_INTERRUPTED = 1 << 9,
    MESSAGES = 1 << 10,
    FAILOVER_ASKED = 1 << 11,
    KEEP = 1 << 12,
    VERSION_13 = 1 << 13,
    VERSION_16 = 1 << 14,
    SLOT_IS_READ = 1 << 15, /* by another: START_REPLICATION will say so */
} Differs;

static SlotFacts given_facts(unsigned differs)
{
    SlotFacts facts = {
        .server_version = differs & VERSION_13   ? 130014
                          : differs & VERSION_16 ? 160001
                                                 : 170000,
        .system_id = "7000000000000000001",
        .timeline = differs & OTHER_TIMELINE ? 2 : 1,
        .same_messages = true,
        .has_publication = true,
    };
    if (!(differs & NO_POSITION)) {
        facts.has_position = true;
        facts.position = (MarkerPosition){.lsn = 0x5000, .tx_lsn = 0x5800, .tx_ordinal = 3};
        facts.position_timeline = 1;
        facts.backfill = differs & FILL_INTERRUPTED;
        snprintf(facts.position_system_id, sizeof(facts.position_system_id), "%s",
                 differs & OTHER_SYSTEM ? "7000000000000000002" : facts.system_id);
        snprintf(facts.position_slot, sizeof(facts.position_slot), "%s",
                 differs & OTHER_NAME ? "outboxd_other" : "outboxd_orders");
    }
    if (!(differs & NO_SLOT)) {
        facts.has_slot = true;
        facts.confirmed = differs & SLOT_AHEAD_OF_US ? 0x5001
                          : differs & SLOT_BEHIND_US ? 0x5000
                                                     : 0x4000;
        facts.failover = differs & FAILOVER_SLOT;
        facts.active_pid = differs & SLOT_IS_READ ? 4711 : 0;
        snprintf(facts.lost, sizeof(facts.lost), "%s", differs & INVALID_SLOT ? "wal_removed" : "");
    }
    return facts;
}

typedef struct Case {
    const char *name;
    unsigned differs;
    SlotVerdict verdict;
    uint64_t start;   /* for ADOPT, BACKFILL and START */
    const char *code; /* for GAP and REFUSED */
    ExitCode exit_code;
} Case;

static const Case CASES[] = {
    {.name = "first start", .differs = NO_POSITION | NO_SLOT, .verdict = SLOT_CREATE},
    {.name = "first start with messages",
     .differs = NO_POSITION | NO_SLOT | MESSAGES,
     .verdict = SLOT_CREATE},
    {.name = "first start, failover slot asked",
     .differs = NO_POSITION | NO_SLOT | FAILOVER_ASKED,
     .verdict = SLOT_CREATE},
    {"an administrator made the slot", NO_POSITION, SLOT_ADOPT, 0x4000, NULL, 0},
    {"restart", AS_EXPECTED, SLOT_START, 0x5000, NULL, 0},
    {"restart, the slot is where we are", SLOT_BEHIND_US, SLOT_START, 0x5000, NULL, 0},
    {"restart, the slot is read by another", SLOT_IS_READ, SLOT_START, 0x5000, NULL, 0},
    {"restart, keep", KEEP, SLOT_START, 0x5000, NULL, 0},
    {"restart, messages", MESSAGES, SLOT_START, 0x5000, NULL, 0},
    {"restart, messages since 14", MESSAGES | VERSION_16, SLOT_START, 0x5000, NULL, 0},
    {"restart on 13", VERSION_13, SLOT_START, 0x5000, NULL, 0},
    {"filling up was interrupted", FILL_INTERRUPTED, SLOT_BACKFILL, 0x5000, NULL, 0},

    {"missing", NO_SLOT, SLOT_GAP, 0, "SLOT_MISSING", EXIT_GAP},
    {"missing, keep", NO_SLOT | KEEP, SLOT_GAP, 0, "SLOT_MISSING", EXIT_GAP},
    {"missing while filling up", NO_SLOT | FILL_INTERRUPTED, SLOT_GAP, 0, "SLOT_MISSING", EXIT_GAP},
    {"invalid", INVALID_SLOT, SLOT_GAP, 0, "SLOT_LOST", EXIT_GAP},
    {"invalid, never read", INVALID_SLOT | NO_POSITION, SLOT_GAP, 0, "SLOT_LOST", EXIT_GAP},
    {"invalid while filling up", INVALID_SLOT | FILL_INTERRUPTED, SLOT_GAP, 0, "SLOT_LOST",
     EXIT_GAP},
    {"by one byte ahead", SLOT_AHEAD_OF_US, SLOT_GAP, 0, "SLOT_AHEAD", EXIT_GAP},
    {"ahead while filling up", SLOT_AHEAD_OF_US | FILL_INTERRUPTED, SLOT_GAP, 0, "SLOT_AHEAD",
     EXIT_GAP},
    {"other server", OTHER_SYSTEM, SLOT_GAP, 0, "SLOT_OTHER_SYSTEM", EXIT_GAP},
    {"other server without the slot", OTHER_SYSTEM | NO_SLOT, SLOT_GAP, 0, "SLOT_OTHER_SYSTEM",
     EXIT_GAP},
    {"other server, failover slot", OTHER_SYSTEM | FAILOVER_SLOT | OTHER_TIMELINE, SLOT_GAP, 0,
     "SLOT_OTHER_SYSTEM", EXIT_GAP},
    {"other timeline", OTHER_TIMELINE, SLOT_GAP, 0, "SLOT_OTHER_TIMELINE", EXIT_GAP},
    {"other timeline without the slot", OTHER_TIMELINE | NO_SLOT, SLOT_GAP, 0, "SLOT_MISSING",
     EXIT_GAP},
    {"other timeline, the failover slot is ahead",
     OTHER_TIMELINE | FAILOVER_SLOT | SLOT_AHEAD_OF_US, SLOT_GAP, 0, "SLOT_AHEAD", EXIT_GAP},
    {"other timeline, the failover slot is invalid", OTHER_TIMELINE | FAILOVER_SLOT | INVALID_SLOT,
     SLOT_GAP, 0, "SLOT_LOST", EXIT_GAP},
    {"the slot was renamed in the configuration", OTHER_NAME, SLOT_GAP, 0, "SLOT_OTHER_NAME",
     EXIT_GAP},
    {"renamed, and there is none of that name", OTHER_NAME | NO_SLOT, SLOT_GAP, 0,
     "SLOT_OTHER_NAME", EXIT_GAP},

    {"messages on 13", MESSAGES | VERSION_13, SLOT_REFUSED, 0, "MESSAGES_VERSION", EXIT_CONFIG},
    {"failover slot on 16", FAILOVER_ASKED | VERSION_16, SLOT_REFUSED, 0, "FAILOVER_VERSION",
     EXIT_CONFIG},
};

static SlotVerdict judge(unsigned differs, uint64_t *ret_start, Error *err)
{
    PipelineConfig pipeline = given_pipeline();
    pipeline.capture = CAPTURE_WAL;
    pipeline.slot = GIVEN("outboxd_orders");
    pipeline.publication = GIVEN("outboxd_orders");
    pipeline.messages = differs & MESSAGES;
    pipeline.failover_slot = differs & FAILOVER_ASKED;
    pipeline.on_publish = differs & KEEP ? ON_PUBLISH_KEEP : ON_PUBLISH_MARK;
    SlotFacts facts = given_facts(differs);
    return slot_judge(&facts, &pipeline, ret_start, err);
}

Test(slot, each_state_of_slot_and_position_has_one_verdict)
{
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const Case *c = &CASES[i];
        Error err = {0};
        uint64_t start = 0;
        SlotVerdict verdict = judge(c->differs, &start, &err);
        cr_assert_eq(verdict, c->verdict, "%s: %d %s", c->name, (int)verdict, err.code);
        bool stops = verdict == SLOT_GAP || verdict == SLOT_REFUSED;
        cr_assert_eq(stops, c->code != NULL, "%s", c->name);
        if (stops) {
            cr_assert_str_eq(err.code, c->code, "%s: %s", c->name, err.code);
            cr_assert_eq(err.exit_code, c->exit_code, "%s: %d", c->name, (int)err.exit_code);
            cr_assert_eq(err.class, ERROR_FATAL, "%s", c->name);
            cr_assert_gt(strlen(err.hint), 0, "%s has no remedy", c->name);
        } else if (verdict != SLOT_CREATE) {
            cr_assert_eq(start, c->start, "%s: %lx", c->name, (unsigned long)start);
        }
    }
}

/* Whatever else is the matter: with a position, a slot is never made or adopted in silence. */
Test(slot, a_slot_is_never_made_again_in_silence)
{
    enum { WORTH_TRYING = 1 << 16 };
    for (unsigned differs = 0; differs < WORTH_TRYING; differs++) {
        Error err = {0};
        uint64_t start = 0;
        SlotVerdict verdict = judge(differs, &start, &err);
        bool has_position = !(differs & NO_POSITION);
        cr_assert(!has_position || (verdict != SLOT_CREATE && verdict != SLOT_ADOPT), "%x",
                  differs);
        bool goes_on = verdict != SLOT_GAP && verdict != SLOT_REFUSED;
        bool gap = differs & (NO_SLOT | OTHER_SYSTEM | OTHER_NAME | SLOT_AHEAD_OF_US) ||
                   ((differs & OTHER_TIMELINE) && !(differs & FAILOVER_SLOT));
        cr_assert(!goes_on || !has_position || !gap, "%x goes on over a gap", differs);
        cr_assert(!goes_on || (differs & NO_SLOT) || !(differs & INVALID_SLOT),
                  "%x uses a slot that is invalid", differs);
        cr_assert_eq(!goes_on, err.code[0] != '\0', "%x", differs);
    }
}

/* What the new primary has of the slot: never in front of it. */
Test(slot, a_failover_slot_goes_on_behind_a_failover)
{
    uint64_t start = 0;
    Error err = {0};
    cr_assert_eq(judge(OTHER_TIMELINE | FAILOVER_SLOT, &start, &err), SLOT_START, "%s", err.code);
    cr_assert_geq(start, 0x4000);
    cr_assert_leq(start, 0x5000);
    cr_assert_eq(judge(OTHER_TIMELINE | FAILOVER_SLOT | FILL_INTERRUPTED, &start, &err),
                 SLOT_BACKFILL);
}

Test(slot, a_gap_says_where_both_stand_and_what_to_do)
{
    uint64_t start = 0;
    Error err = {0};
    cr_assert_eq(judge(SLOT_AHEAD_OF_US, &start, &err), SLOT_GAP);
    cr_assert_not_null(strstr(err.message, "outboxd_orders"), "%s", err.message);
    cr_assert_not_null(strstr(err.message, "0/5001"), "%s", err.message);
    cr_assert_not_null(strstr(err.message, "0/5000"), "%s", err.message);
    cr_assert_not_null(strstr(err.hint, "--new-slot"), "%s", err.hint);
    cr_assert_eq(judge(NO_SLOT, &start, &err), SLOT_GAP);
    cr_assert_not_null(strstr(err.message, "0/5000"), "%s", err.message);
    cr_assert_eq(judge(INVALID_SLOT, &start, &err), SLOT_GAP);
    cr_assert_not_null(strstr(err.message, "wal_removed"), "%s", err.message);
}
