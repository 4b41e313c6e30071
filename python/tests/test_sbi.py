"""A posterior of a linear Gaussian model, which is known, by the package sbi."""

import numpy as np
import pytest

pytest.importorskip("sbi", reason="sbi is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from sbi.diagnostics import check_sbc, run_sbc
from sbi.inference import DirectPosterior
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator

import cnflow
from cnflow.sbi import FlowEstimator, train_posterior

NOISE = 0.5


@pytest.fixture(scope="module")
def posterior():
    """theta ~ N(0, 1) in the plane, x = theta + noise: theta | x is N(x/(1 + s²), s²/(1 + s²))."""
    torch.manual_seed(0)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    theta = prior.sample((4000,))
    x = theta + NOISE * torch.randn_like(theta)
    estimator = train_posterior(theta, x, steps=2500, hidden=[32, 32], progress=False)
    assert isinstance(estimator, ConditionalDensityEstimator)
    return DirectPosterior(estimator, prior)


def exact(x):
    variance = NOISE**2 / (1 + NOISE**2)
    return torch.distributions.MultivariateNormal(x / (1 + NOISE**2), variance * torch.eye(2))


def test_it_is_the_known_posterior(posterior):
    x = torch.tensor([[0.7, -0.4]])
    drawn = posterior.sample((4000,), x=x, show_progress_bars=False)
    truth = exact(x)
    torch.testing.assert_close(drawn.mean(0), truth.mean[0], atol=0.08, rtol=0)
    torch.testing.assert_close(drawn.var(0), truth.variance[0], atol=0.06, rtol=0)
    points = truth.sample((200,))[:, 0]
    found = posterior.log_prob(points, x=x, norm_posterior=False)
    assert (found - truth.log_prob(points)).abs().mean() < 0.1


def test_it_is_calibrated(posterior):
    torch.manual_seed(1)
    theta = torch.randn(200, 2)
    x = theta + NOISE * torch.randn_like(theta)
    ranks, averaged = run_sbc(theta, x, posterior, num_posterior_samples=200, show_progress_bar=False)
    checked = check_sbc(ranks, theta, averaged, num_posterior_samples=200)
    assert (checked["ks_pvals"] > 0.001).all(), checked


def test_shapes(posterior):
    estimator = posterior.posterior_estimator
    c = torch.randn(3, 2)
    assert estimator.sample(torch.Size((5,)), c).shape == (5, 3, 2)
    assert estimator.log_prob(torch.randn(5, 3, 2), c).shape == (5, 3)
    assert estimator.loss(torch.randn(3, 2), c).shape == (3,)


def test_a_flow_without_a_condition_is_refused():
    flow = cnflow.train(np.random.default_rng(0).normal(size=(200, 2)), model="gaussian", progress=False)
    with pytest.raises(ValueError, match="no condition"):
        FlowEstimator(flow)
