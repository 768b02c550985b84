/* change_java: what of Java's own library is seen in records.
 *
 * In which order HashMap gives its keys: by bucket, of which there are 16 and
 * twice as many each time that three quarters of them would be taken; in a bucket, by the order in
 * which they were put in. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/text.h"

/** String.hashCode(), of UTF-16 units, spread as HashMap does. */
uint32_t change_java_hash(Slice key);

/** How many buckets a map of so many keys has, one less: a mask for the hash. */
uint32_t change_java_mask(size_t count);

/** Appends a java.util.Date as Connect's Values writes one into a header: of what it is only the
 * milliseconds since 1970 are left, so that before 1970-01-02 it is written as a time of day, and
 * midnight as a date. */
void change_java_date(int64_t ms, Text *out);
