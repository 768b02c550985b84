#!/usr/bin/env python3
"""The configuration reference of the guide, from the option table that the program carries (`outboxd config schema`).

    tests/support/options.py OUTBOXD               exit code 1 when the page in the repository is not what the program says
    tests/support/options.py OUTBOXD --markdown    prints packaging/guide/configuration.md
"""

import json
import os
import re
import subprocess
import sys

from sources import ROOT, read, report

GUIDE = "packaging/guide/configuration.md"
HEAD = """# Configuration

<!-- Written by tests/support/options.py --markdown, from the option table of the program; do not edit. -->

This page lists every option of the configuration file. `outboxd config print` writes the same list as a commented sample, which is
[conf/outboxd.conf](../../conf/outboxd.conf); [conf/](../../conf/README.md) has smaller files that work. `outboxd config print -c FILE` shows the values in
effect and where each one comes from, with secrets masked. `outboxd check -c FILE` reports every mistake with its file and line.

- The file is in the format of libconfig. The default file is `/etc/outboxd/outboxd.conf`.
- An unknown option is an error, and the message proposes the nearest known name.
- Durations and sizes are quoted strings with a unit: `"250ms"`, `"5s"`, `"10min"`, `"1h"`, `"7d"`; `"64KiB"` and `"4MiB"` (1024), `"1kB"` and `"1MB"` (1000).
- Every string may contain `${env:NAME}` and `${file:/path}`. The last newline of a file is left out. A name that is not set and a file that
  cannot be read are errors.
- `@include "more.conf"` on a line of its own inserts that file, which is looked up beside the file that includes it.
- An environment variable overrides the file, and the command line overrides both. The variables `OUTBOXD_PIPELINE_*` have an effect only when there is
  no file.
- A file and its includes may have at most 4 MiB, 100 files, 20,000 names and values, 200 pipelines and 1,000 routes; a secret file may have at most
  64 KiB. All of them must be regular files.
- The program reads the configuration, and the files that it names, when it starts and at SIGHUP ([reload](run.md#reload)). The column *reload* says how a
  changed option takes effect at SIGHUP:
  - `live`: an option outside the pipelines takes effect immediately. An option of a pipeline takes effect between two batches, and the pipeline keeps its lock
    and its connections. If the new value needs a column of the table that was not needed before, the pipeline ends and starts again. After a change in `kafka`,
    a new Kafka client takes over when nothing is in flight.
  - `pipeline`: the pipeline ends and starts again. For `name` of the program and for the options of `database`, these are all pipelines.
  - `restart`: the option keeps its value until you restart the program, and a log line names it.
  - A new password is used by the next connection. If only the password in `dsn` or `replication_dsn` changes, no pipeline ends.

An option without a default is empty or absent unless you set it.
"""
SECTIONS = (
    ("Program", r"[a-z_]+$", "Top level of the file."),
    ("Database", r"database\.", "In the group `database`."),
    ("Kafka", r"kafka\.", "In the group `kafka`."),
    ("Monitoring", r"monitor\.", "In the group `monitor`."),
    ("Log", r"log\.", "In the group `log`."),
    ("Routes", r"pipelines\.routes\.", "In each group of the list `routes` of a pipeline. See [map events to topics](map.md)."),
    ("Mappings", r"pipelines\.mappings\.", "In each group of the list `mappings` of a pipeline with `capture = \"tables\"`. See [tables](tables.md)."),
    ("Columns", r"pipelines\.columns\.", "In the group `columns` of a pipeline. See [adopt a table](adopt.md)."),
    ("Pipelines", r"pipelines\.", "In each group of the list `pipelines`."),
)
TABLES = ("Tables", "In each group of the list `pipelines` with `capture = \"tables\"`; refused with the other captures. See [tables](tables.md).")
ORDER = ("Program", "Database", "Kafka", "Monitoring", "Log", "Pipelines", "Routes", "Columns", "Tables", "Mappings")
DURATIONS = ((86400000, "d"), (3600000, "h"), (60000, "min"), (1000, "s"), (1, "ms"))
SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, ""))


def quantity(value, unit):
    """A number of milliseconds or bytes, as people write it in the file."""
    if unit:
        for size, name in DURATIONS if unit == "ms" else SIZES:
            if value % size == 0 and value >= size:
                return f"{value // size}{name}"
        return f"0{unit if unit == 'ms' else ''}"
    return str(value)


def values_of(option):
    """What an option takes."""
    if option["type"] == "letters":
        return f'letters of `"{"".join(option["values"])}"`'
    if "values" in option:
        return ", ".join(f'`"{value}"`' for value in option["values"])
    if option["type"] == "boolean":
        return "`true`, `false`"
    if "min" in option:
        also = ', `"forever"`' if option.get("default") == "forever" else ""
        return f"{quantity(option['min'], option['unit'])} to {quantity(option['max'], option['unit'])}{also}"
    return {"strings": "list of strings", "groups": "list of groups"}.get(option["type"], option["type"])


def default_of(option):
    default = option.get("default", "")
    if option["required"] and not default:
        return "required"
    if default == "" or option["type"] in ("boolean", "integer"):
        return f"`{default}`" if default != "" else ""
    return f'`"{default}"`'


def row(option):
    name = re.sub(r"^(database|kafka|monitor|log|pipelines(\.routes|\.columns|\.mappings)?)\.", "", option["path"])
    variable = f" Environment: `{option['environment']}`." if "environment" in option else ""
    text = re.sub(r"\s+", " ", option["help"]).replace("|", "\\|").replace("<", "&lt;")
    return f"| `{name}` | {values_of(option)} | {default_of(option)} | {option['reload']} | {text}{variable} |"


def markdown(binary):
    options = json.loads(subprocess.run([binary, "config", "schema"], stdout=subprocess.PIPE, text=True, check=True).stdout)["options"]
    rooms = {}
    for option in options:
        if option["path"] == "pipelines":
            continue
        title = TABLES[0] if "capture" in option else next(title for title, pattern, _ in SECTIONS if re.match(pattern, option["path"]))
        rooms.setdefault(title, []).append(row(option))
    out = [HEAD]
    for title in ORDER:
        about = TABLES[1] if title == TABLES[0] else next(text for name, _, text in SECTIONS if name == title)
        out += [f"## {title}", "", about, "", "| option | values | default | reload | meaning |", "|---|---|---|---|---|", *rooms[title], ""]
    return "\n".join(out).rstrip("\n") + "\n", len(options)


def main():
    words = [word for word in sys.argv[1:] if word != "--markdown"]
    if len(words) != 1:
        raise SystemExit(__doc__)
    text, count = markdown(words[0])
    if "--markdown" in sys.argv:
        print(text, end="")
        return 0
    current = os.path.exists(os.path.join(ROOT, GUIDE)) and read(ROOT, GUIDE) == text
    return report([] if current else [f"{GUIDE} is not what the program says: tests/support/options.py OUTBOXD --markdown >{GUIDE}"], f"{count} options")


if __name__ == "__main__":
    sys.exit(main())
