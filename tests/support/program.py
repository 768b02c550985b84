"""A token command of the tests: a shell script that can be made to do something else while relays run, and that counts its runs."""

import base64
import json
import os
import time

from .common import replace_file


class Program:
    """The script and what it does now. `command` is what the configuration says."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.path = os.path.join(self.directory, "print token")   # a path with a blank
        self.runs_path = os.path.join(self.directory, "runs")
        self.body_path = os.path.join(self.directory, "body")
        with open(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o755), "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\necho $$ >> "{self.runs_path}"\n. "{self.body_path}"\n')
        self.prints("")
        self.command = f"'{self.path}'"

    def does(self, script):
        """From now on: lines of /bin/sh."""
        replace_file(self.body_path, script + "\n")

    def prints(self, text):
        self.does(f"cat <<'END-OF-TOKEN'\n{text}\nEND-OF-TOKEN")

    def hangs(self):
        self.does("exec sleep 600")

    def pids(self):
        """Of all runs so far, the oldest first."""
        try:
            with open(self.runs_path, encoding="ascii") as f:
                return [int(line) for line in f]
        except FileNotFoundError:
            return []

    def runs(self):
        return len(self.pids())


def jws(principal="relay", seconds=3600, **claims):
    """An unsecured JWS (RFC 7519, alg none), as Kafka's unsecured validator takes it."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    now = time.time()
    return f'{part({"alg": "none"})}.{part({"sub": principal, "iat": now, "exp": now + seconds, **claims})}.'
