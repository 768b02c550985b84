"""outboxd explain, and the check that the table of codes and the sources agree."""

import os

import pytest
from support.log_codes import copied, decisions, differences, remedies, unowned
from support.relay import ROOT, outboxd


def test_a_code_is_explained_whatever_its_case():
    text = outboxd("explain", "kafka_topic_unknown", expect=0).stdout
    assert text.startswith("KAFKA_TOPIC_UNKNOWN (warn)") and "outboxd check --create-topics" in text


def test_an_unknown_code_gets_the_nearest_one():
    assert "did you mean EVENT_UNROUTED?" in outboxd("explain", "EVENT_UNROUTD", expect=1).stderr
    assert "explain --markdown" in outboxd("explain", "XYZ\x1b[2J", expect=1).stderr
    assert "usage" in outboxd("explain", expect=1).stderr and "usage" in outboxd("explain", "A", "B", expect=1).stderr


def test_the_committed_page_is_what_the_program_prints():
    with open(os.path.join(ROOT, "relay", "LOGS.md"), encoding="utf-8") as f:
        assert outboxd("explain", "--markdown", expect=0).stdout == f.read()


def test_the_table_has_every_code_of_the_sources_and_no_other():
    assert differences(ROOT)[0] == []


def test_the_check_sees_codes_that_are_left_over_and_decisions_by_a_text(tmp_path):
    for name in ("relay/base", "relay/pg", "cdc", "packaging"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "packaging/RUNBOOK.md").write_text("OLD_ONE: run it. GONE_ONE: mend it.")
    (tmp_path / "relay/base/error_codes_x.inc").write_text('GROUP("x")\n\nCODE(STARTING, A, B, "info", "m", "see LOST_ONE")\nCODE(OLD_ONE, A, B, "info", "m", "")\n')
    (tmp_path / "cdc/a.c").write_text("log_write(LOG_INFO, NULL, CODE_STARTING, 0); /* CODE_OLD_ONE */ if (strstr(err->message, x)) ...;")
    (tmp_path / "relay/pg/sqlstate.c").write_text("if (strstr(err->message, x)) ...;")
    result, count = differences(tmp_path)
    assert count == 2 and result == [
        "cdc/a.c decides by a text: strstr(err->message, x)",
        "OLD_ONE is in relay/base/error_codes_*.inc, and nothing uses it",
        "RUNBOOK.md sends its reader to GONE_ONE, which is no code",
        "error_codes_x.inc sends its reader to LOST_ONE, which is no code",
    ]


@pytest.mark.parametrize("text, found", [
    ('strcmp(err->code, "A") == 0', 1),
    ('strstr(\n    p->error.message, "(SQLSTATE 55")', 1),
    ('strncmp(error_message(err), "x", 1)', 1),
    ('!strcasecmp("A", error_code_name(err->code))', 1),
    ('strcmp(page->message, "x")', 0),
    ("err->code == CODE_A && strcmp(a, b) == 0", 0),
    ('log_text("was", error_code_name(err->code))', 0),
])
def test_a_decision_by_a_text_is_told_from_other_uses(text, found):
    assert len(decisions(text)) == found


@pytest.mark.parametrize("line, found", [
    ("    Error err;", 1),
    ("    Error err = {0};", 1),
    ("    AUTO_ERROR copy = *err;", 1),
    ("    AUTO_ERROR copy = wal->error;", 1),
    ("    AUTO_ERROR err = {0};", 0),
    ("    AUTO_ERROR copy = error_of(err);", 0),
    ("    const Error *err = &fault->error;", 0),
])
def test_an_error_that_nobody_lets_go_of_is_seen(line, found):
    assert len(unowned("static void f(void)\n{\n" + line + "\n}\n")) == found
    assert unowned("typedef struct A {\n    Error error;\n} A;\nError made(void)\n{\n    Error err = {0};\n    return err;\n}\n") == []


def test_a_hint_that_repeats_a_remedy_is_seen():
    known = remedies('CODE(ONE, A, B, "info", "m",\n     "Do "\n     "this.")\nCODE(TWO, A, B, "info", "m", "")\n')
    assert known == {"Do this."}
    assert copied('error_hint(err, "Do this.");', known) == ["Do this."] and copied('error_hint(&a->error,\n  "Do "\n "this.");', known) == ["Do this."]
    assert copied('error_hint(err, "Do that.");', known) == [] and copied('error_advise(err);', known) == []
