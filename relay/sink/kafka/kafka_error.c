/* Sources: librdkafka's rdkafka.h and INTRODUCTION.md ("Produce errors"), Kafka protocol guide,
 * error codes. What is not listed is RETRY: only a listed code may make us give a record up. */
#include "sink/kafka/kafka_error.h"

#include <stddef.h>
#include <string.h>

#include "base/log_codes.h"

/* Since librdkafka 2.2: this record would have been accepted, another of its request was not. */
static const int INVALID_DIFFERENT_RECORD = -138;

typedef struct KafkaErrorRow {
    rd_kafka_resp_err_t kafka;
    ErrorCode code;
    const char *hint; /* NULL: the remedy of the code; "": none */
} KafkaErrorRow;

static const KafkaErrorRow ROWS[] = {
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, CODE_SINK_PURGED, ""},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, CODE_SINK_PURGED, ""},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, CODE_RECORD_TOO_LARGE,
     "Raise the topic's max.message.bytes, or keep large bodies out of events."},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, CODE_RECORD_TOO_LARGE,
     "Raise the topic's max.message.bytes and segment.bytes."},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, CODE_RECORD_REFUSED,
     "A compacted topic needs a key; a topic may also refuse timestamps or formats."},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, CODE_RECORD_REFUSED, "The broker found the record malformed."},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, CODE_RECORD_TIMESTAMP_REFUSED, NULL},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, CODE_RECORD_REFUSED,
     "A policy of the cluster refused the record."},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, CODE_KAFKA_TOPIC_UNKNOWN, NULL},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, CODE_KAFKA_TOPIC_UNKNOWN, NULL},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, CODE_KAFKA_TOPIC_UNKNOWN, "The topic lost partitions."},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, CODE_KAFKA_TOPIC_DENIED, NULL},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, CODE_KAFKA_DENIED, NULL},
    {RD_KAFKA_RESP_ERR__TRANSPORT, CODE_KAFKA_UNREACHABLE,
     "Check kafka.brokers, and whether the brokers are running."},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, CODE_KAFKA_UNREACHABLE,
     "Check kafka.brokers, and whether the brokers are running."},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, CODE_KAFKA_UNREACHABLE,
     "Check kafka.brokers, and whether the brokers are running."},
    {RD_KAFKA_RESP_ERR__RESOLVE, CODE_KAFKA_UNREACHABLE,
     "The broker's name cannot be resolved; check kafka.brokers and advertised.listeners."},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, CODE_KAFKA_AUTHENTICATION, NULL},
    {RD_KAFKA_RESP_ERR__SSL, CODE_KAFKA_TLS, NULL},
};

static const KafkaErrorRow OTHER = {0, CODE_KAFKA_ERROR, ""};

static const KafkaErrorRow REFUSED = {
    RD_KAFKA_RESP_ERR_INVALID_RECORD, CODE_RECORD_REFUSED,
    "A compacted topic needs a key; a topic may also refuse timestamps or formats."};

static const KafkaErrorRow *kafka_error_row(rd_kafka_resp_err_t code)
{
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        if (ROWS[i].kafka == code) {
            return &ROWS[i];
        }
    }
    return (int)code == INVALID_DIFFERENT_RECORD ? &REFUSED : &OTHER;
}

bool kafka_error_refuses(rd_kafka_resp_err_t code)
{
    return log_code_of(kafka_error_row(code)->code)->class == ERROR_POISON;
}

static void kafka_error(rd_kafka_resp_err_t code, const char *what, const char *topic, Error *err)
{
    const KafkaErrorRow *row = kafka_error_row(code);
    error_set(err, row->code, "%s '%s': %s (%s)", what, topic, rd_kafka_err2str(code),
              rd_kafka_err2name(code));
    if (row->hint == NULL) {
        error_advise(err);
    } else if (row->hint[0] != '\0') {
        error_hint(err, "%s", row->hint);
    }
}

void kafka_delivery_error(rd_kafka_resp_err_t code, const char *topic, Error *err)
{
    kafka_error(code, "cannot publish to topic", topic, err);
}

void kafka_topic_error(rd_kafka_resp_err_t code, const char *topic, Error *err)
{
    kafka_error(code, "topic", topic, err);
}

/* librdkafka's words, as far as they say more than the code. */
static const struct {
    const char *text;
    ErrorCode code;
    const char *hint;
} CONNECTION_TEXTS[] = {
    {"Failed to resolve", CODE_KAFKA_UNREACHABLE,
     "The name is not known to this machine: check kafka.brokers, DNS, and the brokers' "
     "advertised.listeners."},
    {"Connection refused", CODE_KAFKA_UNREACHABLE,
     "Nothing listens there: check host and port of kafka.brokers, and whether the broker is "
     "running."},
    {"connecting to a PLAINTEXT broker listener", CODE_KAFKA_TLS,
     "That listener does not speak TLS: use the broker's TLS port, or set "
     "security.protocol=plaintext "
     "(or sasl_plaintext) in kafka.properties."},
    {"wrong version number", CODE_KAFKA_TLS,
     "That listener does not speak TLS: use the broker's TLS port, or set "
     "security.protocol=plaintext "
     "(or sasl_plaintext) in kafka.properties."},
    {"unexpected eof while reading", CODE_KAFKA_TLS,
     "The broker closed the connection during the TLS handshake. Most likely that listener does "
     "not speak TLS: use the broker's TLS port, or set security.protocol=plaintext (or "
     "sasl_plaintext) in kafka.properties."},
    {"certificate verify failed", CODE_KAFKA_TLS,
     "Set ssl.ca.location in kafka.properties to the authority that signed the broker's "
     "certificate. If it is set, the certificate has expired, or it is not for the host name in "
     "kafka.brokers and advertised.listeners."},
    {"certificate required", CODE_KAFKA_TLS,
     "The broker asks for a certificate of the relay: set ssl.certificate.location and "
     "ssl.key.location in kafka.properties."},
    {"bad certificate", CODE_KAFKA_TLS,
     "The broker does not accept the relay's certificate: check ssl.certificate.location in "
     "kafka.properties, and the broker's ssl.truststore."},
    {"SSL handshake failed", CODE_KAFKA_TLS,
     "The broker ended the TLS handshake. Most likely that listener does not speak TLS: use the "
     "broker's TLS port, or set security.protocol=plaintext (or sasl_plaintext) in "
     "kafka.properties; else check ssl.* there."},
    {"connecting to a SSL listener", CODE_KAFKA_UNREACHABLE,
     "The other side closed the connection. If it requires TLS, set security.protocol=ssl (or "
     "sasl_ssl) in kafka.properties. Otherwise it is not a Kafka broker: check host and port of "
     "kafka.brokers."},
    {"nvalid frame size", CODE_KAFKA_UNREACHABLE,
     "The program there is not a Kafka broker: check host and port of kafka.brokers."},
    {"nvalid response size", CODE_KAFKA_UNREACHABLE,
     "The program there is not a Kafka broker: check host and port of kafka.brokers."},
};

void kafka_connection_error(rd_kafka_resp_err_t code, const char *text, const char *brokers,
                            Error *err)
{
    const KafkaErrorRow *row = kafka_error_row(code);
    ErrorCode name = row == &OTHER ? CODE_KAFKA_UNREACHABLE : row->code;
    const char *hint = row->hint == NULL ? log_code_of(row->code)->remedy
                       : row->hint[0] != '\0'
                           ? row->hint
                           : "Check kafka.brokers, and whether the brokers are running.";
    const char *said = text != NULL ? text : rd_kafka_err2str(code);
    for (size_t i = 0; i < sizeof(CONNECTION_TEXTS) / sizeof(CONNECTION_TEXTS[0]); i++) {
        if (strstr(said, CONNECTION_TEXTS[i].text) != NULL) {
            name = CONNECTION_TEXTS[i].code;
            hint = CONNECTION_TEXTS[i].hint;
            break;
        }
    }
    error_set(err, name, "no Kafka broker of '%s' answers: %s", brokers, said);
    error_hint(err, "%s", hint);
}
