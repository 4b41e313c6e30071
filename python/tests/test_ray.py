"""Scoring on Ray, on Parquet files, with a worker killed on the way."""

import os
import signal
import threading
import time

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")

import ray.data

import cnflow
import cnflow.ray

FILES, ROWS = 4, 300


@pytest.fixture(scope="module")
def flow():
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 2)), columns=["ra", "dec"])
    return cnflow.train(rows, steps=50, hidden=[8, 8], batch=64, base="normal", progress=False)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    rng = np.random.default_rng(1)
    for i in range(FILES):
        rows = rng.normal(size=(ROWS, 2))
        part = pd.DataFrame({"dec": rows[:, 0], "id": np.arange(ROWS) + ROWS * i, "ra": rows[:, 1]})
        part.to_parquet(folder / f"{i}.parquet")
    return folder


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


def check(scored, flow, catalogue):
    found = scored.to_pandas().sort_values("id")
    frame = pd.concat([pd.read_parquet(path) for path in sorted(catalogue.iterdir())])
    assert len(found) == len(frame)
    np.testing.assert_array_equal(found["log_prob"].to_numpy(), flow.log_prob(frame[["ra", "dec"]].to_numpy()))


def test_scores_have_the_bits_of_one_process(flow, catalogue):
    check(cnflow.ray.log_prob(ray.data.read_parquet(str(catalogue)), flow, batch_size=128), flow, catalogue)


def test_a_worker_that_is_killed_changes_no_bit(flow, catalogue, tmp_path):
    def slow(batch):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.3)
        return batch

    killed = []

    def kill():
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            time.sleep(0.05)
            killed.extend(int(path.name) for path in list(tmp_path.iterdir())[:1])
        time.sleep(0.1)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    data = ray.data.read_parquet(str(catalogue)).map_batches(slow, batch_size=100)
    check(cnflow.ray.log_prob(data, flow, batch_size=128), flow, catalogue)
    killer.join()
    assert killed
    # Another process took over.
    assert any(int(path.name) != killed[0] for path in tmp_path.iterdir())
