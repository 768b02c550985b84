/* Options against the capture: what it has no use for is refused by name, and what follows from it
 * is filled in. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/load.h"

static const char *capture_name(const PipelineConfig *pipeline)
{
    static const char *const NAMES[] = {
#define CAPTURE(kind, name, make) [CAPTURE_##kind] = name,
#include "config/captures.inc"
#undef CAPTURE
    };
    return NAMES[pipeline->capture];
}

/* What to do instead of setting an option of an outbox for tables. */
static const struct {
    const char *path; /* an option, or the group of some */
    const char *remedy;
} INSTEAD[] = {
    {"topic", "remove it, and give each mapping its topic"},
    {"key", "remove it, and give a mapping its key, a list of columns"},
    {"routes", "remove it, and give each mapping its topic and key"},
    {"allow_row_topic", "remove it, and give each mapping its topic"},
    {"on_publish", "remove it: no row of the tables is marked or deleted"},
    {"retain", "remove it: no row of the tables is marked or deleted"},
    {"allow_unstored", "remove it: no row of the tables is marked or deleted"},
    {"headers", "remove it: the records are those of format"},
    {"source", "remove it, and set topic_prefix, which is source.name in each record"},
    {"timestamp", "remove it: the time of the change is in the record, as source.ts_ms"},
    {"position_headers", "remove it: the LSN is in the record, as source.lsn"},
    {"columns", "remove it, and give a mapping columns, exclude_columns or key"},
    {"header_columns", "remove it: columns of tables are in the record's value"},
    {"messages_from", "remove it: with messages = true, every logical message is published"},
};

static const char *capture_remedy(const Option *option)
{
    size_t length = strcspn(option->path, ".");
    for (size_t i = 0; i < sizeof(INSTEAD) / sizeof(INSTEAD[0]); i++) {
        if (strlen(INSTEAD[i].path) == length &&
            strncmp(INSTEAD[i].path, option->path, length) == 0) {
            return INSTEAD[i].remedy;
        }
    }
    return (option->flags & OPTION_TABLES) != 0 ? "remove it, or set capture = \"tables\""
                                                : "remove it: the write-ahead log is not polled";
}

static void capture_refuse(Load *load, const PipelineConfig *pipeline, const char *path,
                           const char *remedy)
{
    rules_problem(load, SCOPE_PIPELINE, path, pipeline, remedy,
                  "\"%s\" has no effect with capture = \"%s\"", path, capture_name(pipeline));
}

/* PostgreSQL's rule for the names of slots; publications keep to it, too. */
static bool rules_slot_name(const char *name)
{
    return *name != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static void capture_check_log(Load *load, const PipelineConfig *pipeline)
{
    if (!rules_slot_name(pipeline->wal.slot)) {
        rules_problem(load, SCOPE_PIPELINE, "slot", pipeline, "use a-z, 0-9 and '_' only",
                      "\"%s\" cannot be the name of a replication slot", pipeline->wal.slot);
    }
}

static void capture_check_poll(Load *load, const PipelineConfig *pipeline)
{
    static const char REMEDY[] = "remove it, or set capture = \"wal\"";
    if (pipeline->wal.messages) {
        capture_refuse(load, pipeline, "messages", REMEDY);
    }
    if (pipeline->wal.failover_slot) {
        capture_refuse(load, pipeline, "failover_slot", REMEDY);
    }
    if (pipeline->outbox.on_publish == ON_PUBLISH_KEEP) {
        rules_problem(load, SCOPE_PIPELINE, "on_publish", pipeline,
                      "use \"mark\" or \"delete\", or set capture = \"wal\"",
                      "on_publish = \"keep\" needs capture = \"wal\": polling finds events by rows "
                      "that are not marked");
    }
}

void rules_check_capture(Load *load, const PipelineConfig *pipeline)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        const Option *option = &options[i];
        if (option->scope == SCOPE_PIPELINE && !option_applies(option, pipeline->capture) &&
            load_origin(load, pipeline, option) != NULL) {
            capture_refuse(load, pipeline, option->path, capture_remedy(option));
        }
    }
    if (pipeline->capture == CAPTURE_POLL) {
        capture_check_poll(load, pipeline);
    } else {
        capture_check_log(load, pipeline);
    }
}

/* "outboxd_" and the pipeline's name, as far as the name of a slot can hold it. */
static void rules_complete_slot(const PipelineConfig *pipeline, char **name)
{
    if (*name == NULL || **name != '\0') {
        return;
    }
    free(*name);
    *name = x_format("outboxd_%.55s", pipeline->name);
    for (char *c = *name; *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
        *c = (char)(islower((unsigned char)*c) || isdigit((unsigned char)*c) ? *c : '_');
    }
}

/* A relay of tables keeps its position where that of an outbox does, and leaves all rows alone. */
static void capture_complete_tables(Load *load, PipelineConfig *pipeline)
{
    if (load_origin(load, pipeline, option_find(SCOPE_PIPELINE, "table")) == NULL) {
        free(pipeline->outbox.table);
        pipeline->outbox.table = x_strdup("outbox.position");
    }
    pipeline->outbox.on_publish = ON_PUBLISH_KEEP;
    pipeline->outbox.retain_ms = DURATION_FOREVER;
}

void rules_complete_capture(Load *load, PipelineConfig *pipeline)
{
    rules_complete_slot(pipeline, &pipeline->wal.slot);
    rules_complete_slot(pipeline, &pipeline->wal.publication);
    if (pipeline->capture == CAPTURE_TABLES) {
        capture_complete_tables(load, pipeline);
    }
}
