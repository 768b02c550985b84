#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cdc/wire.h"

#define BYTES(text) text, sizeof(text) - 1
#define DATA        "w\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\2\0\0\0\0\0\5Bxy"
#define KEEPALIVE   "k\0\0\0\3\0\0\0\4\0\2\0\0\0\0\0\5\1"

enum { DATA_HEADER = 25 };

static Error err;

static Status read_exact(const char *bytes, size_t length, WireMessage *ret)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, bytes, length);
    error_clear(&err);
    WireMessage before = *ret;
    Status status = wire_read(exact, length, ret, &err);
    if (status == OK) {
        size_t expected = ret->kind == WIRE_DATA ? length - DATA_HEADER : 0;
        cr_assert_eq(ret->data.length, expected);
        cr_assert(expected == 0 || memcmp(ret->data.data, bytes + DATA_HEADER, expected) == 0);
    } else {
        cr_assert_eq(memcmp(ret, &before, sizeof(before)), 0);
        cr_assert_eq(err.class, ERROR_RETRY);
        cr_assert_eq(err.exit_code, EXIT_POSTGRES);
        cr_assert_eq(err.code, CODE_PG_PROTOCOL);
    }
    free(exact);
    return status;
}

Test(wire, data_carries_where_it_begins_and_what_it_is)
{
    WireMessage message = {0};
    cr_assert_eq(read_exact(BYTES(DATA), &message), OK, "%s", error_message(&err));
    cr_assert_eq(message.kind, WIRE_DATA);
    cr_assert_eq(message.start, UINT64_C(0x100000002));
    cr_assert_eq(message.end, UINT64_C(0x300000004));
    cr_assert_eq(message.sent_at, INT64_C(0x2000000000005));
    cr_assert_eq(message.data.length, 3);
    cr_assert_not(message.reply);
    cr_assert_eq(read_exact(DATA, DATA_HEADER, &message), OK);
    cr_assert_eq(message.data.length, 0);
}

Test(wire, a_keepalive_says_whether_it_wants_an_answer)
{
    WireMessage message = {0};
    cr_assert_eq(read_exact(BYTES(KEEPALIVE), &message), OK, "%s", error_message(&err));
    cr_assert_eq(message.kind, WIRE_KEEPALIVE);
    cr_assert_eq(message.start, 0);
    cr_assert_eq(message.end, UINT64_C(0x300000004));
    cr_assert_eq(message.sent_at, INT64_C(0x2000000000005));
    cr_assert(message.reply);
    cr_assert(slice_is_null(message.data));
    char calm[] = KEEPALIVE;
    calm[sizeof(calm) - 2] = '\0';
    cr_assert_eq(read_exact(calm, sizeof(calm) - 1, &message), OK);
    cr_assert_not(message.reply);
}

Test(wire, truncated_too_long_and_unknown_messages_are_errors)
{
    WireMessage message = {0};
    for (size_t cut = 0; cut < DATA_HEADER; cut++) {
        cr_assert_eq(read_exact(DATA, cut, &message), FAILED, "cut at %zu", cut);
    }
    for (size_t cut = 0; cut < sizeof(KEEPALIVE) - 1; cut++) {
        cr_assert_eq(read_exact(KEEPALIVE, cut, &message), FAILED, "cut at %zu", cut);
    }
    cr_assert_eq(read_exact(BYTES(KEEPALIVE "\0"), &message), FAILED);
    cr_assert_str_eq(error_message(&err),
                     "malformed message 'k' in the replication stream: it should end "
                     "before its 19 bytes");
    cr_assert_eq(read_exact(BYTES("k\0"), &message), FAILED);
    cr_assert_str_eq(error_message(&err),
                     "malformed message 'k' in the replication stream: it ends after 2 bytes");
    cr_assert_eq(read_exact(BYTES("s\0\0"), &message), FAILED);
    cr_assert_str_eq(error_message(&err),
                     "unknown message of kind 0x73 (3 bytes) in the replication stream");
}

Test(wire, no_single_byte_mutation_reads_outside_of_the_message)
{
    static const struct {
        const char *bytes;
        size_t length;
    } GIVEN[] = {{BYTES(DATA)}, {BYTES(KEEPALIVE)}};
    for (size_t i = 0; i < 2; i++) {
        for (size_t at = 0; at < GIVEN[i].length; at++) {
            char bytes[64];
            memcpy(bytes, GIVEN[i].bytes, GIVEN[i].length);
            for (int value = 0; value < 256; value++) {
                bytes[at] = (char)value;
                WireMessage message = {0};
                (void)read_exact(bytes, GIVEN[i].length, &message);
            }
        }
    }
}

Test(wire, a_status_update_is_written_as_documented)
{
    WireStatus status = {.written = UINT64_C(0x1122334455667788),
                         .flushed = UINT64_C(0x0102030405060708),
                         .clock = INT64_C(0x1020304050607080),
                         .reply = true};
    static const char EXPECTED[] = "r\x11\x22\x33\x44\x55\x66\x77\x88\1\2\3\4\5\6\7\10"
                                   "\1\2\3\4\5\6\7\10\x10\x20\x30\x40\x50\x60\x70\x80\1";
    char out[WIRE_STATUS_BYTES];
    cr_assert_eq(sizeof(EXPECTED) - 1, sizeof(out));
    wire_write_status(&status, out);
    cr_assert_eq(memcmp(out, EXPECTED, sizeof(out)), 0);
    status.reply = false;
    wire_write_status(&status, out);
    cr_assert_eq(out[WIRE_STATUS_BYTES - 1], 0);
}

Test(wire, positions_are_written_and_read_as_postgresql_does)
{
    static const struct {
        const char *text;
        uint64_t lsn;
    } CASES[] = {{"0/0", 0},
                 {"0/1", 1},
                 {"16/B374D848", UINT64_C(0x16B374D848)},
                 {"FFFFFFFF/FFFFFFFF", UINT64_MAX},
                 {"1/0", UINT64_C(1) << 32}};
    char scratch[20];
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        uint64_t lsn = 42;
        cr_assert_str_eq(lsn_format(CASES[i].lsn, scratch), CASES[i].text);
        cr_assert(lsn_parse(CASES[i].text, &lsn));
        cr_assert_eq(lsn, CASES[i].lsn);
    }
    uint64_t lsn = 0;
    cr_assert(lsn_parse("16/b374d848", &lsn));
    cr_assert_eq(lsn, UINT64_C(0x16B374D848));
    cr_assert(lsn_parse("0/0000A0B0", &lsn), "as PostgreSQL 19 prints it");
    cr_assert_eq(lsn, 0xA0B0);
}

Test(wire, what_is_no_position_is_refused)
{
    static const char *const CASES[] = {"",      "/",           "0",           "0/",   "/0",
                                        "G/0",   "0/G",         "0/0 ",        " 0/0", "0/-1",
                                        "0x1/0", "123456789/0", "0/123456789", "0//0", "1/2/3"};
    uint64_t lsn = 42;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        cr_assert_not(lsn_parse(CASES[i], &lsn), "'%s'", CASES[i]);
    }
    cr_assert_not(lsn_parse(NULL, &lsn));
    cr_assert_eq(lsn, 42);
}
