"""F. Cold start: from the start of a process to 1000 samples of the golden 8gaussians net on the disk.

CPU seconds of a child process with one thread. Each peer imports what it needs, loads the weights, compiles where it has
to, and solves at 1e-5. Wall time and memory are beside it.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .data import GOLDEN
from .timing import Budget, Line

TITLE = "F. Cold start to 1000 samples on the disk"
COLUMNS = ["wall s", "peak MiB"]
N = 1000

OWN = f"""
import numpy, cnflow
numpy.save(out, cnflow.load(model).sample({N}, seed=0, progress=False))
"""
TORCH = f"""
import numpy, torch, torchdiffeq
from safetensors.torch import load_file
torch.set_num_threads(1)
tensors = load_file(weights)
layers = [(tensors[f"net.{{i}}.weight"], tensors[f"net.{{i}}.bias"]) for i in (0, 2, 4, 6)]
def velocity(t, x):
    y = torch.cat([x, t.expand(len(x), 1)], 1)
    for at, (weight, bias) in enumerate(layers):
        y = torch.addmm(bias, y if at == 0 else torch.tanh(y), weight.t())
    return y
with torch.no_grad():
    x = torchdiffeq.odeint(velocity, torch.randn({N}, 2), torch.tensor([0.0, 1.0]), rtol=1e-5, atol=1e-5, method="dopri5")
numpy.save(out, x[-1].numpy())
"""
JAX = f"""
import numpy, jax, jax.numpy as jnp, diffrax
from safetensors.numpy import load_file
tensors = load_file(weights)
layers = [(tensors[f"net.{{i}}.weight"], tensors[f"net.{{i}}.bias"]) for i in (0, 2, 4, 6)]
def velocity(t, x, layers):
    y = jnp.concatenate([x, jnp.full((len(x), 1), t)], 1)
    for at, (weight, bias) in enumerate(layers):
        y = (y if at == 0 else jnp.tanh(y)) @ weight.T + bias
    return y
@jax.jit
def sample(layers, z):
    control = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    term = diffrax.ODETerm(velocity)
    return diffrax.diffeqsolve(term, diffrax.Dopri5(), 0.0, 1.0, None, z, layers, stepsize_controller=control).ys[0]
numpy.save(out, sample(layers, jax.random.normal(jax.random.key(0), ({N}, 2))))
"""


def run(budget: Budget) -> list[Line]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, out, weights = folder / "model.safetensors", folder / "x.npy", GOLDEN / "8gaussians" / "model.safetensors"
        made = [sys.executable, "-m", "cnflow", "import", str(weights), "--activation", "tanh", "-o", str(model)]
        subprocess.run(made, check=True, capture_output=True)
        names = f"model, weights, out = {str(model)!r}, {str(weights)!r}, {str(out)!r}\n"
        sample = ["sample", str(model), "-n", str(N), "-o", str(out)]
        # The program of a `cargo build --release`, where it is named.
        program = shutil.which(os.environ.get("CNF", ""))
        commands = {
            "cnflow, Python": [sys.executable, "-c", names + OWN],
            "cnflow, the package's command": [sys.executable, "-m", "cnflow", *sample],
            **({"cnf, the program": [program, *sample]} if program else {}),
            "torch and torchdiffeq": [sys.executable, "-c", names + TORCH],
            "jax and diffrax": [sys.executable, "-c", names + JAX],
        }
        found: dict[str, list[tuple[float, float, float]]] = {who: [] for who in commands}
        for counts in [False] + [True] * budget.rounds:
            for who, command in commands.items():
                out.unlink(missing_ok=True)
                used = child(command)
                if not out.exists():
                    sys.exit(f"{who} wrote no samples")
                if counts:
                    found[who].append(used)
        lines = []
        for who, all_used in found.items():
            cpu, wall, memory = (list(column) for column in zip(*all_used))
            lines.append(
                Line(
                    f"cold start to {N} samples", who, cpu, dict(zip(COLUMNS, [statistics.median(wall), statistics.median(memory)]))
                )
            )
        return lines


def child(command: list[str]) -> tuple[float, float, float]:
    """CPU and wall seconds of a process, and its peak memory in MiB."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:3]} failed")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begin, used.ru_maxrss / 1024
