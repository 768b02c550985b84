"""The systemd unit as a list of limits, and what a program did, as strace wrote it, beside them.

    unit = Unit()                               # of packaging/systemd
    unit.syscalls()                             # names that its filter permits
    deeds = Deeds.read([path, ...])             # files of strace -f
    unit.breaches(deeds, writable=[...])        # lines: what the unit would have refused

The filter is that of systemd: the first SystemCallFilter= is a list of what is permitted, and one that begins with ~ takes away from it. Which calls
a set such as @system-service holds is what `systemd-analyze syscall-filter` says.
"""

import os
import re
import subprocess
import tempfile

from .relay import ROOT

# What one thread of a program asks, `-e trace=all` and paths whole.
STRACE = ("strace", "-D", "-f", "-qq", "-s", "512", "-e", "trace=all", "-e", "signal=none")
_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SET_ID = re.compile(r"\b0[2467]\d{3}\b|S_IS[UG]ID")
_CHANGES = {"mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "truncate",
            "creat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "mknod", "mknodat", "utimensat", "setxattr"}
# With ProtectKernelTunables, ProcSubset=pid and PrivateDevices these are what is left of /proc and /dev.
_OWN_PROCESS = re.compile(r"/proc/(self|thread-self|\d+)(/|$)")
_DEVICES = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/log"}


class Unit:
    def __init__(self, path=os.path.join(ROOT, "packaging", "systemd", "outboxd.service.in")):
        self.path, self.settings = path, {}
        with open(path, encoding="utf-8") as f:
            for line in f:
                key, equals, value = line.strip().partition("=")
                if equals and not key.startswith("#"):
                    self.settings.setdefault(key, []).append(value)

    def words(self, key):
        return " ".join(self.settings.get(key, [])).split()

    def syscalls(self):
        sets, permitted = syscall_sets(), set()
        for line in self.settings["SystemCallFilter"]:
            names = _expanded(line.lstrip("~").split(), sets)
            permitted = permitted - names if line.startswith("~") else permitted | names
        return permitted | _expanded(["@default"], sets)

    def exposure(self):
        """What `systemd-analyze security` thinks of it, 0 to 10."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "outboxd.service")
            with open(self.path, encoding="utf-8") as template, open(path, "w", encoding="utf-8") as unit:
                unit.write(re.sub(r"@\w+@", "", template.read().replace("@CMAKE_INSTALL_FULL_BINDIR@", "/usr/bin")))
            said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True)
        return float(re.search(r"exposure level for \S+ (\d+\.\d+)", said.stdout).group(1))

    def breaches(self, deeds, writable=()):
        """What the unit would have refused, a line each. `writable`: directories that stand for StateDirectory and PrivateTmp."""
        found = [f"system call {name}" for name in sorted(deeds.syscalls - self.syscalls())]
        found += [f"socket of {family}" for family in sorted(deeds.families - set(self.words("RestrictAddressFamilies")))]
        for path, why in sorted(deeds.written.items()):
            if path not in _DEVICES and not _OWN_PROCESS.match(path) and not any(path.startswith(f"{w.rstrip('/')}/") or path == w for w in writable):
                found.append(f"writes {path} ({why})")
        found += [f"reads {path}, which ProcSubset=pid hides" for path in sorted(deeds.read) if path.startswith("/proc/") and not _OWN_PROCESS.match(path)]
        found += [f"opens {path}, which PrivateDevices hides" for path in sorted(deeds.read)
                  if path.startswith("/dev/") and path not in _DEVICES and not path.startswith("/dev/shm/")]
        return found + sorted(deeds.forbidden)


def syscall_sets():
    """Name of a set -> names in it, sets among them."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    sets = {}
    for line in said.splitlines():
        if line.startswith("@"):
            now = sets.setdefault(line.strip(), set())
        elif line.startswith(" ") and not line.strip().startswith("#"):
            now.add(line.strip())
    assert "read" in _expanded(["@system-service"], sets), said[:2000]
    return sets


def _expanded(names, sets):
    found = set()
    for name in names:
        found |= _expanded(sets[name], sets) if name.startswith("@") else {name}
    return found


class Deeds:
    """What the processes of some files of strace asked the kernel for."""

    def __init__(self):
        self.syscalls, self.families, self.forbidden = set(), set(), set()
        self.written, self.read = {}, set()     # path -> the call

    @classmethod
    def read_files(cls, paths):
        deeds = cls()
        for path in paths:
            with open(path, encoding="utf-8", errors="replace") as f:
                for line in f:
                    match = _CALL.match(line)
                    if match:
                        deeds.note(*match.groups())
        return deeds

    def note(self, name, arguments):
        self.syscalls.add(name)
        if name in ("socket", "socketpair"):
            self.families.add(arguments.split(",")[0])
        elif name in ("open", "openat", "openat2"):
            self._opened(arguments)
        elif name in _CHANGES:
            for path in _PATH.findall(arguments):
                self.written[path] = name
        if name in ("mmap", "mprotect", "pkey_mprotect"):
            self._mapped(name, arguments)
        if name in ("clone", "clone3", "unshare") and "CLONE_NEW" in arguments or name == "setns":
            self.forbidden.add(f"makes or enters a namespace: {name}")
        if name in ("chmod", "fchmod", "fchmodat", "openat", "mkdir", "mkdirat") and _SET_ID.search(arguments.split('"')[-1]):
            self.forbidden.add(f"sets set-user-id or set-group-id: {name}({arguments[:80]}")
        if name.startswith("sched_set") and re.search("SCHED_(FIFO|RR|DEADLINE)", arguments):
            self.forbidden.add("asks for real-time scheduling")

    def _opened(self, arguments):
        found = _PATH.search(arguments)
        if found is None:
            return
        if re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", arguments):
            self.written[found.group(1)] = "open"
        else:
            self.read.add(found.group(1))

    def _mapped(self, name, arguments):
        """MemoryDenyWriteExecute."""
        if "PROT_EXEC" in arguments and ("PROT_WRITE" in arguments or name != "mmap"):
            self.forbidden.add(f"memory that is written and executed: {name}")
