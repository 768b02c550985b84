"""outboxd explain, and the check that the table of codes and the sources agree."""

import os

from support.log_codes import codes_used, differences
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


def test_the_check_sees_codes_that_are_missing_and_that_are_left_over(tmp_path):
    for name in ("relay/base", "cdc", "packaging"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "packaging/RUNBOOK.md").write_text("OLD_ONE: run it. GONE_ONE: mend it.")
    (tmp_path / "relay/base/log_codes_x.c").write_text('static const LogCode X[] = {\n    {"STARTING", "info",\n    {"OLD_ONE", "info",\n};\n')
    (tmp_path / "cdc/a.c").write_text('log_write(LOG_INFO, NULL, "STARTING", 0); error_set(err, ERROR_FATAL, EXIT_GAP, slow ? "NEW_ONE" : "OTHER_ONE", "x");')
    result, count = differences(tmp_path)
    assert count == 2 and [line.split()[0] for line in result] == ["NEW_ONE", "OTHER_ONE", "OLD_ONE", "RUNBOOK.md"]
    assert result[-1] == "RUNBOOK.md sends its reader to GONE_ONE, which is no code"
    assert codes_used('/* "NO_CODE" */ getenv("NO_COLOR"); error_set(err, A, B,\n "TIMER", "x")') == {"TIMER"}
