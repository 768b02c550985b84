#include "change/change_time.h"

#include <stddef.h>
#include <string.h>

#include "change/change_json.h"

/* What is left of a text. */
typedef struct Cursor {
    const char *at;
    const char *end;
} Cursor;

static Cursor cursor_of(Slice text)
{
    return (Cursor){.at = text.data, .end = text.data + text.length};
}

static bool skip(Cursor *in, char c)
{
    if (in->at < in->end && *in->at == c) {
        in->at++;
        return true;
    }
    return false;
}

static bool skip_word(Cursor *in, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0) {
        return false;
    }
    in->at += length;
    return true;
}

/* A number of so many digits. */
static bool number(Cursor *in, int least, int most, int64_t *ret)
{
    int64_t value = 0;
    int digits = 0;
    for (; digits < most && in->at < in->end && *in->at >= '0' && *in->at <= '9'; digits++) {
        value = value * 10 + (*in->at++ - '0');
    }
    *ret = value;
    return digits >= least;
}

static ChangeMoment infinity_of(Slice text)
{
    if (slice_equal(text, SLICE_LITERAL("infinity"))) {
        return MOMENT_INFINITY;
    }
    return slice_equal(text, SLICE_LITERAL("-infinity")) ? MOMENT_MINUS_INFINITY : MOMENT_NONE;
}

/* Days since 1970 of a date whose year 0 is 1 BC; Howard Hinnant's days_from_civil. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

typedef struct Day {
    int64_t year, month, day;
} Day;

static bool read_date(Cursor *in, Day *day)
{
    static const char DAYS[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return number(in, 4, 7, &day->year) && skip(in, '-') && number(in, 2, 2, &day->month) &&
           skip(in, '-') && number(in, 2, 2, &day->day) && day->year > 0 && day->month >= 1 &&
           day->month <= 12 && day->day >= 1 && day->day <= DAYS[day->month - 1];
}

/* "13:51:30.123456" */
static bool read_clock(Cursor *in, int64_t *us)
{
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    if (!number(in, 2, 2, &hour) || !skip(in, ':') || !number(in, 2, 2, &minute) ||
        !skip(in, ':') || !number(in, 2, 2, &second) || minute > 59 || second > 59) {
        return false;
    }
    *us = ((hour * 60 + minute) * 60 + second) * 1000000;
    if (skip(in, '.')) {
        const char *from = in->at;
        int64_t fraction = 0;
        if (!number(in, 1, 6, &fraction)) {
            return false;
        }
        for (int64_t digits = in->at - from; digits < 6; digits++) {
            fraction *= 10;
        }
        *us += fraction;
    }
    return *us <= CHANGE_DAY_US;
}

/* "+02", "-03:30", "+05:53:28" */
static bool read_offset(Cursor *in, int32_t *seconds)
{
    bool west = in->at < in->end && *in->at == '-';
    if (!skip(in, '+') && !skip(in, '-')) {
        return false;
    }
    int64_t part[3] = {0};
    bool read = number(in, 2, 2, &part[0]);
    for (int i = 1; read && i < 3 && skip(in, ':'); i++) {
        read = number(in, 2, 2, &part[i]) && part[i] < 60;
    }
    int64_t total = (part[0] * 60 + part[1]) * 60 + part[2];
    *seconds = (int32_t)(west ? -total : total);
    return read;
}

ChangeMoment change_time_date(Slice text, int64_t *ret_days)
{
    Day day;
    Cursor in = cursor_of(text);
    if (!read_date(&in, &day)) {
        return infinity_of(text);
    }
    bool before = skip_word(&in, " BC");
    *ret_days = days_of(before ? 1 - day.year : day.year, day.month, day.day);
    return in.at == in.end ? MOMENT_FINITE : MOMENT_NONE;
}

bool change_time_clock(Slice text, bool zone, int64_t *ret_us, int32_t *ret_offset)
{
    Cursor in = cursor_of(text);
    return read_clock(&in, ret_us) && (!zone || read_offset(&in, ret_offset)) && in.at == in.end;
}

ChangeMoment change_time_stamp(Slice text, bool zone, int64_t *ret_days, int64_t *ret_us)
{
    Day day;
    Cursor in = cursor_of(text);
    if (!read_date(&in, &day)) {
        return infinity_of(text);
    }
    int32_t offset = 0;
    int64_t us = 0;
    if (!skip(&in, ' ') || !read_clock(&in, &us) || (zone && !read_offset(&in, &offset))) {
        return MOMENT_NONE;
    }
    bool before = skip_word(&in, " BC");
    int64_t days = days_of(before ? 1 - day.year : day.year, day.month, day.day);
    us -= (int64_t)offset * 1000000;
    int64_t more = us >= 0 ? us / CHANGE_DAY_US : -((CHANGE_DAY_US - 1 - us) / CHANGE_DAY_US);
    *ret_days = days + more;
    *ret_us = us - more * CHANGE_DAY_US;
    return in.at == in.end ? MOMENT_FINITE : MOMENT_NONE;
}

/* "1 year", "-2 mons", "3 days": the part whose name follows the number. */
static bool interval_part(Cursor *in, ChangeInterval *interval, int64_t value)
{
    static const struct {
        const char *name;
        size_t at;
    } PARTS[] = {{" year", offsetof(ChangeInterval, years)},
                 {" mon", offsetof(ChangeInterval, months)},
                 {" day", offsetof(ChangeInterval, days)}};
    for (size_t i = 0; i < sizeof(PARTS) / sizeof(*PARTS); i++) {
        if (skip_word(in, PARTS[i].name)) {
            (void)skip(in, 's');
            if (value < INT32_MIN || value > INT32_MAX) {
                return false;
            }
            *(int32_t *)((char *)interval + PARTS[i].at) = (int32_t)value;
            return in->at == in->end || skip(in, ' ');
        }
    }
    return false;
}

/* "04:05:06.78", behind hours that have been read. */
static bool interval_clock(Cursor *in, ChangeInterval *interval, int64_t hours, bool negative)
{
    int64_t minutes = 0;
    int64_t seconds = 0;
    int64_t fraction = 0;
    if (!number(in, 2, 2, &minutes) || !skip(in, ':') || !number(in, 2, 2, &seconds) ||
        minutes > 59 || seconds > 59 || hours > INT32_MAX) {
        return false;
    }
    if (skip(in, '.')) {
        const char *from = in->at;
        if (!number(in, 1, 6, &fraction)) {
            return false;
        }
        for (int64_t digits = in->at - from; digits < 6; digits++) {
            fraction *= 10;
        }
    }
    int sign = negative ? -1 : 1;
    interval->hours = (int32_t)(sign * hours);
    interval->minutes = (int32_t)(sign * minutes);
    interval->seconds_us = sign * (seconds * 1000000 + fraction);
    return in->at == in->end;
}

bool change_time_interval(Slice text, ChangeInterval *ret)
{
    *ret = (ChangeInterval){0};
    Cursor in = cursor_of(text);
    if (in.at == in.end) {
        return false;
    }
    while (in.at < in.end) {
        bool negative = in.at < in.end && *in.at == '-';
        (void)(skip(&in, '-') || skip(&in, '+'));
        int64_t value = 0;
        if (!number(&in, 1, 12, &value)) {
            return false;
        }
        if (skip(&in, ':')) {
            return interval_clock(&in, ret, value, negative);
        }
        if (!interval_part(&in, ret, negative ? -value : value)) {
            return false;
        }
    }
    return true;
}

/* Java keeps whole seconds and microseconds, and adds them as doubles: 1 + 0.235 is a little less
 * than 1.235. */
static double seconds_of(int64_t us)
{
    int64_t whole = us / 1000000;
    return (double)whole + (double)(us - whole * 1000000) / 1e6;
}

int64_t change_time_interval_us(const ChangeInterval *interval)
{
    /* Java's arithmetic in its order: integers wrap, the rest is double. */
    int32_t months = 0;
    (void)__builtin_mul_overflow(interval->years, 12, &months);
    (void)__builtin_add_overflow(months, interval->months, &months);
    double days = months * (365.25 / 12.0) + interval->days;
    double seconds = ((days * 24 + interval->hours) * 60 + interval->minutes) * 60 +
                     seconds_of(interval->seconds_us);
    double us = seconds * 1e6;
    if (us >= 0x1p63) {
        return INT64_MAX;
    }
    return us < -0x1p63 ? INT64_MIN : (int64_t)us;
}

/* The digits of a number, so many of them. */
static void set_digits(char *at, int count, int64_t number_of)
{
    for (int i = count - 1; i >= 0; i--, number_of /= 10) {
        at[i] = (char)('0' + number_of % 10);
    }
}

/* Nine digits of the double, the rest cut off: where it is a little less than the microseconds,
 * they are a nanosecond less. */
static void add_seconds(Text *out, int64_t us)
{
    if (us < 0) {
        text_add_char(out, '-');
        us = -us;
    }
    int64_t ns = us * 1000 - (seconds_of(us) < (double)us / 1e6);
    change_json_number(out, ns / 1000000000);
    int64_t fraction = ns % 1000000000;
    if (fraction > 0) {
        char digits[10] = {'.'};
        int length = 10;
        set_digits(digits + 1, 9, fraction);
        while (digits[length - 1] == '0') {
            length--;
        }
        text_append(out, digits, length);
    }
}

void change_time_interval_text(Text *out, const ChangeInterval *interval)
{
    const int32_t parts[] = {interval->years, interval->months, interval->days, interval->hours,
                             interval->minutes};
    static const char *const BEFORE[] = {"P", "Y", "M", "DT", "H"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        text_add(out, BEFORE[i]);
        change_json_number(out, parts[i]);
    }
    text_add_char(out, 'M');
    add_seconds(out, interval->seconds_us);
    text_add_char(out, 'S');
}

void change_time_date_text(Text *out, int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t part = (5 * of_year + 2) / 153;
    int64_t day = of_year - (153 * part + 2) / 5 + 1;
    int64_t month = part + (part < 10 ? 3 : -9);
    year += era * 400 + (month <= 2);
    if (year < 0 || year > 9999) {
        text_add_char(out, year < 0 ? '-' : '+');
        year = year < 0 ? -year : year;
    }
    if (year > 9999) {
        change_json_number(out, year);
    } else {
        set_digits(text_room(out, 4), 4, year);
        text_wrote(out, 4);
    }
    char rest[6] = {'-', '0', '0', '-', '0', '0'};
    set_digits(rest + 1, 2, month);
    set_digits(rest + 4, 2, day);
    text_put(out, (Slice){.data = rest, .length = sizeof(rest)});
}

void change_time_clock_text(Text *out, int64_t us, int digits)
{
    int64_t seconds = us / 1000000;
    char text[15] = {[2] = ':', [5] = ':', [8] = '.'};
    set_digits(text, 2, seconds / 3600);
    set_digits(text + 3, 2, seconds / 60 % 60);
    set_digits(text + 6, 2, seconds % 60);
    set_digits(text + 9, 6, us % 1000000);
    size_t length = 9 + (size_t)(digits == CHANGE_DIGITS_NEEDED ? 6 : digits);
    if (digits == CHANGE_DIGITS_NEEDED) {
        while (text[length - 1] == '0' && length > 9) {
            length--;
        }
        length -= length == 9; /* no fraction: no point */
    }
    text_put(out, (Slice){.data = text, .length = length});
}

static int two_digits(const char *at)
{
    return (at[0] - '0') * 10 + at[1] - '0';
}

/* Of a text that has the shape. Days that only leap years have are left to arithmetic. */
static bool is_plain_moment(const char *at)
{
    static const char DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int month = two_digits(at + 5);
    int day = two_digits(at + 8);
    return memcmp(at, "0000", 4) != 0 && month >= 1 && month <= 12 && day >= 1 &&
           day <= DAYS[month - 1] && two_digits(at + 11) <= 23 && two_digits(at + 14) <= 59 &&
           two_digits(at + 17) <= 59;
}

bool change_time_utc_text(Text *out, Slice text, int digits)
{
    static const char SHAPE[] = "0000-00-00 00:00:00.000000";
    enum { SECONDS = 19, DATE = 10, OFFSET = 3, FRACTION_MAX = 6 };
    size_t length = text.length - OFFSET;
    if (text.length < SECONDS + OFFSET || length > SECONDS + 1 + FRACTION_MAX ||
        length == SECONDS + 1 || memcmp(text.data + length, "+00", OFFSET) != 0) {
        return false;
    }
    bool odd = false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        odd |= SHAPE[i] == '0' ? (unsigned char)(c - '0') > 9 : c != (unsigned char)SHAPE[i];
    }
    if (odd || !is_plain_moment(text.data)) {
        return false;
    }
    size_t given = length > SECONDS ? length - SECONDS - 1 : 0;
    size_t wanted = digits == CHANGE_DIGITS_NEEDED ? given : (size_t)digits;
    while (digits == CHANGE_DIGITS_NEEDED && wanted > 0 && text.data[SECONDS + wanted] == '0') {
        wanted--;
    }
    char moment[] = "0000-00-00T00:00:00.000000Z";
    memcpy(moment, text.data, given < wanted ? length : SECONDS + (wanted > 0 ? 1 : 0) + wanted);
    moment[DATE] = 'T';
    size_t end = SECONDS + (wanted > 0 ? 1 : 0) + wanted;
    moment[end] = 'Z';
    text_put(out, (Slice){.data = moment, .length = end + 1});
    return true;
}
