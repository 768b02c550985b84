/* change_time: PostgreSQL's text of dates, times and intervals (DateStyle ISO, TimeZone UTC,
 * IntervalStyle postgres) to numbers, and numbers to the text that Java writes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/text.h"

#define CHANGE_DAY_US INT64_C(86400000000)

typedef enum ChangeMoment {
    MOMENT_NONE, /* the text is no such thing */
    MOMENT_FINITE,
    MOMENT_INFINITY,
    MOMENT_MINUS_INFINITY,
} ChangeMoment;

/** Days since 1970-01-01 in the proleptic Gregorian calendar. */
ChangeMoment change_time_date(Slice text, int64_t *ret_days);

/** Microseconds since midnight, 24:00 being 86,400,000,000. With `zone`, the text has an offset, of
 * which *ret_offset is the seconds east of UTC. */
bool change_time_clock(Slice text, bool zone, int64_t *ret_us, int32_t *ret_offset);

/** A timestamp, with `zone` one with an offset, as UTC: days and the microseconds in that day. */
ChangeMoment change_time_stamp(Slice text, bool zone, int64_t *ret_days, int64_t *ret_us);

typedef struct ChangeInterval {
    int32_t years, months, days, hours, minutes;
    int64_t seconds_us; /* the seconds, in millionths */
} ChangeInterval;

bool change_time_interval(Slice text, ChangeInterval *ret);

/** As Debezium counts: a month has 365.25 / 12 days; what is too long is the longest there is. */
int64_t change_time_interval_us(const ChangeInterval *interval);

/** "P1Y2M3DT4H5M6.78S". */
void change_time_interval_text(Text *out, const ChangeInterval *interval);

/** "2016-11-04", "-4712-12-31", "+21016-11-04": the year 0 is 1 BC. */
void change_time_date_text(Text *out, int64_t days);

/** "13:51:30.123456"; digits: behind the point, CHANGE_DIGITS_NEEDED: as many as are not zero. */
enum { CHANGE_DIGITS_NEEDED = 0 };
void change_time_clock_text(Text *out, int64_t us, int digits);

/** "2016-11-04T13:51:30.123456Z" of "2016-11-04 13:51:30.123456+00", without a way through numbers:
 * what change_time_stamp() and the two above make of nearly every timestamp. False, with nothing
 * written: it is one of the others, or none. */
bool change_time_utc_text(Text *out, Slice text, int digits);
