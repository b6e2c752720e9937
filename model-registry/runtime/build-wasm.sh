#!/usr/bin/env bash
# Builds the runtime to wasm, for nodes that execute it so. The embedded chain and the default build do not need it.
#
# With rustup: the target wasm32v1-none is added. On Debian without: apt-get install rustc-web cargo-web rust-web-src lld
# (rustc 1.96); core and alloc are then built from source. AI_LINK_WASM_TOOLCHAIN=rustup|debian chooses where both are.
# Prints the path of the wasm.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=wasm32v1-none
# A directory of its own, so that neither build makes the other one start anew.
export CARGO_TARGET_DIR="${AI_LINK_WASM_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/target}/wasm}"
export CARGO_TARGET_WASM32V1_NONE_LINKER="${CARGO_TARGET_WASM32V1_NONE_LINKER:-wasm-ld}"
# What a host expects of a runtime: `substrate_runtime` chooses the host functions of polkadot-sdk's crates.
export CARGO_TARGET_WASM32V1_NONE_RUSTFLAGS="--cfg substrate_runtime -C link-arg=--export-table"
arguments=(--release -p ai-link-runtime --lib --crate-type cdylib --no-default-features --target "$target")

has_target() {
    [ -d "$("$1" --print sysroot)/lib/rustlib/$target/lib" ]
}

wanted="${AI_LINK_WASM_TOOLCHAIN:-rustup}"
if [ "$wanted" = rustup ] && command -v rustup > /dev/null && rustup target add "$target" > /dev/null 2>&1 && has_target rustc; then
    # rustc brings its own linker where there is no wasm-ld.
    command -v wasm-ld > /dev/null || export CARGO_TARGET_WASM32V1_NONE_LINKER=rust-lld
    cargo rustc "${arguments[@]}" >&2
elif [ -x /usr/bin/rustc ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    PATH=/usr/bin:$PATH RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc \
        /usr/bin/cargo rustc "${arguments[@]}" -Zbuild-std=core,alloc >&2
else
    echo "no Rust that builds for $target: rustup, or apt-get install rustc-web cargo-web rust-web-src lld" >&2
    exit 1
fi
echo "$CARGO_TARGET_DIR/$target/release/ai_link_runtime.wasm"
