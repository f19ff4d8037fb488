#!/usr/bin/env python3
"""The pinned experiments' jobs on this processor and on another that a command stands for, and where their records and samples differ.

usage: elsewhere.py DDPM COMMAND...     such as: elsewhere.py target/release/ddpm qemu-x86_64 -cpu Nehalem
An emulated processor is a hundred times slower: of the trainings every third of the first seed is run. Exit 1 where a number differs that
is not a library's: distances by linear algebra may by 1e-9, what the study `anatomy` finds by 1e-5.
"""
import json, os, pathlib, struct, subprocess, sys, tempfile, zlib

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = {"colour": (8, 12, 3, 25), "grey": (28, 28, 1, 90)}
BY_LIBRARY = {"fid", "fid-held-out", "fid-infinity", "kid"}


def byte(i, y, x, c):
    """As in tests/support.rs."""
    stripes = i * 53 + y * y * 3 + x * (11 + i % 7) + c * (40 + 9 * x) + i * x * y % 31
    return ((i * 1009 + y * 257 + x * 17 + c * 5) ** 2 * 31 // 64 if i % 3 == 0 else stripes) % 256


def png(rows, width, height, channels):
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + part(b"IEND", b"")


def leaves(value, at=()):
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in ("wall_s", "machine", "blake3", "loading"):
                yield from leaves(part, at + (key,))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from leaves(part, at + (i,))
    else:
        yield at, value


def main():
    program, elsewhere = os.path.abspath(sys.argv[1]), sys.argv[2:]
    os.chdir(tempfile.mkdtemp())
    for name, (h, w, c, n) in IMAGES.items():
        os.mkdir(name)
        for i in range(n):
            rows = [bytes(byte(i, y, x, k) for x in range(w) for k in range(c)) for y in range(h)]
            pathlib.Path(name, f"{i:03}.png").write_bytes(png(rows, w, h, c))
    environment = {**os.environ, "DDPM_ISA": "portable"}
    compared = files = wrong = 0
    furthest = 0.0
    for grid, base in [("training", "colour"), ("sampling", "grey"), ("plane", "points")]:
        plan = [program, "plan", HERE / f"{grid}.yaml", "--base", HERE / f"{base}.yaml", "--json", "--results", "here"]
        jobs = json.loads(subprocess.run(plan, stdout=subprocess.PIPE, check=True).stdout)["jobs"]
        if grid == "training":
            jobs = [job for job in jobs if job["seed"] == jobs[0]["seed"]][::3]
        for job in jobs:
            text = json.dumps({key: job[key] for key in ["id", "training_id", "sampling_id", "config", "seed", "study"]}).encode()
            for results, prefix in [("here", []), ("there", elsewhere)]:
                subprocess.run([*prefix, program, "run", "-", "--results", results], input=text, stdout=subprocess.DEVNULL, env=environment, check=True)
            for record in [f"runs/{job['id']}/record.json", f"training/{job['training_id']}/training.json"]:
                a, b = (json.loads(pathlib.Path(results, record).read_text()) for results in ("here", "there"))
                for (at, x), (_, y) in zip(leaves(a), leaves(b), strict=True):
                    compared += 1
                    # The study of the network's parts takes elementary functions from the system's library.
                    allowed = 1e-9 if BY_LIBRARY & set(at) else 1e-5 if "anatomy" in at else 0.0
                    if x != y and isinstance(x, float) and abs(x - y) <= allowed * (1 + abs(x)):
                        furthest = max(furthest, abs(x - y) / (1 + abs(x)))
                    elif x != y:
                        wrong += 1
                        print(f"{record}: {' '.join(map(str, at))}: {x} here, {y} there")
    for path in sorted(pathlib.Path("here/samples").iterdir()):
        files += 1
        if path.read_bytes() != pathlib.Path("there/samples", path.name).read_bytes():
            wrong += 1
            print(f"{path} differs")
    print(f"{compared} numbers and words of records and {files} files of samples, {wrong} differ; those of libraries by at most {furthest:.1e}")
    sys.exit(1 if wrong else 0)


main()
