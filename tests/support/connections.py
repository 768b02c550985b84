#!/usr/bin/env python3
"""Looks that every session with PostgreSQL begins as relay/pg/open.h says: with search_path = pg_catalog, pg_temp.

    tests/support/connections.py [ROOT]      exit code 1 and one line for each place that does not

Connections are made in pg/open.c and pg/conn.c alone, with PG_OPEN_SQL behind it, and no SQL text anywhere takes the path back.
"""

import os
import re
import sys

CONNECT = re.compile(r"\bPQ(?:connect(?:db|dbParams|Start|StartParams)|setdb(?:Login)?|reset(?:Start)?)\s*\(")
PATH = re.compile(r"\bSET\s+(?:LOCAL\s+|SESSION\s+)?search_path\s*(?:=|TO\b)(?!\s*pg_catalog, pg_temp\b)|\bDISCARD\s+ALL\b"
                  r"|\bRESET\s+(?:ALL|search_path)\b|-c\s*search_path", re.I)
MAKERS = {"relay/pg/open.c": "PQconnectdbParams", "relay/pg/conn.c": "PQconnectStartParams"}
# Texts that tell somebody else what to run.
ADVICE = re.compile(r"ALTER FUNCTION[^;]*?SET search_path = (?:%s|\.\.\.)", re.I)


def sources(root):
    for room in ("relay", "cdc"):
        for directory, _, names in os.walk(os.path.join(root, room)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(directory, name), root)


def problems_of(path, text):
    """What is wrong with one source file."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    result = []
    for match in CONNECT.finditer(code):
        if path not in MAKERS:
            line = code.count("\n", 0, match.start()) + 1
            result.append(f"{path}:{line} connects to PostgreSQL by itself: use pg_open() or pg_conn_open()")
    if path in MAKERS and (code.count(MAKERS[path]) != 1 or code.count("PG_OPEN_SQL") != 1 or len(CONNECT.findall(code)) != 1):
        result.append(f"{path}: one {MAKERS[path]}() and one PG_OPEN_SQL behind it are expected")
    joined = re.sub(r'"\s*\n?\s*"', "", code)
    for match in PATH.finditer(ADVICE.sub("", joined)):
        result.append(f"{path}: another search_path than pg_catalog, pg_temp: {' '.join(joined[match.start():match.start() + 60].split())}")
    return result


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result, files = [], list(sources(root))
    for path in files:
        with open(os.path.join(root, path), encoding="utf-8") as f:
            result += problems_of(path, f.read())
    result += [f"{path} is not there" for path in MAKERS if path not in files]
    for line in result:
        print(line)
    if not result:
        print(f"note: {len(files)} files, {len(MAKERS)} of them connect")
    return 1 if result else 0


if __name__ == "__main__":
    sys.exit(main())
