#!/usr/bin/env bash
# Installs what the tests need, if it is missing, and runs every test of the workspace.
#
#   ./test.sh                  install and test
#   ./test.sh --install-only   install, and leave it at that
#   ./test.sh --containers     install what images and manifests need, build the former, and test both
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

can_be_root() {
    [[ $EUID -eq 0 ]] || command -v sudo >/dev/null
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    else
        sudo "$@"
    fi
}

# need_package COMMAND PACKAGE...: the Debian packages that bring a command, unless it is there.
need_package() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then
        return
    fi
    if ! command -v apt-get >/dev/null || ! can_be_root; then
        echo "test.sh: $command is missing; please install it (Debian: $*)" >&2
        exit 1
    fi
    echo "test.sh: installing $* for $command"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# Prometheus and promtool, unpacked from Debian's package beside what cargo builds: installed, it would run as a
# service from then on.
need_prometheus() {
    local folder=target/prometheus
    if [[ -x $folder/usr/bin/promtool ]] ||
        { command -v promtool >/dev/null && command -v prometheus >/dev/null; }; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "test.sh: promtool is missing; please install Prometheus 2.42 or later" >&2
        exit 1
    fi
    echo "test.sh: unpacking prometheus into $folder"
    mkdir -p "$folder"
    (
        cd "$folder"
        apt-get download -qq prometheus || { as_root apt-get update -qq && apt-get download -qq prometheus; }
        dpkg-deb -x prometheus_*.deb .
        rm prometheus_*.deb
    )
}

# What finds the mistakes of a page that keep people out of it, of the version that the tests know.
need_axe() {
    local folder=target/axe-core version=4.10.3
    local sum=0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292
    if [[ -f $folder/package/axe.min.js ]]; then
        return
    fi
    echo "test.sh: unpacking axe-core into $folder"
    mkdir -p "$folder"
    curl -fsSL --retry 3 -o "$folder/axe-core.tgz" \
        "https://registry.npmjs.org/axe-core/-/axe-core-$version.tgz"
    echo "$sum  $folder/axe-core.tgz" | sha256sum --check --quiet
    tar -xzf "$folder/axe-core.tgz" -C "$folder" package/axe.min.js package/LICENSE
    rm "$folder/axe-core.tgz"
}

install_needs() {
    if ! command -v cargo >/dev/null; then
        echo "test.sh: cargo is missing; please install Rust, see https://rustup.rs" >&2
        exit 1
    fi
    need_package cc gcc libc6-dev
    need_package curl curl ca-certificates
    need_prometheus
    # A sentinel is a redis-server in another mode.
    need_package redis-server redis-server
    need_package redis-cli redis-tools
    # Two networks, for what is tried from another machine.
    need_package ip iproute2
    # A Debian that boots, for the unit.
    need_package systemd-analyze systemd
    need_package systemd-nspawn systemd-container
    need_package debootstrap debootstrap
    # A pseudo-terminal, and what manual pages are set with.
    need_package script bsdutils
    # A terminal that is typed into and looked at.
    need_package tmux tmux
    need_package groff groff
    # What nodes are compared with, what loads them, and what loses packets.
    need_package nats-server nats-server
    need_package nginx nginx
    need_package wrk wrk
    need_package iptables iptables
    # What counts instructions.
    need_package valgrind valgrind
    # A disk that takes its time.
    need_package strace strace
    # What shows the status page, and what tells it to.
    need_package chromium chromium
    need_package chromedriver chromium-driver
    need_axe
    if ! cargo nextest --version >/dev/null 2>&1; then
        echo "test.sh: installing cargo-nextest"
        cargo install cargo-nextest --locked
    fi
}

run_tests() {
    cargo build --workspace --bins --examples
    # As the integration tests build them, so that no test waits for it.
    cargo build -p nanod --bin nanod
    cargo build -p nano-client --examples
    cargo nextest run --workspace
    cargo test --workspace --doc
}

# Containers need no image of others: they are made of programs that are linked statically.
run_container_tests() {
    need_package podman podman
    need_package runc runc
    need_package python3 python3
    if ! [[ -x target/python/bin/kubernetes-validate ]]; then
        # Debian has the module in a package of its own.
        python3 -c 'import ensurepip' 2>/dev/null || need_package no-ensurepip python3-venv
        python3 -m venv target/python
        target/python/bin/pip install --quiet 'kubernetes-validate==1.37.0'
    fi
    deploy/docker/build.sh dev target/images/out
    cargo nextest run -p nano-integration --test containers --run-ignored all
}

case ${1:-} in
"")
    install_needs
    run_tests
    ;;
--install-only)
    install_needs
    ;;
--containers)
    install_needs
    run_container_tests
    ;;
*)
    echo "usage: ./test.sh [--install-only|--containers]" >&2
    exit 2
    ;;
esac
