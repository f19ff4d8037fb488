#!/usr/bin/env python3
"""Plants small errors in a crate, one at a time, and says which of them no test notices. Needs cargo-mutants and a C++ compiler.

usage: mutants.py CRATE [--seed N] [--count N] [--file GLOB]
CRATE is core, kernels, model or runner. The mutants are a sample of those that cargo-mutants lists for the crate at HEAD, drawn with the
seed, which is printed. They are built and tested in a clone under target/mutants, by stages: first the tests that are quick and near; what
these miss, the next ones try. cargo-mutants itself has no stages, and its baseline is of the mutated crate's tests only.
Exit code: 0, or 1 where the program that is not changed fails its tests.
"""
import argparse, json, os, random, re, shutil, signal, subprocess, sys, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target/mutants"
TREE = HOME / "tree"
SCRATCH = HOME / "tmp"
RUNNER = ["--package=ddpm-runner", "--features=emulation"]
# With emulation the device's programs run on the CUDA source compiled for the processor.
KERNELS = ["--package=ddpm-kernels", "--features=emulation", "--lib"]
MODEL = ["--package=ddpm-model", "--features=emulation", "--lib", "--test=properties"]
NUMBERS = [*RUNNER, "--lib", "--test=pinned", "--test=golden", "--test=section4", "--test=emulated"]
STAGES = {
    "core": [["--package=ddpm-core"], MODEL, [*RUNNER, "--test=pinned"]],
    "kernels": [KERNELS, MODEL, NUMBERS],
    "model": [MODEL, NUMBERS, [*RUNNER, "--test=pipeline"]],
    "runner": [
        [*RUNNER, "--lib", "--test=names", "--test=configuration"],
        [*RUNNER, "--test=command_line", "--test=arms", "--test=pinned", "--test=golden", "--test=section4"],
        [*RUNNER, "--test=pipeline", "--test=emulated", "--test=hostile", "--test=faults"],
    ],
}


def call(*command, where=TREE):
    return subprocess.run(command, cwd=where, check=True, text=True, stdout=subprocess.PIPE).stdout


def clone():
    """HEAD, in a folder that keeps what was built there: files that did not change keep their times."""
    HOME.mkdir(parents=True, exist_ok=True)
    if not TREE.exists():
        call("git", "clone", "--quiet", ROOT, TREE, where=ROOT)
    head = call("git", "rev-parse", "HEAD", where=ROOT).strip()
    call("git", "fetch", "--quiet", ROOT, head)
    call("git", "checkout", "--quiet", "--force", "--detach", head)
    call("git", "clean", "-qfd")
    return head[:7]


def cargo(arguments, seconds=None):
    """None where all of it passes, else what did not, in words. It ends at the first test that fails, or after so many seconds."""
    command = ["cargo", "test", "--locked", "--profile=mutants", *arguments]
    # That a property fails is enough: its smallest case is not looked for.
    properties = {"PROPTEST_MAX_SHRINK_ITERS": "0", "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1"}
    # What is stopped leaves its files.
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir()
    environment = {**os.environ, **properties, "TMPDIR": str(SCRATCH)}
    process = subprocess.Popen(
        command, cwd=TREE, env=environment, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    late = threading.Event()

    def stop():
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds or 3600, stop)
    timer.start()
    last = ""
    for line in process.stdout:
        last = line.strip() or last
        if failed := re.match(r"test (\S+).* \.\.\. FAILED$", line):
            os.killpg(process.pid, signal.SIGKILL)
            last = failed[1]
    code = process.wait()
    timer.cancel()
    if late.is_set():
        return f"did not end in {seconds:.0f} s"
    return None if code == 0 else last


def baseline(stages):
    """How long each stage takes where nothing is changed."""
    times = []
    for stage in stages:
        cargo([*stage, "--no-run"])
        started = time.time()
        if failed := cargo(stage):
            sys.exit(f"nothing is changed, and the tests fail: {failed}")
        times.append(time.time() - started)
        print(f"unchanged: {times[-1]:.0f} s for {' '.join(stage)}", flush=True)
    return times


def trial(mutant, stages, times):
    """What becomes of a mutant, and what noticed it."""
    path = TREE / mutant["file"]
    subprocess.run(["patch", "--quiet", str(path)], input=mutant["diff"], text=True, check=True)
    try:
        for stage, seconds in zip(stages, times):
            if cargo([*stage, "--no-run"]):
                return "unviable", "the compiler"
            if failed := cargo(stage, 3 * seconds + 20):
                return "caught", failed
        return "missed", ""
    finally:
        call("git", "checkout", "--quiet", "--", mutant["file"])
        call("git", "clean", "-qfd")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crate", choices=STAGES)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--count", type=int, default=60, help="mutants that compile")
    parser.add_argument("--file", metavar="GLOB", help="of these files only")
    options = parser.parse_args()
    head, started = clone(), time.time()
    only = ["--file", options.file] if options.file else []
    mutants = json.loads(call("cargo", "mutants", "--list", "--json", "--diff", "--package", f"ddpm-{options.crate}", *only))
    print(f"{len(mutants)} mutants of ddpm-{options.crate} at {head}, drawn with seed {options.seed}", flush=True)
    random.Random(options.seed).shuffle(mutants)
    stages, became = STAGES[options.crate], {"caught": [], "missed": [], "unviable": []}
    times = baseline(stages)
    for mutant in mutants:
        outcome, by = trial(mutant, stages, times)
        became[outcome].append(mutant["name"])
        viable = len(became["caught"]) + len(became["missed"])
        print(f"{viable:3} {outcome:8} {mutant['name']}{': ' + by if by else ''}", flush=True)
        if viable == options.count:
            break
    missed = became["missed"]
    print(f"\nddpm-{options.crate} at {head}, seed {options.seed}: {viable} mutants that compile ({len(became['unviable'])} do not), "
          f"{len(missed)} missed ({100 * len(missed) / max(viable, 1):.1f}%), {(time.time() - started) / 60:.0f} min")
    print("".join(f"  {name}\n" for name in missed), end="")


if __name__ == "__main__":
    main()
