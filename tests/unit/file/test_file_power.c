/* The writer and what a power loss leaves of its file. A model of the disk says of each byte
 * whether it would survive: one that is written is dirty, a flush makes it durable, and a flush
 * that fails makes the kernel forget it, so that no later flush brings it to the disk. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "sink/file/file_writer.h"

#define FIRST  "{\"topic\":\"a\"}\n"
#define NOW_US INT64_C(3600000000)

enum { BYTES_MAX = 4096 };

typedef enum Byte {
    BYTE_DURABLE,
    BYTE_DIRTY,
    BYTE_FORGOTTEN,
} Byte;

static char directory[64];
static char path[128];
static FileConfig config;
static FileWriter writer;
static Byte disk[BYTES_MAX];
static bool flush_fails;

static int64_t size_of(int fd)
{
    struct stat is;
    cr_assert_eq(fstat(fd, &is), 0);
    return is.st_size;
}

static void note_written(int64_t at, size_t length)
{
    for (size_t i = 0; i < length && at + (int64_t)i < BYTES_MAX; i++) {
        disk[at + (int64_t)i] = BYTE_DIRTY;
    }
}

static ssize_t disk_write(int fd, const void *bytes, size_t length)
{
    note_written(size_of(fd), length);
    return write(fd, bytes, length);
}

static ssize_t disk_rewrite(int fd, const void *bytes, size_t length, off_t at)
{
    note_written(at, length);
    return pwrite(fd, bytes, length, at);
}

static int disk_flush(int fd)
{
    struct stat is;
    cr_assert_eq(fstat(fd, &is), 0);
    if (S_ISDIR(is.st_mode)) {
        return 0;
    }
    bool fails = flush_fails;
    flush_fails = false;
    for (int i = 0; i < BYTES_MAX; i++) {
        if (disk[i] == BYTE_DIRTY) {
            disk[i] = fails ? BYTE_FORGOTTEN : BYTE_DURABLE;
        }
    }
    errno = EIO;
    return fails ? -1 : 0;
}

static const FileCalls CALLS = {.write = disk_write,
                                .rewrite = disk_rewrite,
                                .flush = disk_flush,
                                .cut = ftruncate,
                                .rename = rename,
                                .lock = flock};

static void begin(void)
{
    strcpy(directory, "/tmp/outboxd-file-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/orders.jsonl", directory);
    config = (FileConfig){.path = path, .format = FILE_FORMAT_JSON};
    file_writer_init(&writer, "orders", &config);
    writer.calls = &CALLS;
}

static void end(void)
{
    file_writer_release(&writer);
    AUTO_TEXT command = x_format("rm -rf '%s'", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(file_power, .init = begin, .fini = end);

static void put(const char *lines)
{
    AUTO_ERROR err = {0};
    size_t stored = 0;
    cr_assert_eq(file_writer_write(&writer, slice_of(lines), NOW_US, &stored, &err), OK, "%s",
                 error_message(&err));
}

static void put_fails(const char *lines, ErrorCode code)
{
    AUTO_ERROR err = {0};
    size_t stored = 0;
    cr_assert_eq(file_writer_write(&writer, slice_of(lines), NOW_US, &stored, &err), FAILED);
    cr_assert_eq(err.code, code, "%s", error_message(&err));
}

/* The file, of so many bytes, as something else than this writer left it. */
static void given(const char *bytes, size_t length)
{
    FILE *f = fopen(path, "w");
    cr_assert_eq(fwrite(bytes, 1, length, f), length);
    (void)fclose(f);
}

/* A relay wrote these lines and was killed before it could flush them. */
static void killed_over(const char *lines)
{
    given(lines, strlen(lines));
    note_written(0, strlen(lines));
}

static void lose_power(void)
{
    file_writer_close(&writer);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (int64_t i = 0; i < size_of(fd); i++) {
        if (disk[i] != BYTE_DURABLE) {
            cr_assert_eq(pwrite(fd, "", 1, i), 1);
        }
    }
    close(fd);
    memset(disk, 0, sizeof(disk));
}

static void assert_content(const char *expected)
{
    char bytes[BYTES_MAX] = "";
    FILE *f = fopen(path, "r");
    size_t length = fread(bytes, 1, sizeof(bytes) - 1, f);
    (void)fclose(f);
    cr_assert_str_eq(bytes, expected);
    cr_assert_eq(length, strlen(expected), "something is behind a NUL");
}

Test(file_power, what_was_flushed_is_there_and_what_was_not_is_cut)
{
    put(FIRST);
    file_writer_close(&writer);
    FILE *f = fopen(path, "a");
    fputs("{2}\n{3}\n", f);
    (void)fclose(f);
    note_written(strlen(FIRST), 8);
    lose_power();
    put("{2}\n");
    assert_content(FIRST "{2}\n");
}

Test(file_power, what_is_acknowledged_after_an_opening_that_could_not_flush_is_there)
{
    killed_over(FIRST "{2}\n");
    flush_fails = true;
    put_fails("{3}\n", CODE_FILE_UNWRITABLE);
    put("{3}\n"); /* acknowledged */
    lose_power();
    put("{4}\n");
    assert_content(FIRST "{2}\n{3}\n{4}\n");
}

Test(file_power, it_is_there_also_when_another_relay_met_the_failure)
{
    killed_over(FIRST "{2}\n");
    flush_fails = true;
    put_fails("{3}\n", CODE_FILE_UNWRITABLE);
    file_writer_release(&writer);
    file_writer_init(&writer, "orders", &config); /* and was killed, too */
    writer.calls = &CALLS;
    put("{3}\n");
    lose_power();
    put("{4}\n");
    assert_content(FIRST "{2}\n{3}\n{4}\n");
}

Test(file_power, values_alone_are_there_too)
{
    config.format = FILE_FORMAT_RAW;
    killed_over("1\n2\n");
    flush_fails = true;
    put_fails("3\n", CODE_FILE_UNWRITABLE);
    put("3\n");
    lose_power();
    put("4\n");
    assert_content("1\n2\n3\n4\n");
}

Test(file_power, a_loss_within_the_first_group_leaves_a_file_that_is_ours)
{
    static const char BLANK[BYTES_MAX * 3] = FIRST;
    static const char ZEROS[BYTES_MAX * 3];
    given(ZEROS, sizeof(ZEROS));
    put(FIRST);
    assert_content(FIRST);
    for (size_t begins = 1; begins < sizeof(FIRST); begins++) {
        file_writer_close(&writer);
        char some[sizeof(BLANK)] = "";
        memcpy(some, BLANK, begins);
        given(some, sizeof(some));
        put("{\"topic\":\"b\"}\n");
        bool whole = begins == sizeof(FIRST) - 1;
        assert_content(whole ? FIRST "{\"topic\":\"b\"}\n" : "{\"topic\":\"b\"}\n");
    }
}

/* The first pages did not reach the disk, and later ones did. */
Test(file_power, a_loss_of_the_first_pages_alone_leaves_a_file_that_is_ours)
{
    static const char *const BEHIND[] = {"x\"}\n", "x\"}\n" FIRST "{\"to", "x\"}\n" FIRST FIRST};
    for (size_t i = 0; i < sizeof(BEHIND) / sizeof(BEHIND[0]); i++) {
        for (size_t begins = 0; begins < sizeof(FIRST) - 2; begins++) {
            char image[BYTES_MAX * 2] = FIRST;
            memset(image + begins, 0, sizeof(image) - begins);
            memcpy(image + BYTES_MAX, BEHIND[i], strlen(BEHIND[i]));
            file_writer_close(&writer);
            given(image, BYTES_MAX + strlen(BEHIND[i]));
            put("{\"topic\":\"b\"}\n");
            assert_content("{\"topic\":\"b\"}\n");
        }
    }
}

Test(file_power, zeros_in_front_of_lines_of_somebody_else_are_not_ours)
{
    char image[BYTES_MAX + 8] = "";
    memcpy(image + BYTES_MAX, "x\ny\n" FIRST, 8);
    given(image, sizeof(image));
    put_fails(FIRST, CODE_FILE_FOREIGN);
    struct stat is;
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq((size_t)is.st_size, sizeof(image));
}

Test(file_power, zeros_in_front_of_something_else_are_not_ours)
{
    static char image[BYTES_MAX * 3];
    image[sizeof(image) - 1] = 'x';
    given(image, sizeof(image));
    put_fails(FIRST, CODE_FILE_FOREIGN);
    cr_assert_eq(access(path, F_OK), 0);
    struct stat is;
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq((size_t)is.st_size, sizeof(image));
}

/* The file was written as raw values for a while, and one of them holds a NUL. */
Test(file_power, values_with_a_zero_among_lines_are_not_cut)
{
#define CASE(bytes)                                                                                \
    {                                                                                              \
        bytes, sizeof(bytes) - 1                                                                   \
    }
    static const struct {
        const char *bytes;
        size_t length;
    } CASES[] = {
        CASE(FIRST "a\0b\n" FIRST),        /* its own line */
        CASE(FIRST "a\n\0b\n" FIRST),      /* the one before */
        CASE(FIRST "\0b\nc\n" FIRST),      /* the one behind */
        CASE(FIRST "{\"to\0b\nc\n" FIRST), /* the same */
        /* All of them begin with one, as those of a schema registry do. */
        CASE("\0\0\0\0\1abc\n"),
        CASE(FIRST "\0b\n\0c\n"),
        CASE(FIRST "\0b\n" FIRST),
        CASE(FIRST "{\"topic\":\"x\0\0\0x\n" FIRST),
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        given(CASES[i].bytes, CASES[i].length);
        put_fails(FIRST, CODE_FILE_FOREIGN);
        struct stat is;
        cr_assert_eq(stat(path, &is), 0);
        cr_assert_eq((size_t)is.st_size, CASES[i].length);
    }
    /* A block that is lost is lost to its end. */
    char ours[1024] = FIRST "{\"topic\":\"x";
    strcpy(ours + 512, "x\n" FIRST);
    given(ours, 512 + strlen("x\n" FIRST));
    put("{\"topic\":\"b\"}\n");
    assert_content(FIRST "{\"topic\":\"b\"}\n");
}

/* A group ends with one line that may be of any length: the zeros may be far in front of it. */
Test(file_power, zeros_in_front_of_a_very_long_line_are_found)
{
    enum { LONG_BYTES = 66 * 1024 * 1024 };
    Text all = TEXT_EMPTY;
    text_add(&all, FIRST FIRST);
    char *line = x_calloc(1, LONG_BYTES);
    text_append(&all, line, 512 - all.length);
    memset(line, 'x', LONG_BYTES);
    text_append(&all, line, LONG_BYTES);
    text_add_char(&all, '\n');
    given(all.data, all.length);
    put("{3}\n");
    assert_content(FIRST FIRST "{3}\n");
    text_free(&all);
    free(line);
}

/* Damage of another kind, with acknowledged lines behind it. */
Test(file_power, zeros_more_than_a_group_in_front_of_the_last_line_are_left_alone)
{
    Text all = TEXT_EMPTY;
    text_add(&all, FIRST);
    text_append(&all, "\0\0\0\n", 4);
    while (all.length < FILE_GROUP_BYTES_MAX + 4096) {
        text_add(&all, "{\"topic\":\"many\"}\n");
    }
    given(all.data, all.length);
    put("{3}\n");
    struct stat is;
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq((size_t)is.st_size, all.length + 4);
    text_free(&all);
}
