/* target: what a fuzz target is: libFuzzer calls it, and so does replay.c for the corpus. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Must not crash, read outside of data, or hang, whatever the bytes are; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
