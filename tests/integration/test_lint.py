"""The checks of lint fail when there is something to find: each is shown a small tree with one fault, and the same tree without it."""

import os
import subprocess
import sys

import pytest

SUPPORT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support")
EXPOSED = "tests/fixtures/names/metrics.txt"
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
    ({"relay/base/README.md": "`one` is the first, `two_<word>.c` are the others.\n", "relay/base/one.c": "", "relay/base/one.h": "", "relay/base/two_a.c": ""}, None),
    ({"relay/base/README.md": "`one` is the first.\n", "relay/base/one.c": "", "relay/base/two.c": ""}, "relay/base/README.md: does not name `two.c`"),
    ({"relay/base/README.md": "`one` is the first.\n", "relay/base/one.c": "", "relay/base/two.h": ""}, "relay/base/README.md: does not name `two.h`"),
    ({"relay/base/README.md": "```\none ---> `two.c`\n```\n`one`.\n", "relay/base/one.c": "", "relay/base/two.c": ""}, "does not name `two.c`"),
    ({"tests/README.md": "`support/one.py` and `two.h`.\n", "tests/support/one.py": "", "tests/support/__init__.py": "", "tests/stub/two.h": ""}, None),
    ({"tests/README.md": "`support/one.py`.\n", "tests/support/one.py": "", "tests/support/two.py": ""}, "tests/README.md: does not name `two.py` of tests/support"),
    ({"README.md": "See [the runbook](packaging/RUNBOOK.md).\n"}, "links to packaging/RUNBOOK.md"),
    ({"README.md": "# A\n\n## What it is, and why\n\nSee [it](#what-it-is-and-why).\n"}, None),
    ({"README.md": "# A\n\nSee [it](b.md#gone).\n", "b.md": "## Not gone\n"}, "links to b.md#gone, and there is no such heading"),
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


PAGE = "<!-- page: database -->\n\n"


@pytest.mark.parametrize("text, said", [
    ("Words alone.\n", None),
    (PAGE + "<!-- run: sql as owner -->\n```sql\nSELECT 1;\n```\n", None),
    (PAGE + "1. first\n\n   <!-- run: shell -->\n   ```sh\n   true\n   ```\n", None),
    (PAGE + "<!-- not run: installs -->\n```sh\nmake install\n```\n", None),
    (PAGE + "```sql\nSELECT 1;\n```\n", "README.md:3 a block without a marker"),
    (PAGE + "<!-- run: shell -->\nWords between.\n```sh\ntrue\n```\n", "a block without a marker"),
    (PAGE + "<!-- not run: no time -->\n```sh\ntrue\n```\n", "'not run: no time' is none of the reasons"),
    (PAGE + "<!-- run: sql as anybody -->\n```sql\nSELECT 1;\n```\n", "'run: sql as anybody' is not understood"),
    (PAGE + "<!-- run: sql as owner -->\n```sh\ntrue\n```\n", "begins with ```sql, not ```sh"),
    (PAGE + "<!-- given: everything -->\n", "'given: everything' is not understood"),
    (PAGE + "<!-- run: shell -->\n", "the last marker stands above no block"),
    ("<!-- run: shell -->\n```sh\ntrue\n```\n", "a page with blocks says first"),
])
@pytest.mark.parametrize("path", ["README.md", "packaging/guide/a.md"])
def test_a_block_says_what_it_needs_or_why_it_is_not_run(tree, path, text, said):
    code, output = tree({path: text})("pages.py")
    assert (code == 0) == (said is None) and ((said or "note:").replace("README.md", path) in output), output


def metrics_tree(tree):
    # Two files: each is a run of the preprocessor.
    files = {"relay/base/m1.c": MAKE.format(name='"things_1_total"', more=""),
             "relay/base/others.c": "".join(MAKE.format(name=f'"things_{n}_total"', more="") for n in range(50) if n != 1)}
    files |= {"relay/base/x.h": "", "packaging/prometheus/r.yml": "expr: rate(outboxd_things_1_total[5m])\n", EXPOSED: "outboxd_things_2_total counter {pipeline}\n"}
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
    (EXPOSED, "outboxd_things_51_total counter {pipeline}\n", "no call of the sources makes it"),
    (EXPOSED, "outboxd_things_3_total gauge {pipeline}\n", "the sources say counter {pipeline}"),
    ("packaging/RUNBOOK.md", "Look at `outboxd_nothing_seconds`.\n", "outboxd_nothing_seconds, which is no metric"),
    ("packaging/RUNBOOK.md", "Look at `outboxd_things_7_total`.\n", None),
])
def test_the_metrics_reference_is_what_the_sources_say(tree, path, text, said):
    metrics_tree(tree)
    code, output = tree({path: text})("metrics.py")
    assert (code == 0) == (said is None) and (said or "note:") in output, output


@pytest.mark.parametrize("path, text, said", [
    ("relay/a.c", 'void f(Error *err)\n{\n    error_set(err, X, "the relay retries automatically");\n}\n', None),
    ("relay/a.c", 'void f(Error *err)\n{\n    error_set(err, X, "the row was set "\n                      "aside by %s", name);\n}\n', "write stored as a dead letter"),
    ("relay/a.c", 'void f(void)\n{\n    /* set aside, of late */\n    send("SELECT a FROM b WHERE meanwhile = 1");\n    get("meanwhile");\n}\n', None),
    ("relay/x.inc", 'CODE(A, B, C, "warn", "The relay is down.", "Meanwhile\\nwait.")\n', "write until then"),
    ("cdc/a.c", 'static const char *const A = "outside the relay, behind our back";\n', "write outside outboxd"),
    ("packaging/RUNBOOK.md", "# Runbook\n\n```\nshall\n```\n\nThe events come\nback. Use `comes back`.\n", 'RUNBOOK.md:7: "come back"'),
    ("packaging/guide/run.md", "Somebody mends it, and the pipeline continues.\n", "write fix"),
    ("packaging/guide/run.md", "Share of late seconds in the window.\n", None),
    ("packaging/prometheus/r.yml", 'description: "{{ $labels.pipeline }} waits for a human"\n', "write an operator"),
    ("packaging/grafana/d.json", '{"panels": [{"title": "Set aside", "description": "Events that were set aside"}]}\n', '"set aside" in "Events'),
    ("packaging/grafana/d.json", '{"panels": [{"title": "Dead letters", "expr": "were set aside"}]}\n', None),
    ("relay/app/README.md", "Notes of engineers may come back meanwhile.\n", None),
])
def test_what_users_read_has_one_word_for_one_thing(tree, path, text, said):
    code, output = tree({path: text})("words.py")
    assert (code == 0) == (said is None) and (said or "note:") in output, output


ERROR_H = "typedef struct Error { char text[100]; } Error;\n"
LINES = "".join(f"    step_{n}(x, {n});\n" for n in range(6))
LIMITS = "".join(f"{name} {number}\n" for name, number in {
    "circles": 0, "circle_files": 0, "room_circles": 0, "wide_own": 0, "wide_structs": 0, "widest_struct": 20, "most_flags": 9, "error_bytes": 100,
    "decisions": 0, "border": 0, "runs": 0, "unused_includes": 0, "long_files": 0, "long_functions": 0, "long_tests": 0}.items())


@pytest.mark.parametrize("files, said", [
    ({}, None),
    ({"relay/base/a.h": "void a(void);\n", "relay/base/b.h": "void b(void);\n", "relay/base/a.c": '#include "base/b.h"\nvoid a(void)\n{\n    b();\n}\n',
      "relay/base/b.c": '#include "base/a.h"\nvoid b(void)\n{\n    a();\n}\n'}, "circles of files within a folder: 1"),
    ({"relay/base/a.h": "typedef struct In {\n    int a, b, c, d, e, f, g, h, i, j, k;\n} In;\ntypedef struct Out {\n    In one;\n    In two;\n} Out;\n"},
     "through members: 1"),
    ({"relay/base/a.h": "typedef struct In {\n    int a, b, c, d, e, f, g, h, i, j, k;\n} In;\ntypedef struct Out {\n    In *one;\n    In *two;\n} Out;\n"},
     None),
    ({"relay/base/error.h": ERROR_H.replace("100", "101")}, "sizeof(Error): 101"),
    ({"relay/base/a.c": 'int a(Error *err)\n{\n    return strcmp(err->code, "A_B") == 0;\n}\n'}, "decisions by the text of a code or message: 1"),
    ({"relay/pg/connection_error.c": 'int a(const char *message)\n{\n    return strstr(message, "x") != 0;\n}\n'}, "texts of libpq that are made codes: 1"),
    ({"relay/base/a.c": 'int a(const char *err)\n{\n    return strcmp(err, "code") == 0;\n}\n'}, None),
    ({"relay/base/a.c": f"void a(void)\n{{\n{LINES}}}\n", "cdc/b.c": f"void b(void)\n{{\n{LINES}}}\n"}, "equal lines that stand twice: 1"),
    ({"relay/base/a.c": "\n" * 601}, "C files over 600 lines: 1"),
    ({"relay/base/a.h": "typedef enum A { A_ONE } A;\n", "relay/base/b.c": '#include "base/a.h"\nint one = A_ONE;\n'}, None),
    ({"relay/base/a.h": "typedef struct A {\n    int one;\n} A;\n", "relay/base/b.c": '#include "base/a.h"\nint one;\n'}, "includes that their file does not use: 1"),
    ({"relay/base/a.h": "void a_go(void);\n", "relay/base/b.c": '#include "base/a.h" /* it shall be */\n'}, None),
    ({"relay/base/b.c": "#include <string.h>\nint one;\n"}, "includes that their file does not use: 1"),
    ({"relay/base/b.c": "#include <string.h>\nint one(const char *a)\n{\n    return strlen(a) > 1;\n}\n"}, None),
    ({"relay/base/a.c": "void a(void)\n{\n" + "    a();\n" * 68 + "}\n"}, "functions over 70 lines: 1"),
])
def test_what_makes_the_house_worse_is_above_its_limit(tree, files, said):
    code, output = tree({"relay/base/error.h": ERROR_H, "tests/support/house.limits": LIMITS, **files})("house.py")
    assert (code == 0) == (said is None) and (said or "note:") in output, output


def test_a_limit_is_lowered_and_never_raised(tree, tmp_path):
    run = tree({"relay/base/error.h": ERROR_H, "tests/support/house.limits": LIMITS.replace("error_bytes 100", "error_bytes 99").replace("runs 0", "runs 4")})
    code, output = run("house.py", "--write")
    limits = (tmp_path / "tests/support/house.limits").read_text()
    assert code == 1 and "sizeof(Error): 100, and 99" in output
    assert "error_bytes 99\n" in limits and "runs 0\n" in limits


@pytest.mark.parametrize("program, path, bad, good", [
    ("connections.py", "relay/pg/x.c", 'void f(void)\n{\n    PQconnectdb("");\n}\n', "/* PQconnectdb(x) */\n"),
    ("connections.py", "relay/pg/x.c", 'void f(void)\n{\n    PQexec(c, "SELECT 1");\n}\n', "/* PQexec(x) */\n"),
    ("results.py", "relay/pg/x.c", "void f(void)\n{\n    PQgetvalue(r, 0, 0);\n}\n", "// PQgetvalue\n"),
])
def test_the_two_ways_to_postgresql(tree, program, path, bad, good):
    ground = {"relay/pg/open.c": "PQconnectdbParams(pg_open_sql(*ret_conn))\n", "relay/pg/conn.c": "pg_open_sql(conn->pg)\n", "relay/pg/login.c": "PQconnectStartParams()\n",
              "relay/pg/result.c": "PQgetvalue\n"}
    assert tree({**ground, path: good})(program)[0] == 0
    code, output = tree({**ground, path: bad})(program)
    assert code == 1 and f"{path}:3" in output


@pytest.mark.parametrize("change, said", [
    (("", ""), None),
    (("GO(STALLED), NOTHING", "GO(RUNNING), NOTHING"), "the picture is not what relay/flow/machine.c says"),
    (("S(STARTING), I(STANDBY), ALWAYS, GO(STANDBY), STAND_BY", "S(STARTING), I(STANDBY), UNMARKED, GO(STANDBY), STAND_BY"), "the picture is not"),
    (("STEP(S(STARTING), I(STANDBY)", "STEP(S(STARTING) ^ 1, I(STANDBY)"), "a set that cannot be read"),
])
def test_picture_of_the_states_is_what_the_table_says(tree, change, said):
    files = {}
    for path in ("relay/flow/machine.c", "relay/flow/machine.h", "relay/flow/README.md"):
        with open(os.path.join(os.path.dirname(os.path.dirname(SUPPORT)), path), encoding="utf-8") as f:
            files[path] = f.read()
    assert change[0] in files["relay/flow/machine.c"]
    files["relay/flow/machine.c"] = files["relay/flow/machine.c"].replace(*change) if change[0] else files["relay/flow/machine.c"]
    code, output = tree(files)("machine.py")
    assert (code == 0) == (said is None), output
    assert said is None or said in output
