"""Weights that `cnf export` wrote, as an nn.Sequential; its value is du/dt."""
import sys
from safetensors import safe_open
from torch import nn, zeros

with safe_open(sys.argv[1], "pt") as file:
    about = file.metadata()
    tensors = {key: file.get_tensor(key) for key in file.keys()}
layers = {k[4:]: v for k, v in tensors.items() if k.startswith("net.")}
weights = [layers[f"{2 * i}.weight"] for i in range(len(layers) // 2)]
act = {"tanh": nn.Tanh, "softplus": nn.Softplus, "silu": nn.SiLU, "elu": nn.ELU}
parts = [(nn.Linear(*w.shape[::-1]), act[about["activation"]]()) for w in weights]
net = nn.Sequential(*sum(parts, ())[:-1])
net.load_state_dict(layers)

row = zeros(net[0].in_features)  # the columns of u, then of the condition, then t
row[net[-1].out_features + int(about["condition_dim"])] = 0.3
print(*net(row).tolist())
