"""What is exact of tests/pinned/plane.yaml a second time, in NumPy: the points, the score of their law, walks that follow it, and how far from
the law these and the points are. `python3 tests/golden/plane.py > tests/golden/plane.json` (NumPy, SciPy, PyYAML, and PyTorch for ddpm.py's streams).
"""
import json
import math
import pathlib
import sys

import numpy as np
import yaml
from scipy.stats import binom

import ddpm

DATA, SEED = 13, 0
FOLDER = pathlib.Path(__file__).parent.parent / "pinned"
erf = np.vectorize(math.erf)


class Law:
    def __init__(self, modes, std):
        self.weight = np.array([m["weight"] for m in modes])
        self.weight /= self.weight.sum()
        self.mean, self.std = np.array([m["mean"] for m in modes]), std

    def x0(self, x, bar):
        """E[x_0 | x_t] by Bayes: what each mode says of x_0, by how likely the mode is."""
        variance = bar * self.std**2 + 1 - bar
        off = x[:, None] - math.sqrt(bar) * self.mean
        log = np.log(self.weight) - (off**2).sum(2) / (2 * variance) - np.log(variance)
        share = np.exp(log - log.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        each = self.mean + (math.sqrt(bar) * self.std**2 / variance)[:, None] * off
        return (share[:, :, None] * each).sum(1)

    def eps(self, x, bar):
        return (x - math.sqrt(bar) * self.x0(x, bar)) / math.sqrt(1 - bar)

    def levels(self):
        """The shares of all pairs of levels, rows from below."""
        edges = (np.arange(257) - 0.5) / 127.5 - 1
        edges[0], edges[-1] = -np.inf, np.inf
        below = 0.5 * (1 + erf((edges - self.mean[:, :, None]) / (self.std[:, None, None] * math.sqrt(2))))
        mass = np.diff(below, axis=2)
        return np.einsum("m,mx,my->yx", self.weight, mass[:, 0], mass[:, 1])


def levels(x):
    return np.clip(np.floor((x + 1) * 127.5 + 0.5), 0, 255).astype(int)


def divergence(points, cells):
    """KL in bits per coordinate, less what as many points of the law have on average: by the binomial distribution of each cell's number."""
    counts = np.zeros((32, 32))
    np.add.at(counts, (points[:, 1] // 8, points[:, 0] // 8), 1)
    n, there = len(points), counts > 0
    q = counts[there] / n
    k = np.arange(1, n + 1)
    chance = sum((binom.pmf(k, n, p) * k / n * np.log(k / (n * p))).sum() for p in cells.reshape(-1) if p > 1e-30)
    return float(((q * np.log(q / cells[there])).sum() - chance) / math.log(2) / 2)


def noise(step, n):
    return ddpm.normals(SEED, ddpm.SAMPLE, step, 0, n, (2,)).numpy()


def ancestral(law, alpha, bar, n):
    """Algorithm 2 with beta-tilde, x_0 clipped."""
    x = noise(0, n)
    for place, t in enumerate(range(len(alpha), 0, -1)):
        a, b, before = alpha[t - 1], bar[t - 1], bar[t - 2] if t > 1 else 1.0
        x0 = np.clip(law.x0(x, b), -1, 1)
        mean = (math.sqrt(before) * (1 - a) * x0 + math.sqrt(a) * (1 - before) * x) / (1 - b)
        x = mean + math.sqrt((1 - a) * (1 - before) / (1 - b)) * noise(place + 1, n)
    return x


def ddim(law, bar, n, steps, eta):
    """Equation 12 of Song, Meng and Ermon on an even sub-sequence."""
    x, T = noise(0, n), len(bar)
    visited = [1 + math.floor(i * (T - 1) / (steps - 1) + 0.5) for i in range(steps)][::-1]
    for place, t in enumerate(visited):
        b, s = bar[t - 1], bar[visited[place + 1] - 1] if place + 1 < steps else 1.0
        sigma2 = eta**2 * (1 - s) / (1 - b) * (1 - b / s)
        x0, eps = law.x0(x, b), law.eps(x, b)
        x = math.sqrt(s) * x0 + math.sqrt(max(1 - s - sigma2, 0)) * eps + math.sqrt(sigma2) * noise(place + 1, n)
    return x


def langevin(law, bar, n, size, inner):
    """Annealed Langevin dynamics; from level to level the signal grows as it does in x_t; at the end E[x_0 | x_1]."""
    x, place = noise(0, n), 0
    for t in range(len(bar), 0, -1):
        b = bar[t - 1]
        delta = size * (1 - b)
        for _ in range(inner):
            place += 1
            x = x - delta / 2 * law.eps(x, b) / math.sqrt(1 - b) + math.sqrt(delta) * noise(place, n)
        if t > 1:
            x = x * math.sqrt(bar[t - 2] / b)
    return law.x0(x, bar[0])


def main():
    base, grid = (yaml.safe_load((FOLDER / name).read_text()) for name in ["points.yaml", "plane.yaml"])
    data, of = base["data"], base["diffusion"]
    std = np.array([m["std"] for m in data["modes"]])
    drawn, law = Law(data["modes"], std), Law(data["modes"], np.sqrt(std**2 + (2 / 255) ** 2 / 12))
    n = data["train"] + data["held_out"]
    which = np.searchsorted(np.cumsum(drawn.weight), ddpm.uniform(data["seed"], DATA, 0, 0, n), side="right")
    z = ddpm.normals(data["seed"], DATA, 1, 0, n, (2,)).numpy()
    points = levels(drawn.mean[which] + std[which, None] * z)
    alpha = 1 - np.linspace(of["schedule"]["beta_start"], of["schedule"]["beta_end"], of["timesteps"])
    bar, p = np.cumprod(alpha), drawn.levels()
    # 32 x 32 cells of 8 x 8 levels.
    cells, p = p.reshape(32, 8, 32, 8).sum((1, 3)), p[p > 0]
    assert abs(cells.sum() - 1) < 1e-12
    study = grid["studies"][0]["kinds"][0]
    count, samplers = study["samples"], study["samplers"]
    ends = [
        ancestral(law, alpha, bar, count),
        ddim(law, bar, count, samplers[1]["steps"], samplers[1]["eta"]),
        langevin(law, bar, count, samplers[2]["step_size"], samplers[2]["inner"]),
    ]

    def arrows(t):
        """Some of 15 x 15, row by row from below, over sqrt(bar) + 1.5 sqrt(1 - bar) on each side; the score times sqrt(1 - bar)."""
        b = bar[t - 1]
        i = np.arange(0, 225, 16)
        at = (math.sqrt(b) + 1.5 * math.sqrt(1 - b)) * (2 * (np.stack([i % 15, i // 15], 1) + 0.5) / 15 - 1)
        return {"t": t, "at": at.tolist(), "exact": (-law.eps(at, b)).tolist()}

    out = {
        "held_out": points[data["train"] :].tolist(),
        "entropy": float(-(p * np.log2(p)).sum() / 2),
        "real": divergence(points[data["train"] :][: base["sampling"]["count"]], cells),
        "arrows": [arrows(t) for t in [12, 3]],
        "walks": [{"ends": end.round(6).tolist(), "divergence": divergence(levels(end), cells)} for end in ends],
    }
    json.dump(out, sys.stdout)
    print()


if __name__ == "__main__":
    main()
