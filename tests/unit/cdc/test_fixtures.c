/* What real servers of several major versions sent: tests/fixtures/pgoutput. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdc/pgoutput.h"
#include "cdc/wire.h"
#include "stub/pgoutput_fixture.h"
#include "stub/pgoutput_print.h"

static Text printed;
static Error err;

static void end(void)
{
    text_free(&printed);
}

TestSuite(fixtures, .fini = end);

/* The CopyData message as its listing prints it. */
static void print_copy_data(PgOutputReader *reader, Slice bytes, PrintNames *names)
{
    WireMessage wire;
    cr_assert_eq(wire_read(bytes.data, bytes.length, &wire, &err), OK, "%s", error_message(&err));
    if (wire.kind == WIRE_KEEPALIVE) {
        text_add(&printed, "keepalive\n");
        return;
    }
    cr_assert_eq(wire.start, wire.end);
    text_add(&printed, wire.start != 0 ? "data: " : "data start=0: ");
    PgOutput message;
    cr_assert_eq(pgoutput_read(reader, wire.data, &message, &err), OK, "%s", error_message(&err));
    pgoutput_print(&message, names, &printed);
    text_add_char(&printed, '\n');
}

static void expect_listing(const Fixture *fixture)
{
    static PrintNames names;
    names = (PrintNames){0};
    PgOutputReader reader = fixture->reader;
    text_clear(&printed);
    for (size_t i = 0; i < fixture->count; i++) {
        print_copy_data(&reader, fixture->messages[i], &names);
    }
    char path[FIXTURE_PATH_MAX + 4];
    snprintf(path, sizeof(path), "%s.txt", fixture->path);
    size_t length = 0;
    char *expected = fixture_file(path, &length);
    size_t line = 1;
    for (size_t at = 0; at < printed.length && printed.data[at] == expected[at]; at++) {
        line += expected[at] == '\n';
    }
    cr_assert_str_eq(text_string(&printed), expected, "%s differs in line %zu", path, line);
    free(expected);
}

Test(fixtures, every_recording_reads_as_its_listing_says)
{
    cr_assert_geq(fixture_each(expect_listing), 19);
}

/* Reads from memory of exactly that length and looks at every byte. */
static Status read_exact(const PgOutputReader *given, Slice bytes)
{
    char *exact = malloc(bytes.length > 0 ? bytes.length : 1);
    memcpy(exact, bytes.data, bytes.length);
    PgOutputReader reader = *given;
    PgOutput message;
    Slice slice = {.data = exact, .length = bytes.length};
    Status status = pgoutput_read(&reader, slice, &message, &err);
    if (status == OK) {
        text_clear(&printed);
        pgoutput_print(&message, NULL, &printed);
    }
    free(exact);
    return status;
}

/* Calls visit for each message, with the reader as it is before that. */
static void each_message(const Fixture *fixture, void (*visit)(const PgOutputReader *, Slice))
{
    PgOutputReader reader = fixture->reader;
    for (size_t i = 0; i < fixture->count; i++) {
        WireMessage wire;
        cr_assert_eq(wire_read(fixture->messages[i].data, fixture->messages[i].length, &wire, &err),
                     OK);
        if (wire.kind == WIRE_DATA) {
            visit(&reader, wire.data);
            PgOutput message;
            cr_assert_eq(pgoutput_read(&reader, wire.data, &message, &err), OK);
        }
    }
}

static void truncate_message(const PgOutputReader *reader, Slice message)
{
    for (size_t cut = 0; cut < message.length; cut++) {
        Slice truncated = {.data = message.data, .length = cut};
        cr_assert_eq(read_exact(reader, truncated), FAILED, "%c cut at %zu", message.data[0], cut);
    }
}

static void truncate_all(const Fixture *fixture)
{
    each_message(fixture, truncate_message);
}

Test(fixtures, every_truncation_of_every_message_is_an_error)
{
    fixture_each(truncate_all);
}

/* Every bit of every byte; test_pgoutput.c has all values, in fewer messages. */
static void mutate_message(const PgOutputReader *reader, Slice message)
{
    char *bytes = malloc(message.length);
    memcpy(bytes, message.data, message.length);
    for (size_t at = 0; at < message.length; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] = (char)(message.data[at] ^ 1 << bit);
            (void)read_exact(reader, (Slice){.data = bytes, .length = message.length});
        }
        bytes[at] = message.data[at];
    }
    free(bytes);
}

static void mutate_all(const Fixture *fixture)
{
    each_message(fixture, mutate_message);
}

Test(fixtures, no_single_bit_mutation_reads_outside_of_the_message)
{
    fixture_each(mutate_all);
}
