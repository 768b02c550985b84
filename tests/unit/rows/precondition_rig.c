#include "unit/rows/precondition_rig.h"

#include <string.h>

#include "stub/libpq_internal.h"

/* In order, for both captures. 17 columns are needed by the given pipeline. */
static const char *const IN_ORDER[][2] = {
    {"i", "0"},
    {"role", "shop_relay"},
    {"version", "150004"},
    {"table_sql", "outbox.event"},
    {"in_recovery", "f"},
    {"wal_level", "logical"},
    {"table_oid", "4242"},
    {"database", "shop"},
    {"table_name", "event"},
    {"dead_letter", "outbox.dead_letter"},
    {"position", "outbox.position"},
    {"kind", "r"},
    {"hidden_in", NULL},
    {"present", "+++++++++++++++++"},
    {"readable", "+++++++++++++++++"},
    {"generated", "-----------------"},
    {"published_not_null", "f"},
    {"updates", "t"},
    {"deletes", "t"},
    {"sets_aside", "t"},
    {"positions", "t"},
    {"claims", "t"},
    {"cache", "1"},
    {"increment", "1"},
    {"cycles", "f"},
    {"drawn", "t"},
    {"sequence", "outbox.event_seq_seq"},
    {"seq_number", "1"},
    {"publication_oid", "77"},
    {"covers_root", "t"},
    {"inserts", "t"},
};
enum { IN_ORDER_COUNT = sizeof(IN_ORDER) / sizeof(IN_ORDER[0]) };

static void put(struct pg_result *result, const char *column, const char *value)
{
    int at = 0;
    while (at < result->columns && strcmp(result->names[at], column) != 0) {
        at++;
    }
    cr_assert_lt(at, COLUMNS_MAX);
    result->names[at] = (char *)column;
    result->values[at] = (char *)value;
    result->columns += at == result->columns;
}

PipelineConfig given_outbox(const Given *given)
{
    PipelineConfig pipeline = given_pipeline();
    pipeline.capture = given->capture;
    pipeline.outbox.on_publish = given->on_publish;
    pipeline.wal.messages = given->messages;
    pipeline.wal.messages_from = given->messages_from;
    pipeline.on_poison = ON_POISON_DEAD_LETTER;
    pipeline.wal.slot = GIVEN("outboxd_orders");
    pipeline.wal.publication = GIVEN("outboxd_orders");
    if (given->capture == CAPTURE_TABLES) {
        static MappingConfig mappings[] = {{.table = GIVEN("shop.*")},
                                           {.table = GIVEN("shop.\"Orders\"")}};
        pipeline.outbox.table = GIVEN("outbox.position");
        pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
        mappings[0].filter = (char *)given->filter;
        pipeline.tables.mappings = mappings;
        pipeline.tables.mapping_count = 2;
        pipeline.tables.snapshot = given->snapshot;
    }
    return pipeline;
}

PreconditionLook given_look(const Given *given)
{
    char *values[COLUMNS_MAX] = {0};
    struct pg_result result = {.status = PGRES_TUPLES_OK, .rows = 1, .values = values};
    for (size_t i = 0; i < IN_ORDER_COUNT; i++) {
        bool differs = given->column != NULL && strcmp(given->column, IN_ORDER[i][0]) == 0;
        bool also = given->also != NULL && strcmp(given->also, IN_ORDER[i][0]) == 0;
        if (!differs && !also) { /* the stub holds few columns */
            put(&result, IN_ORDER[i][0], IN_ORDER[i][1]);
        }
    }
    if (given->column != NULL) {
        put(&result, given->column, given->value);
    }
    if (given->also != NULL) {
        put(&result, given->also, given->also_value);
    }
    PipelineConfig pipeline = given_outbox(given);
    OutboxTable table = {.config = &pipeline};
    PreconditionLook ret = {0};
    precondition_read(&table, &result, 0, given->reader != 0 ? given->reader : PRECONDITION_RUNNING,
                      &ret);
    return ret;
}

void given_expect(const Given *given, ErrorCode code, bool warning, const char *remedy)
{
    PreconditionLook ret = given_look(given);
    const char *what = given->column != NULL ? given->column : "nothing";
    if (code == CODE_NONE) {
        cr_expect_eq(ret.fault_count, 0, "%s = %s: %s", what, given->value,
                     ret.fault_count > 0 ? error_message(&ret.faults[0].error) : "");
    } else {
        cr_assert_geq(ret.fault_count, 1, "%s = %s", what, given->value);
        const Error *err = &ret.faults[0].error;
        cr_expect_eq(err->code, code, "%s: %s", what, error_message(err));
        cr_expect_eq(ret.faults[0].warning, warning, "%s", what);
        cr_expect(strncmp(error_own_hint(err), remedy, strlen(remedy)) == 0, "%s: %s", what,
                  error_own_hint(err));
        cr_expect_gt(strlen(error_message(err)), 20, "%s", what);
        cr_expect_eq(precondition_broken(&ret) == NULL, warning, "%s", what);
        cr_expect_eq((int)err->exit_code, (int)EXIT_POSTGRES);
    }
    precondition_release(&ret);
    cr_assert_null(ret.faults);
}
