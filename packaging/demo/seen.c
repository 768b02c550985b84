/* seen.c - see seen.h. */
#include "seen.h"

#include <string.h>
#include <time.h>

void seen_copy_printable(char *to, size_t size, const void *from, size_t bytes)
{
    const unsigned char *byte = from;
    size_t length = bytes < size - 1 ? bytes : size - 1;

    for (size_t i = 0; i < length; i++) {
        to[i] = (char)(byte[i] < 0x20 || byte[i] == 0x7f ? '?' : byte[i]);
    }
    /* Never end in the middle of a UTF-8 character that was cut. */
    if (length < bytes && (byte[length] & 0xc0) == 0x80) {
        while (length > 0 && (byte[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    to[length] = '\0';
}

static bool header_read(const rd_kafka_headers_t *headers, const char *name, char ret_text[])
{
    const void *value = NULL;
    size_t bytes = 0;

    ret_text[0] = '\0';
    if (headers == NULL || rd_kafka_header_get_last(headers, name, &value, &bytes) != 0) {
        return false;
    }
    if (value != NULL) {
        seen_copy_printable(ret_text, SEEN_TEXT_MAX, value, bytes);
    }
    return true;
}

/* Reads exactly 'digits' digits and moves '*text' behind them. */
static bool digits_read(const char **text, int digits, int *ret_value)
{
    int value = 0;

    for (; digits > 0; digits--, (*text)++) {
        if (**text < '0' || **text > '9') {
            return false;
        }
        value = value * 10 + (**text - '0');
    }
    *ret_value = value;
    return true;
}

static bool letter_read(const char **text, char letter)
{
    if (**text != letter) {
        return false;
    }
    (*text)++;
    return true;
}

bool seen_parse_time(const char *text, int64_t *ret_us)
{
    struct tm t = {0};
    int64_t fraction = 0, scale = 1000000;

    if (!digits_read(&text, 4, &t.tm_year) || !letter_read(&text, '-') ||
        !digits_read(&text, 2, &t.tm_mon) || !letter_read(&text, '-') ||
        !digits_read(&text, 2, &t.tm_mday) || !letter_read(&text, 'T') ||
        !digits_read(&text, 2, &t.tm_hour) || !letter_read(&text, ':') ||
        !digits_read(&text, 2, &t.tm_min) || !letter_read(&text, ':') ||
        !digits_read(&text, 2, &t.tm_sec)) {
        return false;
    }
    if (letter_read(&text, '.')) {
        for (; *text >= '0' && *text <= '9'; text++) {
            scale /= 10;
            fraction += (*text - '0') * scale;
        }
    }
    if (strcmp(text, "Z") != 0 && strcmp(text, "+00:00") != 0) {
        return false;
    }
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    *ret_us = (int64_t)timegm(&t) * 1000000 + fraction;
    return true;
}

void seen_read(const rd_kafka_message_t *record, int64_t now_us, Seen *ret_seen)
{
    rd_kafka_headers_t *headers = NULL;
    char time_text[SEEN_TEXT_MAX];
    int64_t occurred_us = 0;

    rd_kafka_message_headers(record, &headers); /* leaves NULL when there are none */
    const char *topic = rd_kafka_topic_name(record->rkt);
    seen_copy_printable(ret_seen->topic, sizeof ret_seen->topic, topic, strlen(topic));
    seen_copy_printable(ret_seen->key, sizeof ret_seen->key, record->key,
                        record->key != NULL ? record->key_len : 0);
    header_read(headers, "ce_id", ret_seen->id);
    header_read(headers, "ce_type", ret_seen->type);
    header_read(headers, "ce_correlationid", ret_seen->correlation);
    header_read(headers, "ce_causationid", ret_seen->causation);

    ret_seen->has_time =
        header_read(headers, "ce_time", time_text) && seen_parse_time(time_text, &occurred_us);
    ret_seen->lag_us = ret_seen->has_time ? now_us - occurred_us : 0;
    ret_seen->payload = record->payload;
    ret_seen->payload_bytes = record->payload != NULL ? record->len : 0;
}
