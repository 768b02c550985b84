"""A real Prometheus of our own that scrapes relays every second and evaluates the packaged rules; promtool.

Debian's package `prometheus` in the path, or unpacked by tests/run into the cache.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from . import CACHE
from .common import die_with_parent, eventually, free_port, tail
from .relay import ROOT

RULES = os.path.join(ROOT, "packaging", "prometheus", "outboxd.rules.yml")

_CONFIG = """\
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [ "{rules}" ]
scrape_configs:
  - job_name: outboxd
    static_configs: [ {{ targets: [ {targets} ] }} ]
"""


def program(name):
    """Path of `prometheus` or `promtool`."""
    path = shutil.which(name) or os.path.join(CACHE, "prometheus", "usr", "bin", name)
    assert os.path.exists(path), f"{name} is missing: tests/run setup"
    return path


def promtool(*args):
    """Run promtool; its output. AssertionError when it fails."""
    result = subprocess.run([program("promtool"), *args], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert result.returncode == 0, f"promtool {' '.join(args)}\n{result.stdout}"
    return result.stdout


class Prometheus:
    """One server; `relays` are scraped as job "outboxd"."""

    def __init__(self, relays, directory=None):
        self.directory = directory or tempfile.mkdtemp(prefix="outboxd-prometheus-")
        self.port = free_port()
        self.log_path = os.path.join(self.directory, "prometheus.log")
        self.config_path = os.path.join(self.directory, "prometheus.yml")
        targets = ", ".join(f'"127.0.0.1:{one.port}"' for one in relays)
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(_CONFIG.format(rules=RULES, targets=targets))
        self.process = None

    def __enter__(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [program("prometheus"), f"--config.file={self.config_path}", f"--storage.tsdb.path={self.directory}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL))
        eventually(lambda: self._get("/-/ready") or True, 30, lambda: "Prometheus is ready\n" + tail(self.log_path))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _get(self, path):
        if self.process.poll() is not None:
            raise SystemError(f"Prometheus exited with {self.process.returncode}:\n{tail(self.log_path)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.read().decode("utf-8")
        except urllib.error.HTTPError as e:
            raise ValueError(f"{path}: {e.code} {e.read().decode('utf-8')}") from e

    def query(self, expression):
        """[(labels, number)] of an instant query; ValueError with Prometheus' reason when it is wrong."""
        answer = json.loads(self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        return [(r["metric"], float(r["value"][1])) for r in answer["data"]["result"]]

    def rules(self):
        """name -> the rule as the API shows it (health, state, alerts)."""
        answer = json.loads(self._get("/api/v1/rules"))
        return {rule["name"]: rule for group in answer["data"]["groups"] for rule in group["rules"]}
