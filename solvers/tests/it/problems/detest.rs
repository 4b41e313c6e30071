//! The 25 problems of DETEST, each on [0, 20].
//!
//! Ref: Hull, Enright, Fellen & Sedgwick, *Comparing numerical methods for ordinary differential equations*,
//! SIAM J. Numer. Anal. 9 (1972) 603-637.

use std::f64::consts::PI;

use super::{Problem, Rhs, Truth};

const fn on_20(name: &'static str, f: Rhs, y0: &'static [f64], truth: Truth) -> Problem {
    Problem { name, f, t0: 0.0, t1: 20.0, y0, truth }
}

pub static DETEST: &[Problem] = &[
    on_20("A1", |_, y, d| d[0] = -y[0], &[1.0], Truth::Closed(|t| vec![(-t).exp()])),
    on_20("A2", |_, y, d| d[0] = -0.5 * y[0].powi(3), &[1.0], Truth::Closed(|t| vec![1.0 / (1.0 + t).sqrt()])),
    on_20("A3", |t, y, d| d[0] = y[0] * t.cos(), &[1.0], Truth::Closed(|t| vec![t.sin().exp()])),
    on_20(
        "A4",
        |_, y, d| d[0] = 0.25 * y[0] * (1.0 - y[0] / 20.0),
        &[1.0],
        Truth::Closed(|t| vec![20.0 / (1.0 + 19.0 * (-0.25 * t).exp())]),
    ),
    on_20("A5", |t, y, d| d[0] = (y[0] - t) / (y[0] + t), &[4.0], Truth::End(&[-0.7887826688958043])),
    on_20("B1", growth, &[1.0, 3.0], Truth::End(&[0.6761876008576007, 0.1860816099640041])),
    on_20("B2", reaction, &[2.0, 0.0, 1.0], Truth::Closed(reaction_at)),
    on_20(
        "B3",
        |_, y, d| d.copy_from_slice(&[-y[0], y[0] - y[1] * y[1], y[1] * y[1]]),
        &[1.0, 0.0, 0.0],
        Truth::End(&[2.061153753420064e-9, 0.052572280220485094, 0.9474277177183611]),
    ),
    on_20("B4", torus, &[3.0, 0.0, 0.0], Truth::End(&[0.9826950927984882, 2.1984470816911896, 0.9129452507281071])),
    on_20(
        "B5",
        rigid_body,
        &[0.0, 1.0, 1.0],
        Truth::End(&[-0.9396570798728745, -0.3421177754001331, 0.7414126596200069]),
    ),
    on_20("C1", decay_chain, &FIRST_OF_10, Truth::Closed(decay_chain_at)),
    on_20("C2", yule_chain, &FIRST_OF_10, Truth::Closed(yule_chain_at)),
    on_20("C3", diffusion, &FIRST_OF_10, Truth::Closed(|t| diffusion_at(10, t))),
    on_20("C4", diffusion, &FIRST_OF_51, Truth::Closed(|t| diffusion_at(51, t))),
    on_20("C5", planets, &PLANETS, Truth::End(&PLANETS_AT_20)),
    on_20("D1", orbit, &[0.9, 0.0, 0.0, 1.1055415967851332], Truth::Closed(|t| orbit_at(0.1, t))),
    on_20("D2", orbit, &[0.7, 0.0, 0.0, 1.3627702877384937], Truth::Closed(|t| orbit_at(0.3, t))),
    on_20("D3", orbit, &[0.5, 0.0, 0.0, 1.7320508075688772], Truth::Closed(|t| orbit_at(0.5, t))),
    on_20("D4", orbit, &[0.30000000000000004, 0.0, 0.0, 2.3804761428476167], Truth::Closed(|t| orbit_at(0.7, t))),
    on_20("D5", orbit, &[0.09999999999999998, 0.0, 0.0, 4.358898943540674], Truth::Closed(|t| orbit_at(0.9, t))),
    on_20("E1", bessel, &[0.671396707141803, 0.0954005144474744], Truth::Closed(bessel_at)),
    on_20(
        "E2",
        |_, y, d| d.copy_from_slice(&[y[1], (1.0 - y[0] * y[0]) * y[1] - y[0]]),
        &[2.0, 0.0],
        Truth::End(&[2.0081497621749427, -0.04250887527322188]),
    ),
    on_20("E3", duffing, &[0.0, 0.0], Truth::End(&[-0.10041788586443309, 0.24114001320958564])),
    on_20("E4", |_, y, d| d.copy_from_slice(&[y[1], 0.032 - 0.4 * y[1] * y[1]]), &[30.0, 0.0], Truth::Closed(fall_at)),
    on_20(
        "E5",
        |t, y, d| d.copy_from_slice(&[y[1], (1.0 + y[1] * y[1]).sqrt() / (25.0 - t)]),
        &[0.0, 0.0],
        Truth::Closed(pursuit_at),
    ),
];

const FIRST_OF_10: [f64; 10] = first();
const FIRST_OF_51: [f64; 51] = first();

const fn first<const N: usize>() -> [f64; N] {
    let mut y = [0.0; N];
    y[0] = 1.0;
    y
}

/// B1: two populations in conflict.
fn growth(_: f64, y: &[f64], d: &mut [f64]) {
    d[0] = 2.0 * (y[0] - y[0] * y[1]);
    d[1] = -(y[1] - y[0] * y[1]);
}

/// B2: a linear chemical reaction, with eigenvalues 0, −1, −3.
fn reaction(_: f64, y: &[f64], d: &mut [f64]) {
    d.copy_from_slice(&[-y[0] + y[1], y[0] - 2.0 * y[1] + y[2], y[1] - y[2]]);
}

fn reaction_at(t: f64) -> Vec<f64> {
    let (slow, fast) = (0.5 * (-t).exp(), 0.5 * (-3.0 * t).exp());
    vec![1.0 + slow + fast, 1.0 - 2.0 * fast, 1.0 - slow + fast]
}

/// B4: the integral surface of a torus.
fn torus(_: f64, y: &[f64], d: &mut [f64]) {
    let r = (y[0] * y[0] + y[1] * y[1]).sqrt();
    d.copy_from_slice(&[-y[1] - y[0] * y[2] / r, y[0] - y[1] * y[2] / r, y[0] / r]);
}

/// B5: Euler's equations of a rigid body.
fn rigid_body(_: f64, y: &[f64], d: &mut [f64]) {
    d.copy_from_slice(&[y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]]);
}

/// C1: a radioactive decay chain of equal rates.
fn decay_chain(_: f64, y: &[f64], d: &mut [f64]) {
    d[0] = -y[0];
    for i in 1..9 {
        d[i] = y[i - 1] - y[i];
    }
    d[9] = y[8];
}

fn decay_chain_at(t: f64) -> Vec<f64> {
    let mut y: Vec<f64> =
        (0..9).scan((-t).exp(), |y, i| Some(std::mem::replace(y, *y * t / f64::from(i + 1)))).collect();
    y.push(1.0 - y.iter().sum::<f64>());
    y
}

/// C2: a decay chain of rates 1 to 9.
fn yule_chain(_: f64, y: &[f64], d: &mut [f64]) {
    d[0] = -y[0];
    for i in 1..9 {
        d[i] = i as f64 * y[i - 1] - (i + 1) as f64 * y[i];
    }
    d[9] = 9.0 * y[8];
}

fn yule_chain_at(t: f64) -> Vec<f64> {
    let left = (-t).exp();
    let mut y: Vec<f64> = (0..9).map(|i| left * (1.0 - left).powi(i)).collect();
    y.push((1.0 - left).powi(9));
    y
}

/// C3, C4: diffusion along a line, by its second differences.
fn diffusion(_: f64, y: &[f64], d: &mut [f64]) {
    let n = y.len();
    for i in 0..n {
        let left = if i > 0 { y[i - 1] } else { 0.0 };
        let right = if i + 1 < n { y[i + 1] } else { 0.0 };
        d[i] = left - 2.0 * y[i] + right;
    }
}

fn diffusion_at(n: usize, t: f64) -> Vec<f64> {
    let angle = |j: usize, k: usize| (j * k) as f64 * PI / (n + 1) as f64;
    let mode = |j: usize, k: usize| angle(j, k).sin() * angle(1, k).sin() * ((2.0 * angle(1, k).cos() - 2.0) * t).exp();
    (1..=n).map(|j| (1..=n).map(|k| mode(j, k)).sum::<f64>() * 2.0 / (n + 1) as f64).collect()
}

/// C5: the five outer planets: positions, then velocities; in astronomical units and hundreds of days.
fn planets(_: f64, y: &[f64], d: &mut [f64]) {
    const MASS: [f64; 5] =
        [0.954786104043e-3, 0.285583733151e-3, 0.437273164546e-4, 0.517759138449e-4, 0.277777777778e-5];
    const SUN: f64 = 1.00000597682;
    const GRAVITY: f64 = 2.95912208286;
    let at = |j: usize| [y[3 * j], y[3 * j + 1], y[3 * j + 2]];
    let cube = |x: [f64; 3]| (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]).powf(1.5);
    d[..15].copy_from_slice(&y[15..]);
    for j in 0..5 {
        let x = at(j);
        for i in 0..3 {
            let mut pull = -(SUN + MASS[j]) * x[i] / cube(x);
            for k in (0..5).filter(|k| *k != j) {
                let other = at(k);
                let apart = [other[0] - x[0], other[1] - x[1], other[2] - x[2]];
                pull += MASS[k] * (apart[i] / cube(apart) - other[i] / cube(other));
            }
            d[15 + 3 * j + i] = GRAVITY * pull;
        }
    }
}

const PLANETS: [f64; 30] = [
    3.42947415189,
    3.35386959711,
    1.35494901715,
    6.64145542550,
    5.97156957878,
    2.18231499728,
    11.2630437207,
    14.6952576794,
    6.27960525067,
    -30.1552268759,
    1.65699966404,
    1.43785752721,
    -21.1238353380,
    28.4465098142,
    15.3882659679,
    -0.557160570446,
    0.505696783289,
    0.230578543901,
    -0.415570776342,
    0.365682722812,
    0.169143213293,
    -0.325325669158,
    0.189706021964,
    0.0877265322780,
    -0.0240476254170,
    -0.287659532608,
    -0.117219543175,
    -0.176860753121,
    -0.216393453025,
    -0.0148647893090,
];

const PLANETS_AT_20: [f64; 30] = [
    -4.792730224324719,
    -2.4205507254486998,
    -0.9212509306013497,
    -4.217310404035216,
    7.356202947498967,
    3.2237859854212103,
    4.035559443262267,
    17.198655286705552,
    7.478910794233702,
    -29.987593263248446,
    -4.107310937550932,
    -0.9277008321754409,
    -24.42125302518483,
    23.814590457465542,
    14.920963069513585,
    0.34992089630620016,
    -0.5748487687912952,
    -0.25516940208791594,
    -0.5237040978903329,
    -0.24930004635796627,
    -0.08045341642044476,
    -0.3875289237334112,
    0.05648603288767893,
    0.03023606472143346,
    0.041338565467124305,
    -0.2862393029841381,
    -0.11830324051362072,
    -0.1511986457359207,
    -0.24600688943187657,
    -0.031896874113238764,
];

/// D1 to D5: a Kepler orbit from its perihelion.
fn orbit(_: f64, y: &[f64], d: &mut [f64]) {
    let cube = (y[0] * y[0] + y[1] * y[1]).powf(1.5);
    d.copy_from_slice(&[y[2], y[3], -y[0] / cube, -y[1] / cube]);
}

/// Kepler's equation E − ε sin E = t, by bisection of [t − 1, t + 1] and then Newton (which alone may go astray).
fn orbit_at(eccentricity: f64, t: f64) -> Vec<f64> {
    let (mut low, mut high) = (t - 1.0, t + 1.0);
    for _ in 0..20 {
        let middle = 0.5 * (low + high);
        if middle - eccentricity * middle.sin() < t { low = middle } else { high = middle }
    }
    let mut anomaly = 0.5 * (low + high);
    for _ in 0..3 {
        anomaly -= (anomaly - eccentricity * anomaly.sin() - t) / (1.0 - eccentricity * anomaly.cos());
    }
    let (sin, cos) = anomaly.sin_cos();
    let (minor, speed) = ((1.0 - eccentricity * eccentricity).sqrt(), 1.0 / (1.0 - eccentricity * cos));
    vec![cos - eccentricity, minor * sin, -sin * speed, minor * cos * speed]
}

/// E1: Bessel's equation of order 1/2, from x = t + 1.
fn bessel(t: f64, y: &[f64], d: &mut [f64]) {
    let x = t + 1.0;
    d.copy_from_slice(&[y[1], -(y[1] / x + (1.0 - 0.25 / (x * x)) * y[0])]);
}

fn bessel_at(t: f64) -> Vec<f64> {
    let x = t + 1.0;
    let root = (2.0 / (PI * x)).sqrt();
    vec![root * x.sin(), root * (x.cos() - 0.5 * x.sin() / x)]
}

/// E3: Duffing's oscillator, driven.
fn duffing(t: f64, y: &[f64], d: &mut [f64]) {
    d.copy_from_slice(&[y[1], y[0].powi(3) / 6.0 - y[0] + 2.0 * (2.78535 * t).sin()]);
}

/// E4: a fall with drag.
fn fall_at(t: f64) -> Vec<f64> {
    let (terminal, rate) = (0.08_f64.sqrt(), 0.0128_f64.sqrt());
    vec![30.0 + (rate * t).cosh().ln() / 0.4, terminal * (rate * t).tanh()]
}

/// E5: the curve of pursuit.
fn pursuit_at(t: f64) -> Vec<f64> {
    let a = 25.0 / (25.0 - t);
    vec![0.5 * (25.0 * a.ln() - t + t * t / 50.0), 0.5 * (a - 1.0 / a)]
}
