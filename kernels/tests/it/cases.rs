//! The nets that every law holds for, each with the plainest loops that compute the same.

use cnflow_kernels::epilogue::{Epilogue, Output, WithEpilogue};
use cnflow_kernels::outer::{outer, row_sums};
use cnflow_kernels::simd::{Kernel, PAIR, Vector, dispatch, steps};
use cnflow_kernels::tile::In;
use cnflow_kernels::{Activation, Dense, Isa, Net, Op, Scalar};
use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{Lanes, LanesMut};

/// SplitMix64 as numbers in [−1, 1).
pub fn numbers<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut draw = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| T::of(draw())).collect()
}

/// NaN equals itself, zeros of different sign differ.
pub fn bits<T: Scalar>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// `[n, rows]` rows `samples` as a view of lanes; the unused slots hold NaN, which must not change a result.
pub fn tile<T: Scalar>(x: &[T], rows: usize, samples: &[usize]) -> Vec<T> {
    let stride = stride_for(samples.len());
    let mut tile = vec![T::of(f64::NAN); rows * stride];
    for (l, &sample) in samples.iter().enumerate() {
        (0..rows).for_each(|i| tile[i * stride + l] = x[sample * rows + i]);
    }
    tile
}

/// The inverse of [`tile`]: `[lanes, rows]`.
pub fn rows<T: Scalar>(tile: &[T], rows: usize, lanes: usize) -> Vec<T> {
    let stride = stride_for(lanes);
    (0..lanes).flat_map(|l| (0..rows).map(move |i| tile[i * stride + l])).collect()
}

pub fn view<T>(data: &[T], rows: usize, lanes: usize) -> Lanes<'_, T> {
    Lanes::new(data, rows, lanes, stride_for(lanes))
}

pub fn view_mut<T>(data: &mut [T], rows: usize, lanes: usize) -> LanesMut<'_, T> {
    LanesMut::new(data, rows, lanes, stride_for(lanes))
}

/// An operation that the crate does not have: y_r = s_r x_{list[r]} + b_r; θ is s, then b. A row may be taken twice, or
/// never.
#[derive(Clone, Debug)]
struct Picked<T> {
    inputs: usize,
    active: usize,
    list: Vec<usize>,
    scale: Vec<T>,
    shift: Vec<T>,
}

/// Rows that are each a constant and some multiples of other rows.
struct Sums<'a, T> {
    isa: Isa,
    rows: Vec<(T, Vec<(usize, T)>)>,
    x: In<'a, T>,
    blocks: usize,
}

struct SumsKernel<'a, T, E>(Sums<'a, T>, E);

impl<T: Scalar> WithEpilogue<T> for Sums<'_, T> {
    fn run<E: Epilogue<T>>(self, epilogue: E) {
        let most = self.rows.iter().flat_map(|(_, terms)| terms).map(|(row, _)| row + 1).max().unwrap_or(0);
        self.x.expect(most, self.blocks);
        epilogue.expect(self.rows.len(), self.blocks);
        dispatch(self.isa, SumsKernel(self, epilogue));
    }
}

impl<T: Scalar, E: Epilogue<T>> Kernel<T> for SumsKernel<'_, T, E> {
    #[inline(always)]
    #[allow(unsafe_code)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self(Sums { rows, x, blocks, .. }, epilogue) = self;
        for (block, (row, (constant, terms))) in (0..blocks).flat_map(|b| rows.iter().enumerate().map(move |r| (b, r)))
        {
            for slot in (0..steps::<V>()).map(|step| step * PAIR * V::WIDTH) {
                let mut sums = [V::splat(*constant); PAIR];
                for (from, by) in terms {
                    for (half, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: `run` above checked the rows of x; the slots stay within the block.
                        *sum =
                            V::splat(*by).fma(unsafe { V::load(x.at(block, *from).add(slot + half * V::WIDTH)) }, *sum);
                    }
                }
                // SAFETY: `run` above checked the epilogue.
                unsafe { epilogue.put(sums, block, row, slot) };
            }
        }
    }
}

impl<T: Scalar> Op<T> for Picked<T> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn active(&self) -> usize {
        self.active
    }

    fn outputs(&self) -> usize {
        self.list.len()
    }

    fn n_params(&self) -> usize {
        2 * self.list.len()
    }

    fn set_params(&mut self, theta: &[T]) {
        let (scale, shift) = theta.split_at(self.list.len());
        (self.scale, self.shift) = (scale.to_vec(), shift.to_vec());
    }

    fn forward(&self, isa: Isa, x: In<'_, T>, blocks: usize, out: Output<'_, T>) {
        let row = |r: usize| (self.shift[r], vec![(self.list[r], self.scale[r])]);
        out.apply(Sums { isa, rows: (0..self.list.len()).map(row).collect(), x, blocks });
    }

    fn tangent(&self, isa: Isa, dx: In<'_, T>, blocks: usize, out: Output<'_, T>) {
        let term = |r: usize| (self.list[r] < self.active).then_some((self.list[r], self.scale[r]));
        let rows = (0..self.list.len()).map(|r| (T::ZERO, term(r).into_iter().collect())).collect();
        out.apply(Sums { isa, rows, x: dx, blocks });
    }

    fn transpose(&self, isa: Isa, y_bar: In<'_, T>, blocks: usize, out: Output<'_, T>) {
        let takers = |k: usize| (0..self.list.len()).filter(move |r| self.list[*r] == k);
        let rows = (0..self.active).map(|k| (T::ZERO, takers(k).map(|r| (r, self.scale[r])).collect())).collect();
        out.apply(Sums { isa, rows, x: y_bar, blocks });
    }

    fn gradient(&self, isa: Isa, x: In<'_, T>, y_bar: In<'_, T>, blocks: usize, g: &mut [T]) {
        let (scale, shift) = g.split_at_mut(self.list.len());
        self.by_scale(isa, (x, self.inputs), y_bar, blocks, scale);
        row_sums(isa, (y_bar, self.list.len()), blocks, shift, 1);
    }

    fn tangent_gradient(&self, isa: Isa, dx: In<'_, T>, dy_bar: In<'_, T>, blocks: usize, g: &mut [T]) {
        self.by_scale(isa, (dx, self.active), dy_bar, blocks, &mut g[..self.list.len()]);
    }

    fn boxed(&self) -> Box<dyn Op<T>> {
        Box::new(self.clone())
    }
}

impl<T: Scalar> Picked<T> {
    fn by_scale(&self, isa: Isa, (x, rows): (In<'_, T>, usize), y_bar: In<'_, T>, blocks: usize, g: &mut [T]) {
        let mut all = vec![T::ZERO; self.list.len() * rows];
        outer(isa, (y_bar, self.list.len()), (x, rows), blocks, &mut all, rows);
        for (r, from) in self.list.iter().enumerate().filter(|(_, from)| **from < rows) {
            g[r] += all[r * rows + from];
        }
    }
}

/// An operation as data, for the loops.
#[derive(Clone, Debug)]
pub enum Kind {
    Dense(usize),
    Picked(Vec<usize>),
}

/// A net as data.
#[derive(Clone, Debug)]
pub struct Case {
    pub inputs: usize,
    pub active: usize,
    pub ops: Vec<(Kind, Option<Activation>)>,
}

impl Case {
    pub fn outputs(&self) -> usize {
        self.sizes()[self.ops.len()]
    }

    /// Rows before each operation, and behind the last.
    fn sizes(&self) -> Vec<usize> {
        std::iter::once(self.inputs).chain(self.ops.iter().map(|(kind, _)| kind.units())).collect()
    }

    /// Weights that keep numbers of order 1.
    pub fn theta<T: Scalar>(&self, seed: u64) -> Vec<T> {
        let mut theta = Vec::new();
        for (l, ((kind, _), inputs)) in self.ops.iter().zip(self.sizes()).enumerate() {
            let size = if matches!(kind, Kind::Dense(_)) { 1.5 / (inputs as f64).sqrt() } else { 1.0 };
            let own = numbers::<f64>(kind.n_params(inputs), seed + 31 * l as u64);
            theta.extend(own.into_iter().map(|w| T::of(size * w)));
        }
        theta
    }

    pub fn net<T: Scalar>(&self, theta: &[T]) -> Net<T> {
        let mut active = self.active;
        let build = |((kind, activation), inputs): (&(Kind, Option<Activation>), usize)| {
            let op: Box<dyn Op<T>> = match kind {
                Kind::Dense(outputs) => Box::new(Dense::new(inputs, active, *outputs)),
                Kind::Picked(list) => {
                    Box::new(Picked { inputs, active, list: list.clone(), scale: Vec::new(), shift: Vec::new() })
                }
            };
            active = op.outputs();
            (op, *activation)
        };
        Net::from_ops(self.ops.iter().zip(self.sizes()).map(build).collect(), theta).unwrap()
    }

    /// y at one x, by loops.
    pub fn by_loops(&self, theta: &[f64], x: &[f64]) -> Vec<f64> {
        let mut h = x.to_vec();
        let mut rest = theta;
        for (kind, activation) in &self.ops {
            let (own, others) = rest.split_at(kind.n_params(h.len()));
            rest = others;
            h = match kind {
                Kind::Dense(outputs) => {
                    let (w, b) = own.split_at(h.len() * outputs);
                    (0..*outputs).map(|o| b[o] + (0..h.len()).map(|k| w[o * h.len() + k] * h[k]).sum::<f64>()).collect()
                }
                Kind::Picked(list) => {
                    list.iter().enumerate().map(|(r, from)| own[r] * h[*from] + own[list.len() + r]).collect()
                }
            };
            if let Some(activation) = activation {
                h.iter_mut().for_each(|a| *a = sigma(*activation, *a));
            }
        }
        h
    }
}

impl Kind {
    fn units(&self) -> usize {
        match self {
            Self::Dense(outputs) => *outputs,
            Self::Picked(list) => list.len(),
        }
    }

    fn n_params(&self, inputs: usize) -> usize {
        match self {
            Self::Dense(outputs) => (inputs + 1) * outputs,
            Self::Picked(list) => 2 * list.len(),
        }
    }
}

pub fn sigma(activation: Activation, a: f64) -> f64 {
    match activation {
        Activation::Tanh => a.tanh(),
        Activation::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
        Activation::Silu => a / (1.0 + (-a).exp()),
        Activation::Elu if a > 0.0 => a,
        Activation::Elu => a.exp_m1(),
        Activation::Relu => a.max(0.0),
    }
}

/// Odd widths, every activation, operations of both kinds, with and without an activation at the end, inputs that are
/// not active.
pub fn every_case() -> Vec<Case> {
    use Kind::{Dense as D, Picked as P};
    let (tanh, silu) = (Some(Activation::Tanh), Some(Activation::Silu));
    let mut cases: Vec<Case> = Activation::ALL
        .into_iter()
        .map(|activation| {
            let bent = Some(activation);
            Case { inputs: 5, active: 3, ops: vec![(D(17), bent), (D(33), bent), (D(5), None)] }
        })
        .collect();
    let case = |inputs, active, ops| Case { inputs, active, ops };
    cases.extend([
        case(1, 1, vec![(D(1), None)]),
        case(1, 1, vec![(D(1), silu)]),
        case(33, 0, vec![(D(5), tanh), (D(1), None)]),
        case(17, 17, vec![(D(33), None), (D(5), silu), (D(1), tanh)]),
        case(5, 5, vec![(P(vec![4, 0, 0, 2, 3, 1]), None), (D(17), silu), (P((0..17).rev().collect()), tanh)]),
        case(17, 9, vec![(D(33), silu), (P((0..33).map(|r| r * 7 % 33).collect()), None), (D(3), None)]),
        case(3, 2, vec![(P(vec![2, 1, 0, 1]), silu), (D(5), None)]),
    ]);
    cases
}
