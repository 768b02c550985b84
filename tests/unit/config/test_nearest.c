#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "config/nearest.h"
#include "config/options.h"

Test(nearest, each_slip_of_a_finger_counts_one)
{
    cr_assert_eq(nearest_distance("capture", "capture"), 0);
    cr_assert_eq(nearest_distance("capure", "capture"), 1);
    cr_assert_eq(nearest_distance("captture", "capture"), 1);
    cr_assert_eq(nearest_distance("capturf", "capture"), 1);
    cr_assert_eq(nearest_distance("cpature", "capture"), 1);
    cr_assert_eq(nearest_distance("Capture", "capture"), 0);
    cr_assert_eq(nearest_distance("kitten", "sitting"), 3);
    cr_assert_eq(nearest_distance("", "abc"), 3);
    cr_assert_eq(nearest_distance("", ""), 0);
}

Test(nearest, distance_does_not_depend_on_the_order)
{
    const char *words[] = {"", "a", "table", "tabel", "topic", "published_at", "lease", "seq"};
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < 8; j++) {
            cr_assert_eq(nearest_distance(words[i], words[j]),
                         nearest_distance(words[j], words[i]));
        }
    }
}

Test(nearest, very_long_names_are_far_from_everything)
{
    char name[300];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    cr_assert_eq(nearest_distance(name, "a"), SIZE_MAX);
    cr_assert_eq(nearest_distance("a", name), SIZE_MAX);
    Nearest nearest = nearest_begin(name);
    cr_assert_not(nearest_offer(&nearest, "a"));
}

Test(nearest, the_nearest_offer_wins_and_what_is_far_is_none)
{
    Nearest nearest = nearest_begin("tabel");
    cr_assert_not(nearest_offer(&nearest, "on_publish"));
    cr_assert(nearest_offer(&nearest, "label"));
    cr_assert_not(nearest_offer(&nearest, "cable"));
    Nearest exact = nearest_begin("tabel");
    cr_assert(nearest_offer(&exact, "table"));
}

Test(nearest, options_are_looked_for_on_their_own_level)
{
    char buffer[64];
    cr_assert_str_eq(option_nearest(SCOPE_PIPELINE, "", "capure", buffer, sizeof(buffer)),
                     "capture");
    cr_assert_str_eq(option_nearest(SCOPE_CONFIG, "", "databse", buffer, sizeof(buffer)),
                     "database");
    cr_assert_str_eq(option_nearest(SCOPE_CONFIG, "kafka.", "broker", buffer, sizeof(buffer)),
                     "brokers");
    cr_assert_null(option_nearest(SCOPE_CONFIG, "kafka.", "on_failure", buffer, sizeof(buffer)));
}
