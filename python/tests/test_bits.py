"""Every function gives the bits of the command, whatever the form of its input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Case, same_bits

import cnflow


def test_log_prob_inverse_and_error_bars_are_those_of_the_command(
    case: Case, cnf: Callable[..., object], tmp_path: Path
) -> None:
    cnf("density", case.path, case.table, "-o", "logp.npy", "--error-bars", "bars.npy")
    log_prob, bars = case.flow.error_bars(case.x, case.c)
    assert same_bits(log_prob, np.load(tmp_path / "logp.npy"))
    assert same_bits(bars, np.load(tmp_path / "bars.npy"))
    assert same_bits(case.flow.log_prob(case.x, case.c), log_prob)
    cnf("invert", case.table, "--model", case.path, "-o", "z.npy")
    z = case.flow.inverse(case.x, case.c)
    assert same_bits(z, np.load(tmp_path / "z.npy"))


def test_samples_and_their_densities_are_those_of_the_command(
    case: Case, cnf: Callable[..., object], tmp_path: Path
) -> None:
    given, n = [], 40
    condition = None
    if case.c is not None:
        condition = case.c[0]
        given = ["--given", ",".join(map(repr, map(float, condition)))]
    cnf("sample", case.path, "-n", n, "-o", "x.npy", *given)
    assert same_bits(case.flow.sample(n, condition), np.load(tmp_path / "x.npy"))
    cnf("sample", case.path, "-n", n, "-o", "x.npy", "--with-density", "l.npy", *given)
    x, log_prob = case.flow.sample_and_log_prob(n, condition)
    assert same_bits(x, np.load(tmp_path / "x.npy"))
    assert same_bits(log_prob, np.load(tmp_path / "l.npy"))
    # Parts of a sample are parts of the whole, and other seeds are other draws.
    parts = [case.flow.sample(k, condition, first=first) for first, k in [(0, 7), (7, 30), (37, 3)]]
    assert same_bits(np.concatenate(parts), case.flow.sample(n, condition))
    cnf("sample", case.path, "-n", n, "--seed", 5, "-o", "x5.npy", *given)
    assert same_bits(case.flow.sample(n, condition, seed=5), np.load(tmp_path / "x5.npy"))


def test_another_solver_is_that_of_the_command(case: Case, cnf: Callable[..., object], tmp_path: Path) -> None:
    if case.kind in ("gaussian", "mixture", "histogram", "nice", "realnvp", "glow", "spline"):
        with pytest.raises(cnflow.InvalidInput, match="no velocity"):
            case.flow.with_solver(rtol=1e-8)
        tight = case.flow.with_solver(precision="f64")
        cnf("density", case.path, case.table, "-o", "l.npy", "--precision", "f64")
    else:
        tight = case.flow.with_solver(method="vern7", rtol=1e-9, atol=1e-9, precision="f64")
        options = ["--solver", "vern7", "--rtol", "1e-9", "--atol", "1e-9", "--precision", "f64"]
        cnf("density", case.path, case.table, "-o", "l.npy", *options)
    assert tight.precision == "f64"
    assert same_bits(tight.log_prob(case.x, case.c), np.load(tmp_path / "l.npy"))


def test_rows_do_not_depend_on_their_neighbours_or_on_threads(case: Case) -> None:
    x = np.tile(case.x, (9, 1))
    c = None if case.c is None else np.tile(case.c, (9, 1))
    whole = case.flow.log_prob(x, c)
    alone = [case.flow.log_prob(x[i], None if c is None else c[i]) for i in range(len(case.x))]
    assert same_bits(whole[: len(case.x)], np.array(alone))
    threads = cnflow.get_num_threads()
    try:
        for n in (1, 3):
            cnflow.set_num_threads(n)
            assert cnflow.get_num_threads() == n
            assert same_bits(case.flow.log_prob(x, c), whole)
    finally:
        cnflow.set_num_threads(threads)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("swapped", [False, True])
def test_every_type_order_stride_and_byte_order_is_the_same_number(
    flow: cnflow.Flow, dtype: str, swapped: bool
) -> None:
    values = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 1]] * 4)
    x = values.astype(np.dtype(dtype).newbyteorder() if swapped else np.dtype(dtype))
    wanted = flow.log_prob(values.astype(float))
    wide = np.zeros((len(x), 5), dtype=x.dtype)
    wide[:, 1::2] = x
    for same in (x, np.asfortranarray(x), wide[:, 1::2], np.repeat(x, 2, axis=0)[::2], x[::-1][::-1]):
        assert same_bits(flow.log_prob(same), wanted)
    assert same_bits(flow.log_prob(x.tolist()), wanted)
    read_only = x.copy()
    read_only.setflags(write=False)
    assert same_bits(flow.log_prob(read_only), wanted)


def test_leading_axes_stay_and_out_is_filled(flow: cnflow.Flow, points: np.ndarray) -> None:
    wanted = flow.log_prob(points)
    assert same_bits(flow.log_prob(points.reshape(3, 100, 2)), wanted.reshape(3, 100))
    assert flow.log_prob(points[0]).shape == () and flow.log_prob(points[0]) == wanted[0]
    assert flow.log_prob(np.empty((0, 2))).shape == (0,)
    assert flow.sample(0).shape == (0, 2)
    assert flow.inverse(points.reshape(3, 100, 2)).shape == (3, 100, 2)
    out = np.full(600, 7.0)
    assert flow.log_prob(points, out=out[::2]) is not None
    assert same_bits(out[::2].copy(), wanted) and (out[1::2] == 7).all()
    for wrong in (np.empty(299), np.empty(300, dtype="f4"), np.empty((300, 1))):
        with pytest.raises(cnflow.InvalidInput, match="out"):
            flow.log_prob(points, out=wrong)


def test_forward_undoes_inverse_and_gradients_are_differences(case: Case) -> None:
    tight = case.flow.with_solver(precision="f64")
    if tight.solver["rtol"] > 1e-9 and case.kind in ("flow", "wide", "layers", "columns", "conditional"):
        tight = tight.with_solver(rtol=1e-10, atol=1e-10)
    z = tight.inverse(case.x, case.c)
    # Solves at 1e-10 there and back; the columns of `ring` reach 360.
    np.testing.assert_allclose(tight.forward(z, case.c), case.x, rtol=1e-6, atol=1e-6)
    if case.kind == "histogram":
        return
    log_prob, gradient = tight.log_prob_and_grad(case.x, case.c)
    assert same_bits(log_prob, tight.log_prob(case.x, case.c))
    for j in range(case.flow.dim):
        h = 1e-4
        step = np.zeros(case.flow.dim)
        step[j] = h
        difference = (tight.log_prob(case.x + step, case.c) - tight.log_prob(case.x - step, case.c)) / (2 * h)
        # Central differences are off by h² f'''/6; a spline has kinks in its second derivative.
        np.testing.assert_allclose(gradient[:, j], difference, rtol=2e-3, atol=2e-3)


def test_gradients_by_the_condition() -> None:
    case = Case("conditional")
    tight = case.flow.with_solver(precision="f64", rtol=1e-9, atol=1e-9)
    classes, load = case.flow.condition_columns.index("kind"), case.flow.condition_columns.index("load")
    log_prob, by_x, by_condition = tight.log_prob_and_grad(case.x, case.c, condition_grad=True)
    assert same_bits(by_x, tight.log_prob_and_grad(case.x, case.c)[1])
    assert np.isnan(by_condition[:, classes]).all()
    step = np.zeros(2)
    step[load] = h = 1e-4
    difference = (tight.log_prob(case.x, case.c + step) - tight.log_prob(case.x, case.c - step)) / (2 * h)
    np.testing.assert_allclose(by_condition[:, load], difference, rtol=2e-3, atol=2e-3)
    # One condition for all rows, and one that is fixed, have a derivative for each row.
    row = case.c[0]
    one = tight.log_prob_and_grad(case.x, np.tile(row, (len(case.x), 1)), condition_grad=True)[2]
    assert same_bits(tight.log_prob_and_grad(case.x, row, condition_grad=True)[2], one)
    assert same_bits(tight.given(row).log_prob_and_grad(case.x, condition_grad=True)[2], one)
    assert tight.given(row).log_prob_and_grad(case.x[0], condition_grad=True)[2].shape == (2,)
    with pytest.raises(cnflow.InvalidInput, match="no condition"):
        Case("flow").flow.log_prob_and_grad([[0.0, 0.0]], condition_grad=True)


def test_stages_begin_at_the_latent_and_end_at_the_data(case: Case) -> None:
    if case.kind in ("gaussian", "mixture", "histogram"):
        with pytest.raises(cnflow.InvalidInput, match="no trajectories"):
            case.flow.stages([0.0, 1.0], x=case.x)
        return
    points, log_prob = case.flow.stages([0.0, 0.5, 1.0], x=case.x, condition=case.c)
    n = len(case.x)
    assert points.shape == (3, n, case.flow.dim) and log_prob.shape == (3, n)
    np.testing.assert_allclose(points[2], case.x, rtol=1e-4, atol=1e-3)
    # One solve beside the quadrature of log_prob: within their tolerances.
    np.testing.assert_allclose(log_prob[2], case.flow.log_prob(case.x, case.c), atol=0.05)
    from_latents, _ = case.flow.stages([1.0], z=case.flow.inverse(case.x, case.c), condition=case.c)
    np.testing.assert_allclose(from_latents[0], case.x, rtol=1e-3, atol=0.02)
    with pytest.raises(cnflow.InvalidInput, match="not both"):
        case.flow.stages([0.5])
    with pytest.raises(cnflow.InvalidInput, match=r"outside \[0, 1\]"):
        case.flow.stages([1.5], x=case.x, condition=case.c)
