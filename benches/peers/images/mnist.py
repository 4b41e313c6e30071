"""MNIST, the classifier that judges samples, and the Fréchet distance: what classifier.py and frechet.py share."""
import os
import sys

import numpy as np
import torch
from torch import nn

# The folder of mnist_train.npz and mnist_test.npz, members x (u8, [n, 28, 28]) and y (u8, [n]).
REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 3))
DATA = os.environ.get("MNIST", os.path.join(REPOSITORY, "..", "shared", "data"))
# Beside the environment's programs, so that no file is left in the repository.
CLASSIFIER = os.environ.get("CLASSIFIER", os.path.join(sys.prefix, "classifier.pt"))
FEATURES = 64
# Samples of each digit.
EACH = 50
# The distance of 10 * EACH training images to the test images: what a perfect model would have.
FLOOR = 20.0


def mnist(part):
    """Images (u8, [n, 28, 28]) and digits ([n]) of `train` or `test`."""
    with np.load(os.path.join(DATA, f"mnist_{part}.npz")) as file:
        return file["x"], file["y"]


class Classifier(nn.Module):
    """Two convolutions, 64 features, ten digits; takes grey levels of 0 to 255."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 49, FEATURES), nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, 10)
        # What the features are multiplied by for the Fréchet distance: see classifier.py.
        self.register_buffer("scale", torch.ones(()))

    def features(self, images):
        return self.body(images.reshape(-1, 1, 28, 28).float() / 255)

    def forward(self, images):
        return self.head(self.features(images))


@torch.inference_mode()
def judge(net, images, block=1000):
    """Scaled features ([n, 64], f64) and digits ([n]) of images (u8)."""
    parts = [net.features(torch.from_numpy(images[i:i + block])) for i in range(0, len(images), block)]
    features = torch.cat(parts)
    return (net.scale * features).double().numpy(), net.head(features).argmax(1).numpy()


def moments(features):
    """Mean and covariance (divisor n - 1)."""
    return features.mean(0), np.cov(features, rowvar=False)


def frechet(a, b):
    """Between the Gaussians of two (mean, covariance): |m − μ|² + tr(C + Σ − 2 (C Σ)^½)."""
    (m, c), (mu, sigma) = a, b
    # tr (C Σ)^½ is the sum of the roots of the eigenvalues of Σ^½ C Σ^½, which is symmetric.
    values, vectors = np.linalg.eigh(sigma)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(root @ c @ root), 0, None))
    return float(((m - mu) ** 2).sum() + np.trace(c) + np.trace(sigma) - 2 * roots.sum())


def real(net, draws=20):
    """(distance, agreement) of draws of EACH training images of each digit, seed 0."""
    x, y = mnist("train")
    test = moments(judge(net, mnist("test")[0])[0])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        rows = np.concatenate([rng.choice(np.flatnonzero(y == digit), EACH, replace=False) for digit in range(10)])
        features, seen = judge(net, x[rows])
        found.append((frechet(moments(features), test), (seen == y[rows]).mean()))
    return np.transpose(found)
