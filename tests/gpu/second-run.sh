#!/bin/bash
# second-run.sh [PART...]: after first-run.sh and what it led to, within LIMIT seconds (580): the parts named (libraries, operations, tests)
# once more, the benchmarks beside PyTorch, and with what is left Table 2: on CIFAR-10 where data/cifar-10-batches-bin is beside this script,
# else on the embedded images. DEVICE, PYTHON and OUT as there; BENCH (240) is the benchmarks' share of the seconds, BASE another base.
. "$(dirname "$(realpath "$0")")/parts.sh" second-run "${LIMIT:-580}"
for again in "$@"; do
    case $again in
    libraries) part libraries 40 ./run.sh doctor --device "$device" ;;
    operations) part operations 40 ./run.sh doctor --device "$device" --operations ;;
    tests) device_tests ;;
    *) echo "$again: expected libraries, operations or tests" >&2 && exit 2 ;;
    esac
done

part step 45 ./run.sh bench train-step $network --batch $batch --precision bf16 --device "$device" $steps --breakdown
part bound 45 ./run.sh bench train-step $network --batch $batch --precision bf16 --device "$device" $steps --bound
if [ "$device" != emulated ] && has_python torch; then
    part bench "${BENCH:-240}" env PROGRAM="$python" ./run.sh tests/peer/compare.py ./ddpm --gpu --quick --rounds 1 -o "$parts/bench.json"
else
    row bench 0 "absent: no PyTorch or no GPU"
fi

# What is left is for training, sampling and scores. Asked to stop, it leaves what it has: records and samples come home, checkpoints only as
# far as they are small.
science() {
    timeout --foreground --signal=INT "$1" ./run.sh ablate experiments/grids/table2.yaml --base "$base" ${SETS:-} --devices "$device" \
        --results "$here/work/results" || [ $? = 124 ]
}
export -f science
export base device here
base=${BASE:-fashion-cpu}
[ -n "${BASE:-}" ] || [ ! -d data/cifar-10-batches-bin ] || base=cifar10-hour
left=$((limit - reserve - SECONDS))
if [ $left -ge 60 ]; then
    part science $left bash -c "science $((left - 20))"
    [ ! -d "$here/work/results" ] || (cd "$here/work" && find results -type f -size -2M | tar -cJf "$parts/results.tar.xz" -T -)
else
    row science 0 "absent: $left s are left, 60 are worth it"
fi
show step bound bench
echo "The table, where the report is built in: ddpm report experiments/grids/table2.yaml --base $base --results results"
finish
