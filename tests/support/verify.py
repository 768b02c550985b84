"""The checker: compares what was committed (table workload.truth) with what an independent consumer read.

    committed events that never arrived          lost
    arrivals of events that never committed      phantoms
    second and later arrivals of an event        duplicates
    per key, order of first arrivals             inversions (must be versions 1, 2, 3, ... without a hole)
    per key, order of all arrivals               rewinds (steps back) and replay_holes (a replay that skips something)

The truth is written by the workload in the transaction that emits the event, with the version drawn under the aggregate's row lock,
so commit order per key is known without any clock.
"""

import datetime
import json
import re
from collections import defaultdict

from .consume import headers_of

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def parse_time(text):
    """RFC 3339 in UTC with a Z, to microseconds; AssertionError for anything else."""
    assert _RFC3339.fullmatch(text), f"not RFC 3339 in UTC: {text!r}"
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def to_ms(time):
    """Whole milliseconds since 1970, rounded down."""
    return (time - _EPOCH) // datetime.timedelta(milliseconds=1)


def header_text(value):
    """How a value of the row's `headers` object travels: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def expected_cloudevents(event, source):
    """Header name -> text of the `cloudevents` style for a row of the truth, without ce_time."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event["event_id"],
        "ce_source": source,
        "ce_type": event["event_type"],
        "ce_subject": event["aggregate_id"],
        "content-type": None if event["value"] is None else event["content_type"],  # a tombstone has no data to describe
        "ce_correlationid": event["correlation_id"],
        "ce_causationid": event["causation_id"],
        "ce_aggregatetype": event["aggregate_type"],
        "ce_aggregateversion": None if event["aggregate_version"] is None else str(event["aggregate_version"]),
        "ce_eventversion": str(event["event_version"]),
        "traceparent": event["traceparent"],
    }
    headers = {k: v for k, v in headers.items() if v is not None}
    headers.update({k: header_text(v) for k, v in (event["headers"] or {}).items()})
    return headers


def read_truth(database):
    """event id -> dict of the columns of workload.truth."""
    columns = ["event_id", "event_type", "event_version", "aggregate_type", "aggregate_id", "aggregate_version", "value",
               "content_type", "correlation_id", "causation_id", "traceparent", "headers", "occurred_at"]
    truth = {}
    connection = database.connect(autocommit=False)
    try:
        with connection.cursor(name="truth") as cursor:
            cursor.itersize = 10000
            cursor.execute("SELECT event_id::text, " + ", ".join(columns[1:]) + " FROM workload.truth")
            for row in cursor:
                event = dict(zip(columns, row))
                event["value"] = None if event["value"] is None else bytes(event["value"])
                truth[event["event_id"]] = event
    finally:
        connection.close()
    return truth


class Report:
    """Figures of one comparison; `examples` shows the first few of each kind of trouble."""

    KINDS = ("lost", "phantoms", "duplicates", "inversions", "rewinds", "replay_holes", "split_keys", "wrong_keys",
             "wrong_values", "wrong_headers", "wrong_timestamps")

    def __init__(self):
        self.committed = 0
        self.records = 0
        self.count = dict.fromkeys(self.KINDS, 0)
        self.examples = defaultdict(list)

    def note(self, kind, example):
        self.count[kind] += 1
        if len(self.examples[kind]) < 3:
            self.examples[kind].append(str(example)[:600])

    def __getattr__(self, name):
        try:
            return self.__dict__["count"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self):
        lines = [f"{'committed':18}{self.committed:>10}", f"{'records':18}{self.records:>10}"]
        for kind in self.KINDS:
            lines.append(f"{kind:18}{self.count[kind]:>10}")
            lines += [f"    {e}" for e in self.examples[kind] if kind not in ("duplicates", "rewinds")]
        return "\n".join(lines)

    def assert_exact(self, duplicates=0):
        """Everything once and in order; at most `duplicates` repeats, and those only as replays of a suffix."""
        for kind in self.KINDS:
            allowed = duplicates if kind in ("duplicates", "rewinds") else 0
            assert self.count[kind] <= allowed, f"{kind}: {self.count[kind]}, at most {allowed} allowed\n{self}"
        assert self.committed > 0, "the workload committed nothing"


def _check_content(report, record, headers, event, source):
    where = f"{record.topic}/{record.partition}@{record.offset}"
    if record.key != event["aggregate_id"].encode():
        report.note("wrong_keys", f"{where}: key {record.key!r}, expected {event['aggregate_id']!r}")
    if record.value != event["value"]:
        report.note("wrong_values", f"{where}: value {record.value!r}, expected {event['value']!r}")
    found_time = headers.pop("ce_time", "")
    expected = expected_cloudevents(event, source)
    if headers != expected or parse_time(found_time) != event["occurred_at"]:
        report.note("wrong_headers", f"{where}: {headers} ce_time {found_time}; expected {expected} {event['occurred_at']}")
    if record.timestamp != to_ms(event["occurred_at"]):
        report.note("wrong_timestamps", f"{where}: {record.timestamp}, expected {to_ms(event['occurred_at'])}")


def compare(truth, records, source="/shop/orders"):
    """Compare the truth with records of cloudevents style in the order of partition and offset: a Report."""
    report = Report()
    report.committed, report.records = len(truth), len(records)
    seen = set()
    places, newest, previous = {}, defaultdict(int), {}
    for record in records:
        headers = headers_of(record)
        event_id = headers.get("ce_id")
        event = truth.get(event_id)
        if event is None:
            report.note("phantoms", f"{record.topic}/{record.partition}@{record.offset}: {headers}")
            continue
        _check_content(report, record, headers, event, source)
        key, version = (event["aggregate_type"], event["aggregate_id"]), event["aggregate_version"]
        if places.setdefault(key, (record.topic, record.partition)) != (record.topic, record.partition):
            report.note("split_keys", f"key {key} is in {places[key]} and in {record.topic}/{record.partition}")
        if event_id in seen:
            report.note("duplicates", event_id)
        else:
            seen.add(event_id)
            if version != newest[key] + 1:
                report.note("inversions", f"key {key}: version {version} first seen after {newest[key]}")
            newest[key] = max(newest[key], version)
        if key in previous:
            if version <= previous[key]:
                report.note("rewinds", key)
            elif version > previous[key] + 1:
                report.note("replay_holes", f"key {key}: {previous[key]} then {version}")
        previous[key] = version
    for event_id in truth.keys() - seen:
        report.note("lost", {k: v for k, v in truth[event_id].items() if k != "value"})
    return report


def murmur2(data):
    """Kafka's murmur2 hash of bytes, as an unsigned 32-bit number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def partition_of(key, partitions):
    """The partition Java clients choose for a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
