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


def log_prob(flow: Flow, condition: Any = None) -> Callable[..., Any]:
    """Log p of rows as a function of JAX.

    The function takes ``x`` of shape ``(..., d)`` and returns log p in nats, shape ``(...)``, in the dtype of ``x``. Of a
    conditional flow it takes ``c`` of shape ``(..., c)`` as well, which is broadcast against the rows; a ``condition`` of
    shape ``(c,)`` that is given here is the same for all rows. It can be differentiated once in ``x`` and in ``c``. By a
    class there is no derivative: it is NaN.
    """
    given = flow if condition is None else flow.given(np.asarray(condition, dtype=np.float64))
    dims = (given.dim, given.condition_dim)

    def rows(arrays: tuple[Any, ...]) -> list[np.ndarray[Any, Any]]:
        return [np.asarray(a, dtype=np.float64).reshape(-1, d) for a, d in zip(arrays, dims, strict=False)]

    def value(*arrays: Any) -> Any:
        x = np.asarray(arrays[0])
        return given.log_prob(*rows(arrays), progress=False).astype(x.dtype).reshape(x.shape[:-1])

    def value_and_gradients(*arrays: Any) -> tuple[Any, ...]:
        x = np.asarray(arrays[0])
        if len(arrays) == 1:
            found: tuple[Any, ...] = given.log_prob_and_grad(*rows(arrays))
        else:
            found = given.log_prob_and_grad(*rows(arrays), condition_grad=True)
        gradients = [by.astype(a.dtype).reshape(a.shape) for by, a in zip(found[1:], arrays, strict=True)]
        return found[0].astype(x.dtype).reshape(x.shape[:-1]), *gradients

    def checked(a: Any, d: int, what: str) -> Any:
        a = jnp.asarray(a)
        if not jnp.issubdtype(a.dtype, jnp.floating):
            a = a.astype(jnp.result_type(float))
        if a.ndim == 0 or a.shape[-1] != d:
            raise ValueError(f"the {what} have shape {a.shape}, and the flow has {d} columns of them")
        return a

    @jax.custom_vjp
    def density(*arrays: Any) -> Any:
        x = arrays[0]
        out = jax.ShapeDtypeStruct(x.shape[:-1], x.dtype)
        return jax.pure_callback(value, out, *arrays, vmap_method="broadcast_all")

    def forward(*arrays: Any) -> tuple[Any, Any]:
        x = arrays[0]
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
        out = (jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), *shapes)
        found, *gradients = jax.pure_callback(value_and_gradients, out, *arrays, vmap_method="broadcast_all")
        return found, gradients

    def backward(gradients: Any, cotangent: Any) -> tuple[Any, ...]:
        return tuple(cotangent[..., None].astype(by.dtype) * by for by in gradients)

    density.defvjp(forward, backward)

    def log_density(x: Any, c: Any = None) -> Any:
        x = checked(x, given.dim, "rows")
        if c is None and given.condition_dim:
            raise ValueError(f"the flow is conditional on {given.condition_dim} columns; give them behind x, or condition=")
        if c is None:
            return density(x)
        if not given.condition_dim:
            raise ValueError("the flow has no condition, or it is fixed; leave it out")
        c = checked(c, given.condition_dim, "conditions")
        batch = jnp.broadcast_shapes(x.shape[:-1], c.shape[:-1])
        return density(*(jnp.broadcast_to(a, (*batch, a.shape[-1])) for a in (x, c)))

    return log_density


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
