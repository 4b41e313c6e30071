"""B. One step of maximum likelihood from the golden 8gaussians net: batch 512, exact trace, dopri5 at 1e-5, f32.

Ours is a step of `cnflow.train` that begins at the same weights. It has more in it: it clips the gradient and keeps an
average of the weights.
"""

import tempfile
from pathlib import Path

from . import likelihood, training
from .data import eight_gaussians
from .nets import Net
from .timing import Budget, Line, lines

TITLE = "B. One step of maximum likelihood"
COLUMNS = ["gradient"]
BATCH, TOLERANCE = 512, 1e-5
OF_COMPUTED, OF_EQUATION = "of what was computed", "of the adjoint equation"


def run(budget: Budget) -> list[Line]:
    net, rows, steps = Net.golden("8gaussians"), eight_gaussians(20_000, 0), budget.pick(5, 3)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder, "start.safetensors")
        net.flow().save(start)
        options = training.COMMON | {
            "model": "cnf", "objective": "likelihood", "init": str(start), "lr": likelihood.RATE, "batch": BATCH,
            "rtol": TOLERANCE, "atol": TOLERANCE,
        }  # fmt: skip
        meters = {"cnflow": training.own(rows, steps + 1, **options)}
        facts: dict[str, dict[str, float | str]] = {"cnflow": {COLUMNS[0]: OF_COMPUTED}}
        common = (net, rows, BATCH, TOLERANCE)
        adjoints = likelihood.adjoints(TOLERANCE)
        for name, joint in [("backsolve", True), ("checkpointed", True), ("checkpointed", False)]:
            who = f"diffrax, {name}, {'one step for all' if joint else 'a step for each row'}"
            meters[who] = training.loop(likelihood.of_jax(*common, adjoints[name], joint, False), steps)
            facts[who] = {COLUMNS[0]: OF_EQUATION if name == "backsolve" else OF_COMPUTED}
        for trace in ["by hand", "autograd"]:
            for adjoint in [False, True]:
                who = f"torchdiffeq, {'adjoint' if adjoint else 'through its operations'}, trace {trace}"
                meters[who] = training.loop(likelihood.of_torch(*common, trace, adjoint, False), steps)
                facts[who] = {COLUMNS[0]: OF_EQUATION if adjoint else OF_COMPUTED}
        return lines(f"likelihood step of {BATCH} rows", meters, budget.rounds, facts)
