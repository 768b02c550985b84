"""What the benchmarks of ordinary tables share: a table of orders, transactions that fill it, a relay that captures it, its figures."""

import re
import subprocess
import tempfile
import time

from support import relay as support_relay
from support.postgres import RELAY, SUPERUSER
from support.tables import PIPELINE, PUBLICATION

COLUMNS = "id bigint PRIMARY KEY, customer int NOT NULL, status text NOT NULL, total numeric(10,2), placed timestamptz NOT NULL, note text"
ROW = "g, (g % 9973)::int, (ARRAY['placed', 'paid', 'shipped'])[1 + g % 3], (g % 100000) / 100.0, now(), 'note ' || md5(g::text)"
SERVER = {"wal_level": "logical", "max_wal_senders": "10", "max_replication_slots": "10"}

_CPU = re.compile(r"^process_cpu_seconds_total (\S+)$", re.M)


def sql(database, *statements):
    """Each statement in a transaction of its own, as superuser."""
    for statement in statements:
        database.execute(statement, user=SUPERUSER)


def write(database, shape, rows, table="orders", row=ROW, first=1):
    """Inserts `rows` rows from number `first` on, one ("1") or all ("bulk") in a transaction, by one session of the server itself. `row`: of number g."""
    size, last = {"1": 1, "bulk": rows}[shape], first + rows - 1
    script = f"""SET synchronous_commit = off;
        DO $$ DECLARE i bigint := {first}; n bigint; BEGIN
            WHILE i <= {last} LOOP
                n := least({size}, {last} - i + 1);
                INSERT INTO {table} SELECT {row} FROM generate_series(i, i + n - 1) AS g;
                COMMIT;
                i := i + n;
            END LOOP;
        END $$;"""
    subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database.dsn(SUPERUSER)], input=script, text=True, check=True,
                   stdout=subprocess.DEVNULL, timeout=3600)


def publish(database, *tables):
    """The two publications of an administrator, anew, and the right to read."""
    names = ", ".join(f"ONLY {name}" for name in tables)
    sql(database, f"DROP PUBLICATION IF EXISTS {PUBLICATION}", f"DROP PUBLICATION IF EXISTS {PUBLICATION}_inserts",
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {names} WITH (publish_via_partition_root = true)",
        f"CREATE PUBLICATION {PUBLICATION}_inserts WITH (publish = 'insert, truncate', publish_via_partition_root = true)",
        f"GRANT SELECT ON {', '.join(tables)} TO {RELAY}")


def relay(b, prefix, mapping=None, **pipeline):
    """A relay (not started) that captures what `mapping` says (default: the orders) of the database of the benchmark, with lz4."""
    one = {"name": PIPELINE, "capture": "tables", "topic_prefix": prefix, "mappings": [mapping or {"table": "public.orders"}], **pipeline}
    config = support_relay.configuration(b.database.dsn(RELAY), b.kafka.brokers, pipelines=[one], kafka={"properties": ["compression.type=lz4"]})
    return support_relay.Relay(config, tempfile.mkdtemp(prefix="relay-", dir=b.directory))


def forgotten(b):
    """The relay has never been here: no position, no table that was published whole."""
    b.sql("DELETE FROM outbox.position", "DELETE FROM outbox.captured_table")


def look(one):
    """(moment, rows acknowledged, CPU seconds of the process)."""
    code, text = one.http("/metrics")
    assert code == 200, text
    moment, name = time.monotonic(), "outboxd_events_acknowledged_total"
    return moment, support_relay.Metrics.parse(text, name).total(name), float(_CPU.search(text).group(1))


def watched(one, rows, begin, seconds=900):
    """Looks at a relay that was started at `begin` until `rows` rows are acknowledged: its figures, CPU in us a row. `rate` and `cpu` are those between
    the first rows and the last one, `rate_all` and `cpu_all` those from exec on."""
    first = None
    while True:
        if not one.running() or time.monotonic() - begin > seconds:
            raise SystemExit(f"the relay does not finish: {first}\n{one.log_tail()}")
        asked = time.monotonic()
        try:
            now = look(one)
        except OSError:
            time.sleep(0.01)    # not listening yet
            continue
        first = first or (now if now[1] > 0 else None)
        if now[1] >= rows:
            break
        time.sleep(max(0.05, 10 * (now[0] - asked)))    # with thousands of tables a look is long
    between, took = now[1] - first[1], now[0] - first[0]
    whole = {"rate_all": rows / (now[0] - begin), "cpu_all": now[2] * 1e6 / rows, "start": first[0] - begin, "peak": one.memory_kb("VmHWM") / 1024}
    if between == 0:    # too few rows to see any of them come
        return {**whole, "rate": whole["rate_all"], "cpu": whole["cpu_all"]}
    return {**whole, "rate": between / took, "cpu": (now[2] - first[2]) * 1e6 / between}
