#include "base/timestamp.h"

#include <stddef.h>

#define US_PER_DAY INT64_C(86400000000)

/* Days since 1970-01-01 to a civil date of the proleptic Gregorian calendar, by eras of 400 years
 * (146,097 days) that begin on 1 March, so that the leap day is an era's year's last. */
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
