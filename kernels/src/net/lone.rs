//! A net at one lane, with the vectors across its units ([`columns`](crate::columns)): the bits of a lane of a tile, for
//! about a tenth of the time.
//!
//! [`Net::run_lone`] gives the value with σ′ where wanted, and takes the first tangents along on its way;
//! [`Net::tangents_lone`] follows with more of them, [`TOGETHER`] at a time. A tangent begins with a direction, or with its
//! image by the first operation.

use super::{Net, Node};
use crate::columns::{self, Columns, Pass, TOGETHER};
use crate::simd::Scalar;

/// The scratch of one lane.
#[derive(Clone, Debug)]
pub struct Lone<T> {
    /// The lane, or the directions of its tangents.
    input: Columns<T>,
    active: usize,
    records: Vec<Record<T>>,
}

/// What a pass keeps of one operation.
#[derive(Clone, Debug)]
struct Record<T> {
    /// What leaves the activation: the value, then tangents; tangents alone in a pass without a value.
    out: Columns<T>,
    /// σ′; without rows where there is no σ.
    first: Columns<T>,
}

/// Where the tangents of a pass come from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// So many directions, which lie in [`Lone::direction_mut`]; they end behind the last operation.
    Directions(usize),
    /// The images of directions by the first operation, `[tangents][outputs of the first]`; they end before the last
    /// operation.
    Images(&'a [T]),
}

impl<T: Scalar> Lone<T> {
    /// x, `[inputs]`.
    pub fn input_mut(&mut self) -> &mut [T] {
        self.input.column_mut(0)
    }

    /// The k-th direction of the next tangents, `[active]`; it takes the place of x.
    pub fn direction_mut(&mut self, k: usize) -> &mut [T] {
        &mut self.input.column_mut(k)[..self.active]
    }

    /// The k-th direction.
    pub fn direction(&self, k: usize) -> &[T] {
        &self.input.column(k)[..self.active]
    }

    /// y, `[outputs]`, behind [`Net::run_lone`] and before any [`Net::tangents_lone`].
    ///
    /// # Panics
    /// For a net without operations, which there is not.
    pub fn output(&self) -> &[T] {
        self.records[self.records.len() - 1].out.column(0)
    }

    /// σ′ behind operation `index`; empty where it has no activation. As the last [`Net::run_lone`] left it.
    pub fn first(&self, index: usize) -> &Columns<T> {
        &self.records[index].first
    }

    /// Column `k` of what leaves the last operation.
    pub fn end(&self, k: usize) -> &[T] {
        self.records[self.records.len() - 1].out.column(k)
    }

    /// Column `k` of what enters the last operation.
    pub fn top(&self, k: usize) -> &[T] {
        let above = self.records.iter().rev().nth(1);
        above.map_or(&self.input, |record| &record.out).column(k)
    }
}

impl<T: Scalar> Net<T> {
    /// Scratch for one lane; `None` where an operation is no matrix.
    pub fn lone(&self) -> Option<Lone<T>> {
        let inner = |node: &Node<T>| node.op.active() == node.op.inputs();
        if !self.nodes[1..].iter().all(inner) {
            return None;
        }
        let record = |node: &Node<T>| {
            let rows = node.op.outputs();
            let bent = if node.activation.is_some() { rows } else { 0 };
            node.op.columns().map(|_| Record { out: Columns::new(rows, TOGETHER), first: Columns::new(bent, 1) })
        };
        let records = self.nodes.iter().map(record).collect::<Option<_>>()?;
        Some(Lone { input: Columns::new(self.inputs(), TOGETHER), active: self.active(), records })
    }

    /// From `lone`'s input to its output; with `first` σ′ is kept.
    pub fn run_lone(&self, lone: &mut Lone<T>, first: bool) {
        for index in 0..self.n_ops() {
            self.step_lone(lone, index, Pass::VALUE, first);
        }
    }

    /// As [`Net::run_lone`], with tangents that begin with `images`, up to two: column 1 + k of [`Lone::top`] is the k-th.
    ///
    /// # Panics
    /// Unless an activation and another operation follow the first.
    pub fn run_lone_with(&self, lone: &mut Lone<T>, images: &[T]) {
        self.step_lone(lone, 0, Pass::VALUE, true);
        let tangents = self.put_images(lone, images, 1);
        let pass = Pass { value: true, tangents };
        (1..self.last()).for_each(|index| self.step_lone(lone, index, pass, true));
        self.step_lone(lone, self.last(), Pass::VALUE, true);
    }

    /// Carries tangents up, behind a pass that kept σ′: the k-th ends in column k of [`Lone::end`] or [`Lone::top`].
    ///
    /// # Panics
    /// For more than [`TOGETHER`]; for images unless an activation and another operation follow the first.
    pub fn tangents_lone(&self, lone: &mut Lone<T>, start: Start<'_, T>) {
        match start {
            Start::Directions(tangents) => {
                let pass = Pass { value: false, tangents };
                (0..self.n_ops()).for_each(|index| self.step_lone(lone, index, pass, true));
            }
            Start::Images(images) => {
                let pass = Pass { value: false, tangents: self.put_images(lone, images, 0) };
                (1..self.last()).for_each(|index| self.step_lone(lone, index, pass, true));
            }
        }
    }

    /// The images of directions, behind the first operation from column `from` on; their number.
    fn put_images(&self, lone: &mut Lone<T>, images: &[T], from: usize) -> usize {
        assert!(self.last() > 0 && self.nodes[0].activation.is_some(), "an image needs an activation behind it");
        let Record { out, first } = &mut lone.records[0];
        let rows = out.rows();
        images.chunks_exact(rows).enumerate().for_each(|(k, image)| out.column_mut(from + k).copy_from_slice(image));
        let tangents = images.len() / rows;
        columns::times(self.isa, out, first, from, tangents);
        tangents
    }

    fn step_lone(&self, lone: &mut Lone<T>, index: usize, pass: Pass, keep: bool) {
        let Node { op, activation, .. } = &self.nodes[index];
        // `Net::lone` found all of them.
        let Some(factor) = op.columns() else { return };
        let (below, above) = lone.records.split_at_mut(index);
        let x = below.last().map_or(&lone.input, |record| &record.out);
        let Record { out, first } = &mut above[0];
        columns::product(self.isa, factor, x, out, pass);
        if let Some(activation) = activation {
            if pass.value {
                columns::activate(self.isa, *activation, out, keep.then_some(&mut *first));
            }
            if pass.tangents > 0 {
                columns::times(self.isa, out, first, usize::from(pass.value), pass.tangents);
            }
        }
    }
}
