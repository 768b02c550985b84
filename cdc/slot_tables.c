#include "cdc/slot_tables.h"

#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "rows/mapped_memory.h"

enum { NAMES_MAX = 3 };

static void add_name(const MappedTable *table, size_t nth, Text *names)
{
    if (nth < NAMES_MAX) {
        text_printf(names, "%s%s", nth > 0 ? ", " : "", table->sql);
    } else if (nth == NAMES_MAX) {
        text_add(names, ", ...");
    }
}

Status slot_tables_compare(const PipelineConfig *pipeline, const SlotStored *stored,
                           const Mapped *mapped, SlotKnown *known, Error *err)
{
    MappedChanges changes = {0};
    known->publication_changed = false;
    known->lost[0] = '\0';
    if (stored->publication[0] == '\0') {
        return OK;
    }
    if (mapped_memory_compare(stored->publication, mapped, &changes, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER lost = TEXT_EMPTY;
    AUTO_BUFFER added = TEXT_EMPTY;
    size_t lost_count = 0;
    size_t added_count = 0;
    for (size_t i = 0; i < changes.count; i++) {
        const MappedChange *change = &changes.items[i];
        if (change->lost != 0) {
            add_name(change->table, lost_count++, &lost);
        } else if ((change->gained & OPERATION_CREATE) != 0) {
            add_name(change->table, added_count++, &added);
        }
    }
    vec_free(&changes);
    known->publication_changed = lost_count > 0;
    snprintf(known->lost, sizeof(known->lost), "%s", text_string(&lost));
    if (added_count > 0) {
        log_write(LOG_INFO, pipeline->name, CODE_TABLES_ADDED,
                  LOG_FIELDS(log_number("tables", (long long)added_count)),
                  "captured from here on: %s; rows from before are not sent", text_string(&added));
    }
    return OK;
}
