#include "rows/mapped_memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char VERSION[] = "1";

/* A publication that was not there, and an entry that is none. */
static const char NONE[] = "-";

void mapped_memory_add(const Mapped *mapped, Text *text)
{
    text_add(text, VERSION);
    for (size_t i = 0; i < MAPPED_PUBLICATIONS; i++) {
        const MappedPublication *publication = &mapped->publications[i];
        text_printf(text, " %s/%x", publication->identity != NULL ? publication->identity : NONE,
                    publication->operations);
    }
    for (size_t i = 0; i < mapped->places.count; i++) { /* by OID: a name may change */
        const MappedTable *table = &mapped->tables.items[mapped->places.items[i].at];
        text_printf(text, " %u", table->oid);
        for (size_t j = 0; j < MAPPED_PUBLICATIONS; j++) {
            text_printf(text, "/%s", table->entries[j] != NULL ? table->entries[j] : NONE);
        }
    }
}

/* The parts of one word: up to the next of these; NULL at the end. */
static char *next_part(char **word)
{
    return strsep(word, "/");
}

typedef struct Before {
    bool stays[MAPPED_PUBLICATIONS]; /* the publication is what it was */
    unsigned operations[MAPPED_PUBLICATIONS];
} Before;

static bool read_publication(char *word, const MappedPublication *now, bool *ret_stays,
                             unsigned *ret_operations)
{
    const char *identity = next_part(&word);
    const char *operations = next_part(&word);
    if (identity == NULL || operations == NULL) {
        return false;
    }
    *ret_stays = now->identity != NULL && strcmp(now->identity, identity) == 0;
    *ret_operations = (unsigned)strtoul(operations, NULL, 16);
    return true;
}

/* What the entries of before sent, what of it an entry sent all the time, and what is new. While a
 * table has no usable identity, nobody captures its updates and deletes, which is said of it. */
static bool read_entries(char *word, const Before *before, const MappedTable *now,
                         MappedChange *ret_change)
{
    unsigned sent = 0;
    unsigned kept = 0;
    for (size_t i = 0; i < MAPPED_PUBLICATIONS; i++) {
        const char *entry = next_part(&word);
        if (entry == NULL) {
            return false;
        }
        unsigned operations = strcmp(entry, NONE) != 0 ? before->operations[i] : 0;
        bool same =
            before->stays[i] && now->entries[i] != NULL && strcmp(now->entries[i], entry) == 0;
        sent |= operations;
        kept |= same ? operations : 0;
    }
    unsigned wanted = now->usable ? ~0U : ~(unsigned)(OPERATION_UPDATE | OPERATION_DELETE);
    *ret_change =
        (MappedChange){.table = now, .lost = sent & ~kept & wanted, .gained = now->sends & ~sent};
    return true;
}

/* seen: by the place in now->places. */
static bool compare_tables(char *rest, const Before *before, const Mapped *now, bool *seen,
                           MappedChanges *changes)
{
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        const char *oid = next_part(&word);
        const MappedTable *table = mapped_find(now, (uint32_t)strtoul(oid, NULL, 10));
        MappedChange change = {0};
        if (word == NULL) {
            return false;
        }
        if (table == NULL) {
            continue; /* dropped, or no longer meant */
        }
        if (!read_entries(word, before, table, &change)) {
            return false;
        }
        seen[table - now->tables.items] = true;
        if (change.lost != 0 || change.gained != 0) {
            *vec_add(changes) = change;
        }
    }
    return true;
}

Status mapped_memory_compare(const char *before, const Mapped *now, MappedChanges *changes,
                             Error *err)
{
    AUTO_TEXT copy = x_strdup(before);
    bool *seen = x_calloc(now->tables.count + 1, sizeof(*seen));
    char *rest = copy;
    Before known = {0};
    MappedChanges found = {0};
    const char *version = strsep(&rest, " ");
    bool whole = strcmp(version, VERSION) == 0;
    for (size_t i = 0; whole && i < MAPPED_PUBLICATIONS; i++) {
        char *word = strsep(&rest, " ");
        whole = word != NULL && read_publication(word, &now->publications[i], &known.stays[i],
                                                 &known.operations[i]);
    }
    whole = whole && compare_tables(rest, &known, now, seen, &found);
    for (size_t i = 0; whole && i < now->tables.count; i++) {
        const MappedTable *table = &now->tables.items[i];
        if (!seen[i] && table->sends != 0) {
            *vec_add(&found) = (MappedChange){.table = table, .gained = table->sends};
        }
    }
    free(seen);
    if (!whole) {
        vec_free(&found);
        return error_set(
            err, CODE_POSTGRES_ANSWER,
            "what was noted of the captured tables is not what a relay writes: '%.60s'", before);
    }
    vec_free(changes);
    *changes = found;
    return OK;
}
