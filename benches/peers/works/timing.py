"""CPU seconds of one thread, ours and theirs in turn.

Wall time depends on what else the machine does; the CPU time of a process with one thread hardly does. In each round every
side runs once, so that all of them see the same machine.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
#: A call that is shorter is repeated until it has taken this long.
LEAST = 0.05
#: A round of one side.
Meter = Callable[[], float]


@dataclass(frozen=True)
class Line:
    """What one side took for a task, each round; none where it did not reach it. The first line of a task is ours, and
    ratios are to it."""

    task: str
    who: str
    seconds: list[float]
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Infinite where the task was not reached."""
        return statistics.median(self.seconds or [math.inf])


@dataclass(frozen=True)
class Budget:
    """How much is measured."""

    rounds: int
    short: bool

    def pick(self, full: T, short: T) -> T:
        return short if self.short else full


def one_thread() -> None:
    """Tells every library, here and in processes that this one starts."""
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CNF_NUM_THREADS"]:
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"


def start_libraries() -> None:
    """Starts them with one thread. XLA takes as many as there are cores, so it starts while this process has one."""
    pinned = hasattr(os, "sched_setaffinity")
    cores = os.sched_getaffinity(0) if pinned else set()
    if pinned:
        os.sched_setaffinity(0, {min(cores)})
    import jax
    import torch

    import cnflow

    jax.devices()
    torch.set_num_threads(1)
    cnflow.set_num_threads(1)
    if pinned:
        for task in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def calls(work: Callable[[], object]) -> Meter:
    """CPU seconds of a call; the mean of many where it is short."""

    def meter() -> float:
        begin, done = time.process_time(), 0
        while True:
            work()
            done += 1
            if (used := time.process_time() - begin) >= LEAST:
                return used / done

    return meter


def in_turn(sides: dict[str, Meter], rounds: int) -> dict[str, list[float]]:
    """The seconds of each side in each round, after one round that does not count: it compiles and fills caches."""
    for meter in sides.values():
        meter()
    found: dict[str, list[float]] = {who: [] for who in sides}
    for _ in range(rounds):
        for who, meter in sides.items():
            found[who].append(meter())
    return found


def lines(task: str, sides: dict[str, Meter], rounds: int, facts: dict[str, dict[str, float | str]] | None = None) -> list[Line]:
    """A line for each side of a task."""
    return [Line(task, who, seconds, (facts or {}).get(who, {})) for who, seconds in in_turn(sides, rounds).items()]
