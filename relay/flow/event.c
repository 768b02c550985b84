#include "flow/event.h"

/* FNV-1a, 64 bit. */
uint64_t event_id_hash(Slice event_id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < event_id.length; i++) {
        hash = (hash ^ (unsigned char)event_id.data[i]) * UINT64_C(1099511628211);
    }
    return hash != 0 ? hash : 1;
}
