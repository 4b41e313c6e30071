//! Where the laws of nets evaluate one, what it gives there, and what is compared.

use cnflow_kernels::Scalar;

use crate::cases::{bits, numbers};

/// The rows of everything that a net takes and gives.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of x.
    pub inputs: usize,
    /// Of x, those that are differentiated.
    pub active: usize,
    /// Of what is given beside x.
    pub aux: usize,
    /// Of y.
    pub outputs: usize,
}

/// What a net gives at some samples: all `[lanes, rows]`, the gradient as long as θ.
#[derive(Clone, Debug, Default)]
pub struct Found<T> {
    pub y: Vec<T>,
    /// Along each direction.
    pub dy: Vec<Vec<T>>,
    pub x_bar: Vec<T>,
    pub dx_bar: Vec<Vec<T>>,
    pub g: Vec<T>,
}

/// The points, two directions and all cotangents of the laws, `[n, rows]` each.
pub struct Points<T> {
    pub n: usize,
    pub x: Vec<T>,
    pub aux: Vec<T>,
    pub dx: [Vec<T>; 2],
    pub y_bar: Vec<T>,
    pub dy_bar: [Vec<T>; 2],
}

impl<T: Scalar> Points<T> {
    pub fn new(sizes: Sizes, n: usize) -> Self {
        let of = |rows: usize, seed: u64| numbers::<T>(n * rows, seed);
        let Sizes { inputs, active, aux, outputs } = sizes;
        Self {
            n,
            x: of(inputs, 1),
            aux: of(aux, 7),
            dx: [of(active, 2), of(active, 3)],
            y_bar: of(outputs, 4),
            dy_bar: [of(outputs, 5), of(outputs, 6)],
        }
    }
}

impl Points<f64> {
    /// What the pull-back of `which` is the gradient of: y by its cotangent, all tangents by theirs.
    pub fn loss(&self, found: &Found<f64>, which: (bool, bool)) -> f64 {
        let of_value = if which.0 { dot(&found.y, &self.y_bar) } else { 0.0 };
        let of_tangents: f64 = found.dy.iter().zip(&self.dy_bar).map(|(dy, bar)| dot(dy, bar)).sum();
        of_value + if which.1 { of_tangents } else { 0.0 }
    }
}

impl<T: Scalar> Found<T> {
    /// All that belongs to a lane, as bits.
    pub fn lane(&self, sizes: Sizes, l: usize) -> Vec<u64> {
        let of = |numbers: &[T], rows: usize| bits(&numbers[l * rows..][..rows]);
        let mut all = of(&self.y, sizes.outputs);
        self.dy.iter().for_each(|dy| all.extend(of(dy, sizes.outputs)));
        self.dx_bar.iter().chain([&self.x_bar]).for_each(|bar| all.extend(of(bar, sizes.active)));
        all
    }
}

/// A lane has the same bits alone and among so many `lanes`; `found` evaluates at some of the `n` samples.
pub fn check_lanes<T: Scalar>(
    what: &str,
    sizes: Sizes,
    n: usize,
    lanes: &[usize],
    found: impl Fn(&[usize]) -> Found<T>,
) {
    let alone: Vec<Vec<u64>> = (0..n).map(|sample| found(&[sample]).lane(sizes, 0)).collect();
    for &lanes in lanes {
        // Backwards, so that no sample keeps its slot.
        let samples: Vec<usize> = (0..lanes).map(|l| n - 1 - l).collect();
        let together = found(&samples);
        for (l, &sample) in samples.iter().enumerate() {
            assert_eq!(together.lane(sizes, l), alone[sample], "{what}: {lanes} lanes");
        }
    }
}

/// Both have the same bits: each lane of `n`, and the gradient.
pub fn check_same<T: Scalar>(what: &str, sizes: Sizes, n: usize, a: &Found<T>, b: &Found<T>) {
    assert_eq!(bits(&a.g), bits(&b.g), "{what}");
    (0..n).for_each(|l| assert_eq!(a.lane(sizes, l), b.lane(sizes, l), "{what}"));
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}
