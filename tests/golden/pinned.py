#!/usr/bin/env python3
"""The pinned experiments (tests/pinned) a second time: from their YAML files to losses, terms of the bound, samples and scores, by ddpm.py
and by the original programs' scores; and what the other embedded classifier sees. tests/pinned/second.rs compares.

usage: python3 pinned.py > pinned.json        (packages: ../parity/requirements.txt)
"""
import copy, json, math, pathlib, struct, sys

import numpy as np
import torch
import torch.nn.functional as F
import yaml

import ddpm
from ddpm import Diffusion, Parameters, unet

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHORT = {
    **dict.fromkeys(["prediction", "variance", "objective", "schedule", "beta_scale"], "diffusion"), "sampler": "sampling",
    **dict.fromkeys(["skips", "time_embedding", "downsample", "upsample", "attention", "dropout"], "network"), "ema_decay": "training.optimiser",
}
IMAGES = {"colour": (8, 12, 3, 25), "grey": (28, 28, 1, 90), "cifar10": (32, 32, 3, 3)}


def cells(grid, base):
    """Every cell's configuration, kinds as maps."""
    read = lambda name: yaml.safe_load((ROOT / "tests/pinned" / f"{name}.yaml").read_text())
    base, grid, found = read(base), read(grid), []
    for row in grid["grid"]["row"]:
        cell = copy.deepcopy(base)
        for path, value in row.items():
            *way, last = (f"{SHORT[path]}.{path}" if path in SHORT else path).split(".")
            place = cell
            for key in way:
                place = place[key]
            place[last] = value
        for section, key in [("diffusion", "schedule"), ("diffusion", "objective"), ("sampling", "sampler")]:
            if isinstance(cell[section][key], str):
                cell[section][key] = {"kind": cell[section][key]}
        found.append(cell)
    return found, grid.get("seeds", [0])


def images(name):
    """The byte formula of tests/support.rs: [n, H, W, C] of numbers 0 to 255."""
    h, w, c, n = IMAGES[name]
    i, y, x, c = np.meshgrid(np.arange(n), np.arange(h), np.arange(w), np.arange(c), indexing="ij")
    stripes = i * 53 + y * y * 3 + x * (11 + i % 7) + c * (40 + 9 * x) + i * x * y % 31
    noise = (i * 1009 + y * 257 + x * 17 + c * 5) ** 2 * 31 // 64
    return np.where(i % 3 == 0, noise, stripes) % 256


def numbers(bytes):
    return torch.tensor(bytes / 127.5 - 1)


class Cell:
    def __init__(self, config, seed):
        self.c, self.seed = config, seed
        self.diffusion = Diffusion(config["diffusion"])
        every = images(config["data"]["path"])
        held_out = config["data"]["held_out"]
        self.train, self.held_out = every[:-held_out], every[-held_out:]
        self.shape = every.shape[1:]
        self.out = self.diffusion.outputs(self.shape[2])
        self.p = Parameters(seed)
        with torch.no_grad():
            self.forward(torch.zeros(1, *self.shape), torch.ones(1, dtype=torch.long))

    def forward(self, x, t, drop=None):
        return unet(self.p, self.c["network"], x, t, self.out, drop)

    def batch(self, step, first, n):
        seed, places = self.seed, range(first, first + n)
        size, images, chosen = self.c["training"]["batch"], len(self.train), []
        for place in places:
            epoch, position = divmod(step * size + place, images)
            image = self.train[ddpm.permutation(seed, ddpm.SHUFFLE, epoch, images)[position]]
            mirrored = self.c["training"]["flip"] and ddpm.words(seed, ddpm.FLIP, step, place, 1)[0] & np.uint64(1)
            chosen.append(image[:, ::-1] if mirrored else image)
        t = torch.tensor([1 + ddpm.below(seed, ddpm.TIMESTEP, step, place, self.diffusion.T) for place in places])
        return numbers(np.stack(chosen)), ddpm.normals(seed, ddpm.TRAIN_NOISE, step, first, n, self.shape), t

    def dropped(self, step, first):
        """Dropout of images first, first + 1, ...: masks count height, width, channel."""
        rate, layers = self.c["network"]["dropout"], self.p.layers

        def drop(layer, h):
            b, c, height, width = h.shape
            w = ddpm.words(self.seed, ddpm.DROPOUT, step * layers + layer, first * c * height * width, h.numel())
            mask = torch.tensor((w >= math.floor(rate * 2**32)) * float(np.float32(1 / (1 - rate))))
            return h * mask.reshape(b, height, width, c).permute(0, 3, 1, 2)

        return drop

    def learn(self):
        """Loss and gradient's norm of each step; leaves the averaged weights in place of the trained ones."""
        t, o = self.c["training"], self.c["training"]["optimiser"]
        theta = [w.clone() for w in self.p.tensors]
        m, v, average = ([torch.zeros_like(w) for w in theta] for _ in range(3))
        beta1, beta2, epsilon, shards = o.get("beta1", 0.9), o.get("beta2", 0.999), o.get("epsilon", 1e-8), o.get("clip_shards", 1)
        each, course = t["batch"] // shards, []
        for step in range(t["steps"]):
            total, losses, squares = [torch.zeros_like(w) for w in theta], [], []
            for shard in range(shards):
                self.p.tensors = [w.clone().requires_grad_() for w in theta]
                x0, eps, steps = self.batch(step, shard * each, each)
                xt = self.diffusion.sample(x0, eps, steps)
                y = self.forward(xt, steps, self.dropped(step, shard * each))
                loss = self.diffusion.loss(y, x0, eps, xt, steps).mean()
                gradient = torch.autograd.grad(loss, self.p.tensors)
                square = sum((g**2).sum() for g in gradient)
                share = min(1.0, o["clip_norm"] / math.sqrt(square)) if o.get("clip_norm") else 1.0
                total = [a + share / shards * g for a, g in zip(total, gradient)]
                losses.append(loss.item())
                squares.append(square.item())
            course.append([np.mean(losses), math.sqrt(np.mean(squares))])
            u = step / t["steps"]
            rate = o["learning_rate"] * (min(1.0, step / o["warmup_steps"]) if o["warmup_steps"] else 1.0)
            rate *= {"none": 1.0, "linear": 1 - u, "cosine": 0.5 * (1 + math.cos(math.pi * u))}[t.get("decay", "none")]
            c1, c2 = 1 - beta1 ** (step + 1), math.sqrt(1 - beta2 ** (step + 1))
            for i, g in enumerate(total):
                m[i] = beta1 * m[i] + (1 - beta1) * g
                v[i] = beta2 * v[i] + (1 - beta2) * g**2
                if o.get("epsilon_mode", "hat") == "hat":
                    theta[i] = theta[i] - rate * c2 / c1 * m[i] / (v[i].sqrt() + epsilon)
                else:
                    theta[i] = theta[i] - rate * (m[i] / c1) / (v[i].sqrt() / c2 + epsilon)
                average[i] = theta[i].clone() if step == 0 else o["ema_decay"] * average[i] + (1 - o["ema_decay"]) * theta[i]
        self.p.tensors = average
        return course

    @torch.no_grad()
    def bound(self, images, n):
        """Bits/dim, and for each t what terms.csv says of it: means over the images."""
        d, x0, rows = self.diffusion, numbers(images[:n]), []
        for t in range(1, d.T + 1):
            steps = torch.full((n,), t)
            eps = ddpm.normals(self.seed, ddpm.EVALUATION, t, 0, n, self.shape)
            xt = d.sample(x0, eps, steps)
            y, second = d.split(self.forward(xt, steps), self.shape[2])
            parts = d.term(x0, xt, y, second, steps, True, self.c["evaluation"].get("decoder", "tanh"))
            each = ((d.x0(y, xt, steps).clamp(-1, 1) - x0) ** 2).flatten(1).mean(1)
            learned = {}
            if second is not None and t > 1:
                small = d.small[t]
                share = (d.log_variance(second, steps, xt) - small) / (d.large[t] - small)
                learned = {"log_share": share.mean().item(), "log_share_deviation": share.std(unbiased=False).item()}
            rows.append({
                "variance_mismatch": parts[0].mean().item(), "mean_error": parts[1].mean().item(), "decoder": parts[2].mean().item(),
                "rmse_of_mean": 127.5 * each.mean().sqrt().item(), "mean_of_rmse": 127.5 * each.sqrt().mean().item(), **learned,
            })
        variance = 1 - d.bar[-1]
        prior = (0.5 * (d.bar[-1] * (x0**2).mean() + variance - 1 - variance.log()) / math.log(2)).item()
        total = prior + sum(row["variance_mismatch"] + row["mean_error"] + row["decoder"] for row in rows)
        return {"prior": prior, "total": total, "terms": rows}

    @torch.no_grad()
    def anatomy(self, stops, n):
        """What the study of the network's parts finds, but for the reverse process."""
        d, x0, (height, width, _) = self.diffusion, numbers(self.held_out[:n]), self.shape
        steps = [1 + math.floor(i * (d.T - 1) / (stops - 1) + 0.5) for i in range(stops)]
        longer = max(height, width)
        radius = torch.hypot(torch.fft.fftfreq(height)[:, None] * longer, torch.fft.fftfreq(width)[None] * longer)
        bands = torch.where(radius < 1, 0, radius.clamp(min=1).log2().floor().long() + 1)

        def see(t, told_down=None, told_up=None, **changes):
            true = torch.full((n,), t)
            eps = ddpm.normals(self.seed, ddpm.EVALUATION, t, 0, n, self.shape)
            xt, bar = d.sample(x0, eps, true), d.bar[t]
            told = lambda step: torch.full((n,), t if step is None else step)
            y = unet(self.p, self.c["network"], xt, told(told_down), self.out, told_up=told(told_up), **changes)
            error = (xt - bar.sqrt() * d.x0(d.split(y, self.shape[2])[0], xt, true)) / (1 - bar).sqrt() - eps
            power = (torch.fft.fft2(error, dim=(1, 2)).abs() / (height * width)).square().mean((0, 3))
            return [power[bands == band].sum().item() for band in range(int(bands.max()) + 1)]

        def shift(shift, h):
            centre = h.mean((2, 3))
            size = (shift.square().mean(1) / h.square().mean((1, 2, 3))).sqrt()
            shifts.append([size.mean().item(), F.cosine_similarity(shift, centre).mean().item()])

        def next_image(h):
            # Images are seen in parts of a batch at most.
            parts = -(-n // self.c["evaluation"]["batch"])
            return torch.cat([h[n * i // parts : n * (i + 1) // parts].roll(-1, 0) for i in range(parts)])

        found = {name: [] for name in ["intact", "shifts", "zeros", "next_image", "down", "up", "both"]}
        places = range(len(self.c["network"]["multipliers"]) * (self.c["network"]["blocks"] + 1))
        for t in steps:
            shifts = []
            found["intact"].append(see(t, see=shift))
            found["shifts"].append(shifts)
            at = lambda chosen, carried: see(t, carry=lambda place, h: carried(h) if place == chosen else h)
            found["zeros"].append([at(place, torch.zeros_like) for place in places])
            found["next_image"].append([at(place, next_image) for place in places])
            found["down"].append([sum(see(t, told_down=told)) for told in steps])
            found["up"].append([sum(see(t, told_up=told)) for told in steps])
            found["both"].append([sum(see(t, told, told)) for told in steps])
        return {"steps": steps, **found}

    def visited(self):
        n, T = self.c["sampling"]["sampler"].get("steps"), self.diffusion.T
        return list(range(1, T + 1)) if n is None else [1 + math.floor(i * (T - 1) / (n - 1) + 0.5) for i in range(n)]

    @torch.no_grad()
    def samples(self, count):
        """Bytes [count, H, W, C], and the root of the mean square before clipping."""
        d, s, places = self.diffusion, self.c["sampling"]["sampler"], iter(range(10**6))
        kind, visited = s["kind"], self.visited()
        clip = s.get("clip", True) and kind != "langevin"
        fresh = lambda: ddpm.normals(self.seed, ddpm.SAMPLE, next(places), 0, count, self.shape)
        x = fresh()

        def look(x, t):
            steps = torch.full((count,), t)
            y, second = d.split(self.forward(x, steps), self.shape[2])
            x0 = d.x0(y, x, steps)
            return y, second, x0.clamp(-1, 1) if clip else x0

        bar = [d.bar[0], *(d.bar[t] for t in visited)]
        if kind == "ancestral":
            # The chain of the visited steps alone; of all steps it is the diffusion itself.
            chain = copy.copy(d)
            chain.tables([1 - (b / a).item() for a, b in zip(bar, bar[1:])])
        for i in reversed(range(1, len(visited) + 1)):
            t = visited[i - 1]
            if kind == "ancestral":
                y, second, x0 = look(x, t)
                place = torch.full((count,), i)
                mean = y if d.prediction == "mu" and len(visited) == d.T else chain.posterior(x0, x, place)
                z = fresh() if i > 1 else 0
                x = mean + (0.5 * chain.log_variance(second, place, x)).exp() * z
            elif kind == "ddim":
                _, _, x0 = look(x, t)
                now, then, eta = bar[i], bar[i - 1], s.get("eta", 0.0)
                sigma = eta * ((1 - then) / (1 - now)).sqrt() * (1 - now / then).sqrt()
                eps = (x - now.sqrt() * x0) / (1 - now).sqrt()
                z = fresh()
                x = then.sqrt() * x0 + (1 - then - sigma**2).clamp(min=0).sqrt() * eps + sigma * z
            else:
                for _ in range(s.get("inner", 3)):
                    _, _, x0 = look(x, t)
                    eps = (x - bar[i].sqrt() * x0) / (1 - bar[i]).sqrt()
                    delta = s.get("step_size", 0.1) * (1 - bar[i])
                    x = x - 0.5 * delta * eps / (1 - bar[i]).sqrt() + delta.sqrt() * fresh()
                # To the next level's scale; at the end, what the network takes for x_0.
                x = x * (bar[i - 1] / bar[i]).sqrt() if i > 1 else look(x, t)[2]
        return np.clip(np.floor((x.numpy() + 1) * 127.5 + 0.5), 0, 255).astype(np.uint8), (x**2).mean().sqrt().item()


# Scores: the embedded classifier's features, and the original programs on them ---------------------------------------------------------

def safetensors(path):
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + n])
    part = lambda e: np.frombuffer(raw[8 + n :][slice(*e["data_offsets"])], "<f4").reshape(e["shape"]).astype(np.float64)
    return {name: torch.tensor(part(entry)) for name, entry in head.items() if name != "__metadata__"}


@torch.no_grad()
def classifier(bytes, data="fashion-mnist", blocks=(1, 1, 1)):
    """Features [n, C] and logits of [n, H, W, C'] by the embedded network for a data set, of so many blocks at each level."""
    w = {name.removeprefix("weight."): t for name, t in safetensors(ROOT / f"crates/runner/data/{data}/classifier.safetensors").items()}
    conv = lambda name, x, stride=1, pad=(1, 1, 1, 1): F.conv2d(
        F.pad(x, pad), w[f"{name}.weight"].permute(3, 2, 0, 1), w[f"{name}.bias"], stride=stride)
    norm = lambda name, x: F.silu(F.group_norm(x, 8, w[f"{name}.gamma"], w[f"{name}.beta"], 1e-6))
    h = conv("stem", numbers(bytes).permute(0, 3, 1, 2))
    for level in range(3):
        if level > 0:
            h = conv(f"{level}.halve", h, 2, (0, 1, 0, 1))
        for i in range(blocks[level]):
            name = f"{level}.{i}" if i > 0 else f"{level}"
            h = h + conv(f"{name}.conv2", norm(f"{name}.norm2", conv(f"{name}.conv1", norm(f"{name}.norm1", h))))
    features = norm("norm", h).mean((2, 3))
    return features.numpy(), features @ w["logits.weight"][0, 0] + w["logits.bias"]


def scores(made, train, held_out, seed):
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kernel_mmd
    from torch_fidelity.metric_prc import calculate_precision_recall_full
    (a, logits), (b, _), (c, _) = classifier(made), classifier(train), classifier(held_out)
    n, d = a.shape
    stats = lambda f: (f.mean(0), np.cov(f, rowvar=False))
    fid = lambda f, g: float(calculate_frechet_distance(*stats(f), *stats(g)))
    found = {"inception-score": isc_features_to_metric(logits, splits=10, shuffle=False)["inception_score_mean"]}
    found.update({"fid": fid(a, b), "fid-held-out": fid(a, c)})
    m = min(1000, n, len(b))
    pick = lambda f, k: f[ddpm.permutation(seed, ddpm.SUBSET, k, len(f))[:m]]
    kernel = dict(kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1)
    found["kid"] = float(np.mean([kernel_mmd(pick(a, 2 * k), pick(b, 2 * k + 1), **kernel) for k in range(100)]))
    found["precision"], found["recall"] = calculate_precision_recall_full(torch.tensor(a), torch.tensor(b), 3)[:2]
    least = max(n // 10, 2 * d)
    if n >= 2 * least:
        sizes = [least + (n - least) * k // 14 for k in range(15)]
        points = [fid(a[ddpm.permutation(seed, ddpm.SUBSET, 2**32 + k, n)[:size]], b) for k, size in enumerate(sizes)]
        found["fid-infinity"] = float(np.polyfit(1 / np.array(sizes), points, 1)[1])
    return {name: float(v) for name, v in found.items()}


def rounded(value):
    """All numbers to ten digits: far beyond what they are compared to."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def main():
    out = {"versions": {m.__name__: m.__version__ for m in [torch, np]}, "training": [], "sampling": []}
    every, seeds = cells("training", "colour")
    for config in every:
        for seed in seeds:
            cell = Cell(config, seed)
            found = {"course": cell.learn()}
            for split, some, n in [("bits-per-dim", cell.held_out, "held_out"), ("bits-per-dim-train", cell.train, "train")]:
                found[split] = cell.bound(some, config["evaluation"][n])
            # The last image of the last batch stands for all.
            found["sample"] = cell.samples(config["sampling"]["count"])[0][-1].tobytes().hex()
            out["training"].append(found)
    every, _ = cells("sampling", "grey")
    trained = Cell(every[0], 0)
    trained.learn()
    for config in every:
        cell = Cell(config, 0)
        cell.p = trained.p
        made, size = cell.samples(config["sampling"]["count"])
        # Beyond 1.5 they are no images, and have no scores.
        out["sampling"].append(scores(made, cell.train, cell.held_out, 0) if size <= 1.5 else {})
    out["anatomy"] = trained.anatomy(3, 7)
    features, logits = classifier(images("cifar10"), "cifar10", (1, 2, 2))
    out["cifar10-classifier"] = {"features": features.tolist(), "logits": logits.tolist()}
    json.dump(rounded(out), sys.stdout)
    print()


if __name__ == "__main__":
    main()
