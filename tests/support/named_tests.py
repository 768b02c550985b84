#!/usr/bin/env python3
"""Looks that each test which SECURITY.md, tests/TRIALS.md, tests/TABLES.md and the guide's guarantees name is there.

    tests/support/named_tests.py [ROOT]      exit code 1 and one line for each name without a test

What these pages may name, as a word that stands for itself:

    test_emit                              a file of tests/integration or tests/faults
    test_emit: types_are_names, ids_*      and tests in it; `...` or `*` stand for any characters
    unit: mask/every_truncation_...        a test of tests/unit, as suite/name; or a suite alone
    fuzz_mask                              a target of tests/fuzz
"""

import fnmatch
import os
import re
import sys

PAGES = ("SECURITY.md", "tests/TRIALS.md", "tests/TABLES.md", "packaging/guide/guarantees.md", "packaging/guide/upgrade.md")
FILE = re.compile(r"\btest_[a-z0-9_]+\b")
# A name of a test has at least two underscores; a shorter one is a word of a sentence.
NAME = re.compile(r"^(?:\.\.\.)?[a-z0-9*]+(?:_[a-z0-9*]+)+(?:\.\.\.|_\*|\*)?$|^(?:\.\.\.)?[a-z0-9]+(?:_[a-z0-9]+)*_?(?:\.\.\.)$")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def python_tests(root):
    """File (without .py) -> names of its tests (without test_)."""
    found = {}
    for room in ("integration", "faults"):
        folder = os.path.join(root, "tests", room)
        for name in os.listdir(folder):
            if name.startswith("test_") and name.endswith(".py"):
                found[name[:-3]] = re.findall(r"^\s*def test_(\w+)", read(folder, name), re.M)
    return found


def unit_tests(root):
    """Suite -> names of its tests."""
    found = {}
    for folder, _, names in os.walk(os.path.join(root, "tests", "unit")):
        for name in names:
            if name.endswith(".c"):
                for suite, test in re.findall(r"\bTest\(\s*(\w+)\s*,\s*(\w+)", read(folder, name)):
                    found.setdefault(suite, []).append(test)
                found.setdefault(name[:-2], [])   # a file may be named, too
    return found


def fuzz_targets(root):
    return set(re.findall(r"outboxd_fuzz_target\((\w+)", read(root, "tests", "fuzz", "CMakeLists.txt")))


def matches(pattern, names):
    pattern = pattern.replace("...", "*")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def clauses(text):
    """Cells and sentences: what stands between separators that end a list of names."""
    for line in text.splitlines():
        for cell in line.split("|"):
            yield from re.split(r";|(?<=[a-z)])\. ", cell)


def words(text):
    """Names in a list: without remarks in brackets or quotes."""
    text = re.sub(r"\([^()]*\)|\"[^\"]*\"", " ", text)
    return [w for part in text.split(",") for w in re.split(r"\s+and\s+|\s+", part.strip()) if w]


def problems_of_clause(clause, python, unit, fuzz, seen):
    """What a clause names and is not there; `seen` gets what was looked up."""
    for name in re.findall(r"\bfuzz_([a-z]\w*)", clause):
        seen.append(name)
        if name not in fuzz and name != "target":
            yield f"there is no fuzz target '{name}'"
    where = re.search(r"\bunit: *(.*)", clause)
    if where:
        for word in words(where.group(1)):
            seen.append(word)
            suite, _, test = word.strip("`.)").partition("/")
            if suite not in unit and suite.startswith("test_") is False:
                yield f"there is no unit test suite '{suite}'"
            elif suite not in unit:
                yield f"there is no file '{suite}.c' in tests/unit"
            elif test and not matches(test, unit[suite]):
                yield f"there is no unit test '{suite}/{test}'"
        clause = clause[:where.start()]
    for match in FILE.finditer(clause):
        seen.append(match.group())
        if match.group() not in python and match.group() not in unit:
            yield f"there is no file '{match.group()}.py'"
    for file, names in re.findall(r"\b(test_[a-z0-9_]+)`?: *([^:]*)(?=$|:)", clause):
        for word in words(names):
            word = word.strip("`.") if not word.endswith("...") else word.strip("`")
            if file not in python or not NAME.match(word) or word in python:
                continue
            seen.append(word)
            if not matches(word, python[file]):
                yield f"there is no test '{word}' in {file}.py"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    python, unit, fuzz = python_tests(root), unit_tests(root), fuzz_targets(root)
    seen = []
    status = 0
    for page in PAGES:
        for clause in clauses(read(root, page)):
            for problem in problems_of_clause(clause, python, unit, fuzz, seen):
                print(f"{page}: {problem}: {clause.strip()[:120]}")
                status = 1
    if len(seen) < 100:
        print(f"only {len(seen)} names of tests: the pages are written in another way than this program reads")
        status = 1
    print(f"note: {len(seen)} names of tests")
    return status


if __name__ == "__main__":
    sys.exit(main())
