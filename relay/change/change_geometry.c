#include "change/change_geometry.h"

#include "change/change_hex.h"
#include "change/change_json.h"

enum { SRID_FLAG = 0x20000000, TYPE_AT = 1, SRID_AT = 5, SRID_END = 9 };

/* In the byte order that the first byte says. */
static uint32_t number_at(const unsigned char *bytes, size_t at)
{
    uint32_t number = 0;
    for (size_t i = 0; i < sizeof(number); i++) {
        size_t from = bytes[0] != 0 ? sizeof(number) - 1 - i : i;
        number = number << 8 | bytes[at + from];
    }
    return number;
}

bool change_geometry_write(Slice text, ChangeOut *out)
{
    text_clear(&out->scratch);
    if (!change_hex_read(text, &out->scratch) || out->scratch.length < SRID_END) {
        return false;
    }
    const unsigned char *bytes = (const unsigned char *)out->scratch.data;
    text_add(&out->json, "{\"wkb\":\"");
    change_json_base64(&out->json, bytes, out->scratch.length, false);
    text_add(&out->json, "\",\"srid\":");
    if ((number_at(bytes, TYPE_AT) & SRID_FLAG) != 0) {
        change_json_number(&out->json, (int32_t)number_at(bytes, SRID_AT));
    } else {
        text_add(&out->json, "null");
    }
    text_add_char(&out->json, '}');
    return true;
}
