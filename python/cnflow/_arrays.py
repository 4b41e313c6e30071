"""What NumPy does for the package: any array as contiguous numbers, and frames of samples."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ._errors import InvalidInput


def numbers(given: Any, what: str) -> Any:
    """`given` as a contiguous array of float64, or of uint8 where it holds these."""
    import numpy as np

    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InvalidInput(f"{what} has masked values", "leave out rows with masked values, or fill them")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InvalidInput(f"{what} is not an array of numbers: {error}", "give rows of equal length") from error
    if array.dtype.kind not in "biuf":
        problem = f"{what} has the type {array.dtype}, expected numbers"
        raise InvalidInput(problem, "convert it with astype(float), or leave out what is no number")
    if array.dtype == np.uint8:
        return np.asarray(array, order="C")
    return np.asarray(array, dtype=np.float64, order="C")


def texts(given: Any) -> tuple[tuple[int, ...], list[list[str | None]]] | None:
    """The shape of an array of texts and its columns, None where a cell is missing; None for an array of numbers."""
    import numpy as np

    pandas = _pandas()
    if pandas is not None and isinstance(given, (pandas.Categorical, pandas.Series)):
        given = given.astype(object)
    try:
        array = np.asarray(given)
    except ValueError:
        return None
    of_objects = array.dtype.kind == "O" and any(isinstance(cell, str) for cell in array.flat)
    if not (array.dtype.kind in "UT" or of_objects) or array.ndim > 2:
        return None
    cols = array.shape[1] if array.ndim == 2 else 1
    rows = array.reshape(-1, cols)
    return array.shape, [[_text(cell) for cell in rows[:, j]] for j in range(cols)]


def _text(cell: Any) -> str | None:
    # None, NaN and NA of pandas differ from themselves, or are no text.
    if cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ == "NAType":
        return None
    return str(cell)


def column_texts(frame: Any, name: str) -> list[str | None] | None:
    """The cells of a column of a frame as text; None where the frame has no way to give them."""
    frame = frame.frame if isinstance(frame, _Plain) else frame
    pandas = _pandas()
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return [_text(cell) for cell in frame[name].astype(object)]
    if hasattr(frame, "fetch_arrow_table"):
        # DuckDB.
        frame = frame.fetch_arrow_table()
    try:
        column = frame[name]
    except Exception:
        # A series has no columns.
        column = frame
    for to_list in ("to_list", "to_pylist"):
        if hasattr(column, to_list):
            return [_text(cell) for cell in getattr(column, to_list)()]
    return None


def _pandas() -> Any:
    """pandas where it is loaded: without it there are no frames of it."""
    return sys.modules.get("pandas")


def is_frame(given: Any) -> bool:
    """Whether it is a frame of pandas without an Arrow stream."""
    pandas = _pandas()
    return pandas is not None and isinstance(given, (pandas.DataFrame, pandas.Series))


def with_stream(given: Any) -> Any:
    """The frame as it is read: names as text, and rows without an index."""
    pandas = _pandas()
    if pandas is None or not isinstance(given, (pandas.DataFrame, pandas.Series)):
        return given
    frame = given.to_frame("" if given.name is None else given.name) if isinstance(given, pandas.Series) else given
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    return frame if find_spec("pyarrow") is not None else _Plain(frame)


class _Plain:
    """A frame of pandas where pyarrow is not installed."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame


def columns(plain: _Plain) -> list[tuple[str, Any]]:
    """The columns of a frame of pandas, each as float64, NaN where a cell is missing; or the name of another type."""
    import numpy as np

    found = []
    for j, name in enumerate(plain.frame.columns):
        column = plain.frame.iloc[:, j]
        if column.isna().any() and _pandas().api.types.is_numeric_dtype(column.dtype):
            # Nulls of whole numbers have no place in an array of them.
            found.append((name, column.to_numpy(dtype=np.float64, na_value=np.nan)))
            continue
        array = column.to_numpy()
        if array.dtype.kind not in "biuf":
            found.append((name, str(array.dtype)))
            continue
        found.append((name, np.ascontiguousarray(array, dtype=np.float64)))
    return found


def frame(library: Any, names: list[str], rows: Any, words: dict[str, dict[float, str]] | None = None) -> Any:
    """The rows as a frame of pandas, polars or pyarrow, given as the module or by its name; some columns as `words`."""
    name = library if isinstance(library, str) else getattr(library, "__name__", "")
    # Columns that lie together: polars and pyarrow take no others without a copy of their own.
    by_name = {column: rows[:, j].copy() for j, column in enumerate(names)}
    for column, known in (words or {}).items():
        by_name[column] = [known.get(number) for number in by_name[column].tolist()]
    if name in ("pandas", "polars"):
        return import_module(name).DataFrame(by_name)
    if name == "pyarrow":
        return import_module(name).table(by_name)
    raise InvalidInput(f"unknown library of frames `{name or library!r}`", "give pandas, polars or pyarrow")
