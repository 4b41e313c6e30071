"""G. RealNVP and spline flows of 8 couplings with nets of 64-64 (relu), 8 bins, in 2, 6, 20 and 64 columns, f32.

A training step has 512 rows. Samples and densities are of 10 000 rows: samples are drawn, densities computed of fixed rows.
"""

from typing import Any

import numpy as np
import torch
import zuko

import cnflow

from . import training
from .data import correlated, eight_gaussians
from .timing import Budget, Line, calls, lines

try:
    import nflows.distributions
    import nflows.flows
    import nflows.transforms
except ImportError:
    nflows = None

TITLE = "G. RealNVP and splines"
COLUMNS: list[str] = []
HIDDEN, COUPLINGS, BINS, BOUND, BATCH, RATE = [64, 64], 8, 8, 5.0, 512, 1e-3
KINDS = ["realnvp", "spline"]


def run(budget: Budget) -> list[Line]:
    n, steps = budget.pick((10_000, 8), (2000, 4))
    found = []
    for d in budget.pick([2, 6, 20, 64], [2, 6]):
        rows = eight_gaussians(20_000, 0) if d == 2 else correlated(20_000, d, 0)
        for kind in KINDS:
            options = training.PLAIN | {
                "model": kind, "depth": COUPLINGS, "hidden": HIDDEN, "activation": "relu", "batch": BATCH, "lr": RATE,
                **({"bins": BINS, "bound": BOUND} if kind == "spline" else {}),
            }  # fmt: skip
            flow = cnflow.train(rows, steps=steps, seed=0, **options)
            peers = {"zuko": Zuko(kind, d, rows)} | ({"nflows": Nflows(kind, d, rows)} if nflows else {})
            points, torch_points = rows[:n], torch.from_numpy(rows[:n])
            sides = {
                f"training step of {BATCH} rows": {
                    "cnflow": training.own(rows, steps + 1, **options),
                    **{who: training.loop(peer.step, steps) for who, peer in peers.items()},
                },
                f"{n:,} samples": {
                    "cnflow": calls(lambda flow=flow: flow.sample(n, seed=0, progress=False)),
                    **{who: calls(lambda peer=peer: peer.sample(n)) for who, peer in peers.items()},
                },
                f"{n:,} densities": {
                    "cnflow": calls(lambda flow=flow, points=points: flow.log_prob(points, progress=False)),
                    **{who: calls(lambda peer=peer, points=torch_points: peer.scored(points)) for who, peer in peers.items()},
                },
            }
            for what, meters in sides.items():
                facts: dict[str, dict[str, float | str]] = {who: {"d": d, "kind": kind, "what": what} for who in meters}
                found += lines(f"{kind}, {d} columns: {what}", meters, budget.rounds, facts)
    return found


class Peer:
    """A flow of PyTorch and its training."""

    module: torch.nn.Module

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = torch.from_numpy(rows)
        self.optimiser = torch.optim.Adam(self.module.parameters(), RATE)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def step(self) -> None:
        x = self.rows[torch.randint(len(self.rows), (BATCH,))]
        self.optimiser.zero_grad()
        (-self.log_prob(x).mean()).backward()
        self.optimiser.step()

    @torch.no_grad()
    def scored(self, x: torch.Tensor) -> torch.Tensor:
        return self.log_prob(x)


class Zuko(Peer):
    def __init__(self, kind: str, d: int, rows: np.ndarray) -> None:
        net: dict[str, Any] = {"transforms": COUPLINGS, "hidden_features": HIDDEN}
        if kind == "spline":
            net |= {"univariate": zuko.transforms.MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
        self.module = zuko.flows.RealNVP(d, **net)
        super().__init__(rows)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.module().log_prob(x)

    @torch.no_grad()
    def sample(self, n: int) -> torch.Tensor:
        return self.module().sample((n,))


class Conditioner(torch.nn.Sequential):
    """A net that nflows calls with a condition, of which there is none."""

    def forward(self, x: torch.Tensor, condition: None) -> torch.Tensor:
        return super().forward(x)


class Nflows(Peer):
    def __init__(self, kind: str, d: int, rows: np.ndarray) -> None:
        def net(inputs: int, outputs: int) -> torch.nn.Module:
            layers: list[torch.nn.Module] = []
            for a, b in zip([inputs, *HIDDEN], [*HIDDEN, outputs]):
                layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
            return Conditioner(*layers[:-1])

        transforms = []
        for at in range(COUPLINGS):
            mask = (torch.arange(d) + at) % 2
            if kind == "spline":
                made = nflows.transforms.PiecewiseRationalQuadraticCouplingTransform(
                    mask, net, num_bins=BINS, tails="linear", tail_bound=BOUND
                )
            else:
                made = nflows.transforms.AffineCouplingTransform(mask, net)
            transforms.append(made)
        normal = nflows.distributions.StandardNormal([d])
        self.module = nflows.flows.Flow(nflows.transforms.CompositeTransform(transforms), normal)
        super().__init__(rows)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.module.log_prob(x)

    @torch.no_grad()
    def sample(self, n: int) -> torch.Tensor:
        return self.module.sample(n)
