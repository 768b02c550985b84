/* sha256: FIPS 180-4. A hash is a plain value: one that has had a prefix can be copied, and each
 * copy gets a rest of its own. */
#pragma once

#include <stdint.h>

#include "base/slice.h"

enum { SHA256_BYTES = 32, SHA256_HEX = 64, SHA256_BLOCK = 64 };

typedef struct Sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[SHA256_BLOCK];
} Sha256;

Sha256 sha256_begin(void);
void sha256_add(Sha256 *hash, Slice bytes);

/** The digest as lower-case hexadecimal digits, without an end. The hash is used up. */
void sha256_end(Sha256 *hash, char ret_hex[SHA256_HEX]);
