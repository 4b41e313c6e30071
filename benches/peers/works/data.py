"""Rows that the works train on and score, and where the golden nets are."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


def eight_gaussians(n: int, seed: int) -> NDArray[np.float32]:
    """Eight Gaussians on a circle of radius √8, deviation 1/√8: `[n, 2]`."""
    rng = np.random.default_rng(seed)
    angle = rng.integers(0, 8, n) * np.pi / 4
    centre = np.stack([np.cos(angle), np.sin(angle)], 1) * np.sqrt(8)
    return (centre + rng.normal(size=(n, 2)) / np.sqrt(8)).astype(np.float32)


def correlated(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Two overlapping, bent clouds with correlated columns, in deviations: `[n, d]`."""
    shape = np.random.default_rng(d)
    mixing, shift = shape.normal(size=(d, d)) / np.sqrt(d), shape.normal(size=d)
    rng = np.random.default_rng([d, seed])
    x = rng.normal(size=(n, d)) @ mixing + np.where(rng.random((n, 1)) < 0.3, shift, -shift / 2)
    x += 0.5 * np.tanh(x) ** 2 + 0.1 * rng.normal(size=x.shape)
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)
