# shellcheck shell=bash disable=SC2154 # variables of tests/run
# Sourced by tests/run: checks that need no server. Each is one test.

lint_c_files() { git ls-files -co --exclude-standard '*.c' '*.h' | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

lint_format() {
    mapfile -t files < <(lint_c_files)
    clang-format --dry-run -Werror "${files[@]}" && echo "note: ${#files[@]} files"
}

# lint_programs LANGUAGE SUFFIX: files with that suffix or with that interpreter in their first line. A tool that is not installed is a
# failure of its part, never a skip.
lint_programs() {
    local f
    git ls-files -co --exclude-standard | while read -r f; do
        [ -f "$f" ] || continue
        if [[ $f == *."$2" ]] || head -c 64 "$f" | head -n 1 | grep -aqE "^#!.*\\b($1)\\b"; then echo "$f"; fi
    done
}

lint_shell() {
    mapfile -t files < <(lint_programs 'sh|bash|dash' sh)
    shellcheck "${files[@]}" && echo "note: ${#files[@]} scripts"
}

lint_python() {
    mapfile -t files < <(lint_programs python3 py)
    "$python" -m flake8 "${files[@]}" && echo "note: ${#files[@]} files"
}

# Words in everything that people read: documents, comments, messages, tests. Recordings and corpora are bytes of others.
lint_spelling() {
    mapfile -t files < <(git ls-files -co --exclude-standard | grep -vE '^tests/(fuzz/corpus|fixtures)/|^LICENSE$')
    codespell --ignore-words tests/support/words --uri-ignore-words-list '*' "${files[@]}" && echo "note: ${#files[@]} files"
}

# gcc's warnings differ with optimization; the asan build has shown those without.
lint_gcc() { build release -DOUTBOXD_WERROR=ON; }

# Warnings of clang as errors and clang-tidy, for all C files. Nothing is built but what they include.
lint_clang() {
    CC=clang cmake -S . -B build/clang -G Ninja -DCMAKE_BUILD_TYPE=Debug -DOUTBOXD_WERROR=ON -DOUTBOXD_FAILPOINTS=ON &&
        cmake --build build/clang --target sql/migrations.c &&
        "$python" tests/support/tidy.py build/clang --jobs "$jobs" "$@"
}

# The committed sample is what the program prints.
lint_sample() {
    [ -x build/release/outboxd ] || { echo "no release build"; return 1; }
    diff -u conf/outboxd.conf <(build/release/outboxd config print) &&
        echo "note: conf/outboxd.conf is current"
}

# So is the configuration reference of the guide.
lint_options() {
    [ -x build/release/outboxd ] || { echo "no release build"; return 1; }
    "$python" tests/support/options.py build/release/outboxd
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

# Documents name the files that are there, and the tables of folders all of them.
lint_documents() { "$python" tests/support/documents.py; }

# The picture of the pipeline's states is what its table says.
lint_machine() { "$python" tests/support/machine.py; }

# Each block of the README and of the guide says what it needs to be run, or why it is not.
lint_pages() { "$python" tests/support/pages.py; }

# The metrics reference is what the sources say; documents, alerts and the dashboard name metrics of it.
lint_metrics() { "$python" tests/support/metrics.py; }

# What users read is plain English, with one word for one thing.
lint_words() { "$python" tests/support/words.py; }

# Each test that SECURITY.md and tests/TRIALS.md name exists.
lint_named() { "$python" tests/support/named_tests.py; }

# The patch of each mutant applies, and the tests it names exist.
lint_mutants() { "$python" tests/support/mutants.py --check; }

# What the program calls things is what other people's scripts expect.
lint_names() {
    [ -x build/release/outboxd ] || { echo "no release build"; return 1; }
    "$python" tests/support/names.py build/release/outboxd
}

# What makes the code hard to change has not become more. Its table is shown; what it may count is in house.limits.
lint_house() { "$python" tests/support/house.py | tee "$logs/house"; }

lint_parts() {
    part "lint format" lint_format
    part "lint shell" lint_shell
    part "lint python" lint_python
    part "lint spelling" lint_spelling
    part "lint codes" lint_codes
    part "lint connections" lint_connections
    part "lint results" lint_results
    part "lint documents" lint_documents
    part "lint machine" lint_machine
    part "lint pages" lint_pages
    part "lint metrics" lint_metrics
    part "lint words" lint_words
    part "lint named tests" lint_named
    part "lint mutants" lint_mutants
    part "lint house" lint_house && sed '/^note:/d; s/^/      /' "$logs/house"
    part "lint gcc release" lint_gcc && {
        part "lint release" lint_release
        part "lint sample" lint_sample
        part "lint options" lint_options
        part "lint names" lint_names
    }
    part "lint clang" lint_clang
}
