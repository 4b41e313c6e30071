"""Flows under the transformations of JAX."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp

import cnflow
from cnflow.jax import log_prob, sample


@pytest.fixture(scope="module")
def flow():
    rows = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 3.0]
    flow = cnflow.train(rows, steps=200, hidden=[8, 8], batch=64, progress=False)
    return flow.with_solver(precision="f64", rtol=1e-8, atol=1e-8)


def test_log_prob_under_jit_and_vmap(flow):
    x = np.random.default_rng(1).normal(size=(3, 4, 2))
    f = log_prob(flow)
    expected = flow.log_prob(x.reshape(-1, 2)).reshape(3, 4)
    for found in [f(x), jax.jit(f)(x), jax.vmap(f)(x), jax.jit(jax.vmap(jax.vmap(f)))(x)]:
        np.testing.assert_array_equal(found, expected)
    assert f(jnp.zeros(2, jnp.float32)).dtype == jnp.float32


def test_gradients_are_those_of_finite_differences(flow):
    x = np.random.default_rng(2).normal(size=(4, 2))
    f = log_prob(flow)
    gradient = jax.jit(jax.grad(lambda x: f(x).sum()))(x)
    np.testing.assert_array_equal(jax.vmap(jax.grad(f))(x), gradient)
    h = 1e-5
    for column in range(2):
        step = np.eye(2)[column] * h
        difference = (flow.log_prob(x + step) - flow.log_prob(x - step)) / (2 * h)
        np.testing.assert_allclose(gradient[:, column], difference, atol=1e-4)


def test_gradients_in_the_condition_are_those_of_finite_differences():
    rng = np.random.default_rng(1)
    c = rng.normal(size=(500, 1)) * 3.0
    flow = cnflow.train(c + rng.normal(size=(500, 2)), c, steps=200, hidden=[8, 8], batch=64, progress=False)
    flow = flow.with_solver(precision="f64", rtol=1e-8, atol=1e-8)
    x, c = rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    f = log_prob(flow)
    np.testing.assert_array_equal(jax.jit(f)(x, c), flow.log_prob(x, c))
    np.testing.assert_array_equal(f(x, c[0]), flow.log_prob(x, c[0]))
    by_x, by_c = jax.jit(jax.grad(lambda x, c: f(x, c).sum(), argnums=(0, 1)))(x, c)
    np.testing.assert_array_equal(jax.vmap(jax.grad(f, argnums=1))(x, c), by_c)
    np.testing.assert_array_equal(by_x, flow.log_prob_and_grad(x, c)[1])
    h = 1e-5
    difference = (flow.log_prob(x, c + h) - flow.log_prob(x, c - h)) / (2 * h)
    np.testing.assert_allclose(by_c[:, 0], difference, atol=1e-4)
    # One condition for many rows: the sum over them.
    one = jax.grad(lambda c: f(x, c).sum())(c[0])
    np.testing.assert_allclose(one, jax.grad(lambda c: f(x, c).sum())(np.tile(c[0], (4, 1))).sum(0), rtol=1e-12)
    with pytest.raises(ValueError, match="conditional on 1 columns"):
        f(x)
    with pytest.raises(ValueError, match="leave it out"):
        log_prob(flow, c[0])(x, c)


def test_samples_have_the_shape_and_the_key(flow):
    key = jax.random.key(0)
    drawn = sample(flow, key, (3, 5))
    assert drawn.shape == (3, 5, 2)
    np.testing.assert_array_equal(jax.jit(lambda key: sample(flow, key, (3, 5)))(key), drawn)
    z = jax.random.normal(key, (3, 5, 2))
    np.testing.assert_array_equal(drawn, flow.forward(np.asarray(z).reshape(-1, 2)).reshape(3, 5, 2))


def test_rows_of_another_width_are_refused(flow):
    with pytest.raises(ValueError, match="2 columns"):
        log_prob(flow)(jnp.zeros((4, 3)))
