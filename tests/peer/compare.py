#!/usr/bin/env python3
"""Runs `ddpm bench` and the PyTorch peer beside it in turn, and prints the ratios as a Markdown table. Needs torch.

usage: compare.py PROGRAM [--rounds N] [--quick] [--only TEXT] [--isa avx2|avx512] [-o results.json]
A row is one kind of work. Ours is compared with the fastest of PyTorch's ways to do it. Rounds alternate, so that whatever else the
machine does falls on both; a row's figure is the median over rounds of each run's median step.
"""
import argparse, json, os, platform, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
LAST = ["--channels-last"]
WORK = [  # name, ours, PyTorch's preset and batch and mode, PyTorch's ways
    ("CIFAR-10 U-Net, train step, f32", ["train-step", "--precision", "f32"], ("cifar10", 8, "train"),
     {"fp32": [], "fp32 channels_last": LAST}),
    ("CIFAR-10 U-Net, train step, bf16", ["train-step", "--precision", "bf16"], ("cifar10", 8, "train"),
     {"bf16 autocast": ["--dtype", "bf16"], "bf16 autocast channels_last": ["--dtype", "bf16"] + LAST,
      "bf16 autocast channels_last compiled": ["--dtype", "bf16", "--compile"] + LAST}),
    ("CIFAR-10 U-Net, forward, f32", ["forward", "--precision", "f32"], ("cifar10", 8, "forward"),
     {"fp32": [], "fp32 channels_last": LAST}),
    ("CIFAR-10 U-Net, forward, bf16", ["forward", "--precision", "bf16"], ("cifar10", 8, "forward"),
     {"bf16 autocast channels_last": ["--dtype", "bf16"] + LAST,
      "bf16 autocast channels_last compiled": ["--dtype", "bf16", "--compile"] + LAST}),
    ("default base's network, train step", ["train-step", "--base", "fashion-cpu"], ("fashion-cpu", 32, "train"),
     {"fp32": [], "fp32 channels_last": LAST, "fp32 compiled": ["--compile"], "bf16 autocast channels_last": ["--dtype", "bf16"] + LAST}),
]
GPU_WAYS = {"bf16 autocast channels_last": ["--dtype", "bf16"] + LAST,
            "bf16 autocast channels_last compiled": ["--dtype", "bf16", "--compile"] + LAST,
            "bf16 autocast channels_last compiled max-autotune": ["--dtype", "bf16", "--compile", "max-autotune"] + LAST}
GPU = ["--device", "cuda"]
GPU_WORK = [
    ("CIFAR-10 U-Net, train step, bf16", ["train-step", "--precision", "bf16"], ("cifar10", 128, "train"), GPU_WAYS),
    ("CIFAR-10 U-Net, sampling step, bf16", ["forward", "--precision", "bf16"], ("cifar10", 512, "forward"), GPU_WAYS),
    ("U-Net with 64 channels, train step, bf16", ["train-step", "--precision", "bf16", "--channels", "64"], ("ch64", 128, "train"), GPU_WAYS),
    ("CIFAR-10 U-Net, train step, f32", ["train-step", "--precision", "f32"], ("cifar10", 128, "train"), {"fp32": [], "fp32 channels_last": LAST}),
    ("CIFAR-10 U-Net, train step, tf32", ["train-step", "--precision", "tf32"], ("cifar10", 128, "train"),
     {"tf32 channels_last": ["--dtype", "tf32"] + LAST,
      "tf32 channels_last compiled": ["--dtype", "tf32", "--compile"] + LAST}),
]
LIMITS = {  # ours, oneDNN's, PyTorch's own loops'
    "avx2": {"DDPM_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "avx512": {"DDPM_ISA": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(command)}: failed\n{done.stderr[-600:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine(rows, gpu):
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    where = rows[0]["ours"][0]["device" if gpu else "kernels"]
    peer = rows[0]["torch"][rows[0]["torch_best"]][0]["peer"]
    return f"{os.cpu_count()} cores of {model}, {where if gpu else 'kernels ' + where}, {peer}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--quick", action="store_true", help="without the compiled PyTorch that takes minutes: on a GPU max-autotune, else all of it")
    p.add_argument("--only", default="", help="rows whose name holds this")
    p.add_argument("--gpu", action="store_true", help="on GPU 0")
    p.add_argument("--isa", choices=LIMITS, help="the best instruction set that either may use")
    p.add_argument("-o", "--out")
    a = p.parse_args()
    os.environ.update(LIMITS[a.isa] if a.isa else {})
    rows = []
    here = ["--device", "cuda:0"] if a.gpu else []
    for name, ours, (preset, batch, mode), ways in (work for work in (GPU_WORK if a.gpu else WORK) if a.only in work[0]):
        slow = "max-autotune" if a.gpu else "compiled"
        ways = {k: v for k, v in ways.items() if not (a.quick and slow in k)}
        mine, theirs = [], {k: [] for k in ways}
        for _ in range(a.rounds):
            mine.append(run([a.program, "bench", *ours, *here, "--batch", str(batch), "--json"]))
            for way, flags in ways.items():
                peer = [sys.executable, os.path.join(HERE, "torch_bench.py"), "--preset", preset, "--batch", str(batch), "--mode", mode]
                theirs[way].append(run(peer + flags + (GPU if a.gpu else [])))
        mine = [m for m in mine if m]
        theirs = {k: [r for r in v if r] for k, v in theirs.items()}
        speeds = {k: statistics.median(r["img_per_s"] for r in v) for k, v in theirs.items() if v}
        if not mine or not speeds:
            print(f"{name}: no figure", file=sys.stderr)
            continue
        best = max(speeds, key=speeds.get)
        speed = statistics.median(m["img_per_s"] for m in mine)
        memory = statistics.median(m["device_mib" if a.gpu else "peak_mib"] for m in mine), statistics.median(r["peak_mib"] for r in theirs[best])
        rows.append(dict(work=name, ours_img_per_s=speed, torch_img_per_s=speeds, torch_best=best, ratio=speed / speeds[best],
                         ours_peak_mib=memory[0], torch_peak_mib=memory[1], memory_ratio=memory[0] / memory[1],
                         ours=mine, torch=theirs))
        r = rows[-1]
        print(f"{name}: {r['ratio']:.2f} ({speed:.1f} img/s; {best}: {speeds[best]:.1f}; memory {r['memory_ratio']:.2f})", file=sys.stderr)
        if a.out:  # Row by row: whatever ends this, what was measured is there.
            json.dump(dict(machine=machine(rows, a.gpu), rounds=a.rounds, rows=rows), open(a.out, "w"), indent=1)
    if not rows:
        sys.exit(f"no figures: is there a row whose name holds {a.only!r}, and does this Python have torch?")
    if a.gpu:
        print("".join(f"{r['work']}: {100 * r['ours'][0]['share_of_peak']:.0f}% of {r['ours'][0]['peak_flop_per_s'] / 1e12:.0f} TFLOP/s\n" for r in rows))
    print(f"{machine(rows, a.gpu)}; median of {a.rounds} rounds\n")
    print("| work | ours, img/s | PyTorch's best, img/s | ratio | memory, MiB | ratio |")
    print("|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['work']} | {r['ours_img_per_s']:.1f} | {r['torch_img_per_s'][r['torch_best']]:.1f} ({r['torch_best']}) | {r['ratio']:.2f} "
              f"| {r['ours_peak_mib']:.0f} / {r['torch_peak_mib']:.0f} | {r['memory_ratio']:.2f} |")


if __name__ == "__main__":
    main()
