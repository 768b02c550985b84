"""capture = "tables" on the oldest and the newest PostgreSQL, and over a fail-over."""

import os

import pytest

from conftest import grant_memberships, soak
from support.common import eventually
from support.postgres import PostgresServer
from support.relay import migrate
from support.table_load import TableLoad
from support.tables import SLOT, Tables
from support.wal import Wal


@pytest.fixture(scope="module", params=["13", soak("14"), soak("16"), soak("17"), "18"])
def server(request, work_directory):
    server = PostgresServer(os.path.join(work_directory, f"tables-{request.param}"), request.param).start()
    server.create_roles()
    yield server
    server.remove()


def test_a_short_journey(server, kafka, relay, prefix):
    database = server.fresh_database("shop")
    migrate(database)
    grant_memberships(database)
    load = TableLoad(Tables(database, kafka, prefix, relay))
    one = load.relay().start()
    with load.running(clients=2):
        load.wait_committed(30)
        one.kill()
        one.start()
        load.wait_committed(30)
        server.restart("fast")
        load.wait_committed(20)
    load.compare(one, kills=1)
    wal = Wal(database, "unused")
    wal.wait_confirmed(name=SLOT)
    one.stop()
    database.drop()


@pytest.mark.parametrize("pair_servers", ["17"], indirect=True)
def test_a_failover_slot_goes_on_at_the_promoted_standby(pair, pair_database, kafka, relay, prefix):
    tables = Tables(pair_database, kafka, prefix, relay)
    load = TableLoad(tables)
    pair.make_failover_slot(pair_database, SLOT)
    pair.logical_waits_for_standby()
    wal = Wal(pair_database, "unused")
    one = load.relay().start()
    try:
        for _ in range(5):
            load.turn(size=30)
        load.wait_arrived(one)
        wal.wait_confirmed(name=SLOT)
        pair.sync_slots(SLOT, advance=wal.noise)
        load.turn(size=200)
        load.wait_arrived(one)
        eventually(lambda: not pair.catch_up(), 20, "the standby has it all")
        pair.promote()
        pair.logical_waits_for_standby(False)
        load.turn(size=100)
        load.cut()
        load.turn(size=100)
        load.compare(one, kills=1)
    finally:
        pair.logical_waits_for_standby(False)
    assert one.running() and one.log_lines("SLOT_FAILED_OVER"), one.log_tail()
