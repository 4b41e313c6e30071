"""Models of every kind, their points, and the command to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cnflow

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
KINDS = sorted(path.name for path in (FIXTURES / "finished").iterdir())
# The table of each model; the others are models of `plane`.
TABLES = {"conditional": "classes", "glow": "classes", "columns": "ring"}


class Case:
    """A model file, its points and its conditions."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.path = FIXTURES / "finished" / kind / "model.safetensors"
        self.flow = cnflow.load(self.path)
        self.table = FIXTURES / "data" / f"{TABLES.get(kind, 'plane')}_points.csv"
        self.names = self.table.read_text().splitlines()[0].split(",")
        self.all = np.loadtxt(self.table, delimiter=",", skiprows=1)

        def columns(names: list[str] | None, first: int, count: int) -> np.ndarray:
            places = [self.names.index(name) for name in names] if names else range(first, first + count)
            return np.ascontiguousarray(self.all[:, list(places)])

        d, c = self.flow.dim, self.flow.condition_dim
        self.x = columns(self.flow.columns, 0, d)
        self.c = columns(self.flow.condition_columns, d, c) if c else None


@pytest.fixture(scope="session", params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="session")
def flow() -> cnflow.Flow:
    return cnflow.load(FIXTURES / "finished" / "flow")


@pytest.fixture(scope="session")
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 2)) * 2.0


@pytest.fixture
def cnf(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command: the binary where it is built, else that of the package."""
    binary = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "cnf"
    start = [str(binary)] if binary.is_file() else [sys.executable, "-m", "cnflow._cli"]

    def run(*args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*start, *map(str, args)], cwd=tmp_path, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal as bits; NaN equals itself."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
