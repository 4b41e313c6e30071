"""Makes the files of this folder: python make.py, with numpy, pandas, polars, pyarrow and duckdb."""

from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
N = 40
rng = np.random.default_rng(7)
plain = rng.normal(size=N) * 10.0 ** rng.integers(-3, 4, size=N)
narrow = rng.normal(size=N).astype(np.float32)
half = rng.normal(size=N).astype(np.float16)
steps = rng.integers(-9, 9, size=N)
whole = rng.integers(-(2**62), 2**62, size=N)
small = rng.integers(-128, 128, size=N).astype(np.int8)
count = rng.integers(2**31, 2**32, size=N).astype(np.uint32)
large = rng.integers(2**63, 2**64 - 1, size=N, dtype=np.uint64)
flag = rng.integers(0, 2, size=N).astype(bool)
price = [Decimal(int(v)).scaleb(-2) for v in rng.integers(-(10**8), 10**8, size=N)]
fine = [Decimal(int(a) * 10**18 + int(b)).scaleb(-30) for a, b in rng.integers(1, 10**17, size=(N, 2))]
text = [repr(float(v)) for v in rng.normal(size=N)]
sets = ["train", "valid", "test", "train"] * (N // 4)

# Every type that is a number, as text too: one column after the other.
numbers = {
    "plain": pa.array(plain),
    "narrow": pa.array(narrow),
    "half": pa.array(half),
    "steps": pa.array(steps),
    "whole": pa.array(whole),
    "small": pa.array(small),
    "count": pa.array(count),
    "large": pa.array(large),
    "flag": pa.array(flag),
    "price": pa.array(price, pa.decimal128(10, 2)),
    "short": pa.array([p.quantize(Decimal("0.1")) for p in price], pa.decimal128(9, 1)),
    "fine": pa.array(fine, pa.decimal128(38, 30)),
    "text": pa.array(text),
    "set": pa.array(sets),
}
cells = {
    name: [str(v) if isinstance(v, (Decimal, str)) else repr(float(v)) if isinstance(v, float) else str(int(v)) for v in column.to_pylist()]
    for name, column in numbers.items()
}
lines = [",".join(cells)] + [",".join(row) for row in zip(*cells.values())]
(HERE / "numbers.csv").write_text("\n".join(lines) + "\n")
table = pa.table(numbers)
# Rows in three groups, and pages of some hundred bytes.
pq.write_table(table, HERE / "snappy.parquet", row_group_size=16, data_page_size=100, write_statistics=False)
pq.write_table(table, HERE / "plain.parquet", compression="none", use_dictionary=False, store_decimal_as_integer=True)
pq.write_table(table, HERE / "gzip.parquet", compression="gzip", data_page_version="2.0", row_group_size=25, write_statistics=False)
pq.write_table(table.select(["plain", "steps"]), HERE / "zstd.parquet", compression="zstd", data_page_version="2.0")
split = {"plain": "BYTE_STREAM_SPLIT", "narrow": "BYTE_STREAM_SPLIT", "whole": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY"}
pq.write_table(
    table.select(list(split)), HERE / "encodings.parquet", use_dictionary=False, column_encoding=split, version="2.6"
)
for codec in ("brotli", "lz4"):
    pq.write_table(table.select(["plain"]), HERE / f"{codec}.parquet", compression=codec)
pq.write_table(table.select(["plain", "steps"]).slice(0, 0), HERE / "empty.parquet")

# What each program writes of a table with missing cells; row 5 has none at all.
x = [None if i in (3, 5) else float(v) for i, v in enumerate(plain)]
y = [None if i in (5, 30, 39) else int(v) for i, v in enumerate(steps)]
kind = ["a", "b", None, "b"] * (N // 4)
frame = pd.DataFrame({"x": x, "y": pd.array(y, "Int64"), "kind": pd.Categorical(kind)}, index=[f"r{i}" for i in range(N)])
frame.to_parquet(HERE / "pandas.parquet")
ours = {"x": x, "y": y, "kind": kind}
pl.DataFrame(ours).write_parquet(HERE / "polars.parquet")
made = pa.table(ours)
con = duckdb.connect()
con.execute(f"copy (select * from made) to '{HERE / 'duckdb.parquet'}' (format parquet)")
rows = (f"{'' if a is None else repr(a)},{'' if b is None else b},{c or ''}" for a, b, c in zip(x, y, kind))
(HERE / "gaps.csv").write_text("x,y,kind\n" + "\n".join(rows) + "\n")

# What is no table of numbers.
other = pa.table(
    {
        "x": pa.array(plain[:4]),
        "day": pa.array([0, 1, 2, 3], pa.date32()),
        "moment": pa.array([0, 1, 2, 3], pa.timestamp("ns")),
        "list": pa.array([[1.0], [], [2.0, 3.0], None]),
        "pair": pa.array([{"a": 1.0, "b": 2.0}] * 4),
        "word": pa.array(["1.5", "NA", "", "three"]),
        "infinite": pa.array([1.0, float("inf"), 2.0, 3.0]),
        "huge": pa.array([Decimal(1)] * 4, pa.decimal256(60, 2)),
        "nothing": pa.nulls(4),
        "code": pa.array([b"ab"] * 4, pa.binary(2)),
    }
)
pq.write_table(other, HERE / "other.parquet")
