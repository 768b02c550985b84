#include "change/change_type.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_field.h"
#include "change/change_json.h"
#include "change/change_oid.h"

enum { VARLENA_HEADER = 4, BITS_ANY = 2147483647 };

#define PLACEHOLDER        "__debezium_unavailable_value"
#define PLACEHOLDER_BASE64 "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
#define PLACEHOLDER_UUID   "b68a35a7-17ad-35b3-af2a-ae46edb4545a"

#define NAMED(name)        ",\"name\":\"" name "\",\"version\":1"

typedef struct Simple {
    uint32_t oid;
    ChangeShape shape;
    const char *type; /* of Connect */
    const char *tail;
    const char *zero;
    bool placeholder; /* an unchanged value has one */
} Simple;

/* What is the same in all modes. */
static const Simple SIMPLE[] = {
    {OID_BOOL, SHAPE_BOOLEAN, "boolean", "", "false", false},
    {OID_INT2, SHAPE_WHOLE, "int16", "", "0", false},
    {OID_INT4, SHAPE_WHOLE, "int32", "", "0", false},
    {OID_INT8, SHAPE_WHOLE, "int64", "", "0", false},
    {OID_OID, SHAPE_WHOLE, "int64", "", "0", false},
    {OID_FLOAT4, SHAPE_FLOAT, "float", "", "0.0", false},
    {OID_FLOAT8, SHAPE_FLOAT, "double", "", "0.0", false},
    {OID_TEXT, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_VARCHAR, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_BPCHAR, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_CHAR, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_NAME, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_INET, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_CIDR, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_MACADDR, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_MACADDR8, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_INT4RANGE, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_INT8RANGE, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_NUMRANGE, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_TSRANGE, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_TSTZRANGE, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_DATERANGE, SHAPE_TEXT, "string", "", "\"\"", true},
    {OID_UUID, SHAPE_TEXT, "string", NAMED("io.debezium.data.Uuid"), "\"\"", true},
    {OID_JSON, SHAPE_TEXT, "string", NAMED("io.debezium.data.Json"), "\"\"", true},
    {OID_JSONB, SHAPE_TEXT, "string", NAMED("io.debezium.data.Json"), "\"\"", true},
    {OID_XML, SHAPE_TEXT, "string", NAMED("io.debezium.data.Xml"), "\"\"", true},
    {OID_TSVECTOR, SHAPE_TEXT, "string", NAMED("io.debezium.data.Tsvector"), "\"\"", true},
    {OID_TIMESTAMPTZ, SHAPE_STAMP_ZONE, "string", NAMED("io.debezium.time.ZonedTimestamp"),
     "\"1970-01-01T00:00:00Z\"", false},
    {OID_TIMETZ, SHAPE_TIME_ZONE, "string", NAMED("io.debezium.time.ZonedTime"), "\"00:00:00Z\"",
     false},
};

static void set(char **where, char *text)
{
    free(*where);
    *where = text;
}

static char *type_head(const char *name)
{
    return x_format("\"type\":\"%s\"", name);
}

/* The schema's pieces and the zero, as constants. */
static void describe(ChangeType *type, const char *connect, const char *tail, const char *zero)
{
    set(&type->head, type_head(connect));
    set(&type->tail, x_strdup(tail));
    set(&type->zero, x_strdup(zero));
}

static bool simple_type(ChangeType *type, uint32_t oid, int32_t modifier)
{
    for (size_t i = 0; i < sizeof(SIMPLE) / sizeof(*SIMPLE); i++) {
        const Simple *simple = &SIMPLE[i];
        if (simple->oid != oid) {
            continue;
        }
        type->shape = simple->shape;
        describe(type, simple->type, simple->tail, simple->zero);
        if (simple->placeholder) {
            type->unchanged = x_strdup("\"" PLACEHOLDER "\"");
        }
        type->single = oid == OID_FLOAT4;
        type->digits = modifier >= 0 ? modifier : 6;
        type->low = oid == OID_INT2 ? INT16_MIN : oid == OID_INT4 ? INT32_MIN : INT64_MIN;
        type->high = oid == OID_INT2 ? INT16_MAX : oid == OID_INT4 ? INT32_MAX : INT64_MAX;
        if (oid == OID_OID) {
            type->low = 0;
            type->high = UINT32_MAX;
        }
        return true;
    }
    return false;
}

static void numeric_type(ChangeType *type, int32_t modifier)
{
    type->scaled = modifier >= VARLENA_HEADER;
    /* Debezium's, of a negative one, too */
    type->scale = type->scaled ? (modifier - VARLENA_HEADER) & 0xFFFF : 0;
    if (type->modes->decimal == DECIMAL_STRING) {
        type->shape = SHAPE_DECIMAL_TEXT;
        describe(type, "string", "", "");
        set(&type->zero, x_format("\"0%s%0*d\"", type->scale > 0 ? "." : "", type->scale, 0));
        if (type->scale == 0) {
            set(&type->zero, x_strdup("\"0\""));
        }
        return;
    }
    if (type->modes->decimal == DECIMAL_DOUBLE) {
        type->shape = SHAPE_DECIMAL_DOUBLE;
        describe(type, "double", "", "0.0");
        return;
    }
    if (!type->scaled) {
        type->shape = SHAPE_DECIMAL_ANY;
        describe(
            type, "struct",
            NAMED("io.debezium.data.VariableScaleDecimal") ",\"doc\":\"Variable scaled decimal\"",
            "{\"scale\":0,\"value\":\"AA==\"}");
        set(&type->head, x_strdup("\"type\":\"struct\",\"fields\":["
                                  "{\"type\":\"int32\",\"optional\":false,\"field\":\"scale\"},"
                                  "{\"type\":\"bytes\",\"optional\":false,\"field\":\"value\"}]"));
        return;
    }
    type->shape = SHAPE_DECIMAL;
    describe(type, "bytes", "", "\"AA==\"");
    set(&type->tail,
        x_format(NAMED("org.apache.kafka.connect.data.Decimal") ",\"parameters\":{\"scale\":\"%d\","
                                                                "\"connect.decimal.precision\":"
                                                                "\"%d\"}",
                 type->scale, (modifier - VARLENA_HEADER) >> 16 & 0xFFFF));
}

static void money_type(ChangeType *type)
{
    switch (type->modes->decimal) {
    case DECIMAL_PRECISE:
        type->shape = SHAPE_MONEY;
        type->scale = 2;
        describe(type, "bytes",
                 NAMED("org.apache.kafka.connect.data.Decimal") ",\"parameters\":{\"scale\":\"2\"}",
                 "\"AA==\"");
        return;
    case DECIMAL_STRING:
        type->shape = SHAPE_MONEY_TEXT;
        describe(type, "string", "", "\"0.00\"");
        return;
    case DECIMAL_DOUBLE:
        type->shape = SHAPE_MONEY_DOUBLE;
        describe(type, "double", "", "0.0");
        return;
    }
}

static void binary_type(ChangeType *type, ChangeShape shape)
{
    /* Debezium forgot it in two of the modes, and in the last one to write it as digits. */
    static const char *const UNCHANGED[] = {
        [BINARY_BYTES] = "\"" PLACEHOLDER_BASE64 "\"", [BINARY_HEX] = "\"" PLACEHOLDER "\""};
    type->shape = shape;
    describe(type, type->modes->binary == BINARY_BYTES ? "bytes" : "string", "", "\"\"");
    const char *unchanged = UNCHANGED[type->modes->binary];
    set(&type->unchanged, unchanged != NULL ? x_strdup(unchanged) : NULL);
}

static void bits_type(ChangeType *type, uint32_t oid, int32_t modifier)
{
    int32_t length = modifier > 0 ? modifier : oid == OID_BIT ? 1 : BITS_ANY;
    if (length == 1) {
        type->shape = SHAPE_BIT;
        describe(type, "boolean", "", "false");
        return;
    }
    type->shape = SHAPE_BITS;
    describe(type, "bytes", "", "\"\"");
    set(&type->tail,
        x_format(NAMED("io.debezium.data.Bits") ",\"parameters\":{\"length\":\"%d\"}", length));
}

typedef struct Temporal {
    ChangeUnit unit;
    const char *type;
    const char *name;
} Temporal;

static void temporal_type(ChangeType *type, ChangeShape shape, const Temporal *temporal,
                          const char *zero)
{
    type->shape = shape;
    type->unit = temporal->unit;
    describe(type, temporal->type, "", temporal->unit == UNIT_TEXT ? zero : "0");
    set(&type->tail, x_format(",\"name\":\"%s\",\"version\":1", temporal->name));
}

static void date_type(ChangeType *type)
{
    static const Temporal DAYS = {UNIT_DAYS, "int32", "io.debezium.time.Date"};
    static const Temporal CONNECT = {UNIT_DAYS, "int32", "org.apache.kafka.connect.data.Date"};
    static const Temporal ISO = {UNIT_TEXT, "string", "io.debezium.time.IsoDate"};
    ChangeTime mode = type->modes->time;
    temporal_type(type, SHAPE_DATE,
                  mode == TIME_CONNECT     ? &CONNECT
                  : mode == TIME_ISOSTRING ? &ISO
                                           : &DAYS,
                  "\"1970-01-01Z\"");
}

static void time_type(ChangeType *type, int32_t modifier)
{
    static const Temporal MS = {UNIT_MS, "int32", "io.debezium.time.Time"};
    static const Temporal US = {UNIT_US, "int64", "io.debezium.time.MicroTime"};
    static const Temporal BY_MODE[] = {
        [TIME_ADAPTIVE_TIME_MICROSECONDS] = {UNIT_US, "int64", "io.debezium.time.MicroTime"},
        [TIME_CONNECT] = {UNIT_MS, "int32", "org.apache.kafka.connect.data.Time"},
        [TIME_ISOSTRING] = {UNIT_TEXT, "string", "io.debezium.time.IsoTime"},
        [TIME_MICROSECONDS] = {UNIT_US, "int64", "io.debezium.time.MicroTime"},
        [TIME_NANOSECONDS] = {UNIT_NS, "int64", "io.debezium.time.NanoTime"},
    };
    bool coarse = modifier >= 0 && modifier <= 3;
    temporal_type(type, SHAPE_TIME,
                  type->modes->time != TIME_ADAPTIVE ? &BY_MODE[type->modes->time]
                  : coarse                           ? &MS
                                                     : &US,
                  "\"00:00:00Z\"");
}

static void stamp_type(ChangeType *type, int32_t modifier)
{
    static const Temporal MS = {UNIT_MS, "int64", "io.debezium.time.Timestamp"};
    static const Temporal US = {UNIT_US, "int64", "io.debezium.time.MicroTimestamp"};
    static const Temporal BY_MODE[] = {
        [TIME_CONNECT] = {UNIT_MS, "int64", "org.apache.kafka.connect.data.Timestamp"},
        [TIME_ISOSTRING] = {UNIT_TEXT, "string", "io.debezium.time.IsoTimestamp"},
        [TIME_MICROSECONDS] = {UNIT_US, "int64", "io.debezium.time.MicroTimestamp"},
        [TIME_NANOSECONDS] = {UNIT_NS, "int64", "io.debezium.time.NanoTimestamp"},
    };
    bool coarse = modifier >= 0 && modifier <= 3;
    temporal_type(type, SHAPE_STAMP,
                  type->modes->time > TIME_ADAPTIVE_TIME_MICROSECONDS ? &BY_MODE[type->modes->time]
                  : coarse                                            ? &MS
                                                                      : &US,
                  "\"1970-01-01T00:00:00Z\"");
}

static void interval_type(ChangeType *type)
{
    type->shape = SHAPE_INTERVAL;
    if (type->modes->interval == INTERVAL_STRING) {
        describe(type, "string", NAMED("io.debezium.time.Interval"), "\"P0Y0M0DT0H0M0S\"");
    } else {
        describe(type, "int64", NAMED("io.debezium.time.MicroDuration"), "0");
    }
}

static void hstore_type(ChangeType *type)
{
    type->shape = SHAPE_HSTORE;
    if (type->modes->hstore == HSTORE_MAP) {
        describe(type, "map", "", "{}");
        set(&type->head,
            x_strdup("\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},"
                     "\"values\":{\"type\":\"string\",\"optional\":true}"));
        set(&type->unchanged, x_strdup("{\"" PLACEHOLDER "\":\"" PLACEHOLDER "\"}"));
        return;
    }
    describe(type, "string", NAMED("io.debezium.data.Json"), "\"{}\"");
    set(&type->unchanged, x_strdup("\"{\\\"" PLACEHOLDER "\\\":\\\"" PLACEHOLDER "\\\"}\""));
}

static void point_type(ChangeType *type)
{
    type->shape = SHAPE_POINT;
    describe(type, "struct",
             NAMED("io.debezium.data.geometry.Point") ",\"doc\":\"Geometry (POINT)\"",
             "{\"x\":0.0,\"y\":0.0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null}");
    set(&type->head, x_strdup("\"type\":\"struct\",\"fields\":["
                              "{\"type\":\"double\",\"optional\":false,\"field\":\"x\"},"
                              "{\"type\":\"double\",\"optional\":false,\"field\":\"y\"},"
                              "{\"type\":\"bytes\",\"optional\":true,\"field\":\"wkb\"},"
                              "{\"type\":\"int32\",\"optional\":true,\"field\":\"srid\"}]"));
}

/* Of PostGIS. Debezium's schema of a geometry is optional whatever the column is. */
static void geometry_type(ChangeType *type, bool geography)
{
    type->shape = SHAPE_GEOMETRY;
    type->optional = !geography;
    describe(type, "struct",
             geography ? NAMED("io.debezium.data.geometry.Geography") ",\"doc\":\"Geography\""
                       : NAMED("io.debezium.data.geometry.Geometry") ",\"doc\":\"Geometry\"",
             "{\"wkb\":\"AQcAAAAAAAAA\",\"srid\":null}");
    set(&type->head, x_strdup("\"type\":\"struct\",\"fields\":["
                              "{\"type\":\"bytes\",\"optional\":false,\"field\":\"wkb\"},"
                              "{\"type\":\"int32\",\"optional\":true,\"field\":\"srid\"}]"));
}

/* A string of a type with a name of its own, or none. */
static void string_type(ChangeType *type, const char *tail)
{
    type->shape = SHAPE_TEXT;
    describe(type, "string", tail, "\"\"");
    set(&type->unchanged, x_strdup("\"" PLACEHOLDER "\""));
}

static bool is_geometric(uint32_t oid)
{
    return (oid >= OID_LSEG && oid <= OID_POLYGON) || oid == OID_LINE || oid == OID_CIRCLE;
}

static bool unknown_type(ChangeType *type, uint32_t oid)
{
    switch (type->modes->unknown) {
    case UNKNOWN_OMIT:
        return false;
    case UNKNOWN_TEXT:
        string_type(type, "");
        return true;
    case UNKNOWN_BYTES:
        binary_type(type, is_geometric(oid) ? SHAPE_OPAQUE_SHAPE : SHAPE_OPAQUE);
        return true;
    }
    return false;
}

static void enum_type(ChangeType *type, const ChangeTypeFacts *facts)
{
    string_type(type, "");
    AUTO_BUFFER tail = TEXT_EMPTY;
    text_add(&tail, NAMED("io.debezium.data.Enum") ",\"parameters\":{\"allowed\":");
    const char *labels = facts->labels != NULL ? facts->labels : "";
    (void)change_json_string(&tail, slice_of(labels));
    text_add(&tail, "}");
    if ((type->modes->told & TOLD_SCHEMAS) != 0) {
        type->shape = SHAPE_ENUM;
        type->oid = facts->oid;
        type->labels = x_strdup(labels);
    }
    set(&type->tail, x_strdup(text_string(&tail)));
}

static bool type_of_extension(ChangeType *type, const ChangeTypeFacts *facts)
{
    if (strcmp(facts->name, "hstore") == 0) {
        hstore_type(type);
    } else if (strcmp(facts->name, "citext") == 0 || strcmp(facts->name, "isbn") == 0) {
        string_type(type, "");
    } else if (strcmp(facts->name, "ltree") == 0) {
        string_type(type, NAMED("io.debezium.data.Ltree"));
    } else if (strcmp(facts->name, "geometry") == 0) {
        geometry_type(type, false);
    } else if (strcmp(facts->name, "geography") == 0) {
        geometry_type(type, true);
    } else {
        return false;
    }
    return true;
}

static bool builtin_type(ChangeType *type, uint32_t oid, int32_t modifier)
{
    switch (oid) {
    case OID_NUMERIC:
        numeric_type(type, modifier);
        return true;
    case OID_MONEY:
        money_type(type);
        return true;
    case OID_BYTEA:
        binary_type(type, SHAPE_BYTES);
        return true;
    case OID_BIT:
    case OID_VARBIT:
        bits_type(type, oid, modifier);
        return true;
    case OID_DATE:
        date_type(type);
        return true;
    case OID_TIME:
        time_type(type, modifier);
        return true;
    case OID_TIMESTAMP:
        stamp_type(type, modifier);
        return true;
    case OID_INTERVAL:
        interval_type(type);
        return true;
    case OID_POINT:
        point_type(type);
        return true;
    case OID_OIDVECTOR:
    case OID_INT2VECTOR:
        type->shape = SHAPE_VECTOR;
        describe(type, "array", "", "[]");
        set(&type->head,
            x_format("\"type\":\"array\",\"items\":{\"type\":\"%s\",\"optional\":false}",
                     oid == OID_OIDVECTOR ? "int64" : "int16"));
        return true;
    default:
        return simple_type(type, oid, modifier);
    }
}

/* Elements of which Debezium has no arrays, whatever include.unknown.datatypes says. */
static bool has_no_arrays(uint32_t element)
{
    switch (element) {
    case OID_MONEY:
    case OID_NAME:
    case OID_INTERVAL:
    case OID_VARBIT:
    case OID_XML:
    case OID_POINT:
    case OID_REFCURSOR:
        return true;
    default:
        return false;
    }
}

static void array_unchanged(ChangeType *type, uint32_t element)
{
    switch (element) {
    case OID_TEXT:
    case OID_VARCHAR:
    case OID_BPCHAR:
    case OID_JSON:
    case OID_JSONB:
        type->unchanged = x_format("[%s]", type->element->unchanged);
        return;
    case OID_BYTEA: /* bytes, which no schema of strings takes */
        if (type->modes->binary == BINARY_BYTES) {
            type->unchanged = x_format("[%s]", type->element->unchanged);
        }
        return;
    case OID_UUID:
        type->unchanged = x_strdup("[\"" PLACEHOLDER_UUID "\"]");
        return;
    case OID_DATE: /* numbers, which only these schemas of dates take */
        if (type->modes->time == TIME_CONNECT || type->modes->time == TIME_ISOSTRING) {
            return;
        }
        __attribute__((fallthrough));
    case OID_INT4:
    case OID_INT8: {
        AUTO_BUFFER list = TEXT_EMPTY;
        static const char text[] = PLACEHOLDER;
        for (size_t i = 0; text[i] != '\0'; i++) {
            text_printf(&list, "%c%d", i == 0 ? '[' : ',', text[i]);
        }
        text_add(&list, "]");
        type->unchanged = x_strdup(text_string(&list));
        return;
    }
    default:
        return;
    }
}

/* What each element is; a domain's is as unknown as any. NULL: none. */
static ChangeType *element_type(const ChangeType *type, const ChangeCatalog *catalog,
                                const ChangeTypeFacts *facts, int32_t modifier)
{
    if (facts->kind != 'd') {
        return change_type_new(catalog, type->modes, facts->oid, modifier);
    }
    ChangeType *element = x_calloc(1, sizeof(*element));
    element->modes = type->modes;
    if (!unknown_type(element, 0)) {
        change_type_free(&element);
    }
    return element;
}

static bool array_type(ChangeType *type, const ChangeCatalog *catalog, uint32_t element,
                       int32_t modifier)
{
    const ChangeTypeFacts *facts = change_catalog_type(catalog, element);
    if (element == OID_BIT) {
        bits_type(type, element, modifier);
        type->shape = SHAPE_NEVER;
        return true;
    }
    if (facts == NULL || has_no_arrays(element)) {
        return type->modes->unknown == UNKNOWN_TEXT && unknown_type(type, 0);
    }
    type->element = element_type(type, catalog, facts, modifier);
    if (type->element == NULL) {
        return false;
    }
    type->element->in_array = true;
    type->shape = SHAPE_ARRAY;
    type->delimiter = facts->delimiter;
    bool required = facts->kind == 'e' || facts->kind == 'd' || element == OID_TSVECTOR ||
                    type->element->shape == SHAPE_OPAQUE ||
                    type->element->shape == SHAPE_OPAQUE_SHAPE;
    /* Debezium's schema lets an ltree be NULL, and its converter does not. */
    type->element_required = required || strcmp(facts->name, "ltree") == 0;
    AUTO_BUFFER head = TEXT_EMPTY;
    text_add(&head, "\"type\":\"array\",\"items\":");
    change_field_write(type->element, &(ChangeField){.optional = !required}, &head);
    describe(type, "array", "", "[]");
    set(&type->head, x_strdup(text_string(&head)));
    array_unchanged(type, element);
    return true;
}

/* What a domain is over, or the type itself; NULL: the catalog does not know it. */
static const ChangeTypeFacts *base_of(const ChangeCatalog *catalog, uint32_t *oid,
                                      int32_t *modifier)
{
    const ChangeTypeFacts *facts = change_catalog_type(catalog, *oid);
    while (facts != NULL && facts->kind == 'd') {
        *modifier = *modifier >= 0 ? *modifier : facts->modifier;
        *oid = facts->base;
        facts = change_catalog_type(catalog, *oid);
    }
    return facts;
}

static bool resolve(ChangeType *type, const ChangeCatalog *catalog, uint32_t oid, int32_t modifier)
{
    const ChangeTypeFacts *facts = base_of(catalog, &oid, &modifier);
    if (builtin_type(type, oid, modifier)) {
        return true;
    }
    if (facts != NULL && facts->kind == 'e') {
        enum_type(type, facts);
        return true;
    }
    if (facts != NULL && facts->element != 0) {
        return array_type(type, catalog, facts->element, modifier);
    }
    return (facts != NULL && type_of_extension(type, facts)) || unknown_type(type, oid);
}

ChangeType *change_type_new(const ChangeCatalog *catalog, const ChangeModes *modes, uint32_t oid,
                            int32_t modifier)
{
    ChangeType *type = x_calloc(1, sizeof(*type));
    type->modes = modes;
    if (!resolve(type, catalog, oid, modifier)) {
        change_type_free(&type);
    }
    return type;
}

void change_type_free(ChangeType **type)
{
    ChangeType *old = *type;
    *type = NULL;
    if (old != NULL) {
        change_type_free(&old->element);
        free(old->head);
        free(old->tail);
        free(old->zero);
        free(old->unchanged);
        free(old->labels);
        free(old);
    }
}

bool change_type_is_text(const ChangeType *type)
{
    return type->shape == SHAPE_TEXT || type->shape == SHAPE_ENUM;
}

size_t change_type_length(const ChangeCatalog *catalog, uint32_t oid, int32_t modifier)
{
    (void)base_of(catalog, &oid, &modifier);
    bool limited = (oid == OID_VARCHAR || oid == OID_BPCHAR) && modifier > VARLENA_HEADER;
    return limited ? (size_t)(modifier - VARLENA_HEADER) : 0;
}
