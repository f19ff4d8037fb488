#!/usr/bin/env python3
"""Images a second: `ddpm bench images` beside torch.utils.data with Pillow, on the same JPEG files and one and the same core, in turn.

usage: images.py PROGRAM [--side 256] [--count 2000] [--rounds 3] [-o results.json]
Needs torch, torchvision and Pillow. The files are made anew in a folder that is removed: waves and noise, quality 90, about as many bytes as
a photograph. PyTorch's ways are one worker process and none. All give shuffled batches of 64 as pixels in bytes, ours from the files
themselves (kept compressed) and from their prepared pixels.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

BATCH = 64


def picture(rng, np, side):
    y, x = np.meshgrid(np.linspace(0, 6, side), np.linspace(0, 6, side))
    wave = lambda: np.sin(x * rng.uniform(0.3, 4) + y * rng.uniform(0.3, 4) + rng.uniform(0, 6))
    pixels = np.stack([127 + 60 * wave() + 40 * wave() for _ in range(3)], -1) + rng.normal(0, 6, (side, side, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def theirs(folder, workers, seconds):
    """Images a second of a DataLoader, warm."""
    import torch
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    torch.set_num_threads(1)
    names = sorted(os.path.join(folder, name) for name in os.listdir(folder))

    class Set(torch.utils.data.Dataset):
        def __len__(self):
            return len(names)

        def __getitem__(self, i):
            with Image.open(names[i]) as image:
                return pil_to_tensor(image.convert("RGB"))

    loader = torch.utils.data.DataLoader(Set(), BATCH, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0)
    for _ in loader:
        pass
    begun, images = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for batch in loader:
            images += len(batch)
    return images / (time.perf_counter() - begun)


BASE = """data: {{kind: folder, path: {folder}, held_out: 10}}
diffusion: {{timesteps: 1000, schedule: {{kind: linear, beta_start: 1.0e-4, beta_end: 0.02}}, beta_scale: as-given, prediction: eps,
  variance: fixed-small, objective: simple}}
network: {{channels: 32, multipliers: [1], blocks: 1, attention: [], dropout: 0.0}}
training: {{steps: 1, batch: 64, flip: true, precision: f32,
  optimiser: {{learning_rate: 1.0e-4, warmup_steps: 0, clip_norm: 1.0, clip_shards: 1, ema_decay: 0.9}}}}
sampling: {{sampler: {{kind: ancestral, clip: true}}, count: 10, batch: 1}}
evaluation: {{held_out: 1, train: 0, batch: 1, features: own}}
"""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--side", type=int, default=256)
    p.add_argument("--count", type=int, default=2000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--theirs", nargs=2, help=argparse.SUPPRESS)
    p.add_argument("-o", "--out")
    a = p.parse_args()
    if a.theirs:
        return print(theirs(a.theirs[0], int(a.theirs[1]), a.seconds))
    import numpy as np
    from PIL import Image

    # One core for all of it: its own processes inherit it.
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
    speeds = {}
    with tempfile.TemporaryDirectory() as dir:
        folder, base, grid = [os.path.join(dir, name) for name in ["images", "base.yaml", "grid.yaml"]]
        os.mkdir(folder)
        rng = np.random.default_rng(3)
        few = [picture(rng, np, a.side) for _ in range(50)]
        for i in range(a.count):
            Image.fromarray(np.roll(few[i % len(few)], 7 * i, axis=1)).save(os.path.join(folder, f"{i:05}.jpg"), quality=90)
        each = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)) / a.count
        with open(base, "w") as file:
            file.write(BASE.format(folder=folder))
        with open(grid, "w") as file:
            file.write(f"question: How fast?\nbase: {base}\ngrid: {{}}\n")

        def ours(form, batches):
            command = [a.program, "bench", "images", "--base", base, "--cache", os.path.join(dir, form), "--batch", str(BATCH)]
            done = subprocess.run([*command, "--steps", str(batches), "--json"], capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(done.stderr)
            return json.loads(done.stdout)["img_per_s"]

        def prepare(form):
            command = [a.program, "data", "prepare", grid, "--form", form, "--cache", os.path.join(dir, form)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(done.stderr)

        def peer(workers):
            command = [sys.executable, __file__, a.program, "--seconds", str(a.seconds), "--theirs", folder, str(workers)]
            return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

        for form in ["bytes", "compressed"]:
            prepare(form)
        ways = {
            "ours, compressed": lambda: ours("compressed", 60),
            "ours, bytes": lambda: ours("bytes", 600),
            "torch, 1 worker": lambda: peer(1),
            "torch, no worker": lambda: peer(0),
        }
        for _ in range(a.rounds):
            for way, measure in ways.items():
                speeds.setdefault(way, []).append(measure())
    best = max(statistics.median(speeds[way]) for way in ways if way.startswith("torch"))
    print(f"{a.count} JPEG files of {a.side}x{a.side}, {each / 1e3:.0f} kB each, one core\n")
    print("| way | images/s | beside torch's best |\n| --- | --- | --- |")
    for way, found in speeds.items():
        median = statistics.median(found)
        print(f"| {way} | {median:.0f} | {median / best:.2f} |")
    if a.out:
        with open(a.out, "w") as file:
            json.dump({"side": a.side, "count": a.count, "bytes": each, "img_per_s": speeds}, file, indent=1)


main()
