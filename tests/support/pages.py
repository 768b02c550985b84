#!/usr/bin/env python3
"""The blocks of the README and of the user guide, and what each of them needs to be run.

    tests/support/pages.py [ROOT]      exit code 1 and one line for each block without a marker, or with one that is not understood

Each block between ``` stands directly behind a comment of HTML, which readers do not see:

    <!-- run: sql as owner -->          psql as that role: owner, app, relay or administrator
    <!-- run: shell -->                 bash, in the directory of the page; "shell, exit 70" when that is the exit code
    <!-- run: relay -->                 a command that stays: the relay of the page from here on, in place of the one before
    <!-- run: file NAME -->             becomes that file, complete, and `outboxd check --offline` finds no problem in it
    <!-- run: pipeline NAME -->         likewise, as the one pipeline of a file that is otherwise the page's
    <!-- screen -->                     what the commands before it have written, but for numbers, ids and times
    <!-- not run: REASON -->            one of NOT_RUN, which says why and what stands for it

Comments that stand for themselves say what a reader has and a test must make:

    <!-- page: database -->             the page begins with a migrated database ("empty database": with one that is not; "nothing")
    <!-- given: sql as owner ... -->    run like a block, and so are "shell", "file NAME"
    <!-- given: published 2 -->         waits until the page's relay has published so many events
    <!-- given: nothing waits -->      ... until it has published and marked everything
    <!-- given: follows the log -->    ... until its slot is active
    <!-- given: no relay -->            stops it
    <!-- expect: TEXT -->               the commands before it have written this

tests/integration/test_guide.py runs the pages.
"""

import os
import re
import sys
import textwrap
from collections import namedtuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))   # as a program, and as support.pages

from sources import committed, read, report, root_of  # noqa: E402

PAGES = ("README.md", "packaging/guide/*.md")
# Written by programs, without blocks of anybody's.
GENERATED = {"packaging/guide/metrics.md", "packaging/guide/configuration.md"}
NOT_RUN = {
    "installs": "it installs packages or the program, and a test leaves the machine as it is; test_quickstart builds and installs nothing else",
    "installs the package": "tests/run package does the same in a root of its own (support/shell/package.sh)",
    "quickstart": "test_quickstart runs it",
    "restarts PostgreSQL": "the server of the tests is restarted by tests of their own; test_preconditions has wal_level",
    "systemd": "systemd is not PID 1 in the tests; test_reload sends the signal that the unit sends, and reads what the relay tells systemd",
    "a standby": "test_wal_failover and test_wal_history have a standby",
    "parameters": "it takes parameters of the reader's program; test_readme runs it with some",
    "a container engine": "none runs in the tests; test_container builds the image by the same scripts and starts it, test_compose starts the services",
    "a cluster": "no Kubernetes runs in the tests; test_kubernetes checks the manifests and the chart, and starts what they describe",
    "a picture": "there is nothing to run",
    "a token service": "it asks a service that a test has not; test_tokens runs programs of its own in its place",
    "a pooler": "the pages have none in front of their server; test_poolers starts PgBouncer with these lines",
    "a benchmark": "it downloads Debezium and measures for minutes; tests/run bench runs the same script",
    "a template": "it stands for statements with names of the reader's own",
}
ROLES = ("owner", "app", "relay", "administrator")
RUN = re.compile(rf"(?:sql as (?:{'|'.join(ROLES)})|shell(?:, exit \d+)?|relay|(?:file|pipeline) [\w./-]+)$")
GIVEN = re.compile(rf"(?:sql as (?:{'|'.join(ROLES)})|shell|file [\w./-]+|published \d+|nothing waits|follows the log|no relay)$")
LANGUAGES = {"sql": "sql", "shell": "sh", "relay": "sh", "file": "", "pipeline": "", "screen": "text"}
PIECE = re.compile(r"^[ ]*<!-- (?P<kind>page|given|expect|run|not run|screen)(?:: (?P<detail>[^\n]*?))?(?: -->|\n(?P<hidden>.*?)^[ ]*-->)$|"
                   r"^(?P<indent>[ ]*)```(?P<language>[^\n]*)\n(?P<text>.*?)^[ ]*```[ ]*$", re.M | re.S)

# kind: page, given, expect, run, not run, screen; detail: what stands behind it; text: of the block, or hidden in the comment; span and indent: of a
# block's text on the page
Step = namedtuple("Step", "kind detail text line span indent")


def pages(root):
    """The pages that people write, the README first and the others by name."""
    return sorted((path for path in committed(root, *PAGES) if path not in GENERATED), key=lambda path: (path != "README.md", path))


def steps_of(text):
    """[Step] of a page and its problems, as (line, what)."""
    steps, problems, marker = [], [], None
    for match in PIECE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["kind"] is None:
            apart = marker and text[marker[1].end():match.start()].strip("\n")
            if marker is None or apart:
                problems.append((line, "a block without a marker (tests/support/pages.py says which there are)"))
            else:
                kind, behind = marker[0], marker[1]["detail"] or ""
                problems += [(line, what) for what in marker_problems(kind, behind, match["language"])]
                steps.append(Step(kind, behind, textwrap.dedent(match["text"]), line, match.span("text"), match["indent"]))
            marker = None
            continue
        if marker is not None:
            problems.append((line, "the marker before this one stands above no block"))
            marker = None
        kind, detail = match["kind"], match["detail"] or ""
        if kind in ("run", "not run", "screen"):
            marker = (kind, match)
        else:
            if kind == "given" and not GIVEN.match(detail) or kind == "page" and detail not in ("database", "empty database", "nothing"):
                problems.append((line, f"'{kind}: {detail}' is not understood"))
            steps.append(Step(kind, detail, match["hidden"] or "", line, None, ""))
    if marker is not None:
        problems.append((text.count("\n"), "the last marker stands above no block"))
    if steps and (steps[0].kind != "page" or [step.kind for step in steps].count("page") != 1):
        problems.append((steps[0].line, "a page with blocks says first, and once, what it begins with (<!-- page: ... -->)"))
    return steps, problems


def marker_problems(kind, detail, language):
    if kind == "not run":
        return [] if detail in NOT_RUN else [f"'not run: {detail}' is none of the reasons of tests/support/pages.py: {', '.join(NOT_RUN)}"]
    if kind == "run" and not RUN.match(detail):
        return [f"'run: {detail}' is not understood"]
    wanted = LANGUAGES[re.match(r"\w+", detail).group() if kind == "run" else "screen"]
    return [] if language == wanted else [f"a block of this kind begins with ```{wanted}, not ```{language}"]


def main():
    root = root_of(sys.argv)
    problems, run, not_run = [], 0, 0
    for path in pages(root):
        steps, wrong = steps_of(read(root, path))
        problems += [f"{path}:{line} {what}" for line, what in wrong]
        run += sum(step.kind in ("run", "screen") for step in steps)
        not_run += sum(step.kind == "not run" for step in steps)
    return report(problems, f"{run} blocks are run, {not_run} are not")


if __name__ == "__main__":
    sys.exit(main())
