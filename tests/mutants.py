#!/usr/bin/env python3
"""Plants small errors in a crate, one at a time, and says which of them no test notices. Needs cargo-mutants and a C++ compiler.

usage: mutants.py CRATE [--seed N] [--count N] [--file GLOB]
CRATE is core, kernels, model or runner. The mutants are a sample of those that cargo-mutants lists for the crate at HEAD, drawn with the
seed, which is printed. They are built and tested in a clone under target/mutants, by stages: first the tests that are quick and near; what
these miss, the next ones try. cargo-mutants itself has no stages, and its baseline is of the mutated crate's tests only.
Exit code: 0, or 1 where the program that is not changed fails its tests.
"""
import argparse, json, os, random, re, signal, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target/mutants"
TREE = HOME / "tree"
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
    """The exit code and the output; a code of None where it was still running after so many seconds."""
    command = ["cargo", "test", "--locked", "--profile=mutants", *arguments]
    # That a property fails is enough: its smallest case is not looked for.
    environment = {**os.environ, "PROPTEST_MAX_SHRINK_ITERS": "0", "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1"}
    process = subprocess.Popen(
        command, cwd=TREE, env=environment, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        out = process.communicate(timeout=seconds)[0]
        return process.returncode, out
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]


def baseline(stages):
    """How long each stage takes where nothing is changed."""
    times = []
    for stage in stages:
        cargo([*stage, "--no-run"])
        started = time.time()
        code, out = cargo(stage)
        if code != 0:
            sys.exit(f"nothing is changed, and the tests fail:\n{out}")
        times.append(time.time() - started)
        print(f"unchanged: {times[-1]:.0f} s for {' '.join(stage)}", flush=True)
    return times


def trial(mutant, stages, times):
    """What becomes of a mutant, and what noticed it."""
    path = TREE / mutant["file"]
    subprocess.run(["patch", "--quiet", str(path)], input=mutant["diff"], text=True, check=True)
    try:
        for stage, seconds in zip(stages, times):
            if cargo([*stage, "--no-run"])[0] != 0:
                return "unviable", "the compiler"
            code, out = cargo(stage, 3 * seconds + 20)
            if code is None:
                return "caught", f"did not end in {3 * seconds + 20:.0f} s"
            if code != 0:
                failed = re.findall(r"^test (\S+).* \.\.\. FAILED$", out, re.M)
                return "caught", ", ".join(failed[:2]) or out.strip().splitlines()[-1]
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
