"""The same sources give the same program, wherever, whenever and by whom they are built. The package: tests/run package."""

import hashlib
import os
import shutil
import subprocess

import pytest

from support.relay import ROOT
from support.sources import committed

WAYS = {
    "here": {"umask": 0o022, "jobs": "4", "env": {"TZ": "UTC", "LC_ALL": "C.UTF-8"}},
    "a/much deeper/place": {"umask": 0o077, "jobs": "1", "env": {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "86400"}},
}


def build(directory, umask, jobs, env):
    """The release, from a copy of the tree in that directory; SHA-256 of the program."""
    for path in committed(ROOT):
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(ROOT, path), target)
        shutil.copymode(os.path.join(ROOT, path), target)
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "--target", "outboxd", "-j", jobs]):
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, umask=umask,
                              env={**os.environ, "CCACHE_DISABLE": "1", **env})
        assert done.returncode == 0, done.stdout[-3000:]
    with open(os.path.join(directory, "build", "release", "outboxd"), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


@pytest.mark.soak
@pytest.mark.slow
def test_two_places_times_and_umasks_give_one_program(tmp_path):
    digests = {place: build(str(tmp_path / place), **how) for place, how in WAYS.items()}
    assert len(set(digests.values())) == 1, digests
