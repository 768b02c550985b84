# shellcheck shell=bash
# packages.sh - finds what this machine lacks and installs it with apt-get. Sourced by packaging/quickstart.

have() {
    command -v "$1" >/dev/null
}

library_missing() {
    ! have pkg-config || ! pkg-config --exists "$1"
}

# The directory of the newest PostgreSQL server here that has all we use; fails when there is none.
postgres_bin() {
    local bin program
    for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin | sort -Vr); do
        for program in initdb postgres psql pgbench; do
            [[ -x $bin/$program ]] || continue 2
        done
        echo "$bin"
        return 0
    done
    return 1
}

# Fills MISSING with the Debian packages that provide what is not here yet.
packages_find_missing() {
    MISSING=()
    if [[ -z $BUILD ]]; then
        have cmake || MISSING+=(cmake)
        have ninja || MISSING+=(ninja-build)
        have cc || MISSING+=(gcc)
        [[ -e /usr/include/stdio.h ]] || MISSING+=(libc6-dev)
        have pkg-config || MISSING+=(pkg-config)
        ! library_missing libpq || MISSING+=(libpq-dev)
        ! library_missing 'rdkafka >= 2.0.2' || MISSING+=(librdkafka-dev)
        ! library_missing libconfig || MISSING+=(libconfig-dev)
        ! library_missing libevent_extra || MISSING+=(libevent-dev)
        ! library_missing jansson || MISSING+=(libjansson-dev)
    fi
    postgres_bin >/dev/null || MISSING+=(postgresql)
    if [[ -n $KAFKA ]]; then
        have java || MISSING+=(default-jre-headless)
        [[ -d $CACHE/kafka-$KAFKA_VERSION ]] || have mvn || MISSING+=(maven)
    fi
}

# Debian's PostgreSQL package would set up and start a database server of its own, which nobody asked for.
CLUSTER_SWITCH=/etc/postgresql-common/createcluster.d/outboxd-quickstart.conf

# as_root COMMAND...: sudo only where it is needed.
as_root() {
    if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi
}

# Downloading may be interrupted; unpacking may not: it would leave packages half configured. So the second part
# runs where Ctrl-C does not reach it, and cleanup() waits for it.
packages_install() {
    local log=$DIR/packages.log apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120)
    as_root "${apt[@]}" update >>"$log" 2>&1 || return
    as_root "${apt[@]}" install --download-only --no-install-recommends "$@" >>"$log" 2>&1 || return
    set -m
    as_root /bin/sh -c 'switch=$1
        shift
        mkdir -p "${switch%/*}" && echo "create_main_cluster = false" >"$switch" && "$@"
        code=$?
        rm -f "$switch"
        rmdir --ignore-fail-on-non-empty "${switch%/*}"
        exit $code' sh "$CLUSTER_SWITCH" "${apt[@]}" install --no-install-recommends "$@" </dev/null >>"$log" 2>&1 &
    UNINTERRUPTIBLE=$!
    set +m
    wait "$UNINTERRUPTIBLE"
    local code=$?
    UNINTERRUPTIBLE=''
    return "$code"
}

step_packages() {
    local code text
    step_begin packages 'looking'
    packages_find_missing
    if ((${#MISSING[@]} == 0)); then
        step_end 'gcc, cmake, libpq, librdkafka, libconfig, libevent ... already installed' untimed
        return
    fi
    have apt-get || fail "these are missing, and there is no apt-get here: ${MISSING[*]}" \
        'use Debian 12, or install what these packages hold, then run it again'
    if ((EUID != 0)); then
        have sudo || fail "not installed: ${MISSING[*]}" "as root: apt-get install ${MISSING[*]}"
        line_clear
        printf '  %-11s sudo apt-get install %s\n' packages "${MISSING[*]}"
        sudo -v || fail 'sudo refused' "ask an administrator for: apt-get install ${MISSING[*]}"
    fi
    local wanted=("${MISSING[@]}")
    step_begin packages "installing ${wanted[*]}"
    packages_install "${wanted[@]}"
    code=$?
    ((code != 130)) || interrupted 130 # Ctrl-C went to sudo alone
    ((code == 0)) ||
        fail 'apt-get did not succeed' "see above; by hand: apt-get install ${wanted[*]}" "$DIR/packages.log"
    hash -r
    packages_find_missing
    ((${#MISSING[@]} == 0)) || fail "still missing after the installation: ${MISSING[*]}" \
        'this release of Debian is too old: Debian 12 or newer is needed' "$DIR/packages.log"
    text="installed ${#wanted[@]} and what they need: ${wanted[*]}"
    ((${#text} <= 68)) || text="${text:0:64} ..."
    step_end "$text"
}
