#!/usr/bin/env python3
"""Plants small errors in a crate, one at a time, and says which of them no test notices. Needs cargo-mutants and a C++ compiler.

usage: mutants.py CRATE [--seed N] [--count N] [--files GLOB]
CRATE is core, kernels, model or runner. The mutants are a sample of all that cargo-mutants knows for the crate at HEAD, drawn with the
seed, which is printed. They are built and tested in a clone of their own under target/mutants, first with the tests that are quick and
near; only what these miss goes on to the next stage. Exit code: 0, or 1 where the program that is not changed fails its tests.
"""
import argparse, json, random, re, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target/mutants"
TREE = HOME / "tree"
# The device's programs run on the CUDA source compiled for the processor.
EMULATION = ["--features", "emulation"]
PIPELINE = ("runner", EMULATION, ["--test=pinned", "--test=golden", "--test=section4", "--test=emulated", "--test=pipeline"])
STAGES = {  # a stage: the package whose tests run, its features, its targets
    "core": [("core", [], []), ("model", [], []), ("runner", [], ["--test=pinned"])],
    "kernels": [("kernels", EMULATION, ["--lib"]), ("model", EMULATION, []), PIPELINE],
    "model": [("model", EMULATION, []), PIPELINE],
    "runner": [
        ("runner", EMULATION, ["--lib", "--test=names", "--test=configuration", "--test=command_line", "--test=arms"]),
        ("runner", EMULATION, ["--test=pinned", "--test=golden", "--test=section4"]),
        ("runner", EMULATION, ["--test=pipeline", "--test=emulated", "--test=hostile", "--test=faults"]),
    ],
}
KINDS = ["caught", "missed", "timeout", "unviable"]


def shell(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def clone():
    """HEAD, in a folder of its own that keeps what was built there: files that did not change keep their times."""
    if not TREE.exists():
        shell("git", "clone", "--quiet", "--shared", ROOT, TREE)
    head = shell("git", "rev-parse", "HEAD", cwd=ROOT, capture_output=True).stdout.strip()
    shell("git", "fetch", "--quiet", "origin", head, cwd=TREE)
    shell("git", "checkout", "--quiet", "--force", "--detach", head, cwd=TREE)
    return head


def sample(crate, seed, count, files):
    command = ["cargo", "mutants", "--list", "--json", "--package", f"ddpm-{crate}"] + (["--file", files] if files else [])
    names = [mutant["name"] for mutant in json.loads(shell(*command, cwd=TREE, capture_output=True).stdout)]
    drawn = random.Random(seed).sample(names, min(count, len(names)))
    print(f"{len(names)} mutants of ddpm-{crate}, {len(drawn)} drawn with seed {seed}", flush=True)
    return drawn


def run(crate, stage, mutants):
    """Tests these mutants; their names by what became of them."""
    package, features, targets = stage
    command = ["cargo", "mutants", "--in-place", "--package", f"ddpm-{crate}", "--test-package", f"ddpm-{package}", "--output", HOME,
               "--timeout-multiplier", "3", "--no-times", "--colors", "never", *features]
    command += [f"--cargo-arg={target}" for target in ["--locked", *targets]]
    for mutant in mutants:
        command += ["--re", f"^{re.escape(mutant)}$"]
    code = subprocess.run(command, cwd=TREE).returncode
    if code not in (0, 2, 3):  # all caught, some missed, some timed out
        sys.exit(f"cargo mutants ended with {code}: its logs are under {HOME / 'mutants.out'}")
    return {kind: (HOME / f"mutants.out/{kind}.txt").read_text().splitlines() for kind in KINDS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crate", choices=STAGES)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--files", metavar="GLOB", help="draw from these files only")
    options = parser.parse_args()
    started = time.time()
    HOME.mkdir(parents=True, exist_ok=True)
    head = clone()
    left = sample(options.crate, options.seed, options.count, options.files)
    caught = unviable = 0
    for number, stage in enumerate(STAGES[options.crate], 1):
        print(f"stage {number}: {len(left)} mutants against {stage[0]} {' '.join(stage[2]) or 'all tests'}", flush=True)
        became = run(options.crate, stage, left)
        # A test that hangs is a test that fails.
        caught += len(became["caught"]) + len(became["timeout"])
        unviable += len(became["unviable"])
        left = became["missed"]
        if not left:
            break
    viable = caught + len(left)
    print(f"\nddpm-{options.crate} at {head[:7]}, seed {options.seed}: {viable} mutants that compile ({unviable} do not), "
          f"{caught} caught, {len(left)} missed ({100 * len(left) / max(viable, 1):.1f}%), {(time.time() - started) / 60:.0f} min")
    for mutant in left:
        print(f"  {mutant}")


if __name__ == "__main__":
    main()
