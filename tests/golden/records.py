"""Records of two programs side by side: what differs, member by member."""

import json
import re
import struct

_NUMBER = re.compile(rb"-?\d+\.\d+(?:E-?\d+)?(?=[,}\]])")
_END = re.compile(rb'("op":"(.)"),"ts_ms":\d+,"ts_us":\d+,"ts_ns":\d+(\}\}?)$')
# Collections that are logical messages, whose names are addresses.
_MESSAGES = re.compile(rb',?(?:\{"data_collection":"io\.debezium[^}]*\},?)+')


def _numbers(data, single):
    """Each floating-point number as that of its precision is printed: Java 17 has digits that no other program needs."""
    def digits(found):
        value = float(found.group())
        if single and abs(value) < 3.4e38:
            value = struct.unpack("f", struct.pack("f", value))[0]
        return repr(value).encode()
    return None if data is None else _NUMBER.sub(digits, data)


def _between(found):
    text = found.group()
    return b"," if text[:1] == text[-1:] == b"," else b""


class Record:
    """Without what differs from run to run: the time of the envelope, the id of the run, and in a snapshot its place in the log."""

    def __init__(self, record, prefix, to):
        def named(data):
            return None if data is None else data.replace(prefix.encode(), to.encode())
        self.key, value = named(record.key), named(record.value)
        self.headers = [(name, b"" if name.endswith(".runId") else named(data)) for name, data in record.headers]
        self.op = None
        if value is not None:
            found = _END.search(value)
            if found:
                self.op = found.group(2).decode()
                value = value[:found.start()] + found.group(1) + found.group(3)
            value = re.sub(rb'\{"op":"m","ts_ms":\d+,', b'{"op":"m",', value)
            value = _MESSAGES.sub(_between, value)
        if self.op == "r":
            value = re.sub(rb'"ts_ms":\d+,("snapshot":"\w+","db":"[^"]*"),"sequence":"[^}]*?","ts_us":\d+,"ts_ns":\d+', rb"\1", value)
            value = re.sub(rb'"txId":\d+,"lsn":\d+,', b"", value)
        self.value = value
        place = re.search(rb'"sequence":"\[[^,]*,\\"(\d+)\\"', value or b"")
        self.identity = (self.op, value is None, json.dumps(_payload(self.key)), place and place.group(1))

    def forms(self):
        return [(_numbers(self.key, single), _numbers(self.value, single), self.headers) for single in (False, True)]

    def differences(self, other):
        """Theirs is self. Texts that tell where and how."""
        if any(a == b for a, b in zip(self.forms(), other.forms())):
            return
        if self.headers != other.headers:
            yield f"headers: {self.headers} / {other.headers}"
        for what in ("key", "value"):
            theirs, ours = getattr(self, what), getattr(other, what)
            if theirs == ours:
                continue
            told = list(_walk(_parsed(theirs), _parsed(ours), what))
            yield from told or [f"{what}: equal, but for its bytes"]

    def __str__(self):
        return f"{self.op} key {_payload(self.key)} value {json.dumps(_payload(self.value), ensure_ascii=False)[:240]}"


def _parsed(data):
    return None if data is None else json.loads(data)


def _payload(data):
    value = _parsed(data)
    return value["payload"] if isinstance(value, dict) and value.keys() == {"schema", "payload"} else value


def _walk(theirs, ours, path):
    if type(theirs) is type(ours) and isinstance(theirs, dict):
        for name in [*theirs, *(name for name in ours if name not in theirs)]:
            if name in theirs and name in ours:
                yield from _walk(theirs[name], ours[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: {'theirs' if name in theirs else 'ours'} alone, {json.dumps((theirs | ours)[name], ensure_ascii=False)[:200]}"
    elif type(theirs) is type(ours) and isinstance(theirs, list):
        names = [[item.get("field") for item in items if isinstance(item, dict)] for items in (theirs, ours)]
        if all(len(n) == len(items) > 0 and None not in n for n, items in zip(names, (theirs, ours))):
            yield from _walk(*({item["field"]: item for item in items} for items in (theirs, ours)), path)
        elif len(theirs) == len(ours):
            for place, (a, b) in enumerate(zip(theirs, ours)):
                yield from _walk(a, b, f"{path}[{place}]")
        else:
            yield f"{path}: {json.dumps(theirs, ensure_ascii=False)[:200]} / {json.dumps(ours, ensure_ascii=False)[:200]}"
    elif theirs != ours or type(theirs) is not type(ours):
        yield f"{path}: {json.dumps(theirs, ensure_ascii=False)[:200]} / {json.dumps(ours, ensure_ascii=False)[:200]}"
