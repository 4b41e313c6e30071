//! Synthetic models of a ring of Gaussians, blurred more and more, with all that a comparison can show of them.

use std::f64::consts::TAU;

use cnflow::plot::{Cells, Comparison, Contender, WorkPoint};

/// The `i`-th number between 0 and 1 of a stream.  Ref: Steele, Lea & Flood (2014), the mix of SplitMix64.
pub fn unit(i: usize, stream: usize) -> f64 {
    let mut z =
        (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stream as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Two normal numbers for each index.
pub fn normals(i: usize, seed: usize) -> [f64; 2] {
    let (u, v) = (unit(i, 4 * seed).max(1e-12), unit(i, 4 * seed + 1));
    let r = (-2.0 * u.ln()).sqrt();
    [r * (TAU * v).cos(), r * (TAU * v).sin()]
}

/// `modes` Gaussians on a ring (or a line), of this deviation, with a part of one broad Gaussian.
#[derive(Clone, Copy)]
pub struct Ring {
    pub dim: usize,
    pub modes: usize,
    pub sigma: f64,
    pub broad: f64,
}

impl Ring {
    fn centre(&self, k: usize) -> [f64; 2] {
        let turn = k as f64 / self.modes as f64;
        if self.dim == 1 { [8.0 * turn - 3.5, 0.0] } else { [4.0 * (TAU * turn).cos(), 4.0 * (TAU * turn).sin()] }
    }

    pub fn density(&self, p: &[f64]) -> f64 {
        let normal = |c: &[f64], s: f64| -> f64 {
            let far: f64 = p.iter().zip(c).map(|(a, b)| ((a - b) / s).powi(2)).sum();
            (-0.5 * far).exp() / (TAU * s * s).powf(0.5 * self.dim as f64)
        };
        let sharp: f64 = (0..self.modes).map(|k| normal(&self.centre(k), self.sigma)).sum();
        (1.0 - self.broad) * sharp / self.modes as f64 + self.broad * normal(&[0.0, 0.0], 3.2)
    }

    pub fn sample(&self, n: usize, seed: usize) -> Vec<f64> {
        (0..n)
            .flat_map(|i| {
                let e = normals(i, seed);
                let (s, c) = if unit(i, 4 * seed + 2) < self.broad {
                    (3.2, [0.0, 0.0])
                } else {
                    (self.sigma, self.centre((unit(i, 4 * seed + 3) * self.modes as f64) as usize))
                };
                (0..self.dim).map(move |j| c[j.min(1)] * if j > 1 { 0.5 } else { 1.0 } + s * e[j % 2])
            })
            .collect()
    }
}

pub fn cells(dim: usize, n: usize) -> Cells {
    let side = (-6.0, 6.0);
    Cells { x: side, y: side, nx: n, ny: if dim == 1 { 1 } else { n } }
}

pub const NAMES: [&str; 8] = ["CNF", "RealNVP", "Glow", "Spline", "NICE", "Mixture", "KDE", "FFJORD ema"];

/// Everything that a comparison can show, of `count` models.
pub struct Study {
    pub dim: usize,
    pub data: Vec<f64>,
    pub cells: Option<Cells>,
    pub truth: Option<Vec<f64>>,
    pub models: Vec<Contender>,
    pub entropy: Option<f64>,
}

impl Study {
    pub fn new(dim: usize, count: usize, n: usize, side: usize) -> Self {
        let ring = Ring { dim, modes: if dim == 1 { 2 } else { 8 }, sigma: 0.38, broad: 0.0 };
        let grid = (dim < 3).then(|| cells(dim, side));
        let on = |r: Ring| grid.map(|g| g.centres().chunks(dim).map(|p| r.density(p)).collect::<Vec<f64>>());
        let data = ring.sample(n, 1);
        let mean = |r: Ring| -> f64 {
            let d = dim.min(2);
            -data.chunks(dim).map(|p| Ring { dim: d, ..r }.density(&p[..d]).ln()).sum::<f64>() / n as f64
        };
        let model = |k: usize| {
            let r = Ring { sigma: 0.38 * (1.02 + 0.13 * k as f64), broad: 0.004 + 0.035 * k as f64, ..ring };
            let end = mean(r);
            let speed = [9.0, 3.0, 4.5, 5.0, 1.2, 0.6, 0.2, 14.0][k];
            let wobble = |i: usize| 0.02 * normals(i, k)[0];
            let curve = (1..=60).map(|i| {
                let t = speed * 0.12 * f64::from(i);
                (t, end + 3.5 * (-1.1 * f64::from(i).sqrt()).exp() * 3.0 + wobble(i as usize) / f64::from(i).sqrt())
            });
            let work = |label: String, cost: f64, loss: f64| WorkPoint { cost, nll: end + loss, label };
            let cost = if k == 0 || k == 7 {
                (1..=6)
                    .map(|e| {
                        work(format!("1e-{e}"), 60.0 * 1.7f64.powi(e) * (1.0 + k as f64 / 7.0), 1.2 * 10f64.powi(-e))
                    })
                    .collect()
            } else if k < 4 {
                [2, 4, 8, 16]
                    .map(|l| work(format!("{l} layers"), (1.5 + k as f64) * f64::from(l), 1.6 / f64::from(l * l)))
                    .to_vec()
            } else {
                vec![work(String::new(), 0.7 * k as f64, 0.0)]
            };
            Contender {
                name: NAMES[k].into(),
                density: on(r),
                samples: r.sample(n, k + 2),
                curve: curve.collect(),
                end: Some((end, 0.004)),
                median: None,
                cost,
            }
        };
        Self {
            dim,
            truth: on(ring),
            entropy: Some(mean(ring)),
            models: (0..count).map(model).collect(),
            cells: grid,
            data: data.clone(),
        }
    }

    pub fn small(dim: usize, count: usize) -> Self {
        Self::new(dim, count, 200, 24)
    }

    pub fn of(&self) -> Comparison<'_> {
        Comparison {
            cells: self.cells,
            truth: self.truth.as_deref(),
            entropy: self.entropy,
            ..Comparison::new(&self.data, self.dim, &self.models)
        }
    }
}
