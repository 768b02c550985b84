/* change_java: in which order Java's HashMap gives its keys: by bucket, of which there are 16 and
 * twice as many each time that three quarters of them would be taken; in a bucket, by the order in
 * which they were put in. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/** String.hashCode(), of UTF-16 units, spread as HashMap does. */
uint32_t change_java_hash(Slice key);

/** How many buckets a map of so many keys has, one less: a mask for the hash. */
uint32_t change_java_mask(size_t count);
