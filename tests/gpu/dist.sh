#!/bin/sh
# dist.sh FOLDER: what `just gpu-check` needs on a machine with a GPU, in one folder: the program and its GPU tests, built here with the
# feature `cuda`, and the experiments. Building needs nvcc (NVCC or CUDA_HOME) and libraries to link with, and no GPU.
set -eu
folder=$1
built=${CARGO_TARGET_DIR:-target}/release
cargo build --release --locked -p ddpm-runner --no-default-features --features cuda
tests=$(cargo test --release --locked -p ddpm-model --features cuda --test properties --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*properties-[^"]*\)".*/\1/p' | tail -n 1)
rm -rf "$folder"
mkdir -p "$folder/experiments" "$folder/tests/peer"
cp "$built/ddpm" "$folder/ddpm"
cp "$tests" "$folder/gpu-tests"
strip -s "$folder/ddpm" "$folder/gpu-tests"
cp -R experiments/bases experiments/grids "$folder/experiments/"
cp tests/peer/compare.py tests/peer/torch_bench.py "$folder/tests/peer/"
cp tests/gpu/check.sh tests/gpu/run.sh "$folder/"
du -sh "$folder"
