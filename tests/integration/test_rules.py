"""Alert rules and the runbook: tested by promtool, each with its section, and nothing in the runbook that does not exist."""

import os
import re

from support.prometheus import RULES, promtool
from support.postgres import SUPERUSER
from support.relay import ROOT, outboxd

RUNBOOK = os.path.join(ROOT, "packaging", "RUNBOOK.md")

# Sub-commands that the runbook names and that this program does not have yet, and tables likewise. Shall be empty.
COMMANDS_TO_COME = set()
TABLES_TO_COME = set()


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def alerts():
    """name -> text of the rule."""
    parts = re.split(r"^ +- alert: (\w+)\n", text_of(RULES), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def sections():
    """Alert -> text of its section."""
    parts = re.split(r"^## (\w+)\n", text_of(RUNBOOK), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def test_rules_are_well_formed_and_pass_their_tests():
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", RULES)
    promtool("test", "rules", RULES.replace(".rules.yml", ".rules_test.yml"))


def test_every_alert_has_a_test_severity_texts_and_a_section_in_the_runbook():
    tests = text_of(RULES.replace(".rules.yml", ".rules_test.yml"))
    assert len(alerts()) > 15
    for name, rule in alerts().items():
        assert re.search(r"severity: (page|warn)\b", rule), name
        assert re.search(r"^ +summary: \".*\{\{.*\"", rule, re.M) and re.search(r"^ +description: \".*\d.*\"|\{\{", rule, re.M), name
        assert f'runbook_url: "packaging/RUNBOOK.md#{name.lower()}"' in rule, name
        assert re.search(rf'- name: "{name} fires .*\bnot ', tests), f"{name} has no test"
    assert list(sections()) == list(dict.fromkeys(sections())) and set(sections()) == set(alerts())
    for name, section in sections().items():
        for part in ("**Means**", "**Look**", "**Do**", "**Don't**"):
            assert part in section, f"{name} has no {part}"
    for anchor in re.findall(r"\]\(#(\w+)\)", text_of(RUNBOOK)):
        assert anchor in {name.lower() for name in alerts()}, anchor


def test_every_command_and_option_in_the_runbook_exists():
    usage = outboxd("--help", expect=0).stdout
    known = set(re.findall(r"^  outboxd (\w+)", usage, re.M))
    fence = r"```\w*\n(.*?)```"
    text = text_of(RUNBOOK)
    code = re.findall(fence, text, re.S) + re.findall(r"`([^`\n]+)`", re.sub(fence, "", text, flags=re.S))
    named = [line for part in code for line in re.findall(r"(?:^|\n)outboxd ([a-z]+[^#;\n]*)", part)]
    commands = {line.split()[0] for line in named}
    assert {"status", "check", "run"} <= commands, commands
    assert commands <= known | COMMANDS_TO_COME, f"no such command: {commands - known - COMMANDS_TO_COME}"
    assert not COMMANDS_TO_COME & known, "these have come: take them off the list"
    for line in named:
        command = line.split()[0]
        if command in known:
            help_text = outboxd(command, "--help", expect=0).stdout + usage
            for option in re.findall(r"(--[a-z-]+)", line):
                assert option in help_text, f"outboxd {command} has no {option}"


def test_every_code_in_the_runbook_is_one_that_explain_knows():
    codes = set(re.findall(r"\b(?:KAFKA|SLOT|GAP|POSTGRES|EVENT|RECORD)_[A-Z_]*[A-Z]\b", text_of(RUNBOOK)))
    assert {"KAFKA_TOPIC_UNKNOWN", "GAP_ACCEPTED"} <= codes
    for code in codes:
        assert code in outboxd("explain", code, expect=0).stdout


def test_every_statement_in_the_runbook_runs(wal, database):
    wal.make_slot()
    statements = [s.strip() for block in re.findall(r"```sql\n(.*?)```", text_of(RUNBOOK), re.S) for s in block.split(";\n") if s.strip()]
    assert len(statements) > 10
    try:
        for statement in statements:
            if any(table in statement for table in TABLES_TO_COME):
                assert database.scalar("SELECT to_regclass(%s)", (next(iter(TABLES_TO_COME)),)) is None, "it has come: take it off the list"
                continue
            connection = database.connect(SUPERUSER)
            connection.cursor().execute(statement.rstrip(";"))
            connection.close()
    finally:
        wal.server.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        wal.server.execute("SELECT pg_reload_conf()")
        wal.drop_slot()
