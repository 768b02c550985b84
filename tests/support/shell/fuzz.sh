# shellcheck shell=bash disable=SC2154 # variables of tests/run
# Sourced by tests/run: fuzzes every target of tests/fuzz for a share of the time.

fuzz_can_link() {
    echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }' |
        clang -fsanitize=fuzzer,address,undefined -x c - -o "$logs/fuzz_can_link" 2>&1
}

# libFuzzer comes with clang, in a package of its own.
fuzz_setup() {
    fuzz_can_link >/dev/null && return 0
    setup_packages+=("libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev")
    setup_apt && fuzz_can_link
}

fuzz_build() { cmake --preset fuzz && cmake --build --preset fuzz --parallel "$jobs" --target fuzz_targets; }

# fuzz_one NAME SECONDS: new units go to build/fuzz/units/NAME and serve the next run, too; findings to build/fuzz/findings.
fuzz_one() {
    local name=$1 seconds=$2
    mkdir -p "build/fuzz/units/$name" build/fuzz/findings
    nice -n 10 "build/fuzz/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="build/fuzz/findings/$name-" \
        "build/fuzz/units/$name" "tests/fuzz/corpus/$name" >"$logs/fuzz.$name" 2>&1 </dev/null
    echo $? >"$logs/fuzz.$name.status"
}

# fuzz_report NAME: one line of the table; 1 when there is a finding.
fuzz_report() {
    local name=$1 log=$logs/fuzz.$1 executions status artifact found=0
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    status=$(cat "$log.status")
    artifact=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)
    [ "$status" -eq 0 ] || found=1
    printf '  %-14s %14s %8s\n' "$name" "${executions:-?}" "$found"
    [ $found -eq 0 ] && return 0
    grep -m 1 -E '^(SUMMARY|==[0-9]+== *ERROR)|runtime error:' "$log" | cut -c1-200 | sed 's/^/      /'
    if [ -n "$artifact" ]; then
        echo "      input   $artifact"
        echo "      again   build/fuzz/tests/fuzz/fuzz_$name $artifact"
        echo "      mended  it goes to tests/fuzz/corpus/$name, under a name that says what it is"
    else
        echo "      no input was left (exit code $status); the end of its log:"
        tail -n 5 "$log" | sed 's/^/      /'
    fi
    return 1
}

# fuzz_all SECONDS: all targets, as many at once as there are processors, within about that time.
fuzz_all() {
    local names=() name share findings=0
    mapfile -t names < <(find build/fuzz/tests/fuzz -maxdepth 1 -name 'fuzz_*' -printf '%f\n' | sed 's/^fuzz_//' | sort)
    share=$(($1 * jobs / ${#names[@]}))
    [ "$share" -ge 1 ] || share=1
    export -f fuzz_one
    export logs
    printf '%s\n' "${names[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz_one "$1" "$2"' _ {} "$share"
    printf '  %-14s %14s %8s   (%s s each)\n' target executions findings "$share"
    for name in "${names[@]}"; do fuzz_report "$name" || findings=$((findings + 1)); done
    [ $findings -eq 0 ] || echo "$findings of ${#names[@]} targets have a finding"
    [ $findings -eq 0 ]
}
