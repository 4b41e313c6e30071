"""End states of the problems in this folder that have no closed form, by scipy's DOP853 at rtol = 1e-13.

Run: python detest_reference.py   (scipy 1.17). Each line is pasted into mod.rs; the second column is the
largest difference to the same solve at rtol = 1e-12, a bound on the reference's own error.
"""
import numpy as np
from scipy.integrate import solve_ivp


def b4(t, y):
    r = np.hypot(y[0], y[1])
    return [-y[1] - y[0] * y[2] / r, y[0] - y[1] * y[2] / r, y[0] / r]


K2, M0 = 2.95912208286, 1.00000597682
M = np.array([0.954786104043e-3, 0.285583733151e-3, 0.437273164546e-4, 0.517759138449e-4, 0.277777777778e-5])
PLANETS = [3.42947415189, 3.35386959711, 1.35494901715, 6.64145542550, 5.97156957878, 2.18231499728,
           11.2630437207, 14.6952576794, 6.27960525067, -30.1552268759, 1.65699966404, 1.43785752721,
           -21.1238353380, 28.4465098142, 15.3882659679,
           -0.557160570446, 0.505696783289, 0.230578543901, -0.415570776342, 0.365682722812, 0.169143213293,
           -0.325325669158, 0.189706021964, 0.0877265322780, -0.0240476254170, -0.287659532608, -0.117219543175,
           -0.176860753121, -0.216393453025, -0.0148647893090]


def c5(t, y):
    x, v = y[:15].reshape(5, 3), y[15:]
    r3 = (x**2).sum(1)**1.5
    a = np.empty((5, 3))
    for j in range(5):
        a[j] = -(M0 + M[j]) * x[j] / r3[j]
        for k in range(5):
            if k != j:
                a[j] += M[k] * ((x[k] - x[j]) / ((x[k] - x[j])**2).sum()**1.5 - x[k] / r3[k])
    return np.concatenate([v, K2 * a.ravel()])


def pleiades(t, y):
    x, v = y[:14].reshape(2, 7), y[14:]
    d = x[:, None, :] - x[:, :, None]
    r3 = (d**2).sum(0)**1.5 + np.eye(7)
    return np.concatenate([v, ((d * np.arange(1, 8)) / r3).sum(2).ravel()])


PROBLEMS = {
    "A5": (lambda t, y: [(y[0] - t) / (y[0] + t)], [4], 20),
    "B1": (lambda t, y: [2 * (y[0] - y[0] * y[1]), -(y[1] - y[0] * y[1])], [1, 3], 20),
    "B3": (lambda t, y: [-y[0], y[0] - y[1]**2, y[1]**2], [1, 0, 0], 20),
    "B4": (b4, [3, 0, 0], 20),
    "B5": (lambda t, y: [y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]], [0, 1, 1], 20),
    "C5": (c5, PLANETS, 20),
    "E2": (lambda t, y: [y[1], (1 - y[0]**2) * y[1] - y[0]], [2, 0], 20),
    "E3": (lambda t, y: [y[1], y[0]**3 / 6 - y[0] + 2 * np.sin(2.78535 * t)], [0, 0], 20),
    "brusselator": (lambda t, y: [1 + y[0]**2 * y[1] - 4 * y[0], 3 * y[0] - y[0]**2 * y[1]], [1.5, 3], 20),
    "pleiades": (pleiades, [3, 3, -1, -3, 2, -2, 2, 3, -3, 2, 0, 0, -4, 4,
                            0, 0, 0, 0, 0, 1.75, -1.5, 0, 0, 0, -1.25, 1, 0, 0], 3),
    "lorenz": (lambda t, y: [10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]], [1, 1, 1], 1),
}

for name, (f, y0, end) in PROBLEMS.items():
    ends = [solve_ivp(f, (0, end), y0, method="DOP853", rtol=r, atol=r * 1e-2).y[:, -1] for r in (1e-13, 1e-12)]
    print(f"{name} {abs(ends[0] - ends[1]).max():.0e}")
    print("   ", ", ".join(repr(float(v)) for v in ends[0]))
