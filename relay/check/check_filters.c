/* The filters of mappings: the questions of rows/mapped_filter.h, put to the server one after the
 * other. */
#include "check/check.h"
#include "rows/mapped_filter.h"

/* False: the session is of no more use, which is noted. */
static bool filter_ask(const Check *check, FilterTest *test, const char *sql, Error *err)
{
    AUTO(PGresult, pg_session_free_result) plan = NULL;
    PgAsk ask = {.step = "filter of a table", .sql = sql, .single = true};
    if (pg_session_query(check->session, &ask, &plan, err) != OK) {
        return filter_test_refused(test, err) == OK;
    }
    filter_test_take(test, plan);
    return true;
}

static Status filter_test(const Check *check, const PipelineConfig *pipeline, MappedTable *table,
                          Error *err)
{
    AUTO(FilterTest, filter_test_free) test = filter_test_new(pipeline, table);
    AUTO_BUFFER sql = TEXT_EMPTY;
    for (; filter_test_next(test, &sql); text_clear(&sql)) {
        AUTO_ERROR refused = {0};
        if (!filter_ask(check, test, text_string(&sql), &refused)) {
            error_copy(err, &refused);
            return FAILED;
        }
    }
    return filter_test_judge(test, err);
}

void check_filters(Check *check, const PipelineConfig *pipeline, Mapped *mapped)
{
    AUTO_ERROR session = {0};
    if (mapped_has_filters(pipeline) &&
        pg_session_run(check->session, "session of filters", FILTER_SESSION, &session) != OK) {
        check_problem(check, EXIT_POSTGRES, "database", error_own_hint(&session), "%s",
                      error_message(&session));
        return;
    }
    for (size_t i = 0; i < mapped->tables.count; i++) {
        MappedTable *table = &mapped->tables.items[i];
        AUTO_ERROR err = {0};
        bool tested = mapped_fit(table) == MAPPED_UNASKED && table->filter->columns != NULL;
        if (tested && filter_test(check, pipeline, table, &err) != OK) {
            check_problem(check, err.exit_code, "database", error_own_hint(&err), "%s",
                          error_message(&err));
        }
    }
}

void check_say_filter(Check *check, const MappingConfig *mapping)
{
    const char *filter = mapped_filter_of(mapping);
    if (filter == NULL) {
        return;
    }
    AUTO_BUFFER shown = TEXT_EMPTY;
    text_add_shown(&shown, filter, false);
    text_printf(&check->facts, "filter         only rows with %s\n", text_string(&shown));
    text_add(
        &check->facts,
        "               an UPDATE that makes it true arrives as a create, one that ends it as a "
        "delete; TRUNCATE is not filtered\n"
        "               PostgreSQL refuses to drop these columns or to change their type, and "
        "it refuses every UPDATE and DELETE when the replica identity no longer contains "
        "them\n");
}
