#!/bin/sh
# format_flags.sh COMPILER FLAG...: shows that the flags of our targets refuse a format string that is
# no literal, and that they take the same call with one. Closes with the line that tests/run counts.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
write() { # name text
    printf '#include <stdio.h>\nvoid say(const char *text);\nvoid say(const char *text) { %s; }\n' "$2" >"$dir/$1.c"
}
try() { # name
    name=$1
    shift
    "$@" -c "$dir/$name.c" -o "$dir/$name.o" >"$dir/$name.out" 2>&1
}
write bad 'printf(text)'
write good 'printf("%s", text)'
failed=0
if try bad "$@"; then
    echo "printf(text) was compiled with: $*" >&2
    failed=1
elif ! grep -q 'format-security' "$dir/bad.out"; then
    echo "printf(text) was refused for another reason:" >&2
    cat "$dir/bad.out" >&2
    failed=1
fi
if ! try good "$@"; then
    cat "$dir/good.out" >&2
    failed=1
fi
echo "[====] Synthesis: Tested: 1 | Passing: $((1 - failed)) | Failing: $failed | Crashing: 0"
exit $failed
