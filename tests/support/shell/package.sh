# shellcheck shell=bash disable=SC2154 # variables of tests/run
# Sourced by tests/run: builds the Debian package on this machine, and that of each release in a root of its own. There it lives its life: install,
# upgrade, remove, purge.
#
# The roots hold the base of a Debian, made by debootstrap once and kept in the cache. systemd does not run there: a systemctl of ours writes down what
# maintainer scripts ask of it.
package_releases=(bookworm trixie)

package_setup() {
    setup_packages+=(debootstrap dpkg-dev)
    setup_apt && packaging/deb --install-dependencies --output "$logs/deb" || return 1
    package_note deb
}

# package_of DIR: the package there, below $logs.
package_of() { find "$logs/$1" -maxdepth 1 -name 'outboxd_*.deb'; }

package_note() {
    local deb
    deb=$(package_of "$1") && [ -f "$deb" ] && echo "note: ${deb##*/}, $(stat -c %s "$deb") bytes, $(dpkg-deb -f "$deb" Installed-Size) kB installed"
}

package_of_release() { # RELEASE
    setup_as_root env OUTBOXD_CACHE="$OUTBOXD_CACHE" packaging/deb --release "$1" --output "$logs/$1" && package_note "$1" || return 1
    [ "$1" = bookworm ] || dpkg --compare-versions "$(dpkg-deb -f "$(package_of "$1")" Version)" gt "$(dpkg-deb -f "$(package_of bookworm)" Version)"
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
    dpkg-deb -x "$(package_of deb)" "$scratch" || return 1
    OUTBOXD=$scratch/usr/bin/outboxd pytest_session "$logs/limits.pytest" --soak integration/test_unit_limits.py
    status=$?
    echo "$session" >"$counts"
    return "$status"
}

# Each release has a lintian of its own, which knows what it asks for: in a root that is kept, with all the packages that it needs.
package_lint() { # RELEASE
    local root=$OUTBOXD_CACHE/lintian-$1
    if [ ! -d "$root" ]; then
        local made
        made=$(mktemp -d "$OUTBOXD_CACHE/.lintian-XXXXXX") || return 1
        root=$made package_root "$1" && root=$made in_root apt-get -q -y install --no-install-recommends lintian && mv -T "$made" "$root"
        [ -d "$root" ] || { setup_as_root rm -rf "$made"; return 1; }
    fi
    setup_as_root rm -rf "$root/packages" && setup_as_root cp -r "$logs/$1" "$root/packages" || return 1
    # What it merely informs of does not count: it tells of an override that only a first version without +deb12 behind it needs, and, in Debian 12, that
    # other init systems have no script.
    in_root sh -c 'lintian --allow-root --display-info --pedantic --fail-on error,warning,pedantic /packages/*.changes' &&
        echo "note: lintian $(in_root dpkg-query -W -f '${Version}' lintian) has no error and no warning"
}

# Units that can be verified without systemd as PID 1.
package_units() { # RELEASE
    local scratch units exposure
    scratch=$(mktemp -d "$logs/units-XXXXXX")
    dpkg-deb -x "$(package_of "$1")" "$scratch" || return 1
    units=$(dirname "$(find "$scratch" -name outboxd.service)")
    sed -i "s|/usr/bin/outboxd|$scratch/usr/bin/outboxd|; /^Documentation=/d" "$units"/outboxd*.service
    # The program of another release does not start here.
    printf '#!/bin/sh\n' >"$scratch/usr/bin/outboxd"
    systemd-analyze verify "$units/outboxd.service" "$units/outboxd@.service" || return 1
    for unit in outboxd.service outboxd@.service; do
        systemd-analyze security --offline=true --threshold=13 --no-pager "$units/$unit" >"$logs/exposure" || { cat "$logs/exposure"; return 1; }
        exposure=$(sed -n 's/.*exposure level for [^:]*: //p' "$logs/exposure")
    done
    echo "note: exposure $exposure"
}

package_root() { # RELEASE: a Debian in $root, of which nothing but its base is installed
    local base=$OUTBOXD_CACHE/debian-$1 made
    if [ ! -d "$base" ]; then
        made=$(mktemp -d "$OUTBOXD_CACHE/.debian-XXXXXX") || return 1
        setup_as_root env RELEASE="$1" packaging/container/base "$made" && mv -T "$made" "$base"
        [ -d "$base" ] || { setup_as_root rm -rf "$made"; return 1; }
    fi
    mkdir -p "$root" && setup_as_root cp -a "$base/." "$root" && setup_as_root cp -L /etc/resolv.conf "$root/etc/resolv.conf" || return 1
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

package_life() { # RELEASE
    local deb root=$logs/root-$1 wrong='' checks=0 newer
    deb=$(package_of "$1")
    package_root "$1" || return 1
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
    newer=$logs/newer-$1
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
    local release
    part "package build" package_setup || return 1
    part "package again" package_again
    part "package limits" package_limits
    for release in "${package_releases[@]}"; do
        part "$release build" package_of_release "$release" || continue
        part "$release lintian" package_lint "$release"
        part "$release units" package_units "$release"
        part "$release life" package_life "$release"
    done
}
