"""Man pages and completions: what the program writes of itself, read by the programs that people use."""

import functools
import json
import os
import re
import subprocess

import pytest

from support.relay import ROOT, outboxd

COMMANDS = re.findall(r"^  outboxd ([a-z]+)", outboxd("help", expect=0).stdout, re.M)
PAGES = ["outboxd", "outboxd.conf", *(f"outboxd-{command}" for command in COMMANDS)]


@functools.cache
def page(name):
    return outboxd("help", "--man", name, expect=0).stdout


def file_of(name, tmp_path):
    path = tmp_path / f"{name}.{5 if name == 'outboxd.conf' else 1}"
    path.write_text(page(name))
    return path


def shown(name, tmp_path, width=80):
    """The page as man shows it."""
    path = file_of(name, tmp_path)
    done = subprocess.run(["man", "-l", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "MANROFFOPT": "-ww", "MAN_KEEP_FORMATTING": ""})
    assert done.stderr == "", done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean_for_mandoc_and_for_groff(name, tmp_path):
    path = file_of(name, tmp_path)
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert lint.returncode == 0 and lint.stdout == "", lint.stdout
    groff = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert groff.returncode == 0 and groff.stdout == "", groff.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_terminal(name, tmp_path):
    for line in shown(name, tmp_path).splitlines():
        assert len(line) <= 80, line


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_says_what_its_help_says(command, tmp_path):
    text = " ".join(shown(f"outboxd-{command}", tmp_path, 500).split())
    usage, rest = outboxd("help", command, expect=0).stdout.split("\n\n", 1)
    for form in re.findall(r"outboxd [a-z].*?(?=\n *outboxd |\Z)", usage, re.S):
        assert " ".join(form.split()) in text, form
    for paragraph in re.split(r"\n\n|\n(?=  +(?:-|\d))", rest):
        words = " ".join(re.sub(r"^ *(?:-[\w, -]*?--?[\w-]+(?:\[=\w+\]| [A-Z=|a-z]+)?  +|\d+ +)", "", paragraph).replace("`", "").split())
        assert "show this help" in words or words in ("exit codes",) or words in text, words


def test_no_name_is_hyphenated(tmp_path):
    """Names and paths are copied from a page."""
    for name in PAGES:
        whole = set(shown(name, tmp_path, 500).split())
        for width in (60, 72):
            lines = shown(name, tmp_path, width).splitlines()
            for line, following in zip(lines, lines[1:]):
                if re.search(r"\w[-\u2010]$", line):
                    assert line.split()[-1] + following.split()[0] in whole, f"{name}, {width} columns: {line}"


def test_the_page_of_the_file_has_every_option_with_its_variable(tmp_path):
    text = shown("outboxd.conf", tmp_path, 500)
    flat = " ".join(text.split())
    for option in json.loads(outboxd("config", "schema", expect=0).stdout)["options"]:
        name = option["path"].split(".")[-1]
        assert re.search(rf"^ +{re.escape(name)}\b", text, re.M), name
        assert " ".join(option["help"].replace("`", "").split()) in flat, option["help"]
        assert option.get("environment", "") in flat


def test_a_page_or_a_shell_that_there_is_none_of_is_refused():
    assert "--man takes outboxd, outboxd.conf or outboxd-COMMAND, not 'outboxd-tail'" in outboxd("help", "--man", "outboxd-tail", expect=1).stderr
    assert "--completion takes bash, zsh or fish, not 'csh'" in outboxd("help", "--completion", "csh", expect=1).stderr


# -- completions ---------------------------------------------------------------------------------------------------------

# A command line that ends where Tab is pressed, what is offered, and what is not.
LINES = [
    ("outboxd ", {"run", "migrate", "dead", "help"}, {"list", "groups-helper"}),
    ("outboxd mi", {"migrate"}, {"run"}),
    ("outboxd run --", {"--config", "--dsn", "--brokers", "--new-slot"}, {"--print", "--status"}),
    ("outboxd migrate --capture ", {"poll", "wal"}, {"--dsn"}),
    ("outboxd migrate --capture w", {"wal"}, {"poll"}),
    ("outboxd dead ", {"list", "show", "requeue", "discard"}, {"--limit"}),
    ("outboxd dead list --", {"--limit", "--json", "--pipeline"}, {"--yes", "--all"}),
    ("outboxd dead discard --", {"--yes", "--all"}, {"--limit"}),
    ("outboxd dead list --code RECORD_", {"RECORD_TOO_LARGE", "RECORD_KEY_MISSING"}, {"READY"}),
    ("outboxd explain SLOT_MI", {"SLOT_MISSING"}, {"SLOT_LOST"}),
    ("outboxd help ", {"run", "explain"}, {"list"}),
    ("outboxd check -c sho", {"shop.conf"}, {"--dsn"}),
    ("outboxd check --config ", {"shop.conf", "other.conf"}, {"--dsn"}),
]


@functools.cache
def completion(shell):
    return outboxd("help", "--completion", shell, expect=0).stdout


@pytest.fixture
def folder(tmp_path):
    for name in ("shop.conf", "other.conf"):
        (tmp_path / name).write_text("")
    for shell in ("bash", "zsh", "fish"):
        (tmp_path / f"completion.{shell}").write_text(completion(shell))
    (tmp_path / "completion.zsh").rename(tmp_path / "_outboxd")
    return tmp_path


def run(folder, *command, **more):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **more)
    assert done.returncode == 0 and done.stderr == "", done.stderr + done.stdout
    return done.stdout


def bash_offers(folder, line):
    """What bash's own machinery hands to the function, which is what the script registered."""
    words = line.split(" ")
    script = ("source ./completion.bash\ncompopt() { :; }\nCOMP_WORDS=(" + " ".join(f"'{word}'" for word in words) + f")\nCOMP_CWORD={len(words) - 1}\n"
              "complete -p outboxd | grep -q -- '-F _outboxd' || exit 9\n_outboxd\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n")
    return set(run(folder, "bash", "--norc", "-u", "-c", script).split())


def fish_offers(folder, line):
    done = run(folder, "fish", "--no-config", "-c", f"source ./completion.fish; complete -C '{line}'", env={**os.environ, "HOME": str(folder)})
    return {entry.split("\t")[0] for entry in done.splitlines()}


# A zsh of its own behind a terminal of its own: it is given the line and Tab, and lists what it would offer. Not before it edits: until then,
# the terminal itself takes ^U for the end of all that was typed.
ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PROMPT= RPS1= fpath=($PWD \$fpath); autoload -Uz compinit && compinit -u -D -d $PWD/dump; cd $PWD; LISTMAX=0 COLUMNS=200"
zpty -w z "zstyle ':completion:*' list-grouped false; zstyle ':completion:*' force-list always; setopt noalwayslastprompt nolistbeep"
zpty -w z "compadd() { builtin compadd -O offered \"\$@\"; print -rl -- \$'\\x01'\$^offered; builtin compadd \"\$@\" }"
zpty -w z "zle-line-init() { print -n EDITING }; zle -N zle-line-init; bindkey '^I' list-choices; print RE''ADY"
zpty -r -m z line '*READY*EDITING*'
zpty -w -n z "$1"$'\t'
zpty -w -n z $'\x15print DO\'\'NE\n'
zpty -r -m z line '*DONE*'
print -r -- "$line"
zpty -d z
"""


def zsh_offers(folder, line):
    (folder / "ask.zsh").write_text(ZSH)
    text = run(folder, "zsh", "-f", str(folder / "ask.zsh"), line, env={**os.environ, "TERM": "dumb", "HOME": str(folder)})
    return set(re.findall("\x01([^\r\n]+)", text))


@pytest.mark.parametrize("line, some, none", LINES)
@pytest.mark.parametrize("offers", [bash_offers, fish_offers, zsh_offers], ids=["bash", "fish", "zsh"])
def test_a_shell_completes(folder, offers, line, some, none):
    offered = offers(folder, line)
    assert some <= offered and not none & offered, offered


def test_bash_completes_what_follows_an_equals_sign(folder):
    """bash breaks the word there: "--capture", "=", "w"."""
    script = ("source ./completion.bash\nCOMP_WORDS=(outboxd migrate --capture = w)\nCOMP_CWORD=4\n_outboxd\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
              "COMP_WORDS=(outboxd migrate --capture =)\nCOMP_CWORD=3\n_outboxd\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n")
    assert run(folder, "bash", "--norc", "-u", "-c", script).split() == ["wal", "poll", "wal"]


def test_the_build_makes_a_page_for_each_command():
    """CMake takes the list of commands from relay/app/commands.h, and adds help."""
    with open(os.path.join(ROOT, "relay", "app", "commands.h"), encoding="utf-8") as f:
        listed = [name.lower() for name in re.findall(r"^ +X\(([A-Z]+)\)", f.read(), re.M)]
    assert [*listed, "help"] == COMMANDS
