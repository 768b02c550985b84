"""One short journey per capture on other versions of PostgreSQL and Kafka, with another compiler and with another librdkafka.

Quick: each other version beside what all other tests run on (test_versions has the oldest and the newest PostgreSQL). `tests/run matrix`: the full cross.
"""

import os
from collections import namedtuple

import pytest

from conftest import CAPTURES, grant_memberships
from support import builds, workload
from support.common import eventually, started
from support.consume import read_topics
from support.fetch import KAFKA_VERSION, KAFKA_VERSIONS
from support.kafka import KafkaServer
from support.postgres import PostgresServer
from support.relay import migrate, outboxd
from support.verify import compare, read_truth
from support.wal import Wal

POSTGRES, KAFKA = ("13", "14", "15", "16", "17", "18"), tuple(KAFKA_VERSIONS)
QUICK = {("14", "4.3"): "wal", ("16", "4.3"): "poll", ("17", "4.3"): "wal", ("15", "3.9"): "poll"}
IN_FLIGHT = 200
UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"

Servers = namedtuple("Servers", "postgres kafka")


def cells():
    """Quick: on each other version by one of the captures, in turn."""
    for postgres in POSTGRES:
        for kafka in KAFKA:
            for build in builds.NAMES:
                for capture in CAPTURES:
                    quick = build == "gcc" and QUICK.get((postgres, kafka)) == capture
                    yield pytest.param(f"{postgres} {kafka}", build, capture, marks=[] if quick else [pytest.mark.matrix],
                                       id=f"{capture}-PostgreSQL {postgres}, Kafka {kafka}, {build}")


@pytest.fixture(scope="module")
def server(request, work_directory):
    """Both servers, as "15 4.3". The broker of all tests, where it has that version."""
    postgres, version = request.param.split()
    directory = os.path.join(work_directory, f"matrix-{postgres}-{version}")
    usual = KAFKA_VERSIONS[version] == KAFKA_VERSION
    kafka = request.getfixturevalue("shared_broker") if usual else started(lambda d: KafkaServer(d, version=KAFKA_VERSIONS[version]), f"{directory}-kafka")
    servers = Servers(PostgresServer(directory, postgres).start(), kafka)
    servers.postgres.create_roles()
    yield servers
    servers.postgres.remove()
    if not usual:
        kafka.remove()


def note(*cell):
    """A row of the table of tests/run matrix."""
    if os.environ.get("OUTBOXD_MATRIX"):
        with open(os.environ["OUTBOXD_MATRIX"], "a", encoding="utf-8") as f:
            f.write("\t".join(map(str, cell)) + "\n")


@pytest.mark.parametrize("server, build, capture", cells(), indirect=["server"])
def test_a_short_journey(server, build, capture, relay, prefix, monkeypatch):
    """Migrated, checked, published, killed, started again, told to stop: everything is there, and at most what was in flight came twice."""
    monkeypatch.setenv("OUTBOXD", builds.program(build))
    database, kafka = server.postgres.fresh_database("journey"), server.kafka
    try:
        migrate(database)
        assert "up to date" in migrate(database, "--status").stdout
        grant_memberships(database)
        topic = kafka.create_topic(f"{prefix}.order", partitions=3)
        workload.prepare(database, keys=20)
        if capture == "wal":
            Wal(database)
        one = relay({**CAPTURES[capture], "batch_events": 50, "in_flight_events": IN_FLIGHT}, dsn=database.dsn(), brokers=kafka.brokers)
        outboxd("check", "-c", one.config_path, expect=0)
        with workload.Writers(database, threads=2, keys=20):
            one.start().wait_published(100)
            one.kill()
            one.start().wait_published(50)
        eventually(lambda: database.scalar(UNPUBLISHED) == 0, 30, lambda: "all marked\n" + one.log_tail())
        outboxd("status", "-c", one.config_path, expect=0)
        one.stop(expect=0)
        report = compare(read_truth(database), read_topics(kafka.brokers, topic))
        report.assert_exact(duplicates=IN_FLIGHT)
        library = outboxd("version").stdout.split("librdkafka ")[1].rstrip(")\n")
        version = server.postgres.execute("SHOW server_version")[0][0].split()[0]
        note(version, kafka.version, build, library, capture, report.committed, report.lost, report.duplicates)
    finally:
        database.drop()
