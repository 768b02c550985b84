/* What a snapshot reads, and in which parts. */
#include <criterion/criterion.h>

#include "cdc/snapshot_tables.h"
#include "stub/given.h"

static SnapshotTables tables;
static MappedTable given[] = {
    {.oid = 11,
     .schema = GIVEN("public"),
     .name = GIVEN("a"),
     .sql = GIVEN("public.a"),
     .logged = true,
     .sends = OPERATION_CREATE,
     .selects = true},
    {.oid = 12,
     .schema = GIVEN("public"),
     .name = GIVEN("b"),
     .sql = GIVEN("public.b"),
     .selects = true},
};

static void plan(void)
{
    Mapped mapped = {.tables = {.items = given, .count = 2, .capacity = 2}};
    snapshot_tables_plan(&tables, &mapped);
}

static void clear(void)
{
    snapshot_tables_clear(&tables);
}

TestSuite(snapshot_tables, .init = plan, .fini = clear);

/* The table is read, and has parts of so many blocks. */
static SnapshotTable *read_parts(size_t place, uint32_t first, uint32_t second)
{
    SnapshotTable *table = &tables.items.items[place];
    table->state = TABLE_READS;
    *vec_add(&table->parts) = (SnapshotPart){.oid = 21, .sql = x_strdup("p1"), .blocks = first};
    *vec_add(&table->parts) = (SnapshotPart){.oid = 22, .sql = x_strdup("p2"), .blocks = second};
    return table;
}

static void expect_chunk(bool whole, uint32_t part, uint32_t from, uint32_t to)
{
    SnapshotChunk chunk = {0};
    cr_assert(snapshot_tables_take(&tables, whole, &chunk));
    cr_expect_eq(chunk.part->oid, part);
    cr_expect_eq(chunk.from, from);
    cr_expect_eq(chunk.to, to);
}

static bool none_left(void)
{
    SnapshotChunk chunk;
    return !snapshot_tables_take(&tables, false, &chunk);
}

Test(snapshot_tables, a_part_is_cut_into_ranges_that_meet_and_end_open)
{
    read_parts(0, 2 * SNAPSHOT_CHUNK_BLOCKS + 1, 0);
    expect_chunk(false, 21, 0, SNAPSHOT_CHUNK_BLOCKS);
    expect_chunk(false, 21, SNAPSHOT_CHUNK_BLOCKS, 2 * SNAPSHOT_CHUNK_BLOCKS);
    expect_chunk(false, 21, 2 * SNAPSHOT_CHUNK_BLOCKS, 0);
    cr_expect(none_left());
}

Test(snapshot_tables, a_part_of_exactly_one_chunk_is_one)
{
    read_parts(0, SNAPSHOT_CHUNK_BLOCKS, 1);
    expect_chunk(false, 21, 0, 0);
    expect_chunk(false, 22, 0, 0);
    cr_expect(none_left());
}

Test(snapshot_tables, without_ranges_a_part_is_read_whole)
{
    read_parts(0, 9 * SNAPSHOT_CHUNK_BLOCKS, 0);
    expect_chunk(true, 21, 0, 0);
    cr_expect(none_left());
}

Test(snapshot_tables, the_last_chunk_that_comes_back_ends_the_table)
{
    SnapshotTable *table = read_parts(0, SNAPSHOT_CHUNK_BLOCKS + 1, 0);
    SnapshotChunk first;
    SnapshotChunk second;
    cr_assert(snapshot_tables_take(&tables, false, &first));
    cr_expect(snapshot_table_has_more(table));
    cr_assert(snapshot_tables_take(&tables, false, &second));
    cr_expect_not(snapshot_table_has_more(table));
    cr_expect_not(snapshot_tables_return(&tables, &second));
    cr_expect(snapshot_tables_return(&tables, &first));
}

Test(snapshot_tables, one_that_is_put_off_waits_for_the_next_round_once_nothing_of_it_is_under_way)
{
    SnapshotTable *table = read_parts(0, SNAPSHOT_CHUNK_BLOCKS + 1, 0);
    SnapshotChunk chunk;
    tables.items.items[1].state = TABLE_READ;
    cr_assert(snapshot_tables_take(&tables, false, &chunk));
    snapshot_table_put_off(table);
    cr_expect(none_left(), "its other chunk would be read in vain");
    cr_expect_not(snapshot_tables_round_is_over(&tables));
    cr_expect(snapshot_tables_return(&tables, &chunk));
    snapshot_table_put_off(table);
    cr_expect_eq(table->state, TABLE_WAITS);
    cr_expect_eq(table->parts.count, 0);
    cr_expect_eq(snapshot_tables_next(&tables), SIZE_MAX);
    cr_expect(snapshot_tables_round_is_over(&tables));
    cr_expect(snapshot_tables_begin_round(&tables));
    cr_expect_eq(snapshot_tables_next(&tables), 0);
    cr_expect_not(snapshot_tables_begin_round(&tables));
}

Test(snapshot_tables, a_table_is_acknowledged_when_all_that_went_out_came_back_published)
{
    SnapshotTable *table = &tables.items.items[0];
    table->state = TABLE_READ;
    cr_expect(snapshot_table_is_acknowledged(table));
    table->out = 1;
    cr_expect_not(snapshot_table_is_acknowledged(table));
    table->out = 0;
    table->unsettled = true;
    cr_expect_not(snapshot_table_is_acknowledged(table));
}

Test(snapshot_tables, all_of_them_are_recorded_or_gone_at_the_end)
{
    tables.items.items[0].state = TABLE_RECORDED;
    cr_expect_not(snapshot_tables_are_recorded(&tables));
    tables.items.items[1].state = TABLE_GONE;
    cr_expect(snapshot_tables_are_recorded(&tables));
}

Test(snapshot_tables, a_table_is_found_by_its_oid)
{
    cr_expect_eq(snapshot_tables_find(&tables, 12), 1);
    cr_expect_eq(snapshot_tables_find(&tables, 13), SIZE_MAX);
}

Test(snapshot_tables, those_that_the_stream_does_not_send_or_that_may_not_be_read_are_left_out)
{
    static const struct {
        unsigned sends;
        bool logged, selects, hidden, read;
    } CASES[] = {
        {OPERATION_UPDATE, true, true, false, true},
        {OPERATION_DELETE, true, true, false, true},
        {OPERATION_TRUNCATE, true, true, false, false},
        {0, true, true, false, false},
        {0, false, true, false, true},
        {OPERATION_CREATE, true, false, false, false},
        {OPERATION_CREATE, true, true, true, false},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        MappedTable one = given[0];
        one.sends = CASES[i].sends;
        one.logged = CASES[i].logged;
        one.selects = CASES[i].selects;
        one.hidden = CASES[i].hidden;
        Mapped mapped = {.tables = {.items = &one, .count = 1, .capacity = 1}};
        snapshot_tables_plan(&tables, &mapped);
        cr_expect_eq(tables.items.count, CASES[i].read, "%zu", i);
    }
}

/* It is in no log, and PostgreSQL cannot filter it as its mapping says. */
Test(snapshot_tables, a_table_whose_filter_is_of_no_use_is_not_read)
{
    MappedFilter filter = {.fit = MAPPED_FITS};
    MappedTable one = given[1];
    one.filter = &filter;
    Mapped mapped = {.tables = {.items = &one, .count = 1, .capacity = 1}};
    snapshot_tables_plan(&tables, &mapped);
    cr_expect_eq(tables.items.count, 1);
    filter.fit = MAPPED_UNFIT;
    snapshot_tables_plan(&tables, &mapped);
    cr_expect_eq(tables.items.count, 0);
}
