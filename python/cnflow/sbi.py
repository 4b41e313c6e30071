"""A flow as the posterior of simulation-based inference, for the package sbi.

    from sbi.inference import DirectPosterior
    from cnflow.sbi import train_posterior
    estimator = train_posterior(theta, x, steps=5000)      # p(theta | x) from simulations
    posterior = DirectPosterior(estimator, prior)
    posterior.sample((1000,), x=observed)

The engine trains the flow itself; what sbi offers behind the training (samples within the prior, calibration, plots)
takes the estimator as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator

import cnflow
from cnflow.torch import FlowDistribution

if TYPE_CHECKING:
    from cnflow import Flow

__all__ = ["FlowEstimator", "train_posterior"]


class FlowEstimator(ConditionalDensityEstimator):
    """A conditional flow as an estimator of sbi: its input is the parameters, its condition the simulated data.

    It has no weights of PyTorch: the flow is trained already.
    """

    def __init__(self, flow: Flow) -> None:
        if not flow.condition_dim:
            raise ValueError("the flow has no condition; train it on (theta, x), x being the condition")
        super().__init__(torch.nn.Identity(), torch.Size((flow.dim,)), torch.Size((flow.condition_dim,)))
        # What is computed is on the CPU: sbi asks a module's tensors.
        self.register_buffer("of_cpu", torch.empty(0), persistent=False)
        self.flow = flow

    def log_prob(self, input: torch.Tensor, condition: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Log p of inputs ``(sample, batch, d)`` under conditions ``(batch, c)``: ``(sample, batch)``, in nats."""
        return FlowDistribution(self.flow, condition).log_prob(input)

    def loss(self, input: torch.Tensor, condition: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Minus log p of inputs ``(batch, d)`` under conditions ``(batch, c)``: ``(batch,)``."""
        return -self.log_prob(input, condition)

    def sample(self, sample_shape: torch.Size, condition: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Draws of shape ``(*sample, batch, d)`` under conditions ``(batch, c)``."""
        return FlowDistribution(self.flow, condition).sample(sample_shape)


def train_posterior(theta: Any, x: Any, **options: Any) -> FlowEstimator:
    """The posterior p(theta | x) from simulations: parameters ``(n, d)`` and what they gave, ``(n, c)``.

    ``options`` are those of ``cnflow.train``, such as ``steps``, ``time``, ``model`` and ``seed``.
    """
    rows, given = (np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in (theta, x))
    return FlowEstimator(cnflow.train(rows, given, **options))
