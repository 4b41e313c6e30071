"""One net as a flow of each library: dx/dt = net(x, t), t = 0 the standard normal, t = 1 the data.

The net is a list of weights and biases with one activation between layers; time is the last input. For PyTorch the trace is
there by hand, as tangents of all columns through the layers, and by autograd: by hand is faster in a solve, autograd often in
training. For JAX it is one linearisation pushed along all columns, which is as fast as by hand in a solve and faster in training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchdiffeq
from numpy.typing import NDArray
from safetensors.numpy import load_file

import cnflow
from cnflow.torch import from_sequential

from .data import GOLDEN

ACTIVATIONS = {"8gaussians": "tanh", "d43": "softplus"}
#: Up to so many columns JAX pushes them one by one.
FEW = 4
#: The most steps that a solver of JAX may take: it has to be told.
MOST_STEPS = 4096


def normal_log_prob(z: Any) -> Any:
    """The log-density of a standard normal, of arrays of any library."""
    return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


@dataclass(frozen=True)
class Net:
    """Weights `[out, in]` and biases of dense layers."""

    layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    activation: str

    @classmethod
    def golden(cls, name: str) -> Net:
        """One of the nets that the tests have reference results of."""
        tensors = load_file(GOLDEN / name / "model.safetensors")
        at = sorted({int(key.split(".")[1]) for key in tensors})
        return cls([(tensors[f"net.{i}.weight"], tensors[f"net.{i}.bias"]) for i in at], ACTIVATIONS[name])

    @classmethod
    def random(cls, d: int, hidden: list[int], activation: str) -> Net:
        """PyTorch's usual start."""
        torch.manual_seed(0)
        sizes = [d + 1, *hidden, d]
        made = [torch.nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:])]
        return cls([(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in made], activation)

    @classmethod
    def of_flow(cls, flow: cnflow.Flow, activation: str) -> Net:
        """The velocity of a trained flow, in standardised columns."""
        from cnflow.torch import to_torch

        made = [layer for layer in to_torch(flow) if isinstance(layer, torch.nn.Linear)]
        return cls([(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in made], activation)

    @property
    def d(self) -> int:
        return len(self.layers[-1][1])

    @property
    def hidden(self) -> list[int]:
        return [len(bias) for _, bias in self.layers[:-1]]

    def sequential(self) -> torch.nn.Sequential:
        made: list[torch.nn.Module] = []
        for weight, bias in self.layers:
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
            made += [layer, torch.nn.Tanh() if self.activation == "tanh" else torch.nn.Softplus()]
        return torch.nn.Sequential(*made[:-1])

    def flow(self, **solver: Any) -> cnflow.Flow:
        """Ours."""
        return from_sequential(self.sequential()).with_solver(**solver)

    def reference(self) -> cnflow.Flow:
        """Ours in f64 at 1e-11: errors are against it. Golden results differ from it by less than 1e-9."""
        return self.flow(method="vern7", rtol=1e-11, atol=1e-11, precision="f64")


class TorchFlow(torch.nn.Module):
    """The net with torchdiffeq: one step for all rows."""

    def __init__(self, net: Net, dtype: torch.dtype = torch.float32, trace: str = "by hand") -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList([torch.tensor(w, dtype=dtype) for w, _ in net.layers])
        self.biases = torch.nn.ParameterList([torch.tensor(b, dtype=dtype) for _, b in net.layers])
        self.activation, self.d, self.trace = net.activation, net.d, trace
        #: The probe of Hutchinson's trace, where there is one.
        self.probe: torch.Tensor | None = None

    def value_and_slope(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.activation == "tanh":
            y = torch.tanh(x)
            return y, 1 - y * y
        return torch.nn.functional.softplus(x), torch.sigmoid(x)

    def value(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        act = torch.tanh if self.activation == "tanh" else torch.nn.functional.softplus
        first = self.weights[0]
        y = torch.addmm(self.biases[0] + t * first[:, self.d], x, first[:, : self.d].t())
        for weight, bias in zip(self.weights[1:], self.biases[1:]):
            y = torch.addmm(bias, act(y), weight.t())
        return y

    def forward(self, t: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The velocity and its trace."""
        x, _ = state
        return self.by_autograd(t, x) if self.trace == "autograd" else self.by_hand(t, x)

    def by_hand(self, t: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, last = self.weights[0], self.weights[-1]
        y, slope = self.value_and_slope(torch.addmm(self.biases[0] + t * first[:, self.d], x, first[:, : self.d].t()))
        # `[d, n, units]`, or `[n, units]` along a probe.
        tangent = first[:, : self.d].t().unsqueeze(1) if self.probe is None else self.probe @ first[:, : self.d].t()
        tangent = tangent * slope
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1]):
            y, slope = self.value_and_slope(torch.addmm(bias, y, weight.t()))
            tangent = (tangent @ weight.t()) * slope
        value = torch.addmm(self.biases[-1], y, last.t())
        if self.probe is None:
            return value, torch.einsum("inh,ih->n", tangent, last)
        return value, ((tangent @ last.t()) * self.probe).sum(1)

    def by_autograd(self, t: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        create = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_(True)
            value = self.value(t, x)
            if self.probe is not None:
                (pulled,) = torch.autograd.grad(value, x, self.probe, create_graph=create)
                return value, (pulled * self.probe).sum(1)
            trace = torch.zeros_like(x[:, 0])
            for i in range(self.d):
                (row,) = torch.autograd.grad(value[:, i].sum(), x, create_graph=create, retain_graph=True)
                trace = trace + row[:, i]
        return (value, trace) if create else (value.detach(), trace.detach())

    def solve(
        self,
        rows: torch.Tensor,
        start: float,
        tolerance: float,
        method: str = "dopri5",
        integrate: Callable[..., Any] = torchdiffeq.odeint,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows at the other end, and the integral of the trace from `start` to it."""
        span = torch.tensor([start, 1.0 - start], dtype=rows.dtype)
        y, integral = integrate(self, (rows, torch.zeros_like(rows[:, 0])), span, rtol=tolerance, atol=tolerance, method=method)
        return y[-1], integral[-1]

    def decode(self, z: torch.Tensor, tolerance: float, method: str = "dopri5") -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and their log p, of latents."""
        x, integral = self.solve(z, 0.0, tolerance, method)
        return x, normal_log_prob(z) - integral

    def encode(self, x: torch.Tensor, tolerance: float, method: str = "dopri5", **how: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents of rows, and the rows' log p."""
        z, integral = self.solve(x, 1.0, tolerance, method, **how)
        return z, normal_log_prob(z) + integral

    def move(self, rows: torch.Tensor, start: float, tolerance: float, method: str = "dopri5") -> torch.Tensor:
        """The rows at the other end, without a density."""
        span = torch.tensor([start, 1.0 - start], dtype=rows.dtype)
        moved: torch.Tensor = torchdiffeq.odeint(self.value, rows, span, rtol=tolerance, atol=tolerance, method=method)[-1]
        return moved


Parameters = list[tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class JaxFlow:
    """The net with diffrax: one step for all rows (`joint`), or a step for each."""

    activation: str
    joint: bool = False
    solver: diffrax.AbstractSolver = diffrax.Dopri5()
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    most_steps: int = MOST_STEPS

    def value(self, theta: Parameters, t: Any, x: jax.Array) -> jax.Array:
        d = x.shape[-1]
        (first, bias), *others = theta
        y = x @ first[:, :d].T + (bias + t * first[:, d])
        act = jnp.tanh if self.activation == "tanh" else jax.nn.softplus
        for weight, bias in others:
            y = act(y) @ weight.T + bias
        return y

    def value_and_trace(
        self, theta: Parameters, t: Any, x: jax.Array, probe: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        value, push = jax.linearize(lambda x: self.value(theta, t, x), x)
        if probe is not None:
            return value, (push(probe) * probe).sum(-1)
        d = x.shape[-1]
        if d <= FEW:
            return value, sum(push(jnp.zeros_like(x).at[..., i].set(1))[..., i] for i in range(d))
        units = jnp.broadcast_to(jnp.eye(d, dtype=x.dtype).reshape(d, *[1] * (x.ndim - 1), d), (d, *x.shape))
        return value, jnp.einsum("i...i->...", jax.vmap(push)(units))

    def solve(
        self, theta: Parameters, rows: jax.Array, start: float, tolerance: Any, probe: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """The rows at the other end, and the integral of the trace from `start` to it."""

        def field(t: Any, state: Any, held: Any) -> Any:
            theta, probe = held
            return self.value_and_trace(theta, t, state[0], probe)

        def integrate(rows: jax.Array, probe: jax.Array | None) -> Any:
            state = (rows, jnp.zeros(rows.shape[:-1], rows.dtype))
            return self._integrate(field, state, start, tolerance, (theta, probe))

        if self.joint:
            return integrate(rows, probe)
        return jax.vmap(integrate, in_axes=(0, None if probe is None else 0))(rows, probe)

    def move(self, theta: Parameters, rows: jax.Array, start: float, tolerance: Any) -> jax.Array:
        """The rows at the other end, without a density."""

        def field(t: Any, x: jax.Array, theta: Any) -> jax.Array:
            return self.value(theta, t, x)

        def integrate(rows: jax.Array) -> Any:
            return self._integrate(field, rows, start, tolerance, theta)

        return integrate(rows) if self.joint else jax.vmap(integrate)(rows)

    def _integrate(self, field: Callable[..., Any], state: Any, start: float, tolerance: Any, held: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), self.solver, start, 1.0 - start, None, state, held,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            adjoint=self.adjoint, max_steps=self.most_steps, throw=False,
        )  # fmt: skip
        return jax.tree.map(lambda y: y[0], solution.ys)

    def decode(self, theta: Parameters, z: jax.Array, tolerance: Any) -> tuple[jax.Array, jax.Array]:
        """Rows and their log p, of latents."""
        x, integral = self.solve(theta, z, 0.0, tolerance)
        return x, normal_log_prob(z) - integral

    def encode(
        self, theta: Parameters, x: jax.Array, tolerance: Any, probe: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Latents of rows, and the rows' log p."""
        z, integral = self.solve(theta, x, 1.0, tolerance, probe)
        return z, normal_log_prob(z) + integral


def parameters(net: Net, dtype: Any = jnp.float32) -> Parameters:
    """The net's, for JAX."""
    return [(jnp.asarray(weight, dtype), jnp.asarray(bias, dtype)) for weight, bias in net.layers]


def differences(found: Any, truth: NDArray[np.float64]) -> tuple[float, float]:
    """The worst and the mean of the absolute differences."""
    gap = np.abs(np.asarray(found, np.float64) - truth)
    return float(gap.max()), float(gap.mean())
