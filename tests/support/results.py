#!/usr/bin/env python3
"""Looks that values of PostgreSQL's answers are read through relay/pg/result.h alone, which takes an answer without the row or the column.

    tests/support/results.py [ROOT]      exit code 1 and one line for each place that does not
"""

import os
import re
import sys

BARE = re.compile(r"\bPQ(?:getvalue|getisnull|getlength)\b")
READER = "relay/pg/result.c"


def sources(root):
    for room in ("relay", "cdc"):
        for directory, _, names in os.walk(os.path.join(root, room)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(directory, name), root)


def problems_of(path, text):
    """What is wrong with one source file."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    if path == READER:
        return [] if BARE.search(code) else [f"{path} reads no value"]
    return [f"{path}:{code.count(chr(10), 0, m.start()) + 1} reads a value with {m.group()}: use pg_value() of pg/result.h"
            for m in BARE.finditer(code)]


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result, files = [], list(sources(root))
    for path in files:
        with open(os.path.join(root, path), encoding="utf-8") as f:
            result += problems_of(path, f.read())
    if READER not in files:
        result.append(f"{READER} is not there")
    for line in result:
        print(line)
    if not result:
        print(f"note: {len(files)} files")
    return 1 if result else 0


if __name__ == "__main__":
    sys.exit(main())
