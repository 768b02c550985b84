/* One round trip that reads the list of rows/precondition.h for all pipelines. The statements are
 * prepared once for a session: planning them costs five times what they cost themselves. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pg/result.h"
#include "watch/watch_internal.h"

void watch_add_preconditions(Watch *w, Text *sql)
{
    int version = PQserverVersion(pg_conn_raw(w->conn));
    if (!w->turn->prepared) {
        text_add(sql, "DEALLOCATE ALL; ");
        for (size_t i = 0; i < w->count; i++) {
            text_printf(sql, "PREPARE outboxd_look_%zu AS ", i);
            precondition_add_query(w->pipelines[i].config, w->pipelines[i].table, i, version, sql);
        }
        w->turn->prepared = true;
    }
    precondition_add_wal_end(sql);
    for (size_t i = 0; i < w->count; i++) {
        text_printf(sql, "EXECUTE outboxd_look_%zu; ", i);
    }
    w->turn->wal_end = 0;
}

static double *broken_gauge(Watch *w, const Watched *p, ErrorCode code)
{
    return metrics_gauge(
        w->options->metrics, "outboxd_precondition_broken",
        "1 while a precondition of publishing is broken. The code is that of the log line.",
        "pipeline", p->config->name, "code", error_code_name(code), NULL);
}

/* Warnings are said when they appear; the source has said the first ones. */
static void say_warnings(const Watched *p, const PreconditionLook *look)
{
    for (size_t i = 0; i < look->fault_count; i++) {
        const PreconditionFault *fault = &look->faults[i];
        bool said = !fault->warning || (fault->first && !p->look->taken);
        for (size_t j = 0; j < p->look->fault_count && !said; j++) {
            const Error *before = &p->look->faults[j].error;
            said = before->code == fault->error.code &&
                   (!fault->first || error_same_hint(before, &fault->error));
        }
        if (!said) {
            precondition_say(p->config, fault);
        }
    }
}

static void set_gauges(Watch *w, const Watched *p, const PreconditionLook *look)
{
    for (size_t i = 0; i < p->look->fault_count; i++) {
        *broken_gauge(w, p, p->look->faults[i].error.code) = 0;
    }
    for (size_t i = 0; i < look->fault_count; i++) {
        if (!look->faults[i].warning || look->faults[i].alarm) {
            *broken_gauge(w, p, look->faults[i].error.code) = 1;
        }
    }
}

/* The log brings them with their first row; polling reads the columns that it began with. */
static void say_new_columns(const Watched *p, const PreconditionLook *look)
{
    uint32_t before = p->table->absent;
    if (!precondition_take_columns(look, p->table)) {
        return;
    }
    AUTO_BUFFER names = TEXT_EMPTY;
    table_add_names(p->config, before & ~look->absent, &names);
    bool poll = p->config->capture == CAPTURE_POLL;
    log_write(poll ? LOG_WARN : LOG_INFO, p->config->name, CODE_COLUMNS_ADDED,
              LOG_FIELDS(log_text("columns", names.data),
                         log_text("hint", poll ? "To use them now, restart the relay. Otherwise it "
                                                 "uses them after it next reconnects to PostgreSQL."
                                               : "")),
              "%s has new columns: %s%s", p->config->outbox.table, names.data,
              poll ? "; records do not contain them until the relay reconnects"
                   : "; records contain them");
}

static void read_look(Watch *w, const Watched *p, const PGresult *result)
{
    PreconditionLook look = {0};
    precondition_read(p->table, result, 0, PRECONDITION_RUNNING, &look);
    look.wal_end = w->turn->wal_end;
    say_new_columns(p, &look);
    if (!look.taken) {
        precondition_release(&look);
        return;
    }
    say_warnings(p, &look);
    set_gauges(w, p, &look);
    precondition_release(p->look);
    *p->look = look;
    if (w->options->preconditions != NULL) {
        w->options->preconditions(w->options->arg, (size_t)(p - w->pipelines), p->look);
    }
}

void watch_read_preconditions(Watch *w, const PGresult *result)
{
    if (precondition_read_wal_end(result, &w->turn->wal_end) || PQntuples(result) != 1) {
        return;
    }
    const char *number = pg_field(result, 0, "i");
    size_t index = *number == '\0' ? w->count : strtoul(number, NULL, 10);
    if (index < w->count) {
        read_look(w, &w->pipelines[index], result);
    }
}
