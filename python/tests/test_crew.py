"""Training by several processes: MPI and process groups of PyTorch, to the bits of one process."""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import cnflow

OPTIONS = {"steps": 30, "hidden": [16, 16], "batch": 700, "progress": False}
SCRIPT = textwrap.dedent(
    """
    import hashlib, sys
    from pathlib import Path
    import numpy as np
    import cnflow
    KIND = sys.argv[1]
    if KIND == "mpi":
        import cnflow.mpi
        crew = cnflow.mpi.Crew()
    else:
        import torch.distributed
        import cnflow.torch
        torch.distributed.init_process_group("gloo")
        crew = cnflow.torch.Crew()
    rows = np.random.default_rng(0).normal(size=(3000, 2))
    flow = cnflow.train(rows, crew=crew, **{options})
    # Lines of several processes may run into each other.
    Path(sys.argv[2], f"rank{crew.rank}").write_text(hashlib.sha256(flow.log_prob(rows).tobytes()).hexdigest())
    """
).replace("{options}", repr(OPTIONS))


def expected():
    rows = np.random.default_rng(0).normal(size=(3000, 2))
    flow = cnflow.train(rows, **OPTIONS)
    return hashlib.sha256(flow.log_prob(rows).tobytes()).hexdigest()


def found(at, rank):
    return (at / f"rank{rank}").read_text()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_of_mpi_have_the_bits_of_one_process(size, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [mpirun(), "-n", str(size), sys.executable, str(script), "mpi", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "CNF_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert [found(tmp_path, rank) for rank in range(size)] == [expected()] * size


def test_a_process_group_of_torch_has_the_bits_of_one_process(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [
            *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
            *[str(script), "torch", str(tmp_path)],
        ],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "CNF_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert [found(tmp_path, rank) for rank in range(2)] == [expected()] * 2


def mpirun():
    found = shutil.which("mpirun", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if found is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py and mpirun are not installed: pip install mpi4py mpich")
    return found


def command(words, at, ranks=None, check=True):
    """Runs the command of the package, on several ranks or in one process."""
    before = [] if ranks is None else [mpirun(), "-n", str(ranks)]
    ran = subprocess.run(
        [*before, sys.executable, "-m", "cnflow", *words.split()],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=at,
        env={**os.environ, "CNF_NUM_THREADS": "1"},
    )
    assert not check or ran.returncode == 0, ran.stderr
    return ran


def weights(at):
    """The weights in a model file; what is said of the run has clocks in it."""
    flow = cnflow.load(at / "model.safetensors")
    return flow.log_prob(np.random.default_rng(0).normal(size=(50, flow.dim))).tobytes()


def test_the_command_under_mpirun_has_the_bits_of_one_process(tmp_path):
    words = "train --data moons --hidden 16,16 --batch 700 --steps 40 --out"
    command(f"{words} alone", tmp_path)
    ran = command(f"{words} three --json", tmp_path, ranks=3)
    # One of them reports.
    assert ran.stdout.count("{") >= 1 and len([line for line in ran.stdout.splitlines() if line.strip()]) == 1
    assert "3 processes train together" in ran.stderr
    assert weights(tmp_path / "three") == weights(tmp_path / "alone")
    assert sorted(os.listdir(tmp_path / "three")) == sorted(os.listdir(tmp_path / "alone"))


def test_a_rank_that_is_killed_ends_the_job_and_another_number_resumes_it(tmp_path):
    words = "train --data moons --hidden 16,16 --batch 700 --steps 400 --checkpoint-every 50 --out"
    command(f"{words} alone", tmp_path)
    job = subprocess.Popen(
        [mpirun(), "-n", "2", sys.executable, "-m", "cnflow", *f"{words} killed".split()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CNF_NUM_THREADS": "1"},
    )
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    end = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < end and job.poll() is None
        time.sleep(0.01)
    ranks = [pid for pid in children(job.pid) if "cnflow" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(ranks[-1], signal.SIGKILL)
    assert job.wait(timeout=30) != 0
    for pid in ranks:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    command("train --resume killed", tmp_path, ranks=3)
    assert weights(tmp_path / "killed") == weights(tmp_path / "alone")


def children(pid):
    """All processes below one."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in below for found in [*children(int(child)), int(child)]]


def test_an_error_of_the_command_ends_all_ranks(tmp_path):
    ran = command("train --data absent.npy --steps 5", tmp_path, ranks=2, check=False)
    assert ran.returncode != 0 and "absent.npy" in ran.stderr
    ran = command("train --data moons --time 5s", tmp_path, ranks=2, check=False)
    assert ran.returncode != 0 and "own clock" in ran.stderr
    ran = command("data moons -n 5 -o x.npy", tmp_path, ranks=2, check=False)
    assert ran.returncode != 0 and "only `cnf train`" in ran.stderr


class Lost:
    """A rank of two whose other one cannot be reached."""

    rank, size = 0, 2

    def allgather(self, mine):
        raise ConnectionError("rank 1 is gone")


def test_a_crew_that_fails_ends_the_training_with_its_own_error():
    with pytest.raises(ConnectionError, match="rank 1 is gone"):
        cnflow.train(np.random.default_rng(0).normal(size=(300, 2)), crew=Lost(), **OPTIONS)


def test_a_crew_counts_steps():
    with pytest.raises(cnflow.CnfError, match="clock"):
        options = {**OPTIONS, "steps": None, "time": 1.0}
        cnflow.train(np.random.default_rng(0).normal(size=(300, 2)), crew=Lost(), **options)
