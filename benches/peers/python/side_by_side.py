"""cnflow beside zuko and scikit-learn, all from Python: import, one row, many rows, samples, training.

    python side_by_side.py [--rounds 5] [--rows 1000000] [--only spline,mixture]

Needs cnflow, zuko, torch and scikit-learn in one environment. Figures are CPU seconds on one thread each: in every round
each side runs once, ours and theirs in turn, so that both see the same machine. Printed are medians over the rounds, and
theirs divided by ours: above 1 ours is faster. A round of a call that takes less than 20 ms has many of them.

Nets are the same on both sides: two hidden layers of 64, four couplings, eight bins, a batch of 512. A continuous flow is
solved to rtol 1e-5 and atol 1e-6 by both, its log-determinant by exact traces, and both train it by likelihood. It gets a
hundredth of the rows, and a kernel density a hundredth too. Our training includes its held-out score and, for a
coupling flow, the mixture that it is compared with; a mixture chooses its number of components, where scikit-learn is given eight.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

for name in ["CNF_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
    os.environ[name] = "1"

import numpy as np
import torch
import zuko
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import cnflow

HIDDEN, COUPLINGS, BINS, BATCH, COMPONENTS = [64, 64], 4, 8, 512, 8
SHORT = 0.02


def table(n, seed):
    """Two half circles with noise, [n, 2]."""
    rng = np.random.default_rng(seed)
    angle, side = np.pi * rng.random(n), rng.integers(0, 2, n)
    turn = 1 - 2 * side
    x = np.stack([side + turn * np.cos(angle), side / 2 + turn * np.sin(angle)], 1)
    return (x + 0.1 * rng.normal(size=x.shape)).astype(np.float32)


def cpu(work):
    """CPU seconds of a call; the mean of many where it is short."""
    begin, calls = time.process_time(), 0
    while True:
        work()
        calls += 1
        if (used := time.process_time() - begin) >= SHORT:
            return used / calls


def cpu_of_import(module):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Zuko:
    """A flow of zuko: trained by Adam on batches of the rows."""

    def __init__(self, make):
        self.make = make

    def train(self, rows, steps):
        torch.manual_seed(0)
        rows = torch.from_numpy(rows)
        self.flow = self.make()
        optimiser = torch.optim.Adam(self.flow.parameters(), 1e-3)
        for _ in range(steps):
            optimiser.zero_grad()
            (-self.flow().log_prob(rows[torch.randint(len(rows), (BATCH,))]).mean()).backward()
            optimiser.step()

    @torch.no_grad()
    def log_prob(self, rows):
        return self.flow().log_prob(torch.from_numpy(rows)).numpy()

    @torch.no_grad()
    def sample(self, n):
        return self.flow().sample((n,)).numpy()


class Sklearn:
    """An estimator of scikit-learn."""

    def __init__(self, make):
        self.make = make

    def train(self, rows, steps):
        self.found = self.make().fit(rows)

    def log_prob(self, rows):
        return self.found.score_samples(rows)

    def sample(self, n):
        return self.found.sample(n)


class Own:
    """A flow of this package."""

    def __init__(self, **options):
        self.options = options

    def train(self, rows, steps):
        self.flow = cnflow.train(rows, steps=steps, seed=0, progress=False, **self.options)

    def log_prob(self, rows):
        return self.flow.log_prob(rows, progress=False)

    def sample(self, n):
        return self.flow.sample(n, progress=False)


def cases():
    """Name, ours, theirs, steps of a training, and the part of the rows that is used."""
    flow = {"batch": BATCH, "hidden": HIDDEN, "validations": 1}
    net = {"transforms": COUPLINGS, "hidden_features": HIDDEN}
    curve = {"univariate": zuko.transforms.MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
    affine = lambda: zuko.flows.RealNVP(2, **net)
    spline = lambda: zuko.flows.RealNVP(2, **net, **curve)
    field = lambda: zuko.flows.CNF(2, freqs=3, hidden_features=HIDDEN, activation=torch.nn.Tanh, atol=1e-6, rtol=1e-5)
    continuous = {"base": "normal", "objective": "likelihood", "time_features": 3, "activation": "tanh", "rtol": 1e-5, "atol": 1e-6}
    discrete = {"depth": COUPLINGS}
    yield "spline", Own(model="spline", bins=BINS, **discrete, **flow), Zuko(spline), 200, 1
    yield "realnvp", Own(model="realnvp", **discrete, **flow), Zuko(affine), 200, 1
    yield "cnf", Own(**continuous, **flow), Zuko(field), 20, 100
    mixture = Own(model="mixture")
    yield "mixture", mixture, Sklearn(lambda: GaussianMixture(COMPONENTS, random_state=0)), None, 1
    yield "kernels", mixture, Sklearn(lambda: KernelDensity(bandwidth=0.1)), None, 100


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--only", default="")
args = parser.parse_args()
torch.set_num_threads(1)
cnflow.set_num_threads(1)
only = [name for name in args.only.split(",") if name]


def duration(seconds):
    for unit, size in [("s", 1.0), ("ms", 1e-3)]:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def compare(name, what, works):
    """A line: the medians of ours and of theirs."""
    rounds = [[work() for work in works] for _ in range(args.rounds)]
    own, *others = (statistics.median(column) for column in zip(*rounds))
    for other in others:
        print(f"| {name} | {what} | {duration(own)} | {duration(other)} | {other / own:.2g} |", flush=True)


print(f"cnflow {cnflow.__version__}, zuko {zuko.__version__}, torch {torch.__version__}")
print("| what | | cnflow | theirs | theirs / ours |\n|---|---|---|---|---|")
if not only or "import" in only:
    for module in ["zuko", "sklearn.mixture"]:
        compare(f"import, {module}", "", [lambda: cpu_of_import("cnflow"), lambda m=module: cpu_of_import(m)])
training, one = table(10_000, 0), table(1, 1)
for name, own, theirs, steps, part in cases():
    if only and name not in only:
        continue
    rows = table(args.rows // part, 2)
    sides = (own, theirs)
    of = lambda call: [lambda side=side: cpu(lambda: call(side)) for side in sides]
    what = f"{steps} steps" if steps else "fit"
    compare(name, what, of(lambda side: side.train(training, steps)))
    compare(name, "log p of one row", of(lambda side: side.log_prob(one)))
    compare(name, f"log p of {len(rows):,} rows", of(lambda side: side.log_prob(rows)))
    compare(name, f"{len(rows):,} samples", of(lambda side: side.sample(len(rows))))
