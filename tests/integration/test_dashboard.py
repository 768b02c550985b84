"""Dashboard and alert rules against a real Prometheus that scrapes a real relay: every query returns data, every name exists."""

import json
import math
import os
import re

import pytest

from support.common import eventually
from support.prometheus import RULES, Prometheus
from support.relay import ROOT, configuration

DASHBOARD = os.path.join(ROOT, "packaging", "grafana", "outboxd.json")

# Metrics that dashboard and rules name and that the relay does not expose yet. Shall be empty.
TO_COME = set()
# Only while something is wrong; test_missing_topics.py and test_preconditions.py read them then.
WHEN_WRONG = {"outboxd_topic_waiting_events", "outboxd_precondition_broken"}


def dashboard():
    with open(DASHBOARD, encoding="utf-8") as f:
        return json.load(f)


def queries():
    """[(panel, expression)] of the dashboard, with its variables filled in."""
    found = [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    assert len(found) > 50
    return [(title, expression.replace("$pipeline", ".*").replace("$__rate_interval", "15s")) for title, expression in found]


def names(text):
    """Metric names in PromQL, histograms by their family."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:outboxd|process)_\w+", re.sub(r'"[^"]*"', "", text))}


def rule_expressions():
    with open(RULES, encoding="utf-8") as f:
        return " ".join(re.findall(r"^ +expr: (?:>-\n)?(.*?)^ +(?:for|labels):", f.read(), re.M | re.S))


def test_dashboard_is_what_grafana_imports():
    board = dashboard()
    assert board["title"] == "outboxd" and board["uid"] and "id" not in board and board["schemaVersion"] >= 36
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    assert variables["pipeline"]["multi"] and variables["pipeline"]["includeAll"]
    panels = board["panels"]
    assert [p["title"] for p in panels if p["type"] == "row"] == ["Health", "Freshness", "Throughput", "Errors", "PostgreSQL", "Tables", "Kafka", "Process"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, f"{panel['title']} overlaps"
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}" and target["legendFormat"], panel["title"]


@pytest.fixture
def busy_relay(relay, kafka, database, wal, prefix):
    """A relay with one pipeline of each capture, a consumer group, a limit on what a slot may keep, and one event that Kafka refused.

    emit() makes an event for each pipeline.
    """
    from confluent_kafka import Consumer, TopicPartition
    topics = [kafka.create_topic(f"{prefix}.logged"), kafka.create_topic(f"{prefix}.polled", config={"max.message.bytes": "100000"}),
              kafka.create_topic(f"{prefix}.public.item")]
    database.execute("CREATE TABLE public.other (LIKE outbox.event INCLUDING ALL); GRANT SELECT, UPDATE ON public.other TO shop_relay; "
                     "CREATE TABLE public.item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text); GRANT SELECT ON public.item TO shop_relay; "
                     "INSERT INTO public.item (name) VALUES ('cup')")
    for publication, of in (("outboxd_captured", "FOR TABLE public.item "), ("outboxd_captured_inserts", "")):
        database.execute(f"CREATE PUBLICATION {publication} {of}WITH (publish_via_partition_root = true)")
    config = configuration(database.dsn(), kafka.brokers, pipelines=[
        {"name": "logged", "capture": "wal", "topic": topics[0], "slot": "outboxd_orders", "publication": "outboxd_orders"},
        {"name": "polled", "capture": "poll", "table": "public.other", "topic": topics[1], "sweep_interval": "1s", "on_poison": "dead_letter"},
        {"name": "captured", "capture": "tables", "topic_prefix": prefix, "mappings": [{"table": "public.item"}]}])
    config["monitor"].update(interval="500ms", groups_interval="500ms", consumer_groups=[f"{prefix}-*"])
    with database.server.configured(max_slot_wal_keep_size="4GB"):
        one = relay(config=config).start()

        def emit():
            database.execute("SELECT outbox.emit('a.b', 'order', 'k', '{}'); "
                             "INSERT INTO public.other (event_type, aggregate_type, aggregate_id, payload) VALUES ('a.b', 'order', 'k', '{}'); "
                             "INSERT INTO public.item (name) VALUES ('mug')")
            wal.noise()

        one.emit = emit
        emit()
        eventually(lambda: all(one.metric("events_published_total", topic=topic) for topic in topics), 20, "all pipelines publish")
        kafka.alter_topic(topics[1], max_message_bytes=3000)  # after the relay has read it, so that it is Kafka that refuses

        def refused():
            database.execute("INSERT INTO public.other (event_type, aggregate_type, aggregate_id, payload) "
                             "VALUES ('a.b', 'order', 'too big', to_jsonb(repeat('x', 5000)))")
            return one.metric("events_failed_total") > 0

        eventually(refused, 30, "Kafka refuses an event", interval=0.5)
        eventually(lambda: database.scalar("SELECT count(*) FROM public.other WHERE published_at IS NULL") == 0, 20, "it is set aside")
        group = Consumer({"bootstrap.servers": kafka.brokers, "group.id": f"{prefix}-billing", "enable.auto.commit": False})
        group.commit(offsets=[TopicPartition(topic, 0, 0) for topic in topics], asynchronous=False)
        group.close()
        yield one


def test_every_query_returns_data_and_every_rule_can_be_evaluated(busy_relay):
    with Prometheus([busy_relay]) as prometheus:
        left = dict.fromkeys((q for q in queries() if not names(q[1]) & TO_COME), "not asked yet")

        def all_return_data():
            busy_relay.emit()
            for query in list(left):
                found = prometheus.query(query[1])
                left[query] = f"{query[0]}: {query[1]}: {found}"
                if any(math.isfinite(value) for _, value in found):
                    del left[query]
            return not left

        eventually(all_return_data, 60, lambda: "data for\n" + "\n".join(left.values()), interval=0.3)
        assert prometheus.query('label_values_stand_in{job="none"}') == [], "no data is seen as no data"
        assert {labels["pipeline"] for labels, _ in prometheus.query("outboxd_leader")} == {"logged", "polled", "captured"}

        def unhealthy():
            return {name: f"{r['health']} {r.get('lastError', '')}" for name, r in prometheus.rules().items() if r["health"] != "ok"}

        eventually(lambda: not unhealthy(), 20, lambda: f"every rule evaluates: {unhealthy()}")
        firing = {name for name, rule in prometheus.rules().items() if rule["state"] == "firing"}
        assert not firing, f"nothing is wrong, and yet: {firing}"


def test_every_metric_of_dashboard_and_rules_is_one_that_the_relay_exposes(busy_relay):
    used = names(rule_expressions()) | {name for _, expression in queries() for name in names(expression)}
    assert len(used) > 40 and "outboxd_slot_status" in used

    def exposed():
        busy_relay.emit()
        return set(re.findall(r"^# TYPE (\w+) ", busy_relay.http("/metrics")[1], re.M))

    wanted = used - TO_COME - WHEN_WRONG
    eventually(lambda: wanted <= exposed(), 20, lambda: f"not exposed: {wanted - exposed()}")
    assert not (TO_COME | WHEN_WRONG) & exposed(), "nothing is wrong, and these have come"
    assert WHEN_WRONG <= used
    assert TO_COME <= used, "these are not used"
