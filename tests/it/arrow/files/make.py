"""Makes the files of this folder: python make.py, with numpy, pandas, polars and pyarrow."""

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.feather as feather
import pyarrow.parquet as pq

HERE = Path(__file__).parent
PARQUET = HERE.parent.parent / "parquet" / "files"


def write(name: str, table: pa.Table, rows: int, packed: str | None = None) -> None:
    """A file in batches of so many rows."""
    options = pa.ipc.IpcWriteOptions(compression=packed)
    with pa.ipc.new_file(HERE / name, table.schema, options=options) as out:
        out.write_table(table, max_chunksize=rows)


# Every type of number, and what has the same numbers in another form.
table = pq.read_table(PARQUET / "plain.parquet")
table = table.append_column("coded", table["steps"].dictionary_encode())
table = table.append_column("coded_text", table["text"].dictionary_encode())
table = table.append_column("large_text", table["text"].cast(pa.large_string()))
table = table.append_column("text_view", table["text"].cast(pa.string_view()))
table = table.append_column("price64", table["price"].cast(pa.decimal64(12, 2)))
write("plain.arrow", table, 16)
write("lz4.arrow", table, 25, "lz4")
write("zstd.arrow", table.select(["plain"]), 40, "zstd")
write("empty.arrow", table.select(["plain", "steps"]).slice(0, 0), 40)
with pa.ipc.new_stream(HERE / "stream.arrow", table.schema) as out:
    out.write_table(table)

# What each program writes of a table with missing cells.
gaps = csv.read_csv(PARQUET / "gaps.csv", convert_options=csv.ConvertOptions(strings_can_be_null=True))
x, y, kind = (gaps[name].to_pylist() for name in ("x", "y", "kind"))
frame = pd.DataFrame({"x": x, "y": pd.array(y, "Int64"), "kind": pd.Categorical(kind)})
frame.to_feather(HERE / "pandas.feather")
pl.DataFrame({"x": x, "y": y, "kind": kind}).with_columns(pl.col("kind").cast(pl.Categorical)).write_ipc(HERE / "polars.arrow")
feather.write_feather(gaps, str(HERE / "pyarrow.feather"))

# What is no table of numbers.
write("other.arrow", pq.read_table(PARQUET / "other.parquet"), 3)
