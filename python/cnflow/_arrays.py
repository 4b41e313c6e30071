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
    """The columns of a frame of pandas, each as float64."""
    import numpy as np

    found = []
    for j, name in enumerate(plain.frame.columns):
        column = plain.frame.iloc[:, j]
        if column.isna().any():
            rows = np.flatnonzero(column.isna().to_numpy())
            problem = f"row {rows[0]} of the column `{name}` is null (rows are counted from 0)"
            if len(rows) > 1:
                problem = f"{len(rows)} rows of the column `{name}` are null, the first is row {rows[0]} (counted from 0)"
            raise InvalidInput(problem, "leave out rows with missing values, or fill them")
        array = column.to_numpy()
        if array.dtype.kind not in "biuf":
            raise InvalidInput(f"the column `{name}` has {array.dtype}, expected numbers", "leave it out")
        found.append((name, np.ascontiguousarray(array, dtype=np.float64)))
    return found


def frame(library: Any, names: list[str], rows: Any) -> Any:
    """The rows as a frame of pandas, polars or pyarrow, given as the module or by its name."""
    name = library if isinstance(library, str) else getattr(library, "__name__", "")
    # Columns that lie together: polars and pyarrow take no others without a copy of their own.
    by_name = {column: rows[:, j].copy() for j, column in enumerate(names)}
    if name in ("pandas", "polars"):
        return import_module(name).DataFrame(by_name)
    if name == "pyarrow":
        return import_module(name).table(by_name)
    raise InvalidInput(f"unknown library of frames `{name or library!r}`", "give pandas, polars or pyarrow")
