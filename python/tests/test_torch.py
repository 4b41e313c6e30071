"""Flows as distributions of PyTorch, and nets there and back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import cnflow
from cnflow.torch import FlowDistribution, from_sequential, to_torch

SMALL = {"hidden": [8, 8], "batch": 64, "progress": False}


@pytest.fixture(scope="module")
def flow():
    rows = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 3.0]
    return cnflow.train(rows, steps=200, **SMALL).with_solver(precision="f64", rtol=1e-8, atol=1e-8)


@pytest.fixture(scope="module")
def conditional():
    rng = np.random.default_rng(1)
    c = rng.normal(size=(500, 1))
    return cnflow.train(c + rng.normal(size=(500, 2)), c, steps=200, **SMALL)


def test_log_prob_is_that_of_the_flow_in_any_shape(flow):
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    p = FlowDistribution(flow)
    assert (p.batch_shape, p.event_shape) == (torch.Size(), torch.Size((2,)))
    found = p.log_prob(x)
    np.testing.assert_array_equal(found.numpy().ravel(), flow.log_prob(x.numpy().reshape(-1, 2)))
    assert found.shape == (3, 4) and p.log_prob(x[0, 0]).shape == ()
    assert p.log_prob(x.float()).dtype == torch.float32


def test_gradients_pass_gradcheck(flow):
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FlowDistribution(flow).log_prob, (x,), eps=1e-5, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["realnvp", "spline"])
def test_gradients_of_discrete_flows_pass_gradcheck(model):
    rows = np.random.default_rng(0).normal(size=(500, 2))
    flow = cnflow.train(rows, model=model, steps=100, batch=64, progress=False).with_solver(precision="f64")
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FlowDistribution(flow).log_prob, (x,), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", ["cnf", "realnvp", "spline"])
def test_gradients_in_the_value_and_the_condition_pass_gradcheck(model):
    rng = np.random.default_rng(1)
    c = rng.normal(size=(500, 2)) * [1.0, 5.0]
    rows = c[:, :1] + rng.normal(size=(500, 2))
    options = {"hidden": [8, 8]} if model == "cnf" else {"depth": 2}
    flow = cnflow.train(rows, c, model=model, steps=100, batch=64, progress=False, **options)
    flow = flow.with_solver(precision="f64", **({"rtol": 1e-8, "atol": 1e-8} if model == "cnf" else {}))

    def log_prob(x, c):
        return FlowDistribution(flow, c).log_prob(x)

    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    c = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_prob, (x, c), eps=1e-5, atol=1e-4, rtol=1e-4)
    # One condition for many values: the sum over them.
    one = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: log_prob(x.detach(), c), (one,), eps=1e-5, atol=1e-4, rtol=1e-4)


def test_a_condition_makes_a_batch(conditional):
    c = torch.linspace(-1, 1, 5).reshape(5, 1)
    p = FlowDistribution(conditional, c)
    assert p.batch_shape == (5,)
    assert p.sample((3,)).shape == (3, 5, 2)
    x = torch.randn(3, 5, 2)
    given = c.expand(3, 5, 1).reshape(-1, 1).numpy()
    expected = conditional.log_prob(x.numpy().reshape(-1, 2), given).astype(np.float32)
    np.testing.assert_array_equal(p.log_prob(x).numpy().ravel(), expected)
    assert p.expand((2, 5)).log_prob(x[:2]).shape == (2, 5)


def test_draws_follow_the_generator_of_torch(flow):
    p = FlowDistribution(flow)
    torch.manual_seed(3)
    first = p.sample((10,))
    assert (p.sample((10,)) != first).any()
    torch.manual_seed(3)
    assert (p.sample((10,)) == first).all()
    assert p.sample().shape == (2,) and p.sample((0,)).shape == (0, 2)


def test_wrong_conditions_are_refused(flow, conditional):
    with pytest.raises(ValueError, match="conditional on 1 column"):
        FlowDistribution(conditional)
    with pytest.raises(ValueError, match="shape"):
        FlowDistribution(flow, torch.zeros(3))


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.SiLU, torch.nn.Softplus, torch.nn.ELU, torch.nn.ReLU])
@pytest.mark.parametrize("condition_dim", [0, 2])
def test_a_net_goes_there_and_back(activation, condition_dim):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3 + condition_dim, 16), activation(), torch.nn.Linear(16, 16), activation()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(16, 2))
    flow = from_sequential(net, condition_dim=condition_dim)
    assert (flow.dim, flow.condition_dim) == (2, condition_dim)
    again = to_torch(flow)
    x = torch.randn(7, 3 + condition_dim)
    torch.testing.assert_close(again(x), net(x), rtol=0, atol=0)
    # The flow moves points by this net: fine steps of Euler from latents.
    z = torch.randn(5, 2)
    c = torch.randn(5, condition_dim)
    moved, n = z.double(), 4000
    wide = net.double()
    with torch.no_grad():
        for i in range(n):
            t = torch.full((5, 1), (i + 0.5) / n, dtype=torch.float64)
            moved = moved + wide(torch.cat([moved, c.double(), t], 1)) / n
    found = flow.forward(z.numpy(), c.numpy() if condition_dim else None)
    np.testing.assert_allclose(found, moved.numpy(), atol=2e-3)


def test_other_nets_are_refused():
    with pytest.raises(ValueError, match="Sigmoid"):
        from_sequential(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="beta"):
        from_sequential(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softplus(2.0), torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="condition"):
        from_sequential(torch.nn.Sequential(torch.nn.Linear(9, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2)))
