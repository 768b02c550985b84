#include "change/change_label.h"

#include <string.h>

enum { GONE_MAX = 1000 }; /* what is beyond is asked about each time */

/* Labels stand in the schema with commas between, whatever is in them. */
static bool in_schema(const char *labels, Slice label)
{
    for (const char *at = labels; at != NULL;) {
        const char *end = at + strnlen(at, label.length);
        if ((size_t)(end - at) == label.length && memcmp(at, label.data, label.length) == 0 &&
            (*end == '\0' || *end == ',')) {
            return true;
        }
        at = strchr(at, ',');
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

bool change_label_known(const ChangeType *type, Slice label, ChangeOut *out)
{
    if (in_schema(type->labels, label)) {
        return true;
    }
    for (size_t i = 0; i < out->gone.count; i++) {
        const ChangeGone *gone = &out->gone.items[i];
        if (gone->type == type->oid && slice_equal(slice_of(gone->label), label)) {
            return true;
        }
    }
    if (out->asked && out->gone.count < GONE_MAX) {
        *vec_add(&out->gone) =
            (ChangeGone){.type = type->oid, .label = x_strndup(label.data, label.length)};
    }
    return out->asked;
}
