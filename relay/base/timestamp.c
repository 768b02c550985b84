#include "base/timestamp.h"

#include <stdbool.h>
#include <stddef.h>

#define US_PER_DAY INT64_C(86400000000)

/* Both ways: days since 1970-01-01 and a civil date of the proleptic Gregorian calendar, by eras of
 * 400 years (146,097 days) that begin on 1 March, so that the leap day is an era's year's last. */
static void civil_from_days(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0 = March */
    *ret_day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (int)(month < 10 ? month + 3 : month - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2 ? 1 : 0);
}

static char *put_digits(char *out, int64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + digits;
}

Slice timestamp_format(int64_t us, char *scratch)
{
    int64_t days = us / US_PER_DAY;
    int64_t rest = us % US_PER_DAY;
    if (rest < 0) {
        rest += US_PER_DAY;
        days--;
    }
    int64_t year = 0;
    int month = 0;
    int day = 0;
    civil_from_days(days, &year, &month, &day);

    char *out = scratch;
    if (year < 0) {
        *out++ = '-';
        year = -year;
    }
    out = put_digits(out, year, year > 99999 ? 6 : year > 9999 ? 5 : 4);
    *out++ = '-';
    out = put_digits(out, month, 2);
    *out++ = '-';
    out = put_digits(out, day, 2);
    *out++ = 'T';
    int64_t seconds = rest / 1000000;
    out = put_digits(out, seconds / 3600, 2);
    *out++ = ':';
    out = put_digits(out, seconds / 60 % 60, 2);
    *out++ = ':';
    out = put_digits(out, seconds % 60, 2);
    int64_t fraction = rest % 1000000;
    if (fraction != 0) {
        *out++ = '.';
        out = put_digits(out, fraction, 6);
        while (out[-1] == '0') {
            out--;
        }
    }
    *out++ = 'Z';
    return (Slice){.data = scratch, .length = (size_t)(out - scratch)};
}

static int64_t days_from_civil(int64_t year, int month, int day)
{
    int64_t shifted = year - (month <= 2 ? 1 : 0); /* years begin on 1 March */
    int64_t era = (shifted >= 0 ? shifted : shifted - 399) / 400;
    int64_t year_of_era = shifted - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* Text on its way through the parser; `failed` is sticky. */
typedef struct Cursor {
    const char *at;
    const char *end;
    bool failed;
} Cursor;

static bool take(Cursor *cursor, char c)
{
    if (cursor->failed || cursor->at == cursor->end || *cursor->at != c) {
        return false;
    }
    cursor->at++;
    return true;
}

static void expect(Cursor *cursor, char c)
{
    cursor->failed |= !take(cursor, c);
}

/* A number of least to most digits; *ret_digits (NULL is allowed): how many there were. */
static int64_t take_number(Cursor *cursor, int least, int most, int *ret_digits)
{
    int64_t value = 0;
    int digits = 0;
    while (digits < most && cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
        value = value * 10 + (*cursor->at++ - '0');
        digits++;
    }
    cursor->failed |= digits < least;
    if (ret_digits != NULL) {
        *ret_digits = digits;
    }
    return value;
}

static int64_t take_two_digits(Cursor *cursor, int most)
{
    int64_t value = take_number(cursor, 2, 2, NULL);
    cursor->failed |= value > most;
    return value;
}

/* "09:12:44.12", in microseconds. */
static int64_t take_time(Cursor *cursor)
{
    int64_t seconds = take_two_digits(cursor, 23) * 3600;
    expect(cursor, ':');
    seconds += take_two_digits(cursor, 59) * 60;
    expect(cursor, ':');
    seconds += take_two_digits(cursor, 59);
    int64_t fraction = 0;
    if (take(cursor, '.')) {
        int digits = 0;
        fraction = take_number(cursor, 1, 6, &digits);
        for (; digits < 6; digits++) {
            fraction *= 10;
        }
    }
    return seconds * 1000000 + fraction;
}

/* "+00", "-03:30", "+00:19:32", in microseconds; 0 when there is none. PostgreSQL's offsets stay
 * below 16 hours. */
static int64_t take_offset(Cursor *cursor)
{
    bool west = take(cursor, '-');
    if (!west && !take(cursor, '+')) {
        return 0;
    }
    int64_t seconds = take_two_digits(cursor, 15) * 3600;
    if (take(cursor, ':')) {
        seconds += take_two_digits(cursor, 59) * 60;
        if (take(cursor, ':')) {
            seconds += take_two_digits(cursor, 59);
        }
    }
    return (west ? -seconds : seconds) * 1000000;
}

bool timestamp_parse(Slice text, int64_t *ret_us)
{
    if (slice_is_null(text)) {
        return false;
    }
    if (slice_equal(text, SLICE_LITERAL("infinity")) ||
        slice_equal(text, SLICE_LITERAL("-infinity"))) {
        *ret_us = INT64_MIN;
        return true;
    }
    Cursor cursor = {.at = text.data, .end = text.data + text.length};
    int64_t year = take_number(&cursor, 4, 7, NULL);
    expect(&cursor, '-');
    int month = (int)take_two_digits(&cursor, 12);
    expect(&cursor, '-');
    int day = (int)take_two_digits(&cursor, 31);
    int64_t us = 0;
    if (cursor.end - cursor.at > 1 && cursor.at[1] != 'B' && take(&cursor, ' ')) {
        us = take_time(&cursor);
        us -= take_offset(&cursor);
    }
    cursor.failed |= year == 0;
    if (take(&cursor, ' ')) {
        expect(&cursor, 'B');
        expect(&cursor, 'C');
        year = 1 - year; /* 1 BC is the year 0 */
    }
    if (cursor.failed || cursor.at != cursor.end || month < 1 || day < 1 ||
        day > days_in_month(year, month)) {
        return false;
    }
    int64_t day_us = 0;
    bool unfit = __builtin_mul_overflow(days_from_civil(year, month, day), US_PER_DAY, &day_us) ||
                 __builtin_add_overflow(day_us, us, ret_us);
    if (unfit) {
        *ret_us = INT64_MIN;
    }
    return true;
}
