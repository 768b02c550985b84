#!/usr/bin/env python3
"""Looks that documents speak of what is there, and of all of it.

    tests/support/documents.py [ROOT]      exit code 1 and one line for each problem

- A folder's README that lists its files in a table (its first column is "file", "files" or "room") names each that is there and none
  that is not. `name.c` stands for `name.h`, too; a header that is listed nowhere is fine when it only serves the folder
  (`*_internal.h`) or has no .c; `name_<word>.c` and `NAME.c` stand for all such files.
- Without such a table, the README names each source file of its folder somewhere in its text, as `name.c` or `name`. So does the README of
  `tests` for the folders of ABOVE, which have none of their own.
- A path in a document exists: the target of a link with its heading, and what stands in backquotes with a slash and looks like a file of ours.
- A comment that cites a document or a file of a room cites one that is there; of others' documents, those that FOREIGN lists.
"""

import os
import re
import sys

from sources import committed, line_of, read, report, root_of, without_comments

FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")
QUOTED = re.compile(r"`([A-Za-z0-9_.<>*-]+(?:/[A-Za-z0-9_.<>*-]+)*/?)`")
SUFFIXES = (".c", ".h", ".py", ".sql", ".sh", ".md", ".yml", ".yaml", ".json", ".conf", ".cmake", ".txt")
SOURCES = (".c", ".h", ".inc", ".py", ".sh", ".sql")
# Documents of others, and what only exists once something was built or run.
FOREIGN = {"CONFIGURATION.md": "librdkafka", "INTRODUCTION.md": "librdkafka", "STATISTICS.md": "librdkafka"}
MADE = re.compile(r"^(build|/|~|\.\.?$|orders\.|etc/)|^(main|my|your|outboxd\.d)\b|/$|^migrations\.c$")
# Folders whose files the README of the folder above names.
ABOVE = ("tests/stub", "tests/support", "tests/faults")
# What a folder holds that its table need not name.
UNLISTED = re.compile(r"^(README\.md|__init__\.py|CMakeLists\.txt|.*_internal\.h|LOGS\.md|embed\.cmake|\.clang-tidy)$")


def table_of(text):
    """Column of files and its cells, of the first table whose head has such a column; None without one."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in FENCE.sub("", text).splitlines() if line.startswith("|")]
    for at, row in enumerate(rows):
        for column, head in enumerate(row):
            if (head in ("file", "files", "room") or row[:2] == ["what", "for"]) and at + 1 < len(rows) and set(rows[at + 1][0]) <= set("-: "):
                return [(cells[column], cells) for cells in rows[at + 2:] if len(cells) == len(row)]
    return None


def stem(name):
    return re.sub(r"\.(?:c|h|up\.sql|down\.sql)$", "", name)


def patterned(name):
    return "<" in name or "NAME" in name


def pattern_of(name):
    """What `name_<word>.c` and `NAME.c` stand for."""
    return re.compile(re.sub(r"<\w+>|NAME", r"[\\w-]+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">")))


def listing_problems(root, path, files):
    """What the table of a folder's README says of the files in it."""
    folder, cells = os.path.dirname(path), table_of(read(root, path))
    if cells is None:
        return []
    here = {name[len(folder) + 1:] if folder else name for name in files if os.path.dirname(name) == folder or name.startswith(folder + "/")}
    flat = {name for name in here if "/" not in name}
    folders = {name.split("/")[0] for name in here if "/" in name}
    result, stems = [], {stem(name) for name in flat}
    covered, patterns = set(), []
    for first, row in cells:
        for name in QUOTED.findall(" ".join(row)):
            bare = name.rstrip("/")
            if patterned(bare):
                patterns.append(pattern_of(bare))
            covered |= {stem(bare), bare.split("/")[0]}
            if f"`{name}`" in first and not patterned(bare) and ".." not in bare:
                if not (bare in here or bare in folders or bare in stems):
                    result.append(f"{path}: the table names `{name}`, which is not in {folder or 'the root'}")
    for name in sorted(flat | folders):
        if not (stem(name) in covered or UNLISTED.match(name) or any(pattern.fullmatch(name) for pattern in patterns)):
            if name.endswith(".h") and name[:-2] + ".c" in flat:
                continue
            result.append(f"{path}: the table lacks `{name}`")
    return result


def unnamed_problems(root, path, files, folder):
    """Source files of a folder that a README without a table of them, or the README of the folder above, names nowhere."""
    prefix = os.path.relpath(folder, os.path.dirname(path) or ".") + "/"
    here = {name[len(folder) + 1:] for name in files if os.path.dirname(name) == folder and name.endswith(SOURCES)}
    named, patterns = set(), []
    for name in QUOTED.findall(FENCE.sub("", read(root, path))):
        name = name[len(prefix):] if name.startswith(prefix) else name
        named |= {name, stem(name)}
        if patterned(name):
            patterns.append(pattern_of(name))

    def is_named(name):
        return name in named or stem(name) in named or any(pattern.fullmatch(name) for pattern in patterns)
    return [f"{path}: does not name `{name}`" + ("" if prefix == "./" else f" of {folder}") for name in sorted(here)
            if not (is_named(name) or UNLISTED.match(name) or (name.endswith(".h") and name[:-2] + ".c" in here))]


def anchors(text):
    """What GitHub makes of the headings of a document."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.M)}


def path_problems(root, path, files):
    """Links and quoted paths of a document that lead nowhere."""
    text, result = read(root, path), []
    folder = os.path.dirname(path)
    for match in LINK.finditer(text):
        target = match.group(1)
        if not re.match(r"[a-z]+:", target):
            there, anchor = os.path.join(root, folder, target) if target else os.path.join(root, path), match.group(2)
            if not os.path.exists(there):
                result.append(f"{path}:{line_of(text, match.start())} links to {target}, which is not there")
            elif anchor and there.endswith(".md") and anchor not in anchors(read(there)):
                result.append(f"{path}:{line_of(text, match.start())} links to {target}#{anchor}, and there is no such heading")
    names = {os.path.basename(name) for name in files}
    for match in QUOTED.finditer(text):
        target = match.group(1)
        if MADE.search(target) or target.startswith("_") or patterned(target) or "*" in target or "..." in target:
            continue
        if "/" not in target:
            known = target in names or target in FOREIGN or not target.endswith((".c", ".h", ".py", ".md", ".cmake"))
        elif target.endswith(SUFFIXES):
            known = any(os.path.normpath(os.path.join(base, target)) in files for base in (folder, "", "relay", "tests", "packaging", "tests/support"))
        else:
            known = True
        if not known:
            result.append(f"{path}:{line_of(text, match.start())} speaks of `{target}`, which is not there")
    return result


def citation_problems(root, path, documents):
    """Documents that a source file cites."""
    text = read(root, path)
    return [f"{path}:{line_of(text, match.start())} cites {match.group()}, which is not in the repository"
            for match in re.finditer(r"(?<![\w/.])[\w./-]*\b[A-Z]\w*\.md\b", text)
            if os.path.basename(match.group()) not in documents and os.path.basename(match.group()) not in FOREIGN]


def include_problems(root, path, files):
    """`room/file.h` in comments and headers of files."""
    text = read(root, path)
    code = without_comments(text)
    result = []
    for match in re.finditer(r"\b(?:relay/|cdc/|tests/|sql/|packaging/)?[a-z_]+/[a-z0-9_]+\.[ch]\b", text):
        name = match.group()
        if name in code or name.startswith("sys/") or text[match.start() - 1] in "/<.":
            continue
        if not any(f"{base}{name}" in files for base in ("", "relay/", "tests/", "tests/unit/", "packaging/")):
            result.append(f"{path}:{line_of(text, match.start())} speaks of {name}, which is not there")
    return result


def main():
    root = root_of(sys.argv)
    files = set(committed(root))
    documents = sorted(name for name in files if name.endswith(".md"))
    names = {os.path.basename(name) for name in documents}
    result = []
    for path in documents:
        if os.path.basename(path) == "README.md":
            result += listing_problems(root, path, files)
            if os.path.dirname(path) and table_of(read(root, path)) is None:
                result += unnamed_problems(root, path, files, os.path.dirname(path))
        result += path_problems(root, path, files)
    for folder in ABOVE:
        above = os.path.join(os.path.dirname(folder), "README.md")
        if above in files:
            result += unnamed_problems(root, above, files, folder)
    sources = [name for name in sorted(files) if name.endswith((".c", ".h", ".py", ".sql", ".sh", ".cmake", ".conf", ".yml"))
               and not name.startswith(("tests/fuzz/corpus", "tests/fixtures", "tests/integration/test_lint.py"))]
    for path in sources:
        result += citation_problems(root, path, names)
        if path.endswith((".c", ".h")):
            result += include_problems(root, path, files)
    return report(result, f"{len(documents)} documents, {len(sources)} sources")


if __name__ == "__main__":
    sys.exit(main())
