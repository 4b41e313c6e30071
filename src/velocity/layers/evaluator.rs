//! The contract of a velocity, met by copying tiles into tensors and back.
//!
//! On a CPU the lanes are taken [`ROWS`] at a time, the last rows filled with zeros: the products of the `gemm` crate
//! choose their order of summation by the shape, so with one shape for every call the bits of a lane depend neither on
//! its slot, nor on its neighbours, nor on how many there are. Other devices get the whole tile at once, at its full
//! width.
//!
//! candle allocates the result of every operation: a step with this velocity is not free of allocations.
//!
//! Microseconds a lane in `f32`, the best of many calls on tiles of 144 lanes, concat layers with tanh, one thread of
//! an AMD EPYC:
//!
//! | d, hidden widths | value | and exact divergence | its pull-back | and one probe | its pull-back |
//! |---|---|---|---|---|---|
//! | 2, 64-64-64 | 2.5 | 4.3 | 16 | 3.8 | 12 |
//! | 2, 256-256 | 9.7 | 19 | 102 | 16 | 82 |
//! | 43, 860-860 | 75 | 1580 | 6460 | 155 | 675 |
//!
//! These are with `RAYON_NUM_THREADS` set. Without it candle 0.11 queries the number of cores in every product,
//! some 30 µs each time: 6.7, 14 and 43 µs in the first row.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, WithDType};
use cnflow_solvers::{At, Lanes, LanesMut, Real};

use super::LayerNet;
use super::net::{Probed, draw};
use crate::velocity::{Batch, Cotangents, Evaluator, Regularisers, TangentCotangents, TangentsBack, Velocity};

/// Rows of a tensor on a CPU, a compromise. With 16 a full tile of three layers of 64 takes a fifth longer, as each
/// operation's overhead weighs more; with 64 a sixth less (a pull-back up to two fifths), but a tile of 16 lanes twice
/// as long.
const ROWS: usize = 32;

/// The evaluator computes in `T`, whatever θ's own dtype is.
impl<T: Real + WithDType> Velocity<T> for LayerNet {
    fn dim(&self) -> usize {
        self.spec.dim
    }

    fn condition_dim(&self) -> usize {
        self.spec.condition_dim
    }

    fn n_params(&self) -> usize {
        self.spec.n_params()
    }

    fn grad_len(&self) -> usize {
        self.spec.n_params()
    }

    fn fold_gradient(&self, _gradient: &mut [T]) {}

    fn take_failure(&self) -> Option<crate::Error> {
        Self::take_failure(self)
    }

    fn time_rate(&self) -> f64 {
        self.fastest_unit().unwrap_or_else(|error| {
            self.record(error);
            0.0
        })
    }

    /// Takes a copy of θ: later changes of it have no effect.
    ///
    /// A device that fails (out of memory, say) cannot be reported by an evaluator: all results are NaN then. Whoever
    /// solves or learns calls [`Velocity::take_failure`] afterwards, and the cause is the error.
    fn evaluator<'a>(&'a self, batch: Batch<'a, T>) -> Box<dyn Evaluator<T> + 'a> {
        let copy = |view: &Tensor| Var::from_tensor(&view.detach().to_dtype(T::DTYPE)?);
        let parameters = self.views.iter().map(copy).collect::<Result<Vec<_>>>();
        let parameters = parameters.unwrap_or_else(|error| {
            self.record(error);
            vec![]
        });
        let constants = parameters.iter().map(|parameter| parameter.as_detached_tensor()).collect();
        let rows = if self.device().is_cpu() { ROWS } else { batch.lanes.max(1) };
        Box::new(LayerEvaluator { net: self, batch, parameters, constants, rows })
    }
}

struct LayerEvaluator<'a, T> {
    net: &'a LayerNet,
    batch: Batch<'a, T>,
    /// A copy of θ, tensor by tensor: gradients then come tensor by tensor too, not padded to the length of θ.
    parameters: Vec<Var>,
    /// The same memory, of which candle keeps no graph.
    constants: Vec<Tensor>,
    rows: usize,
}

/// The lanes `from .. from + count` as tensors of a fixed number of rows.
struct Block {
    x: Tensor,
    t: Tensor,
    condition: Option<Tensor>,
}

/// The cotangents of a block, as rows.
struct Bars {
    v: Option<Tensor>,
    div: Option<Tensor>,
    kinetic: Option<Tensor>,
    jacobian: Option<Tensor>,
}

impl<T: Real + WithDType> LayerEvaluator<'_, T> {
    /// Columns of a tile as rows of a tensor, `[rows, k]`; rows without a lane are zero.
    fn read(&self, tile: Lanes<'_, T>, from: usize, count: usize) -> Result<Tensor> {
        let k = tile.rows();
        let mut data = vec![<T as Real>::ZERO; self.rows * k];
        for i in 0..k {
            for (l, &number) in tile.row(i)[from..from + count].iter().enumerate() {
                data[l * k + i] = number;
            }
        }
        Tensor::from_vec(data, (self.rows, k), self.net.device())
    }

    fn block(&self, at: At<'_>, x: Lanes<'_, T>, from: usize, count: usize) -> Result<Block> {
        let device = self.net.device();
        let mut t = vec![<T as Real>::ZERO; self.rows];
        for (slot, &time) in t.iter_mut().zip(&at.t[from..from + count]) {
            *slot = T::of(time);
        }
        let columns = self.net.spec.condition_dim;
        let condition = (columns > 0).then(|| {
            let mut data = vec![<T as Real>::ZERO; self.rows * columns];
            for (row, &sample) in data.chunks_exact_mut(columns).zip(&at.sample[from..from + count]) {
                row.copy_from_slice(&self.batch.condition[sample * columns..(sample + 1) * columns]);
            }
            Tensor::from_vec(data, (self.rows, columns), device)
        });
        Ok(Block {
            x: self.read(x, from, count)?,
            t: Tensor::from_vec(t, (self.rows, 1), device)?,
            condition: condition.transpose()?,
        })
    }

    /// The probes of those lanes, `[k, rows, d]`.
    fn probes(&self, at: At<'_>, from: usize, count: usize) -> Result<Option<Tensor>> {
        let (trace, d) = (self.batch.trace, self.net.spec.dim);
        if trace.probes() == 0 {
            return Ok(None);
        }
        // A row without a lane has some probe or other.
        let samples = at.sample[from..from + count].iter().map(|&sample| self.batch.keys[sample]);
        let keys = samples.chain(std::iter::repeat_n(0, self.rows - count));
        let drawn = draw(trace, keys, d).into_iter().map(T::of).collect();
        Ok(Some(Tensor::from_vec(drawn, (trace.probes(), self.rows, d), self.net.device())?))
    }

    /// Runs `one(from, count)` on every block of lanes; false, and the cause recorded, if candle fails or had failed
    /// when the parameters were copied.
    fn each_block(&self, lanes: usize, mut one: impl FnMut(usize, usize) -> Result<()>) -> bool {
        if self.parameters.len() < self.net.views.len() {
            return false;
        }
        for from in (0..lanes).step_by(self.rows) {
            if let Err(error) = one(from, self.rows.min(lanes - from)) {
                self.net.record(error);
                return false;
            }
        }
        true
    }

    /// Adds the gradients of θ to `g`.
    fn add_gradients(&self, gradients: &GradStore, g: &mut [T]) -> Result<()> {
        let mut start = 0;
        for parameter in &self.parameters {
            let length = parameter.elem_count();
            // A tensor that the loss does not depend on (the last bias, for a divergence) has no gradient.
            if let Some(gradient) = gradients.get(parameter) {
                for (sum, more) in g[start..start + length].iter_mut().zip(gradient.flatten_all()?.to_vec1::<T>()?) {
                    *sum += more;
                }
            }
            start += length;
        }
        Ok(())
    }

    /// Directions, or their cotangents, of those lanes, `[k, rows, d]` of a tile `[k d, lanes]`.
    fn directions(&self, tile: Lanes<'_, T>, from: usize, count: usize) -> Result<Tensor> {
        let d = self.net.spec.dim;
        let each = (0..tile.rows()).step_by(d).map(|first| self.read(tile.rows_of(first, first + d), from, count));
        Tensor::stack(&each.collect::<Result<Vec<_>>>()?, 0)
    }

    /// Gradients of Σ v·v̄ + Σ div·τ + Σ squares·bars over one block: of x and, where it is `wanted`, of the condition,
    /// returned, and of θ, added to `g`.
    fn pull_back_block(
        &self,
        block: &Block,
        probes: Option<&Tensor>,
        bar: &Bars,
        wanted: bool,
        g: &mut [T],
    ) -> Result<(Tensor, Option<Tensor>)> {
        let x = Var::from_tensor(&block.x)?;
        let condition = match &block.condition {
            Some(condition) if wanted => Some(Var::from_tensor(condition)?.as_tensor().clone()),
            given => given.clone(),
        };
        let views: Vec<Tensor> = self.parameters.iter().map(|parameter| parameter.as_tensor().clone()).collect();
        let (v, div, norm) = if bar.div.is_some() || bar.jacobian.is_some() {
            let probed = self.net.trace(&views, &x, &block.t, condition.as_ref(), probes)?;
            let norm = bar.jacobian.as_ref().map(|_| probed.norm(probes.is_none())).transpose()?;
            (probed.value, Some(probed.divergence), norm)
        } else {
            (self.net.push(&views, &x, &block.t, condition.as_ref(), None)?.value, None, None)
        };
        let speed = bar.kinetic.as_ref().map(|_| v.sqr()?.sum_keepdim(1)).transpose()?;
        let against = |value: Option<&Tensor>, bar: &Option<Tensor>| match (value, bar) {
            (Some(value), Some(bar)) => (value * bar)?.sum_all().map(Some),
            _ => Ok(None),
        };
        let parts = [
            against(Some(&v), &bar.v)?,
            against(div.as_ref(), &bar.div)?,
            against(speed.as_ref(), &bar.kinetic)?,
            against(norm.as_ref(), &bar.jacobian)?,
        ];
        let Some(loss) = parts.into_iter().flatten().map(Ok).reduce(|a, b| a? + b?).transpose()? else {
            let none = condition.filter(|_| wanted).map(|condition| condition.zeros_like());
            return Ok((block.x.zeros_like()?, none.transpose()?));
        };
        let gradients = loss.backward()?;
        self.add_gradients(&gradients, g)?;
        let of = |tensor: &Tensor| gradients.get(tensor).map_or_else(|| tensor.zeros_like(), |g| Ok(g.clone()));
        let of_condition = condition.filter(|_| wanted).map(|condition| of(&condition));
        Ok((of(&x)?, of_condition.transpose()?))
    }
}

impl<T: Real + WithDType> TangentsBack<T> for LayerEvaluator<'_, T> {
    fn pull_back_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        bar: TangentCotangents<'_, T>,
        (mut gx, mut gdx): (LanesMut<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        let (d, rows) = (x.rows(), gx.rows());
        let done = self.each_block(at.lanes(), |from, count| {
            let block = self.block(at, x, from, count)?;
            let x = Var::from_tensor(&block.x)?;
            let condition = match &block.condition {
                Some(condition) if rows > d => Some(Var::from_tensor(condition)?.as_tensor().clone()),
                given => given.clone(),
            };
            let directions = Var::from_tensor(&self.directions(dx, from, count)?)?;
            let views: Vec<Tensor> = self.parameters.iter().map(|parameter| parameter.as_tensor().clone()).collect();
            let along = directions.as_tensor().clone();
            let (value, tangent) = self.net.along(&views, &x, &block.t, condition.as_ref(), along)?;
            let of_value = (value * self.read(bar.v, from, count)?)?.sum_all()?;
            let loss = (of_value + (tangent * self.directions(bar.dv, from, count)?)?.sum_all()?)?;
            let gradients = loss.backward()?;
            self.add_gradients(&gradients, g)?;
            let of = |tensor: &Tensor| gradients.get(tensor).map_or_else(|| tensor.zeros_like(), |g| Ok(g.clone()));
            write(&of(&x)?, &mut gx.rows_of(0, d), from, count)?;
            for (k, by) in of(&directions)?.chunk(dx.rows() / d, 0)?.iter().enumerate() {
                write(&by.squeeze(0)?, &mut gdx.rows_of(k * d, (k + 1) * d), from, count)?;
            }
            match condition.filter(|_| rows > d) {
                Some(condition) => write(&of(&condition)?, &mut gx.rows_of(d, rows), from, count),
                None => Ok(()),
            }
        });
        if !done {
            gx.data_mut().fill(T::of(f64::NAN));
            gdx.data_mut().fill(T::of(f64::NAN));
            g.fill(T::of(f64::NAN));
        }
    }
}

/// Rows of a tensor `[rows, k]` as columns of a tile.
fn write<T: Real + WithDType>(tensor: &Tensor, tile: &mut LanesMut<'_, T>, from: usize, count: usize) -> Result<()> {
    let k = tile.rows();
    let data = tensor.flatten_all()?.to_vec1::<T>()?;
    for i in 0..k {
        for (l, slot) in tile.row_mut(i)[from..from + count].iter_mut().enumerate() {
            *slot = data[l * k + i];
        }
    }
    Ok(())
}

impl<T: Real + WithDType> Evaluator<T> for LayerEvaluator<'_, T> {
    fn dim(&self) -> usize {
        self.net.spec.dim
    }

    fn traces(&self) -> usize {
        self.batch.trace.rows()
    }

    fn grad_len(&self) -> usize {
        self.net.spec.n_params()
    }

    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, mut v: LanesMut<'_, T>) {
        let done = self.each_block(at.lanes(), |from, count| {
            let Block { x, t, condition } = self.block(at, x, from, count)?;
            let value = self.net.push(&self.constants, &x, &t, condition.as_ref(), None)?.value;
            write(&value, &mut v, from, count)
        });
        if !done {
            v.data_mut().fill(T::of(f64::NAN));
        }
    }

    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut div: LanesMut<'_, T>,
        mut squares: Regularisers<LanesMut<'_, T>>,
    ) {
        let done = self.each_block(at.lanes(), |from, count| {
            let Block { x, t, condition } = self.block(at, x, from, count)?;
            let probes = self.probes(at, from, count)?;
            let probed = self.net.trace(&self.constants, &x, &t, condition.as_ref(), probes.as_ref())?;
            if let Some(kinetic) = &mut squares.kinetic {
                write(&probed.value.sqr()?.sum_keepdim(1)?, kinetic, from, count)?;
            }
            if let Some(jacobian) = &mut squares.jacobian {
                write(&probed.norm(probes.is_none())?, jacobian, from, count)?;
            }
            let Probed { value, divergence, .. } = probed;
            write(&value, &mut v, from, count)?;
            write(&divergence, &mut div, from, count)
        });
        if !done {
            let Regularisers { kinetic, jacobian } = squares;
            for mut tile in [Some(v), Some(div), kinetic, jacobian].into_iter().flatten() {
                tile.data_mut().fill(T::of(f64::NAN));
            }
        }
    }

    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, mut dv: LanesMut<'_, T>) {
        let done = self.each_block(at.lanes(), |from, count| {
            let direction = self.read(dx, from, count)?.unsqueeze(0)?;
            let Block { x, t, condition } = self.block(at, x, from, count)?;
            let (_, tangent) = self.net.along(&self.constants, &x, &t, condition.as_ref(), direction)?;
            write(&tangent, &mut dv, from, count)
        });
        if !done {
            dv.data_mut().fill(T::of(f64::NAN));
        }
    }

    fn value_and_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut dv: LanesMut<'_, T>,
    ) {
        let d = x.rows();
        let done = self.each_block(at.lanes(), |from, count| {
            let directions = self.directions(dx, from, count)?;
            let Block { x, t, condition } = self.block(at, x, from, count)?;
            let (value, tangent) = self.net.along(&self.constants, &x, &t, condition.as_ref(), directions)?;
            write(&value, &mut v, from, count)?;
            for (k, tangent) in tangent.chunk(dx.rows() / d, 0)?.iter().enumerate() {
                write(&tangent.squeeze(0)?, &mut dv.rows_of(k * d, (k + 1) * d), from, count)?;
            }
            Ok(())
        });
        if !done {
            v.data_mut().fill(T::of(f64::NAN));
            dv.data_mut().fill(T::of(f64::NAN));
        }
    }

    fn tangents_back(&mut self) -> Option<&mut dyn TangentsBack<T>> {
        Some(self)
    }

    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        self.value(at, x, v.reborrow());
        cotangent(v.as_lanes(), v_bar.reborrow());
        let mut gx = vec![<T as Real>::ZERO; x.rows() * x.stride()];
        let gx = LanesMut::new(&mut gx, x.rows(), x.lanes(), x.stride());
        self.pull_back(at, x, Some(v_bar.as_lanes()), None, gx, g);
    }

    fn pull_back_all(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        bar: Cotangents<'_, T>,
        mut gx: LanesMut<'_, T>,
        g: &mut [T],
    ) {
        let Cotangents { v, div, squares: Regularisers { kinetic, jacobian } } = bar;
        let probed = div.is_some() || jacobian.is_some();
        let done = self.each_block(at.lanes(), |from, count| {
            let block = self.block(at, x, from, count)?;
            let probes = if probed { self.probes(at, from, count)? } else { None };
            let rows = |tile: Option<Lanes<'_, T>>| tile.map(|tile| self.read(tile, from, count)).transpose();
            let bars = Bars { v: rows(v)?, div: rows(div)?, kinetic: rows(kinetic)?, jacobian: rows(jacobian)? };
            let (d, rows) = (self.net.spec.dim, gx.rows());
            let (by_x, by_condition) = self.pull_back_block(&block, probes.as_ref(), &bars, rows > d, g)?;
            write(&by_x, &mut gx.rows_of(0, d), from, count)?;
            by_condition.map_or(Ok(()), |by| write(&by, &mut gx.rows_of(d, rows), from, count))
        });
        if !done {
            gx.data_mut().fill(T::of(f64::NAN));
            g.fill(T::of(f64::NAN));
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::velocity::Trace;
    use crate::velocity::layers::{Layer, LayerNetSpec};

    #[test]
    fn a_device_that_failed_gives_nan_and_the_cause_once() {
        let layers = vec![Layer::Linear { inputs: 1, outputs: 1 }];
        let spec = LayerNetSpec { dim: 1, condition_dim: 0, layers };
        let net = LayerNet::new(spec, Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap()).unwrap();
        let batch = Batch::<f32> { condition: &[], keys: &[], trace: Trace::Exact, lanes: 1 };
        // As after a copy of θ that did not succeed.
        net.record(candle_core::Error::msg("out of memory"));
        let mut evaluator = LayerEvaluator { net: &net, batch, parameters: vec![], constants: vec![], rows: ROWS };
        let (at, x) = (At::new(&[0.0], &[0]), [0.0; 16]);
        let (mut v, mut g) = ([0.0; 16], [0.0; 2]);
        evaluator.value(at, Lanes::new(&x, 1, 1, 16), LanesMut::new(&mut v, 1, 1, 16));
        assert!(v[0].is_nan());
        v[0] = 0.0;
        evaluator.pull_back(at, Lanes::new(&x, 1, 1, 16), None, None, LanesMut::new(&mut v, 1, 1, 16), &mut g);
        assert!(v[0].is_nan() && g[0].is_nan());
        assert!(net.take_failure().expect("it was recorded").to_string().contains("out of memory"));
        assert!(net.take_failure().is_none());
    }
}
