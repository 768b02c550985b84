#!/usr/bin/env python3
"""Brings each fault of tests/mutants back, in a copy of the tree, and looks that its tests turn red.

    tests/support/mutants.py [NAME...]      all of them, or those whose names match (* is any text)
    tests/support/mutants.py --check        only that table, patches, tests and trials fit together; builds nothing

Exit code 1 when a mutant survives, when its patch does not apply or does not compile, or when one of its tests is red without it. How the
table and the patches are written: tests/mutants/README.md.
"""

import argparse
import fnmatch
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import named_tests  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOME = "tests/mutants"
TEST_SECONDS = 180   # then a test hangs: that is red, too
BUILD = "build"
COLUMNS = ("name", "property", "tests", "what comes back")


class Stale(Exception):
    """The patch, or the table, does not fit the tree any more."""


# -- table and patches -----------------------------------------------------------------------------------------------

class Mutant:
    def __init__(self, name, prop, tests, meaning):
        self.name, self.property, self.tests, self.meaning = name, prop, tests.split(), meaning

    @property
    def patch(self):
        return os.path.join(HOME, f"{self.name}.patch")


def read_rows(root, name, columns):
    """Rows of a table of tests/mutants; lines that begin with # are remarks."""
    with open(os.path.join(root, HOME, name), encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.strip() or line.startswith("#"):
                continue
            cells = [cell.strip() for cell in line.rstrip("\n").split("\t") if cell.strip()]
            if len(cells) != columns:
                raise Stale(f"{HOME}/{name}:{number}: {len(cells)} columns, {columns} are wanted")
            yield cells


def read_table(root=ROOT):
    return [Mutant(*cells) for cells in read_rows(root, "table.tsv", len(COLUMNS))]


def read_patch(path):
    """[(file, [(old text, new text), ...]), ...] of a unified diff. Line numbers do not count: code moves."""
    files, old, new = [], None, None
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith("--- "):
                old = None
            elif line.startswith("+++ "):
                files.append((line[4:].strip().removeprefix("b/"), []))
            elif line.startswith("@@") and files:
                old, new = [], []
                files[-1][1].append((old, new))
            elif old is not None and line[:1] in " -+" and line != "\n":
                if line[0] != "+":
                    old.append(line[1:])
                if line[0] != "-":
                    new.append(line[1:])
    return [(file, [("".join(a), "".join(b)) for a, b in hunks]) for file, hunks in files]


def elsewhere(root, text):
    """Files of the program that have this text."""
    for room in ("relay", "cdc"):
        for directory, _, names in os.walk(os.path.join(root, room)):
            for name in names:
                path = os.path.join(directory, name)
                if name.endswith((".c", ".h")):
                    with open(path, encoding="utf-8") as f:
                        if text in f.read():
                            yield os.path.relpath(path, root)


def mutated(root, patch):
    """file -> its text with the fault; Stale when a hunk is not there, or is there twice."""
    result = {}
    files = read_patch(os.path.join(root, patch))
    if not any(hunks for _, hunks in files):
        raise Stale(f"{patch} changes nothing")
    for file, hunks in files:
        path = os.path.join(root, file)
        if not file.startswith(("relay/", "cdc/")):
            raise Stale(f"{patch} changes {file}, which is no code of the program")
        if not os.path.exists(path):
            moved = sorted(set(elsewhere(root, hunks[0][0])))
            raise Stale(f"{patch}: there is no {file}" + (f"; its place seems to be {', '.join(moved)} now" if moved else ""))
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for old, new in hunks:
            if text.count(old) != 1:
                moved = sorted(set(elsewhere(root, old)) - {file})
                raise Stale(f"{patch} does not apply to {file}: " + (f"its lines are there {text.count(old)} times" if old in text else
                            f"its lines are in {', '.join(moved)} now" if moved else "its lines are not there"))
            text = text.replace(old, new)
        result[file] = text
    return result


# -- does it all fit together? -----------------------------------------------------------------------------------------

def trials(root):
    """Numbers of the rows of the first two tables of tests/TRIALS.md."""
    with open(os.path.join(root, "tests", "TRIALS.md"), encoding="utf-8") as f:
        return [n for cell in re.findall(r"^\| ([12]\.\d+(?:, [12]\.\d+)*) \|", f.read(), re.M) for n in cell.split(", ")]


def problems(root=ROOT):
    table = read_table(root)
    python, unit = named_tests.python_tests(root), named_tests.unit_tests(root)
    names = [m.name for m in table]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"{name} stands in the table twice"
    there = {f[:-len(".patch")] for f in os.listdir(os.path.join(root, HOME)) if f.endswith(".patch")}
    for name in sorted(there - set(names)):
        yield f"{HOME}/{name}.patch has no row in the table"
    for m in table:
        if m.name not in there:
            yield f"{m.name}: there is no {m.patch}"
            continue
        try:
            mutated(root, m.patch)
        except Stale as e:
            yield f"{m.name}: {e}"
        for test in m.tests:
            if not test_exists(test, python, unit):
                yield f"{m.name}: there is no test '{test}'"
    without = dict(read_rows(root, "without.tsv", 2))
    covered = {n for m in table for n in re.findall(r"\b[12]\.\d+\b", m.property)}
    for number in trials(root):
        if number not in covered and number not in without:
            yield f"row {number} of tests/TRIALS.md has no mutant, and {HOME}/without.tsv does not say why"
    for number in without:
        if number in covered:
            yield f"row {number} has a mutant, and {HOME}/without.tsv says why it has none"


def test_exists(test, python, unit):
    if "::" not in test:
        suite, _, name = test.partition("/")
        return name in unit.get(suite, [])
    file, name = test.split("::")
    name = name.partition("[")[0]
    return name.removeprefix("test_") in python.get(os.path.basename(file)[:-3], [])


def check():
    found = list(problems())
    for problem in found:
        print(problem)
    if not found:
        print(f"note: {len(read_table())} mutants")
    return 1 if found else 0


# -- running -----------------------------------------------------------------------------------------------------------

def unit_rooms(root=ROOT):
    """suite/test -> room, which is the program that has it. (Two rooms may have suites of one name.)"""
    rooms = {}
    base = os.path.join(root, "tests", "unit")
    for room in os.listdir(base):
        if os.path.isdir(os.path.join(base, room)):
            for name in os.listdir(os.path.join(base, room)):
                if name.endswith(".c"):
                    with open(os.path.join(base, room, name), encoding="utf-8") as f:
                        rooms.update({"/".join(test): room for test in re.findall(r"\bTest\(\s*(\w+)\s*,\s*(\w+)", f.read())})
    return rooms


def run(command, timeout=None, **more):
    """(exit code, output); the code is None when it took too long, and then all its processes are gone."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True, **more)
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output


class Copy:
    """A copy of the tree with a build directory of its own, which stays for the next time."""

    servers = threading.Lock()   # one test that needs servers at a time

    def __init__(self, number, rooms):
        self.path = os.path.join(ROOT, BUILD, "mutants", str(number))
        self.rooms = rooms
        self.build_path = os.path.join(self.path, "build")

    def prepare(self):
        """Bring it up to date; what did not change keeps its time, so that little is built anew."""
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, check=True,
                                stdout=subprocess.PIPE).stdout.splitlines()
        files = {f for f in listed if os.path.isfile(os.path.join(ROOT, f))}
        os.makedirs(self.path, exist_ok=True)
        for directory, folders, names in os.walk(self.path):
            folders[:] = [d for d in folders if os.path.join(directory, d) != self.build_path]
            for name in names:
                path = os.path.join(directory, name)
                if os.path.relpath(path, self.path) not in files:
                    os.remove(path)
        for file in files:
            self._refresh(file)
        if not os.path.exists(os.path.join(self.build_path, "build.ninja")):
            launcher = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
            self._must([*"cmake -G Ninja -DCMAKE_BUILD_TYPE=Debug -DOUTBOXD_FAILPOINTS=ON -S".split(), self.path, "-B", self.build_path, *launcher])

    def _refresh(self, file):
        source, target = os.path.join(ROOT, file), os.path.join(self.path, file)
        with open(source, "rb") as f:
            wanted = f.read()
        if os.path.exists(target):
            with open(target, "rb") as f:
                if f.read() == wanted:
                    return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(wanted)
        shutil.copymode(source, target)

    def _environment(self):
        return {**os.environ, "CCACHE_BASEDIR": self.path, "CCACHE_NOHASHDIR": "1"}

    def _must(self, command):
        code, output = run(command, env=self._environment())
        if code != 0:
            raise RuntimeError(f"{' '.join(command)}: exit code {code}\n{output[-3000:]}")

    def target(self, test):
        return "outboxd" if "::" in test else f"test_{self.rooms[test]}"

    def build(self, tests, jobs):
        """None, or the compiler's words."""
        code, output = run(["ninja", "-C", self.build_path, f"-j{jobs}", *sorted({self.target(t) for t in tests})], env=self._environment())
        return None if code == 0 else output[-2000:]

    def test(self, test):
        """"green", "red", "hangs", or what kept it from telling, in words."""
        return self._pytest(test) if "::" in test else self._criterion(test)

    def _criterion(self, test):
        program = os.path.join(self.build_path, "tests", "unit", self.target(test))
        code, output = run([program, "--filter", test, "-j1"], timeout=TEST_SECONDS)
        if code is None:
            return "hangs"
        told = re.search(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)", re.sub(r"\x1b\[[0-9;]*m", "", output))
        if not told or told.group(1) == "0":
            return f"no test ran: {output[-300:]}"
        return "green" if code == 0 else "red"

    def _pytest(self, test):
        environment = {**os.environ, "OUTBOXD": os.path.join(self.build_path, "outboxd"), "PYTHONDONTWRITEBYTECODE": "1"}
        with Copy.servers:
            code, output = run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test], timeout=5 * TEST_SECONDS,
                               cwd=os.path.join(self.path, "tests"), env=environment)
        if code is None:
            return "hangs"
        last = output.strip().splitlines()[-1] if output.strip() else ""
        if code == 0 and re.search(r"\b[1-9]\d* passed", last):
            return "green"
        if code == 1 and " failed" in last and " error" not in last:
            return "red"
        return f"pytest cannot tell: {last[-300:]}"

    def mutate(self, mutant):
        for file, text in mutated(self.path, mutant.patch).items():
            with open(os.path.join(self.path, file), "w", encoding="utf-8") as f:
                f.write(text)

    def restore(self, mutant):
        for file, _ in read_patch(os.path.join(self.path, mutant.patch)):
            if os.path.exists(os.path.join(ROOT, file)):
                self._refresh(file)


class Session:
    """The mutants that are wanted, over several copies."""

    def __init__(self, mutants, copies, jobs):
        self.mutants, self.jobs = mutants, jobs
        self.copies = [Copy(n, unit_rooms()) for n in range(copies)]
        self.say = threading.Lock()
        self.results = {}   # name -> (verdict, remark)
        self.begin = time.monotonic()

    def _each(self, work, items):
        """work(copy, item) for each item, on all copies at once."""
        waiting, errors = queue.Queue(), []
        for item in items:
            waiting.put(item)

        def drain(copy):
            while not errors:
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    work(copy, item)
                except Exception as e:  # told below: a thread has nobody to tell
                    errors.append(e)

        threads = [threading.Thread(target=drain, args=(copy,)) for copy in self.copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def prepare(self):
        """All copies, each test green without a fault."""
        tests = sorted({t for m in self.mutants for t in m.tests})
        for copy in self.copies:
            copy.prepare()
            words = copy.build(tests, self.jobs * len(self.copies))
            if words is not None:
                raise Stale(f"the tree does not build:\n{words}")
        red = []
        self._each(lambda copy, test: red.append((test, said)) if (said := copy.test(test)) != "green" else None, tests)
        if red:
            raise Stale("without any fault:\n" + "\n".join(f"  {test}: {said}" for test, said in sorted(red)))
        print(f"{len(tests)} tests are green without a fault ({time.monotonic() - self.begin:.0f} s)", flush=True)

    def _try(self, copy, mutant):
        try:
            copy.mutate(mutant)
            words = copy.build(mutant.tests, self.jobs)
            if words is not None:
                return "stale", f"it does not compile:\n{words}"
            said = {test: copy.test(test) for test in mutant.tests}
        except Stale as e:
            return "stale", str(e)
        finally:
            copy.restore(mutant)
        odd = {t: s for t, s in said.items() if s not in ("green", "red", "hangs")}
        if odd:
            return "stale", "; ".join(f"{t}: {s}" for t, s in odd.items())
        green = [t for t, s in said.items() if s == "green"]
        if green:
            return "survived", f"{', '.join(green)} passed although {mutant.meaning[0].lower()}{mutant.meaning[1:]}"
        return "killed", ", ".join(f"{t} hangs" for t, s in said.items() if s == "hangs")

    def _one(self, copy, mutant):
        begin = time.monotonic()
        verdict, remark = self._try(copy, mutant)
        with self.say:
            self.results[mutant.name] = verdict, remark
            print(f"{len(self.results):>4}/{len(self.mutants)}  {verdict if verdict == 'killed' else verdict.upper():<9} {mutant.name:<44} "
                  f"{time.monotonic() - begin:5.1f} s  {remark}", flush=True)

    def run(self):
        # Those of one room behind each other: each copy builds few programs at a time.
        wanted = sorted(self.mutants, key=lambda m: (self.copies[0].target(m.tests[0]), m.name))
        self._each(self._one, wanted)
        counts = {v: sum(r[0] == v for r in self.results.values()) for v in ("killed", "survived", "stale")}
        for name, (verdict, remark) in sorted(self.results.items()):
            if verdict != "killed":
                print(f"{verdict.upper()} {name}: {remark}")
        print(f"{counts['killed']} killed, {counts['survived']} survived, {counts['stale']} stale "
              f"({time.monotonic() - self.begin:.0f} s)")
        return 0 if counts["killed"] == len(self.mutants) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--copies", type=int, default=min(os.cpu_count() or 1, 8), help="of the tree (one for each processor)")
    options = parser.parse_args()
    if options.check:
        return check()
    table = read_table()
    names = options.names or ["*"]
    unknown = [n for n in names if not any(fnmatch.fnmatchcase(m.name, n) for m in table)]
    if unknown:
        print(f"no mutant of that name: {', '.join(unknown)}; they stand in {HOME}/table.tsv")
        return 1
    session = Session([m for m in table if any(fnmatch.fnmatchcase(m.name, n) for n in names)], options.copies, 1)
    try:
        session.prepare()
    except Stale as e:
        print(e)
        return 1
    return session.run()


if __name__ == "__main__":
    sys.exit(main())
