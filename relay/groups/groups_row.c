/* The trend of one row. */
#include <math.h>

#include "groups/groups_round.h"

double group_row_change(const GroupRow *row)
{
    if (row->sample_count < 2) {
        return NAN;
    }
    int64_t us = row->samples[row->sample_count - 1].at_us - row->samples[0].at_us;
    int64_t events = row->samples[row->sample_count - 1].events - row->samples[0].events;
    return us > 0 ? (double)events / ((double)us / 1e6) : NAN;
}

bool group_row_grows(const GroupRow *row)
{
    for (size_t i = 1; i < row->sample_count; i++) {
        if (row->samples[i].events <= row->samples[i - 1].events) {
            return false;
        }
    }
    return row->sample_count == GROUP_SAMPLES;
}
