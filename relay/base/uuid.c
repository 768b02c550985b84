#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

enum { BYTES = 16, TIME_BYTES = 6 };

static void draw(unsigned char bytes[BYTES])
{
    if (getrandom(bytes, BYTES, 0) != BYTES) {
        abort(); /* 16 bytes are never refused nor cut short once the kernel has its entropy */
    }
}

static void print(unsigned char bytes[BYTES], int version, char *text)
{
    bytes[6] = (unsigned char)((bytes[6] & 0x0F) | version << 4);
    bytes[8] = (unsigned char)((bytes[8] & 0x3F) | 0x80);
    for (int i = 0; i < BYTES; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        text += sprintf(text, "%s%02x", dash ? "-" : "", bytes[i]);
    }
}

void uuid_v4(char text[UUID_TEXT])
{
    unsigned char bytes[BYTES];
    draw(bytes);
    print(bytes, 4, text);
}

void uuid_v7(char text[UUID_TEXT])
{
    unsigned char bytes[BYTES];
    uint64_t ms = (uint64_t)(clock_wall_us() / 1000);
    draw(bytes);
    for (int i = 0; i < TIME_BYTES; i++) {
        bytes[i] = (unsigned char)(ms >> 8 * (TIME_BYTES - 1 - i));
    }
    print(bytes, 7, text);
}
