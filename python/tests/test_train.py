"""Training gives the model of the command, can be watched, ended and resumed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES, same_bits

import cnflow


def ring(n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(5)
    turn = rng.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1) * 3 + rng.normal(size=(n, 2)) * 0.3


def same_model(a: cnflow.Flow, b: cnflow.Flow) -> bool:
    """Equal weights: densities in f64 of points all over the plane."""
    x = np.random.default_rng(9).normal(size=(50, a.dim)) * 4
    a, b = (flow.with_solver(precision="f64") for flow in (a, b))
    return same_bits(a.log_prob(x), b.log_prob(x))


OPTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"seed": 7, "hidden": [8, 8], "activation": "tanh"}, ["--seed", "7", "--hidden", "8,8", "--activation", "tanh"]),
    ({"model": "realnvp", "depth": 2}, ["--model", "realnvp", "--depth", "2"]),
    ({"model": "spline", "bins": 4, "lr": 1e-3}, ["--model", "spline", "--bins", "4", "--lr", "1e-3"]),
    ({"model": "mixture"}, ["--model", "mixture"]),
    ({"model": "histogram"}, ["--model", "histogram"]),
    (
        {"objective": "likelihood", "hidden": 6, "rtol": 1e-3, "atol": 1e-3, "batch": 32},
        ["--objective", "likelihood", "--hidden", "6", "--rtol", "1e-3", "--atol", "1e-3", "--batch", "32"],
    ),
    (
        {"base": "mixture:2", "split": "0.6,0.2", "precision": "f64", "standardise": False},
        ["--base", "mixture:2", "--split", "0.6,0.2", "--precision", "f64", "--no-standardise"],
    ),
    ({"net": "concatsquash", "hidden": [4]}, ["--net", "concatsquash", "--hidden", "4"]),
    ({"nfe_target": 20, "hidden": [4]}, ["--nfe-target", "20", "--hidden", "4"]),
    ({"pairing": "optimal", "solver": "tsit5", "betas": (0.9, 0.99)},
     ["--pairing", "optimal", "--solver", "tsit5", "--betas", "0.9,0.99"]),
]


@pytest.mark.parametrize(("options", "flags"), OPTIONS)
def test_a_model_is_that_of_the_command(
    options: dict[str, Any], flags: list[str], cnf: Callable[..., object], tmp_path: Path
) -> None:
    x = ring()
    np.save(tmp_path / "x.npy", x)
    cnf("train", "--data", "x.npy", "--steps", 12, "--out", "run", *flags)
    theirs = cnflow.load(tmp_path / "run")
    ours = cnflow.train(x, steps=12, **options)
    assert same_model(ours, theirs)
    a, b = ours.provenance, theirs.provenance
    for key in ("model", "seed", "steps", "n", "nll", "nll_se", "n_params", "scored", "chosen_step", "far_rows"):
        assert a[key] == b[key], key
    for job in (a["job"], b["job"]):
        del job["data"]["source"]
    assert a["job"] == b["job"]


def test_rows_with_missing_cells_are_scored_as_by_the_command(cnf: Callable[..., object], tmp_path: Path) -> None:
    x = ring()
    x[::4, 0] = np.nan
    x[1::5, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    cnf("train", "--data", "x.npy", "--model", "mixture", "--missing", "marginal", "--steps", 50, "--out", "run")
    cnf("density", "run", "x.npy", "-o", "logp.npy")
    with pytest.warns(cnflow.DataWarning, match="have a missing cell: their other cells count"):
        flow = cnflow.train(x, model="mixture", missing="marginal", steps=50)
    theirs = np.load(tmp_path / "logp.npy")
    assert same_bits(flow.log_prob(x), theirs)
    assert np.isnan(theirs).sum() == np.isnan(x).all(axis=1).sum()
    with pytest.raises(cnflow.InvalidInput, match="`missing` marginal has no meaning for realnvp"):
        cnflow.train(x, model="realnvp", missing="marginal", steps=5)


def test_a_text_in_another_dialect_is_read_as_by_the_command(tmp_path: Path) -> None:
    x = ring()
    text = "\n".join(f"{a};{b}".replace(".", ",") for a, b in x.tolist())
    (tmp_path / "x.csv").write_text("% by hand\n-;void\n" + text + "\n")
    options: dict[str, Any] = {"sep": ";", "decimal": ",", "na": "void", "comment": "%"}
    with pytest.warns(cnflow.DataWarning, match="1 of 401 rows has a missing cell"):
        ours = cnflow.train(str(tmp_path / "x.csv"), steps=5, hidden=[4], **options)
    assert same_model(ours, cnflow.train(x, steps=5, hidden=[4]))
    with pytest.raises(cnflow.InvalidInput, match="`sep` and `decimal` are both a comma"):
        cnflow.train(str(tmp_path / "x.csv"), steps=5, sep=",", decimal=",")


def test_conditions_columns_and_images_are_those_of_the_command(cnf: Callable[..., object], tmp_path: Path) -> None:
    x = np.column_stack([ring(), np.arange(400) % 3, np.linspace(0, 1, 400)])
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "c.npy", x[:, 2:])
    cnf("train", "--data", "x.npy", "--steps", 5, "--condition", "2,3", "--out", "a", "--hidden", 4)
    theirs = cnflow.load(tmp_path / "a")
    ours = cnflow.train(x, ["2", "3"], steps=5, hidden=[4])
    apart = cnflow.train(x[:, :2], x[:, 2:], steps=5, hidden=[4])
    for flow in (ours, apart):
        assert same_bits(flow.log_prob(x[:, :2], x[:, 2:]), theirs.log_prob(x[:, :2], x[:, 2:]))
    positive = np.exp(ring())
    np.save(tmp_path / "p.npy", positive)
    cnf("train", "--data", "p.npy", "--steps", 5, "--out", "p", "--hidden", 4, "--column", "0:positive")
    ours = cnflow.train(positive, steps=5, hidden=[4], column="0:positive")
    assert same_bits(ours.log_prob(positive), cnflow.load(tmp_path / "p").log_prob(positive))


def test_images_are_trained_scored_and_sampled_in_shape(cnf: Callable[..., object], tmp_path: Path) -> None:
    digits = np.load(FIXTURES.parents[1] / "examples" / "data" / "digits8x8.npy").astype("u1").reshape(-1, 8, 8)[:200]
    np.save(tmp_path / "x.npy", digits)
    cnf("train", "--data", "x.npy", "--steps", 2, "--out", "a", "--model", "glow", "--hidden", 4, "--depth", 1)
    theirs = cnflow.load(tmp_path / "a")
    ours = cnflow.train(digits, steps=2, model="glow", hidden=[4], depth=1)
    assert ours.image_shape == (8, 8)
    log_prob = ours.log_prob(digits)
    assert same_bits(log_prob, theirs.log_prob(digits)) and log_prob.shape == (200,)
    cnf("density", "a", "x.npy", "-o", "l.npy")
    assert same_bits(log_prob, np.load(tmp_path / "l.npy"))
    for same in (digits[..., None], digits.astype("i8"), digits.reshape(200, 64).astype(float)):
        assert same_bits(ours.log_prob(same), log_prob)
    bits = ours.bits_per_dim(digits)
    np.testing.assert_allclose(bits, -log_prob / (64 * np.log(2)), rtol=1e-15)
    drawn = ours.sample(5)
    assert drawn.dtype == np.uint8 and drawn.shape == (5, 8, 8)
    cnf("sample", "a", "-n", 5, "-o", "s.npy")
    assert same_bits(drawn, np.load(tmp_path / "s.npy"))
    assert ours.plot_samples(digits, n=4).array().ndim == 3
    colour = np.stack([digits, digits // 2, digits // 3], axis=-1)[:, :4, :4]
    first = cnflow.train(colour, steps=1, model="nice", hidden=[4], depth=1)
    assert first.image_shape == (4, 4, 3) and first.sample(2).shape == (2, 4, 4, 3)
    turned = np.moveaxis(colour, -1, 1)
    assert same_bits(first.log_prob(turned), first.log_prob(colour))
    second = cnflow.train(np.ascontiguousarray(turned), steps=1, model="nice", hidden=[4], depth=1, layout="chw")
    assert same_bits(second.log_prob(colour), first.log_prob(colour))
    with pytest.raises(cnflow.InvalidInput, match="no whole grey level"):
        ours.log_prob(digits + 0.5)
    with pytest.raises(cnflow.InvalidInput, match="the model has images of"):
        ours.log_prob(np.zeros((2, 7, 8), dtype="u1"))
    with pytest.raises(cnflow.InvalidInput, match="images are u8"):
        cnflow.train(digits / 16)


def test_names_of_data_sets_and_files_work(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "x.csv", ring(), delimiter=",", header="a,b", comments="")
    flow = cnflow.train(tmp_path / "x.csv", steps=2, hidden=[4])
    assert flow.columns == ["a", "b"]
    toy = cnflow.train("moons", steps=2, hidden=[4])
    assert toy.provenance["data"] == "moons" and toy.provenance["excess"] is not None
    with pytest.raises(cnflow.InvalidInput, match="unknown data set `moon`"):
        cnflow.train("moon", steps=2)


def test_validation_rows_can_be_given() -> None:
    x = ring()
    flow = cnflow.train(x[:300], valid=x[300:], steps=4, hidden=[4])
    assert flow.provenance["scored"] == "validation" and flow.provenance["n"] == 100
    with pytest.raises(cnflow.InvalidInput, match="validation rows have 1 column, those for training 2 columns"):
        cnflow.train(x, valid=x[:, :1], steps=2)


def test_a_callback_sees_every_step_and_can_end_the_run() -> None:
    seen: list[dict[str, Any]] = []
    flow = cnflow.train(ring(), steps=6, hidden=[4], callback=seen.append)
    assert [one["step"] for one in seen] == [1, 2, 3, 4, 5, 6] and seen[-1]["done"] == 1.0
    assert {"loss", "lr", "grad_norm", "seconds", "objective", "validation"} <= set(seen[0])
    assert same_model(flow, cnflow.train(ring(), steps=6, hidden=[4]))
    ended = cnflow.train(ring(), steps=10**6, hidden=[4], callback=lambda at: at["step"] == 3)
    assert ended.training is not None and ended.training.stopped
    assert ended.provenance["steps"] == 3 and ended.provenance["stopped"]
    with pytest.raises(ZeroDivisionError):
        cnflow.train(ring(), steps=10**6, hidden=[4], callback=lambda at: 1 // 0)


def test_a_run_keeps_its_curves_and_describes_itself() -> None:
    flow = cnflow.train(ring(), steps=30, hidden=[4], validations=3)
    run = flow.training
    assert run is not None and not run.stopped
    assert [one["step"] for one in run.losses] == list(range(1, 31)) and len(run.validations) > 1
    assert run.plot().array().ndim == 3
    assert "<table>" in run._repr_html_() and "steps: 30" in repr(run)
    assert "NLL" in flow._repr_html_()


def test_a_run_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    x, file = ring(), tmp_path / "run.safetensors"
    whole = cnflow.train(x, steps=20, hidden=[4])
    part = cnflow.train(x, steps=20, hidden=[4], resume=file, callback=lambda at: at["step"] == 8)
    assert part.provenance["steps"] == 8 and file.is_file()
    with pytest.raises(cnflow.InvalidInput, match="other options"):
        cnflow.train(x, steps=20, hidden=[5], resume=file)
    with pytest.raises(cnflow.InvalidInput, match="no longer holds the rows"):
        cnflow.train(x + 1, steps=20, hidden=[4], resume=file)
    rest = cnflow.train(x, steps=20, hidden=[4], resume=file)
    assert same_model(rest, whole) and not file.exists()


def test_a_model_to_start_from(tmp_path: Path) -> None:
    x = ring()
    cnflow.train(x, steps=5, hidden=[4], base="normal").save(tmp_path / "m.safetensors")
    assert cnflow.train(x, steps=2, init=tmp_path / "m.safetensors").dim == 2
    with pytest.raises(cnflow.FileError):
        cnflow.train(x, steps=2, init="missing.safetensors")


def test_options_that_are_not_valid_are_named() -> None:
    x = ring(50)
    with pytest.raises(cnflow.UnknownOption, match="no option `hiden`") as caught:
        cnflow.train(x, hiden=[4])
    assert "hidden" in str(caught.value.hint) and isinstance(caught.value, TypeError)
    with pytest.raises(cnflow.UnknownOption, match="no option `zzz`") as caught:
        cnflow.train(x, zzz=1)
    assert len(str(caught.value.hint)) < 100
    # An array in the place of a word is not printed whole.
    with pytest.raises(cnflow.CnfError) as shown:
        cnflow.train(x, split=x)
    assert len(str(shown.value)) < 300, shown.value
    with pytest.raises(cnflow.InvalidInput) as infinite:
        cnflow.train(np.where(x == x[3], np.inf, x))
    assert "infinite" in str(infinite.value.hint)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"model": "flow"}, "unknown model"),
        ({"steps": 3, "time": 2}, "both given"),
        ({"steps": 0}, "0 steps"),
        ({"steps": -4}, "-4 steps"),
        ({"time": "soon"}, "'soon'"),
        ({"time": -1}, "-1"),
        ({"lr": -1.0}, "learning rate of -1"),
        ({"hidden": "wide"}, "`hidden` is \"wide\""),
        ({"activation": "sine"}, "`activation` is \"sine\""),
        ({"batch": 2.5}, "`batch` is 2.5"),
        ({"model": "nice", "bins": 3}, "`bins` has no meaning for nice"),
        ({"model": "realnvp", "rtol": 1e-3}, "`rtol` has no meaning"),
        ({"rtol": "small"}, "`rtol` is 'small'"),
        ({"trace": "guess"}, "guess"),
        ({"split": "half"}, "half"),
        ({"drop": ["9"]}, "unknown column `9`"),
        ({"condition": ["9"]}, "unknown column `9`"),
        ({"condition": np.zeros((3, 1))}, "3 rows of conditions for 50 rows"),
        ({"solver": "euclid"}, "unknown method"),
        ({"column": "0:month"}, "month"),
    ]
    for options, words in refused:
        with pytest.raises(cnflow.InvalidInput, match=words):
            cnflow.train(x, **({"steps": 2} | options if "time" not in options else options))


def test_data_that_are_not_valid_are_named() -> None:
    bad = ring(50)
    bad[7, 1] = np.nan
    constant = ring(50)
    constant[:, 0] = 2.0
    with pytest.raises(cnflow.InvalidInput, match="row 7 of x has NaN in column 1"):
        cnflow.train(bad, steps=2, missing="refuse")
    with pytest.raises(cnflow.InvalidInput, match="missing.* is \"fill\""):
        cnflow.train(bad, steps=2, missing="fill")  # type: ignore[arg-type]
    bad[7, 1] = np.inf
    refused = [
        (bad, "row 7 of x has inf in column 1"),
        (np.full((9, 2), np.nan), "each of its 9 rows has a missing cell"),
        (constant, "constant|equal"),
        (np.zeros((0, 2)), "no rows"),
        (np.zeros((2, 2, 2, 2, 2)), "expected"),
        (ring(2), "split|rows"),
        ([["a"]], "column 0 .* of x has text, expected numbers"),
    ]
    for x, words in refused:
        with pytest.raises(cnflow.CnfError, match=words):
            cnflow.train(x, steps=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("library", ["numpy", "pandas", "polars", "pyarrow"])
def test_rows_with_a_missing_cell_are_left_out(library: str) -> None:
    rows = ring(120)
    gaps = rows.copy()
    gaps[3, 0] = gaps[50, 1] = gaps[51, 0] = gaps[51, 1] = np.nan
    whole = np.delete(rows, [3, 50, 51], axis=0)
    given: Any = gaps
    if library != "numpy":
        module = pytest.importorskip(library, reason=f"{library} is not installed")
        make = module.table if library == "pyarrow" else module.DataFrame
        cells = [[None if np.isnan(v) else float(v) for v in gaps[:, j]] for j in range(2)]
        given = make({"a": cells[0], "b": cells[1]})
    wanted = cnflow.train(whole, steps=4, hidden=[4], base="normal")
    with pytest.warns(cnflow.DataWarning, match="x: 3 of 120 rows have a missing cell and are left out: 2 in"):
        flow = cnflow.train(given, steps=4, hidden=[4], base="normal")
    assert same_bits(flow.log_prob(rows), wanted.log_prob(rows))
    # Conditions and validation rows are left out alike.
    c = rows[:, :1].copy()
    c[9] = np.nan
    with pytest.warns(cnflow.DataWarning, match="4 of 120 rows"):
        flow = cnflow.train(given, c, valid=given, valid_condition=c, steps=4, hidden=[4], base="normal")
    kept = np.delete(np.arange(120), [3, 9, 50, 51])
    other = cnflow.train(
        rows[kept], c[kept], valid=rows[kept], valid_condition=c[kept], steps=4, hidden=[4], base="normal"
    )
    assert same_bits(flow.log_prob(rows, rows[:, :1]), other.log_prob(rows, rows[:, :1]))


def test_what_is_unusual_about_the_data_is_a_warning() -> None:
    x = np.repeat(ring(40), 5, axis=0)
    with pytest.warns(cnflow.DataWarning, match="copies|equal"):
        flow = cnflow.train(x, steps=2, hidden=[4])
    assert flow.provenance["data_warnings"]
    far = ring()
    far[3] = 1e6
    with pytest.warns(cnflow.DataWarning, match="robust deviations"):
        flow = cnflow.train(far, steps=2, hidden=[4])
    assert flow.training is not None and flow.training.notes


def test_a_bar_is_shown_where_it_is_wanted_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    for screen, progress, shown in [
        (Screen(), None, True),
        (Screen(), False, False),
        (io.StringIO(), None, False),
        (io.StringIO(), True, True),
    ]:
        monkeypatch.setattr("sys.stderr", screen)
        cnflow.train("moons", time=1.2, hidden=[4], progress=progress)
        text = screen.getvalue()
        assert ("\r" in text and "% |" in text) is shown
    assert capfd.readouterr() == ("", "")


def test_a_notebook_gets_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("IPython", reason="IPython is not installed")
    import IPython
    import IPython.display

    shown: list[str] = []

    class Handle:
        def update(self, what: Any) -> None:
            shown.append(what.data)

    class ZMQInteractiveShell:
        pass

    def display(what: Any, display_id: bool) -> Handle:
        shown.append(what.data)
        return Handle()

    monkeypatch.setattr(IPython, "get_ipython", ZMQInteractiveShell)
    monkeypatch.setattr(IPython.display, "display", display)
    cnflow.train("moons", time=1.2, hidden=[4])
    assert "<progress" in shown[0] and "step" in shown[0] and shown[-1] == ""


def test_nothing_is_written_beside_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cnflow.train(ring(), steps=3, hidden=[4], base="normal")
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_that_replaces_the_flow_is_said(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2000, 2))
    with pytest.warns(cnflow.DataWarning, match="the model is a Gaussian mixture"):
        flow = cnflow.train(rows, steps=3, hidden=[4], progress=False)
    assert "mixture of" in repr(flow) and any("mixture" in note for note in flow.training.notes)


def test_weights_are_an_array_or_a_column_and_make_the_density():
    rng = np.random.default_rng(2)
    rows = rng.uniform(-3, 3, size=(4000, 2))
    weights = np.exp(-0.5 * (rows[:, 0] ** 2 + rows[:, 1] ** 2))
    one = cnflow.train(rows, weights=weights, model="gaussian", progress=False)
    frame = np.column_stack([rows[:, 0], weights, rows[:, 1]])
    other = cnflow.train(frame, weights="1", model="gaussian", progress=False)
    points = rng.normal(size=(500, 2))
    # The weight is a column like others where rows are compared, so that the splits are the same.
    assert np.abs(one.log_prob(points) - other.log_prob(points)).max() < 0.1
    exact = -0.5 * np.sum(points**2, axis=1) - np.log(2 * np.pi)
    assert abs(np.mean(one.log_prob(points) - exact)) < 0.05
    assert any("count as" in note for note in one.training.notes)
    apart = cnflow.train(
        rows[:3000], valid=rows[3000:], weights=weights[:3000], valid_weights=weights[3000:],
        model="gaussian", progress=False,
    )
    assert abs(np.mean(apart.log_prob(points) - exact)) < 0.05
    for wrong, words in (
        (-weights, "no density has negative weights"),
        (weights[:7], "7 weights for 4000 rows"),
        (np.full(4000, np.nan), "has the weight NaN"),
        (np.ones((4000, 2)), r"shape \[4000, 2\], expected \[n\]"),
    ):
        with pytest.raises(cnflow.InvalidInput, match=words) as raised:
            cnflow.train(rows, weights=wrong, model="gaussian", progress=False)
        assert raised.value.hint
    with pytest.raises(cnflow.InvalidInput, match="have weights, those for validation have none"):
        cnflow.train(rows, valid=rows[:9], weights=weights, model="gaussian", progress=False)
    with pytest.raises(cnflow.InvalidInput, match="weights of its own"):
        cnflow.train("moons", weights=weights, steps=3, progress=False)


def test_a_table_without_a_model_gets_the_best_of_several() -> None:
    flow = cnflow.train(ring(), time=1.5)
    tried = flow.provenance["tried"]
    [chosen] = [one for one in tried if one["chosen"]]
    assert chosen["model"] == flow.provenance["model"]
    assert {one["model"] for one in tried} == {"gaussian-shrunk", "mixture", "spline", "cnf"}
    for options in ({"steps": 3}, {"time": 0.3, "hidden": [4]}, {"time": 0.3, "model": "cnf"}):
        assert cnflow.train(ring(), **options).provenance.get("tried") is None
    with pytest.raises(cnflow.InvalidInput, match="steps.* has no meaning for auto"):
        cnflow.train(ring(), model="auto", steps=3)


def test_a_run_on_heavy_columns_goes_on_with_the_kinds_that_it_found(tmp_path: Path) -> None:
    x = np.exp(np.random.default_rng(3).normal(size=(4000, 2)))
    with pytest.warns(cnflow.DataWarning, match="are modelled by their logarithms"):
        whole = cnflow.train(x, steps=12, hidden=[4])
    file = tmp_path / "run.checkpoint"
    part = cnflow.train(x, steps=12, hidden=[4], resume=file, callback=lambda at: at["step"] == 5)
    assert part.training.stopped
    rest = cnflow.train(x, steps=12, hidden=[4], resume=file)
    x = np.exp(np.random.default_rng(4).normal(size=(50, 2)))
    assert same_bits(whole.log_prob(x), rest.log_prob(x))
    assert np.isneginf(whole.log_prob(-x)).all()
    plain = cnflow.train(x.repeat(20, axis=0), steps=2, hidden=[4], column_types="plain")
    assert np.isfinite(plain.log_prob(-x)).all()
