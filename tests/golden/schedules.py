#!/usr/bin/env python3
"""Coefficients of the schedules at a few steps, from the authors' formulas, in decimal arithmetic of 60 digits.

usage: python3 schedules.py > schedules.json        (Python 3.9 or newer; no packages)
The double-precision parameters (1e-4, 0.02, 0.008, ...) are taken as the doubles that they are.
"""
import json, sys
from decimal import Decimal as D, getcontext

getcontext().prec = 60
T = 1000
STEPS = [1, 2, 3, 10, 100, 101, 250, 500, 501, 750, 999, 1000]
START, END = D(1e-4), D(0.02)
PI = D("3.14159265358979323846264338327950288419716939937510582097494459")

def linspace(a, b, n):
    return [a + (b - a) * i / (n - 1) for i in range(n)]

def warmup(fraction):
    n = int(T * fraction)
    return linspace(START, END, n) + [END] * (T - n)

def cos(x):
    term, total, k = D(1), D(1), 0
    while abs(term) > D(10) ** -58:
        k += 2
        term *= -x * x / (k * (k - 1))
        total += term
    return total

def from_curve(f, limit):
    return [min(1 - f(D(i + 1) / T) / f(D(i) / T), limit) for i in range(T)]

def cosine():
    s = D(0.008)
    return from_curve(lambda u: cos((u + s) / (1 + s) * PI / 2) ** 2, D(0.999))

def sigmoid():
    sig = lambda x: 1 / (1 + (-x).exp())
    return from_curve(lambda u: sig(D(3)) - sig(-3 + 6 * u), D(0.999))

SCHEDULES = {
    "linear": linspace(START, END, T),
    "quad": [b * b for b in linspace(START.sqrt(), END.sqrt(), T)],
    "const": [END] * T,
    "warmup10": warmup(0.1),
    "warmup50": warmup(0.5),
    "jsd": [D(1) / (T - i) for i in range(T)],
    "cosine": cosine(),
    "sigmoid": sigmoid(),
}

def rows(betas):
    bars = [D(1)]
    for b in betas:
        bars.append(bars[-1] * (1 - b))
    var = lambda t: betas[t - 1] * (1 - bars[t - 1]) / (1 - bars[t])
    out = {}
    for t in STEPS:
        b, bar, before = betas[t - 1], bars[t], bars[t - 1]
        if bar < D(10) ** -50:  # jsd ends in exactly 0
            bar = D(0)
        small = var(max(t, 2)).ln()
        row = [b, 1 - b, bar, bar / (1 - bar), var(t), b * before.sqrt() / (1 - bar), (1 - before) * (1 - b).sqrt() / (1 - bar), small,
               small if t == 1 else b.ln()]
        out[str(t)] = [float(v) for v in row]
    return out

json.dump({"python": sys.version.split()[0], **{name: rows(betas) for name, betas in SCHEDULES.items()}}, sys.stdout, indent=1)
print()
