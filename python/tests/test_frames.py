"""Frames of any library: columns by name, and what is no number is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Case, same_bits

import cnflow

LIBRARIES = ["pandas", "polars", "pyarrow", "duckdb"]


def frame(library: str, columns: dict[str, Any]) -> Any:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "pandas":
        return module.DataFrame(columns)
    if library == "polars":
        return module.DataFrame(columns, strict=False)
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pyarrow.table({name: pyarrow.array(list(values)) for name, values in columns.items()})
    if library == "pyarrow":
        return table
    relation = module.connect().from_arrow(table)
    if not hasattr(relation, "__arrow_c_stream__"):
        pytest.skip("this version of duckdb has no Arrow stream")
    return relation


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_are_found_by_name_in_any_order(library: str) -> None:
    case = Case("conditional")
    columns = {name: case.all[:, j] for j, name in enumerate(case.names)}
    wanted = case.flow.log_prob(case.x, case.c)
    others = {"more": np.arange(12), **dict(reversed(list(columns.items())))}
    for given in (columns, others):
        table = frame(library, given)
        # The conditioning columns are in the frame, or given apart.
        assert same_bits(case.flow.log_prob(table), wanted)
        assert same_bits(case.flow.log_prob(frame(library, given), case.c), wanted)
        assert same_bits(case.flow.log_prob(case.x, frame(library, given)), wanted)
        assert case.flow.inverse(frame(library, given)).shape == case.x.shape
    missing = {name: values for name, values in columns.items() if name != "y"}
    with pytest.raises(cnflow.InvalidInput, match="x has no column `y`: it has `x`, `kind`, `load`") as caught:
        case.flow.log_prob(frame(library, missing))
    assert "`x`, `y`" in str(caught.value.hint)


@pytest.mark.parametrize("library", LIBRARIES)
def test_nulls_are_missing_cells_and_text_is_an_error_that_names_the_column(library: str) -> None:
    flow = Case("flow").flow
    x = [0.0, 1.0, 2.0]
    wanted = flow.log_prob(np.array([[0.0, 1.0], [2.0, 2.0]]))
    for gap in (None, float("nan")):
        with pytest.warns(cnflow.MissingRows, match="1 of 3 rows has a missing cell; it is NaN"):
            found = flow.log_prob(frame(library, {"x": x, "y": [1.0, gap, 2.0]}))
        assert same_bits(found[[0, 2]], wanted) and np.isnan(found[1])
    with pytest.raises(cnflow.InvalidInput, match="column `y` has (text|object|str|values of another type)"):
        flow.log_prob(frame(library, {"x": x, "y": ["a", "b", "c"]}))
    # Columns that are not used may hold anything.
    assert flow.log_prob(frame(library, {"x": x, "y": x, "name": ["a", "b", "c"]})).shape == (3,)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_columns_of_every_type_are_the_same_numbers(library: str, dtype: str) -> None:
    flow = Case("flow").flow
    values = np.array([[1, 0], [0, 1], [1, 1]] * 5)
    typed = values.astype(dtype)
    if library == "pyarrow":
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        table = pyarrow.table({"x": pyarrow.array(typed[:, 0].copy()), "y": pyarrow.array(typed[:, 1].copy())})
        # Chunks and slices have offsets.
        table = pyarrow.concat_tables([table.slice(3), table.slice(0, 3)]).slice(1)
        values = np.concatenate([values[3:], values[:3]])[1:]
    else:
        table = frame(library, {"x": typed[:, 0].copy(), "y": typed[:, 1].copy()})
    assert same_bits(flow.log_prob(table), flow.log_prob(values.astype(float)))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_nulls_of_every_type_and_chunk_are_found(library: str) -> None:
    flow = Case("flow").flow
    values = np.array([[1, 0], [0, 1], [1, 1]] * 7)
    rng = np.random.default_rng(3)
    gaps = rng.random(values.shape) < 0.3
    for dtype in ("bool", "int8", "uint32", "int64", "float32", "float64"):
        cells = [
            [None if gap else values[i, j].astype(dtype).item() for i, gap in enumerate(gaps[:, j])] for j in range(2)
        ]
        rows = slice(None)
        if library == "pandas":
            names = {"bool": "boolean", "int8": "Int8", "uint32": "UInt32", "int64": "Int64"}
            pandas = pytest.importorskip("pandas", reason="pandas is not installed")
            kind = names.get(dtype, dtype.capitalize())
            table = pandas.DataFrame({"x": pandas.array(cells[0], kind), "y": pandas.array(cells[1], kind)})
        elif library == "polars":
            table = frame(library, {"x": cells[0], "y": cells[1]})
        else:
            # Chunks and slices have offsets, and their bitmaps do.
            pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
            columns = {name: pyarrow.array(column) for name, column in zip(("x", "y"), cells, strict=True)}
            table = pyarrow.table(columns)
            table = pyarrow.concat_tables([table.slice(0, 9).slice(3), table.slice(9)])
            rows = slice(3, None)
        whole = ~gaps[rows].any(axis=1)
        with pytest.warns(cnflow.MissingRows, match=f"{(~whole).sum()} of {len(whole)} rows"):
            found = flow.log_prob(table)
        assert np.isnan(found[~whole]).all()
        assert same_bits(found[whole], flow.log_prob(values[rows][whole].astype(float))), dtype


def test_a_frame_of_pandas_needs_no_pyarrow_for_its_nulls() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    from cnflow import _arrays

    frame = pandas.DataFrame({"a": pandas.array([1, None, 3], "Int64"), "b": [0.5, None, 1.5], "c": [True, False, True]})
    columns = dict(_arrays.columns(_arrays._Plain(frame)))
    assert np.isnan(columns["a"][1]) and np.isnan(columns["b"][1]) and columns["a"][2] == 3.0
    assert [column.dtype for column in columns.values()] == [np.dtype("f8")] * 3
    # Text may be classes, and nothing else.
    for other in (["x", None, "y"], [pandas.Timestamp(0), None, None]):
        with pytest.raises(cnflow.InvalidInput, match="`a` of x .* expected numbers"):
            cnflow.train(pandas.DataFrame({"a": other, "b": [1.0, 2.0, 3.0]}), steps=2)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_samples_come_as_frames(library: str) -> None:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    flow = Case("flow").flow
    for given in (module, library):
        drawn = flow.sample(6, as_frame=given)
        assert type(drawn).__module__.split(".")[0] == library
        names = list(drawn.column_names if library == "pyarrow" else drawn.columns)
        assert names == flow.columns
        assert same_bits(flow.log_prob(drawn), flow.log_prob(flow.sample(6)))
    # The condition is beside them.
    case = Case("conditional")
    names = [*case.flow.columns, *case.flow.condition_columns]
    row = case.c[3]
    for flow, condition in [(case.flow, row), (case.flow.given(row), None)]:
        drawn = flow.sample(4, condition, as_frame=library)
        assert list(drawn.column_names if library == "pyarrow" else drawn.columns) == names
        assert same_bits(case.flow.log_prob(drawn), case.flow.log_prob(case.flow.sample(4, row), row))
    flow = Case("flow").flow
    with pytest.raises(cnflow.InvalidInput, match="unknown library"):
        flow.sample(2, as_frame="dask")  # type: ignore[arg-type]


def test_a_model_remembers_the_names_of_the_frame_that_it_was_trained_on() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(1)
    table = pandas.DataFrame({"a": rng.normal(size=200), "mass": rng.normal(size=200), "b": rng.normal(size=200)})
    table = table.sample(frac=1.0, random_state=0)
    flow = cnflow.train(table, condition="mass", steps=3, hidden=[4])
    assert flow.columns == ["a", "b"] and flow.condition_columns == ["mass"]
    turned = table[["b", "mass", "a"]]
    wanted = flow.log_prob(table[["a", "b"]].to_numpy(), table["mass"].to_numpy())
    assert same_bits(flow.log_prob(turned), wanted)
    assert same_bits(flow.log_prob(turned, table["mass"]), wanted)
    dropped = cnflow.train(table, drop=["mass"], steps=3, hidden=[4])
    assert dropped.columns == ["a", "b"]
    with pytest.raises(cnflow.InvalidInput, match="unknown column `weight`"):
        cnflow.train(table, condition="weight", steps=3)
