#include "cdc/wal_mappings.h"

#include <stdlib.h>

#include "base/memory.h"
#include "change/change_table.h"

struct WalMappings {
    const WalContext *wal;
    const WalStart *start;
    void *arg;
    void (*followed)(void *arg);
    ChangeCatalog catalog;
    Text oids; /* of the tables that are asked about, as an array */
    Error unread;
    bool over; /* it was asked, and all could be followed */
};

static void note_column(void *arg, const char *option, const char *column)
{
    (void)option;
    (void)column;
    *(bool *)arg = true;
}

/* Changes of it, or rows of a snapshot: what is in no publication does not come, but as long as
 * there is none the relay makes one. No log has an unlogged table. */
static bool is_read(const WalMappings *mappings, const MappedTable *table)
{
    if (!table->logged) {
        return mappings->wal->pipeline->tables.snapshot != SNAPSHOT_MODE_NEVER;
    }
    return table->sends != 0 || !mappings->start->given.facts->has_publication;
}

/* The mapping of a table names columns, and rows of the table are read. */
static bool is_asked_about(const WalMappings *mappings, const MappedTable *table)
{
    bool names = false;
    const TablesConfig *tables = &mappings->wal->pipeline->tables;
    mapping_each_column(&tables->mappings[table->mapping], note_column, &names);
    return names && is_read(mappings, table);
}

static Status mappings_judge(const WalMappings *mappings, Error *err)
{
    const WalContext *wal = mappings->wal;
    const TablesConfig *tables = &wal->pipeline->tables;
    const Mapped *mapped = mappings->start->mapped;
    const ChangeTables of = {.catalog = &mappings->catalog,
                             .modes = &tables->modes,
                             .prefix = tables->topic_prefix,
                             .database = PQdb(pg_conn_raw(claim_conn(wal->claim)))};
    for (size_t i = 0; i < mapped->tables.count; i++) {
        const MappedTable *table = &mapped->tables.items[i];
        AUTO(ChangeTable, change_table_free) made = NULL;
        if (is_asked_about(mappings, table) &&
            change_table_of_catalog(&of, &tables->mappings[table->mapping], table->oid,
                                    wal_server_version(wal), &made, err) != OK) {
            if (err->class == ERROR_FATAL) {
                return FAILED;
            }
            error_clear(err); /* it was dropped in between */
        }
    }
    return OK;
}

static void mappings_ask(WalMappings *mappings, const char *step, const char *sql,
                         void (*result)(void *arg, const PGresult *result),
                         void (*done)(void *arg, const Error *err))
{
    const char *const values[] = {text_string(&mappings->oids)};
    claim_ask(mappings->wal->claim, &(PgQuery){.step = step,
                                               .sql = sql,
                                               .param_count = 1,
                                               .values = values,
                                               .arg = mappings,
                                               .result = result,
                                               .done = done});
}

static void on_types(void *arg, const PGresult *result)
{
    WalMappings *mappings = arg;
    (void)change_catalog_read_types(&mappings->catalog, result, &mappings->unread);
}

static bool mappings_go_on(WalMappings *mappings, const Error *err)
{
    AUTO_ERROR unread = error_of(&mappings->unread);
    return wal_goes_on(mappings->wal, err == NULL && unread.class != ERROR_NONE ? &unread : err);
}

static void on_types_done(void *arg, const Error *err)
{
    WalMappings *mappings = arg;
    if (!mappings_go_on(mappings, err)) {
        return;
    }
    AUTO_ERROR why = {0};
    mappings->over = mappings_judge(mappings, &why) == OK;
    change_catalog_clear(&mappings->catalog);
    if (mappings->over) {
        mappings->followed(mappings->arg);
    } else {
        claim_lose(mappings->wal->claim, &why);
    }
}

static void on_tables(void *arg, const PGresult *result)
{
    WalMappings *mappings = arg;
    (void)change_catalog_read_tables(&mappings->catalog, result, &mappings->unread);
}

static void on_tables_done(void *arg, const Error *err)
{
    WalMappings *mappings = arg;
    if (mappings_go_on(mappings, err)) {
        mappings_ask(mappings, "types of mapped tables", CHANGE_CATALOG_TYPES, on_types,
                     on_types_done);
    }
}

void mappings_follow(WalMappings *mappings)
{
    const Mapped *mapped = mappings->start->mapped;
    size_t count = 0;
    text_clear(&mappings->oids);
    for (size_t i = 0; !mappings->over && i < mapped->tables.count; i++) {
        if (is_asked_about(mappings, &mapped->tables.items[i])) {
            text_printf(&mappings->oids, "%s%u", count++ == 0 ? "{" : ",",
                        mapped->tables.items[i].oid);
        }
    }
    if (count == 0) {
        mappings->followed(mappings->arg);
        return;
    }
    text_add_char(&mappings->oids, '}');
    error_clear(&mappings->unread);
    change_catalog_clear(&mappings->catalog);
    mappings_ask(mappings, "columns of mapped tables", CHANGE_CATALOG_TABLES, on_tables,
                 on_tables_done);
}

WalMappings *mappings_new(const WalContext *wal, const WalStart *start, void (*followed)(void *arg),
                          void *arg)
{
    WalMappings *mappings = x_calloc(1, sizeof(*mappings));
    mappings->wal = wal;
    mappings->start = start;
    mappings->followed = followed;
    mappings->arg = arg;
    return mappings;
}

void mappings_free(WalMappings **mappings)
{
    if (*mappings == NULL) {
        return;
    }
    change_catalog_clear(&(*mappings)->catalog);
    text_free(&(*mappings)->oids);
    error_clear(&(*mappings)->unread);
    free(*mappings);
    *mappings = NULL;
}
