//! The net of a coupling: a dense one for rows, convolutions for images.

use cnflow_kernels::{ImageRoom, ImageWorkspace, Keep, Scalar, Tile};

use super::convolution::Convolution;
use super::dense::{self, Dense};
use super::step::ConditionBar;

/// A coupling's net with its parameters.
pub(super) enum Conditioner<T> {
    Dense(Dense<T>),
    Image(Convolution<T>),
}

/// What a net keeps of a pass.
pub(super) enum Workspace<T> {
    Dense(dense::Workspace<T>),
    Image(ImageWorkspace<T>),
}

/// What nets of one shape share in their pull-backs.
pub(super) type Room<T> = Option<ImageRoom<T>>;

/// What two nets must have in common to use one workspace.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shape<'a> {
    Dense(dense::Shape<'a>),
    Image(&'a cnflow_kernels::ImageNetSpec),
}

impl<T: Scalar> Workspace<T> {
    /// Of no net.
    pub fn empty() -> Self {
        Self::Dense(dense::Workspace::empty())
    }

    /// The numbers of the last pass and the cotangent by them.
    pub fn output_and_bar(&mut self) -> (&Tile<T>, &mut Tile<T>) {
        match self {
            Self::Dense(own) => own.net.output_and_bar(),
            Self::Image(own) => own.output_and_bar(),
        }
    }

    /// The numbers of the last pass.
    pub fn output(&self) -> &Tile<T> {
        match self {
            Self::Dense(own) => own.net.output(),
            Self::Image(own) => own.output(),
        }
    }

    /// The memory of an image's planes, in bytes; little is left out.
    pub fn bytes(&self) -> usize {
        if let Self::Image(own) = self { own.bytes() } else { 0 }
    }
}

impl<T: Scalar> Conditioner<T> {
    /// What its workspace depends on.
    pub fn shape(&self) -> Shape<'_> {
        match self {
            Self::Dense(net) => Shape::Dense(net.shape()),
            Self::Image(net) => Shape::Image(net.spec()),
        }
    }

    /// Scratch for passes of up to `lanes` lanes that are kept as far as `keep`.
    pub fn workspace(&self, lanes: usize, keep: Keep) -> Workspace<T> {
        match self {
            Self::Dense(net) => Workspace::Dense(net.workspace(lanes)),
            Self::Image(net) => Workspace::Image(net.workspace(keep)),
        }
    }

    /// What nets of its shape share in their pull-backs.
    pub fn room(&self) -> Room<T> {
        if let Self::Image(net) = self { Some(net.room()) } else { None }
    }

    /// Runs the net on the rows `pass` of `x` (`[d, lanes]`) and the condition (`[c, lanes]`).
    pub fn run(
        &self,
        (x, pass): (&Tile<f64>, &[usize]),
        condition: &Tile<T>,
        workspace: &mut Workspace<T>,
        keep: Keep,
        blocks: usize,
    ) {
        match (self, workspace) {
            (Self::Dense(net), Workspace::Dense(own)) => net.run((x, pass), condition, own, keep, blocks),
            (Self::Image(net), Workspace::Image(own)) => {
                debug_assert_eq!(blocks, 1, "images pass a block at a time");
                net.run((x, pass), condition, own, keep);
            }
            _ => unreachable!("a workspace belongs to a net of its shape"),
        }
    }

    /// Before the cotangents of the numbers are set for [`Conditioner::back`], which are zero where nobody sets them.
    pub fn begin_back(&self, workspace: &mut Workspace<T>, room: &mut Room<T>) {
        if let (Self::Image(net), Workspace::Image(own), Some(room)) = (self, workspace, room) {
            own.swap_room(room);
            net.clear_outputs(own);
        }
    }

    /// Behind a pull-back.
    pub fn end_back(&self, workspace: &mut Workspace<T>, room: &mut Room<T>) {
        if let (Workspace::Image(own), Some(room)) = (workspace, room) {
            own.swap_room(room);
        }
    }

    /// The length of what a pull-back gathers.
    pub fn gradient_len(&self) -> usize {
        match self {
            Self::Dense(net) => net.gradient_len(),
            Self::Image(net) => net.n_params(),
        }
    }

    /// From the cotangent of the numbers to that of the rows that pass, which `bar` (`[d, lanes]`) gains; `g`
    /// ([`Conditioner::gradient_len`] long) gains the gradient, and `condition` the derivatives by the condition.
    pub fn back(
        &self,
        workspace: &mut Workspace<T>,
        g: &mut [T],
        (bar, pass): (&mut Tile<f64>, &[usize]),
        condition: Option<ConditionBar<'_, T>>,
    ) {
        let (blocks, from, rows): (_, _, &[usize]) = match (self, workspace) {
            (Self::Dense(net), Workspace::Dense(own)) => {
                net.back(own, g);
                if let Some(bar) = condition {
                    net.condition_back(own, bar.of_net);
                    bar.add(own.net.blocks);
                }
                (own.net.blocks, net.in_bar(own), &[])
            }
            (Self::Image(net), Workspace::Image(own)) => {
                net.back(own, g);
                if let Some(bar) = condition {
                    net.condition_back(own, bar.of_net);
                    bar.add(1);
                }
                (1, own.input_bar(), net.inputs())
            }
            _ => unreachable!("a workspace belongs to a net of its shape"),
        };
        for block in 0..blocks {
            for (i, row) in pass.iter().enumerate() {
                let by_net = from.at(block, rows.get(i).copied().unwrap_or(i));
                bar.at_mut(block, *row).iter_mut().zip(by_net).for_each(|(bar, by)| *bar += by.to_f64());
            }
        }
    }

    /// g ← the gradient by θ of what pull-backs gathered.
    pub fn fold(&self, gathered: &[T], g: &mut [T]) {
        match self {
            Self::Dense(net) => net.fold(gathered, g),
            Self::Image(_) => g.copy_from_slice(gathered),
        }
    }
}
