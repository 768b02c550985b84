/* check: what the oracles of fuzz targets share. A finding aborts, and libFuzzer keeps the input.
 */
#pragma once

#include <stdlib.h>

#include "base/slice.h"

/** What must hold does not: the input is a finding. */
static inline void fuzz_check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/** Reads every byte, so that a sanitizer sees those that are not there. */
static inline void fuzz_touch(Slice bytes)
{
    volatile unsigned char sum = 0;
    for (size_t i = 0; i < bytes.length; i++) {
        sum = (unsigned char)(sum + (unsigned char)bytes.data[i]);
    }
    (void)sum;
}
