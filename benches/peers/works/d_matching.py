"""D. One step of flow matching: batch 256, 3 hidden layers of 64 with tanh, 2 columns, Adam, f32.

The targets are those of straight lines between independent pairs. JAX runs step by step and as one scan of 100 steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from . import training
from .data import eight_gaussians
from .nets import JaxFlow, Net, parameters
from .timing import Budget, Line, calls, lines

try:
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
except ImportError:
    ConditionalFlowMatcher = None

TITLE = "D. One step of flow matching"
COLUMNS: list[str] = []
BATCH, RATE, SCAN = 256, 1e-3, 100


def run(budget: Budget) -> list[Line]:
    net, rows, steps = Net.random(2, [64, 64, 64], "tanh"), eight_gaussians(50_000, 0), budget.pick(400, 100)
    options = training.PLAIN | {
        "model": "cnf", "objective": "matching", "lr": RATE, "batch": BATCH, "hidden": net.hidden, "activation": net.activation,
        "pairing": "independent", "base": "normal",
    }  # fmt: skip
    scanned = calls(of_jax(net, rows, SCAN))
    meters = {
        "cnflow": training.own(rows, steps, **options),
        f"jax, a scan of {SCAN} steps": lambda: scanned() / SCAN,
        "jax, step by step": training.loop(of_jax(net, rows, 1), steps),
        "torch by hand, fused Adam": training.loop(of_torch(net, rows, by_hand=True), steps),
    }
    if ConditionalFlowMatcher:
        meters["torchcfm"] = training.loop(of_torch(net, rows, by_hand=False), steps)
    return lines(f"matching step of {BATCH} rows", meters, budget.rounds)


def of_jax(net: Net, rows: np.ndarray, length: int) -> Any:
    flow, optimiser, data = JaxFlow(net.activation), optax.adam(RATE), jnp.asarray(rows)

    def loss(theta: Any, t: jax.Array, z: jax.Array, x: jax.Array) -> jax.Array:
        found = jax.vmap(flow.value, (None, 0, 0))(theta, t, z + t[:, None] * (x - z))
        return ((found - (x - z)) ** 2).mean()

    def step(held: Any, _: None) -> Any:
        theta, state, key = held
        key, *keys = jax.random.split(key, 4)
        x = data[jax.random.randint(keys[0], (BATCH,), 0, len(data))]
        z, t = jax.random.normal(keys[1], x.shape), jax.random.uniform(keys[2], (BATCH,))
        changes, state = optimiser.update(jax.grad(loss)(theta, t, z, x), state)
        return (optax.apply_updates(theta, changes), state, key), None

    many = jax.jit(lambda held: jax.lax.scan(step, held, None, length)[0])
    theta = parameters(net)
    held = [(theta, optimiser.init(theta), jax.random.key(0))]

    def work() -> None:
        held[0] = jax.block_until_ready(many(held[0]))

    return work


def of_torch(net: Net, rows: np.ndarray, by_hand: bool) -> Any:
    sequential, data = net.sequential(), torch.from_numpy(rows)
    optimiser = torch.optim.Adam(sequential.parameters(), RATE, **({"fused": True} if by_hand else {}))
    matcher = None if by_hand else ConditionalFlowMatcher(sigma=0.0)

    def step() -> None:
        x = data[torch.randint(len(data), (BATCH,))]
        z = torch.randn_like(x)
        if matcher is None:
            t, target = torch.rand(BATCH, 1), x - z
            points = z + t * target
        else:
            t, points, target = matcher.sample_location_and_conditional_flow(z, x)
            t = t[:, None]
        loss = ((sequential(torch.cat([points, t], 1)) - target) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step
