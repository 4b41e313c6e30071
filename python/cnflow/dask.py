"""Scoring and sampling on the workers of Dask.

    import cnflow.dask
    scores = cnflow.dask.log_prob(frame, flow)       # a lazy series beside the frame
    draws = cnflow.dask.sample(10**9, flow)          # a lazy array

A row's result is the same bits on any worker. Each worker should have one thread, or ``CNF_NUM_THREADS=1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnflow import InvalidInput

if TYPE_CHECKING:
    from cnflow import Flow

__all__ = ["log_prob", "sample"]

#: Rows of a chunk of a sample.
CHUNK = 1 << 20


def log_prob(
    frame: Any, flow: Flow, *, columns: Sequence[str] | None = None, condition: Sequence[str] | None = None
) -> Any:
    """Log p of the rows of a Dask frame, as a lazy series with its index and divisions.

    ``columns`` are those of the flow, in its order; without them they are found by the flow's own names, or are all
    columns where it has none. ``condition`` are the columns of the condition.
    """
    import pandas as pd

    points = list(columns or flow.columns or [name for name in frame.columns if name not in (condition or ())])
    given = list(condition or flow.condition_columns or ())
    absent = [name for name in points + given if name not in frame.columns]
    if absent:
        hint = f"name its columns with columns= and condition=; it has {', '.join(map(str, frame.columns))}"
        raise InvalidInput(f"the frame has no column {absent[0]!r}", hint)
    meta = pd.Series([], dtype=np.float64, name="log_prob")
    return frame[points + given].map_partitions(_scores, flow, points, given, meta=meta)


def _scores(part: Any, flow: Flow, points: list[str], given: list[str]) -> Any:
    """Log p of a partition."""
    import pandas as pd

    if len(part) == 0:
        return pd.Series(np.empty(0), index=part.index, name="log_prob")
    condition = part[given].to_numpy() if given else None
    values = flow.log_prob(part[points].to_numpy(), condition, progress=False)
    return pd.Series(values, index=part.index, name="log_prob")


def sample(n: int, flow: Flow, *, seed: int = 0, chunk: int = CHUNK) -> Any:
    """``n`` rows drawn from the flow, as a lazy array of shape ``(n, d)`` in chunks of rows.

    The rows are those of ``flow.sample(n, seed=seed)``, whatever the chunks.
    """
    import dask
    import dask.array as da

    parts = [(first, min(chunk, n - first)) for first in range(0, n, chunk)]
    draw = dask.delayed(_draw, pure=True)
    blocks = [da.from_delayed(draw(flow, first, rows, seed), (rows, flow.dim), np.float64) for first, rows in parts]
    return da.concatenate(blocks) if blocks else da.empty((0, flow.dim), dtype=np.float64)


def _draw(flow: Flow, first: int, rows: int, seed: int) -> Any:
    """Rows of a sample."""
    return flow.sample(rows, seed=seed, first=first)
