/* Commands that print secrets, and what they need beside them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config/command_words.h"
#include "config/lists.h"
#include "config/load.h"

void rules_check_command(Load *load, const char *path, const char *command)
{
    StringList words = {0};
    const char *reason = NULL;
    if (*command != '\0' && !command_words_split(command, &words, &reason)) {
        rules_problem(load, SCOPE_CONFIG, path, load->config,
                      "write the whole path of a program and its arguments, as in "
                      "\"/usr/bin/printer --user 'outboxd relay'\"; no shell reads it",
                      "%s is not a command: %s", path, reason);
    }
    string_list_free(&words);
}

/* The value of the property that was given last; "" when it was not. */
static const char *oauth_property(const Config *config, const char *name)
{
    const char *value = "";
    size_t length = strlen(name);
    for (size_t i = 0; i < config->kafka.properties.count; i++) {
        const char *item = config->kafka.properties.items[i];
        if (strncmp(item, name, length) == 0 && item[length] == '=') {
            value = item + length + 1;
        }
    }
    return value;
}

/* Other ways to a token, which librdkafka would go instead. */
static const char *const RIVALS[][2] = {{"sasl.oauthbearer.method", "oidc"},
                                        {"enable.sasl.oauthbearer.unsecure.jwt", "true"}};

void rules_check_oauth(Load *load)
{
    static const char PATH[] = "kafka.oauth_command";
    const Config *config = load->config;
    if (*config->kafka.oauth_command == '\0') {
        return;
    }
    rules_check_command(load, PATH, config->kafka.oauth_command);
    const char *protocol = oauth_property(config, "security.protocol");
    const char *mechanism = oauth_property(config, "sasl.mechanisms");
    mechanism = *mechanism != '\0' ? mechanism : oauth_property(config, "sasl.mechanism");
    if (strcasecmp(protocol, "sasl_ssl") != 0 && strcasecmp(protocol, "sasl_plaintext") != 0) {
        rules_problem(load, SCOPE_CONFIG, PATH, config,
                      "add \"security.protocol=sasl_ssl\" to kafka.properties",
                      "%s needs security.protocol=sasl_ssl (or sasl_plaintext)", PATH);
    }
    if (strcasecmp(mechanism, "OAUTHBEARER") != 0) {
        rules_problem(load, SCOPE_CONFIG, PATH, config,
                      "add \"sasl.mechanisms=OAUTHBEARER\" to kafka.properties",
                      "%s needs sasl.mechanisms=OAUTHBEARER", PATH);
    }
    for (size_t i = 0; i < sizeof(RIVALS) / sizeof(RIVALS[0]); i++) {
        if (strcasecmp(oauth_property(config, RIVALS[i][0]), RIVALS[i][1]) == 0) {
            rules_problem(load, SCOPE_CONFIG, PATH, config, "leave one of them out",
                          "%s and %s=%s are both given", PATH, RIVALS[i][0], RIVALS[i][1]);
        }
    }
}
