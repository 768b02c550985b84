#!/usr/bin/env python3
"""clang's warnings and clang-tidy for every C file of a build directory; what passed with the same input is not looked at again.

    tests/support/tidy.py BUILD [--deep all|changed|none] [--jobs N]      exit code 1 and the findings

Nearly all of clang-tidy's time is the static analyzer, nearly all of that its deep mode, which follows calls. So every file gets the
shallow mode, and the deep one what differs from the commit before (of a merge: all that it brings) or is not committed; `--deep all`
is for once in a while (tests/run soak).

The memory is $OUTBOXD_CACHE/tidy: a file for each input that passed, named by a hash of the mode, the compiler's command, the file and
all headers of ours that it includes, the rules, and the versions of the tools and libraries.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
SHALLOW = ["--extra-arg=" + word for word in ("-Xclang", "-analyzer-config", "-Xclang", "mode=shallow")]
KEPT_DAYS = 30


def output_of(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, **more).stdout


class Inputs:
    """What a file is compiled from."""

    def __init__(self, root):
        self.root, self.contents = root, {}
        versions = output_of("clang-tidy", "--version") + output_of("dpkg-query", "-W", "*-dev", "libc6*", "clang*")
        self.common = hashlib.sha256(versions).digest()

    def read(self, path):
        if path not in self.contents:
            try:
                with open(path, "rb") as f:
                    text = f.read()
            except OSError:
                text = None
            self.contents[path] = (text, text and [name.decode() for name in INCLUDE.findall(text)])
        return self.contents[path]

    def closure(self, path, folders, seen):
        """The file and all headers that it includes between quotation marks, in a fixed order."""
        real = os.path.realpath(path)
        text, names = self.read(real)
        if text is None or real in seen:
            return seen
        seen[real] = text
        for name in names:
            for folder in [os.path.dirname(path), *folders]:
                if os.path.exists(os.path.join(folder, name)):
                    self.closure(os.path.join(folder, name), folders, seen)
                    break
        return seen

    def rules(self, path):
        folder, result = os.path.dirname(path), []
        while len(folder) >= len(self.root):
            result.append(self.read(os.path.join(folder, ".clang-tidy"))[0] or b"")
            folder = os.path.dirname(folder)
        return result

    def key(self, mode, path, command):
        digest = hashlib.sha256(self.common + mode.encode() + command.replace(self.root, "").encode())
        folders = [word[2:] for word in shlex.split(command) if word.startswith("-I")]
        for text in [*self.rules(path), *self.closure(path, folders, {}).values()]:
            digest.update(b"\0%d\0" % len(text) + text)
        return digest.hexdigest()


def files_of(build):
    """path -> command; a file that is compiled twice is looked at once."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    return {os.path.join(entry["directory"], entry["file"]): re.sub(r"\S*/CMakeFiles/\S+|CMakeFiles/\S+", "", entry["command"]) for entry in entries}


def changed(root):
    """Files that the last commit or merge brought, or that are not committed."""
    names = output_of("git", "diff", "--name-only", "HEAD^1", cwd=root) or output_of("git", "diff", "--name-only", "HEAD", cwd=root)
    names += output_of("git", "ls-files", "-o", "--exclude-standard", cwd=root)
    return {os.path.join(root, name) for name in names.decode().split("\n") if name}


def look(build, mode, path):
    """What clang-tidy has to say; nothing when the file is fine."""
    result = subprocess.run(["clang-tidy", "--quiet", "-p", build, *(SHALLOW if mode == "shallow" else []), path],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return result.stdout if result.returncode != 0 else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--deep", choices=("all", "changed", "none"), default="changed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    memory = os.path.join(os.environ.get("OUTBOXD_CACHE") or os.path.expanduser("~/.cache/outboxd"), "tidy")
    os.makedirs(memory, exist_ok=True)
    for name in os.listdir(memory):
        if os.stat(os.path.join(memory, name)).st_mtime < time.time() - KEPT_DAYS * 86400:
            os.unlink(os.path.join(memory, name))

    files, inputs, work, deep = files_of(options.build), Inputs(root), [], 0
    wanted = set(files) if options.deep == "all" else changed(root) if options.deep == "changed" else set()
    for path, command in sorted(files.items()):
        keys = {mode: os.path.join(memory, inputs.key(mode, path, command)) for mode in ("shallow", "deep")}
        known = [keys["deep"]] if path in wanted else list(keys.values())
        for key in known:
            if os.path.exists(key):
                os.utime(key)
                break
        else:
            mode = "deep" if path in wanted and not path.startswith(os.path.join(root, "tests", "")) else "shallow"
            deep += mode == "deep"
            work.append((path, mode, keys["deep" if path in wanted else mode]))

    status = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for (path, _, key), text in zip(work, pool.map(lambda one: look(options.build, one[1], one[0]), work)):
            if text:
                status = 1
                print(f"clang-tidy: {os.path.relpath(path, root)}\n{text}")
            else:
                open(key, "w", encoding="ascii").close()
    if len(files) < 100:
        print(f"only {len(files)} files in {options.build}")
        status = 1
    print(f"note: {len(files)} files, {len(work)} of them looked at, {deep} in depth")
    return status


if __name__ == "__main__":
    sys.exit(main())
