"""The filter of a mapping, as a consumer sees it: the same rows in the snapshot and in the stream, and what happens when it changes."""

import random
import threading

import psycopg2
import pytest

from support.common import eventually
from support.postgres import RELAY, SUPERUSER
from support.tables import PUBLICATION
from support.wal import Wal

ITEM = "id int PRIMARY KEY, status text NOT NULL, note text"
WHOLE = "ALTER TABLE {} REPLICA IDENTITY FULL"
LIVE = {"table": "public.item", "filter": "status <> 'draft'"}


def kinds(changes):
    return "".join("-" if change.tombstone else change["op"] for change in changes)


def publish(tables, sql="item WHERE (status <> 'draft')"):
    tables.database.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {sql} WITH (publish_via_partition_root = true);"
                            f"CREATE PUBLICATION {PUBLICATION}_inserts WITH (publish = 'insert, truncate')")


@pytest.fixture
def item(tables):
    """Table item, published with its filter, and two rows in it of which one passes."""
    tables.create("item", ITEM, WHOLE.format("item"), "INSERT INTO item VALUES (1, 'live', 'a'), (2, 'draft', 'b')")
    publish(tables)
    return tables


def hint_of(relay, code):
    """The remedy of the last line with that code."""
    line = relay.log_lines(f"code={code}( |$)")[-1]
    return line.split('hint="')[1].replace('\\"', '"')


def run_renewal(tables, hint):
    tables.database.execute(hint[hint.index("BEGIN;"):hint.index("COMMIT;") + len("COMMIT;")], user=SUPERUSER)


def test_snapshot_and_stream_give_the_same_rows(item):
    """A row that comes into the filter is created, one that leaves it is deleted, and TRUNCATE knows no filter."""
    relay = item.relay([{**LIVE, "operations": "cudt"}]).start()
    item.records("item", 1)
    execute = item.database.execute
    for sql in ("INSERT INTO item VALUES (3, 'live', 'c'), (4, 'draft', 'd')", "UPDATE item SET note = 'x'", "UPDATE item SET status = 'live' WHERE id = 2",
                "UPDATE item SET status = 'draft' WHERE id = 1", "UPDATE item SET id = 30 WHERE id = 3", "DELETE FROM item WHERE id = 4",
                "DELETE FROM item WHERE id = 2", "TRUNCATE item", "INSERT INTO item VALUES (9, 'draft', 'z'), (10, 'live', 'z')"):
        execute(sql)
    changes = item.records("item", 14)
    assert kinds(changes) == "rcuucd-d-cd-tc", relay.log_tail()
    assert [change.key and change.key["id"] for change in changes] == [1, 3, 1, 3, 2, 1, 1, 3, 3, 30, 2, 2, None, 10]
    came, left = changes[4], changes[5]
    assert came["before"] is None and came["after"] == {"id": 2, "status": "live", "note": "x"}
    assert left["before"] == {"id": 1, "status": "live", "note": "x"} and left["after"] is None


def test_without_a_replica_identity_any_column_may_be_in_it(tables):
    tables.create("log", "v text, kind int", "INSERT INTO log VALUES ('a', 1), ('b', 2)")
    tables.database.execute(f"CREATE PUBLICATION {PUBLICATION}; CREATE PUBLICATION {PUBLICATION}_inserts FOR TABLE log WHERE (kind = 1) WITH (publish ="
                            " 'insert, truncate')")
    tables.relay([{"table": "public.log", "filter": "kind = 1"}]).start()
    tables.database.execute("INSERT INTO log VALUES ('c', 2), ('d', 1)")
    assert [change["after"]["v"] for change in tables.records("log", 2)] == ["a", "d"]


def test_partitions_are_filtered_by_the_filter_of_their_root(tables):
    """Also where their columns stand in another order."""
    tables.create("part", "id int, status text, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region",
                  "CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu')", "CREATE TABLE part_us (region text NOT NULL, status text, id int NOT NULL)",
                  "ALTER TABLE part ATTACH PARTITION part_us FOR VALUES IN ('us')", WHOLE.format("part_eu"), WHOLE.format("part_us"),
                  "INSERT INTO part VALUES (1, 'live', 'eu'), (2, 'draft', 'eu'), (3, 'live', 'us'), (4, 'draft', 'us')")
    publish(tables, "part WHERE (part.status <> 'draft')")
    tables.relay([{"table": "public.part", "filter": "part.status <> 'draft'"}]).start()
    tables.database.execute("UPDATE part SET status = 'live' WHERE id = 4")
    tables.database.execute("UPDATE part SET region = 'us' WHERE id IN (1, 2)")
    changes = tables.records("part", 6)
    assert kinds(changes) == "rrcd-c" and [change.key["id"] for change in changes] == [1, 3, 4, 1, 1, 1]


def test_rows_move_in_and_out_under_load_and_kills(item):
    """What the topic says is what the filter leaves of the table."""
    rng = random.Random(7)
    execute = item.database.execute
    execute("INSERT INTO item SELECT g, CASE WHEN g % 3 = 0 THEN 'draft' ELSE 'live' END, 'n' FROM generate_series(10, 400) g")
    execute("""CREATE FUNCTION turn(seed float8, size int) RETURNS void LANGUAGE plpgsql AS $$ DECLARE k int; BEGIN PERFORM setseed(seed);
        FOR i IN 1..size LOOP k := 1 + floor(random() * 400);
            CASE floor(random() * 4)::int
                WHEN 0 THEN INSERT INTO item VALUES (k, 'live', i::text) ON CONFLICT (id) DO UPDATE SET status = 'live', note = i::text;
                WHEN 1 THEN UPDATE item SET status = CASE WHEN status = 'live' THEN 'draft' ELSE 'live' END WHERE id = k;
                WHEN 2 THEN DELETE FROM item WHERE id = k;
                ELSE UPDATE item SET note = repeat(i::text, 900), status = CASE WHEN i % 2 = 0 THEN 'draft' ELSE status END WHERE id = k; END CASE;
        END LOOP; END $$""")
    relay = item.relay([LIVE], in_flight_events=200, batch_events=40).start(wait_ready=False)
    stopping = threading.Event()
    turns = []

    def write(seed):
        while not stopping.is_set():
            try:
                execute("SELECT turn(%s, %s)", (seed.random(), seed.choice((1, 3, 30))))
                turns.append(1)
            except psycopg2.errors.DeadlockDetected:
                pass            # of two turns that met

    writers = [threading.Thread(target=write, args=(random.Random(n),), daemon=True) for n in range(2)]
    for writer in writers:
        writer.start()
    for events in (30, 300, 600):       # the first one in the snapshot
        relay.wait_ready().wait_published(events + rng.randint(0, 100), timeout=60)
        relay.kill()
        relay.start(wait_ready=False)
    eventually(lambda: len(turns) > 50, 60, "there was something to follow")
    stopping.set()
    for writer in writers:
        writer.join(60)
    relay.wait_ready()
    mine = {row["id"]: row for row, in execute("SELECT to_jsonb(t) FROM item t WHERE status <> 'draft'")}
    assert len(mine) > 50

    def same():
        return {row["id"]: row for row in item.state("item").values()} == mine
    eventually(same, 60, relay.log_tail)


def test_a_filter_that_changes_is_a_gap_with_a_way_through(item):
    """Each message says what to do next: the SQL, then --new-slot, then every row that passes is there."""
    relay = item.relay([LIVE]).start()
    item.records("item", 1)
    relay.stop()
    relay = item.relay([{**LIVE, "filter": "status <> 'live'"}]).start(wait_ready=False)
    assert relay.wait_exit() == 2
    hint = hint_of(relay, "PUBLICATION_FILTER")
    assert "exit code 4" in hint and "--new-slot" in hint
    run_renewal(item, hint)
    relay.start(wait_ready=False)
    assert relay.wait_exit() == 4
    assert "outboxd run --new-slot" in hint_of(relay, "PUBLICATION_CHANGED")
    relay.args.append("--new-slot")
    relay.start()
    item.database.execute("INSERT INTO item VALUES (5, 'live', 'e'), (6, 'draft', 'f')")
    assert [change["after"]["id"] for change in item.records("item", 3)] == [1, 2, 6]


def test_a_reload_with_another_filter_stops_with_the_sql(item):
    relay = item.relay([LIVE]).start()
    item.records("item", 1)
    relay.reload(item.configured([{**LIVE, "filter": "status <> 'live'"}]), until=None)
    assert relay.wait_exit() == 2
    assert 'ALTER PUBLICATION "outboxd_catalog" ADD TABLE ONLY public.item WHERE (status <> \'live\');' in hint_of(relay, "PUBLICATION_FILTER")


def test_a_reload_with_the_same_filter_in_other_words_goes_on(item):
    relay = item.relay([LIVE]).start()
    item.records("item", 1)
    relay.reload(item.configured([{**LIVE, "filter": "( status != 'draft' )"}]))
    item.database.execute("INSERT INTO item VALUES (3, 'live', 'c')")
    assert [change["after"]["id"] for change in item.records("item", 2)] == [1, 3]


@pytest.mark.parametrize("becomes", ["WHERE (id > 0)", ""])
def test_a_filter_that_somebody_changes_in_the_publication_stops_it(item, becomes):
    relay = item.relay([LIVE]).start()
    item.records("item", 1)
    item.database.execute(f"BEGIN; ALTER PUBLICATION {PUBLICATION} DROP TABLE item; ALTER PUBLICATION {PUBLICATION} ADD TABLE item {becomes}; COMMIT")
    assert relay.wait_exit() == 2
    assert relay.log_lines("code=PUBLICATION_FILTER"), relay.log_tail()


def test_setting_the_same_filter_again_changes_nothing(item):
    relay = item.relay([LIVE]).start()
    item.database.execute(f"ALTER PUBLICATION {PUBLICATION} SET TABLE item WHERE ((status <> 'draft'))")
    item.database.execute("INSERT INTO item VALUES (3, 'live', 'c')")
    item.records("item", 2)
    item.database.execute("ALTER TABLE item REPLICA IDENTITY DEFAULT")
    relay.wait_not_ready("PUBLICATION_IDENTITY")    # a later look saw nothing else
    assert not relay.log_lines("code=PUBLICATION_CHANGED"), relay.log_tail()


def test_an_identity_that_stops_covering_it_is_an_alarm(item):
    """PostgreSQL refuses the application's UPDATE; the relay says so, with the remedy, and goes on by itself."""
    relay = item.relay([LIVE]).start()
    item.database.execute("ALTER TABLE item REPLICA IDENTITY DEFAULT")
    with pytest.raises(psycopg2.Error, match="not part of the replica identity"):
        item.database.execute("UPDATE item SET note = 'x' WHERE id = 1")
    relay.wait_not_ready("PUBLICATION_IDENTITY")
    hint = hint_of(relay, "PUBLICATION_IDENTITY")
    assert "public.item (status)" in relay.log_lines("code=PUBLICATION_IDENTITY")[-1]
    item.database.execute(hint[:hint.index(";")])
    relay.wait_ready()
    item.database.execute("UPDATE item SET note = 'x' WHERE id = 1")
    assert kinds(item.records("item", 2)) == "ru"


def test_it_makes_publications_with_filters_where_it_may(tables):
    """A table that only a pattern means, and that PostgreSQL cannot filter so, holds up none of the others."""
    tables.create("item_a", ITEM, WHOLE.format("item_a"), "INSERT INTO item_a VALUES (1, 'live'), (2, 'draft')")
    tables.create("item_b", "id int PRIMARY KEY, other text", topic=False)
    tables.create("item_c", ITEM, topic=False)
    tables.create("item_d", "status text, v int", "INSERT INTO item_d VALUES ('live', 1), ('draft', 2)")
    config = tables.configured([{"table": "public.item_*", "filter": "status <> 'draft'"}])
    config["database"]["dsn"] = tables.database.dsn(SUPERUSER)
    relay = tables._make(config=config).start(wait_ready=False)
    relay.wait_not_ready("MAPPED_NOT_PUBLISHED")
    assert tables.database.execute("SELECT pubname::text, tablename::text, rowfilter FROM pg_publication_tables WHERE pubname LIKE 'outboxd_catalog%' ORDER BY 2") == [
        ("outboxd_catalog", "item_a", "(status <> 'draft'::text)"), ("outboxd_catalog_inserts", "item_d", "(status <> 'draft'::text)")]
    tables.database.execute("INSERT INTO item_a VALUES (3, 'live'), (4, 'draft'); INSERT INTO item_b VALUES (1, 'x'); UPDATE item_c SET note = 'x'")
    assert [change["after"]["id"] for change in tables.records("item_a", 2)] == [1, 3]
    assert [change["after"]["v"] for change in tables.records("item_d", 1)] == [1]
    said = relay.log_lines("code=MAPPED_FILTER")
    assert any("public.item_b" in line for line in said) and any("public.item_c uses columns outside" in line for line in said), relay.log_tail()


@pytest.mark.parametrize("wrong, why", [("statuz <> 'draft'", "does not exist"), ("id > $1", "parameters"), ("true; SELECT 1", "multiple commands"),
                                        ("random() > 0.5", "not immutable")])
def test_a_named_table_whose_filter_is_wrong_stops_the_start(item, wrong, why):
    relay = item.relay([{**LIVE, "filter": wrong}]).start(wait_ready=False)
    assert relay.wait_exit() == 2
    line = relay.log_lines("code=MAPPED_FILTER")[-1]
    assert f"cannot use the filter of public.item: {wrong}" in line and why in line


def test_a_row_that_makes_the_filter_fail_is_a_gap_with_a_way_through(tables):
    """The server decodes nothing behind it; a snapshot meets it as well, until it is corrected."""
    ratio = {"table": "public.item", "filter": "10 / id > 3"}
    tables.create("item", ITEM, WHOLE.format("item"), "INSERT INTO item VALUES (1, 'a')")
    publish(tables, "item WHERE (10 / id > 3)")
    relay = tables.relay([ratio]).start()
    tables.records("item", 1)
    tables.database.execute("INSERT INTO item VALUES (0, 'a'), (2, 'b'), (9, 'c')")
    assert relay.wait_exit() == 4
    assert "division by zero" in relay.log_lines("code=LOG_FILTER_FAILED")[-1] and "--new-slot" in hint_of(relay, "LOG_FILTER_FAILED")
    relay.args.append("--new-slot")
    relay.start(wait_ready=False)
    assert relay.wait_exit() == 2
    assert "snapshot of public.item: division by zero" in relay.log_lines(" error ")[-1] and "fails for no row" in relay.log_lines(" error ")[-1]
    tables.database.execute("DELETE FROM item WHERE id = 0")
    relay.start()
    assert [change["after"]["id"] for change in tables.records("item", 3)] == [1, 1, 2], relay.log_tail()


def test_the_slot_moves_on_over_rows_that_no_one_wants(item):
    """PostgreSQL sends nothing of a transaction whose rows are all filtered."""
    wal = Wal(item.database, "unused")
    relay = item.relay([LIVE]).start()
    item.records("item", 1)
    item.database.execute("INSERT INTO item SELECT g, 'draft', 'x' FROM generate_series(100, 2000) g")
    wal.wait_confirmed(name="outboxd_catalog")
    assert len(item.records("item")) == 1 and relay.running()


def test_the_stream_needs_no_right_for_a_filter(tables):
    tables.create("item", ITEM, WHOLE.format("item"))
    publish(tables)
    tables.database.execute(f"REVOKE ALL ON item FROM {RELAY}")
    tables.relay([LIVE], snapshot="never").start()
    tables.database.execute("INSERT INTO item VALUES (1, 'live'), (2, 'draft')")
    assert [change["after"]["id"] for change in tables.records("item", 1)] == [1]
