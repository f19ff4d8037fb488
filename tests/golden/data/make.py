"""Makes this folder's data sets with the programs of the field: the same images as a folder, Parquet, LMDB, tar shards and NumPy's arrays.

    python3 -m venv /tmp/data && /tmp/data/bin/pip install datasets lmdb webdataset 'pillow<13' numpy
    /tmp/data/bin/python tests/golden/data/make.py

Pillow 13 takes columns before rows in some resized pictures; all published sets were made by earlier ones. `expected.json` has the digest of each set as the runner computes it, here over Pillow's pixels.
"""

import hashlib
import io
import json
import shutil
from pathlib import Path

import datasets
import lmdb
import numpy as np
import webdataset
from PIL import Image

HERE = Path(__file__).parent
CLASSES = {"cat": 13, "dog": 9, "owl": 5}
SIDE, HELD_OUT = 28, 6
rng = np.random.default_rng(7)


def encoded(i, pixels):
    """Most are small; a bitmap is too large for a page of LMDB."""
    name, options = [("png", {}), ("webp", {"lossless": True}), ("png", {"optimize": True}), ("bmp", {})][i % 4 if i % 8 == 3 else i % 3]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, **options)
    assert (np.asarray(Image.open(file).convert("RGB")) == pixels).all()
    return name, file.getvalue()


def smooth():
    """A gradient in a colour of its own."""
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    base, along, across = rng.integers(0, 200, 3), rng.integers(-3, 4, 3), rng.integers(-3, 4, 3)
    return np.clip(base + along * x[..., None] + across * y[..., None], 0, 255).astype(np.uint8)


def fresh(name):
    place = HERE / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def digest(train, held_out):
    h, w, c = train[0].shape
    return hashlib.sha256(f"{h}x{w}x{c};{len(train)};".encode() + b"".join(p.tobytes() for p in train + held_out)).hexdigest()


images = [(label, smooth()) for label, n in enumerate(CLASSES.values()) for _ in range(n)]
files = [(label, *encoded(i, pixels)) for i, (label, pixels) in enumerate(images)]
numbers = [label for label, _ in images]

folder = fresh("folder")
for i, (label, kind, data) in enumerate(files):
    place = folder / list(CLASSES)[label] / f"{i:03}.{kind}"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(data)

# Hugging Face: two shards, groups of seven rows.
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
rows = {"image": [{"bytes": data, "path": f"{i}.{kind}"} for i, (_, kind, data) in enumerate(files)], "label": numbers}
place = fresh("parquet")
whole = datasets.Dataset.from_dict(rows, features=features)
for shard in range(2):
    whole.shard(2, shard, contiguous=True).to_parquet(str(place / f"train-{shard:05}-of-00002.parquet"), batch_size=7)

# LSUN: the unnamed database, keys of forty digits in order.
place = fresh("lmdb")
database = lmdb.open(str(place), map_size=1 << 20)
with database.begin(write=True) as transaction:
    for i, (_, _, data) in enumerate(files):
        transaction.put(f"{i:04}{hashlib.sha1(data).hexdigest()[4:]}".encode(), data)
database.close()
(place / "lock.mdb").unlink()

# WebDataset: shards of twelve.
place = fresh("tar")
with webdataset.ShardWriter(str(place / "%06d.tar"), maxcount=12, verbose=0, mtime=0) as writer:
    for i, (label, kind, data) in enumerate(files):
        writer.write({"__key__": f"{i:06}", kind: data, "cls": str(label), "json": {"i": i}})

# guided-diffusion, an array by itself, and downsampled ImageNet, whose labels begin at one.
pixels = np.stack([pixels for _, pixels in images])
np.savez_compressed(fresh("npz") / "samples.npz", pixels, np.array(numbers))
np.save(fresh("npy") / "pixels.npy", pixels)
planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
np.savez_compressed(fresh("planes") / "train_data_batch_1.npz", data=planes, labels=np.array(numbers) + 1, mean=planes.mean(0))

# Hugging Face's CIFAR-10 in small: six batches of two records in another order; pixel k of record r is 40 r + k mod 37.
record = lambda r: ((40 * r + np.arange(3072) % 37) % 256).astype(np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)
order = [[8, 9, 4, 5, 6, 7, 0, 1, 2, 3], [10, 11]]
features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
place = fresh("cifar10")
for name, records in zip(["train", "test"], order):
    rows = {"img": [Image.fromarray(record(r)) for r in records], "label": [r % 10 for r in records]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(place / f"{name}-00000-of-00001.parquet"))

# Transforms: Pillow's own, and guided-diffusion's way with it.
def middle(picture, side):
    array = np.array(picture)
    y, x = (array.shape[0] - side) // 2, (array.shape[1] - side) // 2
    return Image.fromarray(array[y : y + side, x : x + side])


def shortest(picture, side, resample):
    scale = side / min(picture.size)
    return picture.resize(tuple(round(length * scale) for length in picture.size), resample)


def guided(picture, side):
    while min(picture.size) >= 2 * side:
        picture = picture.resize(tuple(length // 2 for length in picture.size), Image.BOX)
    return middle(shortest(picture, side, Image.BICUBIC), side)


def transformed(name, picture):
    picture.save(place / f"{name}.png")
    guided(picture, 16).save(place / f"{name}-guided-diffusion.png")
    for filter in ["box", "bicubic", "lanczos"]:
        middle(shortest(picture, 16, Image.Resampling[filter.upper()]), 16).save(place / f"{name}-{filter}.png")


place = fresh("transforms")
for name, (height, width, channels) in {"lying": (41, 100, 3), "standing": (77, 53, 3), "small": (11, 9, 3), "grey": (70, 90, 1)}.items():
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    waves = [127 + 90 * np.sin(x * (0.2 + 0.1 * c) + y * y * 0.004) + rng.normal(0, 12, (height, width)) for c in range(channels)]
    picture = Image.fromarray(np.clip(np.stack(waves, -1), 0, 255).astype(np.uint8).squeeze())
    transformed(name, picture)
# Black and white at random: filters overshoot everywhere, so the order of rows and columns shows.
for name, size in {"noise-lying": (23, 61), "noise-standing": (71, 19)}.items():
    transformed(name, Image.fromarray((rng.integers(0, 2, size) * 255).astype(np.uint8)))
Image.open(place / "lying.png").convert("L").save(place / "lying-luma.png")

# The last of each class in proportion: 27 images, of which six are held out.
held = [i for i in range(len(images)) if i in (10, 11, 12, 20, 21, 26)]
split = lambda wanted: [pixels for i, (_, pixels) in enumerate(images) if (i in held) == wanted]
last = [pixels for _, pixels in images]
expected = {"images": len(images), "held_out": HELD_OUT, "by_class": digest(split(False), split(True)), "last": digest(last[:-HELD_OUT], last[-HELD_OUT:])}
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
