/* A configuration: nothing in it crashes the reader, every failure has a problem with a place, and
 * what was read can be printed and is read again as the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "config/load.h"
#include "config/print.h"
#include "target.h"

static char path[64];

/* libconfig loses the text of a string where a syntax error ends it: a few bytes, in a process that
 * ends by it. */
// NOLINTBEGIN(readability-identifier-naming): the sanitizer's name
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
// NOLINTEND(readability-identifier-naming)
{
    return "leak:libconfig.so";
}

static void write_file(const char *bytes, size_t size)
{
    if (path[0] == '\0') {
        (void)snprintf(path, sizeof(path), "/tmp/outboxd-fuzz-%d.conf", (int)getpid());
    }
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        abort();
    }
}

/* The effective configuration of a file with these bytes; false when it has errors. */
static bool load(const char *bytes, size_t size, Text *printed)
{
    static char variable[] = "A=b c'\"";
    char *const environment[] = {variable, NULL};
    Problems problems = {0};
    Load loading;
    write_file(bytes, size);
    Status status = load_run(&loading, &(ConfigOverrides){.file = path}, environment, &problems);
    if ((status != OK) != (problems.errors > 0)) {
        abort();
    }
    for (size_t i = 0; i < problems.count; i++) {
        if (problems.items[i].place == NULL || *problems.items[i].message == '\0') {
            abort();
        }
    }
    if (status == OK) {
        print_effective(printed, &loading);
    }
    config_free(&loading.config);
    load_free(&loading);
    problems_free(&problems);
    (void)unlink(path);
    return status == OK;
}

/* Comments tell places, which differ; masks are no values. */
static void drop_comments(Text *text)
{
    AUTO_BUFFER rest = TEXT_EMPTY;
    text_add(&rest, "");
    for (char *line = text->data, *next; *line != '\0'; line = next) {
        char *end = strchrnul(line, '\n');
        next = end + (*end == '\n' ? 1 : 0);
        char *comment = strstr(line, "  // ");
        size_t length = (size_t)((comment != NULL && comment < end ? comment : end) - line);
        text_append(&rest, line, length);
        text_add_char(&rest, '\n');
    }
    text_clear(text);
    text_add(text, rest.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUFFER first = TEXT_EMPTY;
    AUTO_BUFFER second = TEXT_EMPTY;
    bool secret = memmem(data, size, "pass", 4) != NULL || memmem(data, size, "@", 1) != NULL ||
                  memmem(data, size, "properties", 10) != NULL ||
                  memmem(data, size, "//", 2) != NULL;
    if (!load((const char *)data, size, &first) || secret) {
        return 0;
    }
    if (!load(first.data, first.length, &second)) {
        abort();
    }
    drop_comments(&first);
    drop_comments(&second);
    /* the first line names the file, which is the same */
    if (strcmp(first.data, second.data) != 0) {
        abort();
    }
    return 0;
}
