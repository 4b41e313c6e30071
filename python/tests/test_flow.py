"""What a flow is: its attributes, copies, conditions, errors, pictures."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES, Case, same_bits

import cnflow


def test_a_flow_survives_pickle_copy_bytes_and_files(case: Case, tmp_path: Path) -> None:
    wanted = case.flow.log_prob(case.x, case.c)
    case.flow.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == case.flow.to_bytes()
    others = [
        pickle.loads(pickle.dumps(case.flow)),
        copy.copy(case.flow),
        copy.deepcopy(case.flow),
        cnflow.load(case.flow.to_bytes()),
        cnflow.load(str(tmp_path / "m.safetensors")),
        cnflow.load(case.path.parent),
    ]
    for other in others:
        assert same_bits(other.log_prob(case.x, case.c), wanted)
        assert repr(other) == repr(case.flow)
    f64 = case.flow.with_solver(precision="f64")
    assert pickle.loads(pickle.dumps(f64)).precision == "f64"


def test_a_flow_cannot_be_changed(flow: cnflow.Flow) -> None:
    with pytest.raises(AttributeError):
        flow.dim = 3  # type: ignore[misc]
    flow.provenance["data"] = "changed"
    assert flow.provenance["data"] != "changed"


def test_conditions_come_as_rows_one_row_dictionaries_and_a_fixed_one() -> None:
    case = Case("conditional")
    flow, x, c = case.flow, case.x, case.c
    assert flow.condition_columns is not None and c is not None
    wanted = flow.log_prob(x, c)
    by_name = {name: c[:, j] for j, name in enumerate(flow.condition_columns)}
    assert same_bits(flow.log_prob(x, by_name), wanted)
    row = c[3]
    one = flow.log_prob(x, row)
    assert same_bits(flow.log_prob(x, row[None]), one)
    assert same_bits(flow.log_prob(x, dict(zip(flow.condition_columns, row, strict=True))), one)
    fixed = flow.given(row)
    assert fixed.condition_dim == 0
    for other in (fixed, pickle.loads(pickle.dumps(fixed)), copy.copy(fixed)):
        assert same_bits(other.log_prob(x), one)
    assert same_bits(fixed.sample(5), flow.sample(5, row))
    assert flow.sample(condition=c).shape == x.shape
    refused = [
        (None, "no condition was given"),
        (c[:5], "5 rows of conditions for 12 points"),
        ({"kind": 1.0}, "no value for"),
        ({"kinds": 1.0}, "no condition `kinds`"),
        (np.full_like(row, np.nan), "has NaN"),
        (np.full_like(c, np.inf), "has inf"),
        (np.full_like(c, 77.0), "77"),
        (c[:, :1], "1 column"),
    ]
    for condition, words in refused:
        with pytest.raises(cnflow.InvalidInput, match=words) as caught:
            flow.log_prob(x, condition)
        assert caught.value.hint
    with pytest.raises(cnflow.InvalidInput, match="fixed"):
        fixed.log_prob(x, row)
    with pytest.raises(cnflow.InvalidInput, match="no condition"):
        Case("flow").flow.log_prob(Case("flow").x, row)


def test_bad_input_is_an_error_with_numbers_and_a_hint(flow: cnflow.Flow) -> None:
    refused: list[tuple[object, str]] = [
        (np.zeros((4, 3)), "x has 3 columns, expected 2 columns"),
        (np.zeros(5), r"x has the shape \(5,\)"),
        (3.0, "single number"),
        ([[1.0, 2.0], [float("inf"), 0.0]], "row 1 of x has inf in column"),
        ([["a", "b"]], "x has the text `a`, expected numbers"),
        ([[1 + 2j, 0]], "complex"),
        ([[1.0, 2.0], [3.0]], "not an array of numbers"),
        ([[None, 1.0]], "type object"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), "masked"),
        (np.zeros((2, 2), dtype="M8[s]"), "datetime64"),
    ]
    for x, words in refused:
        with pytest.raises(cnflow.InvalidInput, match=words) as caught:
            flow.log_prob(x)  # type: ignore[arg-type]
        assert isinstance(caught.value, ValueError) and isinstance(caught.value, cnflow.CnfError)
        assert caught.value.hint and f"hint: {caught.value.hint}" in caught.value.__notes__
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value) and again.hint == caught.value.hint
    for options, words in [
        ({"method": "euclid"}, "unknown method `euclid`"),
        ({"rtol": -1.0}, "rtol"),
        ({"method": "rk4"}, "fixed steps"),
        ({"fixed_steps": 4, "rtol": 1e-3}, "exclude"),
        ({"trace": "hutch"}, "hutch"),
        ({"precision": "f16"}, "unknown precision"),
        ({"rtol": 1e-12, "atol": 1e-12}, "round-off of f32"),
    ]:
        with pytest.raises(cnflow.CnfError, match=words):
            flow.with_solver(**options)  # type: ignore[arg-type]
    with pytest.raises(cnflow.InvalidInput, match="0 threads"):
        cnflow.set_num_threads(0)
    with pytest.raises(cnflow.InvalidInput, match="seed"):
        flow.sample(2, seed=-1)
    with pytest.raises(cnflow.InvalidInput, match="`n` is -1"):
        flow.sample(-1)
    with pytest.raises(cnflow.InvalidInput, match="`first` is -2"):
        flow.sample(1, first=-2)
    with pytest.raises((MemoryError, ValueError)):
        flow.sample(10**17)


def test_files_that_cannot_be_read_are_os_errors(tmp_path: Path, flow: cnflow.Flow) -> None:
    broken = tmp_path / "m.safetensors"
    broken.write_bytes(b"no model")
    for path in (tmp_path / "missing", broken, tmp_path):
        with pytest.raises(cnflow.FileError) as caught:
            cnflow.load(path)
        assert isinstance(caught.value, OSError)
    with pytest.raises(cnflow.FileError):
        cnflow.load(flow.to_bytes()[:-10])
    with pytest.raises(cnflow.FileError):
        flow.save(tmp_path / "no" / "folder" / "m.safetensors")
    with pytest.raises(TypeError):
        cnflow.load(3)  # type: ignore[arg-type]


def test_rows_without_a_result_are_nan_with_a_warning(flow: cnflow.Flow) -> None:
    hopeless = flow.with_solver(fixed_steps=1, method="rk4")
    x = np.array([[0.0, 1.0], [1e300, 1e300]])
    with pytest.warns(cnflow.FailedRows, match="1 of 2 .* failed; the first .row 1"):
        log_prob = hopeless.log_prob(x)
    assert np.isfinite(log_prob[0]) and np.isnan(log_prob[1])


def test_rows_with_a_missing_cell_are_nan_with_a_warning() -> None:
    case = Case("conditional")
    flow, x, c = case.flow, case.x.copy(), case.c.copy()
    x[2, 1] = c[7, 0] = np.nan
    gaps = np.isin(np.arange(len(x)), [2, 7])
    whole = x[~gaps], c[~gaps]
    calls: list[Callable[[Any, Any], Any]] = [
        flow.log_prob,
        flow.inverse,
        lambda x, c: flow.log_prob_and_grad(x, c)[0],
        lambda x, c: flow.log_prob_and_grad(x, c)[1],
        lambda x, c: flow.error_bars(x, c)[0],
        lambda x, c: flow.error_bars(x, c)[1],
        lambda x, c: np.moveaxis(flow.stages([0.0, 0.5, 1.0], x=x, condition=c)[0], 0, 1),
        lambda x, c: flow.stages([0.0, 0.5, 1.0], x=x, condition=c)[1].T,
        lambda x, c: flow.log_prob(np.tile(x, (20, 1)), np.tile(c, (20, 1)))[: len(x)],
    ]
    for call in calls:
        with pytest.warns(cnflow.MissingRows, match=r"2 of 12 rows have a missing cell; they are NaN|40 of 240"):
            found = call(x, c)
        assert np.isnan(found[gaps]).all() and same_bits(found[~gaps], call(*whole))
    drawn = c.copy()
    drawn[2, 0] = np.nan
    with pytest.warns(cnflow.MissingRows, match="1 of 12 rows has a missing cell; it is NaN"):
        drawn = flow.sample(12, c)
    assert np.isnan(drawn[7]).all() and np.isfinite(drawn[:7]).all()
    nothing = np.full_like(x, np.nan)
    with pytest.warns(cnflow.MissingRows, match="12 of 12 rows"):
        assert np.isnan(flow.log_prob(nothing, c)).all()
    fixed = flow.given(case.c[0])
    with pytest.warns(cnflow.MissingRows, match="1 of 12 rows of the data has a missing cell; they are left out"):
        assert isinstance(fixed.check(x, n=50), cnflow.Report)
    with pytest.warns(cnflow.MissingRows, match="2 of 12 rows of data have a missing cell"):
        assert cnflow.compare({"a": flow}, x, c).rows[0]["n"] == 10
    with pytest.raises(cnflow.InvalidInput, match="each of the 12 rows of the data has a missing cell"):
        fixed.check(nothing, n=50)
    with pytest.raises(cnflow.InvalidInput, match="row 2 of z has NaN"):
        flow.forward(x, case.c)


def test_rows_outside_the_support_have_no_density() -> None:
    case = Case("columns")
    x = case.x.copy()
    x[0, 1] = -3.0
    assert case.flow.log_prob(x)[0] == -np.inf
    assert np.isnan(case.flow.inverse(x)[0]).all()


def test_a_generator_of_numpy_is_a_seed(flow: cnflow.Flow) -> None:
    a, b = (flow.sample(5, seed=np.random.default_rng(3)) for _ in range(2))
    assert same_bits(a, b)
    rng = np.random.default_rng(3)
    assert not same_bits(flow.sample(5, seed=rng), flow.sample(5, seed=rng))


def test_a_check_passes_a_right_density_and_fails_rows_from_elsewhere() -> None:
    flow = cnflow.load(FIXTURES / "finished" / "flow")
    report = flow.check(n=200)
    assert [line["verdict"] for line in report.lines].count("pass") > 5
    assert "<table>" in report._repr_html_() and "passed" in repr(report)
    elsewhere = flow.check(flow.sample(300) + 40.0, n=200)
    assert not elsewhere.passed and "latents of data" in repr(elsewhere)
    assert {line["verdict"] for line in elsewhere.lines} <= {"pass", "fail", "unclear", "skipped"}
    flow.check(n=60, progress=True)
    with pytest.raises(cnflow.InvalidInput, match="3 samples"):
        flow.check(n=3)
    conditional = Case("conditional")
    with pytest.raises(cnflow.InvalidInput, match="no condition was given"):
        conditional.flow.check()


def test_rows_are_judged_under_their_own_conditions() -> None:
    case = Case("conditional")
    flow, c = case.flow, case.c
    assert c is not None and len(np.unique(c, axis=0)) > 1
    given = np.tile(c, (-(-600 // len(c)), 1))[:600]
    x = flow.sample(condition=given, seed=4)

    def calibration(rows: np.ndarray, conditions: np.ndarray) -> dict[str, object]:
        report = flow.check(rows, conditions, n=60, seed=1)
        return next(line for line in report.lines if line["name"] == "calibration")

    right = calibration(x, given)
    assert right["verdict"] == "pass" and "600 held-out rows" in str(right["words"])
    middle = x.mean(axis=0)
    assert "too sharp" in str(calibration(middle + 3.0 * (x - middle), given)["words"])
    # Under a fixed condition there is one density.
    one = flow.given(given[0])
    report = one.check(flow.sample(300, given[0], seed=2), n=60)
    assert next(line for line in report.lines if line["name"] == "calibration")["verdict"] == "pass"
    (row,) = cnflow.compare({"flow": flow}, x, given).rows
    assert row["calibration"] < 0.06
    assert cnflow.compare({"flow": one}, x).rows[0]["calibration"] is not None
    plain = cnflow.load(FIXTURES / "finished" / "flow")
    assert cnflow.compare({"flow": plain}, plain.sample(200, seed=1)).rows[0]["calibration"] is None


def test_flows_are_compared_in_the_order_of_their_nll(points: np.ndarray) -> None:
    flows = {name: cnflow.load(FIXTURES / "finished" / name) for name in ("gaussian", "flow", "realnvp")}
    found = cnflow.compare(flows, flows["flow"].sample(400))
    nll = [row["nll"] for row in found.rows]
    assert {row["name"] for row in found.rows} == set(flows) and nll == sorted(nll)
    assert "<table>" in found._repr_html_()
    with pytest.raises(cnflow.InvalidInput, match="no flows"):
        cnflow.compare({}, points)


def test_pictures_are_png_and_arrays(flow: cnflow.Flow, points: np.ndarray, tmp_path: Path) -> None:
    pictures = [
        flow.plot_density(cells=20),
        flow.plot_density(points, cells=20, log=6, title="both"),
        flow.plot_samples(n=50),
        flow.plot_samples(points, n=50),
        Case("columns").flow.plot_samples(n=50),
    ]
    for picture in pictures:
        assert picture.png.startswith(b"\x89PNG") and picture._repr_png_() == picture.png
        pixels = picture.array()
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and len(np.unique(pixels)) > 9
    pictures[0].save(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes() == pictures[0].png
    with pytest.raises(cnflow.InvalidInput, match="3 dimensions"):
        Case("columns").flow.plot_density()
    (x, y), log_prob = flow.density_grid(30, extent=[(-10.0, 10.0), (0.0, 20.0)])
    assert log_prob.shape == (30, 30) and x[0] == -10 + 10 / 30 and y[-1] == 20 - 10 / 30
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    assert same_bits(flow.log_prob(grid), log_prob)
    assert np.exp(log_prob).sum() * (20 / 30) ** 2 == pytest.approx(1, abs=0.2)


def test_a_flow_describes_itself(case: Case) -> None:
    assert repr(case.flow).startswith("Flow(")
    assert "<table>" in case.flow._repr_html_()
    assert case.flow.solver["rtol"] >= 0
    assert case.flow.training is None and case.flow.image_shape is None
