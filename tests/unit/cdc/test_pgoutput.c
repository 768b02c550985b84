#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdc/pgoutput.h"
#include "stub/pgoutput_print.h"

typedef enum Where { EVERYWHERE, NOT_STREAMED, STREAMED, PARALLEL } Where;

/* A message as the documentation lays it out, without its kind and xid. */
typedef struct Sample {
    char kind;
    Where where;
    int protocol; /* the first that has it */
    bool xid;     /* carries one when streamed */
    Slice rest;
    const char *printed; /* not streamed: without an xid */
} Sample;

#define REST(text)                                                                                 \
    {                                                                                              \
        .data = "" text, .length = sizeof(text) - 1                                                \
    }
#define LSN_A    "\0\0\0\0\0\0\1\0"
#define LSN_B    "\0\0\0\0\0\0\1\1"
#define LSN_C    "\0\0\0\0\0\0\1\2"
#define TIME_A   "\0\0\0\0\0\0\2\0"
#define TIME_B   "\0\0\0\0\0\0\2\1"
#define OLD_ROW  "\0\2t\0\0\0\1an"
#define OLD_TEXT "('a', null)"
#define NEW_ROW  "\0\4t\0\0\0\2x'nub\0\0\0\3\0\1\377"
#define NEW_TEXT "('x\\x27', null, unchanged, b'\\x00\\x01\\xff')"

static const Sample SAMPLES[] = {
    {'B', NOT_STREAMED, 1, false, REST(LSN_A TIME_A "\0\0\0\7"), "begin lsn=256 at=512 xid=7"},
    {'M', EVERYWHERE, 1, true, REST("\1" LSN_A "pre\0\0\0\0\4\0a\0b"),
     "message transactional lsn=256 prefix='pre' content='\\x00a\\x00b'"},
    {'M', EVERYWHERE, 1, true, REST("\0" LSN_A "\0\0\0\0\0"),
     "message lsn=256 prefix='' content=''"},
    {'C', NOT_STREAMED, 1, false, REST("\0" LSN_A LSN_B TIME_A), "commit lsn=256 end=257 at=512"},
    {'O', EVERYWHERE, 1, false, REST(LSN_A "here\0"), "origin lsn=256 name='here'"},
    {'R', EVERYWHERE, 1, true,
     REST("\0\0\0\11public\0t\0d\0\2\1id\0\0\0\0\24\377\377\377\377\0b\0\0\0\4\23\0\0\0\24"),
     "relation id=9 schema='public' name='t' identity=d columns=("
     "key 'id' type=20 modifier=-1, 'b' type=1043 modifier=20)"},
    {'R', EVERYWHERE, 1, true, REST("\0\0\0\11\0t\0n\0\0"),
     "relation id=9 schema='' name='t' identity=n columns=()"},
    {'Y', EVERYWHERE, 1, true, REST("\0\0\0\11public\0mood\0"),
     "type id=9 schema='public' name='mood'"},
    {'I', EVERYWHERE, 1, true, REST("\0\0\0\11N" NEW_ROW), "insert relation=9 new=" NEW_TEXT},
    {'I', EVERYWHERE, 1, true, REST("\0\0\0\11N\0\0"), "insert relation=9 new=()"},
    {'I', EVERYWHERE, 1, true, REST("\0\0\0\11N\0\1t\0\0\0\0"), "insert relation=9 new=('')"},
    {'U', EVERYWHERE, 1, true, REST("\0\0\0\11N" NEW_ROW), "update relation=9 new=" NEW_TEXT},
    {'U', EVERYWHERE, 1, true, REST("\0\0\0\11K" OLD_ROW "N" NEW_ROW),
     "update relation=9 key=" OLD_TEXT " new=" NEW_TEXT},
    {'U', EVERYWHERE, 1, true, REST("\0\0\0\11O" OLD_ROW "N" NEW_ROW),
     "update relation=9 old=" OLD_TEXT " new=" NEW_TEXT},
    {'D', EVERYWHERE, 1, true, REST("\0\0\0\11K" OLD_ROW), "delete relation=9 key=" OLD_TEXT},
    {'D', EVERYWHERE, 1, true, REST("\0\0\0\11O" OLD_ROW), "delete relation=9 old=" OLD_TEXT},
    {'T', EVERYWHERE, 1, true, REST("\0\0\0\2\3\0\0\0\11\0\0\0\12"),
     "truncate cascade restart_identity relation=9 relation=10"},
    {'T', EVERYWHERE, 1, true, REST("\0\0\0\1\2\0\0\0\11"), "truncate restart_identity relation=9"},
    {'S', NOT_STREAMED, 2, false, REST("\0\0\0\7\1"), "stream start xid=7 first"},
    {'S', NOT_STREAMED, 2, false, REST("\0\0\0\7\0"), "stream start xid=7"},
    {'E', STREAMED, 2, false, REST(""), "stream stop"},
    {'c', NOT_STREAMED, 2, false, REST("\0\0\0\7\0" LSN_A LSN_B TIME_A),
     "stream commit xid=7 lsn=256 end=257 at=512"},
    {'A', NOT_STREAMED, 2, false, REST("\0\0\0\7\0\0\0\10"), "stream abort xid=7 subxid=8"},
    {'A', PARALLEL, 4, false, REST("\0\0\0\7\0\0\0\10" LSN_A TIME_A),
     "stream abort xid=7 subxid=8 lsn=256 at=512"},
    {'b', NOT_STREAMED, 3, false, REST(LSN_A LSN_B TIME_A "\0\0\0\7gid\0"),
     "begin prepare lsn=256 end=257 at=512 xid=7 gid='gid'"},
    {'P', NOT_STREAMED, 3, false, REST("\0" LSN_A LSN_B TIME_A "\0\0\0\7gid\0"),
     "prepare lsn=256 end=257 at=512 xid=7 gid='gid'"},
    {'K', NOT_STREAMED, 3, false, REST("\0" LSN_A LSN_B TIME_A "\0\0\0\7gid\0"),
     "commit prepared lsn=256 end=257 at=512 xid=7 gid='gid'"},
    {'r', NOT_STREAMED, 3, false, REST("\0" LSN_B LSN_C TIME_A TIME_B "\0\0\0\7gid\0"),
     "rollback prepared end=257 rollback_end=258 at=512 rolled_back_at=513 xid=7 gid='gid'"},
    {'p', NOT_STREAMED, 3, false, REST("\0" LSN_A LSN_B TIME_A "\0\0\0\7gid\0"),
     "stream prepare lsn=256 end=257 at=512 xid=7 gid='gid'"},
};

enum { SAMPLES_COUNT = sizeof(SAMPLES) / sizeof(SAMPLES[0]), SAMPLE_MAX = 256 };

static Error err;
static Text printed;

static void end(void)
{
    text_free(&printed);
}

TestSuite(pgoutput, .fini = end);

/* Reads from memory of exactly that length, so that a read behind it is found, and prints. */
static Status read_with(PgOutputReader *reader, const char *bytes, size_t length)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, bytes, length);
    PgOutput message;
    memset(&message, 0x55, sizeof(message));
    PgOutput untouched = message;
    error_clear(&err);
    PgOutputReader before = *reader;
    Status status = pgoutput_read(reader, (Slice){.data = exact, .length = length}, &message, &err);
    text_clear(&printed);
    if (status == OK) {
        pgoutput_print(&message, NULL, &printed);
    } else {
        cr_assert_eq(memcmp(&message, &untouched, sizeof(message)), 0);
        cr_assert_eq(memcmp(reader, &before, sizeof(before)), 0);
        cr_assert_eq(err.class, ERROR_RETRY);
        cr_assert_eq(err.exit_code, EXIT_POSTGRES);
        cr_assert_eq(err.code, CODE_PG_PROTOCOL);
    }
    free(exact);
    return status;
}

static PgOutputReader reader_for(const Sample *sample, int protocol, bool streamed)
{
    return (PgOutputReader){
        .protocol = protocol, .parallel = sample->where == PARALLEL, .in_stream_segment = streamed};
}

static size_t sample_bytes(const Sample *sample, bool streamed, char *out)
{
    size_t length = 0;
    out[length++] = sample->kind;
    if (streamed && sample->xid) {
        memcpy(out + length, "\0\0\1\1", 4);
        length += 4;
    }
    memcpy(out + length, sample->rest.data, sample->rest.length);
    return length + sample->rest.length;
}

static bool can_be(const Sample *sample, int protocol, bool streamed)
{
    bool place = sample->where == EVERYWHERE || (sample->where == STREAMED) == streamed;
    return place && protocol >= sample->protocol && (!streamed || protocol >= 2);
}

/* Calls visit for every sample in every protocol and place where it can be. */
static void each_sample(void (*visit)(const PgOutputReader *, const Sample *, bool, const char *,
                                      size_t))
{
    for (size_t i = 0; i < SAMPLES_COUNT; i++) {
        for (int protocol = 1; protocol <= 4; protocol++) {
            for (int streamed = 0; streamed <= 1; streamed++) {
                if (can_be(&SAMPLES[i], protocol, streamed)) {
                    char bytes[SAMPLE_MAX];
                    size_t length = sample_bytes(&SAMPLES[i], streamed, bytes);
                    PgOutputReader reader = reader_for(&SAMPLES[i], protocol, streamed);
                    visit(&reader, &SAMPLES[i], streamed, bytes, length);
                }
            }
        }
    }
}

static void expect_printed(const PgOutputReader *given, const Sample *sample, bool streamed,
                           const char *bytes, size_t length)
{
    PgOutputReader reader = *given;
    cr_assert_eq(read_with(&reader, bytes, length), OK, "%c: %s", sample->kind,
                 error_message(&err));
    char expected[512];
    size_t name = strlen(pgoutput_kind_name((PgOutputKind)sample->kind));
    if (streamed && sample->xid) {
        snprintf(expected, sizeof(expected), "%.*s xid=257%s", (int)name, sample->printed,
                 sample->printed + name);
    } else {
        snprintf(expected, sizeof(expected), "%s", sample->printed);
    }
    cr_assert_str_eq(text_string(&printed), expected);
    bool segment = sample->kind == 'S' || (sample->kind != 'E' && streamed);
    cr_assert_eq(reader.in_stream_segment, segment);
}

Test(pgoutput, every_kind_is_read_in_every_protocol_that_has_it)
{
    each_sample(expect_printed);
}

static void expect_truncations_fail(const PgOutputReader *given, const Sample *sample,
                                    bool streamed, const char *bytes, size_t length)
{
    (void)streamed;
    for (size_t cut = 0; cut < length; cut++) {
        PgOutputReader reader = *given;
        cr_assert_eq(read_with(&reader, bytes, cut), FAILED, "%c cut at %zu", sample->kind, cut);
    }
}

Test(pgoutput, every_truncation_is_an_error_that_leaves_the_reader_as_it_was)
{
    each_sample(expect_truncations_fail);
}

static void expect_longer_fails(const PgOutputReader *given, const Sample *sample, bool streamed,
                                const char *bytes, size_t length)
{
    (void)streamed;
    char longer[SAMPLE_MAX];
    memcpy(longer, bytes, length);
    longer[length] = '\0';
    PgOutputReader reader = *given;
    cr_assert_eq(read_with(&reader, longer, length + 1), FAILED, "%c", sample->kind);
    cr_assert_not_null(strstr(error_message(&err), "continues after its end"), "%s",
                       error_message(&err));
}

Test(pgoutput, a_message_must_end_exactly)
{
    each_sample(expect_longer_fails);
}

static void mutate(const PgOutputReader *given, const Sample *sample, bool streamed,
                   const char *bytes, size_t length)
{
    (void)sample;
    (void)streamed;
    char mutated[SAMPLE_MAX];
    for (size_t at = 0; at < length; at++) {
        memcpy(mutated, bytes, length);
        for (int value = 0; value < 256; value++) {
            mutated[at] = (char)value;
            PgOutputReader reader = *given;
            (void)read_with(&reader, mutated, length);
        }
    }
}

Test(pgoutput, no_single_byte_mutation_reads_outside_of_the_message)
{
    each_sample(mutate);
}

Test(pgoutput, a_kind_of_a_later_protocol_or_in_the_wrong_place_is_an_error)
{
    for (size_t i = 0; i < SAMPLES_COUNT; i++) {
        for (int protocol = 0; protocol <= 4; protocol++) {
            for (int streamed = 0; streamed <= 1; streamed++) {
                bool parallel_only = SAMPLES[i].where == PARALLEL;
                bool too_early_to_stream = streamed && protocol < 2;
                if (can_be(&SAMPLES[i], protocol, streamed) || parallel_only ||
                    too_early_to_stream) {
                    continue;
                }
                char bytes[SAMPLE_MAX];
                size_t length = sample_bytes(&SAMPLES[i], streamed, bytes);
                PgOutputReader reader = reader_for(&SAMPLES[i], protocol, streamed);
                cr_assert_eq(read_with(&reader, bytes, length), FAILED, "%c %d %d", SAMPLES[i].kind,
                             protocol, streamed);
                cr_assert_not_null(strstr(error_message(&err), protocol < SAMPLES[i].protocol
                                                                   ? "later protocol"
                                                                   : "side a streamed segment"),
                                   "%s", error_message(&err));
            }
        }
    }
}

Test(pgoutput, a_segment_of_a_streamed_transaction_begins_and_ends)
{
    PgOutputReader reader = {.protocol = 2};
    cr_assert_eq(read_with(&reader, "S\0\0\0\7\1", 6), OK);
    cr_assert_eq(read_with(&reader, "I\0\0\0\10\0\0\0\11N\0\1n", 13), OK);
    cr_assert_str_eq(text_string(&printed), "insert xid=8 relation=9 new=(null)");
    cr_assert_eq(read_with(&reader, "S\0\0\0\7\1", 6), FAILED);
    cr_assert_eq(read_with(&reader, "E", 1), OK);
    cr_assert_eq(read_with(&reader, "I\0\0\0\11N\0\1n", 9), OK);
    cr_assert_str_eq(text_string(&printed), "insert relation=9 new=(null)");
    cr_assert_eq(read_with(&reader, "E", 1), FAILED);
}

Test(pgoutput, what_is_wrong_is_said_with_kind_and_place)
{
    static const struct {
        Slice bytes;
        const char *message;
    } CASES[] = {
        {REST(""), "malformed 'unknown' message (kind 0x00) of pgoutput, byte 0 of 0: it is empty"},
        {REST("Z12"), "malformed 'unknown' message (kind 0x5a) of pgoutput, byte 0 of 3: it is of "
                      "unknown kind"},
        {REST("\377"), "malformed 'unknown' message (kind 0xff) of pgoutput, byte 0 of 1: it is of "
                       "unknown kind"},
        {REST("I\0\0\0\11N\0\2nx"), "malformed 'insert' message (kind 0x49) of pgoutput, byte 9 of "
                                    "10: a value of unknown kind"},
        {REST("I\0\0\0\11N\0\1t\200\0\0\0"), "malformed 'insert' message (kind 0x49) of pgoutput, "
                                             "byte 9 of 13: a negative length"},
        {REST("I\0\0\0\11N\0\1t\0\0\0\5abcd"), "malformed 'insert' message (kind 0x49) of "
                                               "pgoutput, byte 9 of 17: it ends too early"},
        {REST("I\0\0\0\11N\0\1t\177\377\377\377abcd"),
         "malformed 'insert' message (kind 0x49) of pgoutput, byte 9 of 17: it ends too early"},
        {REST("I\0\0\0\11N\6\101n"), "malformed 'insert' message (kind 0x49) of pgoutput, byte 6 "
                                     "of 9: more columns than a table can have"},
        {REST("I\0\0\0\11K\0\1n"), "malformed 'insert' message (kind 0x49) of pgoutput, byte 5 of "
                                   "9: a tuple of another kind than this message has"},
        {REST("D\0\0\0\11N\0\1n"), "malformed 'delete' message (kind 0x44) of pgoutput, byte 5 of "
                                   "9: a tuple of another kind than this message has"},
        {REST("U\0\0\0\11K\0\1nK\0\1n"), "malformed 'update' message (kind 0x55) of pgoutput, byte "
                                         "9 of 13: a tuple of another kind than this message has"},
        {REST("M\1" LSN_A "p\0\377\377\377\377"), "malformed 'message' message (kind 0x4d) of "
                                                  "pgoutput, byte 12 of 16: a negative length"},
        {REST("C\1" LSN_A LSN_B TIME_A), "malformed 'commit' message (kind 0x43) of pgoutput, byte "
                                         "1 of 26: flags that no known version has"},
        {REST("R\0\0\0\11\0t\0x\0\0"), "malformed 'relation' message (kind 0x52) of pgoutput, byte "
                                       "8 of 11: a replica identity of unknown kind"},
        {REST("Y\0\0\0\11public\0mood"), "malformed 'type' message (kind 0x59) of pgoutput, byte "
                                         "12 of 16: it ends too early"},
        {REST("T\377\377\377\377\0"), "malformed 'truncate' message (kind 0x54) of pgoutput, byte "
                                      "6 of 6: it ends too early"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        PgOutputReader reader = {.protocol = 4};
        cr_assert_eq(read_with(&reader, CASES[i].bytes.data, CASES[i].bytes.length), FAILED);
        cr_assert_str_eq(error_message(&err), CASES[i].message);
    }
}

Test(pgoutput, the_null_slice_is_an_empty_message)
{
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    cr_assert_eq(pgoutput_read(&reader, SLICE_NULL, &message, &err), FAILED);
}

Test(pgoutput, as_many_columns_as_a_table_can_have)
{
    static char bytes[8 + PGOUTPUT_COLUMNS_MAX] = "I\0\0\0\11N\6\100";
    memset(bytes + 8, 'n', PGOUTPUT_COLUMNS_MAX);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = bytes, .length = sizeof(bytes)};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &err), OK, "%s", error_message(&err));
    cr_assert_eq(message.change.new_tuple.columns, PGOUTPUT_COLUMNS_MAX);
    cr_assert(slice_is_null(message.change.old_tuple.bytes));
}
