#!/usr/bin/env python3
"""Compares the codes that the sources use with the table of relay/base/log_codes_*.c: none is missing, none is left over, and no text for
people sends its reader to a code that does not exist.

    tests/support/log_codes.py [ROOT]      exit code 1 and one line for each difference

A code is an upper-case literal with an underscore anywhere, and any upper-case literal where error_set() and log_write() take their
code; names of environment variables look the same and are listed here.
"""

import os
import re
import sys

ENVIRONMENT = {"JOURNAL_STREAM", "NO_COLOR", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "PGCONNECT_TIMEOUT"}
LITERAL = re.compile(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"')
CALL = re.compile(r'\b(?:error_set|log_write)\s*\(\s*(?:[^",;]+,\s*){2,3}"([A-Z][A-Z0-9_]+)"')


def sources(root):
    for room in ("relay", "cdc"):
        for directory, _, names in os.walk(os.path.join(root, room)):
            for name in names:
                if name.endswith((".c", ".h")):
                    yield os.path.join(directory, name)


def codes_named(text):
    """Codes to which a text for people refers: "see CODE", and any such word in the runbook."""
    return set(re.findall(r"\bsee ([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b", text))


def codes_used(text):
    """Codes in C source text."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    found = set(LITERAL.findall(text)) | set(CALL.findall(text))
    return {c for c in found if c not in ENVIRONMENT and not c.startswith("OUTBOXD_")}


def codes_listed(text):
    """First members of the rows of a table of LogCode."""
    return re.findall(r'^    \{"([A-Z][A-Z0-9_]*)",', text, flags=re.M)


def differences(root):
    used, listed, named, result = {}, [], {}, []
    for path in sorted(sources(root)):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if re.match(r"log_codes_\w+\.c", os.path.basename(path)):
            listed += codes_listed(text)
            named.update(dict.fromkeys(codes_named(text), os.path.basename(path)))
        else:
            for code in codes_used(text):
                used.setdefault(code, os.path.relpath(path, root))
    for code in sorted(set(used) - set(listed)):
        result.append(f"{code} of {used[code]} is not in relay/base/log_codes_*.c")
    for code in sorted(set(listed) - set(used)):
        result.append(f"{code} is in relay/base/log_codes_*.c, and nothing uses it")
    with open(os.path.join(root, "packaging", "RUNBOOK.md"), encoding="utf-8") as f:
        named.update(dict.fromkeys(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", f.read()), "RUNBOOK.md"))
    for code in sorted(set(named) - set(listed)):
        result.append(f"{named[code]} sends its reader to {code}, which is no code")
    for code in sorted({c for c in listed if listed.count(c) > 1}):
        result.append(f"{code} is in relay/base/log_codes_*.c twice")
    return result, len(listed)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result, count = differences(root)
    for line in result:
        print(line)
    if not result:
        print(f"note: {count} codes")
    return 1 if result or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
