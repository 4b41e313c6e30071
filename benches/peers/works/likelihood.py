"""One step of maximum likelihood with each library: batch, solve with the trace, gradient, update by Adam."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffrax
import jax
import numpy as np
import optax
import torch
import torchdiffeq

from .nets import JaxFlow, Net, TorchFlow, parameters

RATE = 1e-3
#: A step keeps something for each step of a solve: fewer than of a solve alone.
MOST_STEPS = 256


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (2 * rng.integers(0, 2, shape) - 1).astype(np.float32)


def of_torch(
    net: Net, rows: np.ndarray, batch: int, tolerance: float, trace: str, adjoint: bool, probe: bool
) -> Callable[[], object]:
    """With torchdiffeq: through its operations, or by the adjoint equation."""
    flow, rng = TorchFlow(net, trace=trace), np.random.default_rng(0)
    optimiser = torch.optim.Adam(flow.parameters(), RATE)
    integrate = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint

    def step() -> None:
        x = torch.from_numpy(rows[rng.integers(0, len(rows), batch)])
        flow.probe = torch.from_numpy(signs(rng, x.shape)) if probe else None
        _, log_prob = flow.encode(x, tolerance, integrate=integrate)
        optimiser.zero_grad()
        (-log_prob.mean()).backward()
        optimiser.step()

    return step


def adjoints(tolerance: float) -> dict[str, diffrax.AbstractAdjoint]:
    """Diffrax's: the gradient of what was computed, and the one of the adjoint equation."""
    control = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    return {
        "checkpointed": diffrax.RecursiveCheckpointAdjoint(),
        "backsolve": diffrax.BacksolveAdjoint(solver=diffrax.Dopri5(), stepsize_controller=control),
    }


def of_jax(
    net: Net, rows: np.ndarray, batch: int, tolerance: float, adjoint: diffrax.AbstractAdjoint, joint: bool, probe: bool
) -> Callable[[], object]:
    """With diffrax, compiled as a whole."""
    flow = replace(JaxFlow(net.activation, joint), adjoint=adjoint, most_steps=MOST_STEPS)
    optimiser, rng = optax.adam(RATE), np.random.default_rng(0)

    def loss(theta: Any, x: jax.Array, signs: jax.Array | None) -> jax.Array:
        return -flow.encode(theta, x, tolerance, signs)[1].mean()

    @jax.jit
    def update(theta: Any, state: Any, x: jax.Array, signs: jax.Array | None) -> Any:
        changes, state = optimiser.update(jax.grad(loss)(theta, x, signs), state)
        return optax.apply_updates(theta, changes), state

    theta = parameters(net)
    held = [theta, optimiser.init(theta)]

    def step() -> None:
        x = rows[rng.integers(0, len(rows), batch)]
        held[:] = jax.block_until_ready(update(*held, x, signs(rng, x.shape) if probe else None))

    return step
