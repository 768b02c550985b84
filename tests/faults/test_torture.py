"""A quick round of the closing measurement (tests/faults/torture.py), on the servers of this run."""

import types

import pytest

from conftest import soak
from torture import Torture


@pytest.mark.own_broker
@pytest.mark.parametrize("capture,emit,mode", [("poll", "rows", "mark"), soak("poll", "rows", "delete"), soak("wal", "rows", "mark"),
                                               ("wal", "both", "delete"), soak("wal", "messages", "keep")])
def test_quick_torture(postgres, kafka, migrated_template, work_directory, capture, emit, mode):
    # Each kill may repeat what was in flight; with few in flight that says something about 2,500 events.
    options = types.SimpleNamespace(events=2500, capture=capture, emit=emit, mode=mode, kills=4, clients=4, partitions=6, relays=1,
                                    faults="all", seed=11, restarts=1, points=2, verbose=False, in_flight=100)
    torture = Torture(options, postgres, kafka, migrated_template, work_directory)
    try:
        torture.run()
        assert torture.counts["kill -9"] == 4 and torture.counts["fail points"] == 2 and torture.allowed <= 600 + torture.excused
        assert torture.unsettled_seen > 0, "no kill met an event on its way"
        torture.check()
    finally:
        torture.close()
