"""Settings that an administrator gives a database or its roles: how values are printed, how SQL is read, what a session may."""

import json

import pytest

from support.common import eventually
from support.consume import headers_of, read_topics
from support.postgres import APP, RELAY, SUPERUSER
from support.relay import outboxd

PRINTED = {"DateStyle": "'SQL, DMY'", "IntervalStyle": "'iso_8601'", "TimeZone": "'Asia/Kathmandu'", "bytea_output": "'escape'", "extra_float_digits": "-15",
           "quote_all_identifiers": "on", "xmlbinary": "'hex'", "lc_numeric": "'C'"}
READ = {"standard_conforming_strings": "off", "escape_string_warning": "off", "backslash_quote": "on", "transform_null_equals": "on", "array_nulls": "off",
        "default_transaction_isolation": "'serializable'", "default_transaction_deferrable": "on", "plan_cache_mode": "'force_generic_plan'",
        "geqo_threshold": "2", "enable_indexscan": "off", "enable_seqscan": "off", "jit_above_cost": "0", "work_mem": "'64kB'", "client_min_messages": "'debug1'"}
ALLOWED = {"default_transaction_read_only": "on", "statement_timeout": "'2s'", "lock_timeout": "'1s'", "idle_in_transaction_session_timeout": "'1s'",
           "synchronous_commit": "off", "row_security": "off", "tcp_user_timeout": "1000"}


@pytest.mark.parametrize("settings", [PRINTED, READ, ALLOWED], ids=["printed", "read", "allowed"])
def test_what_a_role_is_given_changes_nothing(captured, database, kafka, prefix, settings):
    for name, value in settings.items():
        database.execute(f'ALTER ROLE {RELAY} IN DATABASE "{database.name}" SET {name} = {value}', user=SUPERUSER)
    kafka.create_topic(f"{prefix}.order")
    one = captured({"on_poison": "dead_letter"}).start()
    rows = database.execute("SELECT outbox.emit('order.placed', 'order', 'o-' || n, jsonb_build_object('n', n, 'text', E'\\\\ '' \"'), "
                            "occurred_at => '2026-11-29 01:02:03.456789+00', headers => '{\"a\": \"\\\\\"}')::text FROM generate_series(1, 20) AS n", user=APP)
    ids = {row[0] for row in rows}
    poison = database.scalar("INSERT INTO outbox.event (event_id, event_type, aggregate_type, aggregate_id, payload_bytes) "
                             "VALUES (gen_random_uuid(), 'a.b', 'no topic!', 'p', '\\x00ff5c27') RETURNING event_id::text", user=SUPERUSER)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL") == 0, 30, lambda: f"marked\n{one.log_tail()}")
    records = read_topics(kafka.brokers, [f"{prefix}.order"])
    found = [headers_of(record) for record in records]
    assert {headers["ce_id"] for headers in found} == ids
    assert {headers["ce_time"] for headers in found} == {"2026-11-29T01:02:03.456789Z"} and {headers["a"] for headers in found} == {"\\"}
    assert sorted(json.loads(record.value)["n"] for record in records) == list(range(1, 21))
    assert {json.loads(record.value)["text"] for record in records} == {"\\ ' \""}
    shown = outboxd("dead", "show", poison, "-c", one.config_path)
    assert shown.returncode == 0 and "00ff5c27" in shown.stdout, shown
    checked = outboxd("check", "-c", one.config_path)
    assert checked.returncode == 0, checked.stdout
    for command in ("pause", "resume"):
        outboxd(command, "-c", one.config_path, expect=0)
    outboxd("dead", "requeue", database.scalar("SELECT id FROM outbox.dead_letter", user=SUPERUSER), "-c", one.config_path, expect=0)
    assert not one.log_lines(" error "), one.log_tail()
    database.execute("DELETE FROM outbox.dead_letter", user=SUPERUSER)
