#include <criterion/criterion.h>
#include <string.h>

#include "rows/history.h"
#include "stub/libpq.h"

#define OTHER "00000000-0000-4000-8000-000000000002"

static HistoryMemory memory;
static char difference[160];

static History server(const char *generation, uint64_t writes)
{
    History found = {.timeline = 1, .table_oid = 4242, .lsn = 200, .flushed = 200};
    snprintf(found.system_id, sizeof(found.system_id), "7000000000000000001");
    found.has_row = generation != NULL;
    snprintf(found.generation, sizeof(found.generation), "%s",
             generation != NULL ? generation : "");
    found.writes = writes;
    return found;
}

static HistoryVerdict judge(History found)
{
    return history_judge(&memory, &found, difference, sizeof(difference));
}

/* This source owns the table and has written so often. */
static void own(uint64_t writes)
{
    history_begin(&memory);
    History found = server(OTHER, writes - 1);
    history_adopt(&memory, &found);
    history_write_sent(&memory);
    history_write_committed(&memory);
    cr_assert_eq(memory.last.writes, writes);
    cr_assert_str_eq(memory.last.generation, memory.ours);
}

Test(history, a_generation_is_a_random_uuid)
{
    HistoryMemory another;
    history_begin(&memory);
    history_begin(&another);
    cr_assert_eq(strlen(memory.ours), 36);
    cr_assert_eq(memory.ours[14], '4');
    cr_assert_not_null(strchr("89ab", memory.ours[19]));
    cr_assert_str_neq(memory.ours, another.ours);
}

Test(history, at_first_nothing_is_known)
{
    history_begin(&memory);
    cr_assert_eq(judge(server(NULL, 0)), HISTORY_FIRST);
    cr_assert_eq(judge(server(OTHER, 5)), HISTORY_FIRST);
    cr_assert_str_eq(difference, "");
}

/* Every combination of: whose generation, how many writes, and whether a write was under way. */
Test(history, the_row_tells_who_published_since)
{
    static const struct {
        char whose; /* o: ours, x: another's, -: no row */
        int writes; /* more or fewer than known */
        HistoryVerdict quiet;
        HistoryVerdict writing;
    } CASES[] = {
        {'o', -2, HISTORY_OTHER, HISTORY_OTHER},
        {'o', -1, HISTORY_OTHER, HISTORY_OTHER},
        {'o', 0, HISTORY_SAME, HISTORY_SAME},
        {'o', 1, HISTORY_OTHER, HISTORY_SAME},
        {'o', 2, HISTORY_OTHER, HISTORY_OTHER},
        {'x', -2, HISTORY_OTHER, HISTORY_OTHER},
        {'x', -1, HISTORY_OTHER, HISTORY_OTHER},
        {'x', 0, HISTORY_OTHER, HISTORY_OTHER},
        {'x', 1, HISTORY_NEWER_OWNER, HISTORY_NEWER_OWNER},
        {'x', 2, HISTORY_NEWER_OWNER, HISTORY_NEWER_OWNER},
        {'-', 0, HISTORY_OTHER, HISTORY_OTHER},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        for (int writing = 0; writing < 2; writing++) {
            own(10);
            if (writing == 1) {
                history_write_sent(&memory);
            }
            const char *generation = CASES[i].whose == 'o'   ? memory.ours
                                     : CASES[i].whose == 'x' ? OTHER
                                                             : NULL;
            HistoryVerdict expected = writing == 1 ? CASES[i].writing : CASES[i].quiet;
            cr_assert_eq(judge(server(generation, (uint64_t)(10 + CASES[i].writes))), expected,
                         "%c %+d %d", CASES[i].whose, CASES[i].writes, writing);
            cr_assert_eq(*difference != '\0', expected == HISTORY_OTHER, "%s", difference);
        }
    }
}

Test(history, server_timeline_table_and_log_are_compared_whatever_the_row_says)
{
    for (int i = 0; i < 5; i++) {
        own(10);
        History found = server(memory.ours, 10);
        switch (i) {
        case 0:
            snprintf(found.system_id, sizeof(found.system_id), "7000000000000000002");
            break;
        case 1:
            found.timeline = 2;
            break;
        case 2:
            found.table_oid = 4243;
            break;
        case 3:
            found.lsn = 199;
            break;
        default:
            found.lsn = 1000;
            break;
        }
        cr_assert_eq(judge(found), i < 4 ? HISTORY_OTHER : HISTORY_SAME, "%d", i);
        found.generation[0] = '\0';
        found.has_row = false; /* an adopted table */
        memory.last.has_row = false;
        cr_assert_eq(judge(found), i < 4 ? HISTORY_OTHER : HISTORY_SAME, "%d without a row", i);
    }
}

Test(history, a_row_that_appears_belongs_to_whoever_wrote_it)
{
    history_begin(&memory);
    History found = server(NULL, 0);
    history_adopt(&memory, &found);
    cr_assert_eq(judge(server(OTHER, 1)), HISTORY_NEWER_OWNER);
    history_write_sent(&memory); /* our first claim, whose answer was lost */
    cr_assert_eq(judge(server(memory.ours, 1)), HISTORY_SAME);
    cr_assert_eq(judge(server(NULL, 0)), HISTORY_SAME, "it was not committed");
    cr_assert_eq(judge(server(OTHER, 1)), HISTORY_NEWER_OWNER);
}

/* A row is another's until our claim of it is committed. */
static void claim(History found)
{
    HistoryVerdict verdict = judge(found);
    history_claim(&memory, &found, verdict);
    history_write_sent(&memory);
}

Test(history, what_was_not_claimed_was_never_ours)
{
    history_begin(&memory);
    claim(server(OTHER, 7));
    cr_assert_eq(judge(server(OTHER, 10)), HISTORY_FIRST, "its owner went on writing");
    claim(server(OTHER, 10));
    history_write_failed(&memory);
    cr_assert_eq(judge(server(OTHER, 11)), HISTORY_FIRST);
    history_end(&memory);
    own(10);
    claim(server(OTHER, 50));
    cr_assert_eq(judge(server(OTHER, 60)), HISTORY_NEWER_OWNER);
    claim(server(OTHER, 60));
    history_write_failed(&memory);
    cr_assert_eq(judge(server(OTHER, 61)), HISTORY_NEWER_OWNER);
    cr_assert_eq(judge(server(OTHER, 5)), HISTORY_OTHER, "an older copy");
    history_end(&memory);
}

Test(history, a_claim_that_is_committed_makes_it_ours)
{
    own(10);
    claim(server(OTHER, 50));
    history_write_committed(&memory);
    cr_assert_null(memory.claimed);
    cr_assert_eq(judge(server(memory.ours, 51)), HISTORY_SAME);
    cr_assert_eq(judge(server(memory.ours, 52)), HISTORY_OTHER);
    cr_assert_eq(judge(server(OTHER, 51)), HISTORY_OTHER);
    cr_assert_eq(judge(server(OTHER, 52)), HISTORY_NEWER_OWNER);
    history_begin(&memory);
    claim(server(NULL, 3)); /* a row of a version that had no generations */
    history_write_committed(&memory);
    cr_assert_eq(judge(server(memory.ours, 4)), HISTORY_SAME);
}

Test(history, a_claim_without_an_answer_says_again_what_it_was_about)
{
    own(10);
    claim(server(memory.ours, 10));
    cr_assert_eq(judge(server(memory.ours, 11)), HISTORY_SAME);
    cr_assert_eq(judge(server(memory.ours, 10)), HISTORY_SAME, "it was not committed");
    claim(server(OTHER, 50));
    history_write_failed(&memory); /* the next one was refused, since this one landed late */
    cr_assert_eq(judge(server(memory.ours, 51)), HISTORY_NEWER_OWNER);
    cr_assert_eq(judge(server(memory.ours, 52)), HISTORY_OTHER, "so often we have not written");
    History found = server(memory.ours, 51);
    found.timeline = 2;
    cr_assert_eq(judge(found), HISTORY_OTHER);
    found = server(memory.ours, 51);
    found.table_oid = 4243;
    cr_assert_eq(judge(found), HISTORY_OTHER);
    claim(server(memory.ours, 3));
    cr_assert_eq(judge(server(memory.ours, 4)), HISTORY_NEWER_OWNER, "all is forgotten already");
    history_end(&memory);
}

Test(history, nothing_of_before_counts_once_a_row_is_claimed_anew)
{
    own(10);
    History found = server(OTHER, 50);
    history_claim_anew(&memory, &found);
    cr_assert_eq(judge(server(OTHER, 3)), HISTORY_FIRST);
    history_write_sent(&memory);
    history_write_committed(&memory);
    cr_assert_eq(judge(server(memory.ours, 51)), HISTORY_SAME);
}

Test(history, what_was_found_is_what_is_known)
{
    own(10);
    history_write_sent(&memory);
    History found = server(memory.ours, 11);
    cr_assert_eq(judge(found), HISTORY_SAME);
    history_adopt(&memory, &found);
    cr_assert_not(memory.writing);
    history_write_sent(&memory);
    history_write_failed(&memory);
    cr_assert_eq(judge(server(memory.ours, 11)), HISTORY_SAME);
    cr_assert_eq(judge(server(memory.ours, 12)), HISTORY_OTHER);
}

Test(history, a_crash_may_take_back_what_was_not_flushed)
{
    own(10);
    memory.last.lsn = 900;
    memory.last.flushed = 200;
    cr_assert_eq(judge(server(memory.ours, 10)), HISTORY_SAME);
    history_note_flushed(&memory, "0/C9"); /* 201 */
    cr_assert_eq(judge(server(memory.ours, 10)), HISTORY_OTHER);
    history_note_flushed(&memory, "0/1");
    history_note_flushed(&memory, "no position");
    cr_assert_eq(memory.last.flushed, 201);
}

Test(history, the_query_names_the_row_where_there_is_one)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    history_add_query("outbox.publisher", "table_id = 4242", &sql);
    cr_assert_not_null(strstr(sql.data, "LEFT JOIN outbox.publisher AS p ON p.table_id = 4242"));
    text_clear(&sql);
    history_add_query(NULL, NULL, &sql);
    cr_assert_null(strstr(sql.data, "JOIN"));
}
