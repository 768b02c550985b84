/* What the options of monitor say. */
#include <stdlib.h>
#include <string.h>

#include "config/load.h"

/* "host:port", "[v6]:port", "off" or "". */
static const char *rules_listen_problem(const char *listen)
{
    if (*listen == '\0' || strcmp(listen, "off") == 0) {
        return NULL;
    }
    const char *colon = strrchr(listen, ':');
    if (colon == NULL) {
        return "it has no port";
    }
    if (*listen == '[') {
        if (colon[-1] != ']') {
            return "an IPv6 address stands in brackets";
        }
    } else if (memchr(listen, ':', (size_t)(colon - listen)) != NULL) {
        return "an IPv6 address stands in brackets";
    }
    size_t digits = strspn(colon + 1, "0123456789");
    long port = digits > 0 && digits <= 5 ? strtol(colon + 1, NULL, 10) : -1;
    if (colon[1 + digits] != '\0' || port < 0 || port > 65535) {
        return "its port is not a number from 0 to 65535";
    }
    return colon == listen ? "it has no address" : NULL;
}

/* "99.9%" as 0.999: digits, a point if any, and the sign; 0 when it is no percentage. */
static double rules_percentage(const char *text)
{
    size_t whole = strspn(text, "0123456789");
    size_t point = text[whole] == '.' ? 1 : 0;
    size_t rest = strspn(text + whole + point, "0123456789");
    if (whole == 0 || (point == 1 && rest == 0) || strcmp(text + whole + point + rest, "%") != 0) {
        return 0;
    }
    double percent = 0;
    double scale = 1;
    for (size_t i = 0; i < whole + point + rest; i++) {
        if (text[i] != '.') {
            percent = percent * 10 + (text[i] - '0');
            scale *= i > whole ? 10 : 1;
        }
    }
    return percent / scale / 100;
}

static void rules_check_groups(Load *load)
{
    const Option *option = option_find(SCOPE_CONFIG, "monitor.consumer_groups");
    const char *place = load_origin(load, load->config, option);
    const StringList *groups = &load->config->monitor.consumer_groups;
    for (size_t i = 0; place != NULL && i < groups->count; i++) {
        rules_check_pattern(load, place, "consumer group", groups->items[i]);
    }
}

static void rules_check_target(Load *load)
{
    Config *config = load->config;
    double ratio = rules_percentage(config->monitor.lag_target);
    if (ratio > 0 && ratio < 1) {
        config->monitor.lag_target_ratio = ratio;
        return;
    }
    rules_problem(load, SCOPE_CONFIG, "monitor.lag_target", config,
                  "write a percentage above 0 and below 100, such as \"99.9%\"",
                  "\"monitor.lag_target\" cannot be \"%s\": it is not a percentage below 100",
                  config->monitor.lag_target);
}

void rules_check_monitor(Load *load)
{
    Config *config = load->config;
    const char *reason = rules_listen_problem(config->monitor.listen);
    if (reason != NULL) {
        rules_problem(load, SCOPE_CONFIG, "monitor.listen", config,
                      "write \"127.0.0.1:9480\", \"[::1]:9480\" or \"off\"",
                      "\"monitor.listen\" cannot be \"%s\": %s", config->monitor.listen, reason);
    }
    rules_check_target(load);
    rules_check_groups(load);
}
