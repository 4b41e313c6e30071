"""The Fréchet distance between samples and MNIST's test images, and the share of samples of the asked class.

    python frechet.py SAMPLES.npy [LABELS.npy]      u8 [n, 28, 28], [n, 28, 28, 1] or [n, 784]; the digits asked for, [n]
    python frechet.py S0.npy S1.npy … S9.npy        ten files: samples of the digits 0 to 9
    python frechet.py --model MODEL                 draws 50 of each digit with `cnf sample` first (CNF names the program)
    python frechet.py --real                        the floor: 20 draws of 50 training images of each digit

Features are the 64 of classifier.py, after their relu and times its scale. With mean m and covariance C (divisor n − 1)
of the samples' features, and μ, Σ of those of the 10 000 test images, the distance is |m − μ|² + tr(C + Σ − 2 (C Σ)^½).
It falls with the number of samples, and depends on the classifier: compare figures of one classifier.pt and one number
of samples (500, 50 a digit). 500 training images have 20 by the choice of the scale.

The last line is JSON: {"frechet", "agreement" (None without digits), "n"}.
"""
import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
import torch

from mnist import CLASSIFIER, EACH, Classifier, frechet, judge, mnist, moments, real

def images(path):
    x = np.load(path)
    if x.dtype != np.uint8 or x.size % 784:
        raise SystemExit(f"{path}: {x.dtype} {list(x.shape)}, expected u8 images of 28 x 28 grey pixels")
    return x.reshape(-1, 28, 28)


def drawn(model):
    """EACH samples of each digit by the command, and their digits."""
    program = os.environ.get("CNF", "cnf")
    found = json.loads(subprocess.run([program, "info", model, "--json"], check=True, capture_output=True).stdout)
    given = (found.get("condition_names") or ["c0"])[0]
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        for digit in range(10):
            out = os.path.join(folder, f"{digit}.npy")
            words = ["sample", model, "-n", str(EACH), "--given", f"{given}={digit}", "--seed", str(digit), "-o", out]
            subprocess.run([program, *words], check=True, capture_output=True)
            samples.append(images(out))
    return np.concatenate(samples), np.repeat(np.arange(10), EACH)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", nargs="*")
parser.add_argument("--model")
parser.add_argument("--real", action="store_true")
args = parser.parse_args()

torch.set_num_threads(1)
net = Classifier()
net.load_state_dict(torch.load(CLASSIFIER, weights_only=True))
net.eval()
test_x, test_y = mnist("test")
test, seen = judge(net, test_x)
test = moments(test)
print(f"classifier: {100 * (seen == test_y).mean():.2f} % of {len(test_x)} test images")

if args.real:
    distances, agreements = real(net)
    print(f"{10 * EACH} training images, 20 draws: Fréchet {distances.mean():.2f}, from {distances.min():.2f} to "
          f"{distances.max():.2f}; agreement {100 * agreements.mean():.1f} %")
    found = {"frechet": distances.mean(), "agreement": agreements.mean(), "n": 10 * EACH}
else:
    if args.model:
        x, asked = drawn(args.model)
    elif len(args.files) == 10:
        parts = [images(path) for path in args.files]
        x, asked = np.concatenate(parts), np.repeat(np.arange(10), [len(part) for part in parts])
    elif len(args.files) in (1, 2):
        x = images(args.files[0])
        asked = np.load(args.files[1]).reshape(-1) if len(args.files) == 2 else None
        if asked is not None and len(asked) != len(x):
            raise SystemExit(f"{args.files[1]}: {len(asked)} digits for {len(x)} samples")
    else:
        parser.error("give SAMPLES.npy [LABELS.npy], ten files, --model MODEL or --real")
    features, seen = judge(net, x)
    distance = frechet(moments(features), test)
    agreement = None if asked is None else float((seen == asked).mean())
    words = "" if agreement is None else f"; the classifier sees the asked digit in {100 * agreement:.1f} %"
    print(f"{len(x)} samples: Fréchet {distance:.2f}{words}")
    found = {"frechet": distance, "agreement": agreement, "n": len(x)}
print(json.dumps(found))
