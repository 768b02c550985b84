#include "stub/pgoutput_fixture.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define FIXTURES SOURCE_DIR "/tests/fixtures/pgoutput/"

static _Noreturn void give_up(const char *what, const char *path)
{
    fprintf(stderr, "fixture: %s: %s\n", path, what);
    abort();
}

char *fixture_file(const char *path, size_t *ret_length)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        give_up("cannot be read", path);
    }
    size_t length = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(length + 1);
    if (bytes == NULL || fread(bytes, 1, length, file) != length) {
        give_up("cannot be read", path);
    }
    (void)fclose(file);
    bytes[length] = '\0';
    *ret_length = length;
    return bytes;
}

Fixture *fixture_load(const char *path)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->path, sizeof(fixture->path), FIXTURES "%s", path);
    char file[FIXTURE_PATH_MAX + 4];
    snprintf(file, sizeof(file), "%s.bin", fixture->path);
    size_t length = 0;
    fixture->bytes = fixture_file(file, &length);
    char *options_end = strchr(fixture->bytes, '\n');
    if (options_end == NULL ||
        sscanf(fixture->bytes, "proto_version=%d", &fixture->reader.protocol) != 1) {
        give_up("has no options", file);
    }
    *options_end = '\0';
    fixture->reader.parallel = strstr(fixture->bytes, "streaming=parallel") != NULL;
    size_t options = (size_t)(options_end + 1 - fixture->bytes);
    ByteReader in = bytes_reader(options_end + 1, length - options);
    while (bytes_left(&in) > 0 && !in.failed && fixture->count < FIXTURE_MESSAGES_MAX) {
        uint32_t message = bytes_u32(&in);
        fixture->messages[fixture->count++] = bytes_slice(&in, message);
    }
    if (!bytes_complete(&in)) {
        give_up("is cut, or has too many messages", file);
    }
    return fixture;
}

void fixture_free(Fixture **fixture)
{
    if (*fixture != NULL) {
        free((*fixture)->bytes);
        free(*fixture);
        *fixture = NULL;
    }
}

size_t fixture_each(void (*visit)(const Fixture *fixture))
{
    glob_t found = {0};
    if (glob(FIXTURES "*/*.bin", 0, NULL, &found) != 0) {
        give_up("no recordings", FIXTURES);
    }
    size_t count = found.gl_pathc;
    for (size_t i = 0; i < count; i++) {
        const char *name = found.gl_pathv[i] + strlen(FIXTURES);
        char path[FIXTURE_PATH_MAX];
        snprintf(path, sizeof(path), "%.*s", (int)(strlen(name) - strlen(".bin")), name);
        Fixture *fixture = fixture_load(path);
        visit(fixture);
        fixture_free(&fixture);
    }
    globfree(&found);
    return count;
}
