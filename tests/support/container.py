"""The image of outboxd, made by the scripts of packaging/container and run by an OCI runtime (runc), without a container engine.

    root = container.image()               the root file system of the image, built from this tree; cached by what it is built from
    one = container.Container(root, directory, args=["run"], env={...}, mounts={"/run/secrets/outboxd": path}, uid=12345)
    one.start(); one.http("/livez"); one.stop()

The base is a Debian 12 by debootstrap with the packages that the build needs; it is made once for each version of the scripts that make it. Both need root and
the programs debootstrap and runc: missing() says which of them is not there.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from . import CACHE
from .common import at_pace, eventually
from .fetch import for_packaging
from .relay import ROOT, Relay

SCRIPTS = os.path.join(ROOT, "packaging", "container")
CONTAINERFILE = os.path.join(SCRIPTS, "Containerfile")
IMAGES_KEPT = 3
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


def missing():
    """Why no container can be made here; empty when it can."""
    if os.geteuid() != 0:
        return "a root file system is made and entered by root only"
    absent = [name for name in ("debootstrap", "runc", "unshare") if not shutil.which(name)]
    return f"not installed: {', '.join(absent)}" if absent else ""


def _digest(*paths):
    """Of the contents of files and of all files below directories."""
    result = hashlib.sha256()
    for path in paths:
        names = [path] if os.path.isfile(path) else sorted(p for p in glob.glob(os.path.join(path, "**"), recursive=True) if os.path.isfile(p))
        for name in names:
            with open(name, "rb") as f:
                result.update(f"{os.path.relpath(name, ROOT)}\0".encode() + hashlib.sha256(f.read()).digest())
    return result.hexdigest()[:16]


def entering(root, command, binds=()):
    """The words that run a command in a root file system, with /proc, /dev and these directories of ours (source, target) bound into it."""
    script = ["mount --make-rprivate /", f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev",
              f"mount -t tmpfs tmpfs {root}/tmp"]
    for source, target in binds:
        script += [f"mkdir -p {root}{target}", f"mount --bind {source} {root}{target}"]
    script.append(f'exec chroot {root} /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"')
    return [*UNSHARE, "sh", "-e", "-c", "\n".join(script), "sh", *command]


def enter(root, command, binds=(), **more):
    """Run it to its end; its output."""
    done = subprocess.run(entering(root, command, binds), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500, **more)
    assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


def base():
    """The Debian that the image is built in."""
    def make(directory):
        # Names of servers are looked up as on this machine.
        done = subprocess.run([os.path.join(SCRIPTS, "base"), directory], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=1500)
        assert done.returncode == 0, done.stdout[-3000:]
        enter(directory, ["env", "PACKAGES=ccache", "/src/packages"], [(SCRIPTS, "/src")])
    return for_packaging(f"container-base-{_digest(os.path.join(SCRIPTS, 'base'), os.path.join(SCRIPTS, 'packages'))}", make)


def sources():
    """What the Containerfile copies for the build, as it says there."""
    with open(CONTAINERFILE, encoding="utf-8") as f:
        return re.findall(r"^COPY (?!--)(\S+) /src/", f.read(), re.M)


def image():
    """The root file system of the image of this tree."""
    root = base()
    name = f"container-image-{_digest(*(os.path.join(ROOT, one) for one in sources()))}-{os.path.basename(root)[-16:]}"

    def make(directory):
        os.makedirs(os.path.join(CACHE, "container-ccache"), exist_ok=True)
        build(root, directory, (os.path.join(CACHE, "container-ccache"), "/ccache"))
    with _alone():   # two workers would build it twice
        result = for_packaging(name, make)
        os.utime(result)
        for old in sorted(glob.glob(os.path.join(CACHE, "container-image-*")), key=os.path.getmtime)[:-IMAGES_KEPT]:
            if time.time() - os.path.getmtime(old) > 3600:
                shutil.rmtree(old, ignore_errors=True)
    return result


def build(root, directory, *binds):
    """What `RUN /src/packaging/container/build /src /image` does, in a copy of nothing: source and result are bound into the base."""
    ccache = ["CMAKE_C_COMPILER_LAUNCHER=ccache", "CCACHE_DIR=/ccache", "CCACHE_NOHASHDIR=1"] if binds else []
    out = os.path.join(directory, "image")
    os.makedirs(out)
    said = enter(root, ["env", *ccache, "/src/packaging/container/build", "/src", "/image"], [(ROOT, "/src"), (out, "/image"), *binds])
    for one in os.listdir(out):
        shutil.move(os.path.join(out, one), directory)
    os.rmdir(out)
    return said


@contextlib.contextmanager
def _alone():
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "container.lock"), "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def compressed(root):
    """Bytes of the image's one layer, as registries store it."""
    packed = subprocess.run(f"tar -C {root} --sort=name -cf - . | gzip -6 | wc -c", shell=True, check=True, stdout=subprocess.PIPE, text=True)
    return int(packed.stdout)


def said_by_containerfile(word):
    """The list behind ENTRYPOINT or CMD, or the text behind another word, of the image's last stage."""
    with open(CONTAINERFILE, encoding="utf-8") as f:
        text = re.findall(rf"^{word} (.*)$", f.read(), re.M)[-1]
    return json.loads(text) if text.startswith("[") else text


class Container(Relay):
    """One container, which is a relay to whoever asks it. Nothing of our environment gets in."""

    def __init__(self, root, directory, args=None, command=None, env=None, mounts=None, uid=12345, gid=None, groups=(), readonly=True, network=True, listen=None):
        super().__init__(None, directory, listen=listen)
        # A copy: the runtime makes in it what something is mounted on.
        self.image, self.root = root, os.path.join(directory, "root")
        self.mounts, self.readonly, self.network = mounts or {}, readonly, network
        self.uid, self.gid, self.groups = uid, uid if gid is None else gid, list(groups)
        words = said_by_containerfile("ENTRYPOINT") if command is None else command
        self.words = [*words, *(said_by_containerfile("CMD") if args is None and command is None else args or [])]
        # 127.0.0.1 is the machine's here, unless the container has a network of its own.
        self.variables = {**({"OUTBOXD_MONITOR_LISTEN": f"127.0.0.1:{self.port}"} if listen is None else {}), **(env or {})}
        self.name = f"outboxd-{os.getpid()}-{os.path.basename(directory)}"
        self.runtime = ["runc", "--root", os.path.join(directory, "runc")]

    def _bundle(self):
        """config.json of the OCI runtime specification, as strict as the manifests ask for."""
        none = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
        mounts = [{"destination": "/proc", "type": "proc", "source": "proc"},
                  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}]
        mounts += [{"destination": target, "type": "bind", "source": source, "options": ["rbind", "ro"]} for target, source in self.mounts.items()]
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", *([] if self.network else ["network"]))]
        config = {"ociVersion": "1.0.2", "hostname": "outboxd", "root": {"path": self.root, "readonly": self.readonly}, "mounts": mounts,
                  "process": {"args": self.words, "cwd": "/", "env": ["PATH=/usr/bin:/bin", *(f"{k}={v}" for k, v in self.variables.items())],
                              "user": {"uid": self.uid, "gid": self.gid, "additionalGids": self.groups}, "capabilities": none, "noNewPrivileges": True},
                  "linux": {"namespaces": namespaces, "maskedPaths": ["/proc/kcore", "/proc/keys"], "readonlyPaths": ["/proc/sys", "/proc/bus", "/proc/fs"]}}
        with open(os.path.join(self.directory, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)

    def start(self, wait_ready=True, timeout=20):
        if not os.path.isdir(self.root):
            subprocess.run(["cp", "-a", "--reflink=auto", self.image, self.root], check=True)
        self._bundle()
        self.starts += 1
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.runtime, "run", "--bundle", self.directory, f"{self.name}-{self.starts}"], cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait_ready:
            self.wait_ready(timeout)
        return self

    def run(self, timeout=30):
        """To its end: (exit code, what it wrote)."""
        self.start(wait_ready=False)
        code = self.wait_exit(timeout)
        return code, self.log_text()

    @property
    def pid(self):
        """Of the container's PID 1, as we see it."""
        def known():
            done = subprocess.run([*self.runtime, "state", f"{self.name}-{self.starts}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
            return done.returncode == 0 and json.loads(done.stdout)["pid"]
        return eventually(known, what=lambda: f"the container runs\n{self.log_tail()}")

    def stop(self, timeout=20, expect=0):
        """SIGTERM to PID 1, as an engine does."""
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
        code = self.wait_exit(timeout)
        assert expect is None or code == expect, f"exit code {code}, expected {expect}\n{self.log_tail()}"
        return code

    def kill(self):
        subprocess.run([*self.runtime, "delete", "--force", f"{self.name}-{self.starts}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if self.process is not None and self.process.poll() is None:
            try:
                self.process.wait(at_pace(5))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def inside(self, *command, network=False):
        """Run a program of ours among the container's processes (or in its network)."""
        spaces = ["--net"] if network else ["--pid"]
        return subprocess.run(["nsenter", "--target", str(self.pid), *spaces, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              timeout=at_pace(20))


def mounted(files, mode=0o440, gid=0):
    """A directory as the kubelet mounts a Secret or a ConfigMap: each name is a link into ..data, which is a link to a directory."""
    directory = tempfile.mkdtemp(prefix="volume-")
    data = os.path.join(directory, "..2026_11_28")
    os.mkdir(data)
    for name, text in files.items():
        path = os.path.join(data, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chown(path, 0, gid)
        os.chmod(path, mode)
        os.symlink(os.path.join("..data", name), os.path.join(directory, name))
    os.symlink(os.path.basename(data), os.path.join(directory, "..data"))
    for path in (directory, data):
        os.chmod(path, 0o755)
    return directory
