#!/usr/bin/env python3
"""Plants small errors in a crate, one at a time, and says which of them no test notices. Needs cargo-mutants and a C++ compiler.

usage: mutants.py CRATE [--seed N] [--count N] [--skip N] [--name TEXT]...
CRATE is core, kernels, model or runner. The mutants are a sample of those that cargo-mutants lists for the crate at HEAD, drawn with the
seed, which is printed. They are built and tested in a clone under target/mutants, by stages: first the tests that are quick and near; what
these miss, the next ones try, and the first test that fails ends it. cargo-mutants itself has no stages, and its baseline is of the mutated
crate's tests only. What was printed for each is under target/mutants/log.
Exit code: 0, or 1 where the program that is not changed fails its tests or no mutant has such a name.
"""
import argparse, json, os, random, re, shutil, signal, subprocess, sys, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target/mutants"
TREE = HOME / "tree"
SCRATCH = HOME / "tmp"
LOGS = HOME / "log"
RUNNER = ["--package=ddpm-runner", "--features=emulation"]
# With emulation the device's programs run on the CUDA source compiled for the processor.
KERNELS = ["--package=ddpm-kernels", "--features=emulation", "--lib"]
MODEL = ["--package=ddpm-model", "--features=emulation", "--lib", "--test=properties"]
NUMBERS = [*RUNNER, "--lib", "--test=pinned", "--test=golden", "--test=section4", "--test=emulated"]
# A cluster is minutes of waiting.
WITHOUT_A_CLUSTER = [word for fault in ["stop", "disk", "damage", "runners", "causes", "overhead", "kills"] for word in ("--only", fault)]
STAGES = {
    "core": [["--package=ddpm-core"], MODEL, [*RUNNER, "--test=pinned"]],
    "kernels": [KERNELS, MODEL, NUMBERS],
    "model": [MODEL, NUMBERS, [*RUNNER, "--test=pipeline"]],
    "runner": [
        [*RUNNER, "--lib", "--test=names", "--test=configuration"],
        [*RUNNER, "--test=command_line", "--test=pinned", "--test=golden", "--test=section4"],
        [*RUNNER, "--test=hostile", "--test=pipeline"],
        [*RUNNER, "--test=faults", "--", *WITHOUT_A_CLUSTER],
        [*RUNNER, "--test=emulated"],
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


def cargo(arguments, log, seconds=3600):
    """None where all of it passes, else what did not, in words. It ends at the first test that fails, or after so many seconds."""
    # That a property fails is enough: its smallest case is not looked for. What a test says comes before its end is told.
    said = {"PROPTEST_MAX_SHRINK_ITERS": "0", "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1", "RUST_TEST_NOCAPTURE": "1"}
    # What is stopped leaves its files.
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir()
    process = subprocess.Popen(
        ["cargo", "test", "--locked", "--profile=mutants", *arguments], cwd=TREE, env={**os.environ, **said, "TMPDIR": str(SCRATCH)},
        text=True, errors="replace", start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    ended_by = []

    def end(why):
        ended_by.append(why)
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end, [f"did not end in {seconds:.0f} s"])
    timer.start()
    last = ""
    for line in process.stdout:
        log.write(line)
        last = line.strip() or last
        if not ended_by and (failed := re.search(r"\btest (\S+).* \.\.\. FAILED$", line)):
            end(failed[1])
    code = process.wait()
    timer.cancel()
    return ended_by[0] if ended_by else None if code == 0 else last


class Stage:
    """Some tests, and how long they take where nothing is changed: measured once, when they are first needed."""

    def __init__(self, number, tests):
        self.number, self.tests, self.seconds = number, tests, None

    def measure(self):
        with open(LOGS / f"unchanged-{self.number}.txt", "w") as log:
            cargo(["--no-run", *self.tests], log)
            started = time.time()
            if failed := cargo(self.tests, log):
                sys.exit(f"nothing is changed, and the tests fail: {failed} (see {log.name})")
        self.seconds = time.time() - started
        print(f"unchanged: {self.seconds:.0f} s for {' '.join(self.tests)}", flush=True)

    def fails(self, log):
        """What does not pass, if anything: a mutant that hangs does not."""
        return cargo(self.tests, log, 3 * self.seconds + 20)


def plant(mutant):
    subprocess.run(["patch", "--quiet", str(TREE / mutant["file"])], input=mutant["diff"], text=True, check=True)


def restore(mutant):
    call("git", "checkout", "--quiet", "--", mutant["file"])
    call("git", "clean", "-qfd")


def trial(mutant, stages, log):
    """What becomes of a mutant, and what noticed it."""
    log.write(mutant["diff"])
    try:
        for stage in stages:
            if stage.seconds is None:
                restore(mutant)
                stage.measure()
                plant(mutant)
            elif stage is stages[0]:
                plant(mutant)
            if cargo(["--no-run", *stage.tests], log):
                return "unviable", "the compiler"
            if failed := stage.fails(log):
                return "caught", failed
        return "missed", ""
    finally:
        restore(mutant)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crate", choices=STAGES)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--count", type=int, default=60, help="mutants that compile")
    parser.add_argument("--skip", type=int, default=0, help="begin behind so many of the sample, which a run before this one has tried")
    parser.add_argument("--name", metavar="TEXT", action="append", help="only those whose name holds one of these texts")
    options = parser.parse_args()
    head, started = clone(), time.time()
    listed = json.loads(call("cargo", "mutants", "--list", "--json", "--diff", "--package", f"ddpm-{options.crate}"))
    mutants = [mutant for mutant in listed if any(text in mutant["name"] for text in options.name or [""])]
    processor = Path("/proc/cpuinfo")
    if not processor.exists() or "amx_tile" not in processor.read_text():
        mutants = [mutant for mutant in mutants if not mutant["file"].endswith("gemm/amx.rs")]
        print("without those in amx.rs: this processor has no matrix unit")
    if not mutants:
        sys.exit("no mutant has such a name; `cargo mutants --list` shows them all")
    print(f"{len(mutants)} mutants of ddpm-{options.crate} at {head}, drawn with seed {options.seed}", flush=True)
    random.Random(options.seed).shuffle(mutants)
    stages, became = [Stage(*of) for of in enumerate(STAGES[options.crate], 1)], {"caught": [], "missed": [], "unviable": []}
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir()
    for number, mutant in enumerate(mutants[options.skip:], options.skip + 1):
        with open(LOGS / f"{number}.txt", "w") as log:
            outcome, by = trial(mutant, stages, log)
        became[outcome].append(mutant["name"])
        viable = len(became["caught"]) + len(became["missed"])
        print(f"{number:3} {outcome:8} {mutant['name']}{': ' + by if by else ''}", flush=True)
        if viable == options.count:
            break
    missed = became["missed"]
    print(f"\nddpm-{options.crate} at {head}, seed {options.seed}: {viable} mutants that compile ({len(became['unviable'])} do not), "
          f"{len(missed)} missed ({100 * len(missed) / max(viable, 1):.1f}%), {(time.time() - started) / 60:.0f} min")
    print("".join(f"  {name}\n" for name in missed), end="")


if __name__ == "__main__":
    main()
