"""Numbers that any program can make again: splitmix64 of a name's digest and a place. The Rust side is `hashed` in tests/golden.rs."""
import numpy as np

M = (1 << 64) - 1


def key(name):
    """FNV-1a of the name's bytes, 64 bits."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & M
    return h


def uniform(name, n):
    """n numbers in [-1, 1), by name."""
    with np.errstate(over="ignore"):
        z = np.uint64(key(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def like(name, shape):
    return uniform(name, int(np.prod(shape))).reshape(shape)
