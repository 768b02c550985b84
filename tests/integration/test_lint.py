"""The checks of lint fail when there is something to find: each is shown a small tree with one fault, and the same tree without it."""

import os
import subprocess
import sys

import pytest

SUPPORT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support")
MAKE = '#include "base/x.h"\nvoid make(Metrics *m, const char *pipeline)\n{{\n    metrics_counter(m, "outboxd_" {name}, "Things{more}.", "pipeline", pipeline, NULL);\n}}\n'


@pytest.fixture
def tree(tmp_path):
    """make({path: text}) -> run(program, arguments...) -> (exit code, output) in a repository of these files."""
    def make(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

        def run(program, *arguments):
            done = subprocess.run([sys.executable, os.path.join(SUPPORT, program), *arguments, str(tmp_path)], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            return done.returncode, done.stdout
        return run
    return make


def room(table, **files):
    return {"relay/base/README.md": f"# base\n\n| file | job |\n|---|---|\n{table}\n", **{f"relay/base/{n.replace('_c', '.c')}": t for n, t in files.items()}}


@pytest.mark.parametrize("files, said", [
    (room("| `one.c` | a |", one_c=""), None),
    (room("| `one.c` | a |\n| `two.c` | b |", one_c=""), "the table names `two.c`"),
    (room("| `one.c` | a |", one_c="", two_c=""), "the table lacks `two.c`"),
    (room("| `one_<word>.c` | all of them |", one_a_c="", one_b_c=""), None),
    ({"README.md": "See [the runbook](packaging/RUNBOOK.md).\n"}, "links to packaging/RUNBOOK.md"),
    ({"README.md": "The SQL is in `relay/rows/table.c`.\n"}, "speaks of `relay/rows/table.c`"),
    ({"README.md": "The SQL is in `relay/rows/table.c`.\n", "relay/rows/table.c": ""}, None),
    ({"relay/a.c": "/* as PAPER.md says */\n"}, "cites PAPER.md"),
    ({"relay/a.c": "/* as in README.md */\n", "README.md": ""}, None),
    ({"relay/a.c": "/* see flow/gone.c */\n"}, "speaks of flow/gone.c"),
    ({"relay/a.c": "/* see flow/here.c */\n", "relay/flow/here.c": ""}, None),
])
def test_documents_name_what_is_there_and_all_of_it(tree, files, said):
    code, output = tree(files)("documents.py")
    assert (code == 0) == (said is None) and (said or "note:") in output, output


def metrics_tree(tree):
    files = {f"relay/base/m{n}.c": MAKE.format(name=f'"things_{n}_total"', more="") for n in range(50)}
    files |= {"relay/base/x.h": "", "packaging/prometheus/r.yml": "expr: rate(outboxd_things_1_total[5m])\n"}
    run = tree(files)
    code, text = run("metrics.py", "--markdown")
    assert code == 0, text
    tree({"packaging/guide/metrics.md": text})


@pytest.mark.parametrize("path, text, said", [
    ("relay/base/m1.c", MAKE.format(name='"things_1_total"', more=""), None),
    ("relay/base/m1.c", MAKE.format(name='"things_1_total"', more=" of another kind"), "is not what the sources say"),
    ("relay/base/new.c", MAKE.format(name='"new_total"', more=""), "is not what the sources say"),
    ("relay/base/new.c", MAKE.format(name='"things_1_total"', more=" and more"), "another type, help or labels"),
    ("relay/base/new.c", MAKE.format(name='pipeline', more=""), "neither a literal nor a constant"),
    ("packaging/prometheus/r.yml", "expr: outboxd_things_99_total\n", "outboxd_things_99_total, which is no metric"),
    ("packaging/RUNBOOK.md", "Look at `outboxd_nothing_seconds`.\n", "outboxd_nothing_seconds, which is no metric"),
    ("packaging/RUNBOOK.md", "Look at `outboxd_things_7_total`.\n", None),
])
def test_the_metrics_reference_is_what_the_sources_say(tree, path, text, said):
    metrics_tree(tree)
    code, output = tree({path: text})("metrics.py")
    assert (code == 0) == (said is None) and (said or "note:") in output, output


@pytest.mark.parametrize("program, path, bad, good", [
    ("connections.py", "relay/pg/x.c", 'void f(void)\n{\n    PQconnectdb("");\n}\n', "/* PQconnectdb(x) */\n"),
    ("results.py", "relay/pg/x.c", "void f(void)\n{\n    PQgetvalue(r, 0, 0);\n}\n", "// PQgetvalue\n"),
])
def test_the_two_ways_to_postgresql(tree, program, path, bad, good):
    ground = {"relay/pg/open.c": "PQconnectdbParams(PG_OPEN_SQL)\n", "relay/pg/conn.c": "PQconnectStartParams(PG_OPEN_SQL)\n", "relay/pg/result.c": "PQgetvalue\n"}
    assert tree({**ground, path: good})(program)[0] == 0
    code, output = tree({**ground, path: bad})(program)
    assert code == 1 and f"{path}:3" in output
