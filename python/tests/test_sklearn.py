"""FlowDensity as an estimator of scikit-learn."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import cnflow
from cnflow.sklearn import FlowDensity

SMALL = {"hidden": [8, 8], "batch": 64}


@parametrize_with_checks([FlowDensity(steps=5, options=SMALL)])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal([1.0, -2.0], [0.5, 3.0], size=(500, 2))


def test_it_is_the_flow_of_train(rows):
    density = FlowDensity(steps=40, options=SMALL, random_state=3).fit(rows)
    flow = cnflow.train(rows, steps=40, seed=3, progress=False, **SMALL)
    np.testing.assert_array_equal(density.score_samples(rows), flow.log_prob(rows))
    assert density.score(rows) == pytest.approx(np.mean(flow.log_prob(rows)), abs=1e-12)
    np.testing.assert_array_equal(density.sample(7, random_state=5), flow.sample(7, seed=5))
    assert density.sample(3).shape == (3, 2)


def test_it_stands_in_a_pipeline_and_is_searched(rows):
    pipeline = make_pipeline(StandardScaler(), FlowDensity(steps=30, options=SMALL))
    assert np.isfinite(pipeline.fit(rows).score(rows))
    search = GridSearchCV(FlowDensity(steps=30), {"options": [SMALL, {"hidden": [4]}]}, cv=2)
    assert np.isfinite(search.fit(rows).best_score_)


def test_its_score_is_the_mean_in_nats(rows):
    density = FlowDensity(model="gaussian", steps=None).fit(rows)
    scores = density.score_samples(rows)
    mean, deviation = rows.mean(0), rows.std(0)
    exact = -0.5 * np.sum(((rows - mean) / deviation) ** 2 + np.log(2 * np.pi * deviation**2), axis=1)
    # The fit holds rows out, and has correlations.
    assert abs(scores.mean() - exact.mean()) < 0.05
    assert density.score(rows) == scores.mean()


def test_sample_weight_is_how_much_a_row_counts(rows):
    weight = np.exp(-0.5 * (rows[:, 0] - 1.0) ** 2 / 0.25)
    for model, steps in (("gaussian", None), ("cnf", 30)):
        options = SMALL if model == "cnf" else {}
        density = FlowDensity(model, steps=steps, options=options).fit(rows, sample_weight=weight)
        flow = cnflow.train(
            rows, weights=weight, model=model, steps=steps, seed=0, progress=False, **options
        )
        np.testing.assert_array_equal(density.score_samples(rows), flow.log_prob(rows))
        plain = FlowDensity(model, steps=steps, options=options).fit(rows)
        assert (plain.score_samples(rows) != density.score_samples(rows)).any()
        equal = FlowDensity(model, steps=steps, options=options).fit(
            rows, sample_weight=np.full(500, 2.5)
        )
        np.testing.assert_array_equal(equal.score_samples(rows), plain.score_samples(rows))
        scores = density.score_samples(rows)
        exact = np.average(scores, weights=weight)
        assert density.score(rows, sample_weight=weight) == pytest.approx(exact, abs=1e-12)
    with pytest.raises(ValueError, match="no density has negative weights"):
        FlowDensity("gaussian", steps=None).fit(rows, sample_weight=-weight)


def test_a_generator_is_a_seed_that_moves_on(rows):
    density = FlowDensity(steps=5, options=SMALL).fit(rows)
    state = np.random.RandomState(1)
    first, second = density.sample(4, random_state=state), density.sample(4, random_state=state)
    assert (first != second).any()
    np.testing.assert_array_equal(first, density.sample(4, random_state=np.random.RandomState(1)))
