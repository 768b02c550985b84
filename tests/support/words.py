#!/usr/bin/env python3
"""Looks that what users read is written in plain English, and that it has one word for one thing.

    tests/support/words.py [ROOT]      exit code 1 and one line for each word of DISCOURAGED, with a better one

Read are the texts of the program (string literals of relay/ and cdc/), the runbook, the pages of the guide, the alerts, the dashboard and
the pages that the program writes. Not read are SQL, names of things (codes, metrics, options) and comments. The list is closed: a word is
on it because a reader stumbled over it, and each has a better one.
"""

import json
import re
import sys

from sources import committed, joined_strings, read, report, root_of, sources, without_comments

# (what to avoid, what to write instead), one thing a line. Case does not matter.
DISCOURAGED = [(re.compile(rf"(?<![\w-])(?:{avoid})(?![\w-])", re.I), better) for avoid, better in [
    # One word for one thing.
    (r"(?:sets?|setting) (?:\w+ ){0,3}aside", "stored as a dead letter"),
    (r"repeats of (?:events|records)|(?:late|drop(?:s|ped)?) repeats|comes? twice|published twice|sent twice", "duplicate, duplicated"),
    (r"(?:a|the) letter(?! of)", "dead letter"),
    (r"stand(?:s|ing)? by", "is a standby"),
    (r"mend(?:s|ed|ing)?", "fix, correct"),
    (r"the log (?:brings|bring|holds|follows)|hold(?:s)? back (?:%s of )?WAL|keeps? (?:all |its )?WAL", "the WAL contains; retains WAL"),
    (r"row security(?! = off)", "row-level security"),
    (r"lacks? (?:a|the) right|rights? (?:is|are) missing", "privilege"),
    # Words of another language, or of another century.
    (r"so many", "a number"),
    (r"of late(?! seconds)|lately", "recently, in the last 10 s"),
    (r"meanwhile", "until then, in between"),
    (r"shall", "must, should, will"),
    (r"c[oa]mes? again", "repeats, follows"),
    (r"c[oa]mes? back", "repeats, returns, becomes"),
    (r"(?:takes?|taken|taking|took) (?:\w+ )?back", "revert, withdraw"),
    (r"ma(?:kes?|de|king) (?:\w+ ){0,2}again|anew", "create again, replace, reconnect"),
    (r"no-op", "changes nothing"),
    (r"behind (?:\w+ |the relay's )back", "outside outboxd"),
    (r"is not the (?:one|same) (?:it|that it) was|not as (?:it|this relay) (?:was|knew it)", "was replaced, was changed"),
    (r"go(?:es|ing)? on by (?:it|them)sel(?:f|ves)|tr(?:y|ies|ied) again by itself|retrying by itself", "continues automatically, retries automatically"),
    (r"(?:publishing|pipeline|relay|slot|others?) go(?:es)? on|going on", "continues, are published"),
    (r"swallow(?:s|ed)?", "discard"),
    (r"wins over|beats?", "overrides"),
    (r"(?:is|are) (?:there already|already there)", "already exists"),
    (r"(?:is|are|was|were) not there", "does not exist, is missing"),
    (r"h[au]ngs? up|hung up|hanging up", "disconnects, closes the connection"),
    (r"to be had", "available"),
    (r"innocent", "other"),
    (r"a human", "an operator"),
    (r"(?<!there )(?:is|are) no (?:\w+=\w+|[a-z]+\.[a-z]+|number|table|column|percentage|stream|event|value|page|version)", "is not a"),
    (r"(?:is|are) none that", "does not know"),
    (r"(?:is|are|be) looked at", "is checked, is watched"),
    (r"said once|said by|said at most", "written once"),
    (r"(?:does|do) not pass (?:a|on) pooler|poolers? (?:does|do) not pass|(?<!many )poolers do not support", "many poolers do not support replication connections"),
    (r"the patience of", "the stop timeout of"),
    (r"connect(?:s)? to PostgreSQL itself", "connect directly"),
]]

TEXTS = ("packaging/RUNBOOK.md", "packaging/guide/*.md", "packaging/prometheus/*.yml", "relay/LOGS.md", "*/COMMANDS.md", "conf/*.conf")
DASHBOARDS = "packaging/grafana/*.json"
SQL = re.compile(r"^[\s(,]*(?:SELECT|WITH|INSERT|UPDATE|DELETE|PREPARE|EXECUTE|FROM|WHERE|AND|OR|JOIN|LEFT|CASE|DO|SET|IF|CREATE)\b|pg_catalog\.|::")
# Two words are the least that is a text.
TEXT = re.compile(r"[A-Za-z]{2,}[,;:.]? [A-Za-z]{2,}")
LITERAL = re.compile(r'"((?:\\.|[^"\\\n])*)"')


def found_in(text):
    """(offset, words, better ones) of what is discouraged in a text."""
    return [(match.start(), " ".join(match.group().split()), better) for avoid, better in DISCOURAGED for match in avoid.finditer(text)]


def of_source(path, text):
    code = joined_strings(without_comments(text))
    result = []
    for literal in LITERAL.finditer(code):
        said = literal.group(1).replace("\\n", " ").replace('\\"', '"')
        if TEXT.search(said) and not SQL.search(said):
            result += [f'{path}: "{words}" in "{said.strip()[:90]}": write {better}' for _, words, better in found_in(said)]
    return result


def of_page(path, text):
    plain = re.sub(r"^```.*?^```", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M | re.S)
    plain = re.sub(r"`[^`\n]*`|\]\([^)]*\)", lambda m: " " * len(m.group()), plain)
    plain = re.sub(r"(?<=.)\n(?:[ \t]*(?://|#))?[ \t]*(?=\S)", lambda m: " " * len(m.group()) if "\n\n" not in m.group() else m.group(), plain)
    lines = [at for at, character in enumerate(text) if character == "\n"]
    return [f'{path}:{sum(end < at for end in lines) + 1}: "{words}": write {better}' for at, words, better in sorted(found_in(plain))]


def texts_of(node):
    """Titles and descriptions of a dashboard."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list)):
            yield from texts_of(value)
        elif key in ("title", "description", "legendFormat") and isinstance(value, str):
            yield value


def main():
    root = root_of(sys.argv)
    files = sources(root, suffixes=(".c", ".h", ".inc"))
    pages, dashboards = committed(root, *TEXTS), committed(root, DASHBOARDS)
    result = [problem for path in files for problem in of_source(path, read(root, path))]
    result += [problem for path in pages for problem in of_page(path, read(root, path))]
    for path in dashboards:
        result += [f'{path}: "{words}" in "{text}": write {better}' for text in texts_of(json.loads(read(root, path)))
                   for _, words, better in found_in(text)]
    return report(result, f"{len(files)} sources, {len(pages)} pages, {len(dashboards)} dashboards, {len(DISCOURAGED)} entries")


if __name__ == "__main__":
    sys.exit(main())
