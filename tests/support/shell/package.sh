# shellcheck shell=bash disable=SC2154 # variables of tests/run
# Sourced by tests/run: builds the Debian package, and lives its life in a root of its own: install, upgrade, remove, purge.
#
# The root is a minimal Debian of the release that this machine has, made by debootstrap once and kept in the cache. systemd does not
# run there: a systemctl of ours writes down what maintainer scripts ask of it.

package_setup() {
    DEBIAN_FRONTEND=noninteractive setup_as_root apt-get -q -y install --no-install-recommends debootstrap lintian dpkg-dev &&
        packaging/deb --install-dependencies --output "$logs/deb" || return 1
    deb=$(find "$logs/deb" -name 'outboxd_*.deb') && [ -f "$deb" ] && echo "note: ${deb##*/}, $(stat -c %s "$deb") bytes"
}

# The same package once more, as somebody else makes it: another path, time zone, umask, locale, one job at a time.
package_again() {
    local other=$logs/elsewhere/deeper/outboxd name
    mkdir -p "$other" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' name; do
        [ ! -e "$name" ] || printf '%s\0' "$name"
    done | tar -c --null -T - | tar -x -C "$other" || return 1
    git -C "$other" init -q
    (cd "$other" && umask 077 && HOME=$logs/elsewhere TZ=Pacific/Kiritimati LC_ALL=C DEB_BUILD_OPTIONS=parallel=1 CCACHE_DISABLE=1 \
        packaging/deb --output "$logs/again") || return 1
    for name in "$logs"/deb/outboxd*.deb "$logs"/deb/outboxd*.cdx.json; do
        cmp "$name" "$logs/again/${name##*/}" || return 1
    done
    echo "note: the same twice, $(find "$logs/deb" -name 'outboxd_*.deb' -exec sha256sum {} + | cut -c1-16)..."
}

# What the unit forbids, and what the program of the package does.
package_limits() {
    local session status scratch
    scratch=$(mktemp -d "$logs/limits-XXXXXX")
    dpkg-deb -x "$(find "$logs/deb" -name 'outboxd_*.deb')" "$scratch" || return 1
    OUTBOXD=$scratch/usr/bin/outboxd pytest_session "$logs/limits.pytest" --soak integration/test_unit_limits.py
    status=$?
    echo "$session" >"$counts"
    return "$status"
}

package_lint() {
    local deb
    deb=$(find "$logs/deb" -name 'outboxd_*.deb')
    lintian --allow-root --fail-on error,warning "$deb" && echo "note: lintian has nothing to say"
}

# Units that can be verified without systemd as PID 1.
package_units() {
    local deb scratch exposure
    deb=$(find "$logs/deb" -name 'outboxd_*.deb')
    scratch=$(mktemp -d "$logs/units-XXXXXX")
    dpkg-deb -x "$deb" "$scratch" || return 1
    sed -i "s|/usr/bin/outboxd|$scratch/usr/bin/outboxd|; /^Documentation=/d" "$scratch"/lib/systemd/system/outboxd*.service
    systemd-analyze verify "$scratch/lib/systemd/system/outboxd.service" "$scratch/lib/systemd/system/outboxd@.service" || return 1
    for unit in outboxd.service outboxd@.service; do
        systemd-analyze security --offline=true --threshold=13 --no-pager "$scratch/lib/systemd/system/$unit" >"$logs/exposure" || { cat "$logs/exposure"; return 1; }
        exposure=$(sed -n 's/.*exposure level for [^:]*: //p' "$logs/exposure")
    done
    echo "note: exposure $exposure"
}

package_root() { # makes $root
    local release base
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    base=$OUTBOXD_CACHE/root-$release.tar
    if [ ! -f "$base" ]; then
        local scratch
        scratch=$(mktemp -d "$OUTBOXD_CACHE/.root-XXXXXX") || return 1
        setup_as_root debootstrap --variant=minbase "$release" "$scratch" && setup_as_root tar -C "$scratch" -cf "$base.new" . && mv "$base.new" "$base"
        setup_as_root rm -rf "$scratch"
        [ -f "$base" ] || return 1
    fi
    root=$logs/root
    mkdir "$root" && setup_as_root tar -C "$root" -xf "$base" || return 1
    setup_as_root cp /etc/resolv.conf "$root/etc/resolv.conf"
    setup_as_root cp -r /etc/apt/apt.conf.d "$root/etc/apt/"
    in_root apt-get -q update
}

in_root() {
    setup_as_root chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# check WHAT COMMAND...: one line for each thing that does not hold.
check() {
    local what=$1
    shift
    if "$@"; then checks=$((checks + 1)); else echo "NOT TRUE: $what"; wrong=1; fi
}

is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }

package_life() {
    local deb root wrong='' checks=0 newer
    deb=$(find "$logs/deb" -name 'outboxd_*.deb')
    package_root || return 1
    # A machine where systemd runs, as far as maintainer scripts can see.
    printf '#!/bin/sh\necho "$*" >>/systemctl.log\n' >"$root/usr/bin/systemctl" && chmod 755 "$root/usr/bin/systemctl"
    mkdir -p "$root/run/systemd/system"
    cp "$deb" "$root/outboxd.deb"

    echo "== install"
    in_root apt-get -q -y install --no-install-recommends man-db systemd-standalone-sysusers /outboxd.deb || return 1
    mkdir -p "$root/run/systemd/system" # others' scripts may have cleared /run
    check "the program runs" in_root outboxd version
    check "the user has no shell" is "$(in_root getent passwd outboxd | cut -d: -f1,7)" "outboxd:/usr/sbin/nologin"
    check "secrets are for root and the group" is "$(in_root stat -c '%a %U %G' /etc/outboxd/secrets)" "750 root outboxd"
    check "nothing was started or enabled" sh -c "! grep -E '^(re)?start|^enable|try-restart' '$root/systemctl.log' 2>/dev/null"
    check "no unit is wanted" sh -c "! find '$root/etc/systemd' -name 'outboxd*' | grep ."
    for page in outboxd outboxd.conf $(in_root outboxd help | sed -n 's/^  outboxd \([a-z]*\).*/outboxd-\1/p'); do
        check "man $page" in_root sh -c "man -w $page >/dev/null"
    done
    for file in lib/systemd/system/outboxd.service lib/systemd/system/outboxd@.service usr/share/bash-completion/completions/outboxd \
        usr/share/zsh/vendor-completions/_outboxd usr/share/fish/vendor_completions.d/outboxd.fish usr/share/doc/outboxd/examples/minimal.conf; do
        check "/$file is there" test -f "$root/$file"
    done
    in_root sh -c 'printf "secret" >/etc/outboxd/secrets/pg && chown root:outboxd /etc/outboxd/secrets/pg && chmod 640 /etc/outboxd/secrets/pg'
    printf 'name = "shop";\ndatabase: { dsn = "host=localhost dbname=shop user=relay"; password_file = "secrets/pg"; };\nkafka: { brokers = "localhost:9092"; };\npipelines: ( { name = "orders"; } );\n' \
        >"$root/etc/outboxd/outboxd.conf"
    check "the service's user reads configuration and secrets" in_root runuser -u outboxd -- outboxd check --offline
    check "nobody else reads the secrets" sh -c "! chroot '$root' /usr/sbin/runuser -u nobody -- /usr/bin/outboxd check --offline >/dev/null 2>&1"

    echo "== upgrade"
    newer=$logs/newer
    dpkg-deb -R "$deb" "$newer" && sed -i 's/^Version: .*/Version: 0.1.0-1.1/' "$newer/DEBIAN/control" && dpkg-deb --root-owner-group -b "$newer" "$root/newer.deb" || return 1
    : >"$root/systemctl.log"
    in_root apt-get -q -y install /newer.deb || return 1
    check "the new version is there" is "$(in_root dpkg-query -W -f '${Version}' outboxd)" 0.1.0-1.1
    check "relays that run are restarted" grep -q '^try-restart outboxd.service outboxd@\*.service' "$root/systemctl.log"
    check "they are not stopped before" sh -c "! grep -q '^stop' '$root/systemctl.log'"
    check "the secret is as it was" is "$(in_root sh -c 'cat /etc/outboxd/secrets/pg; stat -c " %a %G" /etc/outboxd/secrets/pg')" "secret 640 outboxd"

    echo "== remove"
    in_root sh -c 'mkdir -p /var/lib/outboxd && echo event >/var/lib/outboxd/orders.jsonl'
    : >"$root/systemctl.log"
    in_root apt-get -q -y remove outboxd || return 1
    check "relays are stopped" grep -q '^stop outboxd.service outboxd@\*.service' "$root/systemctl.log"
    check "the program is gone" test ! -e "$root/usr/bin/outboxd"
    check "the configuration is kept" test -f "$root/etc/outboxd/outboxd.conf"

    echo "== purge"
    in_root apt-get -q -y purge outboxd || return 1
    check "configuration and secrets are gone" test ! -e "$root/etc/outboxd"
    check "events in files are kept" grep -q event "$root/var/lib/outboxd/orders.jsonl"
    check "nothing else is left" sh -c "! find '$root/usr' '$root/lib' '$root/etc' -name '*outboxd*' | grep -v lib/dpkg | grep ."
    setup_as_root rm -rf "$root"
    echo "note: $checks checks"
    [ -z "$wrong" ]
}

package_parts() {
    part "package build" package_setup || return 1
    part "package lintian" package_lint
    part "package units" package_units
    part "package again" package_again
    part "package limits" package_limits
    part "package life" package_life
}
