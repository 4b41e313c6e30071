//! Linear problems with a formula, and the classics beyond DETEST.

use super::{Problem, Truth};

/// Decay, a rotation, and a driven decay: for the laws that hold to rounding.
pub static LINEAR: &[Problem] = &[
    Problem {
        name: "decay",
        f: |_, y, d| d[0] = -y[0],
        t0: 0.0,
        t1: 2.0,
        y0: &[1.0],
        truth: Truth::Closed(|t| vec![(-t).exp()]),
    },
    Problem {
        name: "rotation",
        f: |_, y, d| d.copy_from_slice(&[-y[1], y[0]]),
        t0: 0.0,
        t1: 3.0,
        y0: &[1.0, 0.0],
        truth: Truth::Closed(|t| vec![t.cos(), t.sin()]),
    },
    Problem {
        name: "driven decay",
        f: |t, y, d| d[0] = t.cos() - y[0],
        t0: 0.0,
        t1: 3.0,
        y0: &[1.0],
        truth: Truth::Closed(|t| vec![0.5 * (t.cos() + t.sin() + (-t).exp())]),
    },
];

/// Three problems for measuring orders, long or steep enough that errors stay above round-off while steps are small:
/// ten turns of a rotation, a strongly pulsed growth, and Bessel's equation. (Nonlinear ones mix their error terms so
/// that a slope within 0.25 is seen only below round-off at orders 7 and 8; the trees cover every nonlinearity.)
pub static SLOPES: &[Problem] = &[
    Problem { name: "ten turns", t1: 62.0, ..LINEAR[1] },
    Problem {
        name: "pulsed growth",
        f: |t, y, d| d[0] = 4.0 * y[0] * t.cos(),
        t0: 0.0,
        t1: 10.0,
        y0: &[1.0],
        truth: Truth::Closed(|t| vec![(4.0 * t.sin()).exp()]),
    },
    Problem { name: "Bessel", t1: 50.0, ..super::detest::DETEST[20] },
];

/// The restricted three-body problem: after one period it is back where it began.
///
/// Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, II.0.
pub static ARENSTORF: Problem = Problem {
    name: "Arenstorf",
    f: arenstorf,
    t0: 0.0,
    t1: 17.065216560157963,
    y0: &ARENSTORF_START,
    truth: Truth::End(&ARENSTORF_START),
};

const ARENSTORF_START: [f64; 4] = [0.994, 0.0, 0.0, -2.0015851063790824];

fn arenstorf(_: f64, y: &[f64], d: &mut [f64]) {
    const MOON: f64 = 0.012277471;
    const EARTH: f64 = 1.0 - MOON;
    let cube = |x: f64| (x * x + y[1] * y[1]).powf(1.5);
    let (near_earth, near_moon) = (cube(y[0] + MOON), cube(y[0] - EARTH));
    d[0] = y[2];
    d[1] = y[3];
    d[2] = y[0] + 2.0 * y[3] - EARTH * (y[0] + MOON) / near_earth - MOON * (y[0] - EARTH) / near_moon;
    d[3] = y[1] - 2.0 * y[2] - EARTH * y[1] / near_earth - MOON * y[1] / near_moon;
}

/// An autocatalytic reaction.  Ref: Hairer, Nørsett & Wanner I, I.16.
pub static BRUSSELATOR: Problem = Problem {
    name: "Brusselator",
    f: |_, y, d| {
        let meeting = y[0] * y[0] * y[1];
        d.copy_from_slice(&[1.0 + meeting - 4.0 * y[0], 3.0 * y[0] - meeting]);
    },
    t0: 0.0,
    t1: 20.0,
    y0: &[1.5, 3.0],
    truth: Truth::End(&[0.4986370712683345, 4.596780349451996]),
};

/// Seven stars in the plane, with close encounters: xs, ys, then velocities.  Ref: Hairer, Nørsett & Wanner I, II.10.
pub static PLEIADES: Problem =
    Problem { name: "Pleiades", f: pleiades, t0: 0.0, t1: 3.0, y0: &STARS, truth: Truth::End(&STARS_AT_3) };

fn pleiades(_: f64, y: &[f64], d: &mut [f64]) {
    d[..14].copy_from_slice(&y[14..]);
    for i in 0..7 {
        let (mut ax, mut ay) = (0.0, 0.0);
        for j in (0..7).filter(|j| *j != i) {
            let (dx, dy) = (y[j] - y[i], y[7 + j] - y[7 + i]);
            let pull = (j + 1) as f64 / (dx * dx + dy * dy).powf(1.5);
            ax += pull * dx;
            ay += pull * dy;
        }
        d[14 + i] = ax;
        d[21 + i] = ay;
    }
}

const STARS: [f64; 28] = [
    3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0, 3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.75, -1.5,
    0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0,
];

const STARS_AT_3: [f64; 28] = [
    0.37061391438797364,
    3.237284092057476,
    -3.2225590324186513,
    0.6597091455783558,
    0.34255817071527805,
    1.5621721014008203,
    -0.700309292220249,
    -3.943437585520107,
    -3.2713809739721227,
    5.225081843451702,
    -2.5906124349777393,
    1.1982136933946386,
    -0.24296823449385194,
    1.0914492404300093,
    3.4170038062952974,
    1.354584501625783,
    -2.5900655978098057,
    2.0250537347179236,
    -1.1558151001643382,
    -0.8072988170214103,
    0.5952396354229995,
    -3.741244961243823,
    0.3773459685755183,
    0.9386858869506842,
    0.3667922227210882,
    -0.34740463537856286,
    2.3449154481803953,
    -1.947020434261888,
];

/// Chaos, for as long as double precision can follow.
pub static LORENZ: Problem = Problem {
    name: "Lorenz",
    f: |_, y, d| {
        d.copy_from_slice(&[10.0 * (y[1] - y[0]), y[0] * (28.0 - y[2]) - y[1], y[0] * y[1] - 8.0 / 3.0 * y[2]])
    },
    t0: 0.0,
    t1: 1.0,
    y0: &[1.0, 1.0, 1.0],
    truth: Truth::End(&[-9.378570010925374, -8.35703378842699, 29.36232533736377]),
};
