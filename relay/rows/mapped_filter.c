/* The question whether PostgreSQL takes a condition f as a row filter is put to its planner. Of
 * (f IS NOT TRUE) and (f IS NOT TRUE) IS NOT TRUE it finds that no row has both, if f has no
 * subquery and nothing but immutable functions (relation_excluded_by_constraints() in plancat.c);
 * then it plans a result without rows. */
#include "rows/mapped_filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/mapped_script.h"

typedef enum FilterStep {
    STEP_ALONE,
    STEP_WHOLE, /* in parentheses */
    STEP_FIRST, /* the row filter of the first publication, if there is one */
    STEP_SECOND,
    STEP_FIXED,   /* nothing in it changes */
    STEP_INSIDE,  /* without the columns that are not in the replica identity */
    STEP_WITHOUT, /* without one of them */
    STEP_END,
} FilterStep;

typedef struct FilterColumn {
    const char *name; /* as SQL */
    const char *value;
    bool in_identity;
} FilterColumn;

struct FilterTest {
    const PipelineConfig *pipeline;
    MappedTable *table;
    const char *filter;
    char *text; /* of the columns */
    VEC(FilterColumn) columns;
    FilterStep step;
    bool asked;    /* its answer is awaited */
    size_t column; /* of STEP_WITHOUT */
    char *plan;    /* of the filter */
    bool carried;  /* a publication has it: PostgreSQL took it */
    char *refusal; /* why it is unfit; NULL: it is not */
    Text outside;  /* the columns that it uses and that are not in the replica identity */
};

/* Questions. */

static bool is_there(const FilterTest *test, size_t column)
{
    return test->step == STEP_INSIDE    ? test->columns.items[column].in_identity
           : test->step == STEP_WITHOUT ? column != test->column
                                        : true;
}

static void add_row(const FilterTest *test, Text *sql)
{
    AUTO_TEXT name = ident_quote(test->table->name);
    size_t count = 0;
    text_add(sql, "EXPLAIN (COSTS OFF) SELECT FROM (SELECT ");
    for (size_t i = 0; i < test->columns.count; i++) {
        const FilterColumn *column = &test->columns.items[i];
        if (is_there(test, i)) {
            text_printf(sql, "%s%s AS %s", count++ > 0 ? ", " : "", column->value, column->name);
        }
    }
    text_printf(sql, " OFFSET 0) AS %s WHERE ", name);
}

static void add_question(const FilterTest *test, Text *sql)
{
    const char *filter = test->filter;
    add_row(test, sql);
    switch (test->step) {
    case STEP_ALONE:
        text_add(sql, filter);
        break;
    case STEP_FIRST:
        text_printf(sql, "(%s)", test->table->filter->has[MAPPED_FIRST]);
        break;
    case STEP_SECOND:
        text_printf(sql, "(%s)", test->table->filter->has[MAPPED_SECOND]);
        break;
    case STEP_FIXED:
        text_printf(sql, "((%s) IS NOT TRUE) AND (((%s) IS NOT TRUE) IS NOT TRUE)", filter, filter);
        break;
    case STEP_WHOLE:
    case STEP_INSIDE:
    case STEP_WITHOUT:
    case STEP_END:
        text_printf(sql, "(%s)", filter);
        break;
    }
}

/* Whether there is something to ask at this step. */
static bool is_asked(const FilterTest *test)
{
    const MappedTable *table = test->table;
    switch (test->step) {
    case STEP_FIRST:
        return table->filter->has[MAPPED_FIRST] != NULL;
    case STEP_SECOND:
        return table->filter->has[MAPPED_SECOND] != NULL;
    case STEP_FIXED:
        return !test->carried;
    case STEP_INSIDE:
        return table->usable;
    case STEP_WITHOUT:
        return table->filter->fit == MAPPED_OUTSIDE && test->column < test->columns.count &&
               !test->columns.items[test->column].in_identity;
    case STEP_ALONE:
    case STEP_WHOLE:
    case STEP_END:
        break;
    }
    return true;
}

static void step_on(FilterTest *test)
{
    if (test->step == STEP_WITHOUT && test->column + 1 < test->columns.count) {
        test->column++;
    } else {
        test->step++;
    }
}

bool filter_test_next(FilterTest *test, Text *sql)
{
    while (test->step < STEP_END && !is_asked(test)) {
        step_on(test);
    }
    if (test->step == STEP_END) {
        return false;
    }
    add_question(test, sql);
    test->asked = true;
    return true;
}

/* Answers. */

static char *plan_text(const PGresult *plan)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    for (int row = 0; row < PQntuples(plan); row++) {
        text_printf(&text, "%s\n", pg_value(plan, row, 0));
    }
    return x_strdup(text_string(&text));
}

/* What the planner makes of a condition that no row has; later versions may add lines. */
static bool has_no_row(const char *plan)
{
    return strncmp(plan, "Result\n", 7) == 0 &&
           strstr(plan, "\n  One-Time Filter: false\n") != NULL;
}

static void end_unfit(FilterTest *test, const char *why)
{
    test->refusal = x_strdup(why);
    test->table->filter->fit = MAPPED_UNFIT;
    test->step = STEP_END;
}

static void compare(FilterTest *test, size_t publication, const char *plan)
{
    bool same = strcmp(plan, test->plan) == 0 ||
                strcmp(test->table->filter->has[publication], test->filter) == 0;
    test->table->filter->other[publication] = test->table->filter->other[publication] || !same;
    test->carried = test->carried || same;
}

void filter_test_take(FilterTest *test, const PGresult *answer)
{
    if (!test->asked) {
        return; /* of a server that answers twice */
    }
    AUTO_TEXT plan = plan_text(answer);
    test->asked = false;
    switch (test->step) {
    case STEP_WHOLE:
        test->plan = x_strdup(plan);
        break;
    case STEP_FIRST:
        compare(test, MAPPED_FIRST, plan);
        break;
    case STEP_SECOND:
        compare(test, MAPPED_SECOND, plan);
        break;
    case STEP_FIXED:
        if (!has_no_row(plan)) {
            end_unfit(test, "it has a subquery, or a function, operator or cast that is not "
                            "immutable");
            return;
        }
        break;
    case STEP_INSIDE:
        test->step = STEP_END;
        return;
    case STEP_ALONE:
    case STEP_WITHOUT:
    case STEP_END:
        break;
    }
    step_on(test);
}

/* A condition that the server has no sense for, of a type that is none, with a constant that is no
 * value of its type, or with a parameter ($1), for which it misses a value. */
static bool is_of_filter(const Error *err)
{
    return sqlstate_is(err, "42") || sqlstate_is(err, "22") || sqlstate_is(err, "0A") ||
           sqlstate_is(err, "54") || sqlstate_is(err, "08P01");
}

Status filter_test_refused(FilterTest *test, const Error *err)
{
    if (!test->asked || !is_of_filter(err)) {
        return FAILED;
    }
    test->asked = false;
    switch (test->step) {
    case STEP_ALONE:
    case STEP_WHOLE:
    case STEP_FIXED:
        end_unfit(test, error_message(err));
        return OK;
    case STEP_FIRST:
        test->table->filter->other[MAPPED_FIRST] = true;
        break;
    case STEP_SECOND:
        test->table->filter->other[MAPPED_SECOND] = true;
        break;
    case STEP_INSIDE:
        test->table->filter->fit = MAPPED_OUTSIDE;
        break;
    case STEP_WITHOUT:
        text_printf(&test->outside, "%s%s", test->outside.length > 0 ? ", " : "",
                    test->columns.items[test->column].name);
        break;
    case STEP_END:
        break;
    }
    step_on(test);
    return OK;
}

/* Texts that cannot be converted fail otherwise than by a filter. */
bool filter_may_have_failed(const PipelineConfig *pipeline, const Error *err)
{
    bool converts = sqlstate_is(err, "22P05") || sqlstate_is(err, "22021");
    return sqlstate_is(err, "22") && !converts && mapped_has_filters(pipeline);
}

/* The verdict. */

static const MappingConfig *mapping_of(const FilterTest *test)
{
    return &test->pipeline->tables.mappings[test->table->mapping];
}

/* An entry that is not of the table alone: of all tables, or of a schema. */
static bool is_wide(const char *entry)
{
    return strcmp(entry, "all") == 0 || strchr(entry, '.') != NULL;
}

static Status judge_entry(const FilterTest *test, size_t publication, Error *err)
{
    const MappedTable *table = test->table;
    AUTO_TEXT second = mapped_second_publication(test->pipeline);
    const char *name =
        publication == MAPPED_FIRST ? test->pipeline->wal.publication : (const char *)second;
    if (is_wide(table->entries[publication])) {
        error_set(err, CODE_PUBLICATION_FILTER,
                  "publication \"%s\" contains all tables, or all of a schema: it cannot have the "
                  "filter of %s",
                  name, table->sql);
        return error_hint(err, "Use a publication that names its tables: outboxd check prints the "
                               "SQL if publication names one that does not exist.");
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    mapped_script_add_renewal(test->pipeline, table, publication, &sql);
    const char *there = table->filter->has[publication];
    if (there == NULL) {
        error_set(err, CODE_PUBLICATION_FILTER,
                  "publication \"%s\" publishes %s without the filter of the mapping: %s", name,
                  table->sql, test->filter);
        return error_hint(err, "%s " MAPPED_RENEWAL_IS_GAP, sql.data);
    }
    if (table->filter->listed) {
        error_set(err, CODE_PUBLICATION_FILTER,
                  "a column list of publication \"%s\" hides columns of %s; outboxd selects "
                  "columns itself",
                  name, table->sql);
        return error_hint(err, "%s " MAPPED_RENEWAL_IS_GAP, sql.data);
    }
    error_set(err, CODE_PUBLICATION_FILTER,
              "publication \"%s\" publishes %s with another row filter than the mapping's: it has "
              "%s, the mapping has %s",
              name, table->sql, there, test->filter);
    return error_hint(
        err, "%s " MAPPED_RENEWAL_IS_GAP " or write the filter of the publication in the mapping",
        sql.data);
}

static Status judge_fit(const FilterTest *test, Error *err)
{
    const MappedTable *table = test->table;
    if (table->filter->fit == MAPPED_UNFIT) {
        error_set(err, CODE_MAPPED_FILTER, "PostgreSQL cannot use the filter of %s: %s: %s",
                  table->sql, test->filter, test->refusal);
        return error_hint(
            err,
            "Correct filter: a condition as after WHERE, with columns of the table, constants, "
            "and operators and immutable functions of PostgreSQL. A column of a user-defined "
            "type, such as an enum, cannot be in it.");
    }
    error_set(
        err, CODE_MAPPED_FILTER,
        "the filter of %s uses columns outside of its replica identity (%s): PostgreSQL would "
        "refuse every UPDATE and DELETE of the application",
        table->sql, text_string(&test->outside));
    return error_hint(
        err,
        "ALTER TABLE %s REPLICA IDENTITY FULL; or REPLICA IDENTITY USING INDEX with a "
        "unique index that contains these columns; or operations = \"c\" in the "
        "mapping, to capture only inserts",
        table->sql);
}

Status filter_test_judge(const FilterTest *test, Error *err)
{
    const MappedTable *table = test->table;
    bool in_first = table->entries[MAPPED_FIRST] != NULL;
    bool carried = in_first && !table->filter->other[MAPPED_FIRST];
    bool changes = mapped_wants_changes(mapping_of(test));
    bool sent = (table->sends & (OPERATION_UPDATE | OPERATION_DELETE)) != 0;
    /* What refuses the application's changes already is said of the publication. */
    bool outside = table->filter->fit == MAPPED_OUTSIDE && !carried && (in_first ? sent : changes);
    if (table->filter->fit == MAPPED_UNFIT || outside) {
        return judge_fit(test, err);
    }
    for (size_t i = 0; i < MAPPED_PUBLICATIONS; i++) {
        if (table->filter->other[i] && table->entries[i] != NULL) {
            return judge_entry(test, i, err);
        }
    }
    return OK;
}

/* Making. */

static void read_columns(FilterTest *test)
{
    test->text = x_strdup(test->table->filter->columns != NULL ? test->table->filter->columns : "");
    char *rest = test->text;
    for (char *word; (word = strsep(&rest, "\036")) != NULL;) {
        FilterColumn column = {.name = strsep(&word, "\037"), .value = strsep(&word, "\037")};
        if (column.value != NULL && word != NULL) {
            column.in_identity = *word == 't';
            *vec_add(&test->columns) = column;
        }
    }
}

FilterTest *filter_test_new(const PipelineConfig *pipeline, MappedTable *table)
{
    FilterTest *test = x_calloc(1, sizeof(*test));
    test->pipeline = pipeline;
    test->table = table;
    test->filter = mapped_filter_of(&pipeline->tables.mappings[table->mapping]);
    read_columns(test);
    table->filter->fit = MAPPED_FITS;
    for (size_t i = 0; i < MAPPED_PUBLICATIONS; i++) {
        const char *entry = table->entries[i];
        table->filter->other[i] = entry != NULL && (table->filter->has[i] == NULL ||
                                                    is_wide(entry) || table->filter->listed);
    }
    return test;
}

void filter_test_free(FilterTest **test)
{
    if (*test == NULL) {
        return;
    }
    free((*test)->text);
    vec_free(&(*test)->columns);
    free((*test)->plan);
    free((*test)->refusal);
    text_free(&(*test)->outside);
    free(*test);
    *test = NULL;
}
