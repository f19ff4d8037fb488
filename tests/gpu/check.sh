#!/bin/bash
# check.sh PYTHON CIFAR: on a machine with a GPU, from the folder that `just dist-cuda` makes: what was found, the tests, speed beside
# PyTorch (where PYTHON has torch), and Table 2 on CIFAR-10 (where CIFAR is its folder). Each part has its own limit of time, in seconds
# (DOCTOR, TESTS, BENCH, SCIENCE), a part that fails stops no other, and all that was made is in OUT (default: out beside this script).
here=$(dirname "$(realpath "$0")")
python=${1:-python3} cifar=$(realpath -m "${2:-data/cifar-10-batches-bin}")
out=$(realpath -m "${OUT:-$here/out}")
mkdir -p "$out"
cd "$here" || exit 5
failed=0
ended() { # code, file
    if [ "$1" != 0 ]; then echo "ended with $1, see $2"; elif grep -q SKIPPED "$2"; then echo "skipped, see $2"; else echo ok; fi
}
part() { # name, seconds, command
    local name=$1 seconds=$2 started=$SECONDS rc=0
    shift 2
    timeout --kill-after=20 "$seconds" "$@" > "$out/$name.txt" 2>&1 || rc=$?
    [ "$rc" = 0 ] || failed=1
    printf '%-8s %5s s  %s\n' "$name" $((SECONDS - started)) "$(ended "$rc" "$out/$name.txt")"
}
part doctor "${DOCTOR:-60}" ./run.sh doctor
part tests "${TESTS:-300}" env PROGRAM="$here/gpu-tests" ./run.sh device --nocapture --test-threads 1
part step "${STEP:-120}" ./run.sh bench train-step --precision bf16 --batch 128 --device cuda:0 --json
part sampling "${STEP:-120}" ./run.sh bench forward --precision bf16 --batch 512 --device cuda:0 --json
part bench "${BENCH:-900}" env PROGRAM="$python" ./run.sh tests/peer/compare.py ./ddpm --gpu --rounds 1 -o "$out/bench.json"
mkdir -p "$here/data"
[ -e "$here/data/cifar-10-batches-bin" ] || ln -s "$cifar" "$here/data/cifar-10-batches-bin"
part science "${SCIENCE:-3600}" ./run.sh ablate experiments/grids/table2.yaml --base "${BASE:-cifar10-hour}" --devices cuda:0 --results "$out/results"
echo "The table, where the report is built in: ddpm report experiments/grids/table2.yaml --base ${BASE:-cifar10-hour} --results $out/results"
cat "$out"/step.txt "$out"/sampling.txt
exit $failed
