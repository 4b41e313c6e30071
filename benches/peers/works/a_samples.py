"""A. Samples with their exact log-density, from the golden 8gaussians net (3 hidden layers of 64, tanh), in f32.

All sides move the same latents, which ours draws anew each time. First everybody solves at 1e-5. Then each gets the loosest
tolerance at which its worst, and then its mean, error of log p is that of diffrax at 1e-5 with a step for each sample: a
tolerance does not mean the same error to different solvers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from .nets import JaxFlow, Net, TorchFlow, differences, parameters
from .timing import Budget, Line, calls, lines

TITLE = "A. Samples with exact log-density"
COLUMNS = ["worst error of log p", "mean error", "tolerance"]
SEED, TOLERANCE = 0, 1e-5
OWN = ["dopri5", "tsit5", "vern7"]
#: The tolerances that are tried, four to a factor of ten, down to the least that f32 holds.
GRID = [10 ** (-2 - i / 4) for i in range(17)]
PER_SAMPLE = "diffrax, a step for each sample"

#: What computes log p, made for a tolerance.
Work = Callable[[], np.ndarray]
Side = Callable[[float], Work]


def run(budget: Budget) -> list[Line]:
    n = budget.pick(10_000, 2000)
    net = Net.golden("8gaussians")
    reference = net.reference()
    x, truth = reference.sample_and_log_prob(n, seed=SEED, progress=False)
    sides = {f"cnflow, {method}": own(net, method, n) for method in OWN} | peers(net, reference.inverse(x, progress=False))
    fixed = [f"cnflow, {method}" for method in OWN[:1]]
    fixed += [who for who in sides if not who.startswith("cnflow")]
    found = measured(f"{n:,} samples at {TOLERANCE:.0e}", {who: (sides[who], TOLERANCE) for who in fixed}, truth, budget)
    goals = differences(sides[PER_SAMPLE](TOLERANCE)(), truth)
    sides = {who: side for who, side in sides.items() if not who.endswith("autograd")}
    for at, name in enumerate(["worst", "mean"]):
        task = f"{n:,} samples at a {name} error of {goals[at]:.1e}"
        chosen = {who: (side, loosest(side, truth, at, goals[at])) for who, side in sides.items()}
        reached = {who: (side, tolerance) for who, (side, tolerance) in chosen.items() if tolerance is not None}
        found += measured(task, reached, truth, budget)
        found += [Line(task, who, [], {COLUMNS[2]: f"none from {GRID[-1]:.0e} on"}) for who in chosen if who not in reached]
    return found


def own(net: Net, method: str, n: int) -> Side:
    made = net.flow(method=method)

    def side(tolerance: float) -> Work:
        flow = made.with_solver(rtol=tolerance, atol=tolerance)
        return lambda: flow.sample_and_log_prob(n, seed=SEED, progress=False)[1]

    return side


def peers(net: Net, latents: np.ndarray) -> dict[str, Side]:
    theta, z = parameters(net), jnp.asarray(latents, jnp.float32)

    def of_jax(joint: bool) -> Side:
        decode = jax.jit(JaxFlow(net.activation, joint).decode)
        return lambda tolerance: lambda: np.asarray(decode(theta, z, tolerance)[1])

    def of_torch(trace: str) -> Side:
        flow, rows = TorchFlow(net, trace=trace), torch.tensor(latents, dtype=torch.float32)

        @torch.no_grad()
        def decoded(tolerance: float) -> np.ndarray:
            return flow.decode(rows, tolerance)[1].numpy()

        return lambda tolerance: lambda: decoded(tolerance)

    return {
        PER_SAMPLE: of_jax(False),
        "diffrax, one step for all": of_jax(True),
        "torchdiffeq, trace by hand": of_torch("by hand"),
        "torchdiffeq, trace by autograd": of_torch("autograd"),
    }


def loosest(side: Side, truth: np.ndarray, at: int, goal: float) -> float | None:
    """The loosest tolerance of the grid from which on the error is no larger than the goal."""
    good = None
    for tolerance in reversed(GRID):
        # A worst error is that of one sample: by chance it may be small at a loose tolerance.
        if differences(side(tolerance)(), truth)[at] > goal * (1 + 1e-6):
            break
        good = tolerance
    return good


def measured(task: str, sides: dict[str, tuple[Side, float]], truth: np.ndarray, budget: Budget) -> list[Line]:
    facts: dict[str, dict[str, float | str]] = {}
    for who, (side, tolerance) in sides.items():
        worst, mean = differences(side(tolerance)(), truth)
        facts[who] = {COLUMNS[0]: worst, COLUMNS[1]: mean, COLUMNS[2]: tolerance}
    meters = {who: calls(side(tolerance)) for who, (side, tolerance) in sides.items()}
    return lines(task, meters, budget.rounds, facts)
