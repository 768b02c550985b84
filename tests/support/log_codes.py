#!/usr/bin/env python3
"""Compares the codes that the sources use with the registry, relay/base/error_codes_*.inc (the compiler sees that none is missing): none
is left over, no text for people sends its reader to a code that does not exist, no hint repeats a remedy, nothing decides by the text of a code or of a message, and
each Error of a function lets go of its texts by itself (base/error.h).

    tests/support/log_codes.py [ROOT]      exit code 1 and one line for each difference

A code is used as CODE_NAME. What the server, libpq and librdkafka say becomes a code at the border, in the files of BORDER, and is read
nowhere else.
"""

import os
import re
import sys

BORDER = {"base/error.c", "pg/sqlstate.c", "pg/connection_error.c", "sink/kafka/kafka_error.c"}
SAID_BEFORE = {"IDENTIFY_SYSTEM"}  # nothing says it any more; a dead letter or an alert may still have it
USE = re.compile(r"\bCODE_([A-Z][A-Z0-9_]*)\b")
ROW = re.compile(r"^CODE\(([A-Z][A-Z0-9_]*),", re.M)
PARTS = r"(?:message|code|hint|sqlstate)"
TEXT_OF = r"(?:error_message|error_hint_of|error_remedy|error_code_name)\("
DECISION = re.compile(r"\b(?:strn?cmp|strcasecmp|strn?casecmp|strstr|strcasestr|strn?str|memmem|strchr|fnmatch|regexec)\s*\((?:[^;]*?"
                      r"(?:\b\w*(?:err|error|reason|fault|failure|gap|copy|cause|trouble|why|refused|first)(?:->|\.)" + PARTS + r"\b|" + TEXT_OF + r"))[^;]*?\)")


def sources(root):
    for room in ("relay", "cdc"):
        for directory, _, names in os.walk(os.path.join(root, room)):
            for name in names:
                if name.endswith((".c", ".h", ".inc")):
                    yield os.path.join(directory, name)


def codes_named(text):
    """Codes to which a text for people refers: "see CODE", and any such word in the runbook."""
    return set(re.findall(r"\bsee ([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b", text))


def decisions(text):
    """What decides by the text of an error, in C source text."""
    return [" ".join(m.group(0).split()) for m in DECISION.finditer(text)]


STRINGS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'


def joined(strings):
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', strings))


def remedies(text):
    """The last texts of the rows of the registry."""
    return {joined(m) for m in re.findall(r",\s*" + STRINGS + r"\)$", text, re.M)} - {""}


def copied(text, known):
    """Hints that repeat a remedy of the registry word by word: error_advise() gives it."""
    return [joined(m) for m in re.findall(r"error_hint\([^;]*?,\s*" + STRINGS + r"\)", text) if joined(m) in known]


def unowned(text):
    """Declarations in functions of an Error that nobody lets go of, or that shares a reference it does not own."""
    found, inside, returns = [], False, False
    for line in text.split("\n"):
        if line.startswith(("{", "}")):
            inside = line[0] == "{"
        elif re.match(r"[A-Za-z]", line) and "(" in line:
            returns = re.match(r"(?:static )?Error \w+\(", line) is not None
        plain = re.match(r"\s+(?:const )?Error \w+(?:\[.*\])?(?:;| =)", line)
        shared = re.match(r"\s+AUTO_ERROR \w+ = (?!\{|error_of\(|\w+\()", line)
        if inside and ((plain and not returns) or shared):
            found.append(line.strip())
    return found


def differences(root):
    used, listed, named, result, known = set(), [], {}, [], set()
    for path in sources(root):
        if path.endswith(".inc"):
            with open(path, encoding="utf-8") as f:
                known |= remedies(f.read())
    for path in sorted(sources(root)):
        name = os.path.relpath(path, root)
        with open(path, encoding="utf-8") as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        if name.endswith(".inc"):
            listed += ROW.findall(text)
            named.update(dict.fromkeys(codes_named(text), os.path.basename(path)))
            continue
        used |= set(USE.findall(text))
        if name.split("/", 1)[1] not in BORDER:
            result += [f"{name} decides by a text: {found}" for found in decisions(text)]
            result += [f"{name} repeats a remedy of the registry: {found}" for found in copied(text, known)]
            result += [f"{name}: nobody lets go of '{found}'" for found in unowned(text)]
    result += [f"{code} is in relay/base/error_codes_*.inc, and nothing uses it" for code in sorted(set(listed) - used - SAID_BEFORE)]
    with open(os.path.join(root, "packaging", "RUNBOOK.md"), encoding="utf-8") as f:
        named.update(dict.fromkeys(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", f.read()), "RUNBOOK.md"))
    result += [f"{named[code]} sends its reader to {code}, which is no code" for code in sorted(set(named) - set(listed))]
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
