/* capture = "tables": what each mapping means, table by table, and the SQL that an administrator
 * runs. What must hold was judged before, by the list of preconditions (check_table.c). */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_catalog.h"
#include "change/change_table.h"
#include "check/check.h"
#include "pg/result.h"
#include "rows/mapped.h"
#include "rows/mapped_script.h"

enum { TABLES_SHOWN = 20, FAILED_SHOWN = 3 }; /* of one mapping */

typedef struct MappedCheck {
    Check *check;
    const PipelineConfig *pipeline;
    Mapped mapped;
    ChangeCatalog catalog;
    PGresult *identities; /* a row for each column of the replica identity of a table */
} MappedCheck;

static PGresult *mapped_ask(const MappedCheck *m, const char *step, const char *sql)
{
    AUTO_BUFFER oids = TEXT_EMPTY;
    text_add_char(&oids, '{');
    for (size_t i = 0; i < m->mapped.tables.count; i++) {
        text_printf(&oids, "%s%u", i > 0 ? "," : "", m->mapped.tables.items[i].oid);
    }
    text_add_char(&oids, '}');
    const char *const values[] = {oids.data};
    return check_query(m->check, step, sql, 1, values);
}

/* The columns that an old row has, but for FULL, which has all. */
static const char IDENTITIES[] =
    "SELECT c.oid, a.attname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indrelid ="
    " c.oid AND i.indisvalid AND i.indimmediate AND CASE c.relreplident WHEN 'd' THEN"
    " i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END JOIN pg_catalog.pg_attribute a"
    " ON a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - "
    "1]) WHERE c.oid = ANY"
    " ($1::pg_catalog.oid[]) ORDER BY c.oid, a.attnum";

static bool mapped_look(MappedCheck *m)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    mapped_add_query(m->pipeline, &(MappedQuestion){.sizes = true, .filters = true},
                     PQserverVersion(pg_session_raw(m->check->session)), &sql);
    AUTO(PGresult, pg_session_free_result)
    tables = check_query(m->check, "mapped tables", sql.data, 0, NULL);
    if (tables == NULL) {
        return false;
    }
    bool read = mapped_read(tables, &m->mapped, &err) == OK;
    AUTO(PGresult, pg_session_free_result)
    columns = read ? mapped_ask(m, "columns of mapped tables", CHANGE_CATALOG_TABLES) : NULL;
    read = columns != NULL && change_catalog_read_tables(&m->catalog, columns, &err) == OK;
    AUTO(PGresult, pg_session_free_result)
    types = read ? mapped_ask(m, "types of mapped tables", CHANGE_CATALOG_TYPES) : NULL;
    read = types != NULL && change_catalog_read_types(&m->catalog, types, &err) == OK;
    m->identities = read ? mapped_ask(m, "replica identities", IDENTITIES) : NULL;
    if (err.class != ERROR_NONE) {
        check_problem(m->check, EXIT_POSTGRES, "database", NULL, "%s", error_message(&err));
    }
    return m->identities != NULL;
}

static uint32_t identity_oid(const MappedCheck *m, int row)
{
    return (uint32_t)strtoul(pg_value(m->identities, row, 0), NULL, 10);
}

/* The rows are in the order of the OIDs: there may be thousands of tables. */
static bool is_in_identity(const MappedCheck *m, const MappedTable *table, const char *column)
{
    int low = 0;
    int rows = PQntuples(m->identities);
    for (int high = rows; low < high;) {
        int middle = low + (high - low) / 2;
        if (identity_oid(m, middle) < table->oid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < rows && identity_oid(m, low) == table->oid; low++) {
        if (strcmp(pg_value(m->identities, low, 1), column) == 0) {
            return true;
        }
    }
    return false;
}

/* What the relay makes of the table when its first row comes, which the mapping may not allow: a
 * mask for a number, a key that rows do not have. NULL: that is a problem, or it was dropped. */
static ChangeTable *mapped_make(const MappedCheck *m, const MappedTable *table, size_t *failed)
{
    const TablesConfig *tables = &m->pipeline->tables;
    const PGconn *pg = pg_session_raw(m->check->session);
    const ChangeTables of = {.catalog = &m->catalog,
                             .modes = &tables->modes,
                             .prefix = tables->topic_prefix,
                             .database = PQdb(pg)};
    ChangeTable *made = NULL;
    AUTO_ERROR err = {0};
    if (change_table_of_catalog(&of, &tables->mappings[table->mapping], table->oid,
                                PQserverVersion(pg), &made, &err) != OK &&
        err.class == ERROR_FATAL && (*failed)++ < FAILED_SHOWN) {
        check_problem(m->check, EXIT_CONFIG, "configuration", error_remedy(&err), "%s",
                      error_message(&err));
    }
    return made;
}

/* The columns of the record's key: how many, their names for people, whether an old row has all. */
typedef struct Key {
    size_t count;
    Text names;
    bool in_old_row;
} Key;

static void key_add(const MappedCheck *m, const MappedTable *table, const char *column, Key *key)
{
    bool known = table->identity == 'f' || is_in_identity(m, table, column);
    text_printf(&key->names, "%s%s", key->count > 0 ? ", " : "", column);
    key->in_old_row = (key->count == 0 || key->in_old_row) && known;
    key->count++;
}

static Key key_of(const MappedCheck *m, const MappedTable *table, const ChangeTable *made)
{
    Key key = {0};
    for (size_t i = 0; i < made->key_count; i++) {
        key_add(m, table, made->columns[made->key[i]].name, &key);
    }
    return key;
}

static const char *old_row_of(const MappedTable *table)
{
    return !table->usable           ? "inserts only: it has no usable replica identity"
           : table->identity == 'f' ? "updates and deletes with the whole old row (FULL)"
           : table->identity == 'i' ? "deletes with the columns of the replica identity's index"
           : table->identity == 'm' ? "old rows as each partition's replica identity has them"
                                    : "deletes with the primary key";
}

static void mapped_say_table(MappedCheck *m, const MappedTable *table, const Key *key)
{
    const char *missing = !table->selects ? "; no SELECT"
                          : table->hidden ? "; row-level security"
                                          : "";
    text_printf(&m->check->facts, "               %s: %s%s; %s%s\n", table->sql,
                key->count > 0 ? "key " : "no key", text_string(&key->names), old_row_of(table),
                missing);
}

/* The topic of the table, and whether all of its records have a key there. */
static void mapped_need_topic(MappedCheck *m, const MappedTable *table, const char *topic,
                              const Key *key)
{
    const MappingConfig *mapping = &m->pipeline->tables.mappings[table->mapping];
    bool deletes = (mapping->operations & OPERATION_DELETE) != 0 && table->usable;
    AUTO_TEXT user = x_format("table %s of pipeline \"%s\"", table->sql, m->pipeline->name);
    check_need_topic(m->check, m->pipeline, topic, user, key->count == 0,
                     deletes && key->count > 0 && !key->in_old_row);
}

static void mapped_warn(MappedCheck *m, const MappedTable *table, const Key *key)
{
    const MappingConfig *mapping = &m->pipeline->tables.mappings[table->mapping];
    bool deletes = (mapping->operations & OPERATION_DELETE) != 0 && table->usable;
    if (key->count == 0) {
        check_warning(m->check, "database",
                      "Add a primary key to the table, or name columns in key of the mapping.",
                      "records of %s have no key: the changes of a row may be read out of order",
                      table->sql);
    } else if (deletes && !key->in_old_row) {
        AUTO_TEXT remedy = x_format("ALTER TABLE %s REPLICA IDENTITY FULL; or use the columns of "
                                    "its replica identity as the key",
                                    table->sql);
        check_warning(m->check, "database", remedy,
                      "a delete of %s does not have the key (%s): the old row of the WAL lacks a "
                      "column of it",
                      table->sql, text_string(&key->names));
    }
}

static void mapped_say_mapping(MappedCheck *m, size_t mapping)
{
    size_t count = 0;
    int64_t rows = 0;
    int64_t bytes = 0;
    size_t unknown = 0; /* PostgreSQL 14 and later tell */
    for (size_t i = 0; i < m->mapped.tables.count; i++) {
        const MappedTable *table = &m->mapped.tables.items[i];
        if (table->mapping == mapping) {
            count++;
            rows += table->rows > 0 ? table->rows : 0;
            unknown += table->rows < 0;
            bytes += table->bytes > 0 ? table->bytes : 0;
        }
    }
    AUTO_TEXT about = unknown > 0 && unknown == count
                          ? x_strdup("an unknown number of rows before ANALYZE")
                          : x_format("about %lld rows", (long long)rows);
    AUTO_TEXT others = unknown > 0 && unknown < count
                           ? x_format(" (and %zu not yet analyzed)", unknown)
                           : x_strdup("");
    text_printf(&m->check->facts, "mapping        %s: %zu table%s, %s%s, %lld KiB\n",
                m->pipeline->tables.mappings[mapping].table, count, count == 1 ? "" : "s", about,
                others, (long long)(bytes / 1024));
    check_say_filter(m->check, &m->pipeline->tables.mappings[mapping]);
    size_t shown = 0;
    size_t failed = 0;
    for (size_t i = 0; i < m->mapped.tables.count; i++) {
        const MappedTable *table = &m->mapped.tables.items[i];
        if (table->mapping != mapping) {
            continue;
        }
        AUTO(ChangeTable, change_table_free) made = mapped_make(m, table, &failed);
        if (made == NULL) {
            continue;
        }
        Key key = key_of(m, table, made);
        mapped_need_topic(m, table, made->topic, &key);
        if (shown++ < TABLES_SHOWN) {
            mapped_say_table(m, table, &key);
            mapped_warn(m, table, &key);
        }
        text_free(&key.names);
    }
    if (failed > FAILED_SHOWN) {
        check_problem(m->check, EXIT_CONFIG, "configuration",
                      "correct the mapping, or give these tables a mapping of their own",
                      "mapping '%s' cannot be followed for %zu more tables",
                      m->pipeline->tables.mappings[mapping].table, failed - FAILED_SHOWN);
    }
    if (shown > TABLES_SHOWN) {
        text_printf(&m->check->facts, "               and %zu more\n", shown - TABLES_SHOWN);
    }
}

static void mapped_say_script(MappedCheck *m)
{
    AUTO_BUFFER script = TEXT_EMPTY;
    PGresult *role =
        check_query(m->check, "role", "SELECT pg_catalog.quote_ident(current_user)", 0, NULL);
    if (role != NULL) {
        mapped_script_add(m->pipeline, &m->mapped, pg_value(role, 0, 0), &script);
    }
    PQclear(role);
    if (script.length > 0) {
        text_printf(&m->check->facts, "sql            an administrator runs:\n%s", script.data);
    }
}

/* Topics of records that are about no table. */
static void mapped_need_others(Check *check, const PipelineConfig *pipeline)
{
    const TablesConfig *tables = &pipeline->tables;
    AUTO_TEXT transactions = x_format("%s.transaction", tables->topic_prefix);
    AUTO_TEXT messages = x_format("%s.message", tables->topic_prefix);
    AUTO_TEXT beats = x_format("__debezium-heartbeat.%s", tables->topic_prefix);
    if ((tables->modes.told & TOLD_TRANSACTIONS) != 0) {
        check_need_topic(check, pipeline, transactions, "transaction_topic", false, false);
    }
    if (pipeline->wal.messages) {
        check_need_topic(check, pipeline, messages, "messages", false, false);
    }
    if (tables->heartbeat_ms > 0) {
        check_need_topic(check, pipeline, beats, "heartbeat_interval", false, false);
    }
}

void check_mapped(Check *check, const PipelineConfig *pipeline)
{
    MappedCheck m = {.check = check, .pipeline = pipeline};
    if (mapped_look(&m)) {
        check_filters(check, pipeline, &m.mapped);
        for (size_t i = 0; i < pipeline->tables.mapping_count; i++) {
            mapped_say_mapping(&m, i);
        }
        mapped_say_script(&m);
    }
    mapped_need_others(check, pipeline);
    if (PQserverVersion(pg_session_raw(check->session)) < 140000) {
        text_add(&check->facts, "correlation    none: PostgreSQL 13 does not send the messages of "
                                "outbox.set_context\n");
    }
    PQclear(m.identities);
    change_catalog_clear(&m.catalog);
    mapped_clear(&m.mapped);
}
