#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/slot.h"
#include "pg/sqlstate.h"
#include "rows/mark_positions.h"
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
    SLOT_IS_READ = 1 << 15,   /* by another: START_REPLICATION will say so */
    LEFT_BEHIND_US = 1 << 16, /* with OTHER_TIMELINE: we were left at the position, or later */
    LEFT_BEFORE_US = 1 << 17, /* ... or before it; neither: the history does not hold ours */
    BEYOND_LOG = 1 << 18,
    TX_BEYOND_LOG = 1 << 19,
    KNOWS_MORE = 1 << 20, /* this process stored a later position than the row holds */
    NO_PUBLICATION = 1 << 21,
    PUBLICATION_OTHER = 1 << 22,
    HISTORY_IS_OTHER = 1 << 23,
    RENAMED = 1 << 25,     /* another pipeline has read the table, and nobody reads its slot */
    SLOT_NEW = 1 << 24,    /* its creation is not over */
    ITS_IS_READ = 1 << 26, /* with RENAMED: somebody does, ... */
    ITS_LIVES = 1 << 27,   /* ... and it is another relay's */
} Differs;

static SlotFacts facts;
static SlotStored stored;
static SlotKnown known;
static const SlotCase GIVEN_CASE = {.facts = &facts, .stored = &stored, .known = &known};

static void given_case(unsigned differs)
{
    facts = (SlotFacts){
        .server_version = differs & VERSION_13   ? 130014
                          : differs & VERSION_16 ? 160001
                                                 : 170000,
        .system_id = "7000000000000000001",
        .timeline = differs & OTHER_TIMELINE ? 2 : 1,
        .insert_lsn = differs & BEYOND_LOG      ? 0x4FFF
                      : differs & TX_BEYOND_LOG ? 0x57FF
                                                : 0x9000,
        .switch_lsn = differs & LEFT_BEHIND_US   ? 0x5000
                      : differs & LEFT_BEFORE_US ? 0x4FFF
                                                 : 0,
        .has_publication = !(differs & NO_PUBLICATION),
    };
    stored = (SlotStored){.same_messages = true};
    known = (SlotKnown){
        .publication_changed = differs & PUBLICATION_OTHER,
        .history = differs & HISTORY_IS_OTHER ? HISTORY_OTHER : HISTORY_SAME,
        .left_timeline = differs & OTHER_TIMELINE ? 1 : 0,
    };
    if (differs & RENAMED) {
        snprintf(facts.before, sizeof(facts.before), "shop");
        snprintf(facts.before_slot, sizeof(facts.before_slot), "outboxd_shop");
        facts.before_active = differs & ITS_IS_READ;
        known.before_lives = differs & ITS_LIVES;
    }
    if (!(differs & NO_POSITION)) {
        stored.there = true;
        stored.position = (MarkerPosition){.lsn = 0x5000, .tx_lsn = 0x5800, .tx_ordinal = 3};
        stored.timeline = 1;
        known.position.lsn = differs & KNOWS_MORE ? 0x5001 : 0;
        stored.backfill = differs & FILL_INTERRUPTED;
        snprintf(stored.system_id, sizeof(stored.system_id), "%s",
                 differs & OTHER_SYSTEM ? "7000000000000000002" : facts.system_id);
        snprintf(stored.slot, sizeof(stored.slot), "%s",
                 differs & OTHER_NAME ? "outboxd_other" : "outboxd_orders");
    }
    if (!(differs & NO_SLOT)) {
        facts.has_slot = true;
        facts.confirmed = differs & SLOT_NEW           ? 0
                          : differs & SLOT_AHEAD_OF_US ? 0x5001
                          : differs & SLOT_BEHIND_US   ? 0x5000
                                                       : 0x4000;
        facts.failover = differs & FAILOVER_SLOT;
        facts.active_pid = differs & SLOT_IS_READ ? 4711 : 0;
        snprintf(facts.lost, sizeof(facts.lost), "%s", differs & INVALID_SLOT ? "wal_removed" : "");
    }
}

typedef struct Case {
    const char *name;
    unsigned differs;
    SlotVerdict verdict;
    uint64_t start; /* for ADOPT, BACKFILL and START */
    ErrorCode code; /* for GAP and REFUSED */
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
    {"an administrator made the slot", NO_POSITION, SLOT_ADOPT, 0x4000, CODE_NONE, 0},
    {"restart", AS_EXPECTED, SLOT_START, 0x5000, CODE_NONE, 0},
    {"restart, the slot is where we are", SLOT_BEHIND_US, SLOT_START, 0x5000, CODE_NONE, 0},
    {"restart, the slot is read by another", SLOT_IS_READ, SLOT_START, 0x5000, CODE_NONE, 0},
    {"restart, keep", KEEP, SLOT_START, 0x5000, CODE_NONE, 0},
    {"restart, messages", MESSAGES, SLOT_START, 0x5000, CODE_NONE, 0},
    {"restart, messages since 14", MESSAGES | VERSION_16, SLOT_START, 0x5000, CODE_NONE, 0},
    {"restart on 13", VERSION_13, SLOT_START, 0x5000, CODE_NONE, 0},
    {"filling up was interrupted", FILL_INTERRUPTED, SLOT_BACKFILL, 0x5000, CODE_NONE, 0},

    {"missing", NO_SLOT, SLOT_GAP, 0, CODE_SLOT_MISSING, EXIT_GAP},
    {"missing, keep", NO_SLOT | KEEP, SLOT_GAP, 0, CODE_SLOT_MISSING, EXIT_GAP},
    {"missing while filling up", NO_SLOT | FILL_INTERRUPTED, SLOT_GAP, 0, CODE_SLOT_MISSING,
     EXIT_GAP},
    {"invalid", INVALID_SLOT, SLOT_GAP, 0, CODE_SLOT_LOST, EXIT_GAP},
    {"invalid, never read", INVALID_SLOT | NO_POSITION, SLOT_GAP, 0, CODE_SLOT_LOST, EXIT_GAP},
    {"invalid while filling up", INVALID_SLOT | FILL_INTERRUPTED, SLOT_GAP, 0, CODE_SLOT_LOST,
     EXIT_GAP},
    {"by one byte ahead", SLOT_AHEAD_OF_US, SLOT_GAP, 0, CODE_SLOT_AHEAD, EXIT_GAP},
    {"ahead while filling up", SLOT_AHEAD_OF_US | FILL_INTERRUPTED, SLOT_GAP, 0, CODE_SLOT_AHEAD,
     EXIT_GAP},
    {"other server", OTHER_SYSTEM, SLOT_GAP, 0, CODE_SLOT_OTHER_SYSTEM, EXIT_GAP},
    {"other server without the slot", OTHER_SYSTEM | NO_SLOT, SLOT_GAP, 0, CODE_SLOT_OTHER_SYSTEM,
     EXIT_GAP},
    {"other server, failover slot", OTHER_SYSTEM | FAILOVER_SLOT | OTHER_TIMELINE, SLOT_GAP, 0,
     CODE_SLOT_OTHER_SYSTEM, EXIT_GAP},
    {"other timeline", OTHER_TIMELINE, SLOT_GAP, 0, CODE_SLOT_OTHER_TIMELINE, EXIT_GAP},
    {"other timeline, which left ours before our position", OTHER_TIMELINE | LEFT_BEFORE_US,
     SLOT_GAP, 0, CODE_SLOT_OTHER_TIMELINE, EXIT_GAP},
    {"other timeline, which left ours at our position", OTHER_TIMELINE | LEFT_BEHIND_US, SLOT_START,
     0x5000, CODE_NONE, 0},
    {"other timeline, which left ours at our position, while filling up",
     OTHER_TIMELINE | LEFT_BEHIND_US | FILL_INTERRUPTED, SLOT_BACKFILL, 0x5000, CODE_NONE, 0},
    {"other timeline, which left ours before what this process stored",
     OTHER_TIMELINE | LEFT_BEHIND_US | KNOWS_MORE, SLOT_GAP, 0, CODE_SLOT_OTHER_TIMELINE, EXIT_GAP},
    {"the row went back on the same timeline", KNOWS_MORE, SLOT_GAP, 0, CODE_SLOT_OTHER_HISTORY,
     EXIT_GAP},
    {"the row went back while filling up", KNOWS_MORE | FILL_INTERRUPTED, SLOT_GAP, 0,
     CODE_SLOT_OTHER_HISTORY, EXIT_GAP},
    {"the count of writes went back", HISTORY_IS_OTHER, SLOT_GAP, 0, CODE_SLOT_OTHER_HISTORY,
     EXIT_GAP},
    {"the count went back with a fail-over", HISTORY_IS_OTHER | OTHER_TIMELINE | LEFT_BEHIND_US,
     SLOT_START, 0x5000, CODE_NONE, 0},
    {"the publication is gone", NO_PUBLICATION, SLOT_GAP, 0, CODE_PUBLICATION_GONE, EXIT_GAP},
    {"the publication and the slot are gone", NO_PUBLICATION | NO_SLOT, SLOT_GAP, 0,
     CODE_PUBLICATION_GONE, EXIT_GAP},
    {"the publication is another one", PUBLICATION_OTHER, SLOT_START, 0x5000, CODE_NONE, 0},
    {"the publication is another one, keep", PUBLICATION_OTHER | KEEP, SLOT_GAP, 0,
     CODE_PUBLICATION_CHANGED, EXIT_GAP},
    {"beyond the log", BEYOND_LOG, SLOT_GAP, 0, CODE_POSITION_BEYOND_LOG, EXIT_GAP},
    {"beyond the log, slot and all", BEYOND_LOG | SLOT_BEHIND_US, SLOT_GAP, 0,
     CODE_POSITION_BEYOND_LOG, EXIT_GAP},
    {"beyond the log while filling up", BEYOND_LOG | FILL_INTERRUPTED, SLOT_GAP, 0,
     CODE_POSITION_BEYOND_LOG, EXIT_GAP},
    {"a transaction beyond the log", TX_BEYOND_LOG, SLOT_GAP, 0, CODE_POSITION_BEYOND_LOG,
     EXIT_GAP},
    {"other timeline without the slot", OTHER_TIMELINE | NO_SLOT, SLOT_GAP, 0, CODE_SLOT_MISSING,
     EXIT_GAP},
    {"other timeline, the failover slot is ahead",
     OTHER_TIMELINE | LEFT_BEHIND_US | FAILOVER_SLOT | SLOT_AHEAD_OF_US, SLOT_GAP, 0,
     CODE_SLOT_AHEAD, EXIT_GAP},
    {"other timeline, the failover slot is invalid", OTHER_TIMELINE | FAILOVER_SLOT | INVALID_SLOT,
     SLOT_GAP, 0, CODE_SLOT_LOST, EXIT_GAP},
    {"the slot was renamed in the configuration", OTHER_NAME, SLOT_GAP, 0, CODE_SLOT_OTHER_NAME,
     EXIT_GAP},
    {"renamed, and there is none of that name", OTHER_NAME | NO_SLOT, SLOT_GAP, 0,
     CODE_SLOT_OTHER_NAME, EXIT_GAP},

    {"the slot of a first start that was killed is not finished", NO_POSITION | SLOT_NEW,
     SLOT_REFUSED, 0, CODE_SLOT_UNFINISHED, EXIT_POSTGRES},
    {"nor that of --new-slot", SLOT_NEW | SLOT_IS_READ, SLOT_REFUSED, 0, CODE_SLOT_UNFINISHED,
     EXIT_POSTGRES},
    {"unfinished and invalid", NO_POSITION | SLOT_NEW | INVALID_SLOT, SLOT_GAP, 0, CODE_SLOT_LOST,
     EXIT_GAP},
    {"renamed, and the table tells all", NO_POSITION | NO_SLOT | RENAMED, SLOT_CREATE, 0, CODE_NONE,
     0},
    {"renamed, with its slot", NO_POSITION | RENAMED, SLOT_ADOPT, 0x4000, CODE_NONE, 0},
    {"renamed, and rows are kept", NO_POSITION | NO_SLOT | RENAMED | KEEP, SLOT_GAP, 0,
     CODE_PIPELINE_RENAMED, EXIT_GAP},
    {"renamed with its slot, and rows are kept", NO_POSITION | RENAMED | KEEP, SLOT_GAP, 0,
     CODE_PIPELINE_RENAMED, EXIT_GAP},
    {"renamed, with messages", NO_POSITION | NO_SLOT | RENAMED | MESSAGES, SLOT_GAP, 0,
     CODE_PIPELINE_RENAMED, EXIT_GAP},
    {"renamed, and its reader is about to end",
     NO_POSITION | NO_SLOT | RENAMED | KEEP | ITS_IS_READ, SLOT_REFUSED, 0,
     CODE_POSTGRES_OBJECT_IN_USE, EXIT_POSTGRES},
    {"renamed, with messages, and its reader is about to end",
     NO_POSITION | RENAMED | MESSAGES | ITS_IS_READ, SLOT_REFUSED, 0, CODE_POSTGRES_OBJECT_IN_USE,
     EXIT_POSTGRES},
    {"renamed, its reader is about to end, and the table tells all",
     NO_POSITION | NO_SLOT | RENAMED | ITS_IS_READ, SLOT_CREATE, 0, CODE_NONE, 0},
    {"a new one beside another relay's",
     NO_POSITION | NO_SLOT | RENAMED | KEEP | ITS_IS_READ | ITS_LIVES, SLOT_CREATE, 0, CODE_NONE,
     0},
    {"another one beside ours", RENAMED | KEEP, SLOT_START, 0x5000, CODE_NONE, 0},

    {"messages on 13", MESSAGES | VERSION_13, SLOT_REFUSED, 0, CODE_MESSAGES_VERSION, EXIT_CONFIG},
    {"failover slot on 16", FAILOVER_ASKED | VERSION_16, SLOT_REFUSED, 0, CODE_FAILOVER_VERSION,
     EXIT_CONFIG},
};

static SlotVerdict judge(unsigned differs, uint64_t *ret_start, Error *err)
{
    PipelineConfig pipeline = given_pipeline();
    pipeline.capture = CAPTURE_WAL;
    pipeline.wal.slot = GIVEN("outboxd_orders");
    pipeline.wal.publication = GIVEN("outboxd_orders");
    pipeline.wal.messages = differs & MESSAGES;
    pipeline.wal.failover_slot = differs & FAILOVER_ASKED;
    pipeline.outbox.on_publish = differs & KEEP ? ON_PUBLISH_KEEP : ON_PUBLISH_MARK;
    given_case(differs);
    return slot_judge(&GIVEN_CASE, &pipeline, ret_start, err);
}

Test(slot, each_state_of_slot_and_position_has_one_verdict)
{
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const Case *c = &CASES[i];
        AUTO_ERROR err = {0};
        uint64_t start = 0;
        SlotVerdict verdict = judge(c->differs, &start, &err);
        cr_assert_eq(verdict, c->verdict, "%s: %d %s", c->name, (int)verdict,
                     error_code_name(err.code));
        bool stops = verdict == SLOT_GAP || verdict == SLOT_REFUSED;
        cr_assert_eq(stops, c->code != CODE_NONE, "%s", c->name);
        if (stops) {
            cr_assert_eq(err.code, c->code, "%s: %s", c->name, error_code_name(err.code));
            cr_assert_eq(err.exit_code, c->exit_code, "%s: %d", c->name, (int)err.exit_code);
            bool waits = c->code == CODE_SLOT_UNFINISHED || c->code == CODE_POSTGRES_OBJECT_IN_USE;
            cr_assert_eq(err.class, waits ? ERROR_RETRY : ERROR_FATAL, "%s", c->name);
            cr_assert_gt(strlen(error_own_hint(&err)), 0, "%s has no remedy", c->name);
        } else if (verdict != SLOT_CREATE) {
            cr_assert_eq(start, c->start, "%s: %lx", c->name, (unsigned long)start);
        }
    }
}

/* Whatever else is the matter: with a position, a slot is never made or adopted in silence. */
Test(slot, a_slot_is_never_made_again_in_silence)
{
    enum {
        WORTH_TRYING = 1 << 21,
        UNRELATED = FAILOVER_SLOT | SLOT_IS_READ | VERSION_13 | KEEP | MESSAGES
    };
    for (unsigned differs = 0; differs < WORTH_TRYING; differs++) {
        if (differs & UNRELATED) {
            continue;
        }
        AUTO_ERROR err = {0};
        uint64_t start = 0;
        SlotVerdict verdict = judge(differs, &start, &err);
        bool has_position = !(differs & NO_POSITION);
        cr_assert(!has_position || (verdict != SLOT_CREATE && verdict != SLOT_ADOPT), "%x",
                  differs);
        bool goes_on = verdict != SLOT_GAP && verdict != SLOT_REFUSED;
        bool other_timeline = differs & OTHER_TIMELINE;
        bool gap = differs & (NO_SLOT | OTHER_SYSTEM | OTHER_NAME) ||
                   (differs & (SLOT_AHEAD_OF_US | KNOWS_MORE)) == SLOT_AHEAD_OF_US ||
                   (other_timeline && !(differs & LEFT_BEHIND_US)) ||
                   (other_timeline && (differs & KNOWS_MORE)) ||
                   (!other_timeline && differs & (KNOWS_MORE | BEYOND_LOG | TX_BEYOND_LOG));
        cr_assert(!goes_on || !has_position || !gap, "%x goes on over a gap", differs);
        cr_assert(!goes_on || (differs & NO_SLOT) || !(differs & INVALID_SLOT),
                  "%x uses a slot that is invalid", differs);
        cr_assert_eq(!goes_on, err.code != CODE_NONE, "%x", differs);
    }
}

/* It may have the slot from before our last position, or from after the row that came over. */
Test(slot, a_new_primary_goes_on_where_its_own_row_stands)
{
    uint64_t start = 0;
    AUTO_ERROR err = {0};
    for (int with_option = 0; with_option < 2; with_option++) {
        unsigned differs = OTHER_TIMELINE | LEFT_BEHIND_US | (with_option ? FAILOVER_SLOT : 0);
        cr_assert_eq(judge(differs, &start, &err), SLOT_START, "%s", error_code_name(err.code));
        cr_assert_eq(start, 0x5000);
    }
}

static bool history_of(const char *content, int timeline, uint64_t *ret_lsn)
{
    return slot_read_history(content, timeline, ret_lsn);
}

Test(slot, a_history_file_tells_where_a_timeline_was_left)
{
    static const char HISTORY[] = "1\t0/3000148\tno recovery target specified\n"
                                  "\n"
                                  "# 4\t0/1\n"
                                  "3\tA/4000060\tbefore 2026-01-01 00:00:00+00\n";
    uint64_t lsn = 0;
    cr_assert(history_of(HISTORY, 1, &lsn));
    cr_assert_eq(lsn, 0x3000148);
    cr_assert(history_of(HISTORY, 3, &lsn));
    cr_assert_eq(lsn, 0xA04000060);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_not(history_of(HISTORY, (const int[]){2, 4, 0}[i], &lsn));
    }
    cr_assert_eq(lsn, 0xA04000060, "written only on success");
    cr_assert(history_of("1\t0/10", 1, &lsn), "the last line may end without a newline");
    cr_assert_eq(lsn, 0x10);
    for (const char *const *bad = (const char *const[]){"", "\n\n", "1", "1\t", "1\tx/y\t",
                                                        "1 0/10\t", "1\t0/", "\t0/10", NULL};
         *bad != NULL; bad++) {
        cr_assert_not(history_of(*bad, 1, &lsn), "'%s'", *bad);
    }
    for (size_t length = 0; length < sizeof(HISTORY) - 1; length++) { /* truncated anywhere */
        AUTO_TEXT copy = x_strndup(HISTORY, length);
        (void)slot_read_history(copy, 3, &lsn);
    }
}

Test(slot, a_gap_says_where_both_stand_and_what_to_do)
{
    uint64_t start = 0;
    AUTO_ERROR err = {0};
    cr_assert_eq(judge(SLOT_AHEAD_OF_US, &start, &err), SLOT_GAP);
    cr_assert_not_null(strstr(error_message(&err), "outboxd_orders"), "%s", error_message(&err));
    cr_assert_not_null(strstr(error_message(&err), "0/5001"), "%s", error_message(&err));
    cr_assert_not_null(strstr(error_message(&err), "0/5000"), "%s", error_message(&err));
    cr_assert_not_null(strstr(error_own_hint(&err), "--new-slot"), "%s", error_own_hint(&err));
    cr_assert_eq(judge(NO_SLOT, &start, &err), SLOT_GAP);
    cr_assert_not_null(strstr(error_message(&err), "0/5000"), "%s", error_message(&err));
    cr_assert_eq(judge(INVALID_SLOT, &start, &err), SLOT_GAP);
    cr_assert_not_null(strstr(error_message(&err), "wal_removed"), "%s", error_message(&err));
}

Test(slot, a_row_whose_text_is_too_long_is_a_gap)
{
    PipelineConfig pipeline = given_pipeline();
    pipeline.wal.slot = GIVEN("outboxd_orders");
    AUTO_ERROR err = {0};
    (void)sqlstate_fill("54000", "out of memory", &err);
    cr_assert(slot_cannot_send(&err));
    cr_assert(slot_judge_decoding(&pipeline, &err));
    cr_assert_eq(err.code, CODE_LOG_ROW_TOO_LARGE);
    cr_assert_eq(err.exit_code, EXIT_GAP);
    cr_assert_not_null(strstr(error_own_hint(&err), "--new-slot"), "%s", error_own_hint(&err));
    (void)sqlstate_fill("XX000", "invalid memory alloc request size 1200000003", &err);
    cr_assert_not(slot_judge_decoding(&pipeline, &err), "of whatever else");
    err.origin = ORIGIN_SIZE;
    cr_assert(slot_judge_decoding(&pipeline, &err));
    (void)sqlstate_fill("53200", "out of memory", &err);
    cr_assert_not(slot_judge_decoding(&pipeline, &err), "that may pass");
}

Test(slot, a_row_that_makes_a_filter_fail_is_a_gap)
{
    MappingConfig mapping = {.table = GIVEN("s.t"), .filter = GIVEN("10 / id > 3")};
    PipelineConfig pipeline = given_pipeline();
    pipeline.wal.slot = GIVEN("outboxd_orders");
    pipeline.capture = CAPTURE_TABLES;
    pipeline.tables = (TablesConfig){.mappings = &mapping, .mapping_count = 1};
    AUTO_ERROR err = {0};
    (void)sqlstate_fill("22P05", "untranslatable character", &err);
    cr_assert_not(slot_judge_decoding(&pipeline, &err), "of another kind");
    (void)sqlstate_fill("22012", "division by zero", &err);
    mapping.filter = GIVEN("");
    cr_assert_not(slot_judge_decoding(&pipeline, &err), "there is none");
    mapping.filter = GIVEN("10 / id > 3");
    cr_assert(slot_judge_decoding(&pipeline, &err));
    cr_assert_eq(err.code, CODE_LOG_FILTER_FAILED);
    cr_assert_eq(err.exit_code, EXIT_GAP);
    cr_assert_not_null(strstr(error_own_hint(&err), "--new-slot"), "%s", error_own_hint(&err));
}

Test(slot, an_error_of_decoding_for_want_of_the_publication_is_a_gap)
{
    PipelineConfig pipeline = given_pipeline();
    pipeline.wal.slot = pipeline.wal.publication = GIVEN("outboxd_orders");
    AUTO_ERROR err = {0};
    (void)sqlstate_fill("42704", "publication \"outboxd_orders\" does not exist", &err);
    err.origin = ORIGIN_PUBLICATION;
    cr_assert(slot_judge_decoding(&pipeline, &err));
    cr_assert_eq(err.code, CODE_PUBLICATION_GONE);
    cr_assert_eq(err.exit_code, EXIT_GAP);
    cr_assert_not_null(strstr(error_own_hint(&err), "--new-slot"), "%s", error_own_hint(&err));
    (void)sqlstate_fill("42704", "replication slot \"a_publication\" does not exist", &err);
    cr_assert_not(slot_judge_decoding(&pipeline, &err));
    cr_assert_eq(err.code, CODE_POSTGRES_ERROR);
}
