"""Work and precision: the error of log p and of the latents against CPU time, tolerances from 1e-3 to 1e-7, in f64.

Every method of every library inverts the same points: of the golden 8gaussians and d43 nets, whose latents and log p are
golden, and of a net that is trained here, whose reference is ours at 1e-11. Errors are means over the points, and the worst.
A method leaves a net where one call takes too long.
"""

import time
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import torch

import cnflow

from .data import GOLDEN
from .nets import JaxFlow, Net, TorchFlow, differences, parameters
from .timing import Budget, Line, calls, lines

TITLE = "Work and precision"
COLUMNS = ["mean error of log p", "worst error of log p", "mean error of z", "worst error of z"]
WIDE = True
OWN = ["dopri5", "tsit5", "bosh3", "vern7", "dop853"]
JAX = [diffrax.Dopri5(), diffrax.Tsit5(), diffrax.Bosh3(), diffrax.Dopri8()]
TORCH = ["dopri5", "bosh3", "dopri8"]
#: CPU seconds of the longest call.
LONGEST = 1.5

#: What computes log p, and what computes latents and log p, made for a tolerance.
Side = Callable[[float], tuple[Callable[[], np.ndarray], Callable[[], tuple[np.ndarray, np.ndarray]]]]
Case = tuple[Net, np.ndarray, np.ndarray, np.ndarray]


def cases(budget: Budget) -> dict[str, Case]:
    """The nets, with points, latents and log p."""
    found = {}
    for name, most in budget.pick([("8gaussians", 500), ("d43", 50)], [("8gaussians", 200)]):
        golden = [np.load(GOLDEN / name / f"{part}.npy")[:most] for part in ["x", "z", "logp"]]
        found[name] = (Net.golden(name), *golden)
    if not budget.short:
        found["trained"] = trained()
    return found


def trained() -> Case:
    """A sharper net: two spirals, five hidden layers of 48, by flow matching."""
    rng = np.random.default_rng(0)
    turn = np.sqrt(rng.random(20_000)) * 3 * np.pi
    arm = np.stack([-np.cos(turn), np.sin(turn)], 1) * turn[:, None] / 3
    x = (arm * rng.choice([-1, 1], (len(arm), 1)) + 0.1 * rng.normal(size=arm.shape)).astype(np.float32)
    options = {"model": "cnf", "hidden": [48] * 5, "activation": "tanh", "column_types": "plain", "standardise": False}
    flow = cnflow.train(x, steps=2000, seed=0, base="normal", progress=False, **options)
    net = Net.of_flow(flow, "tanh")
    reference, points = net.reference(), x[:500].astype(np.float64)
    return net, points, reference.inverse(points, progress=False), reference.log_prob(points, progress=False)


def run(budget: Budget) -> list[Line]:
    found = []
    tolerances = budget.pick([1e-3, 1e-4, 1e-5, 1e-6, 1e-7], [1e-3, 1e-5])
    for name, (net, x, z, log_prob) in cases(budget).items():
        sides = every_method(net, x, budget)
        for tolerance in tolerances:
            facts: dict[str, dict[str, float | str]] = {}
            works = {}
            for who, side in list(sides.items()):
                work, both = side(tolerance)
                latents, scores = both()
                begin = time.process_time()
                work()
                if time.process_time() - begin > LONGEST:
                    del sides[who]
                    continue
                (worst, mean), (worst_z, mean_z) = differences(scores, log_prob), differences(latents, z)
                facts[who] = dict(zip(COLUMNS, [mean, worst, mean_z, worst_z])) | {"net": name, "tolerance": tolerance}
                works[who] = calls(work)
            found += lines(f"{name}, {len(x)} points at {tolerance:.0e}", works, budget.rounds, facts)
    return found


def every_method(net: Net, x: np.ndarray, budget: Budget) -> dict[str, Side]:
    """All methods of all libraries."""
    sides: dict[str, Side] = {}
    for method in budget.pick(OWN, OWN[:2]):
        made = net.flow(method=method, trace="exact", precision="f64")

        def ours(tolerance: float, made: cnflow.Flow = made) -> Any:
            flow = made.with_solver(rtol=tolerance, atol=tolerance)
            # `inverse` takes the path of `log_prob`, whose latents are not returned.
            return (
                lambda: flow.log_prob(x, progress=False),
                lambda: (flow.inverse(x, progress=False), flow.log_prob(x, progress=False)),
            )

        sides[f"cnflow, {method}"] = ours
    theta, rows = parameters(net, jnp.float64), torch.from_numpy(x)
    for solver in budget.pick(JAX, JAX[:1]):
        encode = jax.jit(JaxFlow(net.activation, solver=solver).encode)

        def of_jax(tolerance: float, encode: Callable[..., Any] = encode) -> Any:
            def both() -> tuple[np.ndarray, np.ndarray]:
                latents, scores = encode(theta, x, tolerance)
                return np.asarray(latents), np.asarray(scores)

            return lambda: both()[1], both

        sides[f"diffrax, {type(solver).__name__.lower()}"] = of_jax
    peer = TorchFlow(net, torch.float64)
    for method in budget.pick(TORCH, TORCH[:1]):

        def of_torch(tolerance: float, method: str = method) -> Any:
            @torch.no_grad()
            def both() -> tuple[np.ndarray, np.ndarray]:
                latents, scores = peer.encode(rows, tolerance, method)
                return latents.numpy(), scores.numpy()

            return lambda: both()[1], both

        sides[f"torchdiffeq, {method}"] = of_torch
    return sides
