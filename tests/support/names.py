#!/usr/bin/env python3
"""Names that other people's scripts rely on, as the program itself tells them, beside the list in tests/fixtures/names.

    tests/support/names.py [BINARY]             which vanished, which came; exit code 1 when there are any
    tests/support/names.py --renew [BINARY]     writes the lists; for a change that is meant

One file for each kind, one name with what belongs to it for each line. Here: what the program tells without servers (log codes, exit codes,
options, sub-commands and their flags). What a running relay tells (metrics, keys of JSON objects) is in integration/test_names.py, which uses
this file; `tests/run names --renew` renews both.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOME = os.path.join(ROOT, "tests", "fixtures", "names")
ANY = "null"   # the type of a key that was null whenever it was looked at


def ask(binary, *args):
    """(exit code, all that it printed)"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OUTBOXD", "PG"))}
    done = subprocess.run([binary, *args], env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout


# -- without servers -----------------------------------------------------------------------------------------------------

def codes(binary):
    """`CODE level` of each log code."""
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| ([^|]+?) \|", ask(binary, "explain", "--markdown")[1], re.M)
    return [f"{code} {level.replace(', ', ',')}" for code, level in rows]


def options(binary):
    """Path, type, default, range, values, name in the environment of each option."""
    lines = []
    for option in json.loads(ask(binary, "config", "schema")[1])["options"]:
        rest = {k: v for k, v in option.items() if k not in ("path", "help")}
        lines.append(option["path"] + " " + json.dumps(rest, sort_keys=True, ensure_ascii=False))
    return lines


def commands_of(binary):
    return re.findall(r"^  outboxd (\w+) ", ask(binary, "--help")[1], re.M)


def knows_flag(binary, command, flag):
    """Whether the command takes it, with a value or without. What follows keeps the command from doing anything."""
    verb = {"dead": ["list"], "config": ["print"]}.get(command, [])
    rest = ["--dsn=x"] if command == "migrate" else ["-c", "/nonexistent/outboxd.conf"]
    forms = [flag, f"{flag}=x"] if flag.startswith("--") else [f"{flag}x"]
    return any(f"unknown option '{flag}'" not in ask(binary, command, *verb, form, *rest)[1] for form in forms)


def commands(binary):
    """Each sub-command, with each word and flag that its help names and that it takes, and each exit code that its help names."""
    def of_one(command):
        lines = [command]
        text = ask(binary, "help", command)[1]
        named = set(re.findall(r"(?<![\w-])(?:--[a-z][a-z-]+|-c\b)", text))
        lines += [f"{command} {flag}" for flag in named if knows_flag(binary, command, flag)]
        usage = re.findall(rf"outboxd {command} +([a-z]+(?: \| [a-z]+)*)", text)
        words = {word for line in usage for word in line.split(" | ")} if command in ("dead", "config") else ()
        return lines + [f"{command} {word}" for word in words]

    with ThreadPoolExecutor(4) as pool:
        return sorted({line for lines in pool.map(of_one, commands_of(binary)) for line in lines} | exit_codes(binary))


def exit_codes(binary):
    """`command exits code` for each exit code that the help of a command names."""
    lines = set()
    for command in commands_of(binary):
        text = ask(binary, "help", command)[1]
        at = re.search(r"exit codes?", text, re.I)
        found = re.findall(r"(?:^|[:,·])\s*(0|[1-5]|70)  +[A-Za-z]", text[at.end():] if at else "", re.M)
        lines |= {f"{command} exits {number}" for number in found}
    return lines


STATIC = {"log_codes": codes, "options": options, "commands": commands}


# -- of a running relay --------------------------------------------------------------------------------------------------

def metric_lines(text):
    """`name type {labels}` of each family of a /metrics page; labels are the names of all that any series has."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    labels = {name: set() for name in types}
    for name, inside in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$", text, re.M):
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        labels[family] |= set(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', inside)) - ({"le"} if types[family] == "histogram" else set())
    return {(name, types[name]): found for name, found in labels.items()}


class Metrics:
    """What several pages of several relays have together."""

    def __init__(self):
        self.families = {}

    def add(self, text):
        for family, labels in metric_lines(text).items():
            self.families.setdefault(family, set()).update(labels)

    def lines(self):
        return [f"{name} {kind} {{{','.join(sorted(labels))}}}" for (name, kind), labels in self.families.items()]


class Keys:
    """Paths of all keys of JSON objects, with the types of what stands there; [] is any element of a list."""

    NAMES = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "list", type(None): ANY}

    def __init__(self):
        self.types = {}

    def add(self, value, path=""):
        if isinstance(value, dict):
            for key, inner in value.items():
                where = f"{path}.{key}" if path else key
                self.types.setdefault(where, set()).add(self.NAMES[type(inner)])
                self.add(inner, where)
        elif isinstance(value, list):
            for inner in value:
                self.add(inner, f"{path}[]")

    def lines(self):
        return [f"{path} {'|'.join(sorted(types - {ANY})) or ANY}" for path, types in self.types.items()]


# -- the lists -----------------------------------------------------------------------------------------------------------

def listed(name):
    try:
        with open(os.path.join(HOME, f"{name}.txt"), encoding="utf-8") as f:
            return [line for line in f.read().splitlines() if line and not line.startswith("#")]
    except FileNotFoundError:
        return []


def renew(name, lines):
    with open(os.path.join(HOME, f"{name}.txt"), "w", encoding="utf-8") as f:
        f.write("# Renewed by: tests/run names --renew\n" + "".join(f"{line}\n" for line in sorted(lines)))


def differences(name, lines):
    """One sentence for each name that vanished, changed or came."""
    def key(line):
        return line if name == "commands" else line.split(" ")[0]

    then, now = {key(line): line for line in listed(name)}, {key(line): line for line in lines}
    result = [f"{name}: '{k}' vanished" for k in sorted(then.keys() - now.keys())]
    result += [f"{name}: '{k}' came" for k in sorted(now.keys() - then.keys())]
    for k in sorted(then.keys() & now.keys()):
        was, is_now = then[k].removeprefix(k).strip(), now[k].removeprefix(k).strip()
        if was != is_now and ANY not in (was, is_now):
            result.append(f"{name}: '{k}' was {was}, is {is_now}")
    return result


def check_or_renew(name, lines):
    """The differences; none, and the list is written, when $OUTBOXD_RENEW_NAMES is set."""
    if os.environ.get("OUTBOXD_RENEW_NAMES"):
        renew(name, lines)
        return []
    return differences(name, lines)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--renew"]
    binary = arguments[0] if arguments else os.path.join(ROOT, "build", "release", "outboxd")
    if "--renew" in sys.argv[1:]:
        os.environ["OUTBOXD_RENEW_NAMES"] = "1"
    found, count = [], 0
    for name, collect in STATIC.items():
        lines = collect(binary)
        if len(lines) < 10:
            found.append(f"{name}: only {len(lines)} were found: the program prints them in another way than this one reads")
        count += len(lines)
        found += check_or_renew(name, lines)
    for line in found:
        print(line)
    if found:
        print("If that is meant: tests/run names --renew, and say so in CHANGELOG.md")
    else:
        print(f"note: {count} names")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
