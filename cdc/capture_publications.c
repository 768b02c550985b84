#include "cdc/capture_publications.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"

static void add_publication(const char *publication, const Mapped *mapped, bool usable,
                            const char *publish, Text *sql)
{
    AUTO_TEXT name = ident_quote(publication);
    text_printf(sql, "CREATE PUBLICATION %s", name);
    bool first = true;
    for (size_t i = 0; i < mapped->tables.count; i++) {
        const MappedTable *table = &mapped->tables.items[i];
        if (table->usable == usable && table->logged) {
            text_printf(sql, "%s %s", first ? " FOR TABLE" : ",", table->sql);
            first = false;
        }
    }
    text_printf(sql, " WITH (publish = '%s', publish_via_partition_root = true);", publish);
}

void capture_publications_add(const PipelineConfig *pipeline, const Mapped *mapped, Text *sql)
{
    AUTO_TEXT second = mapped_second_publication(pipeline);
    add_publication(pipeline->wal.publication, mapped, true, "insert, update, delete, truncate",
                    sql);
    text_add_char(sql, ' ');
    add_publication(second, mapped, false, "insert, truncate", sql);
}
