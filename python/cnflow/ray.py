"""Scoring the rows of a Ray dataset.

    import cnflow.ray
    scored = cnflow.ray.log_prob(ray.data.read_parquet("catalogue/"), flow)

A row's result is the same bits on any worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnflow import Flow

__all__ = ["log_prob"]


def log_prob(
    data: Any,
    flow: Flow,
    *,
    columns: Sequence[str] | None = None,
    condition: Sequence[str] | None = None,
    name: str = "log_prob",
    **options: Any,
) -> Any:
    """The dataset with log p of its rows as a further column ``name``, in nats.

    ``columns`` and ``condition`` are as in ``cnflow.dask.log_prob``. ``options`` go to ``Dataset.map_batches``, such as
    ``batch_size`` and ``concurrency``.
    """
    return data.map_batches(
        _Scorer(flow, list(columns or ()), list(condition or ()), name), batch_format="pyarrow", **options
    )


class _Scorer:
    """Adds the scores to a batch."""

    def __init__(self, flow: Flow, columns: list[str], condition: list[str], name: str) -> None:
        self.flow, self.columns, self.condition, self.name = flow, columns, condition, name

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        condition = self.condition or list(self.flow.condition_columns or ())
        others = [name for name in batch.column_names if name not in condition]
        points = batch.select(self.columns or list(self.flow.columns or others))
        given = batch.select(condition) if condition else None
        scores: Any = self.flow.log_prob(points, given, progress=False) if batch.num_rows else []
        return batch.append_column(self.name, pa.array(scores, pa.float64()))
