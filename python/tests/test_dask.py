"""Scoring and sampling on a local cluster of Dask, on Parquet files, with a worker killed on the way."""

import os
import signal
import time

import numpy as np
import pytest

pytest.importorskip("distributed", reason="Dask is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import dask.dataframe as dd
from dask.distributed import Client, LocalCluster

import cnflow
import cnflow.dask

FILES, ROWS = 12, 500


@pytest.fixture(scope="module")
def flow():
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 3.0], columns=["ra", "dec"])
    return cnflow.train(rows, steps=100, hidden=[8, 8], batch=64, progress=False)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Files of rows with an id, the columns in another order than the flow has them."""
    folder = tmp_path_factory.mktemp("catalogue")
    rng = np.random.default_rng(1)
    for i in range(FILES):
        rows = rng.normal(size=(ROWS, 2)) * [3.0, 1.0]
        frame = pd.DataFrame({"dec": rows[:, 0], "id": np.arange(i * ROWS, (i + 1) * ROWS), "ra": rows[:, 1]})
        frame.to_parquet(folder / f"part{i:02}.parquet")
    return folder


@pytest.fixture(scope="module")
def cluster():
    os.environ["CNF_NUM_THREADS"] = "1"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client


def whole(flow, catalogue):
    frame = pd.concat([pd.read_parquet(path) for path in sorted(catalogue.iterdir())])
    return flow.log_prob(frame[["ra", "dec"]].to_numpy())


def test_scores_have_the_bits_of_one_process(cluster, flow, catalogue):
    frame = dd.read_parquet(catalogue)
    frame["log_prob"] = cnflow.dask.log_prob(frame, flow)
    found = frame.compute().sort_values("id")
    np.testing.assert_array_equal(found["log_prob"].to_numpy(), whole(flow, catalogue))


def test_a_worker_that_is_killed_changes_no_bit(cluster, flow, catalogue):
    def slow(part):
        time.sleep(0.3)
        return part

    frame = dd.read_parquet(catalogue).map_partitions(slow)
    future = cluster.compute(cnflow.dask.log_prob(frame, flow))
    time.sleep(0.8)
    pid = next(iter(cluster.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(future.result(timeout=120).to_numpy(), whole(flow, catalogue))


def test_a_sample_is_that_of_one_process(cluster, flow):
    drawn = cnflow.dask.sample(5000, flow, seed=3, chunk=777)
    assert drawn.shape == (5000, 2)
    np.testing.assert_array_equal(drawn.compute(), flow.sample(5000, seed=3))


def test_absent_columns_are_named(flow, catalogue):
    with pytest.raises(cnflow.InvalidInput, match="ra"):
        cnflow.dask.log_prob(dd.read_parquet(catalogue)[["dec", "id"]], flow)
