"""A flow as an estimator of scikit-learn.

    from cnflow.sklearn import FlowDensity
    density = FlowDensity(steps=3000).fit(X)
    density.score_samples(X)        # log p of each row, in nats

It stands in a ``Pipeline`` and is searched by ``GridSearchCV`` as ``GaussianMixture`` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import cnflow

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["FlowDensity"]

#: Seeds are drawn from a generator below this.
_SEEDS = 2**31 - 1


class FlowDensity(DensityMixin, BaseEstimator):
    """Density of rows by a normalizing flow.

    Parameters
    ----------
    model : str or None
        The family, as ``cnflow.train`` has it: ``"cnf"``, ``"realnvp"``, ``"spline"``, ``"mixture"``, … With None it is
        ``"cnf"`` where ``steps`` are given, and the best of several in the time given where not.
    steps : int or None
        Training steps. The same data, options and seed give the same bits.
    time : float or None
        Seconds to train; the number of steps then follows the clock. Of ``steps`` and ``time`` one is set.
    options : dict or None
        Further options of ``cnflow.train``, such as ``{"hidden": [64, 64]}``.
    random_state : int, RandomState or None
        The seed of the training, and of ``sample`` where it has none of its own. None is seed 0.

    Attributes
    ----------
    flow_ : cnflow.Flow
        The trained flow.
    n_features_in_ : int
        Columns of the training table.
    feature_names_in_ : ndarray of str
        Their names, where the table has names.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        steps: int | None = 3000,
        time: float | None = None,
        options: dict[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.steps = steps
        self.time = time
        self.options = options
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> FlowDensity:
        """Trains the flow on the rows of ``X``, shape ``(n, d)``.

        ``sample_weight``, shape ``(n,)``, is how much each row counts: 0 or more, 1 each where it is left out.

        Raises ``ValueError`` for fewer than two rows, and what ``cnflow.train`` raises.
        """
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, rows, dtype=np.float64)
        self.flow_ = cnflow.train(
            rows,
            weights=weights,
            model=self.model,
            steps=self.steps,
            time=self.time,
            seed=_seed(self.random_state),
            progress=False,
            **(self.options or {}),
        )
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log p of each row of ``X``, shape ``(n,)``, in nats."""
        check_is_fitted(self, "flow_")
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        return self.flow_.log_prob(rows, progress=False)

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """The mean of ``score_samples``, in nats a row: comparable between folds of different size.

        By ``sample_weight``, where it is given.
        """
        scores = self.score_samples(X)
        if sample_weight is None:
            return float(np.mean(scores))
        weights = _check_sample_weight(sample_weight, scores, dtype=np.float64)
        return float(np.average(scores, weights=weights))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """``n_samples`` rows drawn from the flow, shape ``(n_samples, d)``."""
        check_is_fitted(self, "flow_")
        state = self.random_state if random_state is None else random_state
        drawn: NDArray[np.float64] = self.flow_.sample(n_samples, seed=_seed(state))
        return drawn


def _seed(state: Any) -> int:
    """A seed of what scikit-learn takes as a random state; None is 0."""
    if state is None:
        return 0
    if isinstance(state, (int, np.integer)):
        return int(state)
    return int(check_random_state(state).randint(_SEEDS))
