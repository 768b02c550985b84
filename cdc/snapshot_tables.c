#include "cdc/snapshot_tables.h"

#include <stdlib.h>

#include "base/memory.h"

/* What the stream will not send is not begun, but for what is in no log. What may not be read was
 * said; that of a named table stopped the start (rows/precondition_mapped.c). */
static bool is_read(const MappedTable *table)
{
    bool published = (table->sends & (OPERATION_CREATE | OPERATION_UPDATE | OPERATION_DELETE)) != 0;
    bool readable = table->selects && !table->hidden && mapped_fit(table) != MAPPED_UNFIT;
    return (published || !table->logged) && readable;
}

void snapshot_tables_plan(SnapshotTables *tables, const Mapped *mapped)
{
    snapshot_tables_clear(tables);
    for (size_t i = 0; i < mapped->tables.count; i++) {
        const MappedTable *from = &mapped->tables.items[i];
        if (!is_read(from)) {
            continue;
        }
        *vec_add(&tables->items) = (SnapshotTable){.oid = from->oid,
                                                   .schema = x_strdup(from->schema),
                                                   .name = x_strdup(from->name),
                                                   .sql = x_strdup(from->sql),
                                                   .mapping = from->mapping,
                                                   .rows_expected = -1,
                                                   .bytes_expected = -1};
    }
}

void snapshot_table_forget(SnapshotTable *table)
{
    for (size_t i = 0; i < table->parts.count; i++) {
        free(table->parts.items[i].sql);
    }
    vec_free(&table->parts);
    free(table->columns);
    table->columns = NULL;
    table->part = 0;
    table->block = 0;
    table->rows = table->bytes = 0;
}

void snapshot_tables_clear(SnapshotTables *tables)
{
    for (size_t i = 0; i < tables->items.count; i++) {
        SnapshotTable *table = &tables->items.items[i];
        snapshot_table_forget(table);
        free(table->shape);
        free(table->schema);
        free(table->name);
        free(table->sql);
    }
    vec_free(&tables->items);
}

size_t snapshot_tables_find(const SnapshotTables *tables, uint32_t oid)
{
    for (size_t i = 0; i < tables->items.count; i++) {
        if (tables->items.items[i].oid == oid) {
            return i;
        }
    }
    return SIZE_MAX;
}

size_t snapshot_tables_next(const SnapshotTables *tables)
{
    for (size_t i = 0; i < tables->items.count; i++) {
        if (tables->items.items[i].state == TABLE_WAITS && !tables->items.items[i].again) {
            return i;
        }
    }
    return SIZE_MAX;
}

bool snapshot_tables_begin_round(SnapshotTables *tables)
{
    bool some = false;
    for (size_t i = 0; i < tables->items.count; i++) {
        SnapshotTable *table = &tables->items.items[i];
        some = some || table->again;
        table->again = false;
    }
    return some;
}

bool snapshot_tables_round_is_over(const SnapshotTables *tables)
{
    for (size_t i = 0; i < tables->items.count; i++) {
        const SnapshotTable *table = &tables->items.items[i];
        bool busy = table->state == TABLE_ASKED || table->state == TABLE_READS;
        if (busy || (table->state == TABLE_WAITS && !table->again)) {
            return false;
        }
    }
    return true;
}

void snapshot_table_put_off(SnapshotTable *table)
{
    table->again = true;
    if (table->running == 0) {
        snapshot_table_forget(table);
        table->state = TABLE_WAITS;
    }
}

bool snapshot_tables_are_recorded(const SnapshotTables *tables)
{
    for (size_t i = 0; i < tables->items.count; i++) {
        if (tables->items.items[i].state < TABLE_RECORDED) {
            return false;
        }
    }
    return true;
}

bool snapshot_table_is_acknowledged(const SnapshotTable *table)
{
    return table->state == TABLE_READ && table->out == 0 && !table->unsettled;
}

/* False: no part of it has a block left. */
static bool table_take(SnapshotTable *table, bool whole, SnapshotChunk *chunk)
{
    while (table->part < table->parts.count) {
        const SnapshotPart *part = &table->parts.items[table->part];
        if (table->block < part->blocks) {
            bool last = whole || part->blocks - table->block <= SNAPSHOT_CHUNK_BLOCKS;
            chunk->part = part;
            chunk->from = table->block;
            chunk->to = last ? 0 : table->block + SNAPSHOT_CHUNK_BLOCKS;
            table->block = last ? part->blocks : chunk->to;
            table->running++;
            return true;
        }
        table->part++;
        table->block = 0;
    }
    return false;
}

bool snapshot_tables_take(SnapshotTables *tables, bool whole, SnapshotChunk *ret)
{
    for (size_t i = 0; i < tables->items.count; i++) {
        SnapshotTable *table = &tables->items.items[i];
        if (table->state == TABLE_READS && !table->again && table_take(table, whole, ret)) {
            ret->table = i;
            return true;
        }
    }
    return false;
}

bool snapshot_table_has_more(const SnapshotTable *table)
{
    for (size_t i = table->part; i < table->parts.count; i++) {
        if ((i == table->part ? table->block : 0) < table->parts.items[i].blocks) {
            return true;
        }
    }
    return false;
}

bool snapshot_tables_return(SnapshotTables *tables, const SnapshotChunk *chunk)
{
    SnapshotTable *table = &tables->items.items[chunk->table];
    table->running--;
    return table->running == 0 && (table->again || !snapshot_table_has_more(table));
}
