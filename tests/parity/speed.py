#!/usr/bin/env python3
"""Speed of the scores: FID of 50,000 against 50,000 features, and Inception features beside pytorch-fid's network, in turn.

usage: target/parity/bin/python tests/parity/speed.py target/release/ddpm        (the environment is that of `just parity`)
"""
import os, subprocess, sys, tempfile, time
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
import pytorch_fid.inception as source

ddpm, images, few = os.path.abspath(sys.argv[1]), 100, 2
torch.set_num_threads(os.cpu_count())
rng = np.random.default_rng(1)
source.load_state_dict_from_url = lambda *a, **k: None
keep, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda self, *a, **k: None
theirs, full = source.InceptionV3([3]).eval(), source.fid_inception_v3()
torch.nn.Module.load_state_dict = keep


def seconds(*arguments):
    started = time.time()
    subprocess.run([ddpm, "fid", *arguments], check=True, capture_output=True)
    return time.time() - started


def pytorch(layout):
    m, x = theirs.to(memory_format=layout), torch.rand(images, 3, 32, 32).to(memory_format=layout)
    with torch.no_grad():
        started = time.time()
        for part in x.split(50):
            m(part)
    return images / (time.time() - started)


with tempfile.TemporaryDirectory() as top:
    mix = torch.randn(256, 2048) / 16
    for name, shift in [("a", 0.0), ("b", 0.1)]:
        features = torch.randn(50_000, 256) @ mix + 0.3 * torch.randn(50_000, 2048) + shift
        save_file({"features": features.relu()}, f"{top}/{name}.safetensors")
    taken = seconds(f"{top}/a.safetensors", f"{top}/b.safetensors")
    print(f"FID of 50,000 against 50,000: {taken:.1f} s")
    torch.save(full.state_dict(), f"{top}/inception.pth")
    for n in [few, images]:
        os.makedirs(f"{top}/{n}")
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(f"{top}/{n}/{i:04d}.png")
    save_file({"features": torch.randn(10, 2048)}, f"{top}/small.safetensors")
    more = [f"{top}/small.safetensors", "--weights", f"{top}/inception.pth", "--resize", "pytorch"]
    with torch.no_grad():
        theirs(torch.rand(8, 3, 32, 32))
    for _ in range(3):
        # What both runs spend on weights and on the distance itself cancels.
        ours = (images - few) / (seconds(f"{top}/{images}", *more) - seconds(f"{top}/{few}", *more))
        print(f"images/s: PyTorch {pytorch(torch.contiguous_format):.1f}, channels_last {pytorch(torch.channels_last):.1f}, ours {ours:.1f}", flush=True)
