"""The recipe of the guide for Spark, on Parquet files."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")

import cnflow

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "machines.md"


@pytest.fixture(scope="module")
def spark():
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    from pyspark.sql import SparkSession

    # Workers are this Python too, not the one of the path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "128")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_the_recipe_of_the_guide_has_the_bits_of_one_process(spark, tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(500, 2)), columns=["ra", "dec"])
    flow = cnflow.train(rows, steps=50, hidden=[8, 8], batch=64, base="normal", progress=False)
    flow.save(tmp_path / "model.safetensors")
    catalogue = tmp_path / "catalogue"
    catalogue.mkdir()
    for i in range(4):
        part = pd.DataFrame({"id": np.arange(300) + 300 * i, "ra": rng.normal(size=300), "dec": rng.normal(size=300)})
        part.to_parquet(catalogue / f"{i}.parquet")
    (recipe,) = re.findall(r"^```text\n(def scored.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    recipe = recipe.replace("model.safetensors", str(tmp_path / "model.safetensors"))
    names = {"__name__": "__main__", "frame": spark.read.parquet(str(catalogue))}
    exec(compile(recipe, str(PAGE), "exec"), names)
    found = names["scores"].toPandas().sort_values("id")
    assert list(found.columns) == ["id", "ra", "dec", "log_prob"]
    frame = pd.concat([pd.read_parquet(path) for path in sorted(catalogue.iterdir())])
    np.testing.assert_array_equal(found["log_prob"].to_numpy(), flow.log_prob(frame[["ra", "dec"]].to_numpy()))
