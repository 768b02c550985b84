/* Which version of outboxd made the schema: one question, before the first lock. A schema that a
 * later version migrated is refused: what its tables mean is not known here. It is asked once for
 * each start, so whoever publishes already goes on: a migration leaves to the version before it
 * what that version uses (sql/README.md), and an upgrade may begin with the schema. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "claim/claim_internal.h"
#include "pg/result.h"
#include "sql/migrations.h"

static const char TABLE[] = ".migration";

/* The flag that names the schema of `table`, with a space before it; the caller frees it. */
static char *schema_flag(const char *table)
{
    size_t length = strlen(table) - strlen(TABLE);
    bool usual = length == strlen("outbox") && strncmp(table, "outbox", length) == 0;
    return usual ? x_strdup("") : x_format(" --schema %.*s", (int)length, table);
}

static void refuse_newer(Claim *claim, const char *newest, const char *made_by)
{
    const char *table = claim->look->look.migrations;
    AUTO_TEXT flag = schema_flag(table);
    error_set(&claim->loss->error, CODE_SCHEMA_NEWER,
              "%s lists migration %s of outboxd %s, which outboxd " OUTBOXD_VERSION
              " does not know: nothing is published",
              table, newest, made_by);
    error_hint(&claim->loss->error,
               "Start outboxd %s or later. To go back to this version, run with the later one: "
               "outboxd migrate --down %zu%s",
               made_by, MIGRATION_COUNT, flag);
}

/* Roles may be made by others. */
static void say_behind(const Claim *claim, const char *there)
{
    AUTO_BUFFER pending = TEXT_EMPTY;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        AUTO_TEXT number = x_format(",%d,", MIGRATIONS[i].version);
        if (strstr(there, number) == NULL && !MIGRATIONS[i].roles) {
            text_printf(&pending, "%s%d %s", pending.length > 0 ? ", " : "", MIGRATIONS[i].version,
                        MIGRATIONS[i].name);
        }
    }
    if (pending.length > 0) {
        AUTO_TEXT flag = schema_flag(claim->look->look.migrations);
        AUTO_TEXT hint = x_format("Run: outboxd migrate%s", flag);
        log_write(LOG_WARN, claim->options.source->pipeline->name, CODE_SCHEMA_BEHIND,
                  LOG_FIELDS(log_text("pending", pending.data), log_text("hint", hint)),
                  "the schema is older than outboxd " OUTBOXD_VERSION
                  ": these migrations are missing");
    }
}

static void on_schema_result(void *arg, const PGresult *result)
{
    Claim *claim = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    const char *newest = pg_needed_field(result, 0, "newest");
    if (strtoul(newest, NULL, 10) > MIGRATION_COUNT) {
        refuse_newer(claim, newest, pg_needed_field(result, 0, "made_by"));
    } else if (*newest != '\0') { /* else a copy without rows: `check` says what to do */
        say_behind(claim, pg_needed_field(result, 0, "there"));
    }
}

static void on_schema_done(void *arg, const Error *err)
{
    Claim *claim = arg;
    if (err == NULL && claim->loss->error.class != ERROR_NONE) {
        err = &claim->loss->error;
    }
    if (err != NULL) {
        AUTO_ERROR copy = error_of(err);
        claim_lose(claim, &copy);
        return;
    }
    claim->look->schema_told = true;
    claim_lock_try(claim->lock, claim->table_oid);
}

void claim_ask_schema(Claim *claim)
{
    const char *table = claim->look->look.migrations;
    if (claim->look->schema_told || *table == '\0') {
        claim_lock_try(claim->lock, claim->table_oid);
        return;
    }
    AUTO_TEXT sql = x_format("SELECT coalesce(max(version)::text, '') AS newest,"
                             " coalesce((array_agg(outboxd_version ORDER BY version DESC))[1], '')"
                             " AS made_by, ',' || coalesce(string_agg(version::text, ','), '') ||"
                             " ',' AS there FROM %s",
                             table);
    claim_ask(claim, &(PgQuery){.step = "schema",
                                .sql = sql,
                                .rows_wanted = 1,
                                .arg = claim,
                                .result = on_schema_result,
                                .done = on_schema_done});
}
