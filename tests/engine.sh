#!/usr/bin/env bash
# A Docker engine of its own for tests, from Debian's packages: no registry, no systemd. Needs root on Debian.
#   tests/engine.sh programs FOLDER    the engine's programs in FOLDER/root, with Prometheus and Alertmanager
#   tests/engine.sh start FOLDER       then DOCKER_HOST=unix://FOLDER/docker.sock DOCKER_CONFIG=FOLDER/config
#   tests/engine.sh image FOLDER PYTHON TAG PACKAGE...    FROM TAG: Debian 12, that Python's folder, these packages
#   tests/engine.sh stop FOLDER      ends it and takes back what it changed of the network; the folder stays
# Packages come from the mirror that this machine itself uses.
set -euo pipefail
action=$1 folder=$(realpath -m "$2")
export DOCKER_HOST=unix://$folder/docker.sock DOCKER_CONFIG=$folder/config
export PATH="$folder/root/usr/bin:$folder/root/usr/sbin:$PATH"

mirror() {
    local found
    found=$(sed -nE 's/^URIs: *(\S+).*/\1/p; s/^deb (\[[^]]*\] )?(\S+) .*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -1)
    [ -n "$found" ] || { echo "no mirror in /etc/apt" >&2; exit 1; }
    echo "$found"
}

programs() {
    [ ! -x "$folder/root/usr/sbin/dockerd" ] || return 0
    mkdir -p "$folder"/{apt/lists/partial,apt/archives/partial,debs,root,config}
    command -v runc iptables debootstrap >/dev/null ||
        apt-get install -y -qq --no-install-recommends runc iptables debootstrap >/dev/null
    # Debian 13 has an engine with BuildKit and compose; its programs run on Debian 12 as well. This
    # machine's own lists of packages stay as they are.
    cat >"$folder/apt/trixie.sources" <<SOURCES
Types: deb
URIs: $(mirror)
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    touch "$folder/apt/status"
    cat >"$folder/apt/conf" <<CONF
Dir::State "$folder/apt"; Dir::State::status "$folder/apt/status"; Dir::Cache "$folder/apt";
Dir::Etc::sourcelist "$folder/apt/trixie.sources"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null"; APT::Sandbox::User "root";
CONF
    export APT_CONFIG=$folder/apt/conf
    apt-get update -qq
    (cd "$folder/debs" && apt-get download -qq docker.io docker-cli containerd docker-buildx \
        docker-compose prometheus prometheus-alertmanager)
    unset APT_CONFIG
    for deb in "$folder"/debs/*.deb; do dpkg-deb -x "$deb" "$folder/root"; done
    ln -sfn "$folder/root/usr/libexec/docker/cli-plugins" "$folder/config/cli-plugins"
}

start() {
    programs
    sysctl -n net.ipv4.ip_forward >"$folder/forward"
    iptables -S FORWARD | awk '/^-P/{print $3}' >"$folder/policy"
    setsid nohup dockerd --host "$DOCKER_HOST" --data-root "$folder/data" \
        --exec-root "$folder/exec" --pidfile "$folder/docker.pid" \
        >"$folder/log" 2>&1 </dev/null &
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        sleep 0.5
    done
    tail -3 "$folder/log" >&2
    exit 1
}

image() { # what cannot be pulled here is made: the same Debian and Python, not the same bits
    local python=$1 tag=$2 base=$folder/base-${2//[:\/]/-} version
    shift 2
    version=$("$python/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    local needs=ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8
    needs+=,zlib1g,libncursesw6,libuuid1,libexpat1,libcrypt1,libtirpc3,libnsl2,netbase,tzdata
    for package in "$@"; do needs+=,$package; done
    debootstrap --variant=minbase --include="$needs" bookworm "$base" "$(mirror)" >"$base.log"
    cp -a "$python/." "$base/usr/local/"
    local lib=$base/usr/local/lib/python$version
    rm -rf "$lib/test" "$lib"/config-* "$lib"/site-packages/* "$base"/usr/local/lib/*.a \
        "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/* "$base"/usr/share/{doc,man}/*
    find "$base/usr/local" -name __pycache__ -prune -exec rm -rf {} + # as the real one has none
    ln -sf "python$version" "$base/usr/local/bin/python"
    grep -rlIZ '^#!.*python' "$base/usr/local/bin" |
        xargs -0 -r sed -i "1s@^#!.*python.*@#!/usr/local/bin/python$version@"
    cp /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/" # authorities of this machine's own
    chroot "$base" ldconfig
    chroot "$base" /usr/local/bin/python -m ensurepip --upgrade >>"$base.log" 2>&1
    ln -sf pip3 "$base/usr/local/bin/pip"
    tar -C "$base" -c . | docker import --change 'CMD ["python3"]' --change \
        'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
        - "$tag" >/dev/null
    rm -rf "$base"
}

stop() {
    [ -f "$folder/docker.pid" ] || return 0
    docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1 || true
    docker network prune -f >/dev/null 2>&1 || true
    local pid
    pid=$(cat "$folder/docker.pid")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    for table in filter nat; do
        iptables -t $table -S | grep -E '^-A (FORWARD|PREROUTING|OUTPUT|POSTROUTING) .*(DOCKER|docker0)' |
            sed 's/^-A/-D/' | while read -r rule; do xargs iptables -t $table <<<"$rule"; done
        for how in -F -X; do
            iptables -t $table -S | awk '/^-N DOCKER/{print $2}' | xargs -r -n1 iptables -t $table $how
        done
    done
    iptables -P FORWARD "$(cat "$folder/policy")"
    ip link del docker0 2>/dev/null || true
    sysctl -qw net.ipv4.ip_forward="$(cat "$folder/forward")"
}

"$action" "${@:3}"
