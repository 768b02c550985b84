/* Mapped tables, as the answer of the server tells them, and what is remembered of them. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "rows/mapped.h"
#include "rows/mapped_memory.h"
#include "stub/libpq_internal.h"

enum { COLUMNS = 29 };

static const char *const COLUMN_NAMES[COLUMNS] = {"mapped_oid",
                                                  "schema",
                                                  "name",
                                                  "sql",
                                                  "mapping",
                                                  "identity",
                                                  "usable",
                                                  "logged",
                                                  "inserts",
                                                  "updates",
                                                  "deletes",
                                                  "truncates",
                                                  "under",
                                                  "first_entry",
                                                  "second_entry",
                                                  "selects",
                                                  "hidden",
                                                  "rows",
                                                  "bytes",
                                                  "first_identity",
                                                  "first_operations",
                                                  "second_identity",
                                                  "second_operations",
                                                  "by_pattern",
                                                  "has_filter",
                                                  "listed",
                                                  "first_filter",
                                                  "second_filter",
                                                  "filter_columns"};

/* What of a table differs between the tests. */
typedef struct Row {
    const char *oid;
    const char *name;
    const char *first_entry;
    const char *second_entry;
    const char *selects;
    const char *hidden;
    const char *publication; /* identity of the first; NULL: 10:7 */
    const char *operations;  /* of the first; NULL: iudt */
    const char *filter;      /* NULL: the mapping has none */
} Row;

static const char *or_null(const char *value)
{
    return value != NULL ? value : STUB_NULL;
}

static const char *row_value(const Row *row, const char *column)
{
    const char *const values[][2] = {
        {"mapped_oid", row->oid},
        {"schema", "shop"},
        {"name", row->name},
        {"sql", row->name},
        {"mapping", "2"},
        {"identity", "d"},
        {"under", STUB_NULL},
        {"usable", "t"},
        {"updates", "t"},
        {"truncates", "t"},
        {"first_entry", or_null(row->first_entry)},
        {"second_entry", or_null(row->second_entry)},
        {"selects", row->selects != NULL ? row->selects : "t"},
        {"hidden", row->hidden != NULL ? row->hidden : "f"},
        {"rows", "12"},
        {"bytes", STUB_NULL},
        {"first_identity", row->publication != NULL ? row->publication : "10:7"},
        {"first_operations", row->operations != NULL ? row->operations : "iudt"},
        {"second_identity", "11:7"},
        {"second_operations", "it"},
        {"first_filter", or_null(row->filter)},
        {"second_filter", STUB_NULL},
        {"filter_columns", or_null(row->filter)},
        {"has_filter", row->filter != NULL ? "t" : "f"},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (strcmp(values[i][0], column) == 0) {
            return values[i][1];
        }
    }
    return "f";
}

enum { ROWS_MAX = 3 };

typedef struct Answer {
    struct pg_result result;
    char *values[ROWS_MAX * COLUMNS];
} Answer;

/* columns: so many of them. */
static void answer_make(const Row *rows, int count, int columns, Answer *answer)
{
    *answer = (Answer){.result = {.status = PGRES_TUPLES_OK, .rows = count, .columns = columns}};
    for (int i = 0; i < columns; i++) {
        answer->result.names[i] = (char *)COLUMN_NAMES[i];
        for (int row = 0; row < count; row++) {
            const char *value = row_value(&rows[row], COLUMN_NAMES[i]);
            answer->values[row * columns + i] = value == STUB_NULL ? NULL : (char *)value;
        }
    }
    answer->result.values = answer->values;
}

static void read_rows(const Row *rows, int count, Mapped *ret)
{
    Answer answer;
    AUTO_ERROR err = {0};
    answer_make(rows, count, COLUMNS, &answer);
    cr_assert(mapped_is(&answer.result));
    cr_assert_eq(mapped_read(&answer.result, ret, &err), OK, "%s", error_message(&err));
}

Test(mapped, an_answer_is_read_and_tables_are_found_by_oid)
{
    static const Row ROWS[] = {
        {.oid = "4000000000", .name = "a", .first_entry = "20:7", .hidden = "t"},
        {.oid = "16384", .name = "b", .selects = "f"},
    };
    Mapped mapped = {0};
    read_rows(ROWS, 2, &mapped);
    read_rows(ROWS, 2, &mapped); /* what was known is replaced */
    cr_assert_eq(mapped.tables.count, 2);
    const MappedTable *first = mapped_find(&mapped, 4000000000U);
    cr_assert_eq(first, &mapped.tables.items[0]);
    cr_expect_str_eq(first->schema, "shop");
    cr_expect_eq(first->mapping, 2);
    cr_expect(first->usable && !first->logged &&
              first->sends == (OPERATION_UPDATE | OPERATION_TRUNCATE));
    cr_expect(first->selects && first->hidden);
    cr_expect_str_eq(first->entries[MAPPED_FIRST], "20:7");
    cr_expect_null(first->entries[MAPPED_SECOND]);
    cr_expect_null(first->under);
    cr_expect_eq(first->rows, 12);
    cr_expect_eq(first->bytes, -1);
    const MappedTable *second = mapped_find(&mapped, 16384);
    cr_assert_eq(second, &mapped.tables.items[1]);
    cr_expect(!second->selects && !second->hidden);
    cr_expect_null(mapped_find(&mapped, 1));
    cr_expect_str_eq(mapped.publications[MAPPED_FIRST].identity, "10:7");
    cr_expect_eq(mapped.publications[MAPPED_FIRST].operations,
                 OPERATION_CREATE | OPERATION_UPDATE | OPERATION_DELETE | OPERATION_TRUNCATE);
    cr_expect_eq(mapped.publications[MAPPED_SECOND].operations,
                 OPERATION_CREATE | OPERATION_TRUNCATE);
    mapped_clear(&mapped);
    cr_expect_null(mapped_find(&mapped, 16384));
}

Test(mapped, no_table_is_an_answer_too)
{
    Mapped mapped = {0};
    read_rows(NULL, 0, &mapped);
    cr_expect_eq(mapped.tables.count, 0);
    cr_expect_null(mapped_find(&mapped, 16384));
    mapped_clear(&mapped);
}

/* The last six are not asked for always, or may be NULL. */
Test(mapped, an_answer_that_lacks_a_column_changes_nothing)
{
    static const Row ROWS[] = {{.oid = "16384", .name = "a"}};
    Mapped mapped = {0};
    read_rows(ROWS, 1, &mapped);
    for (int columns = 0; columns < 17; columns++) {
        Answer answer;
        AUTO_ERROR err = {0};
        answer_make(ROWS, 1, columns, &answer);
        cr_expect_eq(mapped_is(&answer.result), columns > 0);
        cr_expect_eq(mapped_read(&answer.result, &mapped, &err), FAILED, "%d", columns);
        cr_expect_eq(err.code, CODE_PG_PROTOCOL);
        cr_expect_eq(err.class, ERROR_RETRY);
        cr_expect_eq(mapped.tables.count, 1);
    }
    mapped_clear(&mapped);
}

Test(mapped, the_second_publication_has_a_name_that_the_server_keeps_whole)
{
    static const char *const CASES[][2] = {
        {"outboxd_shop", "outboxd_shop_inserts"},
        {"a234567890123456789012345678901234567890123456789012345",
         "a234567890123456789012345678901234567890123456789012345_inserts"},
        {"a234567890123456789012345678901234567890123456789012345678901xx",
         "a234567890123456789012345678901234567890123456789012345_inserts"},
        {"a23456789012345678901234567890123456789012345678901234\303\244bc",
         "a23456789012345678901234567890123456789012345678901234_inserts"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        PipelineConfig pipeline = {.wal.publication = (char *)CASES[i][0]};
        AUTO_TEXT name = mapped_second_publication(&pipeline);
        cr_expect_str_eq(name, CASES[i][1]);
    }
}

/* What is asked: the names as they are compared, and never the outbox's own schema. */
Test(mapped, the_query_asks_for_the_names)
{
    MappingConfig mappings[] = {{.table = (char *)"Shop.Orders"},
                                {.table = (char *)"shop.x*"},
                                {.table = (char *)"nonsense"}};
    PipelineConfig pipeline = {.outbox.table = (char *)"outbox.position",
                               .wal.publication = (char *)"it's",
                               .tables = {.mappings = mappings, .mapping_count = 3}};
    AUTO_BUFFER sql = TEXT_EMPTY;
    mapped_add_query(&pipeline, &(MappedQuestion){0}, 150000, &sql);
    cr_expect(strstr(sql.data, "(VALUES (0, 'shop', false, 'orders', false, 0, false))"));
    cr_expect(strstr(sql.data, "(VALUES (1, 'shop', false, '^x.*$', true, 0, false))"));
    cr_expect(strstr(sql.data, "IN ('it''s', 'it''s_inserts')"));
    cr_expect(strstr(sql.data, "prqual"));
    cr_expect_null(strstr(sql.data, "pg_table_size"));
    cr_expect_null(strstr(sql.data, "nonsense"));
    text_clear(&sql);
    mapped_add_query(&pipeline, &(MappedQuestion){.sizes = true}, 140000, &sql);
    cr_expect(strstr(sql.data, "pg_table_size"));
    cr_expect_null(strstr(sql.data, "prqual"));
    cr_expect_null(strstr(sql.data, "pg_publication_namespace"));
}

/* Which lock tables, and which only later versions know. */
Test(mapped, filters_are_asked_for_only_where_there_are_some)
{
    MappingConfig mappings[] = {{.table = (char *)"shop.a", .filter = (char *)""},
                                {.table = (char *)"shop.b", .filter = (char *)"active"}};
    PipelineConfig pipeline = {.outbox.table = (char *)"outbox.position",
                               .wal.publication = (char *)"p",
                               .tables = {.mappings = mappings, .mapping_count = 2}};
    static const struct {
        bool filters;
        int version;
        size_t mappings;
        bool asked;
    } CASES[] = {{true, 150000, 2, true},
                 {true, 140000, 2, false},
                 {false, 150000, 2, false},
                 {true, 150000, 1, false}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_BUFFER sql = TEXT_EMPTY;
        pipeline.tables.mapping_count = CASES[i].mappings;
        mapped_add_query(&pipeline, &(MappedQuestion){.filters = CASES[i].filters},
                         CASES[i].version, &sql);
        cr_expect_eq(strstr(sql.data, "pg_get_expr") != NULL, CASES[i].asked, "%zu", i);
        cr_expect_eq(strstr(sql.data, ", 0, true))") != NULL, CASES[i].mappings == 2, "%zu", i);
    }
}

Test(mapped, what_is_told_of_filters_is_read)
{
    Mapped mapped = {0};
    read_rows(
        (const Row[]){{.oid = "7", .name = "a", .filter = "(id > 3)"}, {.oid = "8", .name = "b"}},
        2, &mapped);
    cr_expect_str_eq(mapped.tables.items[0].filter->has[MAPPED_FIRST], "(id > 3)");
    cr_expect_null(mapped.tables.items[0].filter->has[MAPPED_SECOND]);
    cr_expect_eq(mapped_fit(&mapped.tables.items[0]), MAPPED_UNASKED);
    cr_expect_null(mapped.tables.items[1].filter);
    cr_expect_eq(mapped_fit(&mapped.tables.items[1]), MAPPED_FITS);
    mapped_clear(&mapped);
}

/* What is remembered. */

enum {
    INSERT_AND_TRUNCATE = OPERATION_CREATE | OPERATION_TRUNCATE,
    CHANGE = OPERATION_UPDATE | OPERATION_DELETE,
    ALL = INSERT_AND_TRUNCATE | CHANGE
};

/* What is sent of a table is what the publications send in which it is. */
static void read_sent(const Row *rows, int count, Mapped *ret)
{
    read_rows(rows, count, ret);
    for (size_t i = 0; i < ret->tables.count; i++) {
        MappedTable *table = &ret->tables.items[i];
        table->sends = 0;
        for (size_t j = 0; j < MAPPED_PUBLICATIONS; j++) {
            table->sends |= table->entries[j] != NULL ? ret->publications[j].operations : 0;
        }
    }
}

/* before and now: of one table. lost and gained: as MappedChange has them. */
static void expect_change(const char *what, const Row *before, const Row *now, unsigned lost,
                          unsigned gained)
{
    Mapped first = {0};
    Mapped second = {0};
    MappedChanges changes = {0};
    AUTO_BUFFER memory = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    read_sent(before, before->oid != NULL, &first);
    read_sent(now, now->oid != NULL, &second);
    mapped_memory_add(&first, &memory);
    cr_assert_eq(mapped_memory_compare(memory.data, &second, &changes, &err), OK, "%s: %s", what,
                 error_message(&err));
    cr_expect_eq(changes.count, lost != 0 || gained != 0, "%s", what);
    if (changes.count > 0) {
        cr_expect_eq(changes.items[0].lost, lost, "%s: %x", what, changes.items[0].lost);
        cr_expect_eq(changes.items[0].gained, gained, "%s: %x", what, changes.items[0].gained);
        cr_expect_eq(changes.items[0].table, &second.tables.items[0], "%s", what);
    }
    vec_free(&changes);
    mapped_clear(&first);
    mapped_clear(&second);
}

#define IN_FIRST                                                                                   \
    {                                                                                              \
        .oid = "9", .name = "a", .first_entry = "20:7"                                             \
    }
#define IN_SECOND                                                                                  \
    {                                                                                              \
        .oid = "9", .name = "a", .second_entry = "21:7"                                            \
    }
#define IN_BOTH                                                                                    \
    {                                                                                              \
        .oid = "9", .name = "a", .first_entry = "20:7", .second_entry = "21:7"                     \
    }
#define IN_NONE                                                                                    \
    {                                                                                              \
        .oid = "9", .name = "a"                                                                    \
    }
#define NO_TABLE                                                                                   \
    {                                                                                              \
        .oid = NULL                                                                                \
    }

Test(mapped, what_was_captured_and_is_no_more_is_lost_and_what_was_not_is_gained)
{
    static const struct {
        const char *what;
        Row before;
        Row now;
        unsigned lost;
        unsigned gained;
    } CASES[] = {
        {"nothing happened", IN_FIRST, IN_FIRST, 0, 0},
        {"a table is new", NO_TABLE, IN_FIRST, 0, ALL},
        {"a table is new, and captured by nothing", NO_TABLE, IN_NONE, 0, 0},
        {"a table was mapped, and captured by nothing", IN_NONE, IN_FIRST, 0, ALL},
        {"a table was dropped", IN_FIRST, NO_TABLE, 0, 0},
        {"it was taken out", IN_FIRST, IN_NONE, ALL, 0},
        {"it was taken out and put back",
         IN_FIRST,
         {.oid = "9", .name = "a", .first_entry = "30:9"},
         ALL,
         0},
        {"it was put into the other one, too", IN_FIRST, IN_BOTH, 0, 0},
        {"it was put into the first one, too", IN_SECOND, IN_BOTH, 0, CHANGE},
        {"the other one, which was there all the time, sends it still", IN_BOTH, IN_SECOND, CHANGE,
         0},
        {"it got what the second had not", IN_BOTH, IN_FIRST, 0, 0},
        {"one for the other, and nobody saw both", IN_SECOND, IN_FIRST, INSERT_AND_TRUNCATE,
         CHANGE},
        {"the publication was altered",
         IN_FIRST,
         {.oid = "9", .name = "a", .first_entry = "20:7", .publication = "10:8"},
         ALL,
         0},
        {"the publication sent inserts alone",
         {.oid = "9", .name = "a", .first_entry = "20:7", .operations = "i"},
         IN_NONE,
         OPERATION_CREATE,
         0},
        {"a number was given again",
         IN_FIRST,
         {.oid = "9", .name = "a", .first_entry = "20:8"},
         ALL,
         0},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        expect_change(CASES[i].what, &CASES[i].before, &CASES[i].now, CASES[i].lost,
                      CASES[i].gained);
    }
}

Test(mapped, of_several_tables_only_those_that_changed_are_told)
{
    static const Row BEFORE[] = {{.oid = "9", .name = "a", .first_entry = "20:7"},
                                 {.oid = "8", .name = "b", .first_entry = "21:7"}};
    static const Row NOW[] = {{.oid = "9", .name = "a", .first_entry = "20:7"},
                              {.oid = "8", .name = "b"},
                              {.oid = "7", .name = "c", .first_entry = "22:9"}};
    Mapped before = {0};
    Mapped now = {0};
    MappedChanges changes = {0};
    AUTO_BUFFER memory = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    read_sent(BEFORE, 2, &before);
    read_sent(NOW, 3, &now);
    mapped_memory_add(&before, &memory);
    cr_expect_str_eq(memory.data, "1 10:7/f 11:7/9 8/21:7/- 9/20:7/-");
    cr_assert_eq(mapped_memory_compare(memory.data, &now, &changes, &err), OK);
    cr_assert_eq(changes.count, 2);
    cr_expect_str_eq(changes.items[0].table->name, "b");
    cr_expect_eq(changes.items[0].lost, ALL);
    cr_expect_str_eq(changes.items[1].table->name, "c");
    cr_expect_eq(changes.items[1].lost, 0);
    cr_expect_eq(changes.items[1].gained, ALL);
    vec_free(&changes);
    mapped_clear(&before);
    mapped_clear(&now);
}

/* A row that somebody else wrote. */
Test(mapped, what_no_relay_wrote_is_refused)
{
    static const char WHOLE[] = "1 10:7/f 11:7/9 8/21:7/- 9/20:7/-";
    static const char *const NONE[] = {"",
                                       "2 10:7/f 11:7/9",
                                       "1",
                                       "1 10:7/f",
                                       "1 10:7 11:7/9",
                                       "1 10:7/f 11:7/9 9",
                                       "1 10:7/f 11:7/9 9/20:7"};
    static const Row NOW[] = {{.oid = "9", .name = "a", .first_entry = "20:7"}};
    Mapped now = {0};
    read_rows(NOW, 1, &now);
    for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
        MappedChanges changes = {0};
        AUTO_ERROR err = {0};
        cr_expect_eq(mapped_memory_compare(NONE[i], &now, &changes, &err), FAILED, "%s", NONE[i]);
        cr_expect_eq(err.code, CODE_POSTGRES_ANSWER);
        cr_expect_eq(changes.count, 0);
    }
    for (size_t at = 0; at < sizeof(WHOLE) - 1; at++) { /* whatever the byte: read, or refused */
        for (int byte = 1; byte < 256; byte++) {
            AUTO_TEXT text = x_strdup(WHOLE);
            text[at] = (char)byte;
            MappedChanges changes = {0};
            AUTO_ERROR err = {0};
            (void)mapped_memory_compare(text, &now, &changes, &err);
            cr_expect_leq(changes.count, 1);
            vec_free(&changes);
        }
    }
    mapped_clear(&now);
}
