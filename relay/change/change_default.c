#include "change/change_default.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "change/change_json.h"
#include "change/change_number.h"
#include "change/change_oid.h"
#include "change/change_value.h"

/* Types whose defaults are read, and the text that stands for a function's result. */
typedef struct DefaultRule {
    uint32_t oid;
    const char *of_function;
} DefaultRule;

static const DefaultRule RULES[] = {
    {OID_BOOL, "f"},
    {OID_INT8, "0"},
    {OID_INT2, "0"},
    {OID_INT4, "0"},
    {OID_TEXT, ""},
    {OID_JSON, "{}"},
    {OID_XML, ""},
    {OID_FLOAT4, "0"},
    {OID_FLOAT8, "0"},
    {OID_BPCHAR, ""},
    {OID_VARCHAR, ""},
    {OID_DATE, "1970-01-01"},
    {OID_TIME, "00:00:00"},
    {OID_TIMESTAMP, "1970-01-01 00:00:00"},
    {OID_TIMESTAMPTZ, "1970-01-01 00:00:00+00"},
    {OID_BIT, "00"},
    {OID_VARBIT, "0"},
    {OID_NUMERIC, "0.0"},
    {OID_UUID, "00000000-0000-0000-0000-000000000000"},
    {OID_JSONB, "{}"},
    {OID_INTERVAL, "00:00:00"},
};

/* "now()", "nextval('x'::regclass)", "(lower('A'::text))": a name and its parentheses in front. */
static bool is_call(const char *text)
{
    static const char *const WORDS[] = {"current_timestamp", "current_time", "current_date",
                                        "localtime", "localtimestamp"};
    for (size_t i = 0; i < sizeof(WORDS) / sizeof(*WORDS); i++) {
        if (strcasecmp(text, WORDS[i]) == 0) {
            return true;
        }
    }
    text += *text == '(';
    const char *at = text;
    while (isalnum((unsigned char)*at) || *at == '_' || *at == '.') {
        at++;
    }
    size_t line = strcspn(at, "\r\n");
    return at > text && *at == '(' && memchr(at, ')', line) != NULL;
}

/* What stands between the first two quotes of one line, else the whole; the null slice: NULL, or
 * nothing that Debezium could read. */
static Slice literal_of(const char *text)
{
    const char *quote = strchr(text, '\'');
    if (quote == NULL) {
        return strncmp(text, "NULL::", 6) == 0 ? SLICE_NULL : slice_of(text);
    }
    const char *end = NULL;
    for (; quote != NULL && (end = strchr(quote + 1, '\'')) != NULL; quote = end) {
        Slice between = {.data = quote + 1, .length = (size_t)(end - quote - 1)};
        if (memchr(between.data, '\n', between.length) == NULL &&
            memchr(between.data, '\r', between.length) == NULL) {
            return between;
        }
    }
    return SLICE_NULL;
}

/* An enum's is the whole between the quotes, whatever quotes are in it: "it''s" keeps both. */
static char *enum_default(const char *text, ChangeOut *out)
{
    const char *cast = NULL;
    for (const char *at = text; (at = strstr(at, "::")) != NULL; at++) {
        cast = at;
    }
    text_clear(&out->json);
    if (cast == NULL || cast - text < 2 || text[0] != '\'' || cast[-1] != '\'' ||
        !change_json_string(&out->json,
                            (Slice){.data = text + 1, .length = (size_t)(cast - text - 2)})) {
        return NULL;
    }
    return x_strdup(text_string(&out->json));
}

/* Values that Java's dates and times do not have: as a default, they are the last of those that
 * they have (with the arithmetic of the mode), or nothing. */
typedef struct Endless {
    uint32_t oid;
    const char *literal;
    const char *json[UNIT_TEXT + 1]; /* by the unit of the type; NULL: nothing */
} Endless;

static const Endless ENDLESS[] = {
    {OID_DATE, "infinity", {[UNIT_DAYS] = "169560311", [UNIT_TEXT] = "\"+999999999-12-31Z\""}},
    {OID_DATE, "-infinity", {[UNIT_DAYS] = "-170999002", [UNIT_TEXT] = "\"-999999999-01-01Z\""}},
    {OID_TIME,
     "24:00:00",
     {[UNIT_MS] = "86399999",
      [UNIT_US] = "86399999999",
      [UNIT_NS] = "86399999999999",
      [UNIT_TEXT] = "\"23:59:59.999999999Z\""}},
    {OID_TIMESTAMP,
     "infinity",
     {[UNIT_US] = "-9223372036853775810",
      [UNIT_TEXT] = "\"+999999999-12-31T23:59:59.999999999Z\""}},
    {OID_TIMESTAMP,
     "-infinity",
     {[UNIT_US] = "-9223372036854775808", [UNIT_TEXT] = "\"-999999999-01-01T00:00:00Z\""}},
    {OID_TIMESTAMPTZ, "infinity", {NULL}},
    {OID_TIMESTAMPTZ, "-infinity", {NULL}},
};

static const Endless *endless_of(uint32_t oid, Slice literal)
{
    for (size_t i = 0; i < sizeof(ENDLESS) / sizeof(*ENDLESS); i++) {
        if (ENDLESS[i].oid == oid && literal.data != NULL &&
            slice_equal(literal, slice_of(ENDLESS[i].literal))) {
            return &ENDLESS[i];
        }
    }
    return NULL;
}

static char *written(const ChangeType *type, Slice literal, ChangeOut *out)
{
    text_clear(&out->json);
    if (literal.data == NULL || change_value_write(type, literal, out) != CHANGE_WRITTEN) {
        return NULL;
    }
    return x_strdup(text_string(&out->json));
}

/* A numeric with as many digits behind the point as its column has; NULL: it has more. */
static char *scaled(const ChangeType *type, Slice literal, ChangeOut *out)
{
    const char *point = memchr(literal.data, '.', literal.length);
    size_t whole = point != NULL ? (size_t)(point - literal.data) : literal.length;
    size_t scale = (size_t)type->scale;
    while (point != NULL && literal.length - whole - 1 > scale) {
        if (literal.data[literal.length - 1] != '0') {
            return NULL;
        }
        literal.length--;
    }
    AUTO_BUFFER text = TEXT_EMPTY;
    text_append(&text, literal.data, scale > 0 ? literal.length : whole);
    for (size_t digits = text.length > whole ? text.length - whole - 1 : 0; digits < scale;
         digits++) {
        text_add(&text, text.length == whole ? ".0" : "0");
    }
    return written(type, (Slice){.data = text_string(&text), .length = text.length}, out);
}

/* Bits, of which every character is one, whatever it is: "(5)::bit(3)" has eleven zeros. */
static char *bits_default(const ChangeType *type, Slice literal, ChangeOut *out)
{
    AUTO_BUFFER bits = TEXT_EMPTY;
    for (size_t i = 0; i < literal.length; i++) {
        text_add_char(&bits, literal.data[i] == '1' ? '1' : '0');
    }
    return written(type, (Slice){.data = text_string(&bits), .length = bits.length}, out);
}

static char *of_literal(const ChangeType *type, uint32_t oid, Slice literal, ChangeOut *out)
{
    const Endless *endless = endless_of(oid, literal);
    if (endless != NULL) {
        const char *json = endless->json[type->unit];
        return json != NULL ? x_strdup(json) : NULL;
    }
    if (oid == OID_BOOL && literal.data != NULL) {
        literal =
            slice_equal(literal, SLICE_LITERAL("true")) ? SLICE_LITERAL("t") : SLICE_LITERAL("f");
    }
    if (oid == OID_NUMERIC && literal.data != NULL) {
        if (change_number_special(literal) != SPECIAL_NONE) {
            return NULL;
        }
        if (type->scaled) {
            return scaled(type, literal, out);
        }
    }
    return type->shape == SHAPE_BITS && literal.data != NULL ? bits_default(type, literal, out)
                                                             : written(type, literal, out);
}

char *change_default_read(const ChangeType *type, uint32_t oid, bool is_enum,
                          const char *expression, ChangeOut *out)
{
    if (is_enum) {
        return enum_default(expression, out);
    }
    if (type->shape == SHAPE_DECIMAL_ANY) {
        return NULL; /* a struct cannot be a default */
    }
    for (size_t i = 0; i < sizeof(RULES) / sizeof(*RULES); i++) {
        if (RULES[i].oid == oid) {
            bool call = is_call(expression);
            return of_literal(type, oid,
                              call ? slice_of(RULES[i].of_function) : literal_of(expression), out);
        }
    }
    return NULL;
}
