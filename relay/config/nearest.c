#include "config/nearest.h"

#include <stdint.h>
#include <string.h>

enum { NAME_MAX_LENGTH = 127 };

static size_t nearest_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int nearest_letter(char c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

size_t nearest_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_LENGTH + 1]; /* the row before the last, the last, this one */
    size_t length_a = strlen(a);
    size_t length_b = strlen(b);
    if (length_a > NAME_MAX_LENGTH || length_b > NAME_MAX_LENGTH) {
        return SIZE_MAX;
    }
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *row = rows[2];
    memset(rows, 0, sizeof(rows));
    for (size_t j = 0; j <= length_b; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= length_a; i++) {
        row[0] = i;
        int x = nearest_letter(a[i - 1]);
        for (size_t j = 1; j <= length_b; j++) {
            int y = nearest_letter(b[j - 1]);
            row[j] = nearest_least(last[j - 1] + (x != y), nearest_least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && x == nearest_letter(b[j - 2]) && y == nearest_letter(a[i - 2])) {
                row[j] = nearest_least(row[j], before[j - 2] + 1);
            }
        }
        size_t *reused = before;
        before = last;
        last = row;
        row = reused;
    }
    return last[length_b];
}

Nearest nearest_begin(const char *name)
{
    return (Nearest){.name = name, .distance = strlen(name) / 3 + 2};
}

bool nearest_offer(Nearest *nearest, const char *candidate)
{
    size_t length = strlen(nearest->name);
    size_t other = strlen(candidate);
    if ((length > other ? length - other : other - length) >= nearest->distance) {
        return false; /* so many letters have to be added at least */
    }
    size_t distance = nearest_distance(nearest->name, candidate);
    if (distance >= nearest->distance) {
        return false;
    }
    nearest->distance = distance;
    return true;
}
