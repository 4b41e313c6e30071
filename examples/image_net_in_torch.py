"""A velocity of images that `cnf export` wrote, as a module of PyTorch.

    net, about = load("weights.safetensors")
    dx_dt = net(t, x, condition)

t is [n], x is [n, channel, y, x] on the net's side of the pixel map, condition is [n, c] as the model encodes it: one
column for each class, 1 in that of the image. After training, `save(net, about, "tuned.safetensors")`.
"""
import json
import math
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {
    None: lambda a: a, "tanh": torch.tanh, "silu": F.silu, "elu": F.elu, "relu": F.relu,
    "softplus": lambda a: F.softplus(a, threshold=100),
}


class ImageVelocity(nn.Module):
    def __init__(self, velocity):
        super().__init__()
        self.gaussian = velocity.get("gaussian")
        spec = velocity["net"] if self.gaussian else velocity
        self.frequencies, net = spec["frequencies"], spec["net"]
        self.steps = [next(iter(op.items())) for op in net["ops"]]
        channels, modulations, modules = net["shape"]["channels"], 0, []
        for kind, op in self.steps:
            before = channels
            if kind == "conv":
                channels = op["channels"]
            elif kind == "space_to_depth":
                channels *= op["factor"] ** 2
            elif kind == "depth_to_space":
                channels //= op["factor"] ** 2
            elif kind == "modulate":
                modulations += channels * (2 if op["scale"] else 1)
            is_conv = kind == "conv"
            modules.append(nn.Conv2d(before, channels, op["kernel"], padding="same") if is_conv else nn.Identity())
        self.ops = nn.ModuleList(modules)
        embedding = net.get("embedding") or {"layers": [], "activation": None}
        sizes = [net["aux"], *embedding["layers"], modulations] if modulations else [0]
        self.embedding = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.embed = ACTIVATIONS[embedding["activation"]]

    def features(self, t):
        late = torch.log((1 - t + 1e-3).clamp(min=1e-3)) / math.log(1e-3)
        angles = [math.pi * k * u for u in (t, late) for k in range(1, self.frequencies + 1)]
        columns = [f(angle) for angle in angles for f in (torch.sin, torch.cos)]
        return torch.stack(columns, 1) if columns else t.new_zeros(len(t), 0)

    def net(self, t, x, condition):
        e = torch.cat([self.features(t), condition], 1)
        for layer in self.embedding:
            e = layer(e if layer is self.embedding[0] else self.embed(e))
        planes = [x]
        for (kind, op), module in zip(self.steps, self.ops):
            n, channels, height, width = x.shape
            if kind == "conv":
                x = module(x)
            elif kind == "space_to_depth":  # channels [dy][dx][channel]; pixel_unshuffle has [channel][dy][dx]
                f = op["factor"]
                x = F.pad(x, (0, -width % f, 0, -height % f))
                x = x.unflatten(3, (-1, f)).unflatten(2, (-1, f)).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
            elif kind == "depth_to_space":
                f = op["factor"]
                x = x.unflatten(1, (f, f, -1)).permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
                x = x[:, :, :op["height"], :op["width"]]
            elif kind == "modulate":
                if op["scale"]:
                    scale, e = e[:, :channels, None, None], e[:, channels:]
                    x = x * (1 + scale)
                shift, e = e[:, :channels, None, None], e[:, channels:]
                x = x + shift
            elif kind == "add":
                x = x + planes[op["plane"]]
            elif kind == "bound":
                x = op["at"] * torch.tanh(x / op["at"])
            x = ACTIVATIONS[op.get("activation")](x)
            planes.append(x)
        return x

    def forward(self, t, x, condition=None):
        condition = x.new_zeros(len(x), 0) if condition is None else condition
        if not self.gaussian:
            return self.net(t, x, condition)
        s, half = self.gaussian["deviation"], math.pi / 2
        if self.gaussian["path"] == "straight":
            signal, noise, signal_dot, noise_dot = s * t, 1 - t, s * torch.ones_like(t), -torch.ones_like(t)
        else:
            sin, cos = torch.sin(half * t), torch.cos(half * t)
            signal, noise, signal_dot, noise_dot = s * sin, cos, s * half * cos, -half * sin
        variance = signal**2 + noise**2
        a = (signal * signal_dot + noise * noise_dot) / variance
        b = (signal_dot * noise - signal * noise_dot).abs() / variance.sqrt()
        a, b, c = (number[:, None, None, None] for number in (a, b, variance.rsqrt()))
        return a * x + b * self.net(t, c * x, condition)


def load(path):
    """The module with its weights, and the file's metadata."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    net = ImageVelocity(json.loads(about["flow"])["flow"]["velocity"])
    net.load_state_dict({key: value for key, value in tensors.items() if key.startswith(("embedding.", "ops."))})
    return net, about


def save(net, about, path):
    """A file for `cnf import`, which takes everything but the weights from the metadata."""
    save_file({key: value.contiguous() for key, value in net.float().state_dict().items()}, path, about)


if __name__ == "__main__":
    net, about = load(sys.argv[1])
    flow = json.loads(about["flow"])["flow"]
    spec = flow["velocity"].get("net", {}) if net.gaussian else flow["velocity"]
    shape, c = spec["net"]["shape"], spec["condition_dim"]
    net.double()
    x = torch.cos(torch.arange(shape["height"] * shape["width"] * shape["channels"], dtype=torch.float64))
    x = x.reshape(1, shape["height"], shape["width"], shape["channels"]).permute(0, 3, 1, 2)
    condition = torch.zeros(1, c, dtype=torch.float64)
    condition[:, :1] = 1
    with torch.no_grad():
        v = net(torch.full((1,), 0.3, dtype=torch.float64), x, condition)
    print(*v.permute(0, 2, 3, 1).flatten().tolist())
