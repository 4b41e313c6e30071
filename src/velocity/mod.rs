//! The velocity m_θ(x, t): its values, its divergence, the squares that penalties integrate, and the joint pull-back of
//! all.
//!
//! Four kinds stand behind one contract: the fused CPU kernel of an MLP, a net of operations on images, a net of candle
//! layers written as forward-mode pairs, and any of them as the correction of a Gaussian's velocity. Weights are shared
//! and immutable ([`Velocity`]); each caller owns its scratch ([`Evaluator`]).

mod closed_form;
pub mod fields;
mod gathered;
mod gaussian;
mod image;
mod kind;
pub mod layers;
mod lipschitz;
mod mlp;
mod path;
mod precision;
mod preconditioned;
mod probes;
mod spec;

pub use cnflow_kernels::{Activation, ImageNetSpec, ImageOp, ImageShape, Scalar};
pub(crate) use gathered::Gathered;
pub use gaussian::{Coefficients, GaussianPath};
pub use image::{Image, ImageSpec};
pub use kind::{PreconditionedSpec, VelocitySpec};
pub use layers::Number;
pub use lipschitz::{Steepest, jacobian_norms, lipschitz_bound, spectral_norm, steepest};
pub use mlp::Mlp;
pub use path::Path;
pub use precision::Precision;
pub use preconditioned::Preconditioned;
pub use probes::probe;
pub use spec::{MlpSpec, TimeInput};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cnflow_solvers::{At, Lanes, LanesMut, Real};

use crate::{Error, Result};

/// How the trace of the Jacobian is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The closed form for one and two hidden layers, one tangent a dimension beyond. Exact.
    Exact,
    /// `probes` random probes, fixed for the whole solve.
    Hutchinson {
        /// How many.
        probes: usize,
        /// Their distribution.
        noise: Noise,
    },
    /// Probes on lattices of an image's pixels: random signs on every `spacing`-th row and column, `spacing²` probes a
    /// draw. Their sum is unbiased, and near pixels, whose couplings are the largest, are never in one probe.
    Lattice {
        /// Of the images.
        shape: ImageShape,
        /// Rows, and columns, from one pixel of a probe to the next.
        spacing: usize,
        /// Independent draws of the signs.
        draws: usize,
    },
}

impl Trace {
    /// Random probes; 0 where the trace is exact.
    pub fn probes(self) -> usize {
        match self {
            Self::Exact => 0,
            Self::Hutchinson { probes, .. } => probes,
            Self::Lattice { spacing, draws, .. } => spacing * spacing * draws,
        }
    }

    /// Rows of a divergence, whose mean is the trace: one a probe, 1 where it is exact.
    pub fn rows(self) -> usize {
        self.probes().max(1)
    }

    /// Independent estimates among the rows, as many consecutive rows each; their spread tells the error. 0 where the
    /// trace is exact.
    pub fn draws(self) -> usize {
        if let Self::Lattice { draws, .. } = self { draws } else { self.probes() }
    }

    /// Coordinate `i` of probe `k` of the row with this key; 0 where the trace is exact.
    ///
    /// On a lattice it is ±`spacing`, or 0: the mean over the probes of a draw is then the sum for random signs. A
    /// lattice of spacing 1 has the probes of [`Noise::Rademacher`].
    pub fn probe(self, key: u64, k: usize, i: usize) -> f64 {
        match self {
            Self::Exact => 0.0,
            Self::Hutchinson { noise, .. } => probe(key, k, i, noise),
            Self::Lattice { shape, spacing, .. } => {
                let (draw, class) = (k / (spacing * spacing), k % (spacing * spacing));
                let pixel = i / shape.channels;
                let (y, x) = (pixel / shape.width % spacing, pixel % shape.width % spacing);
                if y * spacing + x == class { spacing as f64 * probe(key, draw, i, Noise::Rademacher) } else { 0.0 }
            }
        }
    }
}

/// The distribution of Hutchinson's probes; both have identity covariance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// ±1 with equal probability: never a larger variance than Gaussian.
    Rademacher,
    /// Standard normal.
    Gaussian,
}

/// The batch that an evaluator serves.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// Conditions `[n, condition_dim]`, row-major; empty when the velocity has none. Row `at.sample[l]` is used.
    pub condition: &'a [T],
    /// One key a row of the batch: Hutchinson's probes of row i are a function of `keys[i]` alone.
    /// May be empty with [`Trace::Exact`], unless ‖∂m/∂x‖² is to be estimated by a probe.
    pub keys: &'a [u64],
    /// How the trace is taken.
    pub trace: Trace,
    /// The most lanes in one call.
    pub lanes: usize,
}

/// Which squares are integrated along a path, to be kept small in training.
///
/// Ref: Finlay, Jacobsen, Nurbekyan & Oberman, *How to train your neural ODE* (2020).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Penalties {
    /// K = ∫ |m|² dt: straight paths at constant speed have the least.
    pub kinetic: bool,
    /// J = ∫ ‖∂m/∂x‖² dt, the Frobenius norm: the field varies little from one path to the next.
    pub jacobian: bool,
}

impl Penalties {
    /// None.
    pub const NONE: Self = Self { kinetic: false, jacobian: false };

    /// How many there are.
    pub fn count(self) -> usize {
        usize::from(self.kinetic) + usize::from(self.jacobian)
    }
}

/// The squares that penalties integrate, or their cotangents; `[1, lanes]` each, `None` where not needed.
#[derive(Clone, Copy, Debug)]
pub struct Regularisers<V> {
    /// |m|².
    pub kinetic: Option<V>,
    /// ‖∂m/∂x‖², or an estimate of it; see [`Evaluator::value_divergence_and_squares`].
    pub jacobian: Option<V>,
}

impl<V> Regularisers<V> {
    /// None.
    pub const NONE: Self = Self { kinetic: None, jacobian: None };
}

/// The loss's derivatives by the results of a velocity. `None` stands for zero and costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Cotangents<'a, T> {
    /// By m, `[d, lanes]`.
    pub v: Option<Lanes<'a, T>>,
    /// By the divergence, `[traces, lanes]`.
    pub div: Option<Lanes<'a, T>>,
    /// By the squares.
    pub squares: Regularisers<Lanes<'a, T>>,
}

/// Where a velocity computes. The MLP and the net on images ignore it: their kernels are the CPU's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA card of this number; only for velocities of layers, in a build with the feature `cuda`.
    Cuda(usize),
}

impl From<&Device> for Device {
    fn from(device: &Device) -> Self {
        *device
    }
}

/// The most dimensions in which a tangent each is cheap.
pub(crate) const FEW_DIMENSIONS: usize = 16;

/// m_θ with its weights: shared by threads, never changed.
pub trait Velocity<T: Real>: Send + Sync {
    /// d, the dimension of x.
    fn dim(&self) -> usize;
    /// The number of conditioning columns; 0 for an unconditional velocity.
    fn condition_dim(&self) -> usize;
    /// The length of θ.
    fn n_params(&self) -> usize;
    /// The length of the gradient buffer of [`Evaluator::pull_back`]: θ first, then whatever the
    /// evaluator accumulates for [`Velocity::fold_gradient`].
    fn grad_len(&self) -> usize;
    /// Spreads the accumulated extras of a (summed) gradient buffer into its first `n_params` entries.
    fn fold_gradient(&self, gradient: &mut [T]);
    /// The multiplications of one value in one lane, about: those of a net that uses each weight once are its
    /// parameters.
    fn multiplications(&self) -> usize {
        self.n_params()
    }
    /// Whether few lanes are computed one by one, so that a lane alone takes a fraction of the time of a block of 16.
    fn lane_by_lane(&self) -> bool {
        false
    }
    /// The fastest change with time that the weights of time allow, in units of an activation's argument per unit of
    /// time; 0 where nothing is known. A unit with a weight w of time goes from one of its ends to the other within
    /// about 4/w.
    fn time_rate(&self) -> f64 {
        0.0
    }
    /// The error of the device that computes it, where one has failed since the last call: evaluations cannot return
    /// it, and give NaN then.
    fn take_failure(&self) -> Option<Error> {
        None
    }
    /// An evaluator with its own scratch for up to `batch.lanes` lanes.
    fn evaluator<'a>(&'a self, batch: Batch<'a, T>) -> Box<dyn Evaluator<T> + 'a>;
}

/// The device's own error instead of numbers that are NaN for it.
///
/// # Errors
/// As [`Velocity::take_failure`] gives it.
pub(crate) fn check_device<T: Real>(velocity: &dyn Velocity<T>) -> Result<()> {
    velocity.take_failure().map_or(Ok(()), Err)
}

/// How many points a divergence was computed at, in parts of a point: for whoever looks on.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// The parts of a point.
    pub const POINT: u64 = 1 << 24;

    /// Counts so many parts.
    pub fn add(&self, parts: u64) {
        self.0.fetch_add(parts, Ordering::Relaxed);
    }

    /// Points.
    pub fn points(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / Self::POINT as f64
    }
}

/// m_θ on a tile of lanes. Columns never mix; no call allocates, but for the first derivatives of a batch of few lanes
/// ([`Velocity::lane_by_lane`]); unused slots may hold anything.
pub trait Evaluator<T: Real>: Send {
    /// d.
    fn dim(&self) -> usize;
    /// Rows of a divergence: 1 when exact, one a probe otherwise (their mean is the estimate).
    fn traces(&self) -> usize;
    /// Adds to `counter` what is done of a divergence while it is computed, [`Count::POINT`] for each point of it;
    /// false where the evaluator does not, because its divergences take no time worth a count.
    fn count_in(&mut self, counter: &Count) -> bool {
        let _ = counter;
        false
    }
    /// As [`Velocity::grad_len`].
    fn grad_len(&self) -> usize;
    /// v ← m(x, t). `x`, `v` are `[d, lanes]`.
    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, v: LanesMut<'_, T>);
    /// v ← m(x, t), div ← tr ∂m/∂x (or one estimate a probe). `div` is `[traces, lanes]`.
    fn value_and_divergence(&mut self, at: At<'_>, x: Lanes<'_, T>, v: LanesMut<'_, T>, div: LanesMut<'_, T>) {
        self.value_divergence_and_squares(at, x, v, div, Regularisers::NONE);
    }
    /// As [`Evaluator::value_and_divergence`], with the squares that `squares` has room for: |m|² and ‖∂m/∂x‖².
    ///
    /// With random probes the latter is the mean of |(∂m/∂x) e|² over them, which is unbiased: the mean of E\[e eᵀ\]
    /// over the probes is I.
    /// With an exact trace it is exact, through d tangents; but where the trace has a closed form and d exceeds 16,
    /// d tangents would cost many times the rest: there it is |(∂m/∂x) e|² with the row's first Rademacher probe.
    ///
    /// Around a Gaussian's velocity ([`Preconditioned`]) only the net's part is estimated, in both: the net's trace and
    /// norm are as above, and d, which the Gaussian multiplies, stands where a probe has |e|². Both stay unbiased. With
    /// Rademacher probes, |e|² = d, they are eᵀ(∂m/∂x) e and the mean of |(∂m/∂x) e|², as without a Gaussian. With
    /// Gaussian probes, and with a trace in closed form where d exceeds 16, the estimate of ‖∂m/∂x‖² is not a square:
    /// it can be negative.
    ///
    /// Value and divergence have the same bits whatever else is computed.
    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        div: LanesMut<'_, T>,
        squares: Regularisers<LanesMut<'_, T>>,
    );
    /// dv ← (∂m/∂x) dx, at (x, t).
    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, dv: LanesMut<'_, T>);
    /// v ← m(x, t), and of each of k directions dv ← (∂m/∂x) dx: one forward pass serves all.
    ///
    /// `dx` and `dv` are `[k d, lanes]`, direction after direction.
    fn value_and_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut dv: LanesMut<'_, T>,
    ) {
        self.value(at, x, v.reborrow());
        let d = self.dim();
        for from in (0..dx.rows()).step_by(d) {
            self.tangent(at, x, dx.rows_of(from, from + d), dv.rows_of(from, from + d));
        }
    }
    /// The pull-back of [`Evaluator::value_and_tangents`], where it has one: not for a net on images.
    fn tangents_back(&mut self) -> Option<&mut dyn TangentsBack<T>> {
        None
    }
    /// v ← m(x, t); then `cotangent` fills v̄ from v, and g += Σ (∂m/∂θ)ᵀ v̄ over the lanes in use.
    ///
    /// One forward pass serves both: what a regression on the velocity needs. `v_bar` is scratch afterwards.
    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    );
    /// gx ← (∂m/∂x)ᵀ v̄ + (∂div/∂x)ᵀ τ, and g += the same for θ, summed over the lanes in use.
    ///
    /// `gx` is `[d, lanes]`; with `[d + condition_dim, lanes]` the rows behind the first d become the derivatives by the
    /// condition.
    ///
    /// `v_bar` is `[d, lanes]`, `div_bar` (τ) `[traces, lanes]`; `None` stands for zero and costs nothing.
    fn pull_back(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        v_bar: Option<Lanes<'_, T>>,
        div_bar: Option<Lanes<'_, T>>,
        gx: LanesMut<'_, T>,
        g: &mut [T],
    ) {
        self.pull_back_all(at, x, Cotangents { v: v_bar, div: div_bar, squares: Regularisers::NONE }, gx, g);
    }
    /// As [`Evaluator::pull_back`], of everything that [`Evaluator::value_divergence_and_squares`] gives.
    fn pull_back_all(&mut self, at: At<'_>, x: Lanes<'_, T>, bar: Cotangents<'_, T>, gx: LanesMut<'_, T>, g: &mut [T]);
}

/// The derivatives of a loss by a value and its tangents, `[d, lanes]` and `[k d, lanes]`.
#[derive(Clone, Copy, Debug)]
pub struct TangentCotangents<'a, T> {
    /// By m(x, t).
    pub v: Lanes<'a, T>,
    /// By (∂m/∂x) dx, direction after direction.
    pub dv: Lanes<'a, T>,
}

/// The pull-back of a velocity and of its tangents along given directions.
pub trait TangentsBack<T: Real> {
    /// gx ← (∂m/∂x)ᵀ v̄ + Σ ∂(d̄vᵀ (∂m/∂x) dx)/∂x, gdx ← (∂m/∂x)ᵀ d̄v of each direction, and g += the same for θ, summed
    /// over the lanes in use.
    ///
    /// `by` is (gx, gdx). `dx`, `bar.dv` and gdx are `[k d, lanes]`; gx is as in [`Evaluator::pull_back`].
    fn pull_back_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        bar: TangentCotangents<'_, T>,
        by: (LanesMut<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    );
}
