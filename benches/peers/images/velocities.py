"""The velocity of an exported model in PyTorch against this program's, in f64 at random points.

    python velocities.py MODEL          a model of images with the net of `cnf train`; CNF names the program

Both take eight steps of the classical Runge-Kutta method from the same 32 random points, each with a random condition:
32 velocities along each path, from t = 0 to t = 1. PyTorch does so with examples/image_net_in_torch.py. This program does
with the same weights, imported as those of a bare state dict, so that its rows are real numbers. Prints the largest
difference of a number at the end, which has to be below 1e-10 of the largest number.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

from mnist import REPOSITORY

sys.path.insert(0, os.path.join(REPOSITORY, "examples"))
from image_net_in_torch import load  # noqa: E402

POINTS, STEPS = 32, 8


def cnf(*words):
    out = subprocess.run([os.environ.get("CNF", "cnf"), *words, "--quiet"], capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(out.stderr)


torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    at = lambda name: os.path.join(folder, name)
    cnf("export", sys.argv[1], "-o", at("weights.safetensors"))
    net, about = load(at("weights.safetensors"))
    velocity = json.loads(about["flow"])["flow"]["velocity"]
    spec = velocity["net"] if net.gaussian else velocity
    shape = [spec["net"]["shape"][side] for side in ("height", "width", "channels")]
    d, c = math.prod(shape), spec["condition_dim"]

    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, at("bare.safetensors"))
    options = ["--image", "x".join(map(str, shape)), "--condition-dim", str(c)]
    if net.gaussian:
        options += ["--path", net.gaussian["path"], "--deviation", str(net.gaussian["deviation"])]
    else:
        options += ["--preconditioning", "none"]
    cnf("import", at("bare.safetensors"), *options, "-o", at("model.safetensors"))

    rng = np.random.default_rng(0)
    x, condition = rng.normal(size=(POINTS, d)), rng.normal(size=(POINTS, c))
    np.save(at("x.npy"), x)
    np.save(at("c.npy"), condition)
    given = ["--condition", at("c.npy")] if c else []
    method = ["--solver", "rk4", "--fixed-steps", str(STEPS), "--precision", "f64"]
    cnf("sample", at("model.safetensors"), "--latent", at("x.npy"), *given, *method, "-o", at("y.npy"))
    own = np.load(at("y.npy"))

net.double().requires_grad_(False)
condition = torch.from_numpy(condition)


def v(t, x):
    planes = x.reshape(-1, *shape).permute(0, 3, 1, 2)
    t = torch.full((len(x),), t, dtype=torch.float64)
    return net(t, planes, condition).permute(0, 2, 3, 1).reshape(len(x), d)


x, h = torch.from_numpy(x), 1 / STEPS
for step in range(STEPS):
    t = step * h
    k1 = v(t, x)
    k2 = v(t + h / 2, x + h / 2 * k1)
    k3 = v(t + h / 2, x + h / 2 * k2)
    k4 = v(t + h, x + h * k3)
    x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
off, largest = np.abs(own - x.numpy()).max(), np.abs(own).max()
print(f"{POINTS} points of {d} numbers, {4 * STEPS} velocities each: differ by {off:.2e} at most, numbers up to {largest:.1f}")
sys.exit(int(off > 1e-10 * max(1.0, largest)))
