#!/usr/bin/env bash
# Runs fuzz targets, each for some seconds, beginning with the inputs kept for it.
#
#   fuzz/run.sh                      every target, 30 seconds each
#   fuzz/run.sh SECONDS [TARGET...]  those named, or every target
#
# New inputs go to fuzz/target/finds/TARGET. An input that fails goes to fuzz/artifacts/TARGET and
# ends the run; one that is worth keeping is copied to fuzz/corpus/TARGET by hand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    echo "usage: fuzz/run.sh [SECONDS [TARGET...]]" >&2
    exit 2
}

seconds=${1:-30}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || usage
targets=("${@:2}")
if [[ ${#targets[@]} -eq 0 ]]; then
    targets=(frame roundtrip pattern http_body)
fi

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz/run.sh: installing cargo-fuzz"
    cargo install cargo-fuzz --locked
fi
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
