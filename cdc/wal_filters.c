#include "cdc/wal_filters.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "rows/mapped_filter.h"

struct WalFilters {
    const WalContext *wal;
    const WalStart *start;
    void *arg;
    void (*tested)(void *arg);
    size_t next; /* table of start->mapped */
    FilterTest *test;
};

static void filters_go_on(WalFilters *filters);

/* Whoever may create a table must not stop all others: one that only a pattern means and that is in
 * no publication is not captured, which the look at the preconditions says for as long as it lasts.
 */
static bool filters_tolerate(const MappedTable *table, const Error *err)
{
    bool published = table->entries[MAPPED_FIRST] != NULL || table->entries[MAPPED_SECOND] != NULL;
    return err->code == CODE_MAPPED_FILTER && table->by_pattern && !published;
}

/* False: the claim is lost. */
static bool filters_judge(WalFilters *filters)
{
    AUTO_ERROR err = {0};
    if (filter_test_judge(filters->test, &err) == OK) {
        return true;
    }
    if (!filters_tolerate(&filters->start->mapped->tables.items[filters->next], &err)) {
        claim_lose(filters->wal->claim, &err);
        return false;
    }
    log_write(LOG_WARN, filters->wal->pipeline->name, err.code,
              LOG_FIELDS(log_text("hint", error_own_hint(&err))), "%s", error_message(&err));
    return true;
}

static void on_plan(void *arg, const PGresult *result)
{
    filter_test_take(((WalFilters *)arg)->test, result);
}

static void on_planned(void *arg, const Error *err)
{
    WalFilters *filters = arg;
    bool refused = err != NULL && filter_test_refused(filters->test, err) == OK;
    if (refused || wal_goes_on(filters->wal, err)) {
        filters_go_on(filters);
    }
}

/* True: the table is asked about; what follows comes with the answer. */
static bool filters_ask(WalFilters *filters)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (!filter_test_next(filters->test, &sql)) {
        return false;
    }
    claim_ask(filters->wal->claim, &(PgQuery){.step = "filter of a table",
                                              .sql = sql.data,
                                              .single = true,
                                              .rows_wanted = 1,
                                              .arg = filters,
                                              .result = on_plan,
                                              .done = on_planned});
    return true;
}

static void filters_go_on(WalFilters *filters)
{
    const Mapped *mapped = filters->start->mapped;
    for (; filters->next < mapped->tables.count; filters->next++) {
        MappedTable *table = &mapped->tables.items[filters->next];
        if (filters->test == NULL && mapped_fit(table) == MAPPED_UNASKED) {
            filters->test = filter_test_new(filters->wal->pipeline, table);
        }
        if (filters->test != NULL) {
            if (filters_ask(filters) || !filters_judge(filters)) {
                return;
            }
            filter_test_free(&filters->test);
        }
    }
    filters->tested(filters->arg);
}

static void on_session(void *arg, const Error *err)
{
    WalFilters *filters = arg;
    if (wal_goes_on(filters->wal, err)) {
        filters_go_on(filters);
    }
}

void filters_test(WalFilters *filters)
{
    filter_test_free(&filters->test);
    filters->next = 0;
    if (!mapped_has_filters(filters->wal->pipeline)) {
        filters->tested(filters->arg);
        return;
    }
    claim_ask(filters->wal->claim, &(PgQuery){.step = "session of filters",
                                              .sql = FILTER_SESSION,
                                              .arg = filters,
                                              .done = on_session});
}

WalFilters *filters_new(const WalContext *wal, const WalStart *start, void (*tested)(void *arg),
                        void *arg)
{
    WalFilters *filters = x_calloc(1, sizeof(*filters));
    *filters = (WalFilters){.wal = wal, .start = start, .tested = tested, .arg = arg};
    return filters;
}

void filters_free(WalFilters **filters)
{
    if (*filters != NULL) {
        filter_test_free(&(*filters)->test);
        free(*filters);
        *filters = NULL;
    }
}
