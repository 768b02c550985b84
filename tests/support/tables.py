"""Capture of ordinary tables as its user sets it up and a consumer of Debezium's records sees it.

    tables = Tables(database, kafka, prefix)        # REPLICATION, rights, topics
    tables.create("item", "id int PRIMARY KEY, name text")
    relay = tables.relay(snapshot="never").start()
    tables.records("item")                          # [{"op": "c", "after": {...}, ...}, ...] in the order of the topic
    tables.state("item")                            # what a consumer that keeps the last value of each key knows
"""

import json

from .common import eventually
from .consume import headers_of, may_have, read_topics, wait_for_records
from .postgres import RELAY
from .relay import configuration

PIPELINE = "catalog"
SLOT = PUBLICATION = "outboxd_catalog"
LOOKS = "500ms"

# Values so large that PostgreSQL keeps them apart, and does not send them for an UPDATE of another column: of each column its type, and the value.
HELD = "__debezium_unavailable_value"
BIG = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 400) g)"
TOASTED = {"t": ("text", BIG), "b": ("bytea", f"{BIG}::bytea"), "j": ("jsonb", f"jsonb_build_object('k', {BIG})"),
           "a": ("text[]", f"ARRAY[{BIG}, 'b']"), "n": ("int[]", "(SELECT array_agg(g * 7919) FROM generate_series(1, 4000) g)")}


def toasted_columns(toasted):
    return ", ".join(f"{name} {kind}" for name, (kind, _) in toasted.items())


def toasted_values(toasted):
    return ", ".join(value for _, value in toasted.values())


def ids(changes):
    """Those of the rows that changes left behind; a delete leaves none."""
    return [change["after"]["id"] for change in changes if change.get("after")]


class Change(dict):
    """A record of a topic: the value of Debezium's form, or None for a tombstone, beside key and headers."""

    def __init__(self, record):
        value = json.loads(record.value) if record.value is not None else {}
        super().__init__(value.get("payload", value))
        self.tombstone = record.value is None
        self.key = json.loads(record.key) if record.key is not None else None
        self.headers = headers_of(record)
        self.header_names = [name for name, _ in record.headers]
        self.topic, self.offset = record.topic, record.offset
        self.raw = (record.key, record.value)

    @property
    def place(self):
        """[end of the transaction before, LSN of the change] as Debezium tells them."""
        return json.loads(self["source"]["sequence"])


class Tables:
    """One database whose tables are captured with one topic each, of one partition."""

    def __init__(self, database, kafka, prefix, make):
        self.database, self.kafka, self.prefix, self._make = database, kafka, prefix, make
        self.execute = database.execute
        database.server.let_replicate(RELAY)
        self.names = []

    def create(self, name, columns, *more, topic=True):
        """A table with its topic; `more` are statements behind it."""
        self.database.execute(f"CREATE TABLE {name} ({columns}); GRANT SELECT ON {name} TO {RELAY}")
        for sql in more:
            self.database.execute(sql)
        self.names.append(name)
        if topic:
            self.kafka.create_topic(self.topic(name))
        return name

    def topic(self, name):
        return f"{self.prefix}.{name if '.' in name else 'public.' + name}"

    def publish(self, *names, second=(), operations="insert, update, delete, truncate"):
        """The administrator's two publications."""
        for publication, tables, publish in ((PUBLICATION, names or self.names, operations), (PUBLICATION + "_inserts", second, "insert, truncate")):
            of = f"FOR TABLE {', '.join(tables)} " if tables else ""
            self.database.execute(f"CREATE PUBLICATION {publication} {of}WITH (publish = '{publish}', publish_via_partition_root = true)")

    def configured(self, mappings=None, **options):
        """The configuration; mappings default to every table of schema public."""
        pipeline = {"name": PIPELINE, "capture": "tables", "topic_prefix": self.prefix, "lease": "3s", "mark_interval": "20ms",
                    "retry_backoff_max": "500ms", "mappings": mappings or [{"table": "public.*"}], **options}
        return configuration(self.database.dsn(), self.kafka.brokers, pipelines=[pipeline], monitor={"interval": LOOKS})

    def relay(self, mappings=None, args=None, env=None, **options):
        """A relay, not started."""
        return self._make(config=self.configured(mappings, **options), args=args, env=env)

    def records(self, name, count=None):
        """The records of a table's topic, at least `count` of them if that is given."""
        topics = [name if name.startswith(self.prefix) or name.startswith("__") else self.topic(name)]
        found = read_topics(self.kafka.brokers, topics) if count is None else wait_for_records(self.kafka.brokers, topics, count)
        return [Change(record) for record in found]

    def state(self, name, changes=None):
        """What is left when each record (those of the topic, or some that were read) is applied to its key in turn."""
        rows = {}
        for change in self.records(name) if changes is None else changes:
            key = json.dumps(change.key)
            if change.get("op") == "t":
                rows.clear()
            elif change.tombstone or change["op"] == "d":
                rows.pop(key, None)
            else:
                rows[key] = change["after"]
        return rows

    def wait_state(self, name, timeout=30):
        """Until the topic says what the table says; the records. What was read and does not say so is read again once there is more."""
        changes = None

        def same():
            nonlocal changes
            if changes is not None and not may_have(self.kafka.brokers, [self.topic(name)], len(changes) + 1):
                return False
            changes = self.records(name)
            mine = [row for row, in self.database.execute(f"SELECT to_jsonb(t) FROM {name} t")]
            return sorted(map(str, self.state(name, changes).values())) == sorted(map(str, mine))
        eventually(same, timeout, f"the topic of {name} says what the table says", interval=0.3)
        return changes
