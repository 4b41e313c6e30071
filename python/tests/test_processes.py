"""Threads, processes and signals."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import FIXTURES, Case, same_bits

import cnflow


def scored(flow: cnflow.Flow, x: np.ndarray) -> np.ndarray:
    return flow.log_prob(x)


@pytest.mark.parametrize("kind", ["flow", "realnvp", "mixture", "histogram", "layers"])
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_other_processes_get_the_same_bits(kind: str, start: str) -> None:
    flow = Case(kind).flow
    x = flow.sample(200)
    # The pool of threads runs before the fork.
    wanted = flow.log_prob(x)
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(scored, flow, part) for part in (x[:120], x[120:])]
        parts = [future.result(timeout=60) for future in futures]
    assert same_bits(np.concatenate(parts), wanted)


def test_a_child_of_a_fork_does_not_hang() -> None:
    flow = Case("flow").flow
    x = flow.sample(500)
    wanted = flow.log_prob(x)
    child = os.fork()
    if child == 0:
        # No clean-up of the parent's in here.
        os._exit(0 if same_bits(flow.log_prob(x), wanted) and cnflow.train("moons", steps=2).dim == 2 else 1)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


def test_threads_get_the_same_bits() -> None:
    flow = Case("flow").flow
    x = flow.sample(400)
    wanted = flow.log_prob(x)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(flow.log_prob, [x] * 16):
            assert same_bits(found, wanted)
        alone = pool.map(lambda i: flow.log_prob(x[i]), range(100))
        assert same_bits(np.array(list(alone)), wanted[:100])


def test_the_lock_of_the_interpreter_is_free_during_work() -> None:
    flow = Case("flow").flow.with_solver(rtol=1e-10, atol=1e-10, precision="f64")
    x = flow.sample(3000)
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    begun = time.monotonic()
    while time.monotonic() - begun < 0.3:
        flow.log_prob(x)
    done.set()
    thread.join()
    # Once in a switch interval of 5 ms at the least, on a busy machine.
    assert counted > 20


LONG = """
import sys, time, numpy as np, cnflow
flow = cnflow.load(sys.argv[1])
x = np.random.default_rng(0).normal(size=(int(sys.argv[3]), flow.dim)) * 2
kind = sys.argv[2]
tight = flow
if "Flow(cnf" in repr(flow):
    tight = flow.with_solver(rtol=1e-11, atol=1e-11, precision="f64")
calls = {
    "log_prob": lambda: tight.log_prob(x),
    "grad": lambda: tight.log_prob_and_grad(x),
    "sample": lambda: tight.sample(len(x)),
    "error_bars": lambda: tight.error_bars(x),
    "check": lambda: tight.check(n=len(x)),
    "train": lambda: cnflow.train(x, time=100),
    "likelihood": lambda: cnflow.train(x, time=100, objective="likelihood", batch=4096, rtol=1e-9, precision="f64"),
    "few": lambda: [tight.log_prob(x[:8]) for _ in range(10**9)],
}
print("ready", flush=True)
try:
    calls[kind]()
except KeyboardInterrupt as error:
    print("interrupted", getattr(error, "flow", None), flush=True)
    # The package works on.
    flow.log_prob(x[:100])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("model", "kind", "n"),
    [
        ("flow", "log_prob", 200_000),
        ("flow", "sample", 400_000),
        ("flow", "grad", 100_000),
        ("flow", "error_bars", 100_000),
        ("flow", "check", 100_000),
        ("realnvp", "log_prob", 4_000_000),
        ("mixture", "sample", 20_000_000),
        ("flow", "train", 1000),
        ("flow", "likelihood", 5000),
        ("flow", "few", 8),
    ],
)
def test_ctrl_c_acts_at_once(model: str, kind: str, n: int) -> None:
    path = FIXTURES / "finished" / model / "model.safetensors"
    # A machine that does something else may be late once.
    for _ in range(3):
        took = interrupted([sys.executable, "-W", "ignore", "-c", LONG, str(path), kind, str(n)], kind)
        # 0.2 s are promised on a quiet machine: the calling thread looks every 0.05 s, a training waits 0.1 s more.
        if took < 0.2 + 0.3 * busy():
            return
    raise AssertionError(took)


def interrupted(command: list[str], kind: str) -> float:
    """How long a call goes on after Ctrl-C."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        if process.poll() is not None:
            pytest.skip("this machine was too fast")
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stdout.readline()
        took = time.monotonic() - begun
        assert said.startswith("interrupted"), said
        assert process.wait(timeout=120) == 0
        if kind == "train":
            assert "Flow(" in said
    return took


def busy() -> float:
    """How many more processes want to run than can."""
    return max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1.0)


def test_the_package_is_imported_without_numpy_and_quickly() -> None:
    code = "import sys, cnflow; print('numpy' in sys.modules, 'pandas' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_the_command_of_the_package_is_that_of_the_binary(cnf: Callable[..., object], tmp_path: Path) -> None:
    model = FIXTURES / "finished" / "flow" / "model.safetensors"
    table = FIXTURES / "data" / "plane_points.csv"
    own = [sys.executable, "-m", "cnflow._cli"]
    for arguments in (
        ["--version"],
        ["--help"],
        ["density", "--help"],
        [],
        ["info", model],
        ["info", model, "--json"],
        ["data"],
        ["density", model, table, "-o", "{}.npy"],
        ["sample", model, "-n", 7, "-o", "{}.csv"],
        ["density", model, "missing.csv"],
        ["density", "--rtol", "much"],
        ["completions", "bash"],
    ):
        mine = [str(a).format("mine") for a in arguments]
        theirs = [str(a).format("theirs") for a in arguments]
        ours = subprocess.run([*own, *mine], cwd=tmp_path, capture_output=True, text=True)
        other = cnf(*theirs, check=False)
        assert ours.returncode == other.returncode  # type: ignore[attr-defined]

        def plain(text: str) -> list[str]:
            # Durations differ.
            text = re.sub(r"[0-9.]+ (s|ms|a second)\b", "DURATION", text.replace("theirs", "mine"))
            return text.splitlines()

        assert plain(ours.stdout) == plain(other.stdout)  # type: ignore[attr-defined]
        assert plain(ours.stderr) == plain(other.stderr)  # type: ignore[attr-defined]
    for name in (".npy", ".csv"):
        assert (tmp_path / f"mine{name}").read_bytes() == (tmp_path / f"theirs{name}").read_bytes()
