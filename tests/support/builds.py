"""The program as other compilers and other libraries make it, for tests/run matrix.

    builds.make("clang")         makes it, or brings it up to date
    builds.program("clang")      its path; a test that needs it skips by name where it was not made

"gcc" is the program that all other tests run. "debian13" is built in a root of Debian 13, with the compiler and the libraries of that release, and
runs with them on the file system of this machine: its dynamic loader is told where they are.
"""

import os
import shutil
import subprocess

import pytest

from . import CACHE, container
from .fetch import into_cache
from .relay import ROOT, outboxd_binary
from .sources import committed

CLANG = os.path.join(ROOT, "build", "clang")
DEBIAN13 = "root-build-trixie"   # in the cache
NAMES = ("gcc", "clang", "debian13")
_LOADER = """#!/bin/sh
exec "{root}/lib64/ld-linux-x86-64.so.2" --library-path "{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu" "{root}/made/outboxd" "$@"
"""


def program(name):
    path = {"gcc": outboxd_binary(), "clang": os.path.join(CLANG, "outboxd"), "debian13": os.path.join(CACHE, DEBIAN13, "outboxd")}[name]
    if not os.path.exists(path):
        pytest.skip(f"there is no program of {name}; tests/run matrix makes it")
    return path


def make(name):
    {"gcc": outboxd_binary, "clang": _clang, "debian13": _debian13}[name]()


def _run(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500, **more)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}"
    return done.stdout


def _clang():
    _run(["cmake", "-S", ROOT, "-B", CLANG, "-G", "Ninja", "-DCMAKE_C_COMPILER=clang", "-DCMAKE_BUILD_TYPE=Debug", "-DOUTBOXD_FAILPOINTS=ON",
          "-DOUTBOXD_TESTS=OFF"])
    _run(["cmake", "--build", CLANG, "--target", "outboxd"])


def debian13_root():
    """A Debian 13 with what packaging/container/packages installs."""
    assert not container.missing(), container.missing()
    return into_cache(DEBIAN13, _root)


def _debian13():
    root = debian13_root()
    shutil.rmtree(os.path.join(root, "src"), ignore_errors=True)
    for path in committed(ROOT):
        target = os.path.join(root, "src", path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.islink(target):
            shutil.copy2(os.path.join(ROOT, path), target, follow_symlinks=False)
    container.enter(root, ["cmake", "-S", "/src", "-B", "/made", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DOUTBOXD_TESTS=OFF"])
    container.enter(root, ["cmake", "--build", "/made", "--target", "outboxd"])
    path = os.path.join(root, "outboxd")
    with open(path, "w", encoding="utf-8") as f:
        f.write(_LOADER.format(root=root))
    os.chmod(path, 0o755)


def _root(directory):
    _run([os.path.join(container.SCRIPTS, "base"), directory], env={**os.environ, "RELEASE": "trixie"})
    container.enter(directory, ["/scripts/packages"], [(container.SCRIPTS, "/scripts")])
