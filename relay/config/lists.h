/* lists: the small growing arrays of the configuration. */
#pragma once

#include "config/config.h"
#include "config/options.h"

/* Most items of a list of strings, routes or mappings, and most pipelines. */
enum { LIST_ITEMS_MAX = 1000, PIPELINES_MAX = 200 };

/** Appends a copy of text. */
void string_list_add(StringList *list, const char *text);
bool string_list_has(const StringList *list, const char *text);
/** Releases the items; the list is empty and usable again. */
void string_list_free(StringList *list);
/** Removes the item at index. */
void string_list_remove(StringList *list, size_t index);

/** Releases what the groups of a list hold, and leaves their array. */
void config_free_groups(const Option *option, void *base);
