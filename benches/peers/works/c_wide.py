"""C. One step of maximum likelihood of a wide net in 43 columns: 860-860, softplus, batch 1000, dopri5 at 1e-5, f32.

Ours takes the exact trace. The peers estimate it with one random probe (Hutchinson), because their exact trace needs 43 tangents.
"""

from . import likelihood, training
from .data import correlated
from .nets import Net
from .timing import Budget, Line, lines

TITLE = "C. One step of maximum likelihood, wide net"
COLUMNS = ["trace"]
D, TOLERANCE = 43, 1e-5


def run(budget: Budget) -> list[Line]:
    width, batch = budget.pick((860, 1000), (128, 200))
    hidden, steps = [width, width], budget.pick(1, 2)
    net, rows = Net.random(D, hidden, "softplus"), correlated(20_000, D, 0)
    options = training.PLAIN | {
        "model": "cnf", "objective": "likelihood", "lr": likelihood.RATE, "batch": batch, "hidden": hidden,
        "activation": net.activation, "rtol": TOLERANCE, "atol": TOLERANCE, "base": "normal",
    }  # fmt: skip
    common = (net, rows, batch, TOLERANCE)
    adjoints = likelihood.adjoints(TOLERANCE)
    meters = {
        "cnflow": training.own(rows, steps + 1, trace="exact", **options),
        "cnflow, one probe": training.own(rows, steps + 1, trace="hutchinson:1", **options),
        "torchdiffeq, through its operations": training.loop(likelihood.of_torch(*common, "autograd", False, True), steps),
        "diffrax, backsolve, one step for all": training.loop(likelihood.of_jax(*common, adjoints["backsolve"], True, True), steps),
    }
    facts: dict[str, dict[str, float | str]] = {who: {COLUMNS[0]: "exact" if who == "cnflow" else "one probe"} for who in meters}
    return lines(f"likelihood step of {batch} rows, {width}-{width}", meters, budget.rounds, facts)
