"""Downloads into the cache, once, through Maven: Kafka's jars, server binaries of other PostgreSQL versions, Debezium for its benchmark."""

import glob
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile

import pytest

from . import CACHE

KAFKA_VERSION = "4.3.0"
KAFKA_VERSIONS = {"4.3": KAFKA_VERSION, "3.9": "3.9.1"}   # the last that still knows ZooKeeper, for those who have not moved on
# Server versions beside Debian's own; each is the newest minor of its major among the published artifacts.
POSTGRES_VERSIONS = {"13": "13.22.0", "14": "14.19.0", "16": "16.10.0", "17": "17.6.0", "18": "18.1.0"}

DEBEZIUM_VERSION = "3.6.1.Final"
_HERE = os.path.dirname(os.path.abspath(__file__))


def _maven_copy(pom, target, *defines):
    _maven("copy-dependencies", pom, target, *defines)


def _maven(goal, pom, target, *defines):
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
    command = ["mvn", "-q", "-B", "-ntp", "-f", pom, f"{plugin}:{goal}", f"-DoutputDirectory={target}", *defines]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=900)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout[-3000:]}")


def into_cache(name, make):
    """Fill CACHE/name by `make(directory)` unless it is there; whole or not at all, safe beside another run."""
    target = os.path.join(CACHE, name)
    if os.path.isdir(target):
        return target
    os.makedirs(CACHE, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix=f".{name}-", dir=CACHE)
    os.chmod(scratch, 0o755)
    try:
        make(scratch)
        os.rename(scratch, target)
    except OSError:
        if not os.path.isdir(target):
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def for_packaging(name, make):
    """As into_cache(), of what only `tests/run packaging` makes, since it takes minutes; elsewhere a test that needs it skips by name."""
    if "OUTBOXD_PACKAGING" not in os.environ and not os.path.isdir(os.path.join(CACHE, name)):
        pytest.skip(f"{name} is not in the cache; tests/run packaging makes it")
    return into_cache(name, make)


def kafka_jars(version=KAFKA_VERSION):
    """The directory with Kafka's jars (91 files, 54 MB)."""
    pom = os.path.join(_HERE, "maven", "kafka.xml")
    return into_cache(f"kafka-{version}",
                       lambda d: _maven_copy(pom, d, f"-Dkafka.version={version}"))


def debezium():
    """Directories of Kafka Connect's jars and of Debezium's connector for PostgreSQL, unpacked; for tests/bench/debezium alone."""
    pom = os.path.join(_HERE, "maven", "connect.xml")

    def plugin(directory):
        packed = os.path.join(directory, "packed")
        _maven("copy", pom, packed, f"-Dartifact=io.debezium:debezium-connector-postgres:{DEBEZIUM_VERSION}:tar.gz:plugin")
        with tarfile.open(glob.glob(os.path.join(packed, "*.tar.gz"))[0]) as archive:
            archive.extractall(directory)
        shutil.rmtree(packed)

    return (into_cache(f"connect-{KAFKA_VERSION}", lambda d: _maven_copy(pom, d, f"-Dkafka.version={KAFKA_VERSION}")),
            into_cache(f"debezium-{DEBEZIUM_VERSION}", plugin))


def kafka_archive(make=False, version=KAFKA_VERSION):
    """The JVM's archive of Kafka's classes, which makes a start cost half the CPU; None while there is none. With `make`, it is made.

    An archive that does not fit the JVM or the jars is ignored by the JVM.
    """
    java = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, check=True).stderr
    path = os.path.join(CACHE, f"kafka-{version}-{hashlib.sha256(java).hexdigest()[:12]}.jsa")
    if make and not os.path.exists(path):
        from .kafka import KafkaServer
        scratch = f"{path}.{os.getpid()}"
        server = KafkaServer(options=[f"-XX:ArchiveClassesAtExit={scratch}"], version=version)
        try:
            server.start()
            server.create_topic("archive")
            server.stop(timeout=120)   # the archive is written at an orderly end
        finally:
            server.remove()
        if os.path.exists(scratch):
            os.rename(scratch, path)
    return path if os.path.exists(path) else None


def postgres_binaries(major):
    """The bin directory of PostgreSQL `major`: Debian's when installed, else a downloaded one."""
    debian = f"/usr/lib/postgresql/{major}/bin"
    if os.path.exists(os.path.join(debian, "postgres")):
        return debian
    if str(major) not in POSTGRES_VERSIONS:
        raise RuntimeError(f"no binaries known for PostgreSQL {major}: {sorted(POSTGRES_VERSIONS)}")
    version = POSTGRES_VERSIONS[str(major)]
    pom = os.path.join(_HERE, "maven", "postgres.xml")

    def make(directory):
        jars = os.path.join(directory, "jar")
        _maven_copy(pom, jars, f"-Dpostgres.version={version}", "-DexcludeTransitive=true")
        with zipfile.ZipFile(glob.glob(os.path.join(jars, "*.jar"))[0]) as jar:
            name = next(n for n in jar.namelist() if n.endswith(".txz"))
            with jar.open(name) as packed, tarfile.open(fileobj=packed, mode="r|xz") as archive:
                archive.extractall(directory)
        shutil.rmtree(jars)

    # Not below a home directory that the server's user may not enter.
    root = into_cache(f"postgres-{version}", make)
    return os.path.join(_readable_copy(root, version), "bin")


def _readable_copy(root, version):
    """`root`, or a copy of it that another user can read when our home directory is closed to others."""
    if os.geteuid() != 0:
        return root
    path = root
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            break
        path = os.path.dirname(path)
    else:
        return root
    copy = os.path.join(tempfile.gettempdir(), f"outboxd-postgres-{version}")
    if not os.path.isdir(copy):
        scratch = tempfile.mkdtemp(prefix="outboxd-postgres-")
        os.chmod(scratch, 0o755)
        shutil.copytree(root, scratch, symlinks=True, dirs_exist_ok=True)
        try:
            os.rename(scratch, copy)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
    return copy
