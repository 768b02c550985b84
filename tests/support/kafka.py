"""A real Apache Kafka broker (KRaft, one process) of our own: kill -9 and restart keep port and data.

Two client listeners: PLAINTEXT, whose anonymous user is a super user, for tests that do not care; and SASL_PLAINTEXT with PLAIN
log-ins under StandardAuthorizer, where `relay` may do nothing until a test grants it.
"""

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid

from . import CACHE  # noqa: F401  (puts the independent client on sys.path)
from .common import die_with_parent, eventually, free_port, tail
from .consume import QUIET
from .fetch import KAFKA_VERSION, into_cache, kafka_archive, kafka_jars

SASL_USERS = {"admin": "kafka-admin-secret-5b2", "relay": "kafka-relay-secret-6a3"}

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


class KafkaServer:
    """format once, then start, kill and start again as often as a test likes."""

    def __init__(self, directory=None, properties=None, heap="512m", options=None, version=KAFKA_VERSION):
        # Quick to start rather than quick when warm, unless somebody wants it otherwise.
        archive = kafka_archive(version=version) if options is None else None
        self.options = ["-XX:TieredStopAtLevel=1", *([f"-XX:SharedArchiveFile={archive}"] if archive else [])] if options is None else options
        self.version = version
        self.jars = os.path.join(kafka_jars(version), "*")
        self.directory = directory or tempfile.mkdtemp(prefix="outboxd-kafka-")
        os.makedirs(self.directory, exist_ok=True)
        self.log_path = os.path.join(self.directory, "kafka.log")
        self.config_path = os.path.join(self.directory, "server.properties")
        self.data = os.path.join(self.directory, "data")
        self.heap = heap
        self.port, self.sasl_port, self.controller_port = free_port(), free_port(), free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        self.sasl_brokers = f"127.0.0.1:{self.sasl_port}"
        self.process = None
        self._admin = None
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

    def _java(self, *args, heap=None):
        return ["java", f"-Xmx{heap or self.heap}", "-XX:+UseSerialGC", "-XX:-UsePerfData", *self.options,
                f"-Dlog4j2.configurationFile={self.directory}/log4j2.yaml", "-cp", self.jars, *args]

    def _format(self):
        """What Kafka's own program makes, which takes a JVM 0.9 s of CPU: all of it but the identities is the same each time, and kept."""
        made = into_cache(f"kafka-{self.version}-formatted", self._format_by_kafka)
        os.makedirs(self.data, exist_ok=True)
        shutil.copy(os.path.join(made, "bootstrap.checkpoint"), self.data)
        with open(os.path.join(self.data, "meta.properties"), "w", encoding="ascii") as f:
            f.write(f"version=1\nnode.id=1\ncluster.id={_identity()}\ndirectory.id={_identity()}\n")

    def _format_by_kafka(self, directory):
        subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", _identity(), "-c", self.config_path, heap="128m"),
                       check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory)
        shutil.copytree(self.data, directory, dirs_exist_ok=True)

    def start(self, timeout=180):
        """Start the broker and wait until it answers metadata requests."""
        assert self.process is None, "already running"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self._java("kafka.Kafka", self.config_path), cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent(signal.SIGKILL))
        eventually(self._answers, timeout, lambda: "Kafka answers\n" + tail(self.log_path), interval=0.1)
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise SystemError(f"Kafka exited with {self.process.returncode}:\n{tail(self.log_path)}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        from confluent_kafka import KafkaException
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

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

    def admin(self):
        from confluent_kafka.admin import AdminClient
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.brokers, "reconnect.backoff.max.ms": 200,
                                       "socket.timeout.ms": 5000}, logger=QUIET)
        return self._admin

    def create_topic(self, topic, partitions=1, config=None):
        """Create a topic and wait until the broker leads all its partitions."""
        from confluent_kafka.admin import NewTopic
        from confluent_kafka import KafkaError, KafkaException
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config or {})

        def made():
            """A busy machine may keep the controller away for a while; an attempt that timed out may have made it all the same."""
            try:
                self.admin().create_topics([new], request_timeout=10)[topic].result(15)
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.TOPIC_ALREADY_EXISTS:
                    return True
                # INVALID_REPLICATION_FACTOR: the broker is fenced, because its signs of life came late.
                if code not in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._DESTROY_BROKER, KafkaError.REQUEST_TIMED_OUT,
                                KafkaError.INVALID_REPLICATION_FACTOR):
                    raise
                self._admin = None   # after _DESTROY_BROKER every later request of the client timed out, for minutes
                return False
            return True

        eventually(made, 60, lambda: f"topic {topic} is made\n" + tail(self.log_path))

        def led():
            found = self.admin().list_topics(topic, timeout=5).topics[topic]
            return len(found.partitions) == partitions and all(p.leader == 1 for p in found.partitions.values())

        eventually(led, 15, f"topic {topic} has leaders")
        return topic

    def delete_topic(self, topic):
        """Delete a topic and wait until it is gone from the metadata."""
        self.admin().delete_topics([topic], request_timeout=10)[topic].result(15)
        eventually(lambda: topic not in self.admin().list_topics(timeout=5).topics, 15, f"topic {topic} is gone")

    def alter_topic(self, topic, **config):
        """Set topic configuration; underscores stand for dots (max_message_bytes=2000)."""
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
        entries = [ConfigEntry(k.replace("_", "."), str(v), incremental_operation=AlterConfigOpType.SET)
                   for k, v in config.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.admin().incremental_alter_configs([resource])[resource].result(15)

    def grant(self, user, topic, *operations):
        """Allow `user` operations ("WRITE", "DESCRIBE", ...) on a topic; prefix it with "cluster" by topic=None."""
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
        kind, name = (ResourceType.TOPIC, topic) if topic else (ResourceType.BROKER, "kafka-cluster")
        acls = [AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", AclOperation[o],
                           AclPermissionType.ALLOW) for o in operations]
        for future in self.admin().create_acls(acls, request_timeout=10).values():
            future.result(15)

    def grant_group(self, user, group, *operations, prefixed=False):
        """Allow `user` operations ("DESCRIBE", ...) on a consumer group, or on all whose names begin like that."""
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        acls = [AclBinding(ResourceType.GROUP, group, pattern, f"User:{user}", "*", AclOperation[o], AclPermissionType.ALLOW)
                for o in operations]
        for future in self.admin().create_acls(acls, request_timeout=10).values():
            future.result(15)

    def set_scram(self, user, password, mechanism="SCRAM_SHA_256"):
        """Give `user` that password for SCRAM, from now on; open connections stay."""
        from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
        change = UserScramCredentialUpsertion(user, ScramCredentialInfo(ScramMechanism[mechanism], 4096), password.encode())
        self.admin().alter_user_scram_credentials([change], request_timeout=10)[user].result(15)

    def sasl_properties(self, user="relay"):
        """librdkafka properties for a log-in at `sasl_brokers`."""
        return ["security.protocol=sasl_plaintext", "sasl.mechanisms=PLAIN", f"sasl.username={user}",
                f"sasl.password={SASL_USERS[user]}"]

    def tool(self, main_class, *args, timeout=60):
        """Run one of Kafka's own command-line programs; its output."""
        result = subprocess.run(self._java(main_class, *args, heap="256m"), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, timeout=timeout)
        assert result.returncode == 0, f"{main_class} failed:\n{result.stdout}\n{result.stderr}"
        return result.stdout

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
