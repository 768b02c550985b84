/* Names of files: a rotation replaces nothing. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "sink/file/file_path.h"

static char directory[64];
static char path[128];

static void begin(void)
{
    strcpy(directory, "/tmp/outboxd-file-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/orders.jsonl", directory);
}

static void end(void)
{
    AUTO_TEXT command = x_format("rm -rf '%s'", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(file_path, .init = begin, .fini = end);

static void given(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

static void assert_content(const char *name, const char *text)
{
    char content[64] = "";
    FILE *file = fopen(name, "r");
    cr_assert_not_null(file);
    cr_assert_not_null(fgets(content, sizeof(content), file));
    cr_assert_eq(fclose(file), 0);
    cr_assert_str_eq(content, text);
}

Test(file_path, a_file_that_came_in_between_is_not_replaced)
{
    AUTO_TEXT other = x_format("%s.other", path);
    given(path, "other\n");
    cr_assert_eq(file_path_rename(path, other), 0);
    given(path, "1\n");
    cr_assert_eq(file_path_rename(path, other), -1);
    cr_assert_eq(errno, EEXIST);
    assert_content(path, "1\n");
    assert_content(other, "other\n");
}
