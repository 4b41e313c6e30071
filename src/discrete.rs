//! Discrete flows: NICE, RealNVP, Glow and neural splines, behind the interface of the continuous one.
//!
//! Of images they have convolutional nets and levels: [`ImagePlan`].
//!
//! [`Plan`] has the options, [`DiscreteSpec`] the layers, and [`Discrete`] is the bijection. All layers of a chunk
//! of rows are one pass, whose gradient is that of the computed numbers. A row's result depends on that row alone, and
//! chunks' gradients are added along a fixed tree: no bit depends on the batch or on threads.

mod conditioner;
mod convolution;
mod coupling;
mod dense;
mod diagonal;
mod layer;
mod layout;
mod linear;
mod net;
mod op;
mod paths;
mod plan;
mod plane;
mod pool;
mod spec;
mod spline;
mod step;
mod tails;

use std::sync::Arc;

use cnflow_solvers::lanes::LANE_BLOCK;
use rayon::prelude::*;

pub(crate) use self::net::Scratch;
use self::net::{Net, Rows};
pub(crate) use self::op::Likelihood;
use self::op::PulledBack;
pub use self::plan::{ImagePlan, Mask, Plan};
pub use self::plane::Part;
pub use self::spec::{DiscreteSpec, Kind, LayerSpec, Transform};
use self::step::Way;
use crate::continuous::{End, Work, widened};
use crate::transform::bijection::check_rows;
use crate::transform::{Bijection, Cost, Mapped};
use crate::velocity::{Precision, Scalar};
use crate::{Error, Result};

/// Rows of a chunk: few enough that the activations of all layers stay in the second-level cache.
const CHUNK: usize = 64;
/// Rows of a chunk whose gradient is summed on its own: more, since each has sums, longer than θ, to clear and to add
/// (a training of RealNVP, two threads: 6000 steps in six seconds by 64 rows, 6500 by 128).
const LEARNT: usize = 128;

impl DiscreteSpec {
    /// Rows of a chunk. Images are taken a block of lanes at a time: their planes pass through the caches anyway, and a
    /// batch of 32 is shared by two threads.
    fn chunk(&self) -> usize {
        if self.image.is_some() { LANE_BLOCK } else { CHUNK }
    }

    /// Rows of a chunk whose gradient is summed on its own.
    fn learnt(&self) -> usize {
        if self.image.is_some() { LANE_BLOCK } else { LEARNT }
    }
}

/// A discrete flow with its θ: bound once, shared by its clones.
#[derive(Clone)]
pub struct Discrete {
    spec: Arc<DiscreteSpec>,
    bound: Bound,
    layers: usize,
    /// May stop a pass.
    work: Option<Arc<Work>>,
}

/// The layers with their parameters, in the precision of the nets, and the parameters themselves.
#[derive(Clone)]
enum Bound {
    F32(Arc<Net<f32>>, Arc<[f32]>),
    F64(Arc<Net<f64>>, Arc<[f64]>),
}

impl std::fmt::Debug for Discrete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Discrete({}, d = {}, {} layers)", self.spec.kind.name(), self.spec.dim, self.layers)
    }
}

impl Discrete {
    /// The flow of `spec` with parameters `theta` (`[n_params]`), whose nets compute in `precision`.
    ///
    /// # Errors
    /// [`Error::Parameters`] where θ does not fit; [`Error::Degenerate`] for parameters without a bijection; as
    /// [`DiscreteSpec::validate`].
    pub fn new(spec: DiscreteSpec, theta: &[f64], precision: Precision) -> Result<Self> {
        spec.validate()?;
        if theta.len() != spec.n_params() {
            let (expected, found) = (spec.n_params(), theta.len());
            return Err(Error::Parameters { expected, found });
        }
        let layers = spec.layers.len();
        let bound = match precision {
            Precision::F32 => {
                let theta: Arc<[f32]> = theta.iter().map(|w| *w as f32).collect();
                Bound::F32(Arc::new(Net::new(&spec, &theta, layers)?), theta)
            }
            Precision::F64 => Bound::F64(Arc::new(Net::new(&spec, theta, layers)?), theta.into()),
        };
        Ok(Self { spec: Arc::new(spec), bound, layers, work: None })
    }

    /// How many layers there are, of those of [`DiscreteSpec::layers`].
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// The first `layers` layers, counted from the latent: the distribution at that stage.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more layers than there are.
    pub fn until(&self, layers: usize) -> Result<Self> {
        let all = self.spec.layers.len();
        if layers > all {
            return Err(Error::invalid(
                format!("stage {layers} is not in a flow of {all} layers"),
                format!("give a stage from 0 (the latent) to {all} (the data)"),
            ));
        }
        let bound = match &self.bound {
            Bound::F32(_, theta) => Bound::F32(Arc::new(Net::new(&self.spec, theta, layers)?), theta.clone()),
            Bound::F64(_, theta) => Bound::F64(Arc::new(Net::new(&self.spec, theta, layers)?), theta.clone()),
        };
        Ok(Self { spec: self.spec.clone(), bound, layers, work: self.work.clone() })
    }

    /// A stop of `work` stops its passes between two chunks of rows.
    pub fn stopped_by(&self, work: Arc<Work>) -> Self {
        Self { work: Some(work), ..self.clone() }
    }

    /// Its spec.
    pub fn spec(&self) -> &DiscreteSpec {
        &self.spec
    }

    /// Pulls a loss back through the map of the rows `x` (`[n, d]`; `condition` `[n, c]`) that lie at `end`: from its
    /// derivatives by the points on the other side, `y_bar` `[n, d]`, and by their log-determinants, `[n]`, to those by
    /// the rows, `[n, d]`, and by θ, `[n_params]`. The layers are run again.
    ///
    /// # Errors
    /// [`Error::Dimension`] and [`Error::Invalid`] for incomplete rows.
    pub fn pull_back(
        &self,
        end: End,
        x: &[f64],
        condition: &[f64],
        y_bar: &[f64],
        logdet_bar: &[f64],
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let PulledBack { x, theta, .. } = self.pull_back_all(end, x, condition, (y_bar, logdet_bar))?;
        Ok((x, theta))
    }

    /// As [`Discrete::pull_back`], to the rows and to their conditions, `[n, d]` and `[n, c]`; not to θ.
    pub(crate) fn pull_back_to_rows(
        &self,
        end: End,
        x: &[f64],
        condition: &[f64],
        bars: (&[f64], &[f64]),
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let PulledBack { x, condition, .. } = self.pull_back_all(end, x, condition, bars)?;
        Ok((x, condition))
    }

    fn pull_back_all(&self, end: End, x: &[f64], condition: &[f64], bars: (&[f64], &[f64])) -> Result<PulledBack<f64>> {
        let way = if end == End::Data { Way::Inverse } else { Way::Forward };
        match &self.bound {
            Bound::F64(net, _) => op::pull_back(&self.spec, net, way, x, condition, bars),
            Bound::F32(net, _) => {
                let PulledBack { x, condition, theta } = op::pull_back(&self.spec, net, way, x, condition, bars)?;
                Ok(PulledBack { x, condition, theta: widened(&theta) })
            }
        }
    }

    /// θ with the shifts and scales of its activation norms set so that the rows `x` leave each of them with mean 0 and
    /// deviation 1.  Ref: Kingma & Dhariwal (2018), section 3.1.
    ///
    /// # Errors
    /// As [`Bijection::inverse`].
    pub fn started(spec: &DiscreteSpec, theta: &[f32], x: &[f64], condition: &[f64]) -> Result<Vec<f32>> {
        spec.validate()?;
        let n = check_rows(x, spec.dim, condition, spec.condition_dim)?;
        if theta.len() != spec.n_params() {
            let (expected, found) = (spec.n_params(), theta.len());
            return Err(Error::Parameters { expected, found });
        }
        let mut theta = theta.to_vec();
        let (d, lengths) = (spec.dim, spec.lengths());
        let mut at: usize = lengths.iter().sum();
        let mut y = x.to_vec();
        for (i, layer) in spec.layers.iter().enumerate().rev() {
            at -= lengths[i];
            if let LayerSpec::Diagonal { shift: true, level } = layer
                && n > 1
            {
                let plane = spec.plane(*level)?;
                let channels = plane.shape.channels;
                for j in 0..channels {
                    let rows: Vec<usize> = plane.rows.iter().skip(j).step_by(channels).copied().collect();
                    let numbers = || y.chunks_exact(d).flat_map(|row| rows.iter().map(|j| row[*j]));
                    let count = (n * rows.len()) as f64;
                    let mean = numbers().sum::<f64>() / count;
                    let deviation = (numbers().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
                    // A channel that is constant keeps its scale: a border of one grey level has no deviation.
                    let flat = level.is_some() && deviation < 1e-6;
                    theta[at + j] = if flat { 0.0 } else { (deviation + 1e-6).ln() as f32 };
                    theta[at + channels + j] = mean as f32;
                }
            }
            let one = DiscreteSpec { layers: vec![layer.clone()], ..spec.without_layers() };
            let net = Net::new(&one, &theta[at..at + lengths[i]], 1)?;
            let mut next = vec![0.0; y.len()];
            transport(&net, Way::Inverse, &y, condition, (d, spec.condition_dim), &mut next, &mut vec![0.0; n], None)?;
            y = next;
        }
        Ok(theta)
    }

    fn map(&self, rows: &mut Mapped, condition: &[f64], way: Way) -> Result<()> {
        check_rows(&rows.y, self.spec.dim, condition, self.spec.condition_dim)?;
        match &self.bound {
            Bound::F32(net, _) => self.through(net, rows, condition, way),
            Bound::F64(net, _) => self.through(net, rows, condition, way),
        }
    }

    /// Points, log-determinants and failures. A row of an infinite log-determinant fails, with or without
    /// log-determinants in the result.
    fn through<T: Scalar>(&self, net: &Net<T>, rows: &mut Mapped, condition: &[f64], way: Way) -> Result<()> {
        let (d, c) = (self.spec.dim, self.spec.condition_dim);
        let n = rows.y.len() / d;
        let (mut y, mut logdet) = (vec![0.0; n * d], vec![0.0; n]);
        transport(net, way, &rows.y, condition, (d, c), &mut y, &mut logdet, self.work.as_deref())?;
        let (mut cost, mut scratch) = (Cost::default(), None);
        for row in 0..n {
            let at = row * d..(row + 1) * d;
            if !(logdet[row].is_finite() && y[at.clone()].iter().all(|x| x.is_finite())) {
                let part = Rows { x: &rows.y[at.clone()], condition: &condition[row * c..(row + 1) * c] };
                let scratch = scratch.get_or_insert_with(|| net.scratch(LANE_BLOCK, true));
                cost.failures.push((row, net.broken_at(way, part, scratch)));
                y[at].fill(f64::NAN);
                logdet[row] = f64::NAN;
            }
        }
        rows.y = y;
        rows.add_logdet(logdet);
        rows.cost.merge(cost);
        Ok(())
    }
}

/// Transports all rows, chunk by chunk.
#[expect(clippy::too_many_arguments, reason = "each is a different thing")]
fn transport<T: Scalar>(
    net: &Net<T>,
    way: Way,
    x: &[f64],
    condition: &[f64],
    (d, c): (usize, usize),
    y: &mut [f64],
    logdet: &mut [f64],
    work: Option<&Work>,
) -> Result<()> {
    let chunk = net.chunk;
    let pass = |scratch: &mut Scratch<T>, (i, (y, logdet)): (usize, (&mut [f64], &mut [f64]))| {
        if work.is_some_and(Work::stopped) {
            return;
        }
        let rows = i * chunk..i * chunk + logdet.len();
        let part = Rows { x: &x[rows.start * d..rows.end * d], condition: &condition[rows.start * c..rows.end * c] };
        net.pass(way, part, scratch, y, logdet);
    };
    if logdet.len() <= chunk {
        // One chunk needs no pool: a call on a few rows stays on its thread.
        pass(&mut net.scratch(chunk.min(logdet.len().next_multiple_of(LANE_BLOCK)), false), (0, (y, logdet)));
    } else {
        let chunks = y.par_chunks_mut(chunk * d).zip(logdet.par_chunks_mut(chunk)).enumerate();
        chunks.for_each_init(|| net.scratch(chunk, false), pass);
    }
    work.map_or(Ok(()), Work::check)
}

impl Bijection for Discrete {
    fn dim(&self) -> usize {
        self.spec.dim
    }

    fn condition_dim(&self) -> usize {
        self.spec.condition_dim
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.map(rows, condition, Way::Forward)
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.map(rows, condition, Way::Inverse)
    }
}
