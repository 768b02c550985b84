#include "outbox/fetch_sql.h"

#include "base/memory.h"
#include "flow/event.h"
#include "pg/ident.h"

/* The ranges from `from` on. */
static void add_ranges(const Gaps *gaps, int64_t from, Text *sql)
{
    for (int side = 0; side < 2; side++) {
        text_add(sql, side == 0 ? "unnest('{" : "}'::bigint[], '{");
        const char *comma = "";
        for (size_t i = 0; i < gaps->ranges.count; i++) {
            const GapRange *range = &gaps->ranges.items[i];
            if (range->high < from) {
                continue;
            }
            int64_t low = range->low > from ? range->low : from;
            low += low == EVENT_NO_SEQ; /* the watch says that it is not published */
            text_printf(sql, "%s%lld", comma, (long long)(side == 0 ? low : range->high));
            comma = ",";
        }
    }
    text_add(sql, "}'::bigint[]) AS gap(low, high)");
}

/* What is read of which rows. */
typedef struct Wanted {
    const char *columns;
    const char *condition;
    int64_t from;
    size_t limit;
} Wanted;

/* A SELECT without COPY around it. What it is ordered by is named with its table: a bare name would
 * be that of a column of the result, which another column may have, too. */
static void add_fetch(const OutboxTable *table, const Gaps *gaps, const Wanted *wanted, Text *sql)
{
    const char *columns = wanted->columns;
    const char *condition = wanted->condition;
    int64_t from = wanted->from;
    size_t limit = wanted->limit;
    bool has_gaps =
        gaps->ranges.count > 0 && gaps->ranges.items[gaps->ranges.count - 1].high >= from;
    if (has_gaps) {
        text_add(sql, "(SELECT hit.* FROM ");
        add_ranges(gaps, from, sql);
        text_printf(sql,
                    " CROSS JOIN LATERAL (SELECT %s FROM %s AS o WHERE %s BETWEEN gap.low AND"
                    " gap.high%s ORDER BY o.%s LIMIT %zu) AS hit LIMIT %zu) UNION ALL (",
                    columns, table->name, table->seq, condition, table->seq, limit, limit);
    }
    int64_t beyond = from > gaps->top ? from - 1 : gaps->top;
    text_printf(sql, "SELECT %s FROM %s AS o WHERE %s > %lld%s ORDER BY o.%s LIMIT %zu", columns,
                table->name, table->seq, (long long)beyond, condition, table->seq, limit);
    if (has_gaps) {
        text_printf(sql, ") LIMIT %zu", limit);
    }
}

void fetch_add_sql(const OutboxTable *table, const Gaps *gaps, size_t limit, Text *sql)
{
    text_printf(sql, "COPY (%s", table->rows_begin);
    add_fetch(table, gaps,
              &(Wanted){.columns = table->select_list,
                        .condition = table->unpublished,
                        .from = INT64_MIN,
                        .limit = limit},
              sql);
    text_printf(sql, "%s) TO STDOUT (FORMAT binary); ", table->rows_end);
}

void fetch_add_small_sql(const OutboxTable *table, const Gaps *gaps, size_t limit, Text *sql)
{
    AUTO_BUFFER condition = TEXT_EMPTY;
    text_add(&condition, table->unpublished);
    text_add(&condition, " AND ");
    table_add_small(table, NULL, &condition);
    text_printf(sql, "COPY (%s", table->small_begin);
    add_fetch(table, gaps,
              &(Wanted){.columns = table->plain_list,
                        .condition = condition.data,
                        .from = INT64_MIN,
                        .limit = limit},
              sql);
    text_printf(sql, "%s) TO STDOUT (FORMAT binary); ", table->small_end);
}

void fetch_add_keys_sql(const OutboxTable *table, const Gaps *gaps, int64_t from, size_t limit,
                        Text *sql)
{
    const char *id = table_column(table->config, FIELD_EVENT_ID);
    AUTO_TEXT quoted = *id != '\0' ? ident_quote(id) : NULL;
    AUTO_BUFFER columns = TEXT_EMPTY;
    text_printf(&columns, "%s::bigint, ", table->seq);
    if (quoted != NULL) {
        table_add_id(quoted, &columns);
    } else {
        text_add(&columns, "NULL::text");
    }
    text_add(sql, "COPY (");
    add_fetch(
        table, gaps,
        &(Wanted){
            .columns = columns.data, .condition = table->unpublished, .from = from, .limit = limit},
        sql);
    text_add(sql, ") TO STDOUT (FORMAT binary); ");
}

void fetch_add_chosen_sql(const OutboxTable *table, const KnownRow *rows, size_t count,
                          TableLean lean, Text *sql)
{
    AUTO_TEXT list = lean != LEAN_NONE ? table_lean_list(table, lean) : NULL;
    bool whole = list == NULL;
    text_printf(sql, "COPY (%sSELECT %s FROM %s AS o WHERE %s = ANY('{",
                whole ? table->rows_begin : "", whole ? table->select_list : list, table->name,
                table->seq);
    for (size_t i = 0; i < count; i++) {
        text_printf(sql, i > 0 ? ",%lld" : "%lld", (long long)rows[i].seq);
    }
    text_printf(sql, "}'::bigint[])%s ORDER BY o.%s%s) TO STDOUT (FORMAT binary); ",
                table->unpublished, table->seq, whole ? table->rows_end : "");
}
