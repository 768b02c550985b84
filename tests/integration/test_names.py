"""Names of metrics with their labels and types, and of keys in JSON objects, beside tests/fixtures/names: scripts of others rely on them.

Each list is what several relays in several situations tell together; `tests/run names --renew` writes them anew.
"""

import json

import pytest

from support import names
from support.common import eventually
from support.relay import outboxd

ASIDE = {"on_poison": "dead_letter", "on_unrouted": "dead_letter"}


def emit(database, key, aggregate="order", **more):
    extra = "".join(f", {name} => %s" for name in more)
    database.execute(f"SELECT outbox.emit('order.placed', %s, %s, '{{}}'{extra})", (aggregate, str(key), *more.values()))


@pytest.fixture
def groups(kafka, prefix):
    """What a consumer group committed of a topic."""
    from confluent_kafka import Consumer, TopicPartition
    client = Consumer({"bootstrap.servers": kafka.brokers, "group.id": f"{prefix}-billing", "enable.auto.commit": False})
    yield lambda topic: client.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    client.close()


def same(name, collected):
    found = names.check_or_renew(name, collected.lines())
    assert not found, "\n".join(found) + "\nIf that is meant: tests/run names --renew, and say so in CHANGELOG.md"


def looked_at(one, metrics, status):
    metrics.add(one.http("/metrics")[1])
    status.add(one.status())


def waits_for_its_topic(one):
    return one.status()["pipelines"][0]["waiting"]


def pauses(one):
    return isinstance(one.status()["pipelines"][0]["paused"], dict)


@pytest.mark.own_broker
def test_metrics_and_keys_are_those_that_were_promised(relay, wal_relay, wal, tables, kafka, database, prefix, groups):
    metrics, status, command = names.Metrics(), names.Keys(), names.Keys()
    topic = kafka.create_topic(f"{prefix}.order")
    groups(topic)
    monitor = {"consumer_groups": [f"{prefix}-*"], "groups_interval": "500ms"}

    # One that polls: events, a missing topic, dead letters, a group that is behind.
    one = relay({**ASIDE, "retain": "7d"}, monitor=monitor).start()
    emit(database, 1)
    emit(database, 2, headers='{"a b": "\\n"}')
    emit(database, 3, aggregate="missing")
    one.wait_published(2)
    eventually(lambda: waits_for_its_topic(one), what="an event waits for its topic")
    eventually(lambda: one.status()["consumer_groups"]["groups"], what="the group is seen")
    eventually(lambda: one.metrics().has("outboxd_backlog_events"), what="the watch has looked")
    eventually(lambda: one.metrics().has("outboxd_rdkafka_rtt_seconds"), 60, what="librdkafka has told its statistics")
    looked_at(one, metrics, status)
    command.add(json.loads(outboxd("status", "--json", "-c", one.config_path).stdout))

    # Paused, and without its broker.
    outboxd("pause", "-c", one.config_path, "--reason", "names", expect=0)
    eventually(lambda: pauses(one), what="it is paused")
    looked_at(one, metrics, status)
    outboxd("resume", "-c", one.config_path, expect=0)
    with kafka.away():
        emit(database, 4)
        eventually(lambda: one.status()["pipelines"][0]["error"], 60, what="it is troubled")
        looked_at(one, metrics, status)
    one.stop()

    # Nobody answers: what the command finds by itself.
    alone = names.Keys()
    alone.add(json.loads(outboxd("status", "--json", "-c", one.config_path, expect=None).stdout))
    same("status_alone", alone)

    # One that reads the log, and what stands by beside it.
    # (Not awaited as ready: the event without a topic keeps it from that once it is seen.)
    first = wal_relay(ASIDE).start(wait_ready=False)
    wal.wait_begun()
    emit(database, 5)
    wal.wait_confirmed()
    second = wal_relay(ASIDE).start(wait_ready=False)
    eventually(lambda: second.status()["pipelines"][0]["holder"], what="it stands by")
    eventually(lambda: first.metrics().has("outboxd_slot_retained_wal_bytes"), what="the watch has looked at the slot")
    for each in (first, second):
        looked_at(each, metrics, status)
        command.add(each.status())

    # One that captures tables, in its first snapshot and behind it.
    for name, topic_is_there in (("item", True), ("late", False)):
        tables.create(name, "id int PRIMARY KEY", f"INSERT INTO {name} SELECT generate_series(1, 3)", topic=topic_is_there)
    tables.publish()
    third = tables.relay([{"table": "public.item"}, {"table": "public.late"}]).start(wait_ready=False)
    eventually(lambda: third.metric("snapshot_tables_published") == 1, what="the first table is published, the second one waits for its topic")
    looked_at(third, metrics, status)
    kafka.create_topic(tables.topic("late"))
    third.wait_log("STREAM_STARTED")
    database.execute("DELETE FROM item")
    eventually(lambda: third.metric("table_changes_total") == 3, what="the deletes are read")
    looked_at(third, metrics, status)
    same("metrics", metrics)
    same("status", status)
    for path in command.types:
        assert path in status.types, f"'{path}' is a key of `status --json` and none of /status"


def test_keys_of_dead_letters_are_those_that_were_promised(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order", config={"max.message.bytes": "3000"})
    one = relay(ASIDE).start()
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', %s, headers => '{\"a\": \"b\"}')", (json.dumps({"text": "x" * 4000}),))
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="it is set aside")
    for name, words in (("dead_list", ["list"]), ("dead_show", ["show", "1"]), ("dead_requeue", ["requeue", "1"])):
        keys = names.Keys()
        for line in outboxd("dead", words[0], "-c", one.config_path, *words[1:], "--json", expect=0).stdout.splitlines():
            keys.add(json.loads(line))
        same(name, keys)
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.dead_letter") == 1, what="it is set aside again")
    keys = names.Keys()
    for line in outboxd("dead", "discard", "-c", one.config_path, "--all", "--yes", "--json", expect=0).stdout.splitlines():
        keys.add(json.loads(line))
    same("dead_discard", keys)
