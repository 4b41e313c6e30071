//! Stiff and mild problems with known ends, and a field that evaluates them lane by lane.

use cnflow_solvers::{
    At, Failure, Implicit, Jvp, Lanes, LanesMut, Method, Observer, Options, Report, VectorField, solve_here,
};

/// out ← f(t, y)
pub type Value = fn(f64, &[f64], &mut [f64]);
/// out ← (∂f/∂y) d at (t, y)
pub type Tangent = fn(f64, &[f64], &[f64], &mut [f64]);

/// A field made of two functions; it records the widest tile of tangents that was requested.
#[derive(Clone, Copy)]
pub struct Field {
    pub dim: usize,
    pub f: Value,
    pub jvp: Tangent,
    pub widest: usize,
}

impl Field {
    pub fn new(dim: usize, f: Value, jvp: Tangent) -> Self {
        Self { dim, f, jvp, widest: 0 }
    }
}

fn column(y: &Lanes<'_, f64>, lane: usize) -> Vec<f64> {
    (0..y.rows()).map(|i| y.row(i)[lane]).collect()
}

fn put(out: &mut LanesMut<'_, f64>, lane: usize, v: &[f64]) {
    for (i, &v) in v.iter().enumerate() {
        out.row_mut(i)[lane] = v;
    }
}

impl VectorField<f64> for Field {
    fn dim(&self) -> usize {
        self.dim
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        let mut v = vec![0.0; self.dim];
        for (lane, &t) in at.t.iter().enumerate() {
            (self.f)(t, &column(&y, lane), &mut v);
            put(&mut out, lane, &v);
        }
    }
    fn tangents(&mut self) -> Option<&mut dyn Jvp<f64>> {
        Some(self)
    }
}

impl Jvp<f64> for Field {
    fn jvp(&mut self, at: At<'_>, y: Lanes<'_, f64>, dy: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        self.widest = self.widest.max(at.lanes());
        let mut v = vec![0.0; self.dim];
        for (lane, &t) in at.t.iter().enumerate() {
            (self.jvp)(t, &column(&y, lane), &column(&dy, lane), &mut v);
            put(&mut out, lane, &v);
        }
    }
}

/// An initial value problem whose end is known.
#[derive(Clone, Copy)]
pub struct Problem {
    pub name: &'static str,
    pub f: Value,
    pub jvp: Tangent,
    pub y0: &'static [f64],
    pub t0: f64,
    pub t1: f64,
    /// atol = this × rtol: small where a component is small.
    pub atol_to_rtol: f64,
    pub end: fn() -> Vec<f64>,
}

impl Problem {
    pub fn field(&self) -> Field {
        Field::new(self.y0.len(), self.f, self.jvp)
    }

    pub fn options(&self, rtol: f64) -> Options {
        Options { rtol, atol: self.atol_to_rtol * rtol, ..Options::default() }
    }

    pub fn solve(&self, method: Implicit, rtol: f64) -> Outcome {
        solve_one(&mut self.field(), method, self.y0, (self.t0, self.t1), &self.options(rtol), ())
    }
}

/// The outcome of one trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub y: Vec<f64>,
    pub t: f64,
    pub accepted: u32,
    pub rejected: u32,
    pub nfe: u32,
    pub jacobians: u32,
    pub status: Result<(), Failure>,
}

impl Outcome {
    pub fn new(y: &[f64], report: &Report) -> Self {
        let Report { t, accepted, rejected, nfe, jacobians, status, .. } = *report;
        Self { y: y.to_vec(), t, accepted, rejected, nfe, jacobians, status }
    }
}

/// Solves for the one trajectory that starts at `y0`.
pub fn solve_one(
    field: &mut Field,
    method: Implicit,
    y0: &[f64],
    span: (f64, f64),
    options: &Options,
    observer: impl Observer<f64>,
) -> Outcome {
    let options = Options { method: Method::Implicit(method), ..options.clone() };
    let solution = solve_here(field, observer, y0, span, &options).unwrap();
    Outcome::new(&solution.y, &solution.reports[0])
}

/// y₁' = y₂, y₂' = ((1 − y₁²)y₂ − y₁)/ε
pub fn van_der_pol(eps: f64, y: &[f64], out: &mut [f64]) {
    out[0] = y[1];
    out[1] = ((1.0 - y[0] * y[0]) * y[1] - y[0]) / eps;
}

pub fn van_der_pol_jvp(eps: f64, y: &[f64], d: &[f64], out: &mut [f64]) {
    out[0] = d[1];
    out[1] = ((-2.0 * y[0] * y[1] - 1.0) * d[0] + (1.0 - y[0] * y[0]) * d[1]) / eps;
}

/// ε = 1e-6. End: `../shared/NUMERICS.md`, section 7; esdirk34 at rtol 1e-11 comes within 2e-10 of it.
pub const VAN_DER_POL: Problem = Problem {
    name: "Van der Pol",
    f: |_, y, out| van_der_pol(1e-6, y, out),
    jvp: |_, y, d, out| van_der_pol_jvp(1e-6, y, d, out),
    y0: &[2.0, 0.0],
    t0: 0.0,
    t1: 2.0,
    atol_to_rtol: 1.0,
    end: || vec![1.7061677321704, -0.8928097010248],
};

/// Three reactions whose rates differ by nine powers of ten. End: as above; bdf at rtol 1e-12 comes
/// within 6e-12 of it.
pub const ROBERTSON: Problem = Problem {
    name: "Robertson",
    f: |_, y, out| {
        let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
        out.copy_from_slice(&[b - a, a - b - c, c]);
    },
    jvp: |_, y, d, out| {
        let (a, b, c) = (0.04 * d[0], 1e4 * (d[1] * y[2] + y[1] * d[2]), 6e7 * y[1] * d[1]);
        out.copy_from_slice(&[b - a, a - b - c, c]);
    },
    y0: &[1.0, 0.0, 0.0],
    t0: 0.0,
    t1: 40.0,
    atol_to_rtol: 1e-5,
    end: || vec![0.7158270687194, 9.18553476456e-6, 0.2841637457458],
};

/// Not stiff: an oscillating reaction. End: as above; the oracle at 1e-10 comes within 4e-11 of it.
pub const BRUSSELATOR: Problem = Problem {
    name: "Brusselator",
    f: |_, y, out| {
        let s = y[0] * y[0] * y[1];
        out.copy_from_slice(&[1.0 + s - 4.0 * y[0], 3.0 * y[0] - s]);
    },
    jvp: |_, y, d, out| {
        let s = 2.0 * y[0] * y[1] * d[0] + y[0] * y[0] * d[1];
        out.copy_from_slice(&[s - 4.0 * d[0], 3.0 * d[0] - s]);
    },
    y0: &[1.5, 3.0],
    t0: 0.0,
    t1: 20.0,
    atol_to_rtol: 1.0,
    end: || vec![0.4986370712683478, 4.596780349452011],
};

/// y' = −2y
pub const DECAY: Problem = Problem {
    name: "linear decay",
    f: |_, y, out| out[0] = -2.0 * y[0],
    jvp: |_, _, d, out| out[0] = -2.0 * d[0],
    y0: &[1.0],
    t0: 0.0,
    t1: 1.5,
    atol_to_rtol: 1.0,
    end: || vec![(-3.0f64).exp()],
};

/// y' = −2y, backward: the solution grows.
pub const GROWTH: Problem =
    Problem { name: "linear growth, backward", t0: 1.5, t1: 0.0, end: || vec![3.0f64.exp()], ..DECAY };

/// y' = y cos t: y = exp(sin t), forward.
pub const SWING: Problem = Problem {
    name: "nonautonomous",
    f: |t, y, out| out[0] = y[0] * t.cos(),
    jvp: |t, _, d, out| out[0] = d[0] * t.cos(),
    y0: &[1.0],
    t0: 0.0,
    t1: 5.0,
    atol_to_rtol: 1.0,
    end: || vec![5.0f64.sin().exp()],
};

/// y' = y cos t, backward from t = 5 over zero to −1.
pub const SWING_BACK: Problem = Problem {
    name: "nonautonomous, backward",
    t0: 5.0,
    t1: -1.0,
    end: || vec![((-1.0f64).sin() - 5.0f64.sin()).exp()],
    ..SWING
};

/// y' = −1000 (y − cos t) − sin t: stiff, and y = cos t (Prothero & Robinson 1974).
pub const PROTHERO: Problem = Problem {
    name: "Prothero-Robinson",
    f: |t, y, out| out[0] = -1000.0 * (y[0] - t.cos()) - t.sin(),
    jvp: |_, _, d, out| out[0] = -1000.0 * d[0],
    y0: &[1.0],
    t0: 0.0,
    t1: 3.0,
    atol_to_rtol: 1.0,
    end: || vec![3.0f64.cos()],
};

/// The same with the sign of the rate turned: stiff when integrated backward.
pub const PROTHERO_BACK: Problem = Problem {
    name: "Prothero-Robinson, backward",
    f: |t, y, out| out[0] = 1000.0 * (y[0] - t.cos()) - t.sin(),
    jvp: |_, _, d, out| out[0] = 1000.0 * d[0],
    y0: &[1.0],
    t0: 0.0,
    t1: -3.0,
    ..PROTHERO
};

/// Every problem of this file.
pub const ALL: [Problem; 9] =
    [VAN_DER_POL, ROBERTSON, BRUSSELATOR, DECAY, GROWTH, SWING, SWING_BACK, PROTHERO, PROTHERO_BACK];
