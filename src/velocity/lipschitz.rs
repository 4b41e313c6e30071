//! The Lipschitz constant of a velocity in x: ‖∂m/∂x‖₂ at points, and a bound over all of space.
//!
//! An explicit step is limited by h·L and the error of a path grows like e^{Lt}, so the largest ‖∂m/∂x‖₂ along the
//! paths measures how hard a flow is to integrate. In few dimensions the Jacobian is formed, one tangent a column, and
//! its singular values found by one-sided Jacobi rotations (Hestenes 1958; Golub & Van Loan, *Matrix Computations*,
//! §8.6.3), which also converge for equal singular values. In many, σ = ‖Jᵀu‖ is iterated with one tangent and one
//! pull-back a turn (power iteration on JᵀJ): it never exceeds the true value.
//!
//! An MLP's bound is Π‖W_l‖₂ · sup|σ′|^(hidden layers) (Szegedy et al. 2014, §4.3), W₁ restricted to the columns of x.
//! It is refused for candle's nets, whose gates multiply: such a product does not exist.

use cnflow_solvers::lanes::{LANE_BLOCK, stride_for};
use cnflow_solvers::{At, Lanes, LanesMut};

use super::{Batch, Evaluator, MlpSpec, Scalar, Trace, Velocity};

/// Up to this many dimensions the Jacobian is formed.
const FEW: usize = 16;
/// Turns of the power iteration beyond.
const TURNS: usize = 30;
/// Squarings of the Gram matrix in [`spectral_norm`].
const SQUARINGS: usize = 14;

/// Where the velocity was found to be steepest.
#[derive(Clone, Debug, PartialEq)]
pub struct Steepest {
    /// ‖∂m/∂x‖₂ there.
    pub norm: f64,
    /// When.
    pub t: f64,
    /// Where, `[d]`.
    pub x: Vec<f64>,
    /// Its mean over all the points.
    pub mean: f64,
    /// The number of points.
    pub points: usize,
    /// The Jacobians were formed; else the norms are from below.
    pub exact: bool,
}

/// The steepest of the points `x` (`[n, d]`, row-major) at times `t` (`[n]`), of a velocity without condition.
///
/// Points that are not finite are left out; `None` where none is left.
pub fn steepest<T: Scalar>(velocity: &dyn Velocity<T>, t: &[f64], x: &[T]) -> Option<Steepest> {
    let d = velocity.dim();
    let norms = jacobian_norms(velocity, t, x);
    let finite: Vec<(usize, f64)> = norms.iter().copied().enumerate().filter(|(_, norm)| norm.is_finite()).collect();
    let (row, norm) = finite.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    Some(Steepest {
        norm,
        t: t[row],
        x: x[row * d..(row + 1) * d].iter().map(|v| v.to_f64()).collect(),
        mean: finite.iter().map(|(_, norm)| norm).sum::<f64>() / finite.len() as f64,
        points: finite.len(),
        exact: d <= FEW,
    })
}

/// ‖∂m/∂x‖₂ at each row of `x` (`[n, d]`, row-major) at its time `t` (`[n]`); NaN where a row is not finite.
///
/// Exact to round-off up to 16 dimensions, from below beyond. The velocity has no condition.
pub fn jacobian_norms<T: Scalar>(velocity: &dyn Velocity<T>, t: &[f64], x: &[T]) -> Vec<f64> {
    let d = velocity.dim();
    let lanes = 4 * LANE_BLOCK;
    let batch = Batch { condition: &[], keys: &[], trace: Trace::Exact, lanes };
    let mut tile = Tile { evaluator: velocity.evaluator(batch), d, stride: stride_for(lanes) };
    let mut gradient = vec![T::ZERO; velocity.grad_len()];
    let mut norms = Vec::with_capacity(t.len());
    for (times, rows) in t.chunks(lanes).zip(x.chunks(lanes * d)) {
        let points = tile.columns(rows);
        norms.extend(match d {
            ..=FEW => tile.exact(times, &points),
            _ => tile.iterated(times, &points, &mut gradient),
        });
    }
    // An affine velocity has a Jacobian even where x is NaN.
    for (norm, row) in norms.iter_mut().zip(x.chunks(d)) {
        if row.iter().any(|v| !v.to_f64().is_finite()) {
            *norm = f64::NAN;
        }
    }
    norms
}

/// A few points side by side: `[d, stride]`.
struct Tile<'a, T> {
    evaluator: Box<dyn Evaluator<T> + 'a>,
    d: usize,
    stride: usize,
}

impl<T: Scalar> Tile<'_, T> {
    /// Rows turned into lanes; unused slots repeat the first row, so that they do not overflow.
    fn columns(&self, rows: &[T]) -> Vec<T> {
        let n = rows.len() / self.d;
        let pick = |i: usize, lane: usize| rows[if lane < n { lane } else { 0 } * self.d + i];
        (0..self.d).flat_map(|i| (0..self.stride).map(move |lane| pick(i, lane))).collect()
    }

    fn tangent(&mut self, t: &[f64], x: &[T], dx: &[T]) -> Vec<T> {
        let (d, n, stride) = (self.d, t.len(), self.stride);
        let sample: Vec<usize> = (0..n).collect();
        let mut out = vec![T::ZERO; d * stride];
        let view = |data| Lanes::new(data, d, n, stride);
        self.evaluator.tangent(At::new(t, &sample), view(x), view(dx), LanesMut::new(&mut out, d, n, stride));
        out
    }

    /// By the whole Jacobian, a tangent a column.
    fn exact(&mut self, t: &[f64], x: &[T]) -> Vec<f64> {
        let (d, stride) = (self.d, self.stride);
        let columns: Vec<Vec<T>> = (0..d)
            .map(|j| {
                let mut unit = vec![T::ZERO; d * stride];
                unit[j * stride..(j + 1) * stride].fill(T::ONE);
                self.tangent(t, x, &unit)
            })
            .collect();
        let of_lane = |lane: usize| {
            let mut jacobian: Vec<Vec<f64>> =
                columns.iter().map(|c| (0..d).map(|i| c[i * stride + lane].to_f64()).collect()).collect();
            largest_singular_value(&mut jacobian)
        };
        (0..t.len()).map(of_lane).collect()
    }

    /// By power iteration from a fixed start.
    fn iterated(&mut self, t: &[f64], x: &[T], gradient: &mut [T]) -> Vec<f64> {
        let (d, n, stride) = (self.d, t.len(), self.stride);
        let sample: Vec<usize> = (0..n).collect();
        // Orthogonal to nothing in particular: a Weyl sequence.
        let start = |i: usize| (0.754_877_666_246_692_7 * (i + 1) as f64).fract() - 0.5;
        let mut v: Vec<T> = (0..d).flat_map(|i| std::iter::repeat_n(T::of(start(i)), stride)).collect();
        let mut norms = vec![f64::NAN; n];
        let lengths = |tile: &[T]| -> Vec<f64> {
            (0..n).map(|l| (0..d).map(|i| tile[i * stride + l].to_f64().powi(2)).sum::<f64>().sqrt()).collect()
        };
        let shorten = |tile: &mut [T], by: &[f64]| {
            for row in tile.chunks_exact_mut(stride) {
                row.iter_mut().zip(by).filter(|(_, l)| **l > 0.0).for_each(|(v, l)| *v = T::of(v.to_f64() / l));
            }
        };
        for _ in 0..TURNS {
            let by = lengths(&v);
            shorten(&mut v, &by);
            let mut u = self.tangent(t, x, &v);
            let by = lengths(&u);
            shorten(&mut u, &by);
            let view = |data| Lanes::new(data, d, n, stride);
            let back = LanesMut::new(&mut v, d, n, stride);
            self.evaluator.pull_back(At::new(t, &sample), view(x), Some(view(&u)), None, back, gradient);
            norms = lengths(&v);
        }
        norms
    }
}

/// The largest singular value of the matrix with these columns, which are turned until they are orthogonal.
///
/// NaN where an entry is not finite.
fn largest_singular_value(columns: &mut [Vec<f64>]) -> f64 {
    if columns.iter().flatten().any(|v| !v.is_finite()) {
        return f64::NAN;
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // Quadratic convergence: six sweeps serve sixteen columns; the bound is never reached.
    for _ in 0..60 {
        let mut turned = false;
        for j in 1..columns.len() {
            for i in 0..j {
                let (left, right) = columns.split_at_mut(j);
                let (a, b) = (&mut left[i], &mut right[0]);
                let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
                if ab.abs() <= f64::EPSILON * (aa * bb).sqrt() {
                    continue;
                }
                turned = true;
                let zeta = (bb - aa) / (2.0 * ab);
                let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = cosine * tangent;
                for (p, q) in a.iter_mut().zip(b.iter_mut()) {
                    (*p, *q) = (cosine * *p - sine * *q, sine * *p + cosine * *q);
                }
            }
        }
        if !turned {
            break;
        }
    }
    columns.iter().map(|c| dot(c, c).sqrt()).fold(0.0, f64::max)
}

/// ‖W‖₂ of a matrix `[rows, cols]`, row-major, from above but for round-off: at most n^(1/2^16) times too large for n
/// the smaller side, 1 part in 10⁴ at 256.
///
/// ρ(G) ≤ ‖G^(2^k)‖_F^(1/2^k) for the Gram matrix G; a power iteration would approach from below and bound nothing.
pub fn spectral_norm(w: &[f64], rows: usize, cols: usize) -> f64 {
    let n = rows.min(cols);
    let at = |i: usize, k: usize| if rows <= cols { w[i * cols + k] } else { w[k * cols + i] };
    let mut gram = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum = (0..rows.max(cols)).map(|k| at(i, k) * at(j, k)).sum();
            (gram[i * n + j], gram[j * n + i]) = (sum, sum);
        }
    }
    // ln of the factors taken out so far, on the scale of G itself.
    let mut log = 0.0;
    let mut scale = 1.0;
    for k in 0..=SQUARINGS {
        let length = gram.iter().map(|g| g * g).sum::<f64>().sqrt();
        if length == 0.0 || !length.is_finite() {
            return if length == 0.0 { 0.0 } else { f64::INFINITY };
        }
        log += scale * length.ln();
        if k == SQUARINGS {
            break;
        }
        gram.iter_mut().for_each(|g| *g /= length);
        let mut square = vec![0.0; n * n];
        for (row, out) in gram.chunks_exact(n).zip(square.chunks_exact_mut(n)) {
            for (g, other) in row.iter().zip(gram.chunks_exact(n)) {
                out.iter_mut().zip(other).for_each(|(o, v)| *o += g * v);
            }
        }
        gram = square;
        scale *= 0.5;
    }
    (0.5 * log).exp()
}

/// The widest layer whose norm is worth its cost: the cube of the smaller side, fourteen times.
const WIDEST: usize = 256;

/// Π‖W_l‖₂ · sup|σ′|^(hidden layers): no Jacobian ∂m/∂x of the MLP is longer, anywhere.
///
/// `theta` is in the layout of [`MlpSpec::tensor_names`]. `None` where two layers in a row are wider than 256.
pub fn lipschitz_bound(spec: &MlpSpec, theta: &[f32]) -> Option<f64> {
    let sizes = spec.layer_sizes();
    let mut bound = spec.activation.largest_derivative().powi(spec.hidden.len() as i32);
    let mut start = 0;
    for (l, pair) in sizes.windows(2).enumerate() {
        let (inputs, outputs) = (pair[0], pair[1]);
        // Of the first layer, only what multiplies x.
        let used = if l == 0 { spec.dim } else { inputs };
        if used.min(outputs) > WIDEST {
            return None;
        }
        let rows = theta.get(start..start + inputs * outputs)?.chunks_exact(inputs);
        let weight: Vec<f64> = rows.flat_map(|row| row[..used].iter().map(|w| f64::from(*w))).collect();
        bound *= spectral_norm(&weight, outputs, used);
        start += (inputs + 1) * outputs;
    }
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, Mlp, TimeInput};
    use super::*;
    use crate::rng;

    fn linear(d: usize, seed: u64) -> (Mlp<f64>, Vec<f64>) {
        let spec =
            MlpSpec { dim: d, condition_dim: 0, hidden: vec![], activation: Activation::Silu, time: TimeInput::Plain };
        let theta: Vec<f64> = spec.init(&mut rng::stream(seed, 1)).iter().map(|w| f64::from(*w)).collect();
        let weight = theta[..(d + 1) * d].chunks_exact(d + 1).flat_map(|row| row[..d].to_vec()).collect();
        (Mlp::new(&spec, &theta).unwrap(), weight)
    }

    /// By the eigenvalues of WᵀW, another library's.
    fn reference(w: &[f64], rows: usize, cols: usize) -> f64 {
        nalgebra::DMatrix::from_row_slice(rows, cols, w).singular_values().max()
    }

    #[test]
    fn of_a_linear_velocity_the_norm_is_that_of_its_matrix_everywhere() {
        for d in [1, 2, 3, 7, 16, 17, 40] {
            let (net, weight) = linear(d, d as u64);
            let exact = reference(&weight, d, d);
            let t: Vec<f64> = (0..70).map(|i| f64::from(i) / 69.0).collect();
            let x: Vec<f64> = (0..70 * d).map(|i| (i as f64 * 0.37).sin()).collect();
            let found = steepest(&net, &t, &x).unwrap();
            // Thirty turns of the power iteration at a ratio of neighbouring singular values near 1 miss a part of it.
            let short = if d <= 16 { 1e-13 } else { 0.02 };
            assert!(found.norm <= exact * (1.0 + 1e-12) && found.norm >= exact * (1.0 - short), "{d}: {found:?}");
            assert!((found.points, found.exact) == (70, d <= 16) && found.mean <= found.norm * (1.0 + 1e-12));
            // The bound holds, and is close.
            let theta: Vec<f32> = net.theta().iter().map(|w| *w as f32).collect();
            let bound = lipschitz_bound(net.spec(), &theta).unwrap();
            assert!(bound >= exact * (1.0 - 1e-12) && bound <= exact * (1.0 + 2e-4), "{d}: {bound} for {exact}");
        }
    }

    #[test]
    fn a_norm_along_the_way_is_below_the_bound_and_equals_that_of_differences() {
        for activation in Activation::ALL {
            let (d, hidden) = (3, vec![20, 20]);
            let spec = MlpSpec { dim: d, condition_dim: 0, hidden, activation, time: TimeInput::Plain };
            let narrow = spec.init(&mut rng::stream(5, 2));
            let theta: Vec<f64> = narrow.iter().map(|w| 2.0 * f64::from(*w)).collect();
            let narrow: Vec<f32> = theta.iter().map(|w| *w as f32).collect();
            let net = Mlp::<f64>::new(&spec, &theta).unwrap();
            let x = [0.3, -1.1, 0.7];
            let found = jacobian_norms(&net, &[0.4], &x)[0];
            let value = |x: &[f64]| {
                let batch = Batch { condition: &[], keys: &[], trace: Trace::Exact, lanes: 16 };
                let data: Vec<f64> = x.iter().flat_map(|v| [*v; 16]).collect();
                let mut out = vec![0.0; d * 16];
                let (x, v) = (Lanes::new(&data, d, 1, 16), LanesMut::new(&mut out, d, 1, 16));
                net.evaluator(batch).value(At::new(&[0.4], &[0]), x, v);
                (0..d).map(|i| out[i * 16]).collect::<Vec<f64>>()
            };
            let h = 1e-5;
            let mut jacobian = vec![0.0; d * d];
            for j in 0..d {
                let moved =
                    |by: f64| value(&std::array::from_fn::<f64, 3, _>(|i| x[i] + if i == j { by } else { 0.0 }));
                let (up, down) = (moved(h), moved(-h));
                (0..d).for_each(|i| jacobian[i * d + j] = (up[i] - down[i]) / (2.0 * h));
            }
            // Central differences: round-off 1e-16/h and h² of the third derivative.
            assert!((found - reference(&jacobian, d, d)).abs() < 1e-8, "{activation}");
            assert!(found <= lipschitz_bound(&spec, &narrow).unwrap() * (1.0 + 1e-6), "{activation}");
        }
    }

    #[test]
    fn a_norm_from_above_is_at_most_its_promise_too_large() {
        for (rows, cols) in [(1, 1), (5, 3), (3, 5), (48, 48), (120, 30)] {
            let w: Vec<f64> = (0..rows * cols).map(|i| ((i * i) as f64 * 0.21).sin()).collect();
            let (exact, found) = (reference(&w, rows, cols), spectral_norm(&w, rows, cols));
            let most = (rows.min(cols) as f64).powf(0.5f64.powi(16));
            assert!(found >= exact * (1.0 - 1e-12) && found <= exact * most * (1.0 + 1e-12), "{rows}×{cols}");
        }
        assert_eq!(spectral_norm(&[0.0; 6], 2, 3), 0.0);
    }

    #[test]
    fn the_slope_of_an_activation_nowhere_exceeds_its_bound_and_reaches_it() {
        for activation in Activation::ALL {
            let spec = MlpSpec { dim: 1, condition_dim: 0, hidden: vec![1], activation, time: TimeInput::None };
            // w₁ = 1, b₁ = 0, w₂ = 1, b₂ = 0.
            let net = Mlp::<f64>::new(&spec, &[1.0, 0.0, 1.0, 0.0]).unwrap();
            let x: Vec<f64> = (-40_000..=40_000).map(|i| f64::from(i) * 1e-3).collect();
            let most = steepest(&net, &vec![0.0; x.len()], &x).unwrap().norm;
            let bound = activation.largest_derivative();
            // σ″ vanishes at the maximum: a grid of 1e-3 misses it by less than 1e-6.
            assert!(most <= bound * (1.0 + 1e-12) && most > bound - 1e-6, "{activation}: {most}");
        }
    }

    #[test]
    fn points_that_are_not_finite_count_for_nothing() {
        let (net, _) = linear(2, 3);
        let found = steepest(&net, &[0.1, 0.2, 0.3], &[f64::NAN, 0.0, 0.5, 0.5, 0.0, f64::INFINITY]).unwrap();
        assert_eq!((found.points, found.t, found.x), (1, 0.2, vec![0.5, 0.5]));
        assert!(steepest(&net, &[0.5], &[f64::NAN, 0.0]).is_none() && steepest(&net, &[], &[]).is_none());
    }
}
