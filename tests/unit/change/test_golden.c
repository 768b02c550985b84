/* Records equal those of a real Debezium, but for the list of what is put right on purpose. */
#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "golden.h"

#define FIXTURES SOURCE_DIR "/tests/fixtures/golden/"

/* What differs on purpose: in records of this subject Debezium's text is ours. */
typedef struct Correction {
    const char *subject;
    const char *theirs;
    const char *ours;
    const char *why;
} Correction;

static const Correction CORRECTIONS[] = {
#include "corrections.inc"
};

enum { CORRECTIONS_COUNT = sizeof(CORRECTIONS) / sizeof(*CORRECTIONS) };

static unsigned used[CORRECTIONS_COUNT];
static size_t compared;
static size_t failed;

/* Where the pattern is, whose '*' stands for anything without a quote; NULL. */
static char *found(char *text, const char *pattern, size_t *ret_length)
{
    size_t head = strcspn(pattern, "*");
    for (char *at = text; *at != '\0'; at++) {
        if (strncmp(at, pattern, head) != 0) {
            continue;
        }
        if (pattern[head] == '\0') {
            *ret_length = head;
            return at;
        }
        char *rest = at + head + strcspn(at + head, "\"");
        size_t length = 0;
        if (found(rest, pattern + head + 1, &length) == rest) {
            *ret_length = (size_t)(rest - at) + length;
            return at;
        }
    }
    return NULL;
}

/* The expected value with what is corrected; a correction that changes nothing is not used. */
static void correct(const char *subject, const char *ours, char **expected)
{
    for (size_t i = 0; *expected != NULL && ours != NULL && i < CORRECTIONS_COUNT; i++) {
        const Correction *correction = &CORRECTIONS[i];
        size_t length = 0;
        char *at = strcmp(correction->subject, subject) == 0
                       ? found(*expected, correction->theirs, &length)
                       : NULL;
        if (at != NULL) {
            char *corrected = x_format("%.*s%s%s", (int)(at - *expected), *expected,
                                       correction->ours, at + length);
            free(*expected);
            *expected = corrected;
            used[i]++;
        }
    }
}

static size_t first_difference(const char *a, const char *b)
{
    size_t at = 0;
    while (a[at] != '\0' && a[at] == b[at]) {
        at++;
    }
    return at;
}

static void expect_text(const char *name, const GoldenRecord *record, const char *what,
                        const char *theirs, const char *ours)
{
    if (theirs == NULL || ours == NULL ? theirs == ours : strcmp(theirs, ours) == 0) {
        return;
    }
    failed++;
    size_t at = theirs != NULL && ours != NULL ? first_difference(theirs, ours) : 0;
    size_t from = at > 60 ? at - 60 : 0;
    fprintf(stderr, "%s: %s: %s differs at %zu\n  Debezium: %.160s\n  outboxd:  %.160s\n", name,
            record->topic, what, at, theirs ? theirs + from : "(null)",
            ours ? ours + from : "(null)");
}

/* The n-th record of a topic; NULL. */
static GoldenRecord *of_topic(const GoldenRecords *records, const char *topic, size_t n)
{
    for (size_t i = 0; i < records->records.count; i++) {
        GoldenRecord *record = &records->records.items[i];
        if (strcmp(record->topic, topic) == 0 && n-- == 0) {
            return record;
        }
    }
    return NULL;
}

static size_t place_in_topic(const GoldenRecords *records, size_t index)
{
    size_t place = 0;
    for (size_t i = 0; i < index; i++) {
        place += strcmp(records->records.items[i].topic, records->records.items[index].topic) == 0;
    }
    return place;
}

static void expect_equal(const char *name, const char *subject)
{
    GoldenRecords theirs;
    GoldenRecords ours;
    golden_load(name, &theirs);
    AUTO_TEXT raw = x_format("%.*s.raw", (int)(strrchr(name, '.') - name), name);
    golden_replay(raw, &theirs, &ours);
    for (size_t i = 0; i < theirs.records.count; i++) {
        GoldenRecord *record = &theirs.records.items[i];
        GoldenRecord *made = of_topic(&ours, record->topic, place_in_topic(&theirs, i));
        if (made == NULL) {
            fprintf(stderr, "%s: %s: a record is missing\n  %.200s\n", name, record->topic,
                    record->value ? record->value : "(null)");
            failed++;
            continue;
        }
        if (record->value != NULL) {
            golden_mask(record->value);
        }
        if (made->value != NULL) {
            golden_mask(made->value);
        }
        correct(subject, made->key, &record->key);
        correct(subject, made->value, &record->value);
        expect_text(name, record, "headers", record->headers, made->headers);
        expect_text(name, record, "key", record->key, made->key);
        expect_text(name, record, "value", record->value, made->value);
        compared++;
    }
    if (ours.records.count != theirs.records.count) {
        fprintf(stderr, "%s: %zu records, not %zu\n", name, ours.records.count,
                theirs.records.count);
        failed++;
    }
    golden_clear(&theirs);
    golden_clear(&ours);
}

Test(golden, every_record_is_that_of_a_real_debezium)
{
    glob_t files = {0};
    cr_assert_eq(glob(FIXTURES "*/*.*", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        const char *name = files.gl_pathv[i] + strlen(FIXTURES);
        const char *file = strchr(name, '/') + 1;
        const char *profile = strrchr(file, '.') + 1;
        if (strcmp(profile, "raw") == 0) {
            continue;
        }
        AUTO_TEXT subject = x_strndup(file, (size_t)(profile - 1 - file));
        expect_equal(name, subject);
    }
    globfree(&files);
    for (size_t i = 0; i < CORRECTIONS_COUNT; i++) {
        cr_expect(used[i] > 0, "'%s' of %s is corrected nowhere", CORRECTIONS[i].theirs,
                  CORRECTIONS[i].subject);
    }
    fprintf(stderr, "%zu records compared\n", compared);
    cr_assert_gt(compared, 0);
    cr_assert_eq(failed, 0, "%zu differences", failed);
}
