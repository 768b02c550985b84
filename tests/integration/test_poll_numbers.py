"""Polling, and numbers that do what nobody expects: gaps by the thousand, numbers that go back, numbers drawn long before the INSERT, rows
that a person inserts or unmarks. Without a fault: nothing lost, nothing twice, no order of a key turned, nothing late."""

import json
import re
import threading
import time
from datetime import datetime, timezone

import pytest

from conftest import soak
from support import workload
from support.common import at_pace, eventually, stays_true
from support.consume import headers_of, read_topics, wait_for_records
from support.postgres import RELAY, SUPERUSER
from support.verify import compare, read_truth

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"
SOON = 5  # seconds; far below one sweep_interval (30 s) and unseen_after (15 s)

# emit(key, n): the n-th event of a key. gap(): draws a number and rolls it back.
TOOLS = """
CREATE FUNCTION public.say(key text, n int) RETURNS void LANGUAGE sql AS
    $$ SELECT outbox.emit('order.placed', 'order', key, jsonb_build_object('n', n)) $$;
CREATE PROCEDURE public.say_with_gaps(keys int, first int, last int, every int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN first..last LOOP
        PERFORM public.say('k' || i % keys, i);
        IF i % every = 0 THEN
            BEGIN
                PERFORM public.say('rolled back', 0);
                RAISE EXCEPTION SQLSTATE 'OB001';
            EXCEPTION WHEN SQLSTATE 'OB001' THEN NULL;
            END;
        END IF;
    END LOOP;
END $$;
"""


@pytest.fixture
def tools(database):
    database.execute(TOOLS)
    return database


@pytest.fixture
def session(tools):
    """A cursor whose statements commit by themselves: quicker than a connection for each."""
    connection = tools.connect()
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def say(cursor_or_database, key, n):
    cursor_or_database.execute("SELECT public.say(%s, %s)", (key, n))


def insert(database, seq, key, n, published="NULL"):
    database.execute(f"INSERT INTO outbox.event (seq, event_type, aggregate_type, aggregate_id, payload, published_at) OVERRIDING SYSTEM VALUE "
                     f"VALUES (%s, 'order.placed', 'order', %s, %s, {published})", (seq, key, json.dumps({"n": n})))


def ids(records):
    return [headers_of(r)["ce_id"] for r in records]


def numbers(records, key=None):
    return [json.loads(r.value)["n"] for r in records if key is None or r.key == key.encode()]


def assert_exact(database, records, count):
    """Each event once, and of each key in ascending n."""
    assert len(ids(records)) == len(set(ids(records))) == count
    last = {}
    turned = 0
    for r in records:
        n = json.loads(r.value)["n"]
        turned += n < last.get(r.key, n)
        last[r.key] = n
    assert turned == 0


def all_marked(database, timeout=30):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, what="everything marked")


@pytest.mark.parametrize("savepoints", [2200, soak(6000)])    # in each of two transactions: more gaps than are kept apart (GAPS_MAX)
def test_thousands_of_rolled_back_savepoints_make_no_duplicate(relay, kafka, tools, session, prefix, savepoints):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = relay().start()
    done = threading.Event()

    def others():
        n = 0
        while not done.is_set():
            n += 1
            say(session, "other", n)
        others.count = n

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for first in (1, savepoints + 1):
            tools.execute(f"CALL public.say_with_gaps(7, {first}, {first + savepoints - 1}, 1)")
    finally:
        done.set()
        thread.join()
    one.wait_published(2 * savepoints + others.count, 60)
    all_marked(tools)
    assert_exact(tools, read_topics(kafka.brokers, topic), 2 * savepoints + others.count)


def test_a_long_writer_beside_thousands_of_gaps_makes_no_duplicate(relay, kafka, tools, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = relay().start()
    late = tools.connect(autocommit=False)
    with late.cursor() as cursor:
        say(cursor, "late", 1)
        for part in range(20):    # 3,000 gaps, more than are kept apart (GAPS_MAX)
            tools.execute(f"CALL public.say_with_gaps(50, {part * 300 + 1}, {part * 300 + 300}, 2)")
            say(cursor, "late", part + 2)
        one.wait_published(6000, 60)
        late.commit()
        say(cursor, "late", 22)
        late.commit()
    late.close()
    one.wait_published(6022, 30)
    all_marked(tools)
    assert_exact(tools, read_topics(kafka.brokers, topic), 6022)


def test_late_commits_prepared_transactions_and_long_holders_together(relay, kafka, postgres, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=40)
    one = relay({"poll_interval_max": "5ms"}).start()
    done = threading.Event()
    failures = []

    def holders(number):
        try:
            turn = 0
            connection = database.connect(autocommit=False)
            while not done.is_set():
                turn += 1
                if number == 0:
                    connection.tpc_begin(f"holder-{turn}")
                with connection.cursor() as cursor:
                    for n in range(120):  # its own keys, so that nobody waits
                        cursor.execute("SELECT workload.place(%s, %s)", (31 + number, n))
                        cursor.execute("SAVEPOINT s; SELECT outbox.emit('x', 'order', 'x', '{}'); ROLLBACK TO s; RELEASE s")
                done.wait(0.4)
                if number == 0:
                    connection.tpc_prepare()
                    done.wait(0.2)
                    connection.tpc_commit()
                else:
                    connection.commit()
            connection.close()
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=holders, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    with workload.Writers(database, threads=4, keys=30, longest_ms=15, pause_ms=0):
        eventually(lambda: one.published() >= 2500 or failures, 60, lambda: f"published {one.published()}\n" + one.log_tail())
        done.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    all_marked(database)
    compare(read_truth(database), read_topics(kafka.brokers, topic)).assert_exact()


@pytest.mark.parametrize("statement", ["VACUUM FULL outbox.event", "REINDEX TABLE CONCURRENTLY outbox.event", soak("VACUUM outbox.event"),
                                       soak("CLUSTER outbox.event USING event_pkey"), soak("ANALYZE outbox.event")])
def test_maintenance_under_load_changes_nothing(relay, kafka, postgres, tools, prefix, statement):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = relay().start()
    done = threading.Event()

    def maintain():
        while not done.is_set():
            postgres.execute(statement, dbname=tools.name)
            done.wait(0.05)

    thread = threading.Thread(target=maintain)
    thread.start()
    try:
        for part in range(40):
            tools.execute(f"CALL public.say_with_gaps(20, {part * 40 + 1}, {part * 40 + 40}, 3)")
            one.wait_published(part * 40, 60)    # with the table being rebuilt meanwhile
        one.wait_published(1600, 60)
    finally:
        done.set()
        thread.join()
    all_marked(tools)
    assert_exact(tools, read_topics(kafka.brokers, topic), 1600)


def sweeps(postgres, database, since, until):
    """How many looks at the whole table the relay began between two moments (datetime, UTC), by the server's own log."""
    begun = re.compile(rf"(\S+ \S+) UTC \[\d+\] {database.name} .*statement: .*\"seq\" > {-2**63}\b")
    with open(postgres.log_path, "r", encoding="utf-8", errors="replace") as f:
        times = [datetime.fromisoformat(m.group(1) + "+00:00") for m in map(begun.match, f) if m]
    assert times, "the log shows no look at the whole table"
    return sum(since < at <= until for at in times)


def test_a_row_unmarked_by_hand_far_below_the_top_is_published_by_the_next_sweep(relay, kafka, postgres, tools, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    tools.execute("SELECT public.say('k' || i % 10, i) FROM generate_series(1, 3000) i")
    postgres.execute(f"ALTER ROLE {RELAY} IN DATABASE \"{tools.name}\" SET log_statement = 'all'")
    assert postgres.execute("SHOW log_timezone") in ([("UTC",)], [("Etc/UTC",)])
    one = relay().start()
    all_marked(tools)
    one.wait_looks()    # the bound has moved
    tools.execute("UPDATE outbox.event SET published_at = NULL WHERE seq = 100")
    unmarked = datetime.now(timezone.utc)
    eventually(lambda: one.log_lines("ROWS_SWEPT"), 60,
               lambda: f"swept; published {one.published()}, unpublished {tools.scalar(UNPUBLISHED)}\n{one.log_tail()}")
    found = datetime.fromisoformat(one.log_lines("ROWS_SWEPT")[0].split()[0].replace("Z", "+00:00"))
    assert sweeps(postgres, tools, unmarked, found) <= 2
    assert numbers(wait_for_records(kafka.brokers, topic, 3001))[-1] == 100
    all_marked(tools)
    # Many at once, and more than one page of them.
    tools.execute("UPDATE outbox.event SET published_at = NULL WHERE seq <= 2500 AND seq <> 100")
    records = wait_for_records(kafka.brokers, topic, 5500, timeout=40)
    assert sorted(numbers(records)[3001:]) == [n for n in range(1, 2501) if n != 100]
    all_marked(tools)
    stays_true(lambda: len(read_topics(kafka.brokers, topic)) == 5500, 0.5)


def test_a_mark_that_is_undone_at_once_does_not_publish_in_a_circle(relay, kafka, postgres, tools, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    postgres.execute("CREATE FUNCTION public.undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.published_at := NULL; RETURN new; END $$;"
                     "CREATE TRIGGER undo BEFORE UPDATE ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.undo()", dbname=tools.name)
    relay().start()
    say(tools, "k", 1)
    wait_for_records(kafka.brokers, topic, 1)
    stays_true(lambda: len(read_topics(kafka.brokers, topic)) <= 2, 2)


@pytest.mark.parametrize("busy", [False, True])
def test_restart_identity_keeps_order_and_is_not_late(relay, kafka, postgres, tools, session, prefix, busy):
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    one = relay().start()
    tools.execute("SELECT public.say('before', i) FROM generate_series(1, 1500) i")
    if not busy:
        all_marked(tools)
        one.wait_looks(10)
    postgres.execute("TRUNCATE outbox.event RESTART IDENTITY", dbname=tools.name)
    before = one.published() if not busy else None
    for n in range(1, 2501, 50):
        session.execute(f"SELECT public.say('k' || i % 5, i) FROM generate_series({n}, {n + 49}) i")

    def done():
        records = read_topics(kafka.brokers, topic)
        return len([r for r in records if r.key != b"before"]) == 2500 and records
    records = eventually(done, 15, what="everything arrived")
    mine = [r for r in records if r.key != b"before"]
    assert_exact(tools, mine, 2500)
    assert before is None or before == 1500
    all_marked(tools, SOON)


TOP = 400


@pytest.fixture
def set_back(relay, kafka, postgres, tools, prefix):
    """set_back(by) -> (relay, topic, step): TOP events are published and gone; step(): the sequence begins again so far below its top."""
    def run(by):
        topic = kafka.create_topic(f"{prefix}.order")
        one = relay({"on_publish": "delete"}).start()
        tools.execute(f"SELECT public.say('k' || i % 3, i) FROM generate_series(1, {TOP}) i")
        eventually(lambda: tools.scalar("SELECT count(*) FROM outbox.event") == 0, what="all published")
        one.wait_looks()    # the bound has moved
        return one, topic, lambda: postgres.execute(f"SELECT setval(pg_get_serial_sequence('outbox.event', 'seq'), {TOP - by})", dbname=tools.name)
    return run


@pytest.mark.parametrize("back", [20, 350])
def test_a_sequence_set_back_keeps_the_order_across_the_old_top(set_back, kafka, tools, session, back):
    one, topic, step = set_back(back)
    step()
    one.wait_looks()
    for n in range(TOP + 1, 1001):
        say(session, f"k{n % 3}", n)
    one.wait_published(1000, 20)
    eventually(lambda: tools.scalar("SELECT count(*) FROM outbox.event") == 0, what="all deleted")
    assert_exact(tools, read_topics(kafka.brokers, topic), 1000)


@pytest.mark.parametrize("back", [20, 350])
def test_a_sequence_set_back_and_beyond_the_old_top_between_two_looks(set_back, kafka, tools, session, back):
    """No look can tell then that numbers went back. Nothing is lost or repeated; only events whose numbers were given out again may come
    behind later ones of their key (README)."""
    one, topic, step = set_back(back)
    one.pause()
    step()
    for n in range(TOP + 1, TOP + 1 + back + 100):
        say(session, f"k{n % 3}", n)
    one.resume()
    for n in range(TOP + 1 + back + 100, 1201):
        say(session, f"k{n % 3}", n)
    one.wait_published(1200, 40)
    eventually(lambda: tools.scalar("SELECT count(*) FROM outbox.event") == 0, what="all deleted")
    records = read_topics(kafka.brokers, topic)
    again = [r for r in records if TOP < json.loads(r.value)["n"] <= TOP + back]
    assert_exact(tools, again, back)
    assert_exact(tools, [r for r in records if r not in again], 1200 - back)


def test_rows_inserted_by_hand_with_old_numbers_keep_their_order(relay, kafka, tools, session, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    tools.execute("ALTER TABLE outbox.event ALTER seq RESTART WITH 100000")
    one = relay().start()
    tools.execute("SELECT public.say('k' || i % 10, i) FROM generate_series(1, 2000) i")
    all_marked(tools)
    one.wait_looks(10)
    for n in range(200):
        insert(session, n * 7 - 700, "old", n)
        if n % 20 == 0:
            say(session, "new", n)
    records = wait_for_records(kafka.brokers, topic, 2210, timeout=SOON)
    assert numbers(records, "old") == list(range(200))
    assert_exact(tools, [r for r in records if not r.key.startswith(b"k")], 210)


def test_a_huge_number_inserted_and_deleted_again_makes_nothing_late(relay, kafka, tools, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    say(tools, "k", 1)
    insert(tools, 10**15, "huge", 1)
    wait_for_records(kafka.brokers, topic, 2)
    all_marked(tools)
    tools.execute("DELETE FROM outbox.event WHERE seq = 1000000000000000")
    one.wait_looks(10)  # the numbers below it are given up
    slowest = 0
    for n in range(2, 40):
        began = time.monotonic()
        say(tools, "k", n)
        one.wait_published(n + 1, SOON)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < at_pace(2)
    assert numbers(read_topics(kafka.brokers, topic), "k") == list(range(1, 40))


def test_numbers_drawn_before_the_insert_are_neither_lost_nor_late(relay, kafka, tools, session, prefix):
    """What an ORM does: persist() draws the number, flush() inserts in another order, much later; or each node takes a block of 50."""
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    drawn = [tools.scalar("SELECT nextval(pg_get_serial_sequence('outbox.event', 'seq'))", user=SUPERUSER) for _ in range(2)]
    tools.execute("SELECT public.say('between', i) FROM generate_series(1, 1000) i")
    insert(tools, drawn[1], "A", 2)
    one.wait_published(1001)
    all_marked(tools)
    one.wait_looks(10)  # no transaction is open: the fence passes
    began = time.monotonic()
    insert(tools, drawn[0], "A", 1)
    records = wait_for_records(kafka.brokers, topic, 1002, timeout=SOON)
    assert time.monotonic() - began <= at_pace(SOON)
    assert sorted(numbers(records, "A")) == [1, 2]
    # hi/lo: four nodes with blocks of 50, each uses its own up slowly.
    blocks = {node: [10**6 + (block * 4 + node) * 50 + i for block in range(5) for i in range(50)] for node in range(4)}
    for step in range(250):
        for node in range(4):
            insert(session, blocks[node][step], f"node {node}", step)
    records = wait_for_records(kafka.brokers, topic, 2002, timeout=SOON)
    assert len(set(ids(records))) == 2002
    for node in range(4):
        assert sorted(numbers(records, f"node {node}")) == list(range(250))


@pytest.mark.parametrize("on_publish", ["mark", "delete"])
def test_rows_that_arrive_already_published_are_left_alone(relay, kafka, tools, session, prefix, on_publish):
    topic = kafka.create_topic(f"{prefix}.order")
    one = relay({"on_publish": on_publish, "sweep_interval": "100ms"}).start()
    for n in range(1, 101):
        insert(session, n, "restored", n, "'2020-01-01 00:00:00+00'")
    tools.execute("ALTER TABLE outbox.event ALTER seq RESTART WITH 101")
    say(tools, "new", 1)
    one.wait_published(1)
    stays_true(lambda: len(read_topics(kafka.brokers, topic)) == 1, 1)
    assert tools.scalar("SELECT count(*) FROM outbox.event WHERE published_at = '2020-01-01 00:00:00+00'") == 100
