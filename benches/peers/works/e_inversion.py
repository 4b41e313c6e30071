"""E. 500 points of the golden 8gaussians net inverted and brought back, in f64.

The error is that of the points that come back; the latents are held to the golden ones.
"""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import torch

from .data import GOLDEN
from .nets import JaxFlow, Net, TorchFlow, differences, parameters
from .timing import Budget, Line, calls, lines

TITLE = "E. Inverted and brought back, f64"
COLUMNS = ["worst round trip", "mean round trip", "worst latent"]
WIDE = True


def run(budget: Budget) -> list[Line]:
    net = Net.golden("8gaussians")
    x, z = np.load(GOLDEN / "8gaussians" / "x.npy"), np.load(GOLDEN / "8gaussians" / "z.npy")
    theta, rows = parameters(net, jnp.float64), torch.from_numpy(x)
    peer = TorchFlow(net, torch.float64)
    found = []
    for tolerance in budget.pick([1e-5, 1e-7, 1e-9], [1e-7]):
        trips = {}
        for method in ["dopri5", "tsit5", "vern7"]:
            flow = net.flow(method=method, rtol=tolerance, atol=tolerance, precision="f64")

            def ours(flow=flow) -> tuple[np.ndarray, np.ndarray]:
                latents = flow.inverse(x, progress=False)
                return latents, flow.forward(latents, progress=False)

            trips[f"cnflow, {method}"] = ours
        for solver in [diffrax.Dopri5(), diffrax.Dopri8()]:
            move = jax.jit(JaxFlow(net.activation, solver=solver).move, static_argnums=2)

            def of_jax(move=move, tolerance=tolerance) -> tuple[np.ndarray, np.ndarray]:
                latents = move(theta, x, 1.0, tolerance)
                return np.asarray(latents), np.asarray(move(theta, latents, 0.0, tolerance))

            trips[f"diffrax, {type(solver).__name__}, a step for each"] = of_jax

        @torch.no_grad()
        def of_torch(tolerance=tolerance) -> tuple[np.ndarray, np.ndarray]:
            latents = peer.move(rows, 1.0, tolerance)
            return latents.numpy(), peer.move(latents, 0.0, tolerance).numpy()

        trips["torchdiffeq, dopri5"] = of_torch
        facts: dict[str, dict[str, float | str]] = {}
        for who, trip in trips.items():
            latents, back = trip()
            worst, mean = differences(back, x)
            facts[who] = dict(zip(COLUMNS, [worst, mean, differences(latents, z)[0]]))
        meters = {who: calls(trip) for who, trip in trips.items()}
        found += lines(f"{len(x)} points there and back at {tolerance:.0e}", meters, budget.rounds, facts)
    return found
