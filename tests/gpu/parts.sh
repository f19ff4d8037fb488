# What first-run.sh and second-run.sh share; read by them, with the run's name and its limit of seconds. A run is a list of parts, each with
# a limit of its own and none beyond the run's. A part that fails stops no other: its last 30 lines are printed. In OUT there are only the
# rows and one archive of everything, both as they come: whatever ends the run, what was found is there.
run=$1
limit=$2
shift 2
here=$(dirname "$(realpath "$0")")
cd "$here" || exit 5
device=${DEVICE:-cuda:0}
python=${PYTHON:-python3}
out=$(realpath -m "${OUT:-$here/out}")
parts=$here/work/$run
rm -rf "$parts"
mkdir -p "$parts" "$out"
failed=0
# What is kept for ending: the last part's process, and the archive.
reserve=8

# row NAME SECONDS OUTCOME
row() {
    printf '%-46s %4s s  %s\n' "$1" "$2" "$3" | tee -a "$parts/rows.txt"
    cp "$parts/rows.txt" "$out/rows.txt"
    keep
}

# The archive of what there is so far.
keep() {
    tar -C "$here/work" -cJf "$out/$run.tar.xz.part" "$run" && mv "$out/$run.tar.xz.part" "$out/$run.tar.xz"
}

# part NAME SECONDS COMMAND...: ended by the limit, by an error, or by a test that had no device: all are failures.
part() {
    local name=$1 seconds=$2 started=$SECONDS rc=0 file=$parts/$1.txt left
    shift 2
    # A rehearsal may be one of many things that a machine is at.
    [ "$device" != emulated ] || seconds=$((10 * seconds))
    left=$((limit - reserve - SECONDS))
    if [ "$left" -lt 3 ]; then
        row "$name" 0 "FAILED: no time was left" && failed=1
        return 1
    fi
    [ "$seconds" -le "$left" ] || seconds=$left
    timeout --kill-after=5 "$seconds" "$@" > "$file" 2>&1 < /dev/null || rc=$?
    if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then
        row "$name" $((SECONDS - started)) "FAILED: ended after $seconds s"
    elif [ "$rc" != 0 ]; then
        row "$name" $((SECONDS - started)) "FAILED: ended with $rc"
    elif grep -q SKIPPED "$file"; then
        rc=3
        row "$name" $((SECONDS - started)) "FAILED: skipped, there is no device"
    else
        row "$name" $((SECONDS - started)) ok
        return 0
    fi
    failed=1
    tail -n 30 "$file" | cut -c1-300 | sed 's/^/    /'
    # A limit is as good a reason as any other to try again, a missing device is none.
    [ "$rc" != 3 ] || return 3
    return 1
}

# has TOOL: whether it is there; a row where it is not.
has() {
    command -v "$1" > /dev/null && return 0
    row "$1" 0 "absent" && return 1
}

# The network that is measured: the paper's for CIFAR-10, or where kernels are emulated one that ends within seconds.
if [ "$device" = emulated ]; then
    network="--channels 8 --groups 4 --mult 1,2 --blocks 1 --attention 4 --side 8"
    batch=2 many=4 steps="--steps 1 --warmup 0"
    export DDPM_TEST_DEVICE=emulated PROPTEST_CASES=1
else
    network="" batch=128 many=512 steps="--steps 8 --warmup 2"
fi

# Every device test in a process of its own, which a fault poisons; what failed once more where errors name what made them. 90 s at most.
device_tests() {
    local test names whole=$limit
    [ $((SECONDS + 90)) -ge "$limit" ] || limit=$((SECONDS + 90))
    names=$(PROGRAM=$here/gpu-tests ./run.sh device:: --list 2> /dev/null | sed -n 's/: test$//p')
    [ -n "$names" ] || { row tests 0 "FAILED: gpu-tests lists none" && failed=1; }
    for test in $names; do
        local name=${test##*::} rc=0
        part "$name" 40 env "PROGRAM=$here/gpu-tests" ./run.sh "$test" --exact --nocapture || rc=$?
        [ "$rc" = 1 ] || continue
        part "$name-checked" 40 env "PROGRAM=$here/gpu-tests" CUDA_LAUNCH_BLOCKING=1 DDPM_CUDA=checked ./run.sh "$test" --exact --nocapture
    done
    limit=$whole
}

# Whether Python has a package, without the seconds of importing it.
has_python() {
    "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2> /dev/null
}

# show PART...: what they printed.
show() {
    local name
    for name in "$@"; do
        [ ! -s "$parts/$name.txt" ] || cat "$parts/$name.txt"
    done
}

# What a script ends with.
finish() {
    keep
    echo "$SECONDS s; all of it: $out/$run.tar.xz"
    exit $failed
}
