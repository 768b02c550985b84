"""SIGHUP: a new configuration is taken over between two batches, or by starting a pipeline anew; a broken one changes nothing. Nothing is lost,
repeated or out of order by it, whatever happens meanwhile."""

import copy
import os
import random
import re
import socket
import time

import pytest

from conftest import CAPTURES, soak
from support import workload
from support.common import at_pace, eventually, free_port, stays_true
from support.consume import headers_of, read_topics
from support.postgres import APP, RELAY, SUPERUSER
from support.relay import migrate, outboxd, write_configuration
from support.trial import Trial
from support.verify import read_truth
from support.wal import SLOT, Wal

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


def changed(one, pipeline=None, index=0, **groups):
    """The configuration of a relay with other options of a pipeline, and of groups."""
    config = copy.deepcopy(one.config)
    config["pipelines"][index].update(pipeline or {})
    for name, options in groups.items():
        config[name] = {**config.get(name, {}), **options} if isinstance(options, dict) else options
    return config


def emit(database, *keys, kind="order"):
    for key in keys:
        database.execute("SELECT outbox.emit('order.placed', %s, %s, '{}')", (kind, str(key)))


def keys(kafka, topic):
    return [r.key.decode() for r in read_topics(kafka.brokers, [topic])]


def all_marked(database, one, timeout=60):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked, left {database.scalar(UNPUBLISHED)}\n{one.log_tail()}")


def assert_kept(one, lines=1):
    """The publisher's lock was never given up."""
    assert len(one.log_lines("code=PIPELINE_ACTIVE ")) == lines, one.log_tail()


def waited_ms(one):
    return [int(re.search(r"waited_ms=(\d+)", line).group(1)) for line in one.log_lines("code=PIPELINE_RELOADED ")]


def assert_in_phases(database, records, topics):
    """Every event once; of each key the versions rise through the topics in the order in which the configuration named them."""
    truth = read_truth(database)
    ids = [headers_of(r)["ce_id"] for r in records]
    assert len(set(ids)) == len(ids), f"{len(ids) - len(set(ids))} duplicated"
    assert set(ids) == set(truth), f"{len(set(truth) - set(ids))} lost"
    newest = {}
    for topic in topics:
        for record, event in ((r, truth[i]) for r, i in zip(records, ids) if r.topic == topic):
            key, version = event["aggregate_id"], event["aggregate_version"]
            assert version == newest.get(key, 0) + 1, f"key {key}: version {version} in {record.topic} after {newest.get(key)}"
            newest[key] = version
    return truth


def test_a_changed_topic_takes_effect_between_two_batches(captured, kafka, database, prefix, capture):
    topics = [kafka.create_topic(f"{prefix}.{n}", partitions=2) for n in range(6)]
    workload.prepare(database, keys=12)
    one = captured({"topic": topics[0]}).start()
    with workload.Writers(database, threads=4, keys=12):
        for topic in topics[1:]:
            count = one.published()
            eventually(lambda: one.published() > count + 20, 30, "it publishes")
            one.reload(changed(one, {"topic": topic}))
    all_marked(database, one)
    assert_in_phases(database, read_topics(kafka.brokers, topics), topics)
    assert_kept(one)
    assert len(one.log_lines("code=PIPELINE_RELOADED .*how=live")) == 5
    assert one.metric("config_reloads_total", result="applied") == 5 and one.metric("events_replayed_total") == 0
    print(f"{capture}: reading paused for {waited_ms(one)} ms")


@pytest.mark.parametrize("storm", [40, soak(400)])
def test_a_storm_of_signals_under_load(captured, kafka, database, prefix, storm):
    """Files that change all the time, what starts anew among them; some are broken."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=12)
    one = captured({"topic": topic}).start()
    good = one.config
    with workload.Writers(database, threads=4, keys=12):
        for n in range(storm):
            one.config = good
            files = [changed(one, {"position_headers": n % 8 == 0}), changed(one, {"batch_events": 100 + n}), "name = ;", None]
            one.reload(files[n % 4], until=None)
            time.sleep(random.Random(n).random() * 0.05)
        one.reload(good)
        count = one.published()
        eventually(lambda: one.published() > count + 20, 30, "it goes on")
    all_marked(database, one)
    assert_in_phases(database, read_topics(kafka.brokers, [topic]), [topic])
    assert one.status()["config"]["refused"] is None


def test_a_broken_file_changes_nothing_and_says_why(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    good = one.config
    line = one.reload(changed(one, {"topc": "elsewhere"}), until="RELOAD_REFUSED")
    assert 'unknown' in line and "outboxd.conf:" in line and "topic" in line, line
    refused = one.status()["config"]["refused"]
    assert "outboxd.conf:" in refused["reason"] and refused["at"].endswith("Z")
    assert one.metric("config_last_reload_successful") == 0 and one.metric("config_reloads_total", result="refused") == 1
    one.reload("this is no configuration", until="RELOAD_REFUSED")
    os.rename(one.config_path, one.config_path + ".away")
    one.reload(until="RELOAD_REFUSED")
    os.rename(one.config_path + ".away", one.config_path)
    # What only librdkafka knows, as `check --offline` does.
    one.config = good
    one.reload(changed(one, kafka={"properties": ["compression.type=brotli"]}), until="RELOAD_REFUSED")
    emit(database, 1)
    one.wait_published(1)
    said = len(one.log_lines("RELOAD_REFUSED"))
    one.reload(changed(one, {f"topc{n}": "elsewhere" for n in range(30)}), until="RELOAD_REFUSED")
    before = one.metric("config_last_reload_success_timestamp_seconds")
    assert "nothing in it has changed" in one.reload(good)
    assert len(one.log_lines("RELOAD_REFUSED")) == said + 20, "not all thirty"
    assert one.status()["config"]["refused"] is None and one.metric("config_last_reload_successful") == 1
    assert one.metric("config_reloads_total", result="unchanged") == 1
    assert one.metric("config_last_reload_success_timestamp_seconds") > before
    assert_kept(one)


def test_properties_that_no_client_can_be_made_of_change_nothing(relay, kafka, database, prefix, tmp_path):
    """Such as an authority's file that is not there: `check --offline` may run where the file is not, the relay may not."""
    kafka.create_topic(f"{prefix}.order")
    one = relay().start()
    emit(database, "1")
    one.wait_published(1)
    bad = changed(one, kafka={"properties": ["security.protocol=ssl", f"ssl.ca.location={tmp_path}/none.pem"]})
    one.reload(bad, until="RELOAD_REFUSED")
    assert "ssl.ca.location" in one.status()["config"]["refused"]["reason"], one.status()["config"]
    emit(database, "2")
    one.wait_published(2)
    assert not one.log_lines("code=KAFKA_CREDENTIALS_RENEWED|how=restarted") and one.metric("config_last_reload_successful") == 0, one.log_tail()
    one.stop()


def test_what_needs_a_restart_is_named_and_the_rest_is_applied(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    other = kafka.create_topic(f"{prefix}.other")
    one = relay().start()
    one.reload(changed(one, {"topic": other}, monitor={"listen": f"127.0.0.1:{free_port()}"}))
    assert one.log_lines("code=RELOAD_NEEDS_RESTART .*monitor.listen")
    assert one.status()["config"]["restart_needed"] == "monitor.listen"
    emit(database, 1)
    one.wait_published(1)
    assert keys(kafka, other) == ["1"]
    line = one.log_lines("code=RELOADING ")[-1]
    assert "pipelines.topic" in line and "listen" not in line, line


def test_what_waits_goes_by_the_new_routes(captured, kafka, database, prefix):
    """Events of a missing topic, and what has none."""
    there = kafka.create_topic(f"{prefix}.there")
    one = captured({"topic": "", "routes": [{"aggregate_type": "order", "topic": f"{prefix}.missing"},
                                            {"aggregate_type": "good", "topic": there}]}).start()
    emit(database, 1, 2, 3)
    emit(database, 4, 5, kind="held")
    emit(database, 6, kind="good")
    one.wait_published(1)
    one.wait_not_ready("missing")
    eventually(lambda: one.metric("waiting_events") == 5, what="all others wait")
    one.reload(changed(one, {"topic": there, "routes": None}))
    emit(database, 7)
    one.wait_published(7)
    assert keys(kafka, there) == ["6", "1", "2", "3", "4", "5", "7"]
    one.wait_ready()
    assert_kept(one)
    all_marked(database, one)


def test_what_waits_in_memory_goes_by_the_new_routes(wal_relay, kafka, database, prefix):
    """With on_publish = "keep" no row tells what is published: events wait in memory for their topic, and come again from the log."""
    there = kafka.create_topic(f"{prefix}.there")
    one = wal_relay({"on_publish": "keep", "topic": f"{prefix}.missing", "routes": [{"aggregate_type": "good", "topic": there}]},
                    args=["--new-slot"]).start()
    emit(database, 1, 2, kind="good")
    one.wait_published(2)
    emit(database, 3, 4)
    emit(database, 5, kind="good")
    one.wait_published(3)
    one.wait_not_ready("missing")
    one.reload(changed(one, {"topic": there}))
    emit(database, 6)
    one.wait_published(6)
    assert keys(kafka, there) == ["1", "2", "5", "3", "4", "6"]
    assert_kept(one)


def test_a_paused_pipeline_takes_it_over_and_stays_paused(captured, kafka, database, prefix):
    old, new = (kafka.create_topic(f"{prefix}.{name}") for name in ("old", "new"))
    one = captured({"topic": old}).start()
    emit(database, 1)
    one.wait_published(1)
    outboxd("pause", "-c", one.config_path, expect=0)
    emit(database, 2)
    one.reload(changed(one, {"topic": new}))
    assert one.status()["pipelines"][0]["state"] == "paused"
    # What starts anew knows that it is paused before it publishes.
    one.reload(changed(one, {"batch_events": 77}))
    stays_true(lambda: one.published() == 1, 0.5, "it stays paused")
    outboxd("resume", "-c", one.config_path, expect=0)
    one.wait_published(2)
    assert keys(kafka, old) == ["1"] and keys(kafka, new) == ["2"]


def test_what_starts_anew_loses_and_repeats_nothing(captured, kafka, database, prefix, capture):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=12)
    one = captured({"topic": topic}).start()
    kept = one.metric("events_published_total")
    with workload.Writers(database, threads=4, keys=12):
        for change in ({"pipeline": {"batch_events": 50}}, {"database": {"statement_timeout": "20s"}}):
            count = one.published()
            eventually(lambda: one.published() > count + 20, 30, "it publishes")
            one.reload(changed(one, **change))
    all_marked(database, one)
    assert_in_phases(database, read_topics(kafka.brokers, [topic]), [topic])
    assert one.metric("events_published_total") > kept, "counters go on"
    assert len(one.log_lines("code=PIPELINE_RELOADED .*how=restarted")) == 2
    print(f"{capture}: started anew after {waited_ms(one)} ms")


def test_other_brokers_and_properties_keep_the_lock_and_repeat_nothing(captured, kafka, database, prefix):
    """A new producer takes over once nothing is out. The sessions with the lock and with the slot are those of before."""
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=12)
    one = captured({"topic": topic}).start()
    sessions = ("SELECT array_agg(DISTINCT pid ORDER BY pid) FROM (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
                " WHERE datname = current_database()) UNION SELECT active_pid FROM pg_replication_slots WHERE database = current_database()) s")
    port = kafka.brokers.rsplit(":", 1)[1]
    changes = [{"properties": ["linger.ms=3"]}, {"brokers": f"localhost:{port}"}, {"properties": ["compression.type=gzip"]}, {"brokers": kafka.brokers, "properties": []}]
    with workload.Writers(database, threads=4, keys=12):
        one.wait_published(20)
        before = database.scalar(sessions, user=SUPERUSER)
        for n, change in enumerate(changes):
            count = one.published()
            eventually(lambda: one.published() > count + 20, 30, "it publishes")
            one.reload(changed(one, kafka=change))
            assert len(one.log_lines("code=KAFKA_CREDENTIALS_RENEWED")) == n + 1, one.log_tail()
            assert database.scalar(sessions, user=SUPERUSER) == before
    all_marked(database, one)
    assert_in_phases(database, read_topics(kafka.brokers, [topic]), [topic])
    assert_kept(one)
    assert one.metric("events_replayed_total") == 0 and not one.log_lines("how=restarted")


def test_a_standby_does_not_take_over_meanwhile(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=12)
    one = captured({"topic": topic, "standby_interval": "20ms"}).start()
    two = captured({"topic": topic, "standby_interval": "20ms"}).start()
    with workload.Writers(database, threads=4, keys=12):
        for n in range(4):
            count = one.published()
            eventually(lambda: one.published() > count + 20, 30, "it publishes")
            one.reload(changed(one, {"position_headers": n % 2 == 0}))
        # The standby takes it over, too, and stays one.
        two.reload(changed(two, {"position_headers": True}))
    all_marked(database, one)
    assert two.published() == 0 and two.status()["pipelines"][0]["state"] == "standby"
    assert_kept(one)
    assert_in_phases(database, read_topics(kafka.brokers, [topic]), [topic])


def second_outbox(database):
    """An outbox of its own in schema audit."""
    migrate(database, "--schema", "audit", "--no-roles", "--relay", RELAY, "--writer", APP)
    return "audit.event"


def test_pipelines_come_and_go(relay, kafka, database, prefix):
    orders, audit = (kafka.create_topic(f"{prefix}.{name}") for name in ("orders", "audit"))
    table = second_outbox(database)
    database.execute("SELECT audit.emit('seen', 'audit', '1', '{}')")
    one = relay({"topic": orders}).start()
    emit(database, 1)
    one.wait_published(1)
    alone = one.config
    both = copy.deepcopy(alone)
    both["pipelines"].insert(0, {**alone["pipelines"][0], "name": "audit", "table": table, "topic": audit})
    assert "+audit" in (one.reload(both) and one.log_lines("code=RELOADING ")[-1])
    one.wait_published(2)
    emit(database, 2)
    one.wait_published(3)
    assert [p["name"] for p in one.status()["pipelines"]] == ["audit", "orders"]
    assert keys(kafka, audit) == ["1"] and keys(kafka, orders) == ["1", "2"]
    one.reload(alone)
    assert one.log_lines("pipeline=audit code=PIPELINE_REMOVED ")
    assert [p["name"] for p in one.status()["pipelines"]] == ["orders"]
    assert not [labels for _, labels in one.metrics() if ("pipeline", "audit") in labels], "its series go, too"
    assert database.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%%/audit%%'",
                           user=SUPERUSER) == 0
    emit(database, 3)
    one.wait_published(3)
    assert_kept_of(one, "orders")
    one.reload(both)
    database.execute("SELECT audit.emit('seen', 'audit', '2', '{}')")
    eventually(lambda: keys(kafka, audit) == ["1", "2"], what="it comes back")


def assert_kept_of(one, pipeline):
    assert len(one.log_lines(f"pipeline={pipeline} code=PIPELINE_ACTIVE ")) == 1, one.log_tail()


def test_a_removed_pipeline_leaves_its_slot_and_everybody_says_so(relay, kafka, database, prefix):
    kafka.create_topic(f"{prefix}.order")
    wal = Wal(database)
    table = second_outbox(database)
    one = relay({**CAPTURES["wal"]}).start()
    emit(database, 1)
    one.wait_published(1)
    both = copy.deepcopy(one.config)
    both["pipelines"].append({"name": "audit", "table": table, "topic": f"{prefix}.order"})
    one.reload(both)
    wal.wait_begun()
    alone = copy.deepcopy(both)
    del alone["pipelines"][0]
    one.reload(alone)
    drop = f"SELECT pg_drop_replication_slot('{SLOT}');"
    assert one.log_lines(rf"code=SLOT_UNREAD .*{re.escape(drop)}")
    wal.noise()
    # The position stands beside the table of the removed pipeline: schema outbox, where those of audit's are looked for last.
    alone["pipelines"].append({"name": "again", "topic": f"{prefix}.order"})
    one.reload(alone)
    eventually(lambda: one.metric("slot_unread_retained_wal_bytes", slot=SLOT, pipeline="orders") > 0, what="the metric")
    assert drop in outboxd("check", "-c", one.config_path, expect=0).stdout
    wal.drop_slot()
    eventually(lambda: not one.metrics().has("outboxd_slot_unread_retained_wal_bytes"), what="it is dropped")
    assert "SLOT_UNREAD" not in outboxd("check", "-c", one.config_path, expect=0).stdout


@pytest.mark.own_broker
def test_a_pipeline_of_another_name_waits_for_the_one_that_it_was(wal_relay, kafka, database, wal, prefix):
    """Which still reads the table, as the broker is away: kept rows, and messages, are all in its slot."""
    topic = kafka.create_topic(f"{prefix}.order")
    options = {"on_publish": "keep", "messages": True, "publication": "outboxd_orders", "topic": topic}
    one = wal_relay(options, on_failure="stop").start()
    emit(database, *range(20))
    one.wait_published(20)
    with kafka.away():
        emit(database, 20)
        eventually(lambda: one.metric("inflight_events") == 1, 20, one.log_tail)
        one.reload(changed(one, {"name": "renamed"}), until="RELOADING")
        database.execute("SELECT outbox.emit_message('order.placed', 'order', '21', '{}')")
        stays_true(lambda: not one.log_lines("pipeline=renamed code=(SLOT_CREAT|PIPELINE_ACTIVE)"), 2)
    one.wait_log("pipeline=renamed code=PIPELINE_RENAMED", 30)
    assert [name for name, in database.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")] == [SLOT]
    assert one.wait_exit() == 4
    # The way back that the line shows.
    database.execute("UPDATE outbox.position SET pipeline = 'renamed' WHERE pipeline = 'orders'", user=SUPERUSER)
    wal_relay({**options, "name": "renamed", "slot": SLOT}).start()
    eventually(lambda: len(keys(kafka, topic)) >= 22, 30, one.log_tail)
    assert keys(kafka, topic) == [str(n) for n in range(22)]


@pytest.mark.own_broker
def test_nothing_starts_behind_what_cannot_start_and_ends_the_relay(wal_relay, kafka, database, wal, prefix, tmp_path):
    """Both wait for one that leaves; a third one drains meanwhile."""
    orders, audit = (kafka.create_topic(f"{prefix}.{name}") for name in ("orders", "audit"))
    one = wal_relay({"on_publish": "keep", "topic": orders}, on_failure="exit", shutdown_timeout="15s").start()
    others = copy.deepcopy(one.config)
    others["pipelines"] = [{**one.config["pipelines"][0], "name": name, "sink": "file", "file": {"path": str(tmp_path / name)}} for name in ("a", "b")]
    for config in (one.config, others):
        config["pipelines"].append({"name": "audit", "table": second_outbox(database) if config is one.config else "audit.event", "topic": audit})
    one.reload(copy.deepcopy(one.config))
    wal.wait_begun()
    with kafka.away():
        emit(database, 1)
        eventually(lambda: one.metric("inflight_events") == 1, 20, one.log_tail)
        one.reload(others, until="RELOADING")
        (tmp_path / "a").mkdir()
    assert one.wait_exit(10) == 1, "what is wrong with a file is its configuration's"
    assert one.log_lines("pipeline=a code=FILE_UNWRITABLE") and not one.log_lines("pipeline=b"), one.log_tail()


def test_what_cannot_start_stops_alone_and_a_reload_starts_it_again(relay, kafka, database, prefix):
    """A slot of another name is a gap: the events behind it have another reader's place."""
    orders, audit = (kafka.create_topic(f"{prefix}.{name}") for name in ("orders", "audit"))
    Wal(database)
    table = second_outbox(database)
    one = relay({**CAPTURES["wal"], "topic": orders})
    good = one.config
    good["pipelines"].append({"name": "audit", "table": table, "topic": audit, "poll_interval_max": "100ms"})
    write_configuration(one.config_path, good)
    one.start()
    emit(database, 1)
    one.wait_published(1)
    one.reload(changed(one, {"slot": "elsewhere"}))
    eventually(lambda: one.status()["pipelines"][0]["state"] == "failed", what="it stops")
    assert one.status()["pipelines"][0]["error"]["code"].startswith("SLOT_"), one.status()["pipelines"][0]["error"]
    database.execute("SELECT audit.emit('seen', 'audit', '1', '{}')")
    eventually(lambda: keys(kafka, audit) == ["1"], what="the other one goes on")
    assert_kept_of(one, "audit")
    emit(database, 2)
    one.reload(good)
    eventually(lambda: keys(kafka, orders) == ["1", "2"], what="with its slot it goes on where it was")
    assert one.stop() == 0, "what failed is forgotten"


def test_a_new_password_is_used_by_the_next_connection(captured, kafka, database, prefix, tmp_path):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    role = "rotated_relay"
    secret = tmp_path / "password"
    secret.write_text("first\n")
    secret.chmod(0o600)
    database.execute(f"DROP ROLE IF EXISTS {role}", user=SUPERUSER)
    database.execute(f"CREATE ROLE {role} LOGIN REPLICATION IN ROLE outbox_relay PASSWORD 'first'", user=SUPERUSER)
    try:
        workload.prepare(database, keys=12)
        server = database.server
        one = captured({"topic": topic}, dsn=f"host=127.0.0.1 port={server.port} dbname={database.name} user={role}",
                       database={"password_file": str(secret)}).start()
        with workload.Writers(database, threads=3, keys=12):
            one.wait_published(20)
            database.execute(f"ALTER ROLE {role} PASSWORD 'second'", user=SUPERUSER)
            secret.write_text("second\n")
            one.reload()
            assert_kept(one)
            database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,), user=SUPERUSER)
            eventually(lambda: len(one.log_lines("code=PIPELINE_RECOVERED ")) > 0, 30, lambda: f"it is back\n{one.log_tail()}")
        all_marked(database, one)
        assert_in_phases(database, read_topics(kafka.brokers, [topic]), [topic])
        assert not one.log_lines("second") and not one.log_lines("POSTGRES_AUTHENTICATION")
        eventually(lambda: one.metric("watch_up") == 1, what="the watch connects with it, too")
        one.stop()
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}", user=SUPERUSER)


def test_brokers_that_were_wrong_are_corrected_by_a_reload(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    one = captured({"topic": topic}, brokers=f"127.0.0.1:{free_port()}").start(wait_ready=False)
    emit(database, 1, 2)
    one.wait_log("code=KAFKA_UNREACHABLE")
    one.reload(changed(one, kafka={"brokers": kafka.brokers}))
    one.wait_published(2)
    assert keys(kafka, topic) == ["1", "2"]
    assert not one.log_lines("DRAIN_INCOMPLETE")


@pytest.mark.own_broker
def test_a_broker_that_is_away_is_waited_for_and_that_is_said(captured, kafka, database, prefix):
    old, new = (kafka.create_topic(f"{prefix}.{name}") for name in ("old", "new"))
    one = captured({"topic": old}).start()
    emit(database, 1)
    one.wait_published(1)
    with kafka.away():
        emit(database, *range(2, 30))
        eventually(lambda: one.metric("inflight_events") > 0, what="events are on their way")
        one.reload(changed(one, {"topic": new}), until="RELOAD_WAITS")
        assert one.status()["config"]["reloading"] is True
    eventually(lambda: one.log_lines("code=RELOADED "), 60, lambda: f"it goes over\n{one.log_tail()}")
    emit(database, 30)
    one.wait_published(30, 60)
    assert keys(kafka, old) + keys(kafka, new) == [str(n) for n in range(1, 31)]
    assert "30" in keys(kafka, new)
    assert_kept(one)


@pytest.mark.parametrize("kills", [4, soak(40)])
def test_a_kill_during_a_reload_costs_no_more_than_any_kill(captured, kafka, database, prefix, kills):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    one = captured({"topic": topic, "in_flight_events": 20, "batch_events": 10}).start()
    trial = Trial(database, one)
    with trial.one_connection():
        for n in range(kills):
            trial.emit(60)
            one.reload(changed(one, {"position_headers": n % 2 == 0} if n % 4 < 2 else {"batch_events": 10 + n % 8}), until=None)
            time.sleep(random.Random(n).random() * 0.1)
            one.kill()
            one.start()
        trial.emit(10)
    all_marked(database, one)
    trial.result(read_topics(kafka.brokers, [topic])).assert_none_lost(duplicates=20 * kills, inverted=20 * kills)


def test_systemd_is_told(relay, kafka, database, prefix, tmp_path):
    kafka.create_topic(f"{prefix}.order")
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(path)
        told.settimeout(at_pace(10))
        one = relay(env={"NOTIFY_SOCKET": path}).start()
        one.reload(changed(one, {"position_headers": True}))
        said = b""
        for _ in range(100):
            if b"RELOADING=1" in said:
                break
            said = told.recv(4096)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", said)
        for _ in range(100):
            if b"READY=1" in said:
                break
            said = told.recv(4096)
        assert b"READY=1" in said
    one.stop()


def test_a_relay_that_stops_while_it_reloads_drains(captured, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order", partitions=3)
    workload.prepare(database, keys=12)
    one = captured({"topic": topic}).start()
    with workload.Writers(database, threads=4, keys=12):
        for n, change in enumerate(({"position_headers": True}, {"batch_events": 50})):
            count = one.published()
            eventually(lambda: one.published() > count + 20, 30, "it publishes")
            one.reload(changed(one, change), until="RELOADING")
            one.stop()
            one.start()
    all_marked(database, one)
    assert_in_phases(database, read_topics(kafka.brokers, [topic]), [topic])
