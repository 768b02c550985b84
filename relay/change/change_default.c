#include "change/change_default.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
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
    return at > text && *at == '(' && strchr(at, ')') != NULL;
}

/* What stands between the first quotes, else the whole; the null slice: NULL. */
static Slice literal_of(const char *text)
{
    const char *quote = strchr(text, '\'');
    if (quote == NULL) {
        return strncmp(text, "NULL::", 6) == 0 ? SLICE_NULL : slice_of(text);
    }
    const char *end = strchr(quote + 1, '\'');
    return end != NULL ? (Slice){.data = quote + 1, .length = (size_t)(end - quote - 1)}
                       : SLICE_NULL;
}

/* An enum's is the whole between the quotes, whatever quotes are in it. */
static Slice enum_literal(const char *text)
{
    const char *cast = NULL;
    for (const char *at = text; (at = strstr(at, "::")) != NULL; at++) {
        cast = at;
    }
    if (cast == NULL || cast - text < 2 || text[0] != '\'' || cast[-1] != '\'') {
        return SLICE_NULL;
    }
    return (Slice){.data = text + 1, .length = (size_t)(cast - text - 2)};
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

char *change_default_read(const ChangeType *type, uint32_t oid, bool is_enum,
                          const char *expression, ChangeOut *out)
{
    if (is_enum) {
        return written(type, enum_literal(expression), out);
    }
    if (type->shape == SHAPE_DECIMAL_ANY) {
        return NULL; /* a struct cannot be a default */
    }
    if (oid == OID_INTERVAL) {
        return is_call(expression) ? NULL : written(type, literal_of(expression), out);
    }
    for (size_t i = 0; i < sizeof(RULES) / sizeof(*RULES); i++) {
        if (RULES[i].oid != oid) {
            continue;
        }
        Slice literal =
            is_call(expression) ? slice_of(RULES[i].of_function) : literal_of(expression);
        if (oid == OID_BOOL && literal.data != NULL) {
            literal = slice_equal(literal, SLICE_LITERAL("true")) ? SLICE_LITERAL("t")
                                                                  : SLICE_LITERAL("f");
        }
        if (type->shape == SHAPE_DECIMAL_TEXT && type->scaled && literal.data != NULL) {
            return scaled(type, literal, out);
        }
        return written(type, literal, out);
    }
    return NULL;
}
