#include "sink/kafka/kafka_credentials.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "config/reread.h"

enum {
    LOOK_SECONDS = 1,
    BLAMED_SECONDS = 60, /* librdkafka says a failure that stays the same once in 30 s */
};

#define USERNAME "sasl.username"
#define PASSWORD "sasl.password"

static const char *const CERTIFICATES[] = {"ssl.ca.location", "ssl.certificate.location",
                                           "ssl.key.location", "ssl.keystore.location",
                                           "ssl.crl.location"};

struct KafkaCredentials {
    const Config *config;
    const char *pipeline; /* its name */
    KafkaCredentialsNeeds needs;
    struct event *look;
    int64_t blamed_us; /* monotonic */
    char *username;    /* what it logs in with; "": the configuration has none */
    char *password;
    uint64_t login;    /* stamps: of what the configuration says of these two, */
    uint64_t settings; /* and of the rest that the producer was made with, */
    uint64_t files;    /* and of its certificates */
    bool unreadable;   /* and it is said */
};

static const char *property(const Config *config, const char *key)
{
    const StringList *list = &config->kafka.properties;
    size_t length = strlen(key);
    for (size_t i = 0; i < list->count; i++) {
        if (strncmp(list->items[i], key, length) == 0 && list->items[i][length] == '=') {
            return list->items[i] + length + 1;
        }
    }
    return "";
}

static void wipe(char **secret)
{
    if (*secret != NULL) {
        explicit_bzero(*secret, strlen(*secret));
        free(*secret);
        *secret = NULL;
    }
}

/* FNV-1a. */
static const uint64_t STAMP_NONE = UINT64_C(14695981039346656037);

static uint64_t stamp_add(uint64_t stamp, uint64_t fact)
{
    return (stamp ^ fact) * UINT64_C(1099511628211);
}

static uint64_t stamp_text(uint64_t stamp, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        stamp = stamp_add(stamp, (unsigned char)*c);
    }
    return stamp_add(stamp, 0);
}

static uint64_t login_stamp(const Config *config)
{
    return stamp_text(stamp_text(STAMP_NONE, property(config, USERNAME)),
                      property(config, PASSWORD));
}

/* What librdkafka reads when a producer is made, but for the two. */
static uint64_t settings_stamp(const Config *config)
{
    uint64_t stamp = stamp_text(STAMP_NONE, config->kafka.brokers);
    const StringList *list = &config->kafka.properties;
    for (size_t i = 0; i < list->count; i++) {
        bool login = strncmp(list->items[i], USERNAME "=", sizeof(USERNAME)) == 0 ||
                     strncmp(list->items[i], PASSWORD "=", sizeof(PASSWORD)) == 0;
        stamp = login ? stamp : stamp_text(stamp, list->items[i]);
    }
    return stamp_add(stamp, config->kafka.create_topics);
}

/* Of what stat() tells of the files: another file in their place has another number. */
static uint64_t files_stamp(const Config *config)
{
    uint64_t stamp = STAMP_NONE;
    for (size_t i = 0; i < sizeof(CERTIFICATES) / sizeof(CERTIFICATES[0]); i++) {
        const char *path = property(config, CERTIFICATES[i]);
        struct stat info = {0};
        if (*path == '\0' || stat(path, &info) != 0) {
            continue;
        }
        const uint64_t facts[] = {info.st_dev, info.st_ino, (uint64_t)info.st_size,
                                  (uint64_t)info.st_mtim.tv_sec, (uint64_t)info.st_mtim.tv_nsec};
        for (size_t k = 0; k < sizeof(facts) / sizeof(facts[0]); k++) {
            stamp = stamp_add(stamp, facts[k]);
        }
    }
    return stamp;
}

/* Before 2.6.1 librdkafka writes its part of the nonce twice into its last message; since 4.0 Kafka
 * compares it as RFC 5802 says. */
static bool is_scram_of_old(const Config *config)
{
    enum { MENDED = 0x020601FF };
    const char *mechanism = property(config, "sasl.mechanisms");
    mechanism = *mechanism != '\0' ? mechanism : property(config, "sasl.mechanism");
    return strncasecmp(mechanism, "SCRAM-", 6) == 0 && rd_kafka_version() < MENDED;
}

/* Whom a broker refuses, and what helps, is known here best. */
static void tell_remedy(KafkaCredentials *credentials)
{
    const char *written = reread_written(credentials->config, PASSWORD);
    const char *username = credentials->username;
    AUTO_TEXT text = NULL;
    if (*username == '\0') {
        kafka_health_set_remedy(credentials->needs.health, NULL);
        return;
    }
    if (is_scram_of_old(credentials->config)) {
        text = x_format("librdkafka %s can log in by SCRAM only to Kafka before 4.0: newer brokers "
                        "refuse it as invalid credentials (its issue 4895, fixed in 2.6.1). If the "
                        "brokers are older, check sasl.username ('%.100s') and sasl.password. Else "
                        "use another mechanism, or a librdkafka of 2.6.1 or newer.",
                        rd_kafka_version_str(), username);
    } else if (written == NULL) {
        text = x_format("The user name is '%.100s'. Check sasl.username, sasl.password and "
                        "sasl.mechanisms in kafka.properties.",
                        username);
    } else {
        text = x_format("The user name is '%.100s'. The password comes from '%.200s'. Correct the "
                        "file: outboxd reads it again every second while a broker refuses the "
                        "login.",
                        username, written);
    }
    kafka_health_set_remedy(credentials->needs.health, text);
}

bool kafka_credentials_set(KafkaCredentials *credentials, const char *username,
                           const char *password)
{
    rd_kafka_t *rk = kafka_producer_handle(credentials->needs.producer);
    bool same = (username == NULL || strcmp(username, credentials->username) == 0) &&
                (password == NULL || strcmp(password, credentials->password) == 0);
    if (same) {
        return false;
    }
    if (username != NULL) {
        wipe(&credentials->username);
        credentials->username = x_strdup(username);
    }
    if (password != NULL) {
        wipe(&credentials->password);
        credentials->password = x_strdup(password);
    }
    if (rk != NULL) {
        (void)rd_kafka_sasl_set_credentials(rk, credentials->username,
                                            credentials->password); /* fails with NULL alone */
    }
    tell_remedy(credentials);
    log_write(LOG_INFO, credentials->pipeline, CODE_KAFKA_CREDENTIALS_RENEWED,
              LOG_FIELDS(log_text("username", credentials->username)),
              "other Kafka credentials are used for new connections");
    return true;
}

/* Another name and another password may be in two files that are written one after the other: what
 * is half new is refused, and read again. */
static bool renew_login(KafkaCredentials *credentials)
{
    AUTO_ERROR err = {0};
    char *username = NULL;
    char *password = NULL;
    bool changed = false;
    if (reread_property(credentials->config, USERNAME, &username, &err) == OK &&
        reread_property(credentials->config, PASSWORD, &password, &err) == OK) {
        credentials->unreadable = false;
        changed = kafka_credentials_set(credentials, username, password);
    } else if (!credentials->unreadable) {
        credentials->unreadable = true;
        log_error(LOG_WARN, credentials->pipeline, &err,
                  "the relay continues with what it read last");
    }
    wipe(&username);
    wipe(&password);
    return changed;
}

/* A reload has brought others. */
static bool renew_configured(KafkaCredentials *credentials)
{
    const Config *config = credentials->config;
    uint64_t login = login_stamp(config);
    if (login == credentials->login) {
        return false;
    }
    credentials->login = login;
    return kafka_credentials_set(credentials, property(config, USERNAME),
                                 property(config, PASSWORD));
}

bool kafka_credentials_renew(KafkaCredentials *credentials)
{
    bool configured = renew_configured(credentials);
    bool changed = renew_login(credentials) || configured;
    uint64_t files = files_stamp(credentials->config);
    uint64_t settings = settings_stamp(credentials->config);
    if (files != credentials->files || settings != credentials->settings) {
        const char *what = settings != credentials->settings
                               ? "other brokers or properties for Kafka are used from now on"
                               : "other certificates for Kafka are used for new connections";
        credentials->files = files;
        credentials->settings = settings;
        tell_remedy(credentials);
        log_write(LOG_INFO, credentials->pipeline, CODE_KAFKA_CREDENTIALS_RENEWED, LOG_NO_FIELDS,
                  "%s", what);
        credentials->needs.outdated(credentials->needs.arg);
        changed = true;
    }
    return changed;
}

static void look_later(KafkaCredentials *credentials)
{
    event_add(credentials->look, &(struct timeval){.tv_sec = LOOK_SECONDS});
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    KafkaCredentials *credentials = arg;
    if (clock_monotonic_us() - credentials->blamed_us < BLAMED_SECONDS * INT64_C(1000000)) {
        look_later(credentials);
    }
    (void)kafka_credentials_renew(credentials);
}

bool kafka_credentials_blamed(KafkaCredentials *credentials)
{
    credentials->blamed_us = clock_monotonic_us();
    look_later(credentials);
    return kafka_credentials_renew(credentials);
}

void kafka_credentials_configure(KafkaCredentials *credentials, rd_kafka_conf_t *conf)
{
    char text[128];
    (void)renew_configured(credentials);
    credentials->files = files_stamp(credentials->config);
    credentials->settings = settings_stamp(credentials->config);
    if (*credentials->username != '\0') {
        (void)rd_kafka_conf_set(conf, USERNAME, credentials->username, text, sizeof(text));
    }
    if (*credentials->password != '\0') {
        (void)rd_kafka_conf_set(conf, PASSWORD, credentials->password, text, sizeof(text));
    }
}

KafkaCredentials *kafka_credentials_new(const SinkOptions *options,
                                        const KafkaCredentialsNeeds *needs)
{
    KafkaCredentials *credentials = x_calloc(1, sizeof(*credentials));
    credentials->config = options->config;
    credentials->pipeline = options->pipeline->name;
    credentials->needs = *needs;
    credentials->look = event_new(options->base, -1, 0, on_look, credentials);
    credentials->username = x_strdup(property(options->config, USERNAME));
    credentials->password = x_strdup(property(options->config, PASSWORD));
    credentials->login = login_stamp(options->config);
    credentials->settings = settings_stamp(options->config);
    credentials->files = files_stamp(options->config);
    tell_remedy(credentials);
    return credentials;
}

void kafka_credentials_free(KafkaCredentials **credentials)
{
    KafkaCredentials *old = *credentials;
    if (old != NULL) {
        event_free(old->look);
        wipe(&old->username);
        wipe(&old->password);
        free(old);
        *credentials = NULL;
    }
}
