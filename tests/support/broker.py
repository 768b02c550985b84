"""A Kafka broker that runs, as its clients see it: topics, rights, log-ins. support/kafka.py starts one.

A test that merely uses a broker gets a SharedBroker: the same for all workers of a run, which nobody may stop.
"""

import os
import socket
import subprocess

from . import CACHE  # noqa: F401  (puts the independent client on sys.path)
from .common import eventually, has_ended, tail
from .consume import QUIET
from .fetch import kafka_jars

SASL_USERS = {"admin": "kafka-admin-secret-5b2", "relay": "kafka-relay-secret-6a3"}


class Broker:
    """The broker that listens on these ports and whose log is in `directory`."""

    def __init__(self, directory, ports, version, options):
        self.directory, self.version, self.options = directory, version, options
        self.jars = os.path.join(kafka_jars(version), "*")
        self.log_path = os.path.join(directory, "kafka.log")
        self.port, self.sasl_port = ports
        self.brokers = f"127.0.0.1:{self.port}"
        self.sasl_brokers = f"127.0.0.1:{self.sasl_port}"
        self._admin = None

    def _java(self, heap, *args):
        return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:-UsePerfData", *self.options,
                f"-Dlog4j2.configurationFile={self.directory}/log4j2.yaml", "-cp", self.jars, *args]

    def wait(self, timeout=180):
        """Until it answers metadata requests."""
        eventually(self._answers, timeout, lambda: "Kafka answers\n" + tail(self.log_path), interval=0.1)
        return self

    def _answers(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        from confluent_kafka import KafkaException
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

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
        result = subprocess.run(self._java("256m", main_class, *args), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, timeout=timeout)
        assert result.returncode == 0, f"{main_class} failed:\n{result.stdout}\n{result.stderr}"
        return result.stdout


class BrokerIsShared(Exception):
    """Raised by a SharedBroker. Not of the classes that eventually() waits for."""


class SharedBroker(Broker):
    """A broker that others use at the same time: what would disturb them is refused."""

    def __init__(self, pid, **facts):
        super().__init__(**facts)
        self._pid = pid

    def _answers(self):
        if has_ended(self._pid):
            raise SystemError(f"Kafka has ended:\n{tail(self.log_path)}")
        return super()._answers()

    def _refuse(self, *_, **__):
        raise BrokerIsShared("other tests use this broker now: one that stops it, lets it hang, or looks at all that is in it gets a broker to itself by "
                             "@pytest.mark.own_broker (tests/README.md, \"Rules\")")

    launch = start = stop = kill = away = unread = remove = _refuse
