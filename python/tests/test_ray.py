"""Scoring on Ray, on Parquet files."""

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")

import ray.data

import cnflow
import cnflow.ray


def test_scores_have_the_bits_of_one_process(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(500, 2)), columns=["ra", "dec"])
    flow = cnflow.train(rows, steps=50, hidden=[8, 8], batch=64, progress=False)
    for i in range(4):
        part = pd.DataFrame({"dec": rng.normal(size=300), "id": np.arange(300) + 300 * i, "ra": rng.normal(size=300)})
        part.to_parquet(tmp_path / f"{i}.parquet")
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        scored = cnflow.ray.log_prob(ray.data.read_parquet(str(tmp_path)), flow, columns=["ra", "dec"], batch_size=128)
        found = scored.to_pandas().sort_values("id")
    finally:
        ray.shutdown()
    frame = pd.concat([pd.read_parquet(path) for path in sorted(tmp_path.iterdir())])
    np.testing.assert_array_equal(found["log_prob"].to_numpy(), flow.log_prob(frame[["ra", "dec"]].to_numpy()))
