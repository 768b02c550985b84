"""The checker itself: it must find what it is there to find."""

import datetime

from support.consume import Record
from support.verify import compare, expected_cloudevents, murmur2, partition_of, to_ms

AT = datetime.datetime(2026, 3, 1, 10, 30, 0, 123456, tzinfo=datetime.timezone.utc)


def event(key, version, **changes):
    return {"event_id": f"{key}-{version}", "event_type": "order.placed", "event_version": 1, "aggregate_type": "order",
            "aggregate_id": str(key), "aggregate_version": version, "value": b'{"a": 1}', "content_type": "application/json",
            "correlation_id": f"{key}-{version}", "causation_id": None, "traceparent": None, "headers": {"n": 7, "t": "x"},
            "occurred_at": AT, **changes}


def record(e, offset, partition=0, **changes):
    headers = [(k, v.encode()) for k, v in expected_cloudevents(e, "/shop/orders").items()]
    headers.append(("ce_time", b"2026-03-01T10:30:00.123456Z"))
    values = {"topic": "t", "partition": partition, "offset": offset, "timestamp": to_ms(e["occurred_at"]), "timestamp_type": 1,
              "key": e["aggregate_id"].encode(), "value": e["value"], "headers": headers, **changes}
    return Record(**values)


def run(*versions, truth=(1, 2, 3), **changes):
    events = {f"k-{v}": event("k", v) for v in truth}
    records = [record(event("k", v), n, **(changes if n == 0 else {})) for n, v in enumerate(versions)]
    return compare(events, records)


def figures(report):
    return {k: n for k, n in report.count.items() if n}


def test_exact_delivery_has_no_findings():
    assert figures(run(1, 2, 3)) == {}
    run(1, 2, 3).assert_exact()


def test_missing_event_is_lost():
    assert figures(run(1, 2)) == {"lost": 1}


def test_event_that_never_committed_is_a_phantom():
    assert figures(run(1, 2, 3, truth=(1, 2))) == {"phantoms": 1}


def test_replay_of_a_suffix_counts_as_duplicates_only():
    assert figures(run(1, 2, 3, 2, 3)) == {"duplicates": 2, "rewinds": 1}


def test_replay_with_a_hole_is_reported():
    assert figures(run(1, 2, 3, 1, 3)) == {"duplicates": 2, "rewinds": 1, "replay_holes": 1}


def test_swapped_versions_are_an_inversion():
    assert run(2, 1, 3).inversions > 0


def test_changed_value_key_header_and_time_are_reported():
    assert figures(run(1, 2, 3, value=b'{"a":1}')) == {"wrong_values": 1}
    assert figures(run(1, 2, 3, key=b"other")) == {"wrong_keys": 1}
    assert figures(run(1, 2, 3, timestamp=1)) == {"wrong_timestamps": 1}
    missing = [h for h in record(event("k", 1), 0).headers if h[0] != "ce_type"]
    assert figures(run(1, 2, 3, headers=missing)) == {"wrong_headers": 1}
    extra = record(event("k", 1), 0).headers + [("surplus", b"x")]
    assert figures(run(1, 2, 3, headers=extra)) == {"wrong_headers": 1}


def test_key_on_two_partitions_is_reported():
    assert run(1, 2, 3, partition=5).split_keys > 0


def test_murmur2_agrees_with_the_java_clients_own_vectors():
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    vectors = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
               b"a-little-bit-longer-string": -1486304829, b"abc": 479470107,
               b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971}
    for data, signed in vectors.items():
        assert murmur2(data) == signed & 0xFFFFFFFF
    assert partition_of(b"21", 6) == (-973932308 & 0x7FFFFFFF) % 6
