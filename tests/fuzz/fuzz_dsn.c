/* A connection string: what we take, libpq takes, with the same values; and what we write, both
 * read as the same again. The oracle is libpq itself. */
#include <ctype.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/dsn.h"
#include "target.h"

static const char *value_of(const PQconninfoOption *options, const char *key)
{
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, key) == 0) {
            return o->val;
        }
    }
    return NULL;
}

/* Every value of ours is libpq's, and there are no others. An empty one may be absent there. */
static void compare(const Dsn *dsn, const char *text)
{
    PQconninfoOption *options = PQconninfoParse(text, NULL);
    if (options == NULL) {
        abort();
    }
    for (size_t i = 0; i < dsn->count; i++) {
        const char *value = value_of(options, dsn->pairs[i].key);
        if (strcmp(value != NULL ? value : "", dsn->pairs[i].value) != 0) {
            abort();
        }
    }
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val != NULL && *o->val != '\0' && dsn_get(dsn, o->keyword) == NULL) {
            abort();
        }
    }
    PQconninfoFree(options);
}

/* White space around a URI is no part of it for us; libpq takes it for something else. */
static bool is_padded(const char *text)
{
    return *text != '\0' &&
           (isspace((unsigned char)*text) || isspace((unsigned char)text[strlen(text) - 1]));
}

static void check_text(const char *text)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    bool good = dsn_read(NULL, text, &dsn, &problem) == OK && dsn_check(&dsn, &problem) == OK;
    if (good) {
        AUTO_TEXT written = dsn_text(&dsn);
        if (!is_padded(text)) {
            compare(&dsn, text);
        }
        compare(&dsn, written);
    } else if (problem.message == NULL) {
        abort();
    }
    dsn_free(&dsn);
    dsn_problem_free(&problem);
}

/* The content as the password, by reference: it arrives, whatever it is. */
static void check_reference(const char *text, const char *content)
{
    AUTO_TEXT variable = x_format("PW=%s", content);
    char *const environment[] = {variable, NULL};
    Interpolation how = {.environment = environment, .directory = "."};
    Dsn dsn = {0};
    DsnProblem problem = {0};
    if (dsn_read(&how, text, &dsn, &problem) != OK ||
        dsn.count != (*content != '\0' ? 2 : 1) + 0U) {
        bool empty = *content == '\0' && dsn.count == 2;
        if (!empty) {
            abort();
        }
    }
    const char *password = dsn_get(&dsn, "password");
    if (strcmp(password != NULL ? password : "", content) != 0) {
        abort();
    }
    AUTO_TEXT written = dsn_text(&dsn);
    compare(&dsn, written);
    dsn_free(&dsn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_TEXT text = x_strndup((const char *)data, size); /* up to the first NUL */
    AUTO_TEXT shown = dsn_shown(text);
    if (*text != (char)0 && *shown == (char)0) {
        abort();
    }
    if (strchr(text, '\x02') == NULL) { /* ours, in what references leave behind */
        check_text(text);
    }
    check_reference("host=db password=${env:PW}", text);
    check_reference("password='${env:PW}' host=db", text);
    check_reference("postgresql://:${env:PW}@db", text);
    check_reference("postgresql://db?password=${env:PW}", text);
    return 0;
}
