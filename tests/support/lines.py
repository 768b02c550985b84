"""What sink = "file" wrote, read without outboxd: JSON lines of a file and of those it was rotated to, as records like those of Kafka."""

import base64
import glob
import json

from .consume import Record
from .verify import parse_time, to_ms


def _once(pairs):
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), f"a member is there twice: {names}"
    return dict(pairs)


def _bytes(line, name):
    """The bytes of a member, whichever way they are written."""
    assert (name in line) != (name + "_base64" in line), f"{name}: {line}"
    if name + "_base64" in line:
        value = base64.b64decode(line[name + "_base64"], validate=True)
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return value
        raise AssertionError(f"text that is written as base64: {line}")
    return None if line[name] is None else line[name].encode("utf-8")


def files_of(path):
    """The file and those it was rotated to, the oldest first."""
    return sorted(glob.glob(glob.escape(path) + ".*Z")) + [path]


def records_of(text):
    """The records of whole lines; a line that is not one is an error."""
    assert text == b"" or text.endswith(b"\n"), f"half a line at the end: {text[-200:]!r}"
    records = []
    for number, one in enumerate(text.split(b"\n")[:-1]):
        line = json.loads(one.decode("utf-8"), object_pairs_hook=_once)
        headers = [(name, None if value is None else value.encode()) for name, value in line["headers"].items()]
        headers += [(name, base64.b64decode(value, validate=True)) for name, value in line.get("headers_base64", {}).items()]
        known = {"topic", "key", "key_base64", "value", "value_base64", "headers", "headers_base64", "id", "time"}
        assert set(line) <= known and dict(headers).get("ce_id", line["id"].encode()) == line["id"].encode(), line
        time = to_ms(parse_time(line["time"]))
        records.append(Record(line["topic"], 0, number, time, 1, _bytes(line, "key"), _bytes(line, "value"), headers))
    return records


def read_lines(path):
    """All records, in the order of the files."""
    records = []
    for name in files_of(path):
        with open(name, "rb") as f:
            records += records_of(f.read())
    return records
