#!/usr/bin/env python3
"""Looks that values of PostgreSQL's answers are read through relay/pg/result.h alone, which takes an answer without the row or the column.

    tests/support/results.py [ROOT]      exit code 1 and one line for each place that does not
"""

import re
import sys

from sources import line_of, read, report, root_of, sources, without_comments

BARE = re.compile(r"\bPQ(?:getvalue|getisnull|getlength)\b")
READER = "relay/pg/result.c"


def problems_of(path, text):
    """What is wrong with one source file."""
    code = without_comments(text)
    if path == READER:
        return [] if BARE.search(code) else [f"{path} reads no value"]
    return [f"{path}:{line_of(code, m.start())} reads a value with {m.group()}: use pg_value() of pg/result.h"
            for m in BARE.finditer(code)]


def main():
    root = root_of(sys.argv)
    files = sources(root)
    result = [problem for path in files for problem in problems_of(path, read(root, path))]
    if READER not in files:
        result.append(f"{READER} is not there")
    return report(result, f"{len(files)} files")


if __name__ == "__main__":
    sys.exit(main())
