"""An independent consumer: reads topics from their beginning to their end as it was when reading began."""

import contextlib
import logging
import time
from collections import namedtuple

from . import CACHE  # noqa: F401  (puts the independent client on sys.path)
from .common import at_pace, eventually

QUIET = logging.getLogger("kafka-client")  # the client's chatter while a broker is down on purpose
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False

Record = namedtuple("Record", "topic partition offset timestamp timestamp_type key value headers")
# headers: list of (str, bytes or None) in wire order; key and value: bytes or None; timestamp: ms since 1970


class _Client:
    """A consumer and what asks where partitions begin and end, for one broker: connecting anew for each read costs the broker more than the read."""

    _idle = {}      # key -> clients that nobody uses now; pop and append are atomic, so threads may share them

    def __init__(self, brokers, isolation, properties):
        from confluent_kafka import Consumer
        from confluent_kafka.admin import AdminClient
        self.isolation = isolation
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": "independent-checker", "enable.auto.commit": False,
                                  "auto.offset.reset": "earliest", "enable.partition.eof": False, "isolation.level": isolation,
                                  "fetch.wait.max.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 2, **properties}, logger=QUIET)
        self.admin = AdminClient({"bootstrap.servers": brokers, "reconnect.backoff.max.ms": 200, "log_level": 2}, logger=QUIET)

    @classmethod
    @contextlib.contextmanager
    def of(cls, brokers, isolation="read_uncommitted", properties=None):
        """One that was used before, or a new one; what went wrong is not used again."""
        key = (brokers, isolation, tuple(sorted((properties or {}).items())))
        try:
            client = cls._idle.setdefault(key, []).pop()
        except IndexError:
            client = cls(brokers, isolation, properties or {})
        try:
            yield client
        except BaseException:
            client.consumer.close()
            raise
        client.consumer.unassign()
        cls._idle[key].append(client)

    def partitions(self, topics):
        """[(topic, partition)] of topics that must exist."""
        found = []
        for topic in [topics] if isinstance(topics, str) else topics:
            metadata = self.consumer.list_topics(topic, timeout=10).topics[topic]
            assert metadata.error is None, f"{topic}: {metadata.error}"
            found += [(topic, partition) for partition in metadata.partitions]
        return found

    def offsets(self, partitions, spec):
        """(topic, partition) -> its first offset (spec "earliest") or the one behind its last ("latest")."""
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import OffsetSpec
        level = IsolationLevel.READ_COMMITTED if self.isolation == "read_committed" else IsolationLevel.READ_UNCOMMITTED
        asked = self.admin.list_offsets({TopicPartition(*place): getattr(OffsetSpec, spec)() for place in partitions}, isolation_level=level,
                                        request_timeout=10)
        return {(place.topic, place.partition): future.result(15).offset for place, future in asked.items()}


def read_topics(brokers, topics, isolation="read_uncommitted", timeout=60, properties=None):
    """All records of `topics` up to the high watermarks at the time of the call, by partition and offset.

    A broker that has just started may not lead its partitions yet: that is waited for.
    """
    from confluent_kafka import KafkaException

    def attempt():
        try:
            with _Client.of(brokers, isolation, properties) as client:
                return [_read(client, topics, timeout)]
        except KafkaException as e:
            raise RuntimeError(str(e)) from e

    return eventually(attempt, 20, f"{topics} can be read", interval=0.2)[0]


def _read(client, topics, timeout):
    from confluent_kafka import KafkaError, TopicPartition
    consumer, partitions = client.consumer, client.partitions(topics)
    ends = client.offsets(partitions, "latest")
    wanted = {place: end for place, end in ends.items() if end > 0}
    if wanted:
        begins = client.offsets(wanted, "earliest")
        wanted = {place: end for place, end in wanted.items() if end > begins[place]}
    if not wanted:
        return []
    consumer.assign([TopicPartition(*place, begins[place]) for place in wanted])
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


def may_have(brokers, topics, count):
    """Whether so many offsets were given out: where not, a read would be for nothing."""
    from confluent_kafka import KafkaException
    try:
        with _Client.of(brokers) as client:
            return sum(client.offsets(client.partitions(topics), "latest").values()) >= count
    except KafkaException as e:
        raise RuntimeError(str(e)) from e


def wait_for_records(brokers, topics, count, timeout=20, **kwargs):
    """Read until at least `count` records are there; all of them."""
    seen = []

    def enough():
        if not may_have(brokers, topics, count):
            return False
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
