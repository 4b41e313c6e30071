"""A flow as a distribution of PyTorch, and nets there and back.

    from cnflow.torch import FlowDistribution
    p = FlowDistribution(flow)
    p.log_prob(x).sum().backward()      # x.grad is exact
    FlowDistribution(posterior, c).log_prob(x).sum().backward()      # c.grad too
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints

import cnflow

if TYPE_CHECKING:
    from cnflow import Flow

__all__ = ["Crew", "FlowDistribution", "from_sequential", "to_torch"]

#: The activations of ``from_sequential`` and ``to_torch``, by the names of the command.
_ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "tanh": torch.nn.Tanh,
    "softplus": torch.nn.Softplus,
    "silu": torch.nn.SiLU,
    "elu": torch.nn.ELU,
    "relu": torch.nn.ReLU,
}


class _LogProb(torch.autograd.Function):
    """Log p of rows, and its gradients in them and in their conditions."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, condition: torch.Tensor | None, flow: Flow) -> torch.Tensor:
        rows, given = _rows(value), None if condition is None else _rows(condition)
        if condition is not None and condition.requires_grad:
            log_prob, *gradients = flow.log_prob_and_grad(rows, given, condition_grad=True)
        elif value.requires_grad:
            log_prob, *gradients = flow.log_prob_and_grad(rows, given)
        else:
            gradients = []
            log_prob = flow.log_prob(rows, given, progress=False)
        ctx.save_for_backward(
            *(
                torch.as_tensor(gradient, dtype=by.dtype).reshape(by.shape)
                for gradient, by in zip(gradients, (value, condition), strict=False)
            )
        )
        return torch.as_tensor(log_prob, dtype=value.dtype).reshape(value.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        by_value, *by_condition = (cotangent.unsqueeze(-1).to(by.dtype) * by for by in ctx.saved_tensors)
        return by_value, by_condition[0] if by_condition else None, None


class FlowDistribution(Distribution):
    """The distribution of a flow, on the CPU.

    ``event_shape`` is ``(d,)``. A ``condition`` of shape ``(*batch, c)`` makes a batch of distributions, one for each of
    its rows. ``log_prob`` can be differentiated once in the value and in the condition. By a class there is no
    derivative: it is NaN.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = False

    def __init__(self, flow: Flow, condition: torch.Tensor | None = None, validate_args: bool | None = None) -> None:
        self.flow = flow
        self.condition = None
        batch_shape = torch.Size()
        if condition is not None:
            condition = torch.as_tensor(condition)
            if condition.ndim == 0 or condition.shape[-1] != flow.condition_dim:
                raise ValueError(
                    f"the condition has shape {tuple(condition.shape)}, and the flow has {flow.condition_dim} "
                    "condition columns"
                )
            self.condition = condition
            batch_shape = condition.shape[:-1]
        elif flow.condition_dim:
            raise ValueError(f"the flow is conditional on {flow.condition_dim} columns; give condition=")
        super().__init__(batch_shape, torch.Size((flow.dim,)), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> FlowDistribution:
        """The same distribution over a larger batch."""
        shape = torch.Size(batch_shape)
        condition = None if self.condition is None else self.condition.expand(*shape, self.flow.condition_dim)
        wider = FlowDistribution(self.flow, condition, validate_args=False)
        Distribution.__init__(wider, shape, self.event_shape, validate_args=False)
        return wider

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log p of values of shape ``(*sample, *batch, d)``, in nats, in the dtype of the value."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        value = value.expand(*shape, self.flow.dim)
        condition = self.condition
        if condition is not None:
            condition = condition.expand(*shape, self.flow.condition_dim)
        found: torch.Tensor = _LogProb.apply(value, condition, self.flow)
        return found

    def sample(self, sample_shape: Sequence[int] = ()) -> torch.Tensor:
        """Draws of shape ``(*sample, *batch, d)``; the seed comes from PyTorch's generator."""
        shape = self._extended_shape(torch.Size(sample_shape))
        n = shape[:-1].numel()
        given = None
        if self.condition is not None:
            given = _rows(self.condition.expand(*shape[:-1], self.flow.condition_dim))
        seed = int(torch.randint(2**63 - 1, ()).item())
        rows = self.flow.sample(n, given, seed=seed) if n else np.empty((0, self.flow.dim))
        return torch.as_tensor(rows, dtype=torch.get_default_dtype()).reshape(shape)


def _rows(value: torch.Tensor) -> np.ndarray[Any, Any]:
    """A tensor as rows of NumPy."""
    rows: np.ndarray[Any, Any] = value.detach().cpu().reshape(-1, value.shape[-1]).numpy()
    return rows


def from_sequential(
    net: torch.nn.Sequential,
    *,
    condition_dim: int = 0,
    time_features: int = 0,
) -> Flow:
    """A continuous flow whose velocity is this net.

    ``net`` is an ``nn.Sequential`` of ``Linear`` layers with one activation between each and the next: ``Tanh``,
    ``Softplus``, ``SiLU``, ``ELU`` or ``ReLU``. Its inputs are x, the condition, and t; without t the velocity does not
    depend on time. ``time_features`` is the number of frequencies where time enters as t and its sines and cosines.

    Raises ``ValueError`` for another kind of net.
    """
    known = {kind: name for name, kind in _ACTIVATIONS.items()}
    layers = [layer for layer in net if not isinstance(layer, torch.nn.Linear)]
    kinds = {type(layer) for layer in layers}
    unknown = next((kind for kind in kinds if kind not in known), None)
    if unknown is not None:
        raise ValueError(f"the net has a layer {unknown.__name__}; it can have Linear and one of {', '.join(_ACTIVATIONS)}")
    if len(kinds) > 1:
        raise ValueError(f"the net has {len(kinds)} kinds of activation; it can have one")
    for layer in layers:
        usual = {torch.nn.Softplus: ("beta", 1.0), torch.nn.ELU: ("alpha", 1.0)}.get(type(layer))
        if usual and getattr(layer, usual[0]) != usual[1]:
            raise ValueError(f"the {type(layer).__name__} has {usual[0]} = {getattr(layer, usual[0])}; it can have 1")
    activation = known[kinds.pop()] if kinds else "tanh"
    tensors = {name: t.detach().cpu().to(torch.float32).numpy() for name, t in net.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        weights, model = Path(folder, "weights.safetensors"), Path(folder, "model.safetensors")
        weights.write_bytes(_safetensors(tensors))
        options = ["--condition-dim", str(condition_dim), "--time-features", str(time_features)]
        _command("import", str(weights), "--activation", activation, "-o", str(model), *options)
        return cnflow.load(model)


def to_torch(flow: Flow) -> torch.nn.Sequential:
    """The velocity of a continuous flow of dense layers as an ``nn.Sequential``, in f32.

    It is the velocity in the standardised columns; ``flow.provenance`` and ``cnf info`` tell the rest of the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, weights = Path(folder, "model.safetensors"), Path(folder, "weights.safetensors")
        flow.save(model)
        _command("export", str(model), "-o", str(weights))
        tensors, metadata = _read_safetensors(weights.read_bytes())
    names = sorted((name for name in tensors if name.endswith(".weight")), key=lambda name: int(name.split(".")[-2]))
    activation = _ACTIVATIONS[metadata["activation"]]
    layers: list[torch.nn.Module] = []
    for name in names:
        weight = torch.from_numpy(tensors[name].copy())
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": torch.from_numpy(tensors[name.removesuffix("weight") + "bias"].copy())})
        layers += [layer, activation()]
    return torch.nn.Sequential(*layers[:-1])


def _command(*words: str) -> None:
    """Runs the command; its error is the exception."""
    ran = subprocess.run([sys.executable, "-m", "cnflow", *words, "--json"], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ValueError(ran.stderr.strip().removeprefix("error: "))


def _safetensors(tensors: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """A file of f32 tensors in the safetensors format: the length of a header, the header as JSON, the numbers."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    at = 0
    for name, tensor in tensors.items():
        part = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _read_safetensors(file: bytes) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """The f32 tensors of a file and its metadata."""
    (length,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            continue
        first, last = entry["data_offsets"]
        values = np.frombuffer(file[8 + length + first : 8 + length + last], dtype="<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


class Crew:
    """The ranks of a process group of ``torch.distributed``, for ``cnflow.train(crew=)``.

    The default group has to be initialised, such as by ``torchrun`` and ``init_process_group("gloo")``.
    """

    def __init__(self, group: Any = None) -> None:
        import torch.distributed as dist

        self._group = group
        self.rank: int = dist.get_rank(group)
        self.size: int = dist.get_world_size(group)

    def allgather(self, mine: bytes) -> list[bytes]:
        """What each rank sent, in the order of ranks."""
        import torch.distributed as dist

        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, mine, group=self._group)
        return everyone
