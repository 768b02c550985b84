#!/usr/bin/env python3
"""Looks that each file includes only what it uses.

    tests/support/includes.py [ROOT]      exit code 1 and one line for each include that is not used

An include of a header of ours is used when the file names something that the header declares: a function, a type, a constant, a macro. An
include of a standard header is used when the file names something of STANDARD; headers that are not in that table are taken to be used. A
source file may always include the header of its own name. Headers that declare nothing of their own, and those that put names together
(##), are taken to be used, and so is an include with a comment on its line, which says what it is for (a struct whose members alone are
named). house.py counts the same.
"""

import functools
import os
import re
import sys

from sources import read, report, root_of, sources, without_comments

INCLUDE = re.compile(r'^#include ["<]([\w./-]+)[">]', re.M)
KEPT = re.compile(r'^#include ["<][\w./-]+[">] */\*.*\*/$', re.M)
STRINGS = re.compile(r'"(?:\\.|[^"\\\n])*"')
WORD = re.compile(r"[A-Za-z_]\w*")
KEYWORDS = set("""auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return
short signed sizeof static struct switch typedef union unsigned void volatile while bool true false NULL size_t ssize_t""".split())
# What of a standard header is named, as a pattern of a whole word.
STANDARD = {
    "assert.h": r"assert|static_assert",
    "ctype.h": r"is[a-z]+|to(?:lower|upper)",
    "errno.h": r"errno|E[A-Z0-9]+|program_invocation\w*",
    "fcntl.h": r"O_\w+|F_\w+|AT_\w+|open|openat|fcntl|FD_CLOEXEC|posix_f\w+|SEEK_\w+|fallocate",
    "fnmatch.h": r"fnmatch|FNM_\w+",
    "inttypes.h": r"PRI\w+|SCN\w+|strto[iu]max|u?int\d+_t|INT64_C|U?INT\d+_\w+",
    "limits.h": r"[A-Z]*(?:INT|LONG|CHAR|SHRT|PATH|HOST_NAME|NAME|SSIZE|IOV)_(?:MAX|MIN|BIT)",
    "math.h": r"NAN|INFINITY|isnan|isfinite|isinf|floor|ceil|fabs|fm(?:in|ax|od)|l?l?round|sqrt|pow|exp|log|HUGE_VAL|signbit|trunc|l?lrint|exp2|log2|log10",
    "poll.h": r"poll\w*|POLL\w+|nfds_t",
    "pthread.h": r"pthread_\w+|PTHREAD_\w+",
    "signal.h": r"SIG\w+|sig\w+|kill|raise|pthread_sigmask",
    "stdarg.h": r"va_\w+",
    "stdatomic.h": r"atomic_\w+|ATOMIC_\w+|_Atomic|memory_order\w*",
    "stdbool.h": r"bool|true|false",
    "stddef.h": r"size_t|NULL|offsetof|ptrdiff_t|max_align_t",
    "stdint.h": r"u?int(?:_fast|_least)?\d*_t|u?intptr_t|u?intmax_t|U?INT\w*_(?:MAX|MIN|C)|SIZE_MAX|PTRDIFF_MAX",
    "stdio.h": r"FILE|stdin|stdout|stderr|EOF|BUFSIZ|[fsdva]*n?printf|[a-z]*(?:put|get)(?:s|c|char|line)?|f(?:open|close|read|write|flush|error)\w*"
               r"|f(?:eof|ileno|seek|tell)\w*|v\w+printf|f?s?scanf|perror|rename|remove|setvbuf|rewind|fdopen|open_memstream|fmemopen|clearerr"
               r"|\w*_unlocked|getdelim|tmpfile|popen|pclose|size_t|renameat2?",
    "stdlib.h": r"malloc|calloc|realloc\w*|free|abort|exit|_Exit|atexit|ato\w+|strto\w+|getenv|secure_getenv|setenv|unsetenv|putenv|qsort\w*|bsearch"
                r"|EXIT_(?:SUCCESS|FAILURE)|l*abs|l*div|realpath|mkstemp|mkdtemp|system|s?rand\w*|clearenv|NULL|size_t"
                r"|posix_memalign|aligned_alloc|reallocarray|arc4random\w*|quick_exit",
    "string.h": r"mem\w+|str\w+|rawmemchr|ffs\w*|NULL|explicit_bzero|basename",
    "strings.h": r"str(?:n)?casecmp\w*|ffs\w*|bzero|index|rindex",
    "sys/queue.h": r"(?:TAILQ|SLIST|STAILQ|LIST)_\w+",
    "time.h": r"time|time_t|timespec|clock_\w+|CLOCK_\w+|tm|gmtime\w*|localtime\w*|strftime|nanosleep|mktime|timegm|itimerspec|strptime|difftime|tzset",
    "unistd.h": r"read|write|close|pipe2?|fork|exec\w+|_exit|get\w+|set\w+|is\w+|sysconf|_SC_\w+|STD(?:IN|OUT|ERR)_FILENO|access|unlink\w*|lseek"
                r"|dup\d?|usleep|sleep|fsync|fdatasync|f?truncate|pread|pwrite|gethostname|chdir|rmdir|environ"
                r"|link|linkat|syscall|optarg|optind|F_OK|[RWX]_OK|alarm|pause|readlink\w*|confstr|sync|chown|fchown|nice|ssize_t|swab|ttyname\w*",
}


def words_of(text):
    return set(WORD.findall(text)) - KEYWORDS


@functools.lru_cache(maxsize=None)
def declared(root, path):
    """The names that a header gives to who includes it; those of headers that it includes in turn are theirs."""
    text = STRINGS.sub('""', without_comments(read(root, path)))
    if "##" in text:  # makes names that do not stand in it
        return frozenset()
    names = set(re.findall(r"^\s*#\s*define\s+(\w+)", text, re.M))
    code = re.sub(r"^\s*#.*(?:\\\n.*)*", "", re.sub(r"\\\n", " ", text), flags=re.M)
    for body in re.findall(r"\benum\b[^{};()]*\{([^{}]*)\}", code):
        names |= {WORD.match(part.strip()).group() for part in body.split(",") if WORD.match(part.strip())}
    flat, before = code, None
    while flat != before:  # bodies of structs and inline functions
        before, flat = flat, re.sub(r"\{[^{}]*\}", " @ ", flat)
    for statement in re.split(r";|(?<=\))\s*@", flat):
        names |= set(re.findall(r"\b(?:struct|union|enum)\s+(\w+)", statement))
        names |= set(re.findall(r"(\w+)\s*\(", statement))
        if "(" not in statement or statement.strip().startswith("typedef"):
            names |= set(re.findall(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?:=.*)?$", statement.strip(), re.S)[:1])
            names |= set(re.findall(r"\(\*(\w+)\)", statement))
    return frozenset(names - KEYWORDS)


def header_of(root, name):
    for base in ("relay", "", "sql", "packaging", "tests"):
        if os.path.isfile(os.path.join(root, base, name)):
            return os.path.join(base, name)
    return None


def problems_of(root, path):
    text = without_comments(KEPT.sub("", read(root, path)))
    code = INCLUDE.sub("", text)
    used = words_of(code)
    for name in INCLUDE.findall(text):
        if name in STANDARD:
            known = re.compile(STANDARD[name])
            if not any(known.fullmatch(word) for word in WORD.findall(STRINGS.sub('""', code))):
                yield f"{path}: does not use <{name}>"
            continue
        header = header_of(root, name)
        if header is None or not name.endswith(".h") or os.path.splitext(header)[0] == os.path.splitext(path)[0]:
            continue
        gives = declared(root, header)
        if gives and not gives & used:
            yield f'{path}: does not use "{name}"'


def unused(root):
    """A line for each include of the program that is not used."""
    return [problem for path in sources(root) for problem in problems_of(root, path)]


def main():
    root = root_of(sys.argv)
    return report(unused(root), f"{len(sources(root))} files include what they use")


if __name__ == "__main__":
    sys.exit(main())
