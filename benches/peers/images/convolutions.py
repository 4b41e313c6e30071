"""The speed of the recipe's net at 28 x 28 pixels, f32, one thread: this program's kernels beside PyTorch.

    python convolutions.py [--rounds 7] [--bench PROGRAM] [--no-compile]

In each round the bench of the kernels runs once (`cargo bench -p cnflow-kernels --bench image` compiles it; or give it as
PROGRAM), then each setting of PyTorch; so both see the same machine. Times are CPU time an image. What is compared:

- forward: the value of the net of 30 features and an image; in PyTorch under inference_mode;
- forward and backward: with the gradient by all weights, not by the image.

PyTorch computes with its channels last, with oneDNN and without, in its default order, and compiled (inductor, where a C++
compiler is found), at batches of 16, 32 and 128. The kernels work on blocks of 16 images at any batch. A round takes the
median of several runs of each, as the bench does; printed are medians over the rounds, and the ratio of the best setting
of PyTorch at each batch to the kernels: above 1 the kernels are faster.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import time
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from mnist import REPOSITORY

warnings.simplefilter("ignore")
FINE, COARSE, BLOCKS, EMBEDDING, AUX, BOUND = 16, 32, 4, 64, 30, 4.0


class Recipe(nn.Module):
    """The net as one would write it for speed: PyTorch's own (un)shuffle, fused multiply and add."""

    def __init__(self):
        super().__init__()
        conv = lambda kernel, a, b: nn.Conv2d(a, b, kernel, padding=kernel // 2)
        self.embedding = nn.Sequential(
            nn.Linear(AUX, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU(),
            nn.Linear(EMBEDDING, 4 * FINE + BLOCKS * COARSE),
        )
        self.stem = conv(3, 1, FINE)
        self.to_half = conv(1, 4 * FINE, COARSE)
        self.to_quarter = conv(1, 4 * COARSE, COARSE)
        # One block at half the size, two at a quarter, and one at half again.
        self.first = nn.ModuleList(conv(3, COARSE, COARSE) for _ in range(BLOCKS))
        self.second = nn.ModuleList(conv(3, COARSE, COARSE) for _ in range(BLOCKS))
        self.from_quarter = conv(1, COARSE, 4 * COARSE)
        self.from_half = conv(1, COARSE, 4 * FINE)
        self.head = conv(3, FINE, FINE)
        self.last = conv(1, FINE, 1)

    def forward(self, x, aux):
        e = self.embedding(aux)[:, :, None, None]
        parts = e.split([FINE, FINE] + [COARSE] * BLOCKS + [FINE, FINE], 1)
        modulated = lambda x, scale, shift: F.silu(torch.addcmul(shift, x, 1 + scale))
        block = lambda h, i: h + self.second[i](F.silu(self.first[i](h) + parts[2 + i]))
        stem = modulated(self.stem(BOUND * torch.tanh(x / BOUND)), parts[0], parts[1])
        half = block(self.to_half(F.pixel_unshuffle(stem, 2)), 0)
        quarter = block(block(self.to_quarter(F.pixel_unshuffle(half, 2)), 1), 2)
        half = block(half + F.pixel_shuffle(self.from_quarter(quarter), 2), 3)
        full = stem + F.pixel_shuffle(self.from_half(half), 2)
        return self.last(modulated(self.head(full), parts[-2], parts[-1]))


def timed(f, seconds=0.06, runs=5):
    """CPU seconds of a call: the median of runs of at least `seconds` each, as the bench has it."""
    f()
    times = []
    for _ in range(runs):
        begin, n = time.process_time(), 0
        while time.process_time() - begin < seconds:
            f()
            n += 1
        times.append((time.process_time() - begin) / n)
    return statistics.median(times)


def settings(batch, compiles):
    """For each setting its name and the two functions."""
    aux = torch.randn(batch, AUX)
    chosen = [(True, True, False), (True, False, False), (False, True, False), (True, True, True)]
    for last, onednn, compiled in chosen[:4 if compiles else 3]:
        torch.manual_seed(0)
        layout = torch.channels_last if last else torch.contiguous_format
        net = Recipe().to(memory_format=layout)
        x = torch.randn(batch, 1, 28, 28).contiguous(memory_format=layout)
        called = torch.compile(net) if compiled else net
        weights = list(net.parameters())

        def forward(called=called, x=x, onednn=onednn):
            with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=onednn):
                called(x, aux)

        def both(called=called, x=x, onednn=onednn, weights=weights):
            with torch.backends.mkldnn.flags(enabled=onednn):
                torch.autograd.grad(called(x, aux).square().sum(), weights)

        name = ("channels last" if last else "default order") + (", oneDNN" if onednn else ", no oneDNN")
        yield name + (", compiled" if compiled else ""), forward, both


def compiled_bench():
    """The program that cargo makes of the bench."""
    command = ["cargo", "bench", "-p", "cnflow-kernels", "--bench", "image", "--no-run"]
    told = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stderr
    return os.path.join(REPOSITORY, re.search(r"Executable .*\((.+)\)", told)[1])


def kernels(program):
    """µs an image of the bench, forward and with the gradient, and the lines up to there; the rest is not waited for."""
    found, lines = {}, []
    with subprocess.Popen([program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line.rstrip())
            if match := re.match(r" +(.+?) +([0-9.]+) µs an image", line):
                found[match[1]] = float(match[2])
            if "value and gradient" in found:
                process.kill()
                break
    return found["value"], found["value and gradient"], lines


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=7)
parser.add_argument("--bench", metavar="PROGRAM")
parser.add_argument("--no-compile", action="store_true")
args = parser.parse_args()
args.bench = args.bench or compiled_bench()
torch.set_num_threads(1)

print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; load {os.getloadavg()[0]:.1f}, "
      f"{os.cpu_count()} cores", flush=True)
parameters = sum(weight.numel() for weight in Recipe().parameters())
_, _, out = kernels(args.bench)
own = re.search(r"([0-9]+) parameters", out[1])[1]
print("\n".join(out[:2]), flush=True)
if int(own) != parameters:
    raise SystemExit(f"{parameters} parameters in PyTorch, {own} in the bench: not the same net")

entries = []
for batch in (16, 32, 128):
    for name, forward, both in settings(batch, not args.no_compile):
        try:
            forward(), both()
        except Exception as problem:  # A compiler may be missing.
            print(f"{name}, batch {batch}: {str(problem).splitlines()[0]}")
            continue
        entries.append((batch, name, forward, both, [], []))
        print(f"ready: {name}, batch {batch}", flush=True)

own_forward, own_both = [], []
for index in range(args.rounds):
    forward, both, _ = kernels(args.bench)
    own_forward.append(forward)
    own_both.append(both)
    for batch, _, forward, both, of_forward, of_both in entries:
        of_forward.append(1e6 * timed(forward) / batch)
        of_both.append(1e6 * timed(both) / batch)
    print(f"round {index + 1}: load {os.getloadavg()[0]:.1f}", flush=True)

middle = statistics.median
spread = lambda times: f"{middle(times):8.1f} ({min(times):.1f} to {max(times):.1f})"
print(f"µs an image, medians of {args.rounds} rounds, the range in brackets: forward | forward and backward")
print(f"{'kernels, blocks of 16':48} {spread(own_forward)} | {spread(own_both)}")
for batch, name, _, _, of_forward, of_both in entries:
    print(f"{f'PyTorch, batch {batch}, {name}':48} {spread(of_forward)} | {spread(of_both)}")
found = {"kernels": [middle(own_forward), middle(own_both)]}
for batch in (16, 32, 128):
    best = [min(middle(entry[part]) for entry in entries if entry[0] == batch) for part in (4, 5)]
    ratios = [best[0] / middle(own_forward), best[1] / middle(own_both)]
    print(f"batch {batch}: the best of PyTorch takes {ratios[0]:.2f} times as long forward, {ratios[1]:.2f} with backward")
    found[str(batch)] = best + ratios
print(json.dumps(found))
