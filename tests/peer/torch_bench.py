#!/usr/bin/env python3
"""Peer: the DDPM U-Net of Ho et al. in plain PyTorch, as a careful PyTorch user would write it. Needs only torch.

usage: torch_bench.py --preset cifar10|ch64|ch32|fashion28|tiny16|fashion-cpu --batch N --mode train|forward --dtype fp32|tf32|bf16
                      [--channels-last] [--compile [MODE]] [--steps K] [--warmup K] [--device cpu|cuda] [--threads N]
A training step is: draw t and noise, q_sample, forward, MSE, backward, clip to norm 1, fused Adam, EMA.
On a GPU a time is the mean of 16 steps: the host waits once for all of them, as ours does.
Prints one JSON line: median and minimum seconds per step, images/s, peak memory (RSS on CPU, allocated on CUDA).
"""
import argparse, json, math, resource, statistics, time

import torch
import torch.nn as nn
import torch.nn.functional as F

PRESETS = {  # channels, multipliers, blocks per level, attention at level, image size, image channels, dropout (, groups)
    "cifar10": (128, (1, 2, 2, 2), 2, {1}, 32, 3, 0.1),
    "ch64": (64, (1, 2, 2, 2), 2, {1}, 32, 3, 0.1),
    "ch32": (32, (1, 2, 2, 2), 2, {1}, 32, 3, 0.1),
    "fashion28": (32, (1, 2, 2), 2, {1}, 28, 1, 0.1),
    "tiny16": (32, (1, 2, 2), 1, {1}, 16, 1, 0.0),
    # experiments/bases/fashion-cpu.yaml: 28x28 grey in blocks of 2x2 pixels is 14x14 of 4 channels to the layers.
    "fashion-cpu": (32, (1, 2), 1, {1}, 14, 4, 0.0, 8),
}
GROUPS = 32


def norm(c):
    return nn.GroupNorm(GROUPS, c, eps=1e-6)


class ResBlock(nn.Module):
    def __init__(self, cin, cout, temb, dropout):
        super().__init__()
        self.norm1, self.conv1 = norm(cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.temb = nn.Linear(temb, cout)
        self.norm2, self.drop, self.conv2 = norm(cout), nn.Dropout(dropout), nn.Conv2d(cout, cout, 3, padding=1)
        self.short = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, temb):
        h = self.conv1(F.silu(self.norm1(x))) + self.temb(temb)[:, :, None, None]
        return self.short(x) + self.conv2(self.drop(F.silu(self.norm2(h))))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm, self.qkv, self.out = norm(c), nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)  # [B, 1, HW, C]
        y = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).reshape(b, c, h, w)
        return x + self.out(y)


class UNet(nn.Module):
    def __init__(self, ch, mult, blocks, attn, size, cin, dropout):
        super().__init__()
        self.ch, temb = ch, 4 * ch
        self.time = nn.Sequential(nn.Linear(ch, temb), nn.SiLU(), nn.Linear(temb, temb), nn.SiLU())
        self.stem, skips, c = nn.Conv2d(cin, ch, 3, padding=1), [ch], ch
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        att = lambda i, c: Attention(c) if i in attn else nn.Identity()
        for i, m in enumerate(mult):
            for _ in range(blocks):
                self.down.append(nn.ModuleList([ResBlock(c, ch * m, temb, dropout), att(i, ch * m)]))
                c = ch * m
                skips.append(c)
            if i + 1 < len(mult):
                self.down.append(nn.Conv2d(c, c, 3, stride=2))
                skips.append(c)
        self.mid = nn.ModuleList([ResBlock(c, c, temb, dropout), Attention(c), ResBlock(c, c, temb, dropout)])
        for i, m in reversed(list(enumerate(mult))):
            for _ in range(blocks + 1):
                self.up.append(nn.ModuleList([ResBlock(c + skips.pop(), ch * m, temb, dropout), att(i, ch * m)]))
                c = ch * m
            if i:
                self.up.append(nn.Conv2d(c, c, 3, padding=1))
        self.norm, self.out = norm(c), nn.Conv2d(c, cin, 3, padding=1)

    def forward(self, x, t):
        half = self.ch // 2
        f = torch.exp(torch.arange(half, device=x.device) * (-math.log(10000) / (half - 1)))
        a = t.float()[:, None] * f[None]
        temb = self.time(torch.cat([a.sin(), a.cos()], 1))
        hs = [self.stem(x)]
        for m in self.down:
            hs.append(m[1](m[0](hs[-1], temb)) if isinstance(m, nn.ModuleList) else m(F.pad(hs[-1], (0, 1, 0, 1))))
        h = self.mid[2](self.mid[1](self.mid[0](hs[-1], temb)), temb)
        for m in self.up:
            if isinstance(m, nn.ModuleList):
                h = m[1](m[0](torch.cat([h, hs.pop()], 1), temb))
            else:
                h = m(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.out(F.silu(self.norm(h)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--preset", default="cifar10", choices=PRESETS)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--mode", default="train", choices=["train", "forward"])
    p.add_argument("--dtype", default="fp32", choices=["fp32", "tf32", "bf16"])
    p.add_argument("--compile", nargs="?", const="default", default=None)
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    tf32 = a.dtype != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    dev = torch.device(a.device)
    layout = torch.channels_last if a.channels_last else torch.contiguous_format
    global GROUPS
    GROUPS = (PRESETS[a.preset] + (32,))[7]
    net = UNet(*PRESETS[a.preset][:7]).to(dev).to(memory_format=layout)
    size, cin = PRESETS[a.preset][4:6]
    params = list(net.parameters())
    ema = [q.detach().clone() for q in params]
    opt = torch.optim.Adam(params, lr=2e-4, fused=True)
    run = torch.compile(net, mode=a.compile) if a.compile else net
    x0 = torch.rand(a.batch, cin, size, size, device=dev).mul(2).sub(1).contiguous(memory_format=layout)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).float().to(dev)
    cast = torch.autocast(dev.type, dtype=torch.bfloat16, enabled=a.dtype == "bf16")

    def train():
        t = torch.randint(0, 1000, (a.batch,), device=dev)
        eps = torch.randn_like(x0)
        s = alpha_bar[t].view(-1, 1, 1, 1)
        with cast:
            out = run(s.sqrt() * x0 + (1 - s).sqrt() * eps, t)
        (out.float() - eps).square().mean().backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        torch._foreach_lerp_(ema, [q.detach() for q in params], 1e-4)

    t500 = torch.full((a.batch,), 500, device=dev)

    def forward():
        with torch.no_grad(), cast:
            run(x0, t500)

    step = train if a.mode == "train" else forward
    net.train(a.mode == "train")
    sync = torch.cuda.synchronize if dev.type == "cuda" else (lambda: None)
    together = 16 if dev.type == "cuda" else 1
    for _ in range(a.warmup):
        step()
    sync()
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        for _ in range(together):
            step()
        sync()
        times.append((time.perf_counter() - start) / together)
    med = statistics.median(times)
    peak = torch.cuda.max_memory_allocated() / 2**20 if dev.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(dict(peer="torch " + torch.__version__, preset=a.preset, params=sum(q.numel() for q in params), batch=a.batch, mode=a.mode,
                          dtype=a.dtype, compile=a.compile, channels_last=a.channels_last, s_median=med, s_min=min(times),
                          img_per_s=a.batch / med, peak_mib=peak)))


if __name__ == "__main__":
    main()
