#!/bin/sh
# Builds what the images consist of: programs that need no file beside them, so that an image needs no
# system. deploy/docker/Dockerfile runs this, and so do the tests.
#
#   deploy/docker/build.sh PROFILE FOLDER
#
# PROFILE is one of cargo's, such as release. FOLDER gets the root of each image: nanod and math.
set -eu
profile=$1
folder=$2
cd "$(dirname "$0")/../.."

# glibc, linked statically. With a target named, build scripts and macros are built without these flags.
target=$(rustc --print host-tuple)
export RUSTFLAGS="-C target-feature=+crt-static"
# All at once, so that what they share is built once.
cargo build --locked --profile "$profile" --target "$target" -p nanod -p nano-client --bin nanod --examples

case $profile in
dev) output=debug ;;
*) output=$profile ;;
esac
built=${CARGO_TARGET_DIR:-target}/$target/$output
mkdir -p "$folder/nanod/bin" "$folder/state/nanod" "$folder/math/bin"
# What the node keeps is its own alone.
chmod 0700 "$folder/state/nanod"
# Names of functions stay for backtraces; what debuggers need does not.
strip --strip-debug -o "$folder/nanod/bin/nanod" "$built/nanod"
for example in positive sum zero client; do
    strip --strip-debug -o "$folder/math/bin/$example" "$built/examples/$example"
done
