"""DDPM a second time: random streams, the U-Net, training, sampling and the bound in PyTorch and double precision, from the papers and
from what the documentation of this program says. Slow and plain; for tiny networks.
"""
import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
INIT, SHUFFLE, FLIP, TIMESTEP, TRAIN_NOISE, DROPOUT, SAMPLE, EVALUATION = range(1, 9)
BOOTSTRAP, SUBSET = 10, 11
NEAR_ZERO = 1e-10


# Random streams: Philox4x32-10 (Salmon et al. 2011) ------------------------------------------------------------------------------------

def words(seed, stream, step, first, n):
    """Words first .. first + n of a step of a stream."""
    low, u = 0xFFFFFFFF, np.uint64
    block = np.arange(first // 4, (first + n + 3) // 4, dtype=np.uint64)
    full = lambda v: np.full(len(block), v, np.uint64)
    c = [block & u(low), full(step & low), full((stream | (step >> 32) << 8) & low), block >> u(32)]
    k = [seed & low, seed >> 32]
    for _ in range(10):
        a, b = c[0] * u(0xD2511F53), c[2] * u(0xCD9E8D57)
        c = [(b >> u(32)) ^ c[1] ^ u(k[0]), b & u(low), (a >> u(32)) ^ c[3] ^ u(k[1]), a & u(low)]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return np.stack(c, 1).reshape(-1)[first % 4 :][:n]


def uniform(*where):
    return (words(*where).astype(np.float64) + 0.5) / 2.0**32


def below(seed, stream, step, index, n):
    return int(words(seed, stream, step, index, 1)[0]) * n >> 32


def normals(seed, stream, step, image, images, shape):
    """Box-Muller: words 2 i and 2 i + 1 make normals 2 i and 2 i + 1, which are kept in single precision."""
    each = int(np.prod(shape))
    first, n = image * each // 4 * 4, images * each + 8
    u = uniform(seed, stream, step, first, n // 4 * 4).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log(u[:, 0]))
    z = np.stack([radius * np.cos(2 * np.pi * u[:, 1]), radius * np.sin(2 * np.pi * u[:, 1])], 1).reshape(-1)
    z = z[image * each - first :][: images * each].astype(np.float32).astype(np.float64)
    return torch.tensor(z).reshape(images, *shape)


@functools.cache
def permutation(seed, stream, step, n):
    """Fisher and Yates, from the end."""
    order, drawn = list(range(n)), words(seed, stream, step, 0, n)
    for i in range(n - 1, 0, -1):
        j = int(drawn[i]) * (i + 1) >> 32
        order[i], order[j] = order[j], order[i]
    return order


# The U-Net of the authors' code --------------------------------------------------------------------------------------------------------

class Parameters:
    """Tensors in the order in which the network first asks for them; made at the first pass, then read."""

    def __init__(self, seed):
        self.seed, self.tensors, self.at, self.layers = seed, [], 0, 0

    def ask(self, shape, limit=None, value=0.0):
        if self.at == len(self.tensors):
            if limit is None:
                tensor = torch.full(shape, value)
            else:
                u = uniform(self.seed, INIT, self.at, 0, int(np.prod(shape)))
                tensor = torch.tensor(((2 * u - 1) * limit).astype(np.float32).astype(np.float64)).reshape(shape)
            self.tensors.append(tensor)
        self.at += 1
        return self.tensors[self.at - 1]

    def conv(self, x, k, out, scale=1.0, stride=1, pad=None):
        """NCHW; filters are kept [k, k, in, out]."""
        w = self.ask((k, k, x.shape[1], out), limit=math.sqrt(6 * scale / (k * k * (x.shape[1] + out))))
        b = self.ask((out,))
        x = F.pad(x, pad or [k // 2] * 4)
        return F.conv2d(x, w.permute(3, 2, 0, 1), b, stride=stride)

    def double(self, x, c, how):
        """Twice the size, to as many channels."""
        if how == "nearest-conv":
            return self.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), 3, c)
        # An output is made of 4 taps of each channel; an input goes to all 16.
        w = self.ask((4, 4, x.shape[1], c), limit=math.sqrt(6 / (4 * x.shape[1] + 16 * c)))
        return F.conv_transpose2d(x, w.permute(2, 3, 0, 1), self.ask((c,)), stride=2, padding=1)

    def dense(self, x, out):
        w = self.ask((1, 1, x.shape[1], out), limit=math.sqrt(6 / (x.shape[1] + out)))
        return x @ w[0, 0] + self.ask((out,))

    def norm(self, x, groups):
        c = x.shape[1]
        return F.group_norm(x, groups, self.ask((c,), value=1.0), self.ask((c,)), 1e-6)


def embedding(t, channels):
    half = channels // 2
    angle = (t - 1.0)[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
    return torch.cat([angle.sin(), angle.cos()], 1)


def unet(p, c, x, t, out, drop=None, told_up=None, carry=lambda place, h: h, see=lambda shift, h: None):
    """x [B, H, W, C] at steps t to [B, H, W, out]; `drop(layer, h)` where something is dropped. To take it apart: the steps that the way up is
    told, what each skip connection carries, and who sees each time shift beside its features."""
    p.at, p.layers = 0, 0
    n, groups, s = c["channels"], c.get("groups", 32), c.get("block_size", 1)
    where, skips = c.get("time_embedding", "every-block"), c.get("skips", "all")
    halve = c.get("downsample", "conv")
    b, height, width, channels = x.shape
    h = x.reshape(b, height // s, s, width // s, s, channels).permute(0, 2, 4, 5, 1, 3).reshape(b, -1, height // s, width // s)
    time, first = None, p.at
    if where != "none":
        told = lambda t: F.silu(p.dense(F.silu(p.dense(embedding(t, n), 4 * n)), 4 * n))
        time_up = told(t if told_up is None else told_up)
        p.at = first
        time = told(t)
        at_input = p.dense(time, n) if where == "input-only" else None

    def block(h, out):
        inner = p.conv(F.silu(p.norm(h, groups)), 3, out)
        if where == "every-block":
            shift = p.dense(time, out)
            see(shift, inner)
            inner = inner + shift[:, :, None, None]
        inner = F.silu(p.norm(inner, groups))
        if drop and c["dropout"] > 0:
            inner = drop(p.layers, inner)
        p.layers += 1
        inner = p.conv(inner, 3, out, NEAR_ZERO)
        return inner + (h if h.shape[1] == out else p.conv(h, 1, out))

    def attention(h):
        normed, width = p.norm(h, groups), h.shape[1]
        q, k, v = (p.conv(normed, 1, width).flatten(2) for _ in range(3))
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(width), 2)
        mixed = (v @ weights.transpose(1, 2)).reshape(h.shape)
        return h + p.conv(mixed, 1, width, NEAR_ZERO)

    def level(h, out):
        h = block(h, out)
        return attention(h) if h.shape[2] in c["attention"] else h

    h = p.conv(h, 3, n)
    if where == "input-only":
        h = h + at_input[:, :, None, None]
    kept, levels = [h], len(c["multipliers"])
    for i, m in enumerate(c["multipliers"]):
        for _ in range(c["blocks"]):
            h = level(h, n * m)
            kept.append(h)
        if i + 1 < levels:
            if halve == "conv":
                h = p.conv(h, 3, h.shape[1], stride=2, pad=[0, 1, 0, 1])
            else:
                h = {"average-pool": F.avg_pool2d, "max-pool": F.max_pool2d}[halve](h, 2)
            kept.append(h)
    h = block(attention(block(h, h.shape[1])), h.shape[1])
    time = time_up if where != "none" else None
    for i, m in reversed(list(enumerate(c["multipliers"]))):
        for _ in range(c["blocks"] + 1):
            skip = carry(len(kept) - 1, kept.pop())
            if skips == "all" or (isinstance(skips, dict) and h.shape[2] in skips["resolutions"]):
                h = torch.cat([h, skip], 1)
            h = level(h, n * m)
        if i > 0:
            h = p.double(h, h.shape[1], c.get("upsample", "nearest-conv"))
    y = p.conv(F.silu(p.norm(h, groups)), 3, out * s * s, NEAR_ZERO)
    y = y.reshape(b, s, s, out, height // s, width // s).permute(0, 4, 1, 5, 2, 3)
    return y.reshape(b, height, width, out)


# The diffusion: steps 1 to T, index 0 is the data itself --------------------------------------------------------------------------------

class Diffusion:
    def __init__(self, d):
        self.T, self.prediction, self.variance, self.objective = d["timesteps"], d["prediction"], d["variance"], d["objective"]
        scale = 1000 / self.T if d.get("beta_scale") == "per-1000-steps" else 1.0
        self.tables(betas(d["schedule"], self.T, scale))

    def tables(self, beta):
        self.beta = torch.tensor([math.nan, *beta])
        self.bar = torch.cat([torch.ones(1), torch.cumprod(1 - self.beta[1:], 0)])
        before = self.bar[:-1]
        small = torch.tensor([math.nan, *(self.beta[1:] * (1 - before) / (1 - self.bar[1:])).tolist()])
        small[1] = small[2]
        large = self.beta.clone()
        large[1] = small[2]
        self.small, self.large = small.log(), large.log()

    def sample(self, x0, eps, t):
        a = at(self.bar, t)
        return a.sqrt() * x0 + (1 - a).sqrt() * eps

    def posterior(self, x0, xt, t):
        """Equation 7."""
        before, now, beta = at(self.bar, t - 1), at(self.bar, t), at(self.beta, t)
        return before.sqrt() * beta / (1 - now) * x0 + (1 - beta).sqrt() * (1 - before) / (1 - now) * xt

    def x0(self, y, xt, t):
        """What the output says of x_0."""
        a, s = at(self.bar, t).sqrt(), (1 - at(self.bar, t)).sqrt()
        if self.prediction == "mu":
            # mu is affine in x_0.
            rest = self.posterior(torch.zeros_like(xt), xt, t)
            return (y - rest) / (self.posterior(torch.ones_like(xt), xt, t) - rest)
        return {"x0": lambda: y, "eps": lambda: (xt - s * y) / a, "v": lambda: a * xt - s * y}[self.prediction]()

    def mean(self, y, xt, t, clip=False):
        if self.prediction == "mu":
            return y
        x0 = self.x0(y, xt, t)
        return self.posterior(x0.clamp(-1, 1) if clip else x0, xt, t)

    def log_variance(self, second, t, like):
        if self.variance == "learned":
            return second
        small, large = at(self.small, t), at(self.large if self.variance == "fixed-large" else self.beta.log(), t)
        if self.variance == "learned-range":
            return 0.5 * (1 + second) * large + 0.5 * (1 - second) * small
        return (small if self.variance == "fixed-small" else large).expand_as(like)

    def split(self, y, channels):
        return (y[..., :channels], y[..., channels:]) if self.variance.startswith("learned") else (y, None)

    def outputs(self, channels):
        return channels * (2 if self.variance.startswith("learned") else 1)

    def term(self, x0, xt, y, second, t, clip, cdf):
        """L_{t-1} in bits/dim of each image: (variances' part, means' part, decoder)."""
        mean, log_variance = self.mean(y, xt, t, clip), self.log_variance(second, t, xt)
        true, posterior = self.posterior(x0, xt, t), at(self.small, t)
        spread = 0.5 * (log_variance - posterior - 1 + (posterior - log_variance).exp())
        means = 0.5 * (true - mean) ** 2 * (-log_variance).exp()
        decoder = -log_likelihood(x0, mean, 0.5 * log_variance, cdf)
        first = (t == 1)[:, None, None, None]
        zero = torch.zeros(())
        parts = [torch.where(first, zero, spread), torch.where(first, zero, means), torch.where(first, decoder, zero)]
        return [part.flatten(1).mean(1) / math.log(2) for part in parts]

    def loss(self, y, x0, eps, xt, t):
        y, second = self.split(y, x0.shape[3])
        kind = self.objective["kind"]

        def simple():
            a, s = at(self.bar, t).sqrt(), (1 - at(self.bar, t)).sqrt()
            target = {"x0": x0, "eps": eps, "v": a * eps - s * x0, "mu": self.posterior(x0, xt, t)}[self.prediction]
            return ((y - target) ** 2).flatten(1).mean(1)

        def weighted():
            a, s, bar = at(self.bar, t).sqrt(), (1 - at(self.bar, t)).sqrt(), self.bar[t]
            weight, snr = self.objective["weight"], bar / (1 - bar)

            def read(x0):
                noise = (xt - a * x0) / s
                readings = {"x0": lambda: x0, "eps": lambda: noise, "v": lambda: a * noise - s * x0, "score": lambda: -noise / s}
                return {**readings, "mu": lambda: self.posterior(x0, xt, t)}[self.objective["space"]]()

            of_step = {
                "constant": lambda: torch.ones_like(snr), "snr": lambda: snr, "truncated-snr": lambda: snr.clamp(min=1),
                "min-snr": lambda: snr.clamp(max=weight.get("gamma", 5.0)),
                "p2": lambda: (weight.get("k", 1.0) + snr) ** -weight.get("gamma", 1.0),
            }[weight["kind"]]()
            return of_step * ((read(self.x0(y, xt, t)) - read(x0)) ** 2).flatten(1).mean(1)

        bound = lambda y: sum(self.term(x0, xt, y, second, t, False, "tanh"))
        if kind == "simple":
            return simple()
        if kind == "weighted":
            return weighted()
        if kind == "hybrid":
            return simple() + self.objective.get("lambda", 0.001) * self.T * bound(y.detach())
        return bound(y) * (self.T if kind == "vlb-rescaled" else 1)


def at(table, t):
    return table[t][:, None, None, None]


def betas(schedule, T, scale):
    kind, get = schedule["kind"], schedule.get
    start, end = get("beta_start", 1e-4) * scale, get("beta_end", 0.02) * scale
    u = np.arange(T + 1) / T

    def curve(f, limit):
        return np.minimum(1 - f[1:] / f[:-1], limit)

    def warmup(fraction):
        n = int(T * fraction)
        return np.concatenate([np.linspace(start, end, n), np.full(T - n, end)])

    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    return {
        "linear": lambda: np.linspace(start, end, T),
        "quad": lambda: np.linspace(start**0.5, end**0.5, T) ** 2,
        "const": lambda: np.full(T, end),
        "warmup10": lambda: warmup(0.1),
        "warmup50": lambda: warmup(0.5),
        "jsd": lambda: 1 / np.arange(T, 0, -1),
        "cosine": lambda: curve(np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2, 0.999),
        "sigmoid": lambda: curve(sigmoid(3) - sigmoid(6 * u - 3), 0.999),
    }[kind]()


def log_likelihood(x, mean, log_sigma, cdf):
    """Equation 13, by the authors' approximation of the distribution function or by the function itself."""
    high, low = (x - mean + 1 / 255) / log_sigma.exp(), (x - mean - 1 / 255) / log_sigma.exp()
    phi = (lambda u: torch.special.ndtr(u)) if cdf == "erf" else (
        lambda u: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))))
    high = torch.where(x > 0.999, torch.ones(()), phi(high))
    low = torch.where(x < -0.999, torch.zeros(()), phi(low))
    return (high - low).clamp(min=1e-300 if cdf == "erf" else 1e-12).log()
