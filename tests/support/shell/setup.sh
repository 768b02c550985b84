# shellcheck shell=bash disable=SC2154 # variables of tests/run
# Sourced by tests/run: brings a fresh Debian 12 to where the tests run. Safe to repeat; quick when nothing is missing.

setup_packages=(
    gcc libc6-dev cmake ninja-build pkg-config git ca-certificates
    libpq-dev librdkafka-dev libconfig-dev libevent-dev libjansson-dev libcriterion-dev
    clang clang-format clang-tidy shellcheck codespell flake8
    postgresql-15 postgresql-client-15 kcat curl
    default-jre-headless maven
    man-db mandoc zsh fish
    iproute2 python3-yaml
    python3 python3-pytest python3-pytest-xdist python3-psycopg2 python3-pip
)

setup_missing() {
    local have
    have=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${setup_packages[@]}" 2>/dev/null | sed -n 's/^installed //p')
    comm -23 <(printf '%s\n' "${setup_packages[@]}" | sort -u) <(printf '%s\n' "$have" | sort -u)
}

setup_apt() {
    local missing
    mapfile -t missing < <(setup_missing)
    # A Java or Maven that is there by other means is as good.
    command -v java >/dev/null && mapfile -t missing < <(printf '%s\n' "${missing[@]}" | grep -vx default-jre-headless)
    command -v mvn >/dev/null && mapfile -t missing < <(printf '%s\n' "${missing[@]}" | grep -vx maven)
    [ -n "${missing[*]:-}" ] || return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo -n)
        sudo -n true 2>/dev/null || { echo "missing packages: ${missing[*]}"
            echo "run: sudo apt-get install --no-install-recommends ${missing[*]}"; return 1; }
    fi
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get -q update &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"
}

# The independent consumer: a Python client that carries its own, newer librdkafka. Debian's is the second choice.
setup_consumer() {
    [ -d "$OUTBOXD_CACHE/python/confluent_kafka" ] && return 0
    local scratch
    mkdir -p "$OUTBOXD_CACHE" && scratch=$(mktemp -d "$OUTBOXD_CACHE/.python-XXXXXX") && chmod 755 "$scratch" || return 1
    if "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
        --target "$scratch" confluent-kafka; then
        mv -T "$scratch" "$OUTBOXD_CACHE/python" || rm -rf "$scratch"
        return 0
    fi
    rm -rf "$scratch"
    setup_packages+=(python3-confluent-kafka)
    setup_apt
}

# Programs of Debian that are unpacked into the cache and not installed: their packages would start servers.
setup_unpacked() { # PROGRAM PACKAGE...: below $OUTBOXD_CACHE under the name of the first package
    local program=$1 scratch
    shift
    command -v "$program" >/dev/null && return 0
    [ -d "$OUTBOXD_CACHE/$1" ] && return 0
    mkdir -p "$OUTBOXD_CACHE" && scratch=$(mktemp -d "$OUTBOXD_CACHE/.$1-XXXXXX") && chmod 755 "$scratch" || return 1
    if (cd "$scratch" && { apt-get -q download "$@" || { setup_as_root apt-get -q update && apt-get -q download "$@"; }; } &&
        for package in *.deb; do dpkg-deb -x "$package" . || exit 1; done && rm -f ./*.deb) && mv -T "$scratch" "$OUTBOXD_CACHE/$1"; then
        return 0
    fi
    rm -rf "$scratch"
    return 1
}

setup_as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

setup_machine() {
    setup_apt || return 1
    setup_unpacked promtool prometheus || return 1
    setup_unpacked pgbouncer pgbouncer libc-ares2 || return 1
    setup_consumer || return 1
    (cd tests && "$python" -c 'from support import fetch; [fetch.kafka_archive(make=True, version=v) for v in fetch.KAFKA_VERSIONS.values()]') || return 1
    echo "note: packages, Kafka $(cd tests && "$python" -c 'from support import fetch; print(fetch.KAFKA_VERSION)') and consumer in place"
}

# Servers and builds of tests/run matrix that the other parts do without.
setup_matrix() {
    setup_packages+=(debootstrap runc)
    setup_apt || return 1
    (cd tests && "$python" -c '
from support import fetch
for major in fetch.POSTGRES_VERSIONS: fetch.postgres_binaries(major)')
}

matrix_builds() {
    (cd tests && OUTBOXD_PRESET=dev "$python" -c '
from support import builds, pgbouncer
for name in builds.NAMES: builds.make(name)
pgbouncer.make_of_debian13()')
}

# What checks the packaging. What cannot be made here is said, and the tests that need it skip by name.
setup_packaging() {
    setup_packages+=(debootstrap runc buildah)
    setup_apt && (cd tests && OUTBOXD_PACKAGING=1 "$python" -m support.tools)
}
