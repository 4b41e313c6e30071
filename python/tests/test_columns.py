"""Columns as they come: those that are named, words, whole numbers, and classes that a model gives out."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import same_bits
from test_frames import LIBRARIES, frame

import cnflow

WORDS = np.array(["versicolor", "setosa", "virginica"])
# Their places among the rising words.
PLACES = np.array([1.0, 0.0, 2.0])
OPTIONS: dict[str, Any] = {"model": "realnvp", "hidden": [8, 8], "steps": 6, "progress": False, "far_rows": "keep"}


def rows(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """x, and the number of its word."""
    random = np.random.default_rng(3)
    k = np.arange(n) * 7 % 3
    return random.normal(size=(n, 2)) + PLACES[k][:, None], k


def test_named_columns_are_modelled_in_their_order() -> None:
    x, k = rows()
    table = np.column_stack([x, k.astype(float)])
    wanted = cnflow.train(x, **OPTIONS)
    flow = cnflow.train(table, columns=[0, 1], **OPTIONS)
    assert same_bits(flow.log_prob(x), wanted.log_prob(x))
    assert same_bits(cnflow.train(table, drop=2, **OPTIONS).log_prob(x), wanted.log_prob(x))
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    named = cnflow.train(pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "k": k}), columns=["b", "a"], **OPTIONS)
    assert named.columns == ["b", "a"]
    with pytest.raises(cnflow.InvalidInput, match="`c`"):
        cnflow.train(pandas.DataFrame({"a": x[:, 0], "b": x[:, 1]}), columns=["a", "c"], **OPTIONS)


@pytest.mark.parametrize("library", LIBRARIES)
def test_words_are_classes_in_frames_and_arrays(library: str) -> None:
    x, k = rows()
    wanted = cnflow.train(x, PLACES[k], **OPTIONS)
    table = {"a": x[:, 0], "b": x[:, 1], "species": WORDS[k].tolist()}
    flow = cnflow.train(frame(library, table), condition="species", **OPTIONS)
    assert flow.condition_classes == {"species": ["setosa", "versicolor", "virginica"]}
    scores = wanted.log_prob(x, PLACES[k])
    assert same_bits(flow.log_prob(frame(library, table)), scores)
    assert same_bits(flow.log_prob(x, WORDS[k]), scores)
    assert same_bits(flow.log_prob(x, {"species": WORDS[k]}), scores)
    assert same_bits(flow.given("setosa").log_prob(x), wanted.given(0.0).log_prob(x))
    assert same_bits(flow.given({"species": "setosa"}).log_prob(x), wanted.given(0.0).log_prob(x))
    assert same_bits(cnflow.train(x, WORDS[k], **OPTIONS).log_prob(x, WORDS[k]), scores)
    with pytest.raises(cnflow.InvalidInput, match="no class `rosa`") as caught:
        flow.given("rosa")
    assert "`setosa`" in str(caught.value.hint)
    if library == "pandas":
        samples = flow.sample(condition=WORDS[k][:5], as_frame="pandas")
        assert samples["species"].tolist() == WORDS[k][:5].tolist()


def test_whole_numbers_are_sampled_and_scored() -> None:
    x, k = rows()
    table = np.column_stack([x[:, 0], k.astype(float)])
    flow = cnflow.train(table, column="1:integer", **OPTIONS)
    samples = flow.sample(50)
    assert np.all(samples[:, 1] == np.floor(samples[:, 1]))
    assert np.all(np.isfinite(flow.log_prob(table)))
    assert flow.log_prob(np.array([[0.0, 0.5]]))[0] == -np.inf
    with pytest.raises(cnflow.InvalidInput, match="their own noise"):
        flow.sample_and_log_prob(5)


def test_log_prob_is_the_mean_over_draws_of_the_noise(
    tmp_path: Path, cnf: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    x, k = rows()
    table = np.column_stack([x[:, 0], k.astype(float)])
    flow = cnflow.train(table, column="1:integer", **OPTIONS)
    flow.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", table)
    cnf("density", "model.safetensors", "x.npy", "--dequantise", "4", "-o", "logp.npy")
    several = flow.log_prob(table, dequantise=4)
    assert same_bits(several, np.load(tmp_path / "logp.npy"))
    assert not same_bits(several, flow.log_prob(table))
    # By Jensen's inequality the mean over draws is above that of one, on average.
    assert several.mean() > flow.log_prob(table).mean()
    plain = cnflow.train(x, **OPTIONS)
    with pytest.raises(cnflow.InvalidInput, match="no whole numbers"):
        plain.log_prob(x, dequantise=2)
    with pytest.raises(cnflow.InvalidInput, match="dequantise=0"):
        flow.log_prob(table, dequantise=0)


def test_parts_of_a_whole_are_one_map() -> None:
    parts = np.random.default_rng(5).dirichlet([2.0, 3.0, 4.0], size=400)
    flow = cnflow.train(parts, column="0,1,2:simplex", **OPTIONS)
    assert flow.dim == 3
    samples = flow.sample(100, seed=1)
    assert np.all(samples > 0.0) and np.allclose(samples.sum(axis=1), 1.0, atol=1e-12)
    assert np.allclose(flow.forward(flow.inverse(parts)), parts, atol=1e-3)
    assert np.all(np.isfinite(flow.log_prob(samples)))
    assert flow.log_prob(np.array([[0.5, 0.5, 0.5]]))[0] == -np.inf
    # Rounded parts are scaled to their sum, and that is said.
    rounded = parts.round(4)
    rounded[3] = [0.3, 0.3, 0.4004]
    with pytest.warns(cnflow.DataWarning, match=r"scaled to the total of the parts.* in row 3"):
        assert np.all(np.isfinite(flow.log_prob(rounded)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.log_prob(parts)


def test_classes_are_given_out() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x, k = rows()
    table = pandas.DataFrame({"a": x[:, 0], "species": WORDS[k], "b": x[:, 1]})
    flow = cnflow.train(table, column="species:class", **OPTIONS)
    assert (flow.dim, flow.condition_dim, flow.columns) == (3, 0, ["a", "species", "b"])
    codes = np.column_stack([x[:, 0], PLACES[k], x[:, 1]])
    assert same_bits(flow.log_prob(table), flow.log_prob(codes))
    assert set(flow.sample(200, as_frame="pandas")["species"]) <= set(WORDS.tolist())
    assert same_bits(flow.inverse(codes)[:, 1], codes[:, 1])
