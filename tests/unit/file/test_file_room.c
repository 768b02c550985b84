/* A group for which the disk has no room: its first lines stay. Real files of a temporary
 * directory, on a disk that takes so many bytes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/memory.h"
#include "sink/file/file_path.h"
#include "sink/file/file_writer.h"

#define NOW_US INT64_C(3600000000)

static char directory[64];
static char path[128];
static FileConfig config;
static FileWriter writer;

static struct {
    size_t room;
    bool cut_fails; /* the next one */
    bool flush_fails;
} disk;

static ssize_t disk_write(int fd, const void *bytes, size_t length)
{
    length = length < disk.room ? length : disk.room;
    disk.room -= length;
    errno = ENOSPC;
    return length > 0 ? write(fd, bytes, length) : -1;
}

static bool strikes(bool *fails)
{
    bool struck = *fails;
    *fails = false;
    errno = EIO;
    return struck;
}

static int disk_cut(int fd, off_t length)
{
    return strikes(&disk.cut_fails) ? -1 : ftruncate(fd, length);
}

static int disk_flush(int fd)
{
    return strikes(&disk.flush_fails) ? -1 : fdatasync(fd);
}

static const FileCalls CALLS = {.write = disk_write,
                                .rewrite = pwrite,
                                .flush = disk_flush,
                                .cut = disk_cut,
                                .rename = rename,
                                .lock = flock};

static void assert_content(const char *expected)
{
    char content[64] = "";
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    (void)!fread(content, 1, sizeof(content) - 1, f);
    (void)fclose(f);
    cr_assert_str_eq(content, expected);
}

/* With so much room; the lines that are stored then. */
static void put(const char *lines, size_t room, const char *stored)
{
    AUTO_ERROR err = {0};
    size_t length = 0;
    disk.room = room;
    cr_assert_eq(file_writer_write(&writer, slice_of(lines), NOW_US, &length, &err), OK, "%s",
                 error_message(&err));
    cr_assert_eq(err.class, ERROR_NONE);
    cr_assert_eq(length, strlen(stored));
    cr_assert_eq(strncmp(lines, stored, length), 0);
}

static void put_fails(const char *lines, size_t room, ErrorCode code)
{
    AUTO_ERROR err = {0};
    size_t length = 0;
    disk.room = room;
    cr_assert_eq(file_writer_write(&writer, slice_of(lines), NOW_US, &length, &err), FAILED);
    cr_assert_eq(err.code, code, "%s", error_message(&err));
}

static void begin(void)
{
    strcpy(directory, "/tmp/outboxd-file-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/orders.jsonl", directory);
    config = (FileConfig){.path = path, .format = FILE_FORMAT_RAW};
    memset(&disk, 0, sizeof(disk));
    file_writer_init(&writer, "orders", &config);
    writer.calls = &CALLS;
    put("{1}\n", 100, "{1}\n");
}

static void end(void)
{
    file_writer_release(&writer);
    AUTO_TEXT command = x_format("rm -rf '%s'", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(file_room, .init = begin, .fini = end);

Test(file_room, the_whole_lines_that_fit_stay)
{
    put("{2}\n{3}\n{4}\n", 10, "{2}\n{3}\n");
    assert_content("{1}\n{2}\n{3}\n");
    put("{4}\n", 100, "{4}\n");
    assert_content("{1}\n{2}\n{3}\n{4}\n");
}

Test(file_room, of_a_line_that_does_not_fit_nothing_stays)
{
    put_fails("{2}\n{3}\n", 3, CODE_FILE_DISK_FULL);
    assert_content("{1}\n");
}

Test(file_room, what_cannot_be_cut_to_whole_lines_does_not_count)
{
    disk.cut_fails = true;
    put_fails("{2}\n{3}\n", 6, CODE_FILE_DISK_FULL);
    assert_content("{1}\n");
    put("{2}\n{3}\n", 100, "{2}\n{3}\n");
    assert_content("{1}\n{2}\n{3}\n");
}

Test(file_room, what_cannot_be_flushed_does_not_count)
{
    disk.flush_fails = true;
    put_fails("{2}\n{3}\n", 6, CODE_FILE_UNWRITABLE);
    put("{2}\n{3}\n", 100, "{2}\n{3}\n");
    assert_content("{1}\n{2}\n{3}\n");
}
