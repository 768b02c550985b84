# Sourced by tests/run: checks that need no server. Each is one test.

lint_c_files() { git ls-files -co --exclude-standard '*.c' '*.h' | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

lint_format() {
    mapfile -t files < <(lint_c_files)
    clang-format --dry-run -Werror "${files[@]}" && echo "note: ${#files[@]} files"
}

lint_shell() {
    local status=0 f n=0
    while read -r f; do
        [ -f "$f" ] && head -c 64 "$f" | head -n 1 | grep -aqE '^#!.*\b(ba|da|)sh\b' || case $f in *.sh) ;; *) continue ;; esac
        n=$((n + 1))
        bash -n "$f" || status=1
    done < <(git ls-files -co --exclude-standard)
    echo "note: $n scripts"
    return $status
}

lint_python() {
    mapfile -t files < <(git ls-files -co --exclude-standard '*.py')
    "$python" - "${files[@]}" <<'PY'
import ast, sys
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as f:
        ast.parse(f.read(), name)
print(f"note: {len(sys.argv) - 1} files")
PY
}

# gcc's warnings differ with optimization; the asan build has shown those without.
lint_gcc() { build release -DOUTBOXD_WERROR=ON; }

lint_clang() {
    CC=clang cmake -S . -B build/clang -G Ninja -DCMAKE_BUILD_TYPE=Debug -DOUTBOXD_WERROR=ON -DOUTBOXD_FAILPOINTS=ON &&
        cmake --build build/clang --parallel "$jobs"
}

# clang-tidy is slow, so a file that passed with the same compiler input is not looked at again: the cache
# remembers a hash of the preprocessed text, the rules and the tool's version.
lint_tidy_file() {
    local file=$1 key
    key=$( (clang-tidy --version; cat .clang-tidy; sed -n "/\"command\".*$(basename "$file")\.o /p" build/clang/compile_commands.json
            tidy_preprocess "$file") | sha256sum | cut -d' ' -f1)
    [ -e "$OUTBOXD_CACHE/tidy/$key" ] && return 0
    clang-tidy --quiet -p build/clang "$file" 2>/dev/null || return 1
    : >"$OUTBOXD_CACHE/tidy/$key"
}

tidy_preprocess() {
    "$python" - "$1" <<'PY'
import json, os, shlex, subprocess, sys
path = os.path.abspath(sys.argv[1])
for entry in json.load(open("build/clang/compile_commands.json")):
    if os.path.join(entry["directory"], entry["file"]) == path:
        words = shlex.split(entry["command"])
        at = words.index("-o")
        del words[at:at + 2]
        words.remove("-c")
        sys.stdout.buffer.write(subprocess.run(words + ["-E"], cwd=entry["directory"], stdout=subprocess.PIPE).stdout)
PY
}

lint_tidy() {
    mkdir -p "$OUTBOXD_CACHE/tidy"
    find "$OUTBOXD_CACHE/tidy" -type f -mtime +30 -delete
    export -f lint_tidy_file tidy_preprocess
    export python
    mapfile -t files < <("$python" -c 'import json, os
for e in json.load(open("build/clang/compile_commands.json")):
    p = os.path.relpath(os.path.join(e["directory"], e["file"]))
    if p.startswith(("relay/", "cdc/", "packaging/", "sql/")): print(p)' | sort -u)
    [ ${#files[@]} -gt 0 ] || { echo "no files to check"; return 1; }
    printf '%s\n' "${files[@]}" | xargs -P "$jobs" -I{} bash -c 'lint_tidy_file "$1" || { echo "clang-tidy: $1"; exit 1; }' _ {} &&
        echo "note: ${#files[@]} files"
}

# The committed sample is what the program prints.
lint_sample() {
    [ -x build/release/outboxd ] || { echo "no release build"; return 1; }
    diff -u conf/outboxd.conf <(build/release/outboxd config print) &&
        echo "note: conf/outboxd.conf is current"
}

# Nothing of a test build in what users run.
lint_release() {
    [ -x build/release/outboxd ] || { echo "no release build"; return 1; }
    if nm build/release/outboxd | grep -qE ' (failpoint_hit|__asan_init)$'; then
        echo "the release build carries fail points or sanitizers"
        return 1
    fi
    echo "note: $(stat -c %s build/release/outboxd | numfmt --to=iec) with symbols"
}

# The table of log codes has every code that the sources use, and no other.
lint_codes() { "$python" tests/support/log_codes.py; }

# Every connection to PostgreSQL is made where it gets its search_path.
lint_connections() { "$python" tests/support/connections.py; }

# Values of an answer are read where one that lacks them is noted.
lint_results() { "$python" tests/support/results.py; }

# Each test that SECURITY.md and tests/TRIALS.md name exists.
lint_named() { "$python" tests/support/named_tests.py; }

# The patch of each mutant applies, and the tests it names exist.
lint_mutants() { "$python" tests/support/mutants.py --check; }

# What the program calls things is what other people's scripts expect.
lint_names() {
    [ -x build/release/outboxd ] || { echo "no release build"; return 1; }
    "$python" tests/support/names.py build/release/outboxd
}

lint_lengths() {
    local long
    long=$(lint_c_files | xargs wc -l | awk '$2 != "total" && $1 > 600 { print $2 " has " $1 " lines" }')
    if [ -n "$long" ]; then echo "note: over 600 lines: $(tr '\n' ';' <<<"$long")"; else echo "note: no C file over 600 lines"; fi
}

lint_parts() {
    part "lint format" lint_format
    part "lint shell" lint_shell
    part "lint python" lint_python
    part "lint codes" lint_codes
    part "lint connections" lint_connections
    part "lint results" lint_results
    part "lint named tests" lint_named
    part "lint mutants" lint_mutants
    part "lint lengths" lint_lengths
    part "lint gcc release" lint_gcc && {
        part "lint release" lint_release
        part "lint sample" lint_sample
        part "lint names" lint_names
    }
    part "lint clang" lint_clang && part "lint tidy" lint_tidy
}
