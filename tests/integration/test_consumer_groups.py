"""How far consumer groups are behind: compared with what an independent client finds in Kafka."""

import json
import os
import signal
import time

import pytest

from support.common import at_pace, eventually, process_tree, stays_true
from support.consume import QUIET
from support.relay import outboxd

pytestmark = pytest.mark.own_broker   # a pattern is compared with all groups and topics of the broker
INTERVAL = 0.5  # seconds between two looks


def emit(database, key, payload="{}"):
    database.execute("SELECT outbox.emit('order.placed', 'order', %s, %s)", (str(key), payload))


def watching(*groups, **more):
    return {"listen": "", "consumer_groups": list(groups), "groups_interval": f"{int(INTERVAL * 1000)}ms", **more}


class Group:
    """A consumer group as Kafka sees it: commits what it is told to, without reading."""

    def __init__(self, kafka, name):
        from confluent_kafka import Consumer
        self.name = name
        self.client = Consumer({"bootstrap.servers": kafka.brokers, "group.id": name, "enable.auto.commit": False,
                                "isolation.level": "read_uncommitted"}, logger=QUIET)

    def commit(self, topic, *offsets):
        """The next record to read of partition 0, 1, ..."""
        from confluent_kafka import TopicPartition
        self.client.commit(offsets=[TopicPartition(topic, p, o) for p, o in enumerate(offsets) if o is not None], asynchronous=False)

    def ends(self, topic):
        from confluent_kafka import TopicPartition
        partitions = self.client.list_topics(topic, timeout=10).topics[topic].partitions
        return [self.client.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in sorted(partitions)]

    def lag(self, topic):
        """end - committed, the sum over the partitions with a commit."""
        from confluent_kafka import TopicPartition
        ends = self.ends(topic)
        committed = self.client.committed([TopicPartition(topic, p) for p in range(len(ends))], timeout=10)
        return sum(ends[c.partition] - c.offset for c in committed if c.offset >= 0)


def row(one, group, topic):
    """The row of /status, which must say the same as the metrics; None when there is none."""
    rows = [g for g in one.status()["consumer_groups"]["groups"] if g["group"] == group and g["topic"] == topic]
    return rows[0] if rows else None


def wait_lag(one, group, topic, events, timeout=20):
    def seen():
        found = row(one, group, topic)
        return found if found and found["lag_events"] == events else None
    return eventually(seen, timeout, lambda: f"{group} is {events} behind, says {one.status()['consumer_groups']}")


def wait_up(one, up=True, timeout=20):
    said = {}

    def seen():
        said.update(one.status()["consumer_groups"])
        return said["up"] == up and one.metrics().get(("outboxd_consumer_groups_up", frozenset())) == (1 if up else 0)
    eventually(seen, timeout, lambda: f"consumer groups up={up}, says {said}")
    return said["error"]


def produce(kafka, topic, times, partition=0):
    """Records with these timestamps (seconds since 1970), made by somebody else than the relay."""
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": kafka.brokers}, logger=QUIET)
    for when in times:
        producer.produce(topic, b"x", partition=partition, timestamp=int(when * 1000))
        producer.flush(10)


def test_lag_in_events_is_what_kafka_says(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    other = kafka.create_topic(f"foreign-{prefix}")
    billing, audit = Group(kafka, f"{prefix}-billing"), Group(kafka, f"{prefix}-audit")
    produce(kafka, other, [time.time()] * 5)
    billing.commit(other, 1)
    one = relay(monitor=watching(f"{prefix}-*")).start()
    wait_up(one)
    assert one.status()["consumer_groups"]["groups"] == [], "nothing is written yet"
    for n in range(40):
        emit(database, n)
    one.wait_published(40)
    ends = billing.ends(topic)
    assert sum(ends) == 40 and min(ends) > 2, ends
    billing.commit(topic, ends[0] - 1, ends[1], ends[2] - 2)
    billing.commit(other, 1)
    audit.commit(other, 2)
    assert billing.lag(topic) == 3
    found = wait_lag(one, billing.name, topic, 3)
    assert found["committed"] is True
    metrics = one.metrics()
    assert metrics.total("outboxd_consumer_group_lag_events", group=billing.name, topic=topic) == 3
    assert metrics.has("outboxd_consumer_group_lag_seconds")
    # Neither topics that the relay does not write nor groups that read only those.
    assert [g["topic"] for g in one.status()["consumer_groups"]["groups"]] == [topic]
    for n in range(7):
        emit(database, n)
    wait_lag(one, billing.name, topic, 10)
    assert billing.lag(topic) == 10
    billing.commit(topic, *billing.ends(topic))
    found = wait_lag(one, billing.name, topic, 0)
    assert found["lag_seconds"] == 0


def test_status_without_a_relay_asks_the_brokers_itself(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    produce(kafka, topic, [time.time() - 600] * 3)
    group = Group(kafka, f"{prefix}-billing")
    group.commit(topic, 1)
    one = relay({"topic": topic}, monitor=watching(f"{prefix}-*"))  # never started
    found = json.loads(outboxd("status", "--json", "-c", one.config_path, expect=70).stdout)
    assert found["relay"]["answers"] is False and found["database"]["connected"] is True
    assert found["kafka"]["connected"] is True and found["kafka"]["broker_count"] == 1
    assert len(found["consumer_groups"]["groups"]) == 1, found
    (row,) = found["consumer_groups"]["groups"]
    assert (row["group"], row["topic"], row["lag_events"]) == (group.name, topic, 2) and 590 < row["lag_seconds"] < 660
    text = outboxd("status", "-c", one.config_path, expect=70).stdout
    assert f"kafka {kafka.brokers} (1 broker)" in text and group.name in text
    with kafka.away():
        text = outboxd("status", "-c", one.config_path, expect=70, timeout=60).stdout
        assert f"no Kafka broker of '{kafka.brokers}' answers" in text and "no unpublished events" in text
        assert "remedy  Check kafka.brokers" in text


def test_age_of_records_from_before_the_relay_is_their_timestamp(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.old", partitions=2, config={"message.timestamp.type": "CreateTime", "retention.ms": "-1"})
    now = time.time()
    ages = [90 * 86400, 7200, 3600, 600, 30]
    produce(kafka, topic, [now - a for a in ages])
    produce(kafka, topic, [now - 1800] * 3, partition=1)
    groups = []
    for index in range(len(ages)):
        groups.append(Group(kafka, f"{prefix}-{index}"))
        groups[-1].commit(topic, index, 3)
    late = Group(kafka, f"{prefix}-late")
    late.commit(topic, 4, 1)
    done = Group(kafka, f"{prefix}-done")
    done.commit(topic, 5, 3)
    one = relay({"topic": topic}, monitor=watching(f"{prefix}-*")).start()
    for index, age in enumerate(ages):
        found = wait_lag(one, groups[index].name, topic, len(ages) - index)
        truth = time.time() - (now - age)
        assert abs(found["lag_seconds"] - truth) <= INTERVAL + 0.5, (age, found)
    found = wait_lag(one, late.name, topic, 3)
    assert abs(found["lag_seconds"] - (time.time() - now + 1800)) <= INTERVAL + 0.5, found
    assert wait_lag(one, done.name, topic, 0)["lag_seconds"] == 0
    assert abs(one.metric("consumer_group_lag_seconds", group=late.name) - 1800) < 60


def test_age_of_live_records_is_the_time_since_they_came(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-slow")
    one = relay(monitor=watching(group.name)).start()
    emit(database, 0)
    one.wait_published(1)
    group.commit(topic, 1)
    wait_lag(one, group.name, topic, 0)
    came = []
    for n in range(4):
        emit(database, n)
        one.wait_published(n + 2)
        came.append(time.time())
        # Events come apart: the first that waits is by so much older when the next is written.
        eventually(lambda: (row(one, group.name, topic) or {}).get("lag_seconds", 0) > 1.2 * (n + 1), 20, "time goes by")  # noqa: B023
    for offset, when in enumerate(came, start=1):
        group.commit(topic, offset)
        found = wait_lag(one, group.name, topic, len(came) + 1 - offset)
        assert abs(found["lag_seconds"] - (time.time() - when)) <= at_pace(2 * INTERVAL + 0.3), (offset, found)


def test_group_that_falls_behind_and_one_that_catches_up_are_told_apart(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-indexer")
    one = relay(monitor=watching(group.name, lag_objective="100ms")).start()
    emit(database, 0)
    one.wait_published(1)
    group.commit(topic, 0)
    count = [1]

    def falls():
        emit(database, count[0])
        count[0] += 1
        found = row(one, group.name, topic)
        return found and found["grows"] and found["change_per_second"] > 0

    eventually(falls, 20, "the lag is seen to grow", interval=0.05)
    screen = outboxd("status", "-c", one.config_path).stdout
    assert "consumer groups" in screen and group.name in screen and "falling behind (+" in screen, screen
    end = group.ends(topic)[0]

    def catches():
        group.commit(topic, end - 1)
        found = row(one, group.name, topic)
        return found and not found["grows"] and found["change_per_second"] < 0

    eventually(catches, 20, "the lag is seen to shrink", interval=0.1)
    group.commit(topic, end)
    assert wait_lag(one, group.name, topic, group.ends(topic)[0] - end)


def test_group_that_does_not_exist_has_everything_before_it(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=2)
    one = relay(monitor=watching(f"{prefix}-nobody", f"{prefix}-glob-*")).start()
    for n in range(6):
        emit(database, n)
    one.wait_published(6)
    found = wait_lag(one, f"{prefix}-nobody", topic, 6)
    assert found["committed"] is False and 0 <= found["lag_seconds"] < 60
    assert wait_up(one) is None
    assert len(one.status()["consumer_groups"]["groups"]) == 1
    assert "no offsets" in outboxd("status", "-c", one.config_path).stdout


def test_series_of_a_deleted_group_disappear(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-brief")
    one = relay(monitor=watching(f"{prefix}-*")).start()
    emit(database, 1)
    one.wait_published(1)
    group.commit(topic, 0)
    wait_lag(one, group.name, topic, 1)
    group.client.close()
    kafka.admin().delete_consumer_groups([group.name])[group.name].result(15)
    eventually(lambda: not one.metrics().has("outboxd_consumer_group_lag_events"), 20, "the series is gone")
    assert one.status()["consumer_groups"] == {**one.status()["consumer_groups"], "up": True, "error": None, "groups": []}


def test_nothing_is_asked_or_shown_unless_wanted(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, 1)
    one.wait_published(1)
    assert one.status()["consumer_groups"] is None
    assert not one.metrics().has("outboxd_consumer_groups_up")
    assert "consumer groups" not in outboxd("status", "-c", one.config_path).stdout


def test_missing_acl_is_told_once_with_what_to_grant_and_publishing_goes_on(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    named, globbed = Group(kafka, f"{prefix}-a-named"), Group(kafka, f"{prefix}-b-globbed")
    kafka.grant("relay", topic, "WRITE", "DESCRIBE")
    one = relay(brokers=kafka.sasl_brokers, kafka={"properties": kafka.sasl_properties("relay")},
                monitor=watching(named.name, f"{prefix}-b-*")).start()
    for n in range(5):
        emit(database, n)
    one.wait_published(5)
    named.commit(topic, 1)
    globbed.commit(topic, 2)
    error = eventually(lambda: "DESCRIBE" in (one.status()["consumer_groups"]["error"] or "") and wait_up(one, False), 20,
                       "the missing right is told")
    assert named.name in error, error
    assert "DESCRIBE" in error and "--operation Describe --group" in error, error
    looks = one.status()["consumer_groups"]
    assert looks["groups"] == []
    stays_true(lambda: len(one.log_lines("KAFKA_GROUP_DENIED")) == 1, 4 * INTERVAL, "said once")
    assert outboxd("status", "-c", one.config_path).stdout.count("Describe") == 1
    kafka.grant_group("relay", named.name, "DESCRIBE")
    wait_lag(one, named.name, topic, 4)
    assert f"{prefix}-b-*" in wait_up(one, False)
    kafka.grant_group("relay", f"{prefix}-b-", "DESCRIBE", prefixed=True)
    wait_lag(one, globbed.name, topic, 3)
    assert wait_up(one) is None
    assert len(one.log_lines("CONSUMER_GROUPS_RECOVERED")) == 1
    emit(database, "last")
    one.wait_published(6)


@pytest.mark.slow
def test_broker_that_is_away_hides_the_numbers_after_a_while(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-billing")
    one = relay(monitor=watching(group.name)).start()
    for n in range(4):
        emit(database, n)
    one.wait_published(4)
    group.commit(topic, 1)
    wait_lag(one, group.name, topic, 3)
    kafka.kill()
    try:
        error = wait_up(one, False, 40)
        assert str(kafka.port) in error, error
        eventually(lambda: not one.metrics().has("outboxd_consumer_group_lag_events"), 40, "old numbers are not shown")
        assert one.status()["consumer_groups"]["groups"] == []
        assert one.http("/livez")[0] == 200
        one.wait_log("some consumer groups cannot be seen")
        stays_true(lambda: len(one.log_lines("some consumer groups cannot be seen")) == 1, 4 * INTERVAL, "said once")
    finally:
        kafka.start()
    emit(database, "more")
    one.wait_published(5, 40)
    wait_lag(one, group.name, topic, 4, 40)
    wait_up(one)


def test_broker_that_hangs_holds_up_neither_status_nor_the_end(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-billing")
    one = relay(monitor=watching(group.name)).start()
    emit(database, 1)
    one.wait_published(1)
    group.commit(topic, 0)
    wait_lag(one, group.name, topic, 1)
    with kafka.away():
        wait_up(one, False, 40)
        assert one.http("/status", timeout=1)[0] == 200
    wait_lag(one, group.name, topic, 1)
    wait_up(one)
    with kafka.away():
        one.stop(timeout=5)


def test_topic_that_may_not_be_described_is_named(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-billing")
    kafka.grant_group("relay", group.name, "DESCRIBE")
    one = relay({"topic": topic}, brokers=kafka.sasl_brokers, kafka={"properties": kafka.sasl_properties("relay")},
                monitor=watching(group.name)).start(wait_ready=False)
    error = eventually(lambda: "DESCRIBE" in (one.status()["consumer_groups"]["error"] or "") and wait_up(one, False), 20,
                       "the missing right is told")
    assert f"--operation Describe --topic '{topic}'" in error, error
    kafka.grant("relay", topic, "DESCRIBE", "WRITE")
    assert wait_lag(one, group.name, topic, 0)
    wait_up(one)


def make_groups(kafka, topic, names):
    """Groups that have committed offset 0 of partition 0."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    for name in names:
        wanted = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 0, 0)])
        for future in kafka.admin().alter_consumer_group_offsets([wanted]).values():
            future.result(15)


def test_groups_of_other_topics_do_not_take_the_place_of_ours(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    make_groups(kafka, kafka.create_topic(f"foreign-{prefix}"), [f"{prefix}-{n:03}" for n in range(410)])
    make_groups(kafka, topic, [f"{prefix}-ours"])
    ours, named = f"{prefix}-ours", f"{prefix}-named"
    one = relay(monitor=watching(f"{prefix}-*", named)).start()
    emit(database, 1)
    one.wait_published(1)
    wait_lag(one, ours, topic, 1)

    def in_sight():
        """A group that is named is in every answer. On a busy machine one may come so late that none is shown for a while."""
        groups = one.status()["consumer_groups"]
        shown = {g["group"] for g in groups["groups"]}
        return ours in shown or named not in shown
    stays_true(in_sight, 25 * INTERVAL, "it stays in sight")
    wait_lag(one, ours, topic, 1)
    wait_lag(one, named, topic, 1)
    eventually(lambda: one.status()["consumer_groups"]["groups_left_out"] == 0, what="none is left out")
    refused = "code=CONSUMER_GROUPS_(TOO_MANY|PARTITIONS|HELPER)"
    assert not one.log_lines(refused), one.log_lines(refused)


def test_groups_beyond_the_bound_are_counted_not_looked_at(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    make_groups(kafka, topic, [f"{prefix}-{n:03}" for n in range(203)])
    one = relay(monitor=watching(f"{prefix}-*")).start()
    emit(database, 1)
    one.wait_published(1)
    wait_lag(one, f"{prefix}-199", topic, 1)

    def all_told():
        looks = one.status()["consumer_groups"]
        return len(looks["groups"]) == 200 and looks["groups_left_out"] == 3 and looks["up"]
    eventually(all_told, what=lambda: f"200 are shown and 3 are left out: {one.status()['consumer_groups']}")
    stays_true(lambda: len(one.log_lines("CONSUMER_GROUPS_TOO_MANY")) == 1, 3 * INTERVAL, "said once")
    assert "3 more consumer groups" in outboxd("status", "-c", one.config_path).stdout


def helper_of(one):
    """Process id of the helper, 0 when there is none."""
    with open(f"/proc/{one.pid}/task/{one.pid}/children", "r", encoding="ascii") as f:
        return int((f.read().split() or ["0"])[0])


def test_helper_that_crashes_is_replaced_and_publishing_does_not_notice(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    group = Group(kafka, f"{prefix}-billing")
    one = relay(monitor=watching(group.name)).start()
    emit(database, 1)
    one.wait_published(1)
    group.commit(topic, 0)
    wait_lag(one, group.name, topic, 1)
    first = helper_of(one)
    for n in range(3):
        os.kill(helper_of(one), signal.SIGKILL)
        emit(database, n)
        one.wait_published(n + 2)
        wait_lag(one, group.name, topic, n + 2)
        wait_up(one)
    assert helper_of(one) not in (0, first)
    one.stop()
    assert not os.path.exists(f"/proc/{first}")


def test_helper_ends_with_a_relay_that_is_killed(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay(monitor=watching("x")).start()
    wait_up(one)
    helper = helper_of(one)
    assert helper
    one.kill()
    eventually(lambda: not os.path.exists(f"/proc/{helper}") or "Z" in open(f"/proc/{helper}/stat").read().split(") ")[1][:1], 10,
               "the helper is gone")


def test_check_warns_of_groups_that_may_not_be_described(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    kafka.grant("relay", topic, "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
    one = relay({"topic": topic}, brokers=kafka.sasl_brokers, kafka={"properties": kafka.sasl_properties("relay")},
                monitor=watching(f"{prefix}-named", f"{prefix}-some-*"))
    answer = outboxd("check", "-c", one.config_path, expect=0)
    text = answer.stdout + answer.stderr
    assert f"'{prefix}-named' may not be described" in text and f"--operation Describe --group '{prefix}-named'" in text, text
    assert f"'{prefix}-some-*'" in text and f"--group '{prefix}-some-' --resource-pattern-type prefixed" in text, text
    kafka.grant_group("relay", f"{prefix}-", "DESCRIBE", prefixed=True)

    def content():
        again = outboxd("check", "-c", one.config_path, expect=0)
        return "described" not in again.stderr and "1 consumer group may be described" in again.stdout + again.stderr
    eventually(content, 20, "the grant is seen", interval=0.2)


def test_after_a_restart_the_lag_is_known_without_a_new_event(relay, kafka, database, prefix):
    """Topics of a template are learned from what the groups have committed, for exact names and for globs; others are not ours."""
    first, second = kafka.create_topic(f"{prefix}.order", partitions=2), kafka.create_topic(f"{prefix}.payment")
    foreign = kafka.create_topic(f"other-{prefix}.order")
    groups = [Group(kafka, f"{prefix}-billing"), Group(kafka, f"{prefix}-search-1")]
    one = relay(monitor=watching(f"{prefix}-billing", f"{prefix}-search-*")).start()
    for key in range(6):
        emit(database, key)
    database.execute("SELECT outbox.emit('payment.made', 'payment', '1', '{}')")
    one.wait_published(7)
    produce(kafka, foreign, [time.time()])
    groups[0].commit(first, 0, 0)
    groups[0].commit(foreign, 0)
    groups[1].commit(second, 0)
    wait_lag(one, groups[0].name, first, 6)
    one.stop()
    one.start()
    wait_lag(one, groups[0].name, first, 6)
    wait_lag(one, groups[1].name, second, 1)
    assert row(one, groups[0].name, foreign) is None and row(one, groups[1].name, first) is None
    assert one.metric("consumer_group_lag_events", group=groups[0].name, topic=first) == 6
    wait_up(one)
    one.stop()
    rows = json.loads(outboxd("status", "-c", one.config_path, "--json").stdout)["consumer_groups"]["groups"]
    assert {(r["group"], r["topic"], r["lag_events"]) for r in rows} == {(groups[0].name, first, 6), (groups[1].name, second, 1)}


def test_a_topic_that_a_group_begins_to_consume_later_is_learned(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    produce(kafka, topic, [time.time()] * 3)  # by an earlier life of the relay
    one = relay(monitor=watching(f"{prefix}-late", groups_interval="100ms")).start()
    wait_up(one)
    assert row(one, f"{prefix}-late", topic) is None
    Group(kafka, f"{prefix}-late").commit(topic, 1)
    wait_lag(one, f"{prefix}-late", topic, 2, 30)


def test_the_helper_has_no_environment(relay, kafka, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay(monitor=watching("g"), env={"OUTBOXD_LOG_LEVEL": "info", "PGPASSWORD": "s3cret"}).start()
    wait_up(one)
    helpers = [pid for pid in process_tree(one.pid)[1:] if b"groups-helper" in open(f"/proc/{pid}/cmdline", "rb").read()]
    assert len(helpers) == 1
    with open(f"/proc/{helpers[0]}/environ", "rb") as f:
        assert f.read() == b""
