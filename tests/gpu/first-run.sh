#!/bin/bash
# first-run.sh: on a machine with a GPU, from the folder that the archive of `just gpu-pack` holds, everything that a first run should tell,
# within LIMIT seconds (380). DEVICE (cuda:0; emulated rehearses it without a GPU), PYTHON (python3, with torch) and OUT (out beside this
# script) choose otherwise.
. "$(dirname "$(realpath "$0")")/parts.sh" first-run "${LIMIT:-380}"

# 1. What is here, and whether the libraries compute what they are asked.
machine() {
    nvidia-smi
    ldconfig -p | grep -E 'libcuda|libcublas|libcudnn|libcurand|libnvrtc'
    ls -d /usr/local/nvidia/* /usr/local/cuda*
    uname -a
    grep -m 1 'model name' /proc/cpuinfo
    free -g
    ./run.sh doctor
}
export -f machine
part machine 10 bash -c machine
part libraries 40 ./run.sh doctor --device "$device"

# 2. Operation by operation beside the emulation; what cuDNN offers for each convolution.
part operations 40 ./run.sh doctor --device "$device" --operations
part algorithms 30 ./run.sh bench train-step $network --batch $batch --precision bf16 --device "$device" --algorithms

# 3. Each test of the network on a device.
device_tests

# 4. Where a step's time goes, one operation after the other; then as a graph.
part step 45 ./run.sh bench train-step $network --batch $batch --precision bf16 --device "$device" $steps --breakdown
part step-json 30 ./run.sh bench train-step $network --batch $batch --precision bf16 --device "$device" $steps --breakdown --json
part sampling 30 ./run.sh bench forward $network --batch $many --precision bf16 --device "$device" $steps --breakdown
part step-eager 30 env DDPM_CUDA=eager ./run.sh bench train-step $network --batch $batch --precision bf16 --device "$device" $steps --json

# 5. The kernels that the libraries picked, and their times, of the first step and what was tried before it.
if has ncu; then
    part ncu 60 env DDPM_CUDA=eager PROGRAM="$(command -v ncu)" ./run.sh --metrics gpu__time_duration.sum --clock-control none --csv \
        --launch-count 1300 --kill yes --check-exit-code no --log-file "$parts/ncu.csv" \
        ./ddpm bench train-step $network --batch $batch --precision bf16 --device "$device" --steps 1 --warmup 0
    part kernels 10 "$python" kernels.py "$parts/ncu.csv"
fi

# 6. Accesses outside of memory, and races, in a tiny network.
if has compute-sanitizer; then
    for tool in memcheck racecheck; do
        part $tool 25 env DDPM_CUDA=eager PROGRAM="$(command -v compute-sanitizer)" ./run.sh --tool $tool --report-api-errors no \
            --error-exitcode 9 ./gpu-tests device::training_is_repeatable --exact --nocapture
    done
fi

# 7. PyTorch beside it.
torch="tests/peer/torch_bench.py --preset cifar10 --batch $batch --mode train --dtype bf16 --channels-last --device cuda"
if has_python torch; then
    part torch 40 env PROGRAM="$python" ./run.sh $torch
    part compiled 80 env PROGRAM="$python" ./run.sh $torch --compile
else
    row torch 0 absent
fi
head -n 6 "$parts/libraries.txt"
show operations step sampling kernels torch compiled
finish
