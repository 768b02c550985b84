"""A small file system, for what happens when it is full; and a disk that hangs."""

import contextlib
import os
import subprocess

import pytest


class Disk:
    """A small file system, and a file that takes what is left of it."""

    def __init__(self, path, megabytes):
        self.path = path
        os.makedirs(path)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "outboxd-test", path], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        if mounted.returncode:
            pytest.skip("may not mount a file system here")
        self.filler = os.path.join(path, "filler")

    def fill(self, leave=0):
        """Takes all but `leave` bytes."""
        with open(self.filler, "ab") as f:
            free = os.statvfs(self.path)
            os.posix_fallocate(f.fileno(), 0, max(1, free.f_bavail * free.f_frsize - leave + os.fstat(f.fileno()).st_size))

    def release(self, size):
        """Gives back that many of the bytes that fill() took."""
        os.truncate(self.filler, max(0, os.path.getsize(self.filler) - size))

    def empty(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)

    def remove(self):
        subprocess.run(["umount", "-l", self.path], check=True)


_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hang.c")


class HangingDisk:
    """Of a relay that is started with `environment`: its flushes do not return in the block `with disk.hanging()`."""

    def __init__(self, directory):
        self.path, library = os.path.join(directory, "disk-hangs"), os.path.join(directory, "hang.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", library, _SOURCE, "-ldl"], check=True)
        asan = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        self.environment = {"LD_PRELOAD": library, "HANGING_DISK": self.path, "ASAN_OPTIONS": asan}

    @contextlib.contextmanager
    def hanging(self):
        with open(self.path, "w", encoding="ascii"):
            pass
        try:
            yield
        finally:
            os.unlink(self.path)
