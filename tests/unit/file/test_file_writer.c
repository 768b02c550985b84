/* The writer on real files of a temporary directory; writes and flushes that fail are injected.
 * What a power loss leaves is test_file_power.c, a disk that is nearly full test_file_room.c. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "sink/file/file_path.h"
#include "sink/file/file_writer.h"

#define HOUR_US INT64_C(3600000000)

static char directory[64];
static char path[128];
static FileConfig config;
static FileWriter writer;

/* The n-th call of its kind from now on fails (1 = the next); 0: none. */
static struct {
    int write_fails;
    int write_errno; /* 0: a short write */
    int flush_fails;
    int cut_fails;
    int rename_fails;
    bool somebody_cuts;    /* > FILE, before the next write */
    bool somebody_rotates; /* before the next lock */
    int writes;
    int flushes;
} disk;

static bool strikes(int *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

static ssize_t disk_write(int fd, const void *bytes, size_t length)
{
    disk.writes++;
    if (disk.somebody_cuts) {
        disk.somebody_cuts = false;
        cr_assert_eq(truncate(path, 0), 0);
    }
    if (strikes(&disk.write_fails)) {
        ssize_t some = write(fd, bytes, (length + 1) / 2); /* half of it is there already */
        if (disk.write_errno == 0) {
            return some;
        }
        errno = disk.write_errno;
        return -1;
    }
    return write(fd, bytes, length);
}

static int disk_flush(int fd)
{
    disk.flushes++;
    if (strikes(&disk.flush_fails)) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

static int disk_cut(int fd, off_t length)
{
    if (strikes(&disk.cut_fails)) {
        errno = EIO;
        return -1;
    }
    return ftruncate(fd, length);
}

static int disk_rename(const char *from, const char *to)
{
    if (strikes(&disk.rename_fails)) {
        errno = EACCES;
        return -1;
    }
    return rename(from, to);
}

static int disk_lock(int fd, int operation)
{
    if (disk.somebody_rotates) {
        disk.somebody_rotates = false;
        AUTO_TEXT rotated = x_format("%s.rotated", path);
        cr_assert_eq(rename(path, rotated), 0);
    }
    return flock(fd, operation);
}

static const FileCalls CALLS = {disk_write, pwrite, disk_flush, disk_cut, disk_rename, disk_lock};

static void begin(void)
{
    strcpy(directory, "/tmp/outboxd-file-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/orders.jsonl", directory);
    config = (FileConfig){.path = path, .format = FILE_FORMAT_RAW}; /* lines of any kind */
    memset(&disk, 0, sizeof(disk));
    file_writer_init(&writer, "orders", &config);
    writer.calls = &CALLS;
}

static void end(void)
{
    file_writer_release(&writer);
    AUTO_TEXT command = x_format("rm -rf '%s'", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(file_writer, .init = begin, .fini = end);

static Status put_at(const char *lines, int64_t now_us, Error *err)
{
    size_t stored = 0;
    Status status = file_writer_write(&writer, slice_of(lines), now_us, &stored, err);
    cr_assert(status != OK || stored == strlen(lines));
    return status;
}

static void put(const char *lines)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(put_at(lines, HOUR_US, &err), OK, "%s", error_message(&err));
}

static void put_fails(const char *lines, ErrorCode code)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(put_at(lines, HOUR_US, &err), FAILED);
    cr_assert_eq(err.code, code, "%s", error_message(&err));
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_str_not_empty(error_remedy(&err));
}

static char *content_of(const char *name)
{
    FILE *f = fopen(name, "r");
    cr_assert_not_null(f, "%s", name);
    char *bytes = x_calloc(1, 65536);
    (void)!fread(bytes, 1, 65535, f);
    (void)fclose(f);
    return bytes;
}

static void assert_content(const char *expected)
{
    AUTO_TEXT content = content_of(path);
    cr_assert_str_eq(content, expected);
    struct stat is;
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq((size_t)is.st_size, strlen(expected), "something is behind a NUL");
}

static void given(const char *bytes, size_t length)
{
    FILE *f = fopen(path, "w");
    cr_assert_eq(fwrite(bytes, 1, length, f), length);
    (void)fclose(f);
}

/* The files of the directory besides the present one, in order; how many. */
static size_t rotated(char names[][256])
{
    AUTO_TEXT command = x_format("ls '%s' | grep -v '^orders.jsonl$'", directory);
    FILE *f = popen(command, "r");
    size_t count = 0;
    while (count < 8 && fgets(names[count], 256, f) != NULL) {
        names[count][strcspn(names[count], "\n")] = '\0';
        count++;
    }
    pclose(f);
    return count;
}

Test(file_writer, each_group_is_flushed_once)
{
    put("{1}\n");
    int before = disk.flushes;
    put("{2}\n{3}\n");
    cr_assert_eq(disk.flushes, before + 1);
    assert_content("{1}\n{2}\n{3}\n");
}

Test(file_writer, what_an_earlier_relay_wrote_stays)
{
    put("{1}\n");
    file_writer_close(&writer);
    put("{2}\n");
    assert_content("{1}\n{2}\n");
}

Test(file_writer, a_short_write_goes_on)
{
    disk.write_fails = 1;
    put("{\"long\":\"er\"}\n");
    cr_assert_eq(disk.writes, 2);
    assert_content("{\"long\":\"er\"}\n");
}

Test(file_writer, a_full_disk_leaves_no_half_line_and_loses_nothing)
{
    put("{1}\n");
    for (int i = 0; i < 3; i++) {
        disk.write_fails = 1;
        disk.write_errno = ENOSPC;
        put_fails("{2}\n{3}\n", CODE_FILE_DISK_FULL);
        assert_content("{1}\n");
    }
    put("{2}\n{3}\n");
    assert_content("{1}\n{2}\n{3}\n");
}

Test(file_writer, what_could_not_be_cut_at_once_is_cut_before_anything_is_written)
{
    put("{1}\n");
    disk.write_fails = 1;
    disk.write_errno = ENOSPC;
    disk.cut_fails = 1;
    put_fails("{22222222}\n", CODE_FILE_DISK_FULL);
    assert_content("{1}\n{22222"); /* half of it */
    disk.cut_fails = 1;
    put_fails("{3}\n", CODE_FILE_UNWRITABLE);
    put("{3}\n");
    assert_content("{1}\n{3}\n");
}

Test(file_writer, a_flush_that_failed_is_not_made_good_by_a_later_one)
{
    put("{1}\n");
    disk.writes = 0;
    disk.flush_fails = 1;
    put_fails("{2}\n", CODE_FILE_UNWRITABLE);
    cr_assert_eq(writer.fd, -1, "the pages may be gone: a new descriptor");
    put("{2}\n");
    cr_assert_eq(disk.writes, 2, "written again, not only flushed again");
    assert_content("{1}\n{2}\n");
}

/* Another relay, which publishes once this one closed the file. */
static void another_puts(const char *lines)
{
    FileWriter another;
    AUTO_ERROR err = {0};
    size_t stored = 0;
    file_writer_init(&another, "orders", &config);
    cr_assert_eq(file_writer_write(&another, slice_of(lines), HOUR_US, &stored, &err), OK, "%s",
                 error_message(&err));
    file_writer_release(&another);
}

Test(file_writer, what_another_relay_wrote_after_a_flush_that_failed_stays)
{
    put("{1}\n");
    disk.flush_fails = 1;
    put_fails("{2}\n", CODE_FILE_UNWRITABLE);
    assert_content("{1}\n"); /* cut while the lock kept others away */
    file_writer_close(&writer);
    another_puts("{2}\n{3}\n");
    put("{4}\n");
    assert_content("{1}\n{2}\n{3}\n{4}\n");
}

Test(file_writer, what_another_relay_wrote_behind_what_could_not_be_cut_stays)
{
    put("{1}\n");
    disk.flush_fails = 1;
    disk.cut_fails = 1;
    put_fails("{2}\n", CODE_FILE_UNWRITABLE);
    disk.cut_fails = 1;
    file_writer_close(&writer);
    another_puts("{2}\n{3}\n");
    put("{4}\n");
    assert_content("{1}\n{2}\n{2}\n{3}\n{4}\n");
}

Test(file_writer, what_a_failed_flush_could_not_cut_keeps_the_file_locked)
{
    put("{1}\n");
    disk.flush_fails = 1;
    disk.cut_fails = 1;
    put_fails("{2}\n", CODE_FILE_UNWRITABLE);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_neq(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    put("{2}\n");
    assert_content("{1}\n{2}\n");
}

Test(file_writer, every_call_may_fail_once)
{
    /* SQLite's loop: the n-th call of each kind fails, for each n; then all is as if none had. */
    for (int kind = 0; kind < 5; kind++) {
        for (int n = 1; n <= 12; n++) {
            file_writer_release(&writer);
            AUTO_TEXT command = x_format("rm -f '%s'/*", directory);
            cr_assert_eq(system(command), 0);
            file_writer_init(&writer, "orders", &config);
            writer.calls = &CALLS;
            memset(&disk, 0, sizeof(disk));
            disk.write_errno = kind == 1 ? ENOSPC : EIO;
            int *countdowns[] = {&disk.write_fails, &disk.write_fails, &disk.flush_fails,
                                 &disk.cut_fails, &disk.rename_fails};
            config.rotate_bytes = 16;
            *countdowns[kind] = n;
            if (kind == 3) { /* there is something to cut after a failure alone */
                disk.write_fails = n;
                disk.cut_fails = 1;
            }
            for (int i = 0; i < 10; i++) {
                char group[32];
                snprintf(group, sizeof(group), "{%d}\n{%d}\n", i * 2, i * 2 + 1);
                AUTO_ERROR err = {0};
                int attempts = 0;
                while (put_at(group, HOUR_US + i, &err) != OK) {
                    cr_assert_lt(++attempts, 3, "kind %d, call %d: %s", kind, n,
                                 error_message(&err));
                }
            }
            cr_assert(n > 5 || *countdowns[kind] == 0, "kind %d, call %d never came", kind, n);
            AUTO_TEXT all = x_format("cat '%s'/orders.jsonl.* '%s' | md5sum", directory, path);
            FILE *f = popen(all, "r");
            char sum[33] = "";
            cr_assert_eq(fscanf(f, "%32s", sum), 1);
            pclose(f);
            f = popen("for i in $(seq 0 19); do echo \"{$i}\"; done | md5sum", "r");
            char expected[33] = "";
            cr_assert_eq(fscanf(f, "%32s", expected), 1);
            pclose(f);
            cr_assert_str_eq(sum, expected, "kind %d, call %d", kind, n);
        }
    }
}

Test(file_writer, names_of_rotated_files_ascend_although_the_clock_was_set_back)
{
    config.rotate_bytes = 4;
    AUTO_ERROR err = {0};
    cr_assert_eq(put_at("{1}\n", 5 * HOUR_US, &err), OK);
    cr_assert_eq(put_at("{2}\n", 4 * HOUR_US, &err), OK);
    file_writer_close(&writer); /* as another relay finds it */
    cr_assert_eq(put_at("{3}\n", 2 * HOUR_US, &err), OK);
    AUTO_TEXT all = x_format("cat '%s'/orders.jsonl.* '%s'", directory, path);
    FILE *f = popen(all, "r");
    char found[64] = "";
    cr_assert_eq(fread(found, 1, sizeof(found) - 1, f), 12);
    pclose(f);
    cr_assert_str_eq(found, "{1}\n{2}\n{3}\n");
}

Test(file_writer, a_torn_last_line_is_cut)
{
    static const char TORN[] = "{1}\n{2}\n{\"half\":";
    for (size_t length = sizeof(TORN) - 1; length > 8; length--) {
        file_writer_close(&writer);
        given(TORN, length);
        put("{3}\n");
        assert_content("{1}\n{2}\n{3}\n");
    }
}

static const char FIRST[] = "{\"topic\":\"t\"}\n";

Test(file_writer, a_first_line_that_is_torn_leaves_an_empty_file)
{
    config.format = FILE_FORMAT_JSON;
    for (size_t length = 1; length < sizeof(FIRST) - 1; length++) {
        given(FIRST, length);
        put("{1}\n");
        assert_content("{1}\n");
        file_writer_close(&writer);
    }
}

Test(file_writer, zeros_that_a_power_loss_left_are_cut_with_what_follows)
{
    char zeros[1024] = "{\"topic\":1}\n{\"topic\":2}\n";
    strcpy(zeros + 512, "{4}\n");
    config.format = FILE_FORMAT_JSON;
    given(zeros, 512 + strlen("{4}\n"));
    put("{3}\n");
    assert_content("{\"topic\":1}\n{\"topic\":2}\n{3}\n");
}

Test(file_writer, a_torn_line_behind_very_much_is_found)
{
    Text all = TEXT_EMPTY;
    for (int i = 0; i < 30000; i++) {
        text_add(&all, "{\"n\":1}\n");
    }
    text_add(&all, "{\"n\"");
    given(all.data, all.length);
    put("{2}\n");
    struct stat is;
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq(is.st_size, 30000 * 8 + 4);
    text_free(&all);
}

Test(file_writer, a_stranger_file_is_left_alone)
{
    /* Such as a document of somebody's on one line: it has no line end, and looks torn. */
    static const char *const STRANGERS[] = {"root:x:0:0", "{\"name\": \"mine\"}", "{}\n", "{\n}"};
    config.format = FILE_FORMAT_JSON;
    for (size_t i = 0; i < sizeof(STRANGERS) / sizeof(STRANGERS[0]); i++) {
        given(STRANGERS[i], strlen(STRANGERS[i]));
        put_fails("{1}\n", CODE_FILE_FOREIGN);
        assert_content(STRANGERS[i]);
    }
}

Test(file_writer, a_removed_file_is_made_again)
{
    put("{1}\n");
    cr_assert_eq(unlink(path), 0);
    put("{2}\n");
    assert_content("{2}\n");
}

Test(file_writer, a_file_that_was_moved_away_keeps_its_lines)
{
    put("{1}\n");
    AUTO_TEXT moved = x_format("%s.1", path);
    cr_assert_eq(rename(path, moved), 0);
    put("{2}\n");
    assert_content("{2}\n");
    AUTO_TEXT content = content_of(moved);
    cr_assert_str_eq(content, "{1}\n");
}

Test(file_writer, a_file_that_was_cut_by_somebody_goes_on_where_it_ends)
{
    put("{1}\n{2}\n");
    cr_assert_eq(truncate(path, 0), 0);
    put("{3}\n");
    assert_content("{3}\n");
}

Test(file_writer, a_file_that_was_cut_within_a_group_has_no_hole)
{
    put("{1}\n");
    disk.somebody_cuts = true; /* between the look at the file and the write */
    put("{2}\n");
    assert_content("{2}\n");
    put("{3}\n");
    file_writer_close(&writer);
    put("{4}\n");
    assert_content("{2}\n{3}\n{4}\n");
}

Test(file_writer, a_file_that_was_cut_within_a_group_that_fails_is_not_made_longer)
{
    put("{1}\n");
    disk.somebody_cuts = true;
    disk.write_fails = 1;
    disk.write_errno = ENOSPC;
    put_fails("{2}\n", CODE_FILE_DISK_FULL);
    put("{2}\n");
    assert_content("{2}\n");
}

Test(file_writer, what_somebody_appended_is_no_half_line_in_front_of_ours)
{
    put("{1}\n");
    FILE *f = fopen(path, "a");
    fputs("{\"x\":1}\n{\"half", f);
    (void)fclose(f);
    put("{2}\n");
    assert_content("{1}\n{\"x\":1}\n{2}\n");
}

Test(file_writer, a_locked_file_is_not_written)
{
    given("{1}\n", 4);
    int fd = open(path, O_RDWR);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    put_fails("{2}\n", CODE_FILE_LOCKED);
    assert_content("{1}\n");
    close(fd);
    put("{2}\n");
    assert_content("{1}\n{2}\n");
}

Test(file_writer, a_file_that_was_rotated_before_it_was_locked_is_not_written)
{
    given("{1}\n", 4);
    disk.somebody_rotates = true;
    put_fails("{2}\n", CODE_FILE_LOCKED);
    put("{2}\n");
    assert_content("{2}\n");
    AUTO_TEXT rotated = x_format("%s.rotated", path);
    AUTO_TEXT content = content_of(rotated);
    cr_assert_str_eq(content, "{1}\n");
}

Test(file_writer, links_directories_and_pipes_are_no_files)
{
    AUTO_TEXT other = x_format("%s/other", directory);
    cr_assert_eq(symlink(other, path), 0);
    put_fails("{1}\n", CODE_FILE_UNWRITABLE);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    put_fails("{1}\n", CODE_FILE_UNWRITABLE);
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0);
    put_fails("{1}\n", CODE_FILE_UNWRITABLE);
    cr_assert_eq(unlink(path), 0);
    put("{1}\n");
}

Test(file_writer, rotation_by_size_splits_no_group)
{
    config.rotate_bytes = 10;
    put("{1}\n");
    put("{2}\n{3}\n"); /* 12 bytes together */
    put("{\"longer than a file\"}\n");
    char names[8][256];
    cr_assert_eq(rotated(names), 2);
    AUTO_TEXT first = x_format("%s/%s", directory, names[0]);
    AUTO_TEXT second = x_format("%s/%s", directory, names[1]);
    AUTO_TEXT one = content_of(first);
    AUTO_TEXT two = content_of(second);
    cr_assert_str_eq(one, "{1}\n");
    cr_assert_str_eq(two, "{2}\n{3}\n");
    assert_content("{\"longer than a file\"}\n");
    cr_assert_str_eq(names[0], "orders.jsonl.19700101T010000.000000Z");
    cr_assert_str_eq(names[1], "orders.jsonl.19700101T010000.000001Z", "no name is taken twice");
}

Test(file_writer, rotation_by_time_comes_with_the_clock)
{
    config.rotate_interval_ms = 3600000;
    AUTO_ERROR err = {0};
    cr_assert_eq(put_at("{1}\n", HOUR_US, &err), OK);
    cr_assert_eq(put_at("{2}\n", 2 * HOUR_US - 1, &err), OK);
    cr_assert_eq(file_writer_due_us(&writer), 2 * HOUR_US);
    char names[8][256];
    cr_assert_eq(rotated(names), 0);
    cr_assert_eq(put_at("", 2 * HOUR_US, &err), OK, "nothing is written, and yet");
    cr_assert_eq(rotated(names), 1);
    assert_content("");
    cr_assert_eq(file_writer_due_us(&writer), 0, "an empty file is not rotated");
    cr_assert_eq(put_at("{3}\n", 9 * HOUR_US, &err), OK);
    cr_assert_eq(rotated(names), 1);
    cr_assert_eq(put_at("{4}\n", 3 * HOUR_US, &err), OK, "a clock that goes back rotates nothing");
    cr_assert_eq(rotated(names), 1);
    assert_content("{3}\n{4}\n");
}

Test(file_writer, a_name_that_is_too_long_to_rotate_is_said)
{
    char name[256];
    memset(name, 'n', 240);
    name[240] = '\0';
    AUTO_TEXT long_path = x_format("%s/%s", directory, name);
    config.path = long_path;
    config.rotate_bytes = 8;
    put("{1}\n");
    AUTO_ERROR err = {0};
    cr_assert_eq(put_at("{22222222}\n", HOUR_US, &err), FAILED);
    cr_assert_not_null(strstr(error_message(&err), "File name too long"), "%s",
                       error_message(&err));
    file_writer_close(&writer);
}

Test(file_writer, a_rotation_that_fails_is_tried_again)
{
    config.rotate_bytes = 4;
    put("{1}\n");
    disk.rename_fails = 1;
    put_fails("{2}\n", CODE_FILE_UNWRITABLE);
    assert_content("{1}\n");
    put("{2}\n");
    assert_content("{2}\n");
}

Test(file_writer, an_interval_goes_on_after_a_restart)
{
    config.rotate_interval_ms = 3600000;
    given("{1}\n", 4); /* written now */
    AUTO_ERROR err = {0};
    struct stat is;
    cr_assert_eq(stat(path, &is), 0);
    int64_t now_us = (int64_t)is.st_mtim.tv_sec * 1000000;
    cr_assert_eq(put_at("{2}\n", now_us, &err), OK);
    char names[8][256];
    cr_assert_eq(rotated(names), 0);
    file_writer_close(&writer);
    cr_assert_eq(put_at("{3}\n", now_us + 2 * HOUR_US, &err), OK);
    cr_assert_eq(rotated(names), 1);
    assert_content("{3}\n");
}
