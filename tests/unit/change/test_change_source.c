/* What is kept from record to record is what a writer that keeps nothing writes. */
#include <criterion/criterion.h>

#include "change/change_source.h"

static uint64_t seed;

/* 0 to sides - 1; the same in each run. */
static uint32_t dice(uint32_t sides)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % sides;
}

static const char *write_fresh(const char *table, const ChangePlace *place, Text *json)
{
    ChangeSource *fresh = change_source_new("p", "db");
    change_source_write(fresh, slice_of(table), place, json);
    change_source_write_times(fresh, place->now_ns, json);
    change_source_free(&fresh);
    return text_string(json);
}

static bool coin(void)
{
    return dice(4) == 0;
}

/* One thing or another changes, as often as not none. */
static void move(ChangePlace *place, const char **table)
{
    static const char *const ORIGINS[] = {NULL, "west", "east", ""};
    static const char *const TABLES[] = {"\"table\":\"a\"", "\"table\":\"b\"", "\"table\":\"aa\""};
    place->committed_at_us = coin() ? dice(3) : place->committed_at_us;
    place->now_ns = coin() ? dice(3) * INT64_C(1000000001) : place->now_ns;
    place->last_commit = coin() ? (uint64_t)(dice(2)) : place->last_commit;
    place->lsn = coin() ? (uint64_t)(dice(3)) : place->lsn;
    place->xid = coin() ? (uint32_t)(dice(2)) : place->xid;
    place->origin = coin() ? slice_of(ORIGINS[dice(4)]) : place->origin;
    place->origin_lsn = coin() ? (uint64_t)(dice(2)) : place->origin_lsn;
    place->snapshot = coin() ? (ChangeSnapshot)(dice(SNAPSHOT_INCREMENTAL + 1)) : place->snapshot;
    place->in_transaction = coin() ? dice(2) == 0 : place->in_transaction;
    place->total_order = coin() ? (uint64_t)(dice(3)) : place->total_order;
    *table = coin() ? TABLES[dice(3)] : *table;
}

Test(change_source, what_is_kept_is_never_of_another_place)
{
    ChangeSource *kept = change_source_new("p", "db");
    ChangePlace place = {0};
    const char *table = "\"table\":\"a\"";
    seed = 3;
    for (int i = 0; i < 20000; i++) {
        move(&place, &table);
        AUTO_BUFFER json = TEXT_EMPTY;
        AUTO_BUFFER fresh = TEXT_EMPTY;
        change_source_write(kept, slice_of(table), &place, &json);
        change_source_write_times(kept, place.now_ns, &json);
        cr_assert_str_eq(text_string(&json), write_fresh(table, &place, &fresh));
    }
    change_source_free(&kept);
}
