"""The CPU seconds of a step of training: of ours by the callback of `cnflow.train`, of the others by a loop."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import cnflow

from .timing import Meter

COMMON: dict[str, Any] = {"far_rows": "keep", "validations": 1, "validation_rows": 100, "progress": False}
#: Rows as they are, as the peers get them.
PLAIN = COMMON | {"column_types": "plain", "standardise": False}


def own(rows: np.ndarray, steps: int, **options: Any) -> Meter:
    """The median step of a training of ours. A step draws its batch, computes the gradient, and updates weights and EMA."""

    def meter() -> float:
        ends: list[float] = []
        cnflow.train(rows, steps=steps, seed=0, callback=lambda _: ends.append(time.process_time()), **options)
        return statistics.median(np.diff(ends))

    return meter


def loop(step: Callable[[], object], steps: int) -> Meter:
    """The median step of a loop."""

    def meter() -> float:
        ends = [time.process_time()]
        for _ in range(steps):
            step()
            ends.append(time.process_time())
        return statistics.median(np.diff(ends))

    return meter
