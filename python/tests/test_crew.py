"""Training by several processes: MPI and process groups of PyTorch, to the bits of one process."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import cnflow

OPTIONS = {"steps": 30, "hidden": [16, 16], "batch": 700, "progress": False}
SCRIPT = textwrap.dedent(
    """
    import hashlib, sys
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
    print("RANK", crew.rank, crew.size, hashlib.sha256(flow.log_prob(rows).tobytes()).hexdigest(), flush=True)
    """
).replace("{options}", repr(OPTIONS))


def expected():
    rows = np.random.default_rng(0).normal(size=(3000, 2))
    flow = cnflow.train(rows, **OPTIONS)
    return hashlib.sha256(flow.log_prob(rows).tobytes()).hexdigest()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_of_mpi_have_the_bits_of_one_process(size, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    mpirun = shutil.which("mpirun", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if mpirun is None:
        pytest.skip("mpirun is not installed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [mpirun, "-n", str(size), sys.executable, str(script), "mpi"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "CNF_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    lines = sorted(line.split() for line in ran.stdout.splitlines() if line.startswith("RANK"))
    assert [line[1:3] for line in lines] == [[str(rank), str(size)] for rank in range(size)]
    assert {line[3] for line in lines} == {expected()}


def test_a_process_group_of_torch_has_the_bits_of_one_process(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), "torch"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "CNF_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    lines = sorted(line.split() for line in ran.stdout.splitlines() if line.startswith("RANK"))
    assert [line[1] for line in lines] == ["0", "1"]
    assert {line[3] for line in lines} == {expected()}


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
