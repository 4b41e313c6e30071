"""A flow under jit, vmap and grad of JAX.

    from cnflow.jax import log_prob, sample
    f = log_prob(flow)
    jax.grad(lambda x: f(x).sum())(x)

The engine computes on the CPU behind ``jax.pure_callback``; the gradient is the engine's own, exact one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from cnflow import Flow

__all__ = ["log_prob", "sample"]


def log_prob(flow: Flow, condition: Any = None) -> Callable[[Any], Any]:
    """Log p of rows as a function of JAX.

    The function takes ``x`` of shape ``(..., d)`` and returns log p in nats, shape ``(...)``, in the dtype of ``x``. It
    can be differentiated once in ``x``. ``condition``, of shape ``(c,)``, is the same for all rows.
    """
    given = flow if condition is None else flow.given(np.asarray(condition, dtype=np.float64))

    def rows(x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x, dtype=np.float64).reshape(-1, given.dim)

    def value(x: Any) -> Any:
        x = np.asarray(x)
        return given.log_prob(rows(x), progress=False).astype(x.dtype).reshape(x.shape[:-1])

    def value_and_gradient(x: Any) -> tuple[Any, Any]:
        x = np.asarray(x)
        value, gradient = given.log_prob_and_grad(rows(x))
        return value.astype(x.dtype).reshape(x.shape[:-1]), gradient.astype(x.dtype).reshape(x.shape)

    def checked(x: Any) -> Any:
        x = jnp.asarray(x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(jnp.result_type(float))
        if x.ndim == 0 or x.shape[-1] != given.dim:
            raise ValueError(f"the rows have shape {x.shape}, and the flow has {given.dim} columns")
        return x

    @jax.custom_vjp
    def density(x: Any) -> Any:
        out = jax.ShapeDtypeStruct(x.shape[:-1], x.dtype)
        return jax.pure_callback(value, out, x, vmap_method="broadcast_all")

    def forward(x: Any) -> tuple[Any, Any]:
        out = (jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), jax.ShapeDtypeStruct(x.shape, x.dtype))
        found: tuple[Any, Any] = jax.pure_callback(value_and_gradient, out, x, vmap_method="broadcast_all")
        return found

    def backward(gradient: Any, cotangent: Any) -> tuple[Any]:
        return (cotangent[..., None] * gradient,)

    density.defvjp(forward, backward)
    return lambda x: density(checked(x))


def sample(flow: Flow, key: Any, shape: tuple[int, ...] = (), condition: Any = None) -> Any:
    """Rows drawn from the flow, of shape ``(*shape, d)``.

    The latents are drawn by JAX from ``key``, and the engine integrates them. ``condition``, of shape ``(c,)``, is the
    same for all rows.
    """
    given = flow if condition is None else flow.given(np.asarray(condition, dtype=np.float64))
    latents = jax.random.normal(key, (*shape, given.dim))

    def points(z: Any) -> Any:
        z = np.asarray(z)
        rows = given.forward(z.astype(np.float64).reshape(-1, given.dim))
        return rows.astype(z.dtype).reshape(z.shape)

    out = jax.ShapeDtypeStruct(latents.shape, latents.dtype)
    return jax.pure_callback(points, out, latents, vmap_method="broadcast_all")
