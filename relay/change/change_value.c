#include "change/change_value.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "change/change_array.h"
#include "change/change_geometry.h"
#include "change/change_hex.h"
#include "change/change_hstore.h"
#include "change/change_json.h"
#include "change/change_label.h"
#include "change/change_number.h"
#include "change/change_time.h"

/* What PostgreSQL's infinities become, by the arithmetic of the driver that Debezium uses. */
#define INFINITY_US         INT64_C(9223372036825200000)
#define MINUS_INFINITY_US   INT64_C(-9223372036832400000)
#define INFINITY_DAYS       INT64_C(-2147472692)
#define MINUS_INFINITY_DAYS INT64_C(-2147472691)

static ChangeWritten written_if(bool written)
{
    return written ? CHANGE_WRITTEN : CHANGE_BAD;
}

static ChangeWritten write_boolean(Slice text, const char *yes, const char *no, Text *json)
{
    if (slice_equal(text, slice_of(yes))) {
        text_add(json, "true");
        return CHANGE_WRITTEN;
    }
    text_add(json, "false");
    return written_if(slice_equal(text, slice_of(no)));
}

static ChangeWritten write_whole(const ChangeType *type, Slice text, Text *json)
{
    int64_t value = 0;
    if (!change_number_whole(text, type->low, type->high, &value)) {
        return CHANGE_BAD;
    }
    if (text.data[0] != '0' && (text.data[0] != '-' || text.data[1] != '0')) {
        text_put(json, text); /* as JSON has it: only zeros in front would differ */
    } else {
        change_json_number(json, value);
    }
    return CHANGE_WRITTEN;
}

static ChangeWritten write_decimal(const ChangeType *type, Slice text, ChangeOut *out)
{
    int scale = 0;
    if (change_number_special(text) != SPECIAL_NONE) {
        return CHANGE_AS_NULL;
    }
    if (type->shape == SHAPE_DECIMAL) {
        text_put_char(&out->json, '"');
        if (!change_number_decimal(&out->json, text, type->scale, &out->scratch, &scale)) {
            return CHANGE_BAD;
        }
        text_put_char(&out->json, '"');
        return CHANGE_WRITTEN;
    }
    /* The scale comes first, and is known last. */
    size_t begin = out->json.length;
    if (!change_number_decimal(&out->json, text, CHANGE_SCALE_ANY, &out->scratch, &scale)) {
        return CHANGE_BAD;
    }
    text_clear(&out->scratch);
    text_append(&out->scratch, out->json.data + begin, out->json.length - begin);
    text_cut(&out->json, begin);
    text_add(&out->json, "{\"scale\":");
    change_json_number(&out->json, scale);
    text_add(&out->json, ",\"value\":\"");
    text_append(&out->json, out->scratch.data, out->scratch.length);
    text_add(&out->json, "\"}");
    return CHANGE_WRITTEN;
}

/* With as many digits behind the point as the column has, which is more than there are only where
 * its scale is negative. */
static ChangeWritten write_decimal_text(const ChangeType *type, Slice text, ChangeOut *out)
{
    static const char *const NAMES[] = {"", "\"NAN\"", "\"POSITIVE_INFINITY\"",
                                        "\"NEGATIVE_INFINITY\""};
    ChangeSpecial special = change_number_special(text);
    if (special != SPECIAL_NONE) {
        text_add(&out->json, NAMES[special]);
        return CHANGE_WRITTEN;
    }
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if ((c < '0' || c > '9') && c != '.' && (c != '-' || i > 0)) {
            return CHANGE_BAD;
        }
    }
    const char *point = memchr(text.data, '.', text.length);
    size_t digits = point != NULL ? (size_t)(text.data + text.length - 1 - point) : 0;
    text_add_char(&out->json, '"');
    text_add_slice(&out->json, text);
    for (size_t scale = type->scaled ? (size_t)type->scale : 0; digits < scale; digits++) {
        text_add(&out->json, point == NULL && digits == 0 ? ".0" : "0");
    }
    text_add_char(&out->json, '"');
    return written_if(text.length > 0);
}

static ChangeWritten write_money(const ChangeType *type, Slice text, ChangeOut *out)
{
    if (!change_number_money(text, &out->parts)) {
        return CHANGE_BAD;
    }
    Slice plain = {.data = out->parts.data, .length = out->parts.length};
    int scale = 0;
    switch (type->shape) {
    case SHAPE_MONEY:
        text_add_char(&out->json, '"');
        bool written = change_number_decimal(&out->json, plain, type->scale, &out->scratch, &scale);
        text_add_char(&out->json, '"');
        return written_if(written);
    case SHAPE_MONEY_TEXT:
        return written_if(change_json_string(&out->json, plain));
    default:
        return written_if(change_number_double(&out->json, plain, &out->scratch));
    }
}

void change_value_binary(ChangeBinary mode, Slice bytes, Text *json)
{
    text_add_char(json, '"');
    if (mode != BINARY_HEX) {
        change_json_base64(json, (const unsigned char *)bytes.data, bytes.length,
                           mode == BINARY_BASE64_URL_SAFE);
    }
    for (size_t i = 0; mode == BINARY_HEX && i < bytes.length; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        text_add_char(json, "0123456789abcdef"[byte >> 4]);
        text_add_char(json, "0123456789abcdef"[byte & 15]);
    }
    text_add_char(json, '"');
}

static ChangeWritten write_bytes(const ChangeType *type, Slice text, ChangeOut *out)
{
    if (text.length < 2 || memcmp(text.data, "\\x", 2) != 0) {
        return CHANGE_BAD;
    }
    text_clear(&out->scratch);
    if (!change_hex_read((Slice){.data = text.data + 2, .length = text.length - 2},
                         &out->scratch)) {
        return CHANGE_BAD;
    }
    change_value_binary(type->modes->binary,
                        (Slice){.data = text_string(&out->scratch), .length = out->scratch.length},
                        &out->json);
    return CHANGE_WRITTEN;
}

/* The last bit is the lowest of the first byte; bytes of zeros at the end are left out. */
static ChangeWritten write_bits(Slice text, ChangeOut *out)
{
    text_clear(&out->scratch);
    unsigned byte = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[text.length - 1 - i];
        if (c != '0' && c != '1') {
            return CHANGE_BAD;
        }
        byte |= (unsigned)(c == '1') << (i % 8);
        if (i % 8 == 7 || i + 1 == text.length) {
            text_add_char(&out->scratch, (char)byte);
            byte = 0;
        }
    }
    size_t length = out->scratch.length;
    while (length > 0 && out->scratch.data[length - 1] == 0) {
        length--;
    }
    text_add_char(&out->json, '"');
    change_json_base64(&out->json, (const unsigned char *)text_string(&out->scratch), length,
                       false);
    text_add_char(&out->json, '"');
    return CHANGE_WRITTEN;
}

static ChangeWritten write_date(const ChangeType *type, Slice text, Text *json)
{
    int64_t days = 0;
    switch (change_time_date(text, &days)) {
    case MOMENT_NONE:
        return CHANGE_BAD;
    case MOMENT_INFINITY:
        days = INFINITY_DAYS;
        break;
    case MOMENT_MINUS_INFINITY:
        days = MINUS_INFINITY_DAYS;
        break;
    case MOMENT_FINITE:
        break;
    }
    if (type->unit != UNIT_TEXT) {
        change_json_number(json, days);
        return CHANGE_WRITTEN;
    }
    text_add_char(json, '"');
    change_time_date_text(json, days);
    text_add(json, "Z\"");
    return CHANGE_WRITTEN;
}

static int64_t floor_ms(int64_t us)
{
    return us / 1000 - (us % 1000 < 0);
}

/* Nanoseconds end with the years 1677 and 2262: infinities are these ends, all else beyond them
 * has no value. */
static ChangeWritten write_unit(ChangeUnit unit, int64_t us, Text *json)
{
    int64_t value = unit == UNIT_MS ? floor_ms(us) : us;
    if (unit == UNIT_NS && __builtin_mul_overflow(us, 1000, &value)) {
        if (us != INFINITY_US && us != MINUS_INFINITY_US) {
            return CHANGE_AS_NULL;
        }
        value = us > 0 ? INT64_MAX : INT64_MIN;
    }
    change_json_number(json, value);
    return CHANGE_WRITTEN;
}

static ChangeWritten write_time(const ChangeType *type, Slice text, Text *json)
{
    int64_t us = 0;
    if (!change_time_clock(text, false, &us, NULL)) {
        return CHANGE_BAD;
    }
    if (type->in_array) { /* java.sql.Time: milliseconds, and no 24:00 */
        us = us % CHANGE_DAY_US / 1000 * 1000;
    }
    if (type->unit != UNIT_TEXT) {
        return write_unit(type->unit, us, json);
    }
    text_add_char(json, '"');
    change_time_clock_text(json, us % CHANGE_DAY_US, CHANGE_DIGITS_NEEDED);
    text_add(json, "Z\"");
    return CHANGE_WRITTEN;
}

static void add_stamp_text(Text *json, int64_t days, int64_t us, int digits)
{
    text_put_char(json, '"');
    change_time_date_text(json, days);
    text_put_char(json, 'T');
    change_time_clock_text(json, us, digits);
    TEXT_PUT(json, "Z\"");
}

static ChangeWritten write_endless(const ChangeType *type, int64_t us, Text *json)
{
    if (type->unit != UNIT_TEXT) {
        return write_unit(type->unit, us, json);
    }
    int64_t days = us / CHANGE_DAY_US - (us < 0);
    add_stamp_text(json, days, us % CHANGE_DAY_US + (us < 0 ? CHANGE_DAY_US : 0),
                   CHANGE_DIGITS_NEEDED);
    return CHANGE_WRITTEN;
}

static ChangeWritten write_stamp(const ChangeType *type, Slice text, Text *json)
{
    int64_t days = 0;
    int64_t us = 0;
    switch (change_time_stamp(text, false, &days, &us)) {
    case MOMENT_NONE:
        return CHANGE_BAD;
    case MOMENT_INFINITY:
        return write_endless(type, INFINITY_US, json);
    case MOMENT_MINUS_INFINITY:
        return write_endless(type, MINUS_INFINITY_US, json);
    case MOMENT_FINITE:
        break;
    }
    if (type->unit == UNIT_TEXT) {
        add_stamp_text(json, days, us, CHANGE_DIGITS_NEEDED);
        return CHANGE_WRITTEN;
    }
    if (type->unit == UNIT_MS) {
        change_json_number(json, days * (CHANGE_DAY_US / 1000) + us / 1000);
        return CHANGE_WRITTEN;
    }
    int64_t midnight_ns = 0;
    if (type->unit == UNIT_NS && __builtin_mul_overflow(days, CHANGE_DAY_US * 1000, &midnight_ns)) {
        return CHANGE_AS_NULL;
    }
    /* Java's microseconds: whole seconds end at 64 bits, and the fraction wraps behind them. */
    int64_t total = 0;
    int64_t seconds = days * (CHANGE_DAY_US / 1000000) + us / 1000000;
    if (__builtin_mul_overflow(seconds, 1000000, &total)) {
        total = seconds > 0 ? INT64_MAX : INT64_MIN;
    }
    (void)__builtin_add_overflow(total, us % 1000000, &total);
    return write_unit(type->unit, total, json);
}

static ChangeWritten write_stamp_zone(const ChangeType *type, Slice text, Text *json)
{
    text_put_char(json, '"');
    if (change_time_utc_text(json, text, type->digits)) {
        text_put_char(json, '"');
        return CHANGE_WRITTEN;
    }
    text_cut(json, json->length - 1);
    int64_t days = 0;
    int64_t us = 0;
    switch (change_time_stamp(text, true, &days, &us)) {
    case MOMENT_NONE:
        return CHANGE_BAD;
    case MOMENT_INFINITY:
        text_add(json, "\"infinity\"");
        return CHANGE_WRITTEN;
    case MOMENT_MINUS_INFINITY:
        text_add(json, "\"-infinity\"");
        return CHANGE_WRITTEN;
    case MOMENT_FINITE:
        break;
    }
    add_stamp_text(json, days, us, type->digits);
    return CHANGE_WRITTEN;
}

static ChangeWritten write_time_zone(const ChangeType *type, Slice text, Text *json)
{
    int64_t us = 0;
    int32_t offset = 0;
    if (!change_time_clock(text, true, &us, &offset)) {
        return CHANGE_BAD;
    }
    if (type->in_array) {
        us -= us % 1000000;
    }
    us = (us - (int64_t)offset * 1000000) % CHANGE_DAY_US;
    text_add_char(json, '"');
    change_time_clock_text(json, us < 0 ? us + CHANGE_DAY_US : us, CHANGE_DIGITS_NEEDED);
    text_add(json, "Z\"");
    return CHANGE_WRITTEN;
}

static ChangeWritten write_interval(const ChangeType *type, Slice text, Text *json)
{
    ChangeInterval interval;
    if (!change_time_interval(text, &interval)) {
        return CHANGE_BAD;
    }
    if (type->modes->interval == INTERVAL_STRING) {
        text_add_char(json, '"');
        change_time_interval_text(json, &interval);
        text_add_char(json, '"');
    } else {
        change_json_number(json, change_time_interval_us(&interval));
    }
    return CHANGE_WRITTEN;
}

/* Points and lengths: "[(1,2),(3,4)]" is "[(1.0,2.0),(3.0,4.0)]". */
static ChangeWritten write_shape_text(const ChangeType *type, Slice text, ChangeOut *out)
{
    text_clear(&out->scratch);
    for (size_t at = 0; at < text.length;) {
        size_t end = at;
        while (end < text.length && strchr("()[]{}<>,", text.data[end]) == NULL) {
            end++;
        }
        if (end == at) {
            text_add_char(&out->scratch, text.data[at++]);
            continue;
        }
        Slice number = {.data = text.data + at, .length = end - at};
        if (change_number_special(number) != SPECIAL_NONE) {
            text_add_slice(&out->scratch, number);
        } else if (!change_number_float(&out->scratch, number, false)) {
            return CHANGE_BAD;
        }
        at = end;
    }
    change_value_binary(type->modes->binary,
                        (Slice){.data = text_string(&out->scratch), .length = out->scratch.length},
                        &out->json);
    return CHANGE_WRITTEN;
}

/* One of the two numbers of "(1,2.5)": its JSON, and its bytes, the lowest first. */
static bool add_coordinate(Slice number, Text *json, ChangeOut *out)
{
    text_clear(&out->item);
    text_add_slice(&out->item, number);
    char *end = NULL;
    double value = strtod(text_string(&out->item), &end);
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    bits = htole64(bits);
    text_append(&out->scratch, (const char *)&bits, sizeof(bits));
    return number.length > 0 && *end == '\0' && change_number_float(json, number, false);
}

static ChangeWritten write_point(Slice text, ChangeOut *out)
{
    static const char HEAD[] = {1, 1, 0, 0, 0}; /* WKB: little-endian, a point */
    const char *comma = memchr(text.data, ',', text.length);
    if (comma == NULL || text.data[0] != '(' || text.data[text.length - 1] != ')') {
        return CHANGE_BAD;
    }
    Slice x = {.data = text.data + 1, .length = (size_t)(comma - text.data - 1)};
    Slice y = {.data = comma + 1, .length = (size_t)(text.data + text.length - 1 - (comma + 1))};
    text_clear(&out->scratch);
    text_append(&out->scratch, HEAD, sizeof(HEAD));
    text_add(&out->json, "{\"x\":");
    if (!add_coordinate(x, &out->json, out)) {
        return CHANGE_BAD;
    }
    text_add(&out->json, ",\"y\":");
    if (!add_coordinate(y, &out->json, out)) {
        return CHANGE_BAD;
    }
    text_add(&out->json, ",\"wkb\":\"");
    change_json_base64(&out->json, (const unsigned char *)out->scratch.data, out->scratch.length,
                       false);
    text_add(&out->json, "\",\"srid\":null}");
    return CHANGE_WRITTEN;
}

static ChangeWritten write_shape(const ChangeType *type, Slice text, ChangeOut *out)
{
    switch (type->shape) {
    case SHAPE_BOOLEAN:
        return write_boolean(text, "t", "f", &out->json);
    case SHAPE_WHOLE:
        return write_whole(type, text, &out->json);
    case SHAPE_FLOAT:
        return written_if(change_number_float(&out->json, text, type->single));
    case SHAPE_DECIMAL:
    case SHAPE_DECIMAL_ANY:
        return write_decimal(type, text, out);
    case SHAPE_DECIMAL_TEXT:
        return write_decimal_text(type, text, out);
    case SHAPE_DECIMAL_DOUBLE:
        return written_if(change_number_double(&out->json, text, &out->scratch));
    case SHAPE_MONEY:
    case SHAPE_MONEY_TEXT:
    case SHAPE_MONEY_DOUBLE:
        return write_money(type, text, out);
    case SHAPE_TEXT:
        return written_if(change_json_string(&out->json, text));
    case SHAPE_ENUM:
        return change_label_known(type, text, out)
                   ? written_if(change_json_string(&out->json, text))
                   : CHANGE_STALE;
    case SHAPE_BYTES:
        return write_bytes(type, text, out);
    case SHAPE_OPAQUE:
        change_value_binary(type->modes->binary, text, &out->json);
        return CHANGE_WRITTEN;
    case SHAPE_OPAQUE_SHAPE:
        return write_shape_text(type, text, out);
    case SHAPE_NEVER:
        return CHANGE_AS_NULL;
    case SHAPE_BIT:
        return write_boolean(text, "1", "0", &out->json);
    case SHAPE_BITS:
        return write_bits(text, out);
    case SHAPE_DATE:
        return write_date(type, text, &out->json);
    case SHAPE_TIME:
        return write_time(type, text, &out->json);
    case SHAPE_STAMP:
        return write_stamp(type, text, &out->json);
    case SHAPE_STAMP_ZONE:
        return write_stamp_zone(type, text, &out->json);
    case SHAPE_TIME_ZONE:
        return write_time_zone(type, text, &out->json);
    case SHAPE_INTERVAL:
        return write_interval(type, text, &out->json);
    case SHAPE_HSTORE:
        return written_if(change_hstore_write(text, type->modes->hstore, out));
    case SHAPE_POINT:
        return write_point(text, out);
    case SHAPE_GEOMETRY:
        return written_if(change_geometry_write(text, out));
    case SHAPE_ARRAY:
        return change_array_write(type, text, change_value_write, out);
    case SHAPE_VECTOR:
        text_add(&out->json, "[]");
        return CHANGE_WRITTEN;
    }
    return CHANGE_BAD;
}

ChangeWritten change_value_write(const ChangeType *type, Slice text, ChangeOut *out)
{
    size_t begin = out->json.length;
    ChangeWritten written = write_shape(type, text, out);
    if (written != CHANGE_WRITTEN) {
        text_cut(&out->json, begin);
    }
    return written;
}
