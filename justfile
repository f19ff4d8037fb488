# Each recipe is one line of the ordinary tools; CI calls the same ones.

set positional-arguments

# DDPM_FEATURES="--features emulation": one build where what runs on a device is tested too.
release := "cargo build --release --locked -p ddpm-runner " + env("DDPM_FEATURES", "")
ddpm := "target/release/ddpm"

# What there is
default:
    @just --list

# Train, sample, score and tabulate an experiment: `just ablate`, `just ablate schedules`, `just ablate table2 cifar10-paper --set steps=500`
ablate *arguments:
    {{release}} && {{ddpm}} ablate --jobs 2 "$@"

# List an experiment's jobs, their state and their cost; run nothing
plan *arguments:
    {{release}} && {{ddpm}} plan "$@"

# Draw tables and pictures again from what is stored
report *arguments:
    {{release}} && {{ddpm}} report "$@"

# All tests, in the profile that the program is built in; `just test --features emulation` runs the CUDA kernels' source too, on the processor
test *flags:
    cargo test --release --locked --workspace "$@"

# The HTML page in a real browser: needs Chromium and its driver (Debian: chromium-driver), and says so where they are not there
test-page:
    {{release}} && cargo test --locked -q --manifest-path tests/browser/Cargo.toml --target-dir target

# The kernels with each of this processor's instruction sets as the upper limit
test-kernels *flags:
    {{release}} && for isa in portable neon avx2 avx512 avx512-bf16; do if DDPM_ISA=$isa {{ddpm}} doctor | grep -q "^kernels  *$isa in use"; then echo "up to $isa" && DDPM_ISA=$isa cargo test --release --locked -q --workspace --lib "$@" || exit 1; else echo "SKIPPED $isa: not on this processor"; fi; done

# Cause every fault and print what is left after it; minutes. `just faults --only disk` does one
faults *flags:
    cargo test --release --locked -q -p ddpm-runner --test faults -- --full "$@"

# Plant small errors, drawn at random, in a crate (core, kernels, model, runner) and count those that the tests miss; an hour. Needs cargo-mutants: `just mutants model --seed 7`
mutants crate *flags:
    python3 tests/mutants.py "$@"

# The mathematics alone
math:
    cargo test --release --locked -p ddpm-core

# Speed and memory of training and sampling on this machine; beside PyTorch where a Python that has torch is given: `just bench python3`
bench python="" *flags:
    {{release}} && if [ -n "$1" ]; then python="$1" && shift && "$python" tests/peer/compare.py {{ddpm}} "$@"; else {{ddpm}} bench train-step --breakdown && {{ddpm}} bench train-step --precision bf16 && {{ddpm}} bench forward --precision bf16 && {{ddpm}} bench train-step --base fashion-cpu; fi

# Speed of each kernel by itself
bench-kernels *flags:
    cargo bench --locked -p ddpm-kernels {{flags}}

# Make the pinned tables of tests/pinned anew, and what a second program says of them: a decision, which the commit explains
pin python="python3":
    UPDATE_PINNED=1 cargo test --release --locked -p ddpm-runner --test pinned || true
    {{python}} -m venv target/parity && target/parity/bin/pip install -q -r tests/parity/requirements.txt && target/parity/bin/python tests/golden/pinned.py > tests/golden/pinned.json && target/parity/bin/python tests/golden/plane.py > tests/golden/plane.json
    cargo test --release --locked -p ddpm-runner --test pinned

# Compare with the original Python programs on fresh weights and inputs, in a throwaway environment: `just parity python3 [seed]`
parity python="python3" seed="":
    {{release}} && {{python}} -m venv target/parity && target/parity/bin/pip install -q -r tests/parity/requirements.txt && target/parity/bin/python tests/parity/parity.py {{ddpm}} {{seed}} && target/parity/bin/python tests/parity/snippet.py

# Verify the embedded data set and show its first images
data:
    {{release}} && {{ddpm}} data fashion-mnist -o results/fashion-mnist.png

# Formatting, lints, documentation links, and the job binary without Polars
check:
    cargo fmt --all -- --check
    cargo fmt --manifest-path tests/browser/Cargo.toml -- --check
    cargo clippy --release --locked --workspace --all-targets -- -D warnings
    cargo clippy --release --locked -p ddpm-runner --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

# The types of the CUDA side, without CUDA. A target of its own, where CHECK_CUDA_TARGET names no other: what the stand-in leaves is no kernel
check-cuda:
    NVCC={{justfile_directory()}}/tests/gpu/no-nvcc.sh CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000 CARGO_TARGET_DIR=${CHECK_CUDA_TARGET:-target/check-cuda} cargo clippy --release --locked -p ddpm-runner --no-default-features --features cuda -- -D warnings

# The CUDA kernels' source and what runs on it, on the processor; needs a C++ compiler and no GPU
test-emulated:
    cargo test --release --locked -q --workspace --features emulation --lib --test properties --test pinned device && cargo test --release --locked -q --workspace --features emulation --test emulated

# The same tests on GPU 0; needs nvcc (CUDA 13: NVCC or CUDA_HOME) and CUDA's libraries. Without a GPU they say SKIPPED
test-gpu:
    cargo test --release --locked -p ddpm-model --features cuda --test properties device -- --nocapture

# One archive for a machine with a GPU and without Rust or a network: program, tests, experiments, peer, scripts. There: first-run.sh
gpu-pack archive="target/ddpm-gpu.tar.xz":
    sh tests/gpu/pack.sh {{archive}}

# Ours beside PyTorch on GPU 0: `just bench-gpu python3`
bench-gpu python="python3" *flags:
    cargo build --release --locked -p ddpm-runner --no-default-features --features cuda && {{python}} tests/peer/compare.py {{ddpm}} --gpu {{flags}}
