/* Limits are looked up again each minute, before an event is called poison because of them, and
 * after a broker refused a record. */
#include "sink/kafka/kafka_limits.h"

#include "base/failpoint.h"
#include "base/log.h"
#include "flow/batch.h" /* Batch: its members */
#include "sink/kafka/kafka_record.h"

static void refuse_size(const KafkaTopic *kt, size_t bytes, Error *err)
{
    error_set(err, CODE_RECORD_TOO_LARGE,
              "the record takes %zu bytes, topic '%s' accepts %lld (max.message.bytes)", bytes,
              kt->topic->name, (long long)kt->limits.max_message_bytes);
    (void)error_hint(err,
                     "Raise the topic's max.message.bytes, or keep large bodies out of events.");
}

static void refuse_no_key(const KafkaTopic *kt, Error *err)
{
    error_set(
        err, CODE_RECORD_KEY_MISSING,
        "the record has no key, and topic '%s' is compacted: it accepts only records with a key",
        kt->topic->name);
    (void)error_advise(err);
}

SendResult kafka_limits_refuse(const KafkaTopic *kt, const Record *record, const Event *event,
                               Error *err)
{
    bool no_key = kt->limits.compacted && slice_is_null(record->key);
    size_t bytes = kt->limits.max_message_bytes > 0 ? kafka_record_bytes(record) : 0;
    bool large = bytes > 0 && bytes > (size_t)kt->limits.max_message_bytes;
    if (!no_key && !large) {
        return SEND_OK;
    }
    /* Somebody may have raised the limit, as the hint says, and then requeued the event. */
    if (kt->looked_us < event->batch->arrived_us) {
        return SEND_WAIT;
    }
    if (no_key) {
        refuse_no_key(kt, err);
    } else {
        refuse_size(kt, bytes, err);
    }
    return SEND_POISON;
}

/* The least of all topics that are written, at most librdkafka's default. */
static size_t limits_batch_bytes(const KafkaTopics *topics, const KafkaTopic **ret_least)
{
    size_t bytes = KAFKA_BATCH_BYTES;
    const KafkaTopic *kt = NULL;
    LIST_FOREACH(kt, &topics->all, link)
    {
        int64_t limit = kt->limits.max_message_bytes;
        if (limit > 0 && (size_t)limit < bytes) {
            bytes = (size_t)limit;
            *ret_least = kt;
        }
    }
    return bytes;
}

void kafka_limits_stale(KafkaTopics *topics, KafkaTopic *kt)
{
    AUTO_ERROR ignored = {0};
    topics->stale |= FAILPOINT_FAILS("stale_limits", &ignored);
    if (topics->stale) {
        kt->limits.max_message_bytes = -1;
        kt->limits.compacted = false;
    }
}

void kafka_limits_changed(KafkaTopics *topics, const KafkaTopic *kt)
{
    const KafkaTopic *least = kt;
    size_t bytes = limits_batch_bytes(topics, &least);
    if (bytes == topics->batch_bytes) {
        return;
    }
    bool smaller = bytes < topics->batch_bytes;
    topics->batch_bytes = bytes;
    log_write(LOG_INFO, topics->pipeline, CODE_KAFKA_BATCH_BYTES,
              LOG_FIELDS(log_text("topic", least->topic->name),
                         log_number("max_message_bytes", (long long)bytes)),
              smaller ? "the topic accepts smaller batches than batch.size; using its limit"
                      : "the topics accept larger batches again; using their limit");
}
