#include "outbox/fetch_sql.h"

static void add_ranges(const Gaps *gaps, int64_t sweep_below, Text *sql)
{
    for (int side = 0; side < 2; side++) {
        text_add(sql, side == 0 ? "unnest('{" : "}'::bigint[], '{");
        const char *comma = "";
        if (sweep_below > INT64_MIN) {
            text_printf(sql, "%lld", side == 0 ? (long long)INT64_MIN : (long long)sweep_below - 1);
            comma = ",";
        }
        for (size_t i = 0; i < gaps->count; i++) {
            const GapRange *range = &gaps->ranges[i];
            text_printf(sql, "%s%lld", comma, (long long)(side == 0 ? range->low : range->high));
            comma = ",";
        }
    }
    text_add(sql, "}'::bigint[]) AS gap(low, high)");
}

void fetch_add_sql(const OutboxTable *table, const Gaps *gaps, int64_t sweep_below, size_t limit,
                   Text *sql)
{
    text_add(sql, "COPY (");
    bool has_gaps = gaps->count > 0 || sweep_below > INT64_MIN;
    if (has_gaps) {
        text_add(sql, "(SELECT hit.* FROM ");
        add_ranges(gaps, sweep_below, sql);
        text_printf(sql,
                    " CROSS JOIN LATERAL (SELECT %s FROM %s WHERE %s BETWEEN gap.low AND gap.high%s"
                    " ORDER BY %s LIMIT %zu) AS hit LIMIT %zu) UNION ALL (",
                    table->select_list, table->name, table->seq, table->unpublished, table->seq,
                    limit, limit);
    }
    text_printf(sql, "SELECT %s FROM %s WHERE %s > %lld%s ORDER BY %s LIMIT %zu",
                table->select_list, table->name, table->seq, (long long)gaps->top,
                table->unpublished, table->seq, limit);
    if (has_gaps) {
        text_printf(sql, ") LIMIT %zu", limit);
    }
    text_add(sql, ") TO STDOUT (FORMAT binary); ");
}
