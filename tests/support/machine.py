#!/usr/bin/env python3
"""The picture of the pipeline's states in relay/flow/README.md, from the table in relay/flow/machine.c.

    tests/support/machine.py [ROOT]            exit code 1 when the picture is not what the table says
    tests/support/machine.py --write [ROOT]    writes it anew

States that are shown to people under one name stand in one box. An arrow names the inputs that lead there, with the guard in brackets;
what keeps the state is left out.
"""

import os
import re
import sys

from sources import read, report, root_of, without_comments

TABLE, HEADER, README = "relay/flow/machine.c", "relay/flow/machine.h", "relay/flow/README.md"
BEGIN, END = "<!-- Written by tests/support/machine.py --write, from machine.c; do not edit. -->", "<!-- End of what machine.py wrote. -->"
STRING = r'"((?:\\.|[^"\\])*)"'


def names_of(text, enum, prefix):
    body = re.search(r"typedef enum " + enum + r" \{(.*?)\}", text, re.S).group(1)
    return [name for name in re.findall(prefix + r"(\w+)", body) if name != "COUNT" and name != "STATE_COUNT"]


def sets_of(text, states):
    """Names of the sets of states that the table uses, and their numbers."""
    body = re.search(r"^enum \{(.*?)^\};", text, re.M | re.S).group(1)
    known = {}
    for name, value in re.findall(r"(\w+) =\s*(.*?)(?:,\s*\n|\Z)", body, re.S):
        known[name] = number_of(value, states, {}, known)
    return known


def number_of(expression, states, inputs, sets):
    """The number of a set, written as in C."""
    text = re.sub(r"\bS\((\w+)\)", lambda match: str(1 << states.index(match.group(1))), expression)
    text = re.sub(r"\bI\((\w+)\)", lambda match: str(1 << inputs.index(match.group(1))), text)
    text = re.sub(r"\b[A-Z_]+\b", lambda match: str(sets.get(match.group(), 0)), text)
    if not re.fullmatch(r"[\d\s|&~()<-]*", text):
        raise SystemExit(f"{TABLE}: a set that cannot be read: {expression}")
    return eval(f"({text})")


def steps_of(text, states, inputs):
    """(from, input, guard, to) of what leads to another state, in the order of the table; and how many rules there are."""
    sets = sets_of(text, states)
    body = text[text.index("RULES[] = {"):]
    found, count = [], 0
    for kind, arguments in re.findall(r"^\s*(STEP|KEPT|IMPOSSIBLE)\((.*)\),$", body, re.M):
        count += 1
        if kind != "STEP":
            continue
        given = re.fullmatch(r"(.*?), ([^,]*), (\w+), (?:GO\((\w+)\)|STAY), \w+, " + STRING, arguments)
        if given is None:
            raise SystemExit(f"{TABLE}: a rule that cannot be read: {arguments}")
        number, asked = number_of(given.group(1), states, inputs, sets), number_of(given.group(2), states, inputs, sets)
        for state in states:
            for one in inputs:
                if number >> states.index(state) & 1 and asked >> inputs.index(one) & 1 and given.group(4) not in (None, state):
                    found.append((state, one, given.group(3), given.group(4)))
    return found, count


def picture(root):
    text, header = without_comments(read(root, TABLE)), without_comments(read(root, HEADER))
    states, inputs = names_of(header, "MachineState", "MACHINE_"), names_of(header, "Input", "INPUT_")
    steps, count = steps_of(text, states, inputs)
    if count < 40 or len(states) < 10:
        raise SystemExit(f"{TABLE} is written in another way than this program reads: {count} rules, {len(states)} states")
    shown = dict(re.findall(r"\[MACHINE_(\w+)\] = \{\"[^\"]*\", PIPELINE_(\w+)\}", text))
    out = ["```mermaid", "stateDiagram-v2", "    [*] --> STARTING"]
    for name in dict.fromkeys(shown[state] for state in states):
        inner = [state for state in states if shown[state] == name]
        if len(inner) > 1:
            out += [f"    state \"shown as {name.lower()}\" as SHOWN_{name} {{", *(f"        {state}" for state in inner), "    }"]
    arrows = {}
    for state, one, guard, to in steps:
        label = one.lower().replace("_", " ") + ("" if guard == "ALWAYS" else f" [{guard.lower().replace('_', ' ')}]")
        arrows.setdefault((state, to), []).append(label)
    out += [f"    {state} --> {to}: {', '.join(dict.fromkeys(labels))}" for (state, to), labels in arrows.items()]
    out += [f"    {state} --> [*]" for state in states if not any(step[0] == state for step in steps)]
    return "\n".join([BEGIN, *out, "```", END]), f"{len(states)} states, {count} rules, {len(arrows)} arrows"


def main():
    root = root_of([word for word in sys.argv if word != "--write"])
    drawn, note = picture(root)
    text = read(root, README)
    if BEGIN not in text or END not in text:
        return report([f"{README} has no place for the picture: two lines, {BEGIN} and {END}"], note)
    before, after = text[:text.index(BEGIN)], text[text.index(END) + len(END):]
    if "--write" in sys.argv:
        with open(os.path.join(root, README), "w", encoding="utf-8") as f:
            f.write(before + drawn + after)
        return 0
    wrong = [] if before + drawn + after == text else [f"{README}: the picture is not what {TABLE} says: tests/support/machine.py --write"]
    return report(wrong, note)


if __name__ == "__main__":
    sys.exit(main())
