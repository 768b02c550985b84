# Sourced by tests/run: what makes redesigns safe. Names that scripts rely on, mutants, the binary of before as an oracle.

# guard_names [--renew]: what the program tells by itself, then what running relays tell.
guard_names() {
    local renew=()
    [ "${1:-}" = --renew ] && renew=(--renew) && export OUTBOXD_RENEW_NAMES=1
    build release && "$python" tests/support/names.py "${renew[@]}" build/release/outboxd &&
        (cd tests && OUTBOXD_PRESET=release "$python" -m pytest -q integration/test_names.py)
}

# guard_oracle ARG...: the binary of now, with fail points and without sanitizers, beside the one of before.
guard_oracle() {
    build dev >"$logs/build+dev.log" 2>&1 || { tail -n 40 "$logs/build+dev.log"; return 1; }
    OUTBOXD_PRESET=dev "$python" tests/faults/oracle.py "$@"
}
