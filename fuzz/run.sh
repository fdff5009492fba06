#!/usr/bin/env bash
# Runs fuzz targets, each for some seconds, beginning with the inputs kept for it.
#
#   fuzz/run.sh                      every target, 30 seconds each
#   fuzz/run.sh SECONDS [TARGET...]  those named, or every target
#   fuzz/run.sh --can-run            says whether this machine can, and what it lacks
#
# New inputs go to fuzz/target/finds/TARGET. An input that fails goes to fuzz/artifacts/TARGET and
# ends the run; one that is worth keeping is copied to fuzz/corpus/TARGET by hand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    echo "usage: fuzz/run.sh [SECONDS [TARGET...]] | --can-run" >&2
    exit 2
}

lacks() {
    echo "fuzz/run.sh: $*" >&2
    return 1
}

# Installs cargo-fuzz if it is missing; the rest is for whoever set up the machine.
can_run() {
    local libraries
    libraries=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/lib
    if ! compgen -G "$libraries/librustc*rt.asan.a" >/dev/null; then
        lacks "the Rust toolchain has no AddressSanitizer; those of rustup have it"
    elif ! command -v c++ >/dev/null; then
        lacks "libFuzzer needs a C++ compiler (Debian: g++)"
    elif ! cargo fuzz --version >/dev/null 2>&1; then
        echo "fuzz/run.sh: installing cargo-fuzz"
        cargo install cargo-fuzz --locked || lacks "cargo-fuzz cannot be installed (see above)"
    fi
}

if [[ ${1:-} == --can-run ]]; then
    can_run
    exit
fi

seconds=${1:-30}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || usage
targets=("${@:2}")
if [[ ${#targets[@]} -eq 0 ]]; then
    targets=(frame roundtrip pattern http_body http_request register_body)
fi

can_run
# Instrumentation is behind -Z flags, which a stable compiler takes only if told so.
export RUSTC_BOOTSTRAP=1

for target in "${targets[@]}"; do
    kept=fuzz/corpus/$target
    finds=fuzz/target/finds/$target
    [[ -d $kept ]] || usage
    mkdir -p "$finds"
    printf '\n== %s, %s seconds\n' "$target" "$seconds"
    cargo fuzz run "$target" "$finds" "$kept" -- \
        -max_total_time="$seconds" -timeout=10 -print_final_stats=1
done
