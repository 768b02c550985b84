"""A real Apache Kafka broker (KRaft, one process) of our own: kill -9 and restart keep port and data.

Two client listeners: PLAINTEXT, whose anonymous user is a super user, for tests that do not care; and SASL_PLAINTEXT with PLAIN
log-ins under StandardAuthorizer, where `relay` may do nothing until a test grants it.
"""

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid

from .broker import SASL_USERS, Broker
from .common import die_with_parent, free_port, tail
from .fetch import KAFKA_VERSION, into_cache, kafka_archive

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=800
metadata.max.idle.interval.ms=0
log.cleaner.enable=false
num.network.threads=1
num.io.threads=2
background.threads=2
group.coordinator.threads=1
share.coordinator.threads=1
num.recovery.threads.per.data.dir=1
metric.reporters=
log.segment.bytes=67108864
"""

# Otherwise, for one that many use at a time and nobody stops.
SHARED = {"num.network.threads": "2", "num.io.threads": "4", "broker.heartbeat.interval.ms": "2000", "broker.session.timeout.ms": "18000",
          "replica.high.watermark.checkpoint.interval.ms": "60000"}

_LOGGING = """\
Configuration:
  status: WARN
  Appenders:
    Console: { name: OUT, target: SYSTEM_OUT, PatternLayout: { pattern: "%d{ISO8601} %p %c{1} %m%n" } }
  Loggers:
    Root: { level: WARN, AppenderRef: { ref: OUT } }
"""


def _identity():
    """Of a cluster or a directory; a leading "-" would be read as an option."""
    return "a" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")[1:]


class KafkaServer(Broker):
    """format once, then start, kill and start again as often as a test likes."""

    def __init__(self, directory=None, properties=None, heap="512m", options=None, version=KAFKA_VERSION):
        # Quick to start rather than quick when warm, unless somebody wants it otherwise.
        archive = kafka_archive(version=version) if options is None else None
        options = ["-XX:TieredStopAtLevel=1", *([f"-XX:SharedArchiveFile={archive}"] if archive else [])] if options is None else options
        super().__init__(directory or tempfile.mkdtemp(prefix="outboxd-kafka-"), (free_port(), free_port()), version, options)
        os.makedirs(self.directory, exist_ok=True)
        self.config_path = os.path.join(self.directory, "server.properties")
        self.data = os.path.join(self.directory, "data")
        self.heap = heap
        self.controller_port = free_port()
        self.process = None
        self._write_files(properties or {})
        self._format()

    def _write_files(self, extra):
        users = f'username="admin" password="{SASL_USERS["admin"]}" '
        users += " ".join(f'user_{name}="{password}"' for name, password in SASL_USERS.items())
        with open(self.config_path, "w", encoding="ascii") as f:
            f.write(_PROPERTIES.format(port=self.port, sasl_port=self.sasl_port, controller=self.controller_port,
                                       users=users, data=self.data))
            for key, value in extra.items():
                f.write(f"{key}={value}\n")
        with open(os.path.join(self.directory, "log4j2.yaml"), "w", encoding="ascii") as f:
            f.write(_LOGGING)

    def _format(self):
        """What Kafka's own program makes, which takes a JVM 0.9 s of CPU: all of it but the identities is the same each time, and kept."""
        made = into_cache(f"kafka-{self.version}-formatted", self._format_by_kafka)
        os.makedirs(self.data, exist_ok=True)
        shutil.copy(os.path.join(made, "bootstrap.checkpoint"), self.data)
        with open(os.path.join(self.data, "meta.properties"), "w", encoding="ascii") as f:
            f.write(f"version=1\nnode.id=1\ncluster.id={_identity()}\ndirectory.id={_identity()}\n")

    def _format_by_kafka(self, directory):
        subprocess.run(self._java("128m", "kafka.tools.StorageTool", "format", "-t", _identity(), "-c", self.config_path),
                       check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory)
        shutil.copytree(self.data, directory, dirs_exist_ok=True)

    def facts(self):
        """What makes a SharedBroker of it, in whichever process."""
        return {"directory": self.directory, "ports": (self.port, self.sasl_port), "version": self.version, "options": self.options,
                "pid": self.process and self.process.pid}

    def launch(self):
        """Start the broker without waiting for it."""
        assert self.process is None, "already running"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self._java(self.heap, "kafka.Kafka", self.config_path), cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent(signal.SIGKILL))
        return self

    def start(self, timeout=180):
        """Start the broker and wait until it answers metadata requests."""
        return self.launch().wait(timeout)

    def _answers(self):
        if self.process.poll() is not None:
            raise SystemError(f"Kafka exited with {self.process.returncode}:\n{tail(self.log_path)}")
        return super()._answers()

    def kill(self):
        """kill -9, as a machine that loses power would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def away(self):
        """SIGSTOP for a while: connections stay up and nothing is acknowledged. Quicker than kill() and start()."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def unread(self):
        """How many bytes clients have sent that the broker has not taken from its sockets yet: while it is away(), what is on the wire."""
        total = 0
        for name in ("tcp", "tcp6"):
            with open(f"/proc/net/{name}", "r", encoding="ascii") as f:
                fields = [line.split() for line in f.readlines()[1:]]
            total += sum(int(f[4].split(":")[1], 16) for f in fields if int(f[1].rsplit(":", 1)[1], 16) == self.port and f[3] == "01")
        return total

    def stop(self, timeout=30):
        """An orderly shutdown."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def remove(self):
        """Stop and delete everything."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


_OAUTH = """\
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port},OAUTH://127.0.0.1:{oauth_port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port},OAUTH://127.0.0.1:{oauth_port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,OAUTH:SASL_PLAINTEXT
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config={module} required unsecuredLoginStringClaim_sub="broker" unsecuredValidatorAllowableClockSkewMs="2000";
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={handler}
listener.name.oauth.oauthbearer.connections.max.reauth.ms={session_ms}
"""
_OAUTH_PACKAGE = "org.apache.kafka.common.security.oauthbearer"


class OAuthKafkaServer(KafkaServer):
    """A broker with a listener more, `oauth_brokers`, that takes unsecured tokens (support/program.py, jws) and ends each session after `session_ms`."""

    def __init__(self, directory, session_ms=4000):
        self.oauth_port, self.session_ms = free_port(), session_ms
        self.oauth_brokers = f"127.0.0.1:{self.oauth_port}"
        super().__init__(directory)

    def _write_files(self, extra):
        lines = _OAUTH.format(port=self.port, sasl_port=self.sasl_port, oauth_port=self.oauth_port, controller=self.controller_port,
                              session_ms=self.session_ms, module=f"{_OAUTH_PACKAGE}.OAuthBearerLoginModule",
                              handler=f"{_OAUTH_PACKAGE}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler")
        super()._write_files({**extra, **dict(line.split("=", 1) for line in lines.splitlines())})

    @staticmethod
    def oauth_properties():
        """librdkafka properties for a log-in at `oauth_brokers`."""
        return ["security.protocol=sasl_plaintext", "sasl.mechanisms=OAUTHBEARER"]
