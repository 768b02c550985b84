"""An independent consumer: reads topics from their beginning to their end as it was when reading began."""

import time
from collections import namedtuple

from . import CACHE  # noqa: F401  (puts the independent client on sys.path)
from .common import at_pace, eventually

Record = namedtuple("Record", "topic partition offset timestamp timestamp_type key value headers")
# headers: list of (str, bytes or None) in wire order; key and value: bytes or None; timestamp: ms since 1970


def _consumer(brokers, isolation, properties):
    from confluent_kafka import Consumer
    return Consumer({"bootstrap.servers": brokers, "group.id": "independent-checker", "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "enable.partition.eof": False, "isolation.level": isolation,
                     "fetch.wait.max.ms": 20, "log_level": 2, **properties})


def read_topics(brokers, topics, isolation="read_uncommitted", timeout=60, properties=None):
    """All records of `topics` up to the high watermarks at the time of the call, by partition and offset.

    A broker that has just started may not lead its partitions yet: that is waited for.
    """
    from confluent_kafka import KafkaException

    def attempt():
        try:
            return [_read(brokers, topics, isolation, timeout, properties)]
        except KafkaException as e:
            raise RuntimeError(str(e)) from e

    return eventually(attempt, 20, f"{topics} can be read", interval=0.2)[0]


def _read(brokers, topics, isolation, timeout, properties):
    from confluent_kafka import KafkaError, TopicPartition
    consumer = _consumer(brokers, isolation, properties or {})
    try:
        wanted, assignment = {}, []
        for topic in [topics] if isinstance(topics, str) else topics:
            metadata = consumer.list_topics(topic, timeout=10).topics[topic]
            assert metadata.error is None, f"{topic}: {metadata.error}"
            for partition in metadata.partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                if high > low:
                    wanted[(topic, partition)] = high
                    assignment.append(TopicPartition(topic, partition, low))
        if not assignment:
            return []
        consumer.assign(assignment)
        records = []
        deadline = time.monotonic() + at_pace(timeout)
        while wanted:
            # Waits for as many as there may be: asking for more would take the whole time-out, each time.
            left = sum(wanted.values()) - sum(max(p.offset, 0) for p in consumer.position([TopicPartition(t, p) for t, p in wanted]))
            for m in consumer.consume(min(5000, max(left, 1)), timeout=0.05):
                if m.error():
                    if m.error().code() == KafkaError._PARTITION_EOF:
                        continue
                    raise RuntimeError(str(m.error()))
                kind, stamp = m.timestamp()
                records.append(Record(m.topic(), m.partition(), m.offset(), stamp, kind, m.key(), m.value(),
                                      list(m.headers() or [])))
            for place in consumer.position([TopicPartition(t, p) for t, p in wanted]):
                if place.offset >= wanted[(place.topic, place.partition)]:
                    del wanted[(place.topic, place.partition)]
            assert time.monotonic() < deadline or not wanted, f"topics not read to their end in time: {wanted}"
        records.sort(key=lambda r: (r.topic, r.partition, r.offset))
        return records
    finally:
        consumer.close()


def wait_for_records(brokers, topics, count, timeout=20, **kwargs):
    """Read until at least `count` records are there; all of them."""
    seen = []

    def enough():
        seen[:] = read_topics(brokers, topics, **kwargs)
        return len(seen) >= count

    eventually(enough, timeout, lambda: f"{count} records in {topics} (found {len(seen)})", interval=0.05)
    return list(seen)


def headers_of(record):
    """Header name -> text; fails when a name is there twice or a value is not UTF-8."""
    result = {}
    for name, value in record.headers:
        assert name not in result, f"header {name} is there twice"
        result[name] = None if value is None else value.decode("utf-8")
    return result
