"""Wide and high: the cost of a velocity, and of a velocity with its exact trace, against width and number of columns, f32.

Every side takes the same Euler steps on the same random nets (tanh), so that what is timed is the evaluation and little else.
Figures are CPU seconds of one row's evaluation. Of two hidden layers ours takes the exact trace by a closed form that costs
one more product whatever the number of columns; of three it needs a tangent for each column, as the peers always do.
"""

from typing import Any

import jax
import numpy as np
import torch

from .nets import JaxFlow, Net, TorchFlow, parameters
from .timing import Budget, Line, Meter, calls, lines

TITLE = "Wide and high: one evaluation of a row"
COLUMNS: list[str] = []
STEPS = 16
#: What is varied: the width of two hidden layers; the columns of nets of two and of three.
WIDTH, COLUMNS_OF_TWO, COLUMNS_OF_THREE = "width", "columns, two hidden layers", "columns, three hidden layers"
USUAL_D, USUAL_WIDTH = 2, 64
#: Products of one call: rows are chosen by it.
WORK = 2e9


def run(budget: Budget) -> list[Line]:
    widths = budget.pick([16, 32, 64, 128, 256, 512, 1024], [32, 128])
    columns = budget.pick([2, 4, 8, 16, 32, 64, 128], [2, 16])
    found = []
    for axis, sizes, depth in [(WIDTH, widths, 2), (COLUMNS_OF_TWO, columns, 2), (COLUMNS_OF_THREE, columns, 3)]:
        for size in sizes:
            d, width = (USUAL_D, size) if axis == WIDTH else (size, USUAL_WIDTH)
            net = Net.random(d, [width] * depth, "tanh")
            for traced in [False, True]:
                products = 2 * ((depth - 1) * width * width + 2 * d * width) * (1 + d * traced)
                n = int(np.clip(budget.pick(WORK, WORK / 8) / (products * STEPS), 64, 8192)) // 64 * 64
                z = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
                what = "velocity with exact trace" if traced else "velocity"
                facts: dict[str, float | str] = {"axis": axis, "size": size, "what": what}
                meters = {who: per_row(work, n) for who, work in sides(net, z, traced).items()}
                found += lines(
                    f"{what}, {d} columns, {'-'.join(map(str, net.hidden))}", meters, budget.rounds, {who: facts for who in meters}
                )
    return found


def per_row(work: Any, n: int) -> Meter:
    call = calls(work)
    return lambda: call() / (n * STEPS)


def sides(net: Net, z: np.ndarray, traced: bool) -> dict[str, Any]:
    flow = net.flow(method="euler", fixed_steps=STEPS, trace="exact", log_density="coupled")
    theta, of_jax, of_torch, rows = parameters(net), JaxFlow(net.activation), TorchFlow(net), torch.from_numpy(z)
    h = 1 / STEPS

    @jax.jit
    def scanned(theta: Any, z: jax.Array) -> Any:
        def step(held: Any, t: jax.Array) -> Any:
            x, integral = held
            if traced:
                value, trace = of_jax.value_and_trace(theta, t, x)
                return (x + h * value, integral + h * trace), None
            return (x + h * of_jax.value(theta, t, x), integral), None

        return jax.lax.scan(step, (z, jax.numpy.zeros(len(z))), h * jax.numpy.arange(STEPS))[0]

    @torch.no_grad()
    def looped() -> Any:
        x, integral = rows, torch.zeros(len(rows))
        for k in range(STEPS):
            t = torch.tensor(k * h)
            if traced:
                value, trace = of_torch.by_hand(t, x)
                integral = integral + h * trace
            else:
                value = of_torch.value(t, x)
            x = x + h * value
        return x, integral

    ours = (lambda: flow.log_prob(z, progress=False)) if traced else (lambda: flow.forward(z, progress=False))
    return {"cnflow": ours, "jax": lambda: jax.block_until_ready(scanned(theta, z)), "torch": looped}
