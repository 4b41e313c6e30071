"""The stub says what the module does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_package_is_typed_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    user = tmp_path / "user.py"
    user.write_text(
        "import numpy as np\nimport cnflow\n\n\n"
        "def use(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:\n"
        "    flow = cnflow.train(x, steps=3, hidden=[4], callback=lambda at: at['step'] > 2)\n"
        "    log_prob, gradient = flow.log_prob_and_grad(x, {'a': 1.0})\n"
        "    return float(log_prob[0] + gradient[0, 0] + flow.given([1.0]).log_prob([[1, 2]])[0])\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", str(user)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    settings = str(HERE.parent / "pyproject.toml")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", settings, "-p", "cnflow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_stub_fits_the_module(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy.stubtest", "cnflow._cnflow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_has_a_docstring() -> None:
    import cnflow

    for name in cnflow.__all__:
        thing = getattr(cnflow, name)
        assert name == "__version__" or (thing.__doc__ and thing.__doc__.strip()), name
        if isinstance(thing, type) and thing.__module__ == "cnflow":
            for part, method in vars(thing).items():
                assert part.startswith("_") or method.__doc__, f"{name}.{part}"
