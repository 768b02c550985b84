"""`outboxd dead requeue` of a change: the relay reads the row of its key again, and publishes it behind what was published before."""

import json

import pytest

from support.common import eventually, stays_true
from support.postgres import RELAY
from support.proxy import Proxy, answer_to
from support.relay import outboxd

DEAD = {"snapshot": "never", "on_poison": "dead_letter"}
ROW = "id int PRIMARY KEY, name text, note text"
LARGE = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1500) g)"
LETTERS = "SELECT id, requeued_at IS NOT NULL, error_code FROM outbox.dead_letter ORDER BY id"


@pytest.fixture
def small(tables):
    """Table item, whose topic takes records of 20,000 bytes."""
    tables.create("item", ROW, topic=False)
    tables.kafka.create_topic(tables.topic("item"), config={"max.message.bytes": "20000"})
    tables.publish()
    return tables


def letters(tables, count, relay):
    return eventually(lambda: len(found := tables.execute(LETTERS)) == count and (found or True), 20, relay.log_tail)


def requeue(relay, *ids, expect=0):
    return outboxd("dead", "requeue", "-c", relay.config_path, *map(str, ids), expect=expect)


def raise_limit(tables):
    tables.kafka.alter_topic(tables.topic("item"), max_message_bytes=200000)


def kinds(changes):
    return [(change.key["id"], "-" if change.tombstone else change["op"]) for change in changes]


def test_the_row_is_read_as_it_is_now_and_published_beside_the_stream(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}), (2, 'b', NULL)")
    (number, asked, code), = letters(small, 1, relay)
    assert code == "RECORD_TOO_LARGE" and not asked
    small.execute("UPDATE item SET note = 'short' WHERE id = 1")
    assert kinds(small.records("item", 2)) == [(2, "c"), (1, "u")]
    result = requeue(relay, number)
    assert f"requeued {number} catalog c" in result.stdout and "reads its row again" in result.stdout
    read = small.records("item", 3)[2]
    assert read.key == {"id": 1} and read["op"] == "r" and read["before"] is None and read["after"] == {"id": 1, "name": "a", "note": "short"}
    source = read["source"]
    assert source["snapshot"] == "incremental" and source["txId"] is None and source["lsn"] is None and read["transaction"] is None
    assert json.loads(source["sequence"])[1] is None and read.header_names == small.records("item")[0].header_names
    assert letters(small, 0, relay) is True
    small.execute("UPDATE item SET note = 'next' WHERE id = 1")
    assert small.records("item", 4)[3]["after"]["note"] == "next"
    assert relay.log_lines("REQUEUE_READ") and outboxd("dead", "requeue", "-c", relay.config_path, str(number), expect=1).stderr


def test_a_row_that_is_gone_is_resolved_and_one_that_is_still_too_large_is_a_new_letter(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}), (2, 'b', {LARGE}), (3, 'c', {LARGE})")
    ids = [number for number, _, _ in letters(small, 3, relay)]
    small.execute("DELETE FROM item WHERE id = 1; UPDATE item SET note = 'x' WHERE id = 3")
    small.records("item", 3)
    requeue(relay, *ids)
    relay.wait_log("REQUEUE_ROW_GONE.*\"?id")
    (number, asked, code), = eventually(lambda: len(found := small.execute(LETTERS)) == 1 and found, 20, relay.log_tail)
    assert number > ids[-1] and not asked and code == "RECORD_TOO_LARGE"
    assert kinds(small.records("item", 4)) == [(1, "d"), (1, "-"), (3, "u"), (3, "r")]
    stays_true(lambda: [found[0] for found in small.execute(LETTERS)] == [number], 1.2, "nobody asked for the new letter")
    assert len(small.records("item")) == 4
    raise_limit(small)

    def is_published():
        """Until all of them know the new limit, each attempt makes another letter."""
        for number, asked, _ in small.execute(LETTERS):
            if not asked:
                requeue(relay, number)
        return len(small.records("item")) == 5
    eventually(is_published, 60, relay.log_tail, interval=0.5)
    assert kinds(small.records("item"))[4] == (2, "r")
    assert letters(small, 0, relay) is True


def test_requests_wait_for_a_relay(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item SELECT i, 'a', {LARGE} FROM generate_series(1, 150) i")
    letters(small, 150, relay)
    relay.stop()
    small.execute("UPDATE item SET note = 'x'")
    outboxd("dead", "requeue", "-c", relay.config_path, "--all", expect=0)
    assert small.database.scalar("SELECT count(*) FROM outbox.dead_letter WHERE requeued_at IS NOT NULL") == 150
    shown = outboxd("dead", "show", "-c", relay.config_path, str(small.execute(LETTERS)[0][0]), expect=0).stdout
    assert "requeued " in shown and "the relay reads its row again" in shown
    relay.start()
    changes = small.records("item", 300)
    assert letters(small, 0, relay) is True
    for number in range(1, 151):
        assert [change["op"] for change in changes if change.key["id"] == number] in (["u", "r"], ["r", "u"])
    assert all(change["after"]["note"] == "x" for change in changes) and len(small.records("item")) == 300


@pytest.mark.parametrize("fault", ["requeue_read:1:error", "requeue_read:1:kill", "requeue_published:1:kill"])
def test_a_fault_in_the_middle_loses_no_request(small, fault):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}), (2, 'b', {LARGE})")
    ids = [number for number, _, _ in letters(small, 2, relay)]
    small.execute("UPDATE item SET note = 'x'")
    small.records("item", 2)
    relay.stop()
    requeue(relay, *ids)
    relay.start(wait_ready=False, fail_at=fault).wait_struck()
    if fault.endswith("kill"):
        relay.wait_exit()
        relay.start()
    else:
        relay.wait_log("REQUEUE_PUT_OFF")
    assert letters(small, 0, relay) is True
    changes = small.records("item", 4)
    assert {(change.key["id"], change["op"]) for change in changes[2:]} == {(1, "r"), (2, "r")}
    assert len(changes) == 4 or (fault == "requeue_published:1:kill" and len(changes) <= 6)


def test_what_cannot_be_requeued_is_refused_by_name(small):
    small.create("keyless", "name text, note text", "ALTER TABLE keyless REPLICA IDENTITY FULL", topic=False)
    small.kafka.create_topic(small.topic("keyless"), config={"max.message.bytes": "20000"})
    small.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE keyless")
    relay = small.relay([{"table": "public.item"}, {"table": "public.keyless"}], **DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}); INSERT INTO keyless VALUES ('a', {LARGE})")
    (first, _, _), (second, _, _) = letters(small, 2, relay)
    text = requeue(relay, second, expect=1).stderr
    assert "does not name a row by its key" in text and f"outboxd dead discard {second}" in text
    relay.stop()
    other = small.relay([{"table": "public.keyless"}], **DEAD)
    other.start()
    text = requeue(other, first, expect=1).stderr
    assert "no mapping of pipeline 'catalog' matches table public.item" in text and "Add a mapping" in text
    assert not any(asked for _, asked, _ in small.execute(LETTERS))
    small.execute("UPDATE outbox.dead_letter SET requeued_at = now() WHERE id = %s", (first,))
    other.wait_log("REQUEUE_REFUSED.*no mapping matches its table")
    eventually(lambda: [asked for _, asked, _ in small.execute(LETTERS)] == [False, False], 20, other.log_tail)


def test_a_row_that_the_filter_does_not_mean_any_more_is_gone(small):
    """The old rows of the first updates are too large, too: a replica identity of all columns."""
    small.execute("DROP PUBLICATION outboxd_catalog; ALTER TABLE item REPLICA IDENTITY FULL")
    small.execute("CREATE PUBLICATION outboxd_catalog FOR TABLE ONLY item WHERE (item.name = 'a') WITH (publish_via_partition_root = true)")
    relay = small.relay([{"table": "public.item", "filter": "item.name = 'a'"}], **DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}), (2, 'a', {LARGE})")
    small.execute("UPDATE item SET note = 'x'")
    ids = [number for number, _, _ in letters(small, 4, relay)]
    small.execute("UPDATE item SET name = 'b' WHERE id = 1")
    assert kinds(small.records("item", 2)) == [(1, "d"), (1, "-")]
    requeue(relay, *ids)
    assert kinds(small.records("item", 4)) == [(1, "d"), (1, "-"), (2, "r"), (2, "r")]
    assert letters(small, 0, relay) is True and len(relay.log_lines("REQUEUE_ROW_GONE")) == 2 and len(small.records("item")) == 4


def test_a_table_that_was_renamed_is_found(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE})")
    (number, _, _), = letters(small, 1, relay)
    small.kafka.create_topic(small.topic("called"))
    small.execute("UPDATE item SET note = 'x'; ALTER TABLE item RENAME TO called")
    requeue(relay, number)
    read, = small.records("called", 1)
    assert read["op"] == "r" and read["after"]["note"] == "x" and read["source"]["table"] == "called"
    assert letters(small, 0, relay) is True


def test_a_table_that_cannot_be_read_holds_up_no_other(small):
    small.create("other", ROW, topic=False)
    small.kafka.create_topic(small.topic("other"), config={"max.message.bytes": "20000"})
    small.execute("ALTER PUBLICATION outboxd_catalog ADD TABLE other")
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}); INSERT INTO other VALUES (2, 'b', {LARGE})")
    ids = [number for number, _, _ in letters(small, 2, relay)]
    small.execute("UPDATE item SET note = 'x'; UPDATE other SET note = 'x'")
    small.execute(f"REVOKE SELECT ON item FROM {RELAY}")
    requeue(relay, *ids)
    assert kinds(small.records("other", 2)) == [(2, "u"), (2, "r")]
    assert "GRANT SELECT ON public.item TO the role" in relay.wait_log("REQUEUE_PUT_OFF")[-1]
    small.execute(f"GRANT SELECT ON item TO {RELAY}")
    assert kinds(small.records("item", 2)) == [(1, "u"), (1, "r")]
    assert letters(small, 0, relay) is True


def test_a_table_that_somebody_locks_is_tried_again(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE})")
    (number, _, _), = letters(small, 1, relay)
    small.execute("UPDATE item SET note = 'x'")
    small.records("item", 1)
    with small.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        requeue(relay, number)
        assert "lock timeout" in relay.wait_log("code=REQUEUE_PUT_OFF")[0]
    assert kinds(small.records("item", 2)) == [(1, "u"), (1, "r")]
    assert letters(small, 0, relay) is True


def test_a_letter_that_somebody_locks_is_deleted_later_and_published_once(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE})")
    (number, _, _), = letters(small, 1, relay)
    small.execute("UPDATE item SET note = 'x'")
    small.records("item", 1)
    relay.stop()
    requeue(relay, number)
    with small.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE outbox.dead_letter IN SHARE MODE")
        relay.start(wait_ready=False)
        assert "lock timeout" in relay.wait_log("code=REQUEUE_PUT_OFF")[0]
        small.execute("INSERT INTO item VALUES (2, 'b', NULL)")
        small.records("item", 3)
    assert letters(small, 0, relay) is True
    assert kinds(small.records("item")) == [(1, "u"), (1, "r"), (2, "c")]
    assert not relay.log_lines("REQUEUE_KEPT|POSTGRES_LOCK_TIMEOUT")


def test_a_column_that_was_renamed_stays_hidden(small):
    small.execute("ALTER TABLE item ADD secret text")
    relay = small.relay([{"table": "public.item", "exclude_columns": ["secret"], "mask_columns": [{"column": "name", "characters": 3}]}], **DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'hidden', {LARGE}, 'hidden')")
    (number, _, _), = letters(small, 1, relay)
    small.execute("UPDATE item SET note = 'x'; ALTER TABLE item RENAME secret TO other; ALTER TABLE item RENAME name TO title")
    requeue(relay, number)
    read = small.records("item", 2)[1]
    assert read["op"] == "r" and read["after"] == {"id": 1, "title": "***", "note": "x"}


def test_what_changes_while_the_row_is_read_comes_behind_it(small):
    with Proxy(small.database.server.port) as proxy:
        config = small.configured(**DEAD)
        config["database"]["dsn"] = small.database.dsn(port=proxy.port)
        relay = small._make(config=config).start()
        small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE})")
        (number, _, _), = letters(small, 1, relay)
        small.execute("UPDATE item SET note = 'before'")
        small.records("item", 1)
        stalled = proxy.on(answer_to(r"COPY \(SELECT k\.n")).stall()
        requeue(relay, number)
        stalled.wait()
        small.execute("UPDATE item SET note = 'behind'")
        stays_true(lambda: len(small.records("item")) == 1, 1, "the stream is held")
        stalled.release()
        assert [(change["op"], change["after"]["note"]) for change in small.records("item", 3)] == [("u", "before"), ("r", "before"), ("u", "behind")]
        assert letters(small, 0, relay) is True
        relay.stop()


def test_letters_that_are_requeued_under_load(small):
    """Each r is the newest state of its key at its place, and nothing of the stream is lost or repeated."""
    small.execute("ALTER TABLE item ADD n int NOT NULL DEFAULT 0")
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item SELECT i, 'a', {LARGE} FROM generate_series(1, 5) i")
    ids = [number for number, _, _ in letters(small, 5, relay)]
    small.execute("UPDATE item SET note = 'x'")
    for number in range(1, 301):
        small.execute("UPDATE item SET n = %s", (number,))
        if number in (50, 100, 150, 200, 250):
            requeue(relay, ids[number // 50 - 1])
    assert letters(small, 0, relay) is True
    small.execute("UPDATE item SET n = 1000")
    changes = small.records("item", 5 + 1500 + 5 + 5)
    assert sum(change["op"] == "r" for change in changes) == 5
    for key in range(1, 6):
        seen = [(change["op"], change["after"]["n"]) for change in changes if change.key["id"] == key]
        at = next(place for place, (op, _) in enumerate(seen) if op == "r")
        assert seen[at][1] >= seen[at - 1][1], seen[at - 2:at + 3]
        assert [n for op, n in seen if op == "u"] == [0, *range(1, 301), 1000]


def test_rows_of_partitions_odd_keys_and_masks(tables):
    execute = tables.database.execute
    tables.create("parted", "d date, s text, secret text, note text, PRIMARY KEY (d, s)) PARTITION BY RANGE (d",
                  "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')", topic=False)
    tables.kafka.create_topic(tables.topic("parted"), config={"max.message.bytes": "20000"})
    tables.publish("parted")
    mapping = {"table": "public.parted", "mask_columns": [{"column": "secret", "characters": 3}]}
    relay = tables.relay([mapping], transaction_topic=False, **DEAD).start()
    execute(f"INSERT INTO parted VALUES ('2024-02-29', E'it''s \"\\\\ \\u00e9', 'hidden', {LARGE})")
    (number, _, _), = letters(tables, 1, relay)
    event = json.dumps(execute("SELECT to_jsonb(d) FROM outbox.dead_letter d")[0][0])
    assert "hidden" not in event
    execute("UPDATE parted SET note = 'x'")
    tables.records("parted", 1)
    requeue(relay, number)
    read = tables.records("parted", 2)[1]
    assert read["op"] == "r" and read["after"] == {"d": 19782, "s": "it's \"\\ é", "secret": "***", "note": "x"}
    assert read.key == {"d": 19782, "s": "it's \"\\ é"}


def test_a_right_that_is_missing_for_a_while_puts_requests_off(small, postgres):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE})")
    letters(small, 1, relay)
    small.execute("UPDATE item SET note = 'x'")
    small.records("item", 1)
    small.execute("REVOKE SELECT ON outbox.dead_letter FROM outbox_relay")
    small.execute("UPDATE outbox.dead_letter SET requeued_at = now()")
    refused = "FROM outbox.dead_letter d"

    def looks():
        with open(postgres.log_path, encoding="utf-8", errors="replace") as log:
            return sum(refused in line and "requeued_id" in line for line in log)
    before = looks()
    eventually(lambda: looks() > before, 30, "it was looked for, and refused")
    small.execute("GRANT SELECT ON outbox.dead_letter TO outbox_relay")
    assert kinds(small.records("item", 2)) == [(1, "u"), (1, "r")]
    assert letters(small, 0, relay) is True


STAYS = {"swallowed": ("CREATE FUNCTION outbox.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
                       "CREATE TRIGGER keep BEFORE DELETE ON outbox.dead_letter FOR EACH ROW EXECUTE FUNCTION outbox.keep()",
                       "DROP TRIGGER keep ON outbox.dead_letter"),
         "refused": ("CREATE FUNCTION outbox.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'letters are kept'; END $$; "
                     "CREATE TRIGGER keep BEFORE DELETE ON outbox.dead_letter FOR EACH ROW EXECUTE FUNCTION outbox.keep()",
                     "DROP TRIGGER keep ON outbox.dead_letter"),
         "right": ("REVOKE DELETE ON outbox.dead_letter FROM outbox_relay", "GRANT DELETE ON outbox.dead_letter TO outbox_relay")}


@pytest.mark.parametrize("how", STAYS)
def test_a_letter_that_cannot_be_deleted_is_published_once_and_stops_nothing(small, how):
    """Whoever keeps letters for ever: neither does its row come again at each look, nor does the pipeline begin again and again."""
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE}), (2, 'b', {LARGE})")
    first, second = [number for number, _, _ in letters(small, 2, relay)]
    raise_limit(small)
    broken, mended = STAYS[how]
    small.execute(broken)
    requeue(relay, first)
    small.records("item", 1)
    line = relay.wait_log("code=REQUEUE_KEPT")[0]
    assert f"dead_letters={first}" in line and "DELETE" in line
    requeue(relay, second)      # which another look finds
    small.execute("INSERT INTO item VALUES (3, 'c', 'd')")
    eventually(lambda: len(relay.log_lines("code=REQUEUE_KEPT")) == 2, 20, relay.log_tail)
    assert sorted(kinds(small.records("item", 3))) == [(1, "r"), (2, "r"), (3, "c")] and not relay.log_lines("code=PIPELINE_RECOVERED")
    small.execute(mended)
    relay.stop()
    relay.start()
    assert letters(small, 0, relay) is True
    assert sorted(kinds(small.records("item", 5)))[:4] == [(1, "r"), (1, "r"), (2, "r"), (2, "r")], "once more at a start"


def test_a_request_that_a_trigger_discards_is_refused(small):
    relay = small.relay(**DEAD).start()
    small.execute(f"INSERT INTO item VALUES (1, 'a', {LARGE})")
    (number, _, _), = letters(small, 1, relay)
    small.execute(STAYS["swallowed"][0].replace("BEFORE DELETE", "BEFORE UPDATE"))
    result = requeue(relay, number, expect=2)
    assert "a trigger or rule of the table discards it" in result.stderr + result.stdout
