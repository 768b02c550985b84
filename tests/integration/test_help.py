"""The command line as people meet it: help, usage errors, and the page of all commands."""

import os
import re

import pytest

from support.relay import ROOT, outboxd

COMMANDS = ["run", "migrate", "check", "status", "pause", "resume", "dead", "config", "explain", "version", "help"]


def test_the_committed_page_is_what_the_program_prints():
    with open(os.path.join(ROOT, "relay", "app", "COMMANDS.md"), encoding="utf-8") as f:
        assert outboxd("help", "--markdown", expect=0).stdout == f.read()


def test_the_page_has_every_command_and_each_of_its_flags():
    page = outboxd("help", "--markdown", expect=0).stdout
    assert re.findall(r"^## outboxd ([a-z]+)$", page, re.M) == COMMANDS
    assert re.findall(r"^  outboxd ([a-z]+)", outboxd("help", expect=0).stdout, re.M) == COMMANDS
    for command in COMMANDS:
        section = page.split(f"## outboxd {command}\n")[1].split("\n## ")[0]
        for flag in re.findall(r"--[a-z-]+", outboxd("help", command, expect=0).stdout):
            assert flag == "--help" or flag in section, f"outboxd {command} {flag}"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_a_usage_error_of_every_command(command):
    result = outboxd(command, "--frobnicate", expect=1)
    assert result.stdout == "" and f"outboxd {command}: unknown option '--frobnicate'" in result.stderr
    assert f"usage: outboxd {command}" in result.stderr and f"  remedy: see outboxd {command} --help" in result.stderr


@pytest.mark.parametrize("args, said", [
    (("status", "--jsno"), "did you mean '--json'?"), (("run", "--new_slot"), "did you mean '--new-slot'?"),
    (("config", "prnt"), "did you mean 'print'?"), (("dead", "discrad", "1"), "did you mean 'discard'?"),
    (("resume", "--reason", "x"), "outboxd pause has it"), (("pause", "orders"), "name a pipeline with --pipeline"),
    (("config", "schema", "-c", "x"), "--config belongs to print"), (("help", "run", "status"), "too many is 'status'")])
def test_a_usage_error_says_what_was_meant(args, said):
    result = outboxd(*args, expect=1)
    assert said in result.stderr and result.stdout == ""


@pytest.mark.parametrize("name", ["adopt", "route", "tail", "switch", "snapshot", "verify"])
def test_a_command_to_come_is_refused_as_such(name):
    assert "not built yet" in outboxd(name, expect=1).stderr and "not built yet" in outboxd("help", name, expect=1).stderr


def test_a_value_that_may_be_a_secret_is_not_repeated():
    for args in (("--dsm=host=h password=hush",), ("postgres://u:hush@h/d",), ("password=hush",)):
        assert "hush" not in outboxd("run", *args, expect=1).stderr
