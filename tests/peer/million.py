"""A million JPEG images of 64x64 in an LMDB as LSUN has it: 5,000 pictures, each 200 times under names of its own. Half a minute, 4 GB. Beside
it, in FOLDER.yaml, a base that trains on them.

    python3 -m venv /tmp/data && /tmp/data/bin/pip install lmdb pillow numpy && /tmp/data/bin/python tests/peer/million.py /tmp/million
"""

import hashlib
import io
import sys

import lmdb
import numpy as np
from PIL import Image

N, PICTURES, SIDE = 1_000_000, 5_000, 64
rng = np.random.default_rng(3)


def picture():
    """Waves and some noise, so that JPEG takes about as much as for a photograph."""
    y, x = np.meshgrid(np.linspace(0, 6, SIDE), np.linspace(0, 6, SIDE))
    wave = lambda: np.sin(x * rng.uniform(0.3, 2) + y * rng.uniform(0.3, 2) + rng.uniform(0, 6))
    pixels = np.stack([127 + 100 * wave() for _ in range(3)], -1) + rng.normal(0, 8, (SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=90)
    return file.getvalue()


pictures = [picture() for _ in range(PICTURES)]
database = lmdb.open(sys.argv[1], map_size=1 << 36, sync=False)
with database.begin(write=True) as transaction:
    for i in range(N):
        key = f"{i:08}{hashlib.sha1(str(i).encode()).hexdigest()[:32]}"
        transaction.put(key.encode(), pictures[i * 7919 % PICTURES], append=True)
database.sync()
database.close()
with open(sys.argv[1].rstrip("/") + ".yaml", "w") as base:
    base.write(f"""data: {{kind: lmdb, path: {sys.argv[1]}, held_out: 1000}}
diffusion:
  timesteps: 1000
  schedule: {{kind: linear, beta_start: 1.0e-4, beta_end: 0.02}}
  beta_scale: as-given
  prediction: eps
  variance: fixed-small
  objective: simple
network: {{channels: 64, multipliers: [1, 2, 2], blocks: 1, attention: [16], dropout: 0.0}}
training:
  steps: 20
  batch: 32
  flip: true
  precision: f32
  optimiser: {{learning_rate: 1.0e-4, warmup_steps: 0, clip_norm: 1.0, clip_shards: 1, ema_decay: 0.9}}
sampling: {{sampler: {{kind: ddim, steps: 2}}, count: 10, batch: 10}}
evaluation: {{held_out: 10, train: 0, batch: 10, features: own}}
""")
