/* timestamp: microseconds since 1970 to RFC 3339 text and back from PostgreSQL's ISO text. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum { TIMESTAMP_TEXT_MAX = 48 };

/* 2000-01-01, PostgreSQL's epoch, in microseconds since 1970. */
#define TIMESTAMP_POSTGRES_EPOCH_US INT64_C(946684800000000)

/** "2026-11-21T09:12:44.12Z" into scratch (at least TIMESTAMP_TEXT_MAX bytes): UTC, fraction
 * without trailing zeros, none when it is zero; exactly what PostgreSQL's own precision holds. */
Slice timestamp_format(int64_t us, char *scratch);

/** Reads the text that PostgreSQL prints for a timestamptz, timestamp or date with DateStyle = ISO
 * and TimeZone = UTC: "2026-11-21 09:12:44.12+00", without offset (then UTC), with " BC", with
 * years of up to seven digits, "infinity", "-infinity". False when text is none of these. *ret_us
 * is INT64_MIN for infinities and for what does not fit: an event has no such time. */
bool timestamp_parse(Slice text, int64_t *ret_us);
