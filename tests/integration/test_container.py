"""The container image: the root file system that the scripts of packaging/container build, started as strictly as the manifests ask for."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from support import container, tools
from support.common import eventually
from support.consume import headers_of, wait_for_records
from support.postgres import PASSWORDS, RELAY
from support.relay import ROOT

SIZE_MAX = 60 * 1024 * 1024   # of the compressed layer

pytestmark = pytest.mark.skipif(bool(container.missing()), reason=f"no container can be made here: {container.missing()}")


@pytest.fixture(scope="module")
def image():
    return container.image()


@pytest.fixture
def contained(request, image, work_directory):
    """contained(**options) -> Container, not started; killed after the test."""
    made = request.node.relays = []

    def make(**options):
        made.append(container.Container(image, tempfile.mkdtemp(prefix="container-", dir=work_directory), **options))
        return made[-1]
    yield make
    for one in made:
        one.kill()


def environment(database, kafka, prefix):
    """What a pod without a file gives one pipeline."""
    return {"OUTBOXD_DATABASE_DSN": database.dsn().replace(f" password={PASSWORDS[RELAY]}", ""),
            "OUTBOXD_DATABASE_PASSWORD_FILE": "/run/secrets/outboxd/password", "OUTBOXD_KAFKA_BROKERS": kafka.brokers,
            "OUTBOXD_PIPELINE_TOPIC": prefix + ".${aggregate_type}"}


@pytest.fixture
def secret():
    """The relay's password as the kubelet mounts it for a pod with fsGroup 4242."""
    path = container.mounted({"password": PASSWORDS[RELAY]}, gid=4242)
    yield {"/run/secrets/outboxd": path}
    shutil.rmtree(path)


def test_an_event_reaches_a_consumer_from_any_user_with_nothing_to_write_and_no_environment(contained, secret, database, kafka, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    begin = time.monotonic()
    one = contained(env=environment(database, kafka, prefix), mounts=secret, uid=12345, groups=[4242]).start()
    ready = time.monotonic() - begin
    database.execute("SELECT outbox.emit('order.placed', 'order', '17', '{\"total\": 42}')")
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    print(f"ready after {ready:.2f} s, first event after {time.monotonic() - begin:.2f} s")
    assert record.value == b'{"total": 42}' and headers_of(record)["ce_type"] == "order.placed"
    inside = processes(one)
    assert [p["name"] for p in inside] == ["tini", "outboxd"]
    for process in inside:
        assert process["uids"] == {"12345"} and process["caps"] == {"0000000000000000"} and process["privileges"] == "1"
        assert process["environment"] == {"PATH", "OUTBOXD_MONITOR_LISTEN", *environment(database, kafka, prefix)}
    print(", ".join(f"{p['name']} {p['memory']}" for p in inside))
    assert one.stop() == 0


def processes(one):
    """What /proc says of PID 1 and of its child."""
    first = one.pid
    child = eventually(lambda: children(first), what="tini has its child")
    result = []
    for pid in (first, *child):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            said = dict(line.split(":", 1) for line in f.read().splitlines())
        with open(f"/proc/{pid}/environ", "rb") as f:
            names = {entry.split(b"=")[0].decode() for entry in f.read().split(b"\0") if entry}
        result.append({"pid": pid, "name": said["Name"].strip(), "uids": set(said["Uid"].split()), "environment": names,
                       "caps": {said[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")}, "privileges": said["NoNewPrivs"].strip(),
                       "memory": said["VmRSS"].strip()})
    return result


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


def test_nothing_in_the_image_can_be_written_and_nothing_gains_rights(image):
    for directory, _, names in os.walk(image):
        for name in names:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH), path
            assert os.lstat(path).st_uid == 0, path
        assert directory == os.path.join(image, "tmp") or not os.stat(directory).st_mode & stat.S_IWOTH, directory


def test_the_image_holds_the_program_its_libraries_and_no_shell(image, contained):
    assert container.compressed(image) <= SIZE_MAX
    print(f"{container.compressed(image) / 1e6:.1f} MB compressed")
    with open(os.path.join(ROOT, "packaging", "guide", "container.md"), encoding="utf-8") as f:
        assert container.compressed(image) <= 1e6 * int(re.search(r"(\d+) MB compressed", f.read()).group(1))
    for absent in ("bin/sh", "usr/bin/dpkg", "usr/bin/apt", "usr/bin/perl", "usr/lib/x86_64-linux-gnu/gconv"):
        assert not os.path.lexists(os.path.join(image, absent)), absent
    with open(os.path.join(image, "etc/ssl/certs/ca-certificates.crt"), encoding="ascii") as f:
        assert f.read().count("BEGIN CERTIFICATE") > 100
    # OpenSSL looks there by default.
    assert os.readlink(os.path.join(image, "usr/lib/ssl/cert.pem")) == "/etc/ssl/certs/ca-certificates.crt"
    packages = set(os.listdir(os.path.join(image, "var/lib/dpkg/status.d")))
    assert {"libpq5", "librdkafka1", "libc6", "tini", "libssl3"} <= packages
    for package in packages:
        assert os.path.isfile(os.path.join(image, "usr/share/doc", package, "copyright")), package
    code, text = contained(args=["version"]).run()
    assert code == 0 and text.startswith("outboxd "), text


def test_every_library_of_the_program_is_in_the_image(image):
    """ldd of the image itself: its own loader, none of the machine's libraries."""
    for program in ("/usr/bin/outboxd", "/usr/bin/tini"):
        text = subprocess.run(["chroot", image, "/lib64/ld-linux-x86-64.so.2", "--list", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=True).stdout
        assert "not found" not in text and "libc.so.6" in text, text


def test_pid_1_takes_in_orphans_and_hands_on_signals_and_the_exit_code(contained, secret, database, kafka, prefix):
    kafka.create_topic(f"{prefix}.order")
    one = contained(env=environment(database, kafka, prefix), mounts=secret, groups=[4242]).start()
    first = one.pid
    # Such as what `kubectl exec` leaves: a process whose parent ends before it does.
    assert one.inside("sh", "-c", "sleep 600 >/dev/null 2>&1 &").returncode == 0
    relay, orphan = eventually(lambda: len(children(first)) == 2 and children(first), what="PID 1 has the orphan")
    os.kill(orphan, signal.SIGKILL)
    eventually(lambda: children(first) == [relay], what="PID 1 has waited for it")
    assert processes(one)[1]["name"] == "outboxd"
    os.kill(children(first)[0], signal.SIGKILL)
    assert one.wait_exit() == 128 + signal.SIGKILL, one.log_tail()
    code, text = contained(args=["run", "-c", "/absent.conf"]).run()
    assert code == 1 and "/absent.conf" in text, text


def test_a_secret_that_the_user_may_not_read_is_named(contained, secret, database, kafka, prefix):
    code, text = contained(env=environment(database, kafka, prefix), mounts=secret, uid=777).run()
    assert code == 1 and "/run/secrets/outboxd/password" in text and "ermission" in text, text


def test_the_helper_for_consumer_groups_runs_in_the_container(contained, secret, database, kafka, prefix):
    """It is started from /proc/self/exe, and is no child of PID 1."""
    kafka.create_topic(f"{prefix}.order")
    one = contained(env={**environment(database, kafka, prefix), "OUTBOXD_MONITOR_CONSUMER_GROUPS": "billing"}, mounts=secret, groups=[4242]).start()
    relay = children(one.pid)[0]
    eventually(lambda: children(relay), what=lambda: f"the helper runs\n{one.log_tail()}")
    assert not one.log_lines("CONSUMER_GROUPS_HELPER")
    one.stop()


def test_the_containerfile_calls_scripts_alone_and_hadolint_finds_nothing(image):
    with open(container.CONTAINERFILE, encoding="utf-8") as f:
        text = f.read()
    runs = re.findall(r"^RUN (.*)$", text, re.M)
    assert runs and all(re.fullmatch(r"/src/packaging/container/\w+( /\w+)*", run) for run in runs), runs
    for script in {run.split()[0] for run in runs}:
        assert os.access(ROOT + script.removeprefix("/src"), os.X_OK), script
    for source in container.sources():
        assert os.path.exists(os.path.join(ROOT, source)), source
    for program in [word for word in container.said_by_containerfile("ENTRYPOINT") if word.startswith("/")]:
        assert os.path.exists(image + program), program
    uid = container.said_by_containerfile("USER").split(":")[0]
    assert uid.isdigit() and int(uid) > 0, "a number, so that runAsNonRoot can be checked"
    done = subprocess.run([tools.hadolint(), container.CONTAINERFILE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout


@pytest.mark.soak
@pytest.mark.skipif(not shutil.which("buildah"), reason="buildah is not installed")
def test_buildah_builds_the_containerfile(work_directory, contained):
    """The Containerfile itself, from a base that is an image for the moment; nothing is fetched from a registry of images."""
    storage = ["--root", os.path.join(work_directory, "buildah"), "--runroot", os.path.join(work_directory, "buildah-run")]

    def buildah(*words):
        done = subprocess.run(["buildah", *storage, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500, cwd=ROOT)
        assert done.returncode == 0, f"buildah {' '.join(words)}\n{done.stdout[-4000:]}"
        return done.stdout.strip()

    begin = time.monotonic()
    base = buildah("from", "scratch").splitlines()[-1]
    buildah("copy", "--quiet", base, container.base(), "/")
    buildah("commit", "--quiet", base, "localhost/debian-here")
    buildah("build", "--isolation", "chroot", "--pull-never", "--build-arg", "BASE=localhost/debian-here", "-f", container.CONTAINERFILE, "-t", "localhost/outboxd", ".")
    print(f"built in {time.monotonic() - begin:.0f} s")
    config = json.loads(buildah("inspect", "--type", "image", "localhost/outboxd"))["OCIv1"]["config"]
    assert config["Entrypoint"] == container.said_by_containerfile("ENTRYPOINT") and config["User"] == container.said_by_containerfile("USER")
    made = buildah("from", "--pull-never", "localhost/outboxd").splitlines()[-1]
    mount = buildah("mount", made).splitlines()[-1]
    one = container.Container(mount, tempfile.mkdtemp(prefix="container-", dir=work_directory), args=["version"])
    code, text = one.run()
    assert code == 0 and text.startswith("outboxd "), text
    assert container.compressed(mount) <= SIZE_MAX
    buildah("umount", made)
