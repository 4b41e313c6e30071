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
def test_nulls_and_text_are_errors_that_name_column_and_row(library: str) -> None:
    flow = Case("flow").flow
    x = [0.0, 1.0, 2.0]
    with pytest.raises(cnflow.InvalidInput, match="row 1 of (the column `y` is null|x has NaN in column `y`)"):
        flow.log_prob(frame(library, {"x": x, "y": [1.0, None, 2.0]}))
    with pytest.raises(cnflow.InvalidInput, match="column `y` has (text|object|values of another type)"):
        flow.log_prob(frame(library, {"x": x, "y": ["a", "b", "c"]}))
    with pytest.raises(cnflow.InvalidInput, match="row 2 of x has NaN in column `x`|row 2 of the column `x` is null"):
        flow.log_prob(frame(library, {"x": [0.0, 1.0, float("nan")], "y": x}))
    if library != "duckdb":
        many = {"x": [None, *x, None], "y": [0.0, *x, None]}
        found = "2 rows of the column `x` are null, the first is row 0|row 0 of x has NaN in column `x`"
        with pytest.raises(cnflow.InvalidInput, match=found):
            flow.log_prob(frame(library, many))
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
