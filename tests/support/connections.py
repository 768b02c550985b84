#!/usr/bin/env python3
"""Looks that every session with PostgreSQL begins as relay/pg/open.h says: with search_path = pg_catalog, pg_temp.

    tests/support/connections.py [ROOT]      exit code 1 and one line for each place that does not

Connections are made in pg/open.c and pg/login.c (for pg/conn.c) alone, with PG_OPEN_SQL behind it, and no SQL text anywhere takes the path back. What waits for an
answer waits in pg/session.c alone, so that every blocking session is opened, asked and closed in one way.
"""

import re
import sys

from sources import joined_strings, line_of, read, report, root_of, sources, without_comments

CONNECT = re.compile(r"\bPQ(?:connect(?:db|dbParams|Start|StartParams)|setdb(?:Login)?|reset(?:Start)?)\s*\(")
PATH = re.compile(r"\bSET\s+(?:LOCAL\s+|SESSION\s+)?search_path\s*(?:=|TO\b)(?!\s*pg_catalog, pg_temp\b)|\bDISCARD\s+ALL\b"
                  r"|set_config\('search_path',(?!\s*'pg_catalog, pg_temp')|\bRESET\s+(?:ALL|search_path)\b|-c\s*search_path", re.I)
WAITS = re.compile(r"\b(?:PQ(?:exec\w*|prepare|getCopyData|describe\w+)|pg_open)\s*\(")
WAITERS = {"relay/pg/open.c", "relay/pg/session.c"}
# Without waiting: with its last argument, or in the stream that asks for it.
NOT_WAITING = {"relay/pg/conn.c", "cdc/wal_stream.c"}
MAKERS = {"relay/pg/open.c": "PQconnectdbParams", "relay/pg/login.c": "PQconnectStartParams"}
# Who sends the first statement behind it.
OPENERS = {"relay/pg/open.c": "pg_open_sql(*ret_conn)", "relay/pg/conn.c": "pg_open_sql(conn->pg)"}
# Texts that tell somebody else what to run.
ADVICE = re.compile(r"ALTER FUNCTION[^;]*?SET search_path = (?:%s|\.\.\.)", re.I)


def problems_of(path, text):
    """What is wrong with one source file."""
    code = without_comments(text)
    result = []
    for match in CONNECT.finditer(code):
        if path not in MAKERS:
            result.append(f"{path}:{line_of(code, match.start())} connects to PostgreSQL by itself: use pg_session_open() or pg_conn_open()")
    if path in MAKERS and (code.count(MAKERS[path]) != 1 or len(CONNECT.findall(code)) != 1):
        result.append(f"{path}: one {MAKERS[path]}() is expected")
    if path in OPENERS and code.count(OPENERS[path]) != 1:
        result.append(f"{path}: one {OPENERS[path]}, behind the connection, is expected")
    if path.endswith(".c") and path not in WAITERS | NOT_WAITING:
        result += [f"{path}:{line_of(code, match.start())} waits for PostgreSQL by itself: use pg_session_query() or pg_conn_send()" for match in WAITS.finditer(code)]
    joined = joined_strings(code)
    for match in PATH.finditer(ADVICE.sub("", joined)):
        result.append(f"{path}: another search_path than pg_catalog, pg_temp: {' '.join(joined[match.start():match.start() + 60].split())}")
    return result


def main():
    root = root_of(sys.argv)
    files = sources(root)
    result = [problem for path in files for problem in problems_of(path, read(root, path))]
    result += [f"{path} is not there" for path in MAKERS if path not in files]
    return report(result, f"{len(files)} files, {len(MAKERS)} of them connect")


if __name__ == "__main__":
    sys.exit(main())
