"""A wall clock that a test sets: of a relay, or of a whole PostgreSQL server. The monotonic clock goes on as it does on a machine whose clock is stepped.

    clock = SteppedClock(directory)                  # a shared object is built, once
    one.start(env=clock.environment)                 # or: with clock.everywhere(): server.start()
    clock.step(3600)                                 # an hour ahead; negative: behind; 0: right again
"""

import contextlib
import os
import subprocess

_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock.c")


class SteppedClock:
    def __init__(self, directory):
        self.path, library = os.path.join(directory, "clock-step"), os.path.join(directory, "clock.so")
        if not os.path.exists(library):
            subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": library, "CLOCK_STEP_FILE": self.path}
        with open(self.path, "w", encoding="ascii") as f:
            f.write(f"{0:<16}")
        for path in (self.path, library):
            os.chmod(path, 0o755)
        self.step(0)

    def step(self, seconds):
        with open(self.path, "r+", encoding="ascii") as f:
            f.write(f"{int(seconds):<16}")

    @contextlib.contextmanager
    def everywhere(self):
        """What is started in the block has this clock."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
