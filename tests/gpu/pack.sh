#!/bin/sh
# pack.sh ARCHIVE: everything that a machine with a GPU and without Rust or a network needs, in one archive: the program and its GPU tests,
# built here with the features `cuda` and `emulation`, the experiments, the PyTorch peer, and the scripts that run them. Building needs nvcc
# (NVCC or CUDA_HOME) and libraries to link with, and no GPU.
set -eu
archive=$1
built=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo build --release --locked -p ddpm-runner --no-default-features --features cuda,emulation
tests=$(cargo test --release --locked -p ddpm-model --features cuda,emulation --test properties --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*properties-[^"]*\)".*/\1/p' | tail -n 1)
mkdir -p "$folder/experiments" "$folder/tests/peer"
cp "$built/ddpm" "$folder/ddpm"
cp "$tests" "$folder/gpu-tests"
strip -s "$folder/ddpm" "$folder/gpu-tests"
cp -R experiments/bases experiments/grids "$folder/experiments/"
cp tests/peer/compare.py tests/peer/torch_bench.py "$folder/tests/peer/"
cp tests/gpu/run.sh tests/gpu/parts.sh tests/gpu/first-run.sh tests/gpu/second-run.sh tests/gpu/kernels.py "$folder/"
mkdir -p "$(dirname "$archive")"
tar -C "$folder" -cf - . | xz -T0 -6 > "$archive.part"
mv "$archive.part" "$archive"
size=$(($(wc -c < "$archive") / 1000000))
echo "$archive: $size MB. There: mkdir gpu && tar -xJf $(basename "$archive") -C gpu && bash gpu/first-run.sh"
[ "$size" -le 40 ] || { echo "expected 40 MB at most" >&2 && exit 1; }
