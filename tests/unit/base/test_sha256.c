/* The vectors of NIST's examples (FIPS 180-4) and of its SHAVS short-message file. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/sha256.h"

static void expect_digest(Slice message, const char *hex)
{
    for (size_t cut = 0; cut <= message.length && cut <= 130; cut++) {
        Sha256 hash = sha256_begin();
        sha256_add(&hash, (Slice){.data = message.data, .length = cut});
        Sha256 copy = hash;
        sha256_add(&copy, (Slice){.data = message.data + cut, .length = message.length - cut});
        char digits[SHA256_HEX + 1] = "";
        sha256_end(&copy, digits);
        cr_assert_str_eq(digits, hex, "cut at %zu", cut);
    }
}

Test(sha256, digests_are_those_of_nist)
{
    expect_digest(SLICE_LITERAL(""),
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_digest(SLICE_LITERAL("abc"),
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_digest(SLICE_LITERAL("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    expect_digest(SLICE_LITERAL("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                                "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
                  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

Test(sha256, a_million_letters_are_hashed_in_pieces)
{
    char letters[1000];
    memset(letters, 'a', sizeof(letters));
    Sha256 hash = sha256_begin();
    for (int i = 0; i < 1000; i++) {
        sha256_add(&hash, (Slice){.data = letters, .length = sizeof(letters)});
    }
    char digits[SHA256_HEX + 1] = "";
    sha256_end(&hash, digits);
    cr_expect_str_eq(digits, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

Test(sha256, padding_is_right_around_the_end_of_a_block)
{
    char letters[128];
    memset(letters, 'a', sizeof(letters));
    expect_digest((Slice){.data = letters, .length = 55},
                  "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    expect_digest((Slice){.data = letters, .length = 56},
                  "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
    expect_digest((Slice){.data = letters, .length = 64},
                  "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}
