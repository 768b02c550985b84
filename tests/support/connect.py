"""A real Debezium: Kafka Connect with its connectors, each with a slot of its own.

    connect = Connect(directory, kafka, postgres)
    connect.add("shop", "database", {"schemas": "true", "decimal": "string"}, {"slot.name": "shop", ...})
    connect.failure("shop")     # the trace of what stopped it, or None
"""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request

from . import fetch
from .common import die_with_parent, eventually, free_port, tail
from .postgres import PASSWORDS, SUPERUSER

# Options as outboxd calls them, beside Debezium's.
MODES = {"decimal": "decimal.handling.mode", "time": "time.precision.mode", "interval": "interval.handling.mode", "binary": "binary.handling.mode",
         "hstore": "hstore.handling.mode"}
_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"


class Connect:
    """One worker for all connectors."""

    def __init__(self, directory, kafka, postgres):
        self.directory, self.kafka, self.postgres = directory, kafka, postgres
        self.jars, plugins = fetch.debezium()
        self.port = free_port()
        self.log_path = os.path.join(directory, "connect.log")
        self._write("worker.properties", {
            "bootstrap.servers": kafka.brokers, "plugin.path": plugins, "offset.flush.interval.ms": 1000,
            "offset.storage.file.filename": os.path.join(directory, "offsets"), "listeners": f"http://127.0.0.1:{self.port}",
            "key.converter": _CONVERTER, "value.converter": _CONVERTER})
        self._write("log4j2.properties", {"rootLogger.level": "warn", "rootLogger.appenderRef.out.ref": "out", "appender.out.type": "Console",
                                          "appender.out.name": "out", "appender.out.layout.type": "PatternLayout",
                                          "appender.out.layout.pattern": "%d %p %c{1} %m%n"})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Dfile.encoding=UTF-8", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={directory}/log4j2.properties", "-cp",
                 os.path.join(self.jars, "*"), "org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties"],
                cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL))
        eventually(lambda: self._ask("/connectors") is not None, 120, lambda: f"Connect answers\n{tail(self.log_path)}", interval=0.3)

    def _write(self, name, properties):
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as f:
            f.writelines(f"{key}={value}\n" for key, value in properties.items())

    def _ask(self, path, body=None, method=None):
        """What it answers; None: nothing, or that it cannot."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=json.dumps(body).encode() if body else None, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "{}")
        except (urllib.error.URLError, ConnectionError):
            return None

    def add(self, name, database, options, properties):
        """A connector with the topic prefix `name`; `options` are those of MODES, `schemas` Connect's, `unknown` include.unknown.datatypes."""
        config = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1", "database.hostname": "127.0.0.1",
            "database.port": str(self.postgres.port), "database.dbname": database, "database.user": SUPERUSER,
            "database.password": PASSWORDS[SUPERUSER], "topic.prefix": name, "plugin.name": "pgoutput", "publication.autocreate.mode": "disabled",
            "skipped.operations": "none", "poll.interval.ms": "20", "include.unknown.datatypes": "true" if "unknown" in options else "false",
            **{mode: options[key] for key, mode in MODES.items() if key in options},
            **{f"{kind}.converter": _CONVERTER for kind in ("key", "value")},
            **{f"{kind}.converter.schemas.enable": options.get("schemas", "false") for kind in ("key", "value")}, **properties}
        assert self._ask("/connectors", {"name": name, "config": config}), tail(self.log_path)

    def failure(self, name):
        status = self._ask(f"/connectors/{name}/status") or {}
        return next((part.get("trace") or "no trace" for part in [status.get("connector", {}), *status.get("tasks", [])] if part.get("state") == "FAILED"), None)

    def remove(self, name):
        self._ask(f"/connectors/{name}", method="DELETE")

    def stop(self):
        self.process.kill()
        self.process.wait()
