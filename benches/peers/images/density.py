"""Bits per dimension of images by torchdiffeq, with the weights, the noise and the probes of `cnf density`.

    python density.py MODEL --data digits --trace exact          a model of `cnf train --data digits --condition digit`
    python density.py MODEL --data mnist --images 16             one of MNIST's training images, a class a condition

CNF names the program (default: cnf). The model is exported and read by examples/image_net_in_torch.py. Everything else is
computed here from the metadata: the noise of each pixel, the map of the grey levels with its terms, and the probes, all
of which are functions of the image and the seed 0. Then log p(y) = log N(z) − ∫ tr ∂v/∂y dt by torchdiffeq's dopri5 in
f64, with the exact trace or one probe of random signs. `cnf density` gets the same images, in f64 at the same tolerance,
and in its usual f32 at 1e-3.

Ref for the constants: src/rng.rs (SplitMix64's finaliser), src/transform/dequantise.rs, src/transform/levels.rs.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torchdiffeq import odeint

from mnist import REPOSITORY, mnist

sys.path.insert(0, os.path.join(REPOSITORY, "examples"))
from image_net_in_torch import load  # noqa: E402

SEED, DRAW = 0, 0
MASK = 2**64 - 1


def mix(word):
    """A thorough mix of words, u64 of any shape."""
    word = np.atleast_1d(np.asarray(word, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def keys(rows):
    """One word a row, of its numbers rounded to f32."""
    key = mix(np.full(len(rows), SEED, np.uint64))
    for column in rows.astype(np.float32).view(np.uint32).T:
        key = mix(key ^ column.astype(np.uint64))
    return key


def quantile(p):
    """The normal quantile by P. J. Acklam's approximation (2003), relative error 1.2e-9.

    The program has the same. An exact quantile gives the same densities to 1e-8, but other probes: those are a function
    of y rounded to f32.
    """
    a = [-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1,
         2.506628277459239]
    b = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1]
    c = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968,
         2.938163982698783]
    d = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1]
    low, q = 0.02425, p - 0.5
    root = np.sqrt(-2 * np.log(np.minimum(p, 1 - p)))
    tail = np.polyval(c, root) / np.polyval(d, root)
    centre = q * np.polyval(a, q * q) / np.polyval(b, q * q)
    return np.where(p < low, tail, np.where(p > 1 - low, -tail, centre))


def noise(images, kind):
    """u and log q(u) of each pixel, u in [0, 1)."""
    key = mix(keys(images.astype(np.float64)) ^ mix(DRAW ^ MASK))
    words = np.stack([mix(key + np.uint64(j)) for j in range(images.shape[1])], 1)
    unit = (words >> np.uint64(11)).astype(np.float64) / 2**53
    if kind == "uniform":
        return unit, np.zeros_like(unit)
    from scipy.special import ndtr
    below = ndtr(-2.5)
    u = 0.5 + 0.2 * quantile(below + (1 - 2 * below) * (unit + 0.5 / 2**53))
    z = (u - 0.5) / 0.2
    return u, -0.5 * z * z - math.log(0.2 * math.sqrt(2 * math.pi) * (1 - 2 * below))


class Levels:
    """The piecewise linear map of grey levels, from their counts."""

    def __init__(self, pixels):
        if pixels["scale"] != "pieces":
            raise SystemExit(f"the pixel map is {pixels['scale']}, expected pieces")
        p = np.array(pixels["counts"], float)
        p /= p.sum()
        most, others = int(p.argmax()), np.ones(len(p), bool)
        others[most] = False
        width = np.zeros(len(p))
        width[most] = min(max(p[most], 1 / len(p)), 0.5)
        width[others] = (1 - width[most]) * (0.5 * p[others] / p[others].sum() + 0.5 / (len(p) - 1))
        edges = np.concatenate([[0], np.cumsum(width)])
        # The variance of the noise within a level of width 1.
        if pixels["noise"] == "uniform":
            within = 1 / 12
        else:
            from scipy.special import ndtr
            density = math.exp(-0.5 * 2.5**2) / math.sqrt(2 * math.pi)
            within = 0.2**2 * (1 - 2 * 2.5 * density / (1 - 2 * ndtr(-2.5)))
        middle = edges[:-1] + width / 2
        self.mean = (p * middle).sum()
        self.std = math.sqrt((p * ((middle - self.mean) ** 2 + within * width**2)).sum())
        self.edges, self.width = edges, width

    def __call__(self, images, u):
        """y and the sum of ln dy/dv of each image."""
        width = self.width[images]
        return (self.edges[images] + width * u - self.mean) / self.std, np.log(width / self.std).sum(1)


def encoded(condition, labels):
    """Classes as columns, 1 in their own."""
    if not condition:
        return np.zeros((len(labels), 0))
    classes = condition["columns"][0]["classes"]
    return (np.asarray(labels)[:, None] == np.array(classes)).astype(float)


def probe(y):
    """One probe of random signs a row."""
    stream = mix(keys(y) ^ mix(0))
    words = np.stack([mix(stream + np.uint64(w)) for w in range(-(-y.shape[1] // 64))], 1)
    bits = (words[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    return bits.reshape(len(y), -1)[:, :y.shape[1]].astype(float) * 2 - 1


class Augmented(torch.nn.Module):
    """dy/dt and the divergence, for rows [n, d] in the order [y][x][channel]."""

    def __init__(self, net, shape, condition, e):
        super().__init__()
        self.net, self.shape, self.condition, self.e, self.nfe = net, shape, condition, e, 0

    def planes(self, rows):
        return rows.reshape(-1, *self.shape).permute(0, 3, 1, 2)

    def forward(self, t, state):
        y, (n, d) = state[0], state[0].shape
        self.nfe += 1
        v = lambda x, c: self.net(t.expand(len(x)), self.planes(x), c).permute(0, 2, 3, 1).reshape(len(x), d)
        if self.e is not None:
            value, tangent = torch.func.jvp(lambda x: v(x, self.condition), (y,), (self.e,))
            return value, (tangent * self.e).sum(1)
        # One pass for each of d unit vectors, side by side; y is evaluated once.
        unit = torch.eye(d, dtype=y.dtype)
        along = lambda e: torch.func.jvp(lambda x: v(x, self.condition), (y,), (e.expand(n, d),))
        value, tangents = torch.func.vmap(along, out_dims=(None, 0))(unit)
        return value, torch.einsum("knk->n", tangents)


def test_images(name, n):
    if name == "mnist":
        x, labels = mnist("test")
    else:
        folder = os.path.join(REPOSITORY, "examples", "data")
        x, labels, split = (np.load(os.path.join(folder, f"digits8x8{part}.npy")) for part in ("", "_labels", "_split"))
        x, labels = x[split == 2], labels[split == 2]
    side = 28 if name == "mnist" else 8
    return x[:n].reshape(-1, side, side).astype(np.uint8), labels[:n].astype(np.int64)


def by_cnf(model, x, labels, words, conditional):
    """log P of each image by the command, and its facts."""
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        np.save(at("x.npy"), x)
        np.save(at("c.npy"), labels.astype(float)[:, None])
        given = ["--condition", at("c.npy")] if conditional else []
        line = [os.environ.get("CNF", "cnf"), "density", model, at("x.npy"), *given, "-o", at("logp.npy"), "--json", *words]
        out = subprocess.run(line, capture_output=True, text=True)
        if out.returncode:
            raise SystemExit(out.stderr)
        return np.load(at("logp.npy")).reshape(-1), json.loads(out.stdout)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
parser.add_argument("--images", type=int, default=16)
parser.add_argument("--trace", choices=["exact", "probe"], default="probe")
parser.add_argument("--tol", type=float, default=1e-6)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
torch.set_num_threads(args.threads)

with tempfile.TemporaryDirectory() as folder:
    weights = os.path.join(folder, "weights.safetensors")
    line = [os.environ.get("CNF", "cnf"), "export", args.model, "-o", weights, "--quiet"]
    subprocess.run(line, check=True, capture_output=True)
    net, about = load(weights)
flow = json.loads(about["flow"])["flow"]
pixels, condition = flow["pixels"], flow.get("condition")
shape = tuple(pixels["shape"][side] for side in ("height", "width", "channels"))
d = math.prod(shape)
net.double().requires_grad_(False)

x, labels = test_images(args.data, args.images)
images = x.reshape(len(x), -1)
u, log_q = noise(images, pixels["noise"])
y, slope = Levels(pixels)(images, u)
e = None if args.trace == "exact" else torch.from_numpy(probe(y))
field = Augmented(net, shape, torch.from_numpy(encoded(condition, labels)), e)
start = torch.from_numpy(y), torch.zeros(len(y), dtype=torch.float64)
times = torch.tensor([1.0, 0.0], dtype=torch.float64)
z, log_det = (part[-1] for part in odeint(field, start, times, method="dopri5", rtol=args.tol, atol=args.tol))
latent = (-0.5 * (z**2).sum(1) - 0.5 * d * math.log(2 * math.pi) + log_det).numpy()
found = latent + slope - log_q.sum(1)
unit = d * math.log(2)
print(f"{len(x)} test images of {args.data}, trace {args.trace}, tolerance {args.tol:g}")
print(f"torchdiffeq: {-found.mean() / unit:.6f} bits/dim, NFE {field.nfe}; nats an image: log p(y) {latent.mean():.4f}, "
      f"log|dy/dv| {slope.mean():.4f}, -log q {-log_q.sum(1).mean():.4f}")
trace = ["--trace", "exact" if args.trace == "exact" else "hutchinson:1", "--seed", str(SEED)]
same = ["--precision", "f64", "--rtol", str(args.tol), "--atol", str(args.tol)]
worst = []
for what, words in [(f"cnf, f64 at {args.tol:g}", same), ("cnf, f32 at 1e-3", ["--rtol", "1e-3", "--atol", "1e-3"])]:
    own, facts = by_cnf(args.model, x, labels, trace + words, bool(condition))
    off = (own - found) / unit
    terms = facts["bits_per_dim_terms"]
    print(f"{what}: {-own.mean() / unit:.6f} bits/dim, NFE {facts['nfe_mean']:.0f}; nats an image: log p(y) "
          f"{terms['log_prob_y']:.4f}, log|dy/dv| {terms['log_dy_dv']:.4f}, -log q {terms['minus_log_noise']:.4f}")
    print(f"  differs by {np.abs(off).max():.2e} bits/dim on one image at most, {abs(off.mean()):.2e} in the mean")
    worst.append(float(np.abs(off).max()))
# The usual tolerance of images is coarser than this on single ones: only f64 is held to it.
if worst[0] > 1e-3:
    raise SystemExit(f"{worst[0]:.2e} bits/dim apart, more than 1e-3")
print(json.dumps({"bits_per_dim": -found.mean() / unit, "worst_f64": worst[0], "worst_f32": worst[1]}))
