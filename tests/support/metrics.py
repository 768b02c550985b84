#!/usr/bin/env python3
"""The metrics reference, from the calls that make the metrics; and whether everything that names a metric names one of them.

    tests/support/metrics.py [ROOT]               exit code 1 and one line for each problem
    tests/support/metrics.py --markdown [ROOT]    prints packaging/guide/metrics.md

The sources are read as the compiler sees them, so that names that macros put together are whole. A call whose name or help is no
literal or constant is a problem: its metric could not be documented. What running relays were seen to expose
(tests/fixtures/names/metrics.txt, see tests/integration/test_names.py) must be among what was found, with the same type and labels.
"""

import concurrent.futures
import os
import re
import shlex
import subprocess
import sys

from sources import committed, joined_strings, line_of, read, report, root_of, sources

GUIDE = "packaging/guide/metrics.md"
EXPOSED = "tests/fixtures/names/metrics.txt"
CALL = re.compile(r"\bmetrics_(counter|counter_seconds|gauge|histogram)\s*\(")
STRING = r'"((?:\\.|[^"\\])*)"'
# What names metrics.
NAMED_IN = ("README.md", "SECURITY.md", "packaging/RUNBOOK.md", "packaging/README.md", "packaging/prometheus/*", "packaging/grafana/*",
            "packaging/guide/*", "packaging/kubernetes/*", "relay/*.md", "cdc/*.md")
NAME = re.compile(r"(?<![\w./@\"-])(?:outboxd_[a-z0-9_]+|process_[a-z_]+_(?:bytes|seconds|total|fds))\b(?![.*(/-])")
QUERY = re.compile(r"\boutboxd_[a-z0-9_]+\b")
# Names of the same shape: objects in PostgreSQL, headers of records.
NOT_METRICS = {"outboxd_outbox", "outboxd_mark", "outboxd_orders", "outboxd_pause", "outboxd_seq", "outboxd_lsn", "outboxd_ordinal", "outboxd_reselected",
               "outboxd_catalog", "outboxd_catalog_inserts"}
SECTIONS = (
    ("Events and records", r"outboxd_(events|records|topic|inflight|window|unmarked|unseen|backlog|waiting|dead|headers|timestamps|published_bytes|read_bytes)"),
    ("Freshness and its objective", r"outboxd_(lag|publish|last_publish|produce_latency|fetch)"),
    ("Pipelines", r"outboxd_(pipeline|paused|precondition|leader|held|rewinds)"),
    ("PostgreSQL", r"outboxd_(slot|pg|watch|rows|oldest|old_tables)"),
    ("Tables", r"outboxd_(table|snapshot)_"),
    ("Kafka", r"outboxd_(kafka|rdkafka|consumer|producer|refused)"),
    ("outboxd itself", r"(outboxd|process)_"),
)


def arguments_of(text, at):
    """The arguments of the call whose bracket opens before `at`, and the end of it."""
    depth, quoted, begin, found = 1, False, at, []
    while depth > 0:
        c = text[at]
        if quoted:
            at += c == "\\"
            quoted = c != '"'
        elif c == '"':
            quoted = True
        elif c in "({[":
            depth += 1
        elif c in ")}]":
            depth -= 1
        if not quoted and ((c == "," and depth == 1) or depth == 0):
            found.append(text[begin:at].strip())
            begin = at + 1
        at += 1
    return found


def libraries():
    """Flags of the compiler, the same for each file."""
    flags = subprocess.run(["pkg-config", "--cflags", "libpq", "libevent", "jansson"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return shlex.split(flags)


def preprocessed(root, path, flags):
    """A source file as the compiler sees it, of it alone."""
    folders = ["-I" + os.path.join(root, folder) for folder in ("relay", "", "sql")]
    result = subprocess.run([os.environ.get("CC", "cc"), "-E", "-D_GNU_SOURCE", *folders, *flags, os.path.join(root, path)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{path} cannot be preprocessed:\n{result.stderr}")
    kept, mine = [], False
    for line in result.stdout.splitlines():
        if line.startswith("# "):
            mine = line.split('"')[1].endswith("/" + path)
        elif mine:
            kept.append(line)
    return joined_strings("\n".join(kept))


def metrics_of(root, path, flags):
    """[(name, type, labels, help)] and problems of one source file."""
    text, found, problems = preprocessed(root, path, flags), [], []
    constants = {name: f'"{value}"' for name, value in re.findall(r"\bconst char (?:\*const )?(\w+)(?:\[\])? = " + STRING, text)}
    for call in CALL.finditer(text):
        given = arguments_of(text, call.end())
        if given[0].endswith("*metrics") or given[0].endswith("* metrics"):
            continue   # the definition
        literals = [re.fullmatch(STRING, constants.get(one, one)) for one in given[1:3]]
        if len(given) < 4 or None in literals or given[-1] not in ("NULL", "((void *)0)"):
            problems.append(f"{path}: a metric's name or help is neither a literal nor a constant: {' '.join(call.group().split())}{', '.join(given)[:80]}")
            continue
        labels = tuple(sorted(word.strip('"') for word in given[3:-1:2]))
        kind = call.group(1).replace("counter_seconds", "counter")
        found.append((literals[0].group(1), kind, labels, literals[1].group(1).replace('\\"', '"')))
    return found, problems


def all_metrics(root):
    """name -> (type, labels, help), and problems."""
    files = [path for path in sources(root, suffixes=(".c",)) if CALL.search(read(root, path))]
    found, problems, flags = {}, [], libraries()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, (metrics, wrong) in zip(files, pool.map(lambda one: metrics_of(root, one, flags), files)):
            problems += wrong
            for name, *rest in metrics:
                if found.setdefault(name, rest) != rest:
                    problems.append(f"{path}: {name} is made with another type, help or labels than elsewhere")
    return found, problems


def markdown(metrics):
    out = ["# Metrics", "",
           "<!-- Written by tests/support/metrics.py --markdown, from the sources; do not edit. -->", "",
           "Every metric that `outboxd` exposes on `/metrics`, in the Prometheus text format. A histogram has the series `_bucket`, `_sum` and",
           "`_count`. A metric that does not apply (for example `outboxd_slot_*` when polling) is absent. Log codes are in",
           "[LOGS.md](../../relay/LOGS.md); what to do when an alert fires is in [RUNBOOK.md](../RUNBOOK.md).", ""]
    left = dict(metrics)
    for title, pattern in SECTIONS:
        names = sorted(name for name in left if re.match(pattern, name))
        if names:
            out += [f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
            for name in names:
                kind, labels, text = left.pop(name)
                out.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text.replace('|', chr(92) + '|')} |")
            out.append("")
    return "\n".join(out).rstrip("\n") + "\n"


def name_problems(root, metrics):
    """What documents, alerts and the dashboard name, and no relay exposes."""
    known = set(metrics)
    for name, (kind, _, _) in metrics.items():
        if kind == "histogram":
            known |= {name + suffix for suffix in ("_bucket", "_sum", "_count")}
    stems = tuple(known)
    result = []
    for path in committed(root, *NAMED_IN):
        text = read(root, path)
        for match in (NAME if path.endswith(".md") else QUERY).finditer(text):
            name = match.group()
            family = text[match.end():match.end() + 1] in ("*", "{") and any(one.startswith(name) for one in stems)
            if name not in known and not family and name not in NOT_METRICS:
                result.append(f"{path}:{line_of(text, match.start())} names {name}, which is no metric")
    return result


def exposed_problems(root, metrics):
    """What relays have exposed and the sources do not say."""
    if not os.path.exists(os.path.join(root, EXPOSED)):
        return [f"{EXPOSED} is not there"]
    result = []
    for line in read(root, EXPOSED).splitlines():
        name, _, rest = line.partition(" ")
        if line and not line.startswith("#"):
            kind, labels, _ = metrics.get(name, ("nothing", (), ""))
            said = f"{kind} {{{','.join(labels)}}}"
            if said != rest and name in metrics:
                result.append(f"{EXPOSED}: {name} is exposed as {rest}, and the sources say {said}")
            elif name not in metrics:
                result.append(f"{EXPOSED}: {name} is exposed, and no call of the sources makes it")
    return result


def main():
    arguments = [word for word in sys.argv if word != "--markdown"]
    root = root_of(arguments)
    metrics, problems = all_metrics(root)
    if "--markdown" in sys.argv:
        print(markdown(metrics), end="")
        return report(problems, f"{len(metrics)} metrics") if problems else 0
    if len(metrics) < 50:
        problems.append(f"only {len(metrics)} metrics: the sources are written in another way than this program reads")
    if not os.path.exists(os.path.join(root, GUIDE)) or read(root, GUIDE) != markdown(metrics):
        problems.append(f"{GUIDE} is not what the sources say: tests/support/metrics.py --markdown >{GUIDE}")
    problems += exposed_problems(root, metrics) + name_problems(root, metrics)
    return report(problems, f"{len(metrics)} metrics")


if __name__ == "__main__":
    sys.exit(main())
