#include "base/sha256.h"

#include <endian.h>
#include <string.h>

enum { ROUNDS = 64, LENGTH_BYTES = 8 };

static const uint32_t K[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

Sha256 sha256_begin(void)
{
    return (Sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                              0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

static uint32_t rotate(uint32_t word, unsigned bits)
{
    return word >> bits | word << (32 - bits);
}

static void take_block(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[ROUNDS];
    for (size_t i = 0; i < 16; i++) {
        uint32_t word = 0;
        memcpy(&word, block + i * sizeof(word), sizeof(word));
        w[i] = be32toh(word);
    }
    for (size_t i = 16; i < ROUNDS; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t v[8]; /* a to h */
    memcpy(v, state, sizeof(v));
    for (size_t i = 0; i < ROUNDS; i++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + K[i] + w[i];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (size_t i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

void sha256_add(Sha256 *hash, Slice bytes)
{
    size_t used = hash->length % SHA256_BLOCK;
    hash->length += bytes.length;
    while (bytes.length > 0) {
        size_t room = SHA256_BLOCK - used;
        size_t taken = bytes.length < room ? bytes.length : room;
        memcpy(hash->block + used, bytes.data, taken);
        bytes.data += taken;
        bytes.length -= taken;
        used += taken;
        if (used == SHA256_BLOCK) {
            take_block(hash->state, hash->block);
            used = 0;
        }
    }
}

void sha256_end(Sha256 *hash, char ret_hex[SHA256_HEX])
{
    static const char PADDING[SHA256_BLOCK] = {(char)0x80};
    uint64_t bits = htobe64(hash->length * 8);
    size_t used = hash->length % SHA256_BLOCK;
    size_t end = SHA256_BLOCK - LENGTH_BYTES;
    size_t padding = used < end ? end - used : SHA256_BLOCK + end - used;
    sha256_add(hash, (Slice){.data = PADDING, .length = padding});
    sha256_add(hash, (Slice){.data = (const char *)&bits, .length = sizeof(bits)});
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        unsigned byte = hash->state[i / 4] >> (24 - i % 4 * 8) & 0xFF;
        ret_hex[2 * i] = "0123456789abcdef"[byte >> 4];
        ret_hex[2 * i + 1] = "0123456789abcdef"[byte & 15];
    }
}
