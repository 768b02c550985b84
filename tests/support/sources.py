"""The tree as the checks of lint read it: C sources of the program, without comments and with strings in one piece; documents."""

import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOMS = ("relay", "cdc")
PIECE = re.compile(r'"((?:\\.|[^"\\\n])*)"')


def root_of(arguments):
    """ROOT of the command line, or the tree that this file is in."""
    return arguments[1] if len(arguments) > 1 else ROOT


def sources(root, folders=ROOMS, suffixes=(".c", ".h")):
    """Paths below the folders, relative to the root and in order."""
    found = []
    for folder in folders:
        for directory, _, names in os.walk(os.path.join(root, folder)):
            found += [os.path.relpath(os.path.join(directory, name), root) for name in names if name.endswith(suffixes)]
    return sorted(found)


def committed(root, *patterns):
    """Files that git has or would add, in order."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return sorted({name for name in names.stdout.splitlines() if os.path.isfile(os.path.join(root, name))})


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def without_comments(text):
    """C without its comments; every line stays where it is."""
    return re.sub(r'("(?:\\.|[^"\\\n])*")|/\*.*?\*/|//[^\n]*', lambda m: m.group(1) or "\n" * m.group().count("\n"), text, flags=re.S)


def joined_strings(code):
    """C whose string literals stand in one piece each."""
    return re.sub(r'"(?:\\.|[^"\\\n])*"(?:\s*"(?:\\.|[^"\\\n])*")*', lambda m: '"' + "".join(PIECE.findall(m.group())) + '"', code)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def report(problems, note):
    """Prints what is wrong, else the note; the exit code."""
    for line in problems:
        print(line)
    if not problems:
        print(f"note: {note}")
    return 1 if problems else 0
