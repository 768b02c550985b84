#!/usr/bin/env python3
"""Counts what makes the code hard to change, and fails when one of the numbers has become worse than tests/support/house.limits.

    tests/support/house.py [ROOT]              the table; exit code 1 and a line for each number above its limit
    tests/support/house.py --write [ROOT]      also lowers the limits to what was counted; it never raises one
    tests/support/house.py --list WHAT [ROOT]  the places behind one number

Production code is relay/ and cdc/. What is counted, as far as a reader of text can (no compiler but for sizeof):

- circles: groups of files of one folder that call each other in a circle, the files in them, and pairs of rooms whose files call each
  other both ways;
- structs: those with more than 20 fields, of their own and counted through members that are structs (of a union, the widest member);
  the widest; the most flags;
- decisions by text: strcmp, strstr and the like whose argument is a code or message, or a literal that is spelled like a code;
- runs: six lines in a row that stand twice (without blank lines, comments, brackets alone and includes);
- includes: those that their file does not use (includes.py);
- lengths: files over 600 lines, functions over 70, tests included in the files.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

from includes import unused
from sources import line_of, read, report, root_of, sources, without_comments

LIMITS = "tests/support/house.limits"
FIELDS, FILE_LINES, FUNCTION_LINES, RUN_LINES = 20, 600, 70, 6
FUNCTION = re.compile(r"^(static )?(?!typedef|struct|enum|union|extern|#)([A-Za-z_][\w \t*]*?[ *])(\w+)\(([^;{}]*)\)(?:\s*__attribute__\(\([^;{}]*\)\))?\n\{\n(.*?)^\}", re.M | re.S)
COMPARE = re.compile(r"\b(?:strcmp|strncmp|strcasecmp|strstr|str_equal|memcmp|slice_is|text_is)\s*\(")
CODE = re.compile(r"(?:->|\.)(?:code|message|sqlstate)\b|^\s*(?:code|message)\s*$|^\s*\"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\"\s*$")
# A text from a user, not a decision: what `explain CODE`, `dead --code` and the table itself look up.
LOOKED_UP = ("relay/base/log_codes.c", "relay/app/cmd_explain.c")
# Where others have no code for what they say: libpq tells why a connection could not be made as text alone (no result, so no SQLSTATE).
# This file makes codes of those texts; they are counted by themselves.
BORDER = ("relay/pg/connection_error.c",)


def arguments(text, at):
    depth, begin, found, quoted = 1, at, [], False
    while depth > 0 and at < len(text):
        c = text[at]
        if quoted:
            at += c == "\\"
            quoted = c != '"'
        elif c == '"':
            quoted = True
        else:
            depth += (c in "([{") - (c in ")]}")
            if (c == "," and depth == 1) or depth == 0:
                found.append(text[begin:at])
                begin = at + 1
        at += 1
    return found


def functions(code):
    """(name, is static, first line, number of lines) of each function that is defined."""
    return [(m.group(3), bool(m.group(1)), line_of(code, m.start()), m.group().count("\n") + 1) for m in FUNCTION.finditer(code)]


def circles_of(edges):
    """Groups of nodes that reach each other (Tarjan), those of more than one."""
    index, low, stack, on, found, counter = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = counter[0]
        counter[0] += 1
        stack.append(node)
        on.add(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while True:
                member = stack.pop()
                on.discard(member)
                group.append(member)
                if member == node:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def declared_for(path, code, known):
    """The words of a file's own text and of all headers of ours that it includes."""
    if path not in known:
        known[path] = set(re.findall(r"\b[a-z_]\w*(?=\s*\()", code[path])) if path.endswith(".h") else set()
        for name in re.findall(r'#include "([^"]+)"', code[path]):
            for base in (os.path.dirname(path), "relay", ""):
                header = os.path.normpath(os.path.join(base, name))
                if header in code:
                    known[path] |= declared_for(header, code, known)
    return known[path]


def count_circles(code):
    owner = {}
    for path, text in code.items():
        if path.endswith(".c"):
            for name, static, _, _ in functions(text):
                if not static:
                    owner.setdefault(name, path)
    calls, rooms = collections.defaultdict(set), collections.defaultdict(set)
    visible = {}
    for path, text in code.items():
        if not path.endswith(".c"):
            continue
        mine = {name for name, _, _, _ in functions(text)}
        for word in set(re.findall(r"(?<![\w.>])[a-z_]\w*", re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text))) - mine:
            other = owner.get(word)
            # A variable may have the name of a function that this file cannot see: it includes no header that declares it.
            if other and other != path and word in declared_for(path, code, visible):
                if os.path.dirname(other) == os.path.dirname(path):
                    calls[path].add(other)
                else:
                    rooms[os.path.dirname(path)].add(os.path.dirname(other))
    inside, between = circles_of(calls), circles_of(rooms)
    return (["circle of files: " + ", ".join(group) for group in inside], [name for group in inside for name in group],
            ["circle of rooms: " + ", ".join(group) for group in between])


STRUCT = re.compile(r"\b(?:typedef\s+)?(struct|union)\s*(\w*)\s*\{")


def body_of(text, at):
    depth, begin = 1, at
    while depth > 0 and at < len(text):
        depth += (text[at] == "{") - (text[at] == "}")
        at += 1
    return text[begin:at - 1], at


def structs(code):
    """name -> (path, [(type, is pointer, nested body)] as text of the body)."""
    found = {}
    for path, text in code.items():
        for match in STRUCT.finditer(text):
            if text.count("{", 0, match.start()) != text.count("}", 0, match.start()):
                continue
            body, end = body_of(text, match.end())
            name = match.group(2) or (re.match(r"\s*(\w+)", text[end:]) or [None, ""])[1]
            if name:
                found.setdefault((path, name), body)
    return found


def widest_of(body, types, path, seen):
    """As fields_of() for a union, of whose members one is there at a time."""
    members = [part + ";" for part in re.sub(r"\{[^{}]*\}", lambda inner: inner.group().replace(";", "\0"), body).split(";") if part.strip()]
    return max((fields_of(part.replace("\0", ";"), types, path, seen) for part in members), default=(0, 0))


def fields_of(body, types, path, seen=()):
    """(fields, booleans), counted through members that are structs in `types` and not pointers."""
    count = flags = 0
    at = 0
    while True:
        match = STRUCT.search(body, at)
        end = body.find(";", at)
        if end < 0:
            return count, flags
        if match and match.start() < end:
            inner, after = body_of(body, match.end())
            more = fields_of(inner, types, path, seen) if match.group(1) == "struct" else widest_of(inner, types, path, seen)
            count, flags = count + more[0], flags + more[1]
            at = body.find(";", after) + 1
            continue
        part = " ".join(body[at:end].split())
        at = end + 1
        if not part:
            continue
        names = len(re.sub(r"\[[^\]]*\]|\([^()]*\)", "", part).split(","))
        kind = re.match(r"(?:const |struct |union |volatile )*(\w+)", part)
        kind = kind and kind.group(1)
        inner = types.get((path, kind)) or next((one for (_, name), one in types.items() if name == kind), None)
        if inner is not None and "*" not in part and "(" not in part and kind not in seen:
            more = fields_of(inner, types, path, (*seen, kind))
            count, flags = count + names * more[0], flags + names * more[1]
        else:
            count += names
            flags += names * (kind == "bool")


def count_structs(code):
    """[(fields, flags, own fields, line)] of the structs that are wide through their members."""
    types, found = structs(code), []
    for (path, name), body in types.items():
        count, flags = fields_of(body, types, path, (name,))
        own, _ = fields_of(body, {}, path)
        if count > FIELDS:
            found.append((count, flags, own, f"{path}: {name} has {own} fields, {count} through its members, {flags} of them flags"))
    return sorted(found, reverse=True)


def count_decisions(code):
    found = []
    for path, text in code.items():
        if path in LOOKED_UP or not path.endswith(".c"):
            continue
        for match in COMPARE.finditer(text):
            given = arguments(text, match.end())
            if any(CODE.search(one) for one in given):
                found.append(f"{path}:{line_of(text, match.start())} {match.group()}{', '.join(' '.join(one.split()) for one in given)})")
    return found


def count_runs(code):
    """Places where six lines begin that stand elsewhere, too; a longer run counts once."""
    seen, lines_of = collections.defaultdict(list), {}
    for path, text in code.items():
        lines = [(number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1)]
        lines = [(number, line) for number, line in lines if len(line) > 2 and not line.startswith(("#", "}")) and re.search(r"\w", line)]
        lines_of[path] = lines
        for at in range(len(lines) - RUN_LINES + 1):
            seen[tuple(line for _, line in lines[at:at + RUN_LINES])].append((path, at))
    pairs = set()
    for places in seen.values():
        for one, other in zip(places, places[1:]):
            pairs.add((one, other))
    return [f"{a[0]}:{lines_of[a[0]][a[1]][0]} and {b[0]}:{lines_of[b[0]][b[1]][0]}" for a, b in sorted(pairs)
            if ((a[0], a[1] - 1), (b[0], b[1] - 1)) not in pairs]


def size_of_error(root):
    with tempfile.TemporaryDirectory() as scratch:
        program = os.path.join(scratch, "size")
        text = '#include <stdio.h>\n#include "base/error.h"\nint main(void) { printf("%zu", sizeof(Error)); }\n'
        subprocess.run([os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-I", os.path.join(root, "relay"), "-x", "c", "-", "-o", program],
                       input=text, text=True, check=True)
        return int(subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout)


def count(root):
    """What was counted: title -> (number, places, goal)."""
    text = {path: read(root, path) for path in sources(root)}
    code = {path: without_comments(one) for path, one in text.items()}
    everything = {path: read(root, path) for path in sources(root, ("relay", "cdc", "packaging", "tests", "sql"))}
    tests = {path: without_comments(one) for path, one in everything.items() if path not in code}
    inside, members, between = count_circles(code)
    wide = count_structs(code)
    own = [one[3] for one in wide if one[2] > FIELDS]
    decisions, runs = count_decisions(code), count_runs(code)
    border = [one for one in decisions if one.startswith(BORDER)]
    decisions = [one for one in decisions if one not in border]
    error, includes = size_of_error(root), unused(root)
    long_files = [f"{path} has {one.count(chr(10))} lines" for path, one in everything.items() if one.count("\n") > FILE_LINES]
    long_functions = [f"{path}:{line} {name}() has {lines} lines" for path, one in code.items() for name, _, line, lines in functions(one)
                      if lines > FUNCTION_LINES]
    long_tests = [f"{path}:{line} {name}() has {lines} lines" for path, one in tests.items() for name, _, line, lines in functions(one)
                  if lines > FUNCTION_LINES]
    return {
        "circles": ("circles of files within a folder", len(inside), inside, 2),
        "circle_files": ("files in those circles", len(members), members, None),
        "room_circles": ("circles of folders", len(between), between, 0),
        "wide_own": (f"structs with more than {FIELDS} fields of their own", len(own), own, 0),
        "wide_structs": (f"structs with more than {FIELDS} fields through members", len(wide), [one[3] for one in wide], 0),
        "widest_struct": ("fields of the widest struct, through members", wide[0][0] if wide else FIELDS, [one[3] for one in wide[:1]], FIELDS),
        "most_flags": ("flags of one struct, through members", max((one[1] for one in wide), default=0), [], None),
        "error_bytes": ("sizeof(Error)", error, [], 128),
        "decisions": ("decisions by the text of a code or message", len(decisions), decisions, 0),
        "border": ("texts of libpq that are made codes", len(border), border, None),
        "runs": (f"runs of {RUN_LINES} equal lines that stand twice", len(runs), runs, 0),
        "unused_includes": ("includes that their file does not use", len(includes), includes, 0),
        "long_files": (f"C files over {FILE_LINES} lines", len(long_files), long_files, 0),
        "long_functions": (f"functions over {FUNCTION_LINES} lines", len(long_functions), long_functions, 0),
        "long_tests": (f"functions over {FUNCTION_LINES} lines in tests", len(long_tests), long_tests, 0),
    }


def limits_of(root):
    path = os.path.join(root, LIMITS)
    lines = read(path).splitlines() if os.path.exists(path) else []
    return {name: int(number) for name, number in (line.split() for line in lines if line and not line.startswith("#"))}


def write_limits(root, counted, limits):
    with open(os.path.join(root, LIMITS), "w", encoding="ascii") as f:
        f.write("# What tests/support/house.py may count at most. Lowered by house.py --write when a number has become smaller; never raised.\n")
        for name, (_, number, _, _) in counted.items():
            f.write(f"{name} {min(number, limits.get(name, number))}\n")


def main():
    words = sys.argv[1:]
    write, shown = "--write" in words, words[words.index("--list") + 1] if "--list" in words else None
    root = root_of([sys.argv[0], *(word for word in words if word not in ("--write", "--list", shown))])
    counted, limits = count(root), limits_of(root)
    if shown:
        print("\n".join(counted[shown][2]))
        return 0
    print(f"{'':<52} {'now':>6} {'limit':>6} {'goal':>6}")
    for name, (title, number, _, goal) in counted.items():
        print(f"{title:<52} {number:>6} {limits.get(name, '-'):>6} {'' if goal is None else goal:>6}")
    if write:
        write_limits(root, counted, limits)
        limits = limits_of(root)
    problems = []
    for name, (title, number, places, _) in counted.items():
        if name not in limits:
            problems.append(f"{LIMITS} has no limit for {name}: house.py --write")
        elif number > limits[name]:
            problems.append(f"{title}: {number}, and {limits[name]} is the limit (house.py --list {name}; the last: {'; '.join(places[-3:])})")
    lower = [name for name, (_, number, _, _) in counted.items() if number < limits.get(name, number)]
    return report(problems, f"{len(counted)} numbers" + (f"; below their limits, house.py --write: {', '.join(lower)}" if lower else ""))


if __name__ == "__main__":
    sys.exit(main())
