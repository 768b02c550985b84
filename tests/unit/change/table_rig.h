/* table_rig: a table that a test describes column by column, and the records of its rows. */
#pragma once

#include "change/change_event.h"
#include "config/tables.h"

enum { RIG_COLUMNS_MAX = 8 };

typedef struct RigColumn {
    const char *name;
    uint32_t type;
    int32_t modifier; /* 0: none */
    bool not_null;
    uint16_t in_key;
    const char *fallback;
} RigColumn;

typedef struct Rig {
    ChangeModes modes;
    ChangeCatalog catalog;
    ChangeOut out;
    ChangeTable *table; /* NULL: not made */
    ChangeEvents *events;
    Arena arena;
    ChangePlace place;
    ChangeRecords records;
    Error err;
} Rig;

/* The types of the catalog that tests name. */
enum {
    RIG_TEXT = 25,
    RIG_MOOD = 90001, /* an enum: sad, ok */
    RIG_MOODS,        /* an array of it */
    RIG_FEELING,      /* a domain over it */
    RIG_NAME,         /* a domain over varchar(5) */
    RIG_CITEXT,
    RIG_PAIR, /* a composite */
};

Rig *rig_new(bool schemas);
void rig_free(Rig **rig);

/** Labels of the enum from now on. */
void rig_label(Rig *rig, const char *labels);

/** The table shop.item with these columns (the last has no name), in the catalog and made. */
Status rig_table(Rig *rig, const RigColumn *columns, const MappingConfig *mapping);

/** The records of a change: values are texts, NULL is NULL, RIG_UNSENT was not sent. */
extern const char RIG_UNSENT[];
Status rig_change(Rig *rig, char op, const char *const *old, const char *const *new);

/** The text of a part of a record; "(none)" for the null slice. */
const char *rig_text(Slice part);

/** What is between `from` and `to` in the value of the first record. */
const char *rig_between(const Rig *rig, const char *from, const char *to);
