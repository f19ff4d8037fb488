#!/usr/bin/env python3
"""Verdicts on random claims by SciPy and statsmodels. tests/golden.rs compares.

usage: python3 claims.py [seed] > claims.json        (packages: ../parity/requirements.txt)
"""
import json, sys

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

LEVEL = 0.05


def one_sided(values, alternative):
    return stats.ttest_1samp(values, 0.0, alternative=alternative).pvalue


def tests(claim, a, b):
    """p-values of "it holds" and "it does not" beside one other cell."""
    if claim["relation"] == "better":
        sign = 1 if claim["rises"] else -1
        p = stats.ttest_rel(a, b).pvalue
        t = sign * (np.mean(a) - np.mean(b))
        # Two-sided, in the direction that it points to.
        return (p, 1.0) if t > 0 else (1.0, p)
    if claim["relation"] == "within":
        margin = claim["margin"]
        holds = ttost_paired(a, b, -margin, margin)[0]
        upper, lower = margin - (a - b), margin + (a - b)
    else:
        share = claim["margin"] / 100
        upper, lower = (1 + share) * b - a, a - (1 - share) * b
        holds = max(one_sided(upper, "greater"), one_sided(lower, "greater"))
    return holds, min(1.0, 2 * min(one_sided(upper, "less"), one_sided(lower, "less")))


def grid(rng):
    claims, n = [], int(rng.integers(2, 8))
    for _ in range(rng.integers(1, 7)):
        claim = {"relation": str(rng.choice(["better", "within", "percent"])), "rises": bool(rng.integers(2))}
        claim["margin"] = float(rng.uniform(1, 40)) if claim["relation"] == "percent" else float(rng.uniform(0.1, 2))
        spread, a = float(rng.choice([0.003, 0.1, 1.0])), 5 + rng.normal(size=n)
        claim["others"] = [
            np.stack([a, a + rng.normal() * rng.choice([0.02, 1.0]) + spread * rng.normal(size=n)], 1).round(6).tolist()
            for _ in range(rng.integers(1, 4))
        ]
        both = [tests(claim, *np.array(other).T) for other in claim["others"]]
        holds, fails = max(p for p, _ in both), min(1.0, len(both) * min(p for _, p in both))
        claims.append(claim | {"p": min(holds, fails), "points_to": "supported" if holds < fails else "contradicted"})
    decided, corrected, *_ = multipletests([claim["p"] for claim in claims], alpha=LEVEL, method="holm")
    for claim, is_decided, p in zip(claims, decided, corrected):
        claim["p_holm"] = float(p)
        claim["verdict"] = claim.pop("points_to") if is_decided else "undecided"
    return claims


if __name__ == "__main__":
    rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    grids = [grid(rng) for _ in range(40)]
    print(json.dumps(grids))
