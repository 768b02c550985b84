/* replay DIRECTORY: runs a fuzz target over every file of its corpus, as a unit test does; closes
 * with Criterion's summary line, which tests/run counts. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "target.h"

enum { INPUT_MAX = 1 << 20 };

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    /* Exactly as large as the input, so that a read behind it is found. */
    uint8_t *buffer = malloc(INPUT_MAX);
    size_t size = fread(buffer, 1, INPUT_MAX, file);
    (void)fclose(file);
    uint8_t *input = realloc(buffer, size > 0 ? size : 1);
    fprintf(stderr, "%s: %zu bytes\n", path, size);
    int result = LLVMFuzzerTestOneInput(input, size);
    free(input);
    return result;
}

int main(int argc, char **argv)
{
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    if (directory == NULL) {
        fprintf(stderr, "usage: replay DIRECTORY\n");
        return 1;
    }
    int passed = 0;
    int failed = 0;
    char path[4096];
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
            int result = replay(path);
            passed += result == 0;
            failed += result != 0;
        }
    }
    closedir(directory);
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: 0\n",
            passed + failed, passed, failed);
    return failed > 0 || passed == 0;
}
