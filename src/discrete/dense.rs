//! The dense net of a coupling, on a tile of lanes; where it is a relu net of one number, its first two layers by
//! pieces.
//!
//! Of two columns each coupling passes one, so that this is every flow of relu nets in the plane that has two hidden
//! layers or more and no condition. Which of the two ways a net is computed is settled by its sizes and its activation.

use cnflow_kernels::pieces::{BinIndices, Pieces};
use cnflow_kernels::{Activation, Keep, Net, NetSpec, Passive, Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use crate::Result;

/// A coupling's net with its parameters.
pub(super) struct Dense<T> {
    sizes: Vec<usize>,
    front: Option<Pieces<T>>,
    /// All layers, or those that follow the front.
    rest: Net<T>,
    /// The condition among the inputs of a net without a front.
    condition: Passive<T>,
}

/// The scratch of one caller.
pub(super) struct Workspace<T> {
    pub net: cnflow_kernels::Workspace<T>,
    front: Option<Front<T>>,
}

struct Front<T> {
    x: Tile<f64>,
    x_bar: Tile<T>,
    bins: BinIndices<T>,
}

/// What two nets must have in common to use one workspace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape<'a> {
    sizes: &'a [usize],
    by_pieces: bool,
}

impl<T: Scalar> Workspace<T> {
    /// Of no net.
    pub fn empty() -> Self {
        Self { net: cnflow_kernels::Workspace::empty(), front: None }
    }
}

impl<T: Scalar> Dense<T> {
    /// A net of layers `sizes[0] → sizes[1] → …`, whose first `leading` inputs are differentiated; `theta` has the
    /// layers in order, each its weight `[out, in]` and its bias.
    ///
    /// # Errors
    /// As [`Net::new`].
    pub fn new(sizes: Vec<usize>, activation: Activation, leading: usize, theta: &[T]) -> Result<Self> {
        if let ([1, h1, h2, _, ..], Activation::Relu) = (&sizes[..], activation) {
            let widths = [*h1, *h2];
            let (own, others) = theta.split_at(Pieces::<T>::n_params(widths));
            let rest = Net::new(&NetSpec::mlp(&sizes[2..], activation, *h2), others)?;
            let condition = Passive::new(0..0, 0, 0);
            return Ok(Self { front: Some(Pieces::new(widths, own)), rest, condition, sizes });
        }
        let rest = Net::new(&NetSpec::mlp(&sizes, activation, leading), theta)?;
        let mut condition = Passive::new(leading..sizes[0], sizes[0], sizes[1]);
        condition.set(theta);
        Ok(Self { front: None, rest, condition, sizes })
    }

    /// What its workspace depends on.
    pub fn shape(&self) -> Shape<'_> {
        Shape { sizes: &self.sizes, by_pieces: self.front.is_some() }
    }

    /// Scratch for up to `lanes` lanes.
    pub fn workspace(&self, lanes: usize) -> Workspace<T> {
        let front = self.front.as_ref().map(|_| Front {
            x: Tile::new(1, lanes),
            x_bar: Tile::new(1, lanes),
            bins: BinIndices::new(lanes),
        });
        Workspace { net: self.rest.workspace(lanes), front }
    }

    /// Puts the columns `pass` of `x` (`[d, lanes]`) and the condition (`[c, lanes]`) before the net, and runs it: its
    /// numbers are in `workspace.net.output()`, `[numbers, lanes]`.
    pub fn run(
        &self,
        (x, pass): (&Tile<f64>, &[usize]),
        condition: &Tile<T>,
        workspace: &mut Workspace<T>,
        keep: Keep,
        blocks: usize,
    ) {
        workspace.net.blocks = blocks;
        if let (Some(front), Some(own)) = (&self.front, &mut workspace.front) {
            for block in 0..blocks {
                let to = own.x.at_mut(block, 0);
                match pass {
                    [column] => *to = *x.at(block, *column),
                    _ if condition.rows() > 0 => *to = condition.at(block, 0).map(|c| c.to_f64()),
                    // A net without inputs is given one 0: here as below.
                    _ => *to = [0.0; LANE_BLOCK],
                }
            }
            front.forward(&own.x, &mut own.bins, &mut workspace.net.input, blocks);
        } else {
            let input = &mut workspace.net.input;
            if pass.is_empty() && condition.rows() == 0 {
                input.clear(blocks);
            }
            for block in 0..blocks {
                for (row, column) in pass.iter().enumerate() {
                    let from = x.at(block, *column);
                    let to = input.at_mut(block, row);
                    (0..LANE_BLOCK).for_each(|l| to[l] = T::of(from[l]));
                }
                for row in 0..condition.rows() {
                    *input.at_mut(block, pass.len() + row) = *condition.at(block, row);
                }
            }
        }
        self.rest.run(&mut workspace.net, keep);
    }

    /// The length of what a pull-back gathers.
    pub fn gradient_len(&self) -> usize {
        self.front.as_ref().map_or(0, Pieces::n_sums) + self.rest.n_params()
    }

    /// From the cotangent in `workspace.net.output_bar`, `[numbers, lanes]`, to that of the inputs
    /// ([`Dense::in_bar`]); `g` ([`Dense::gradient_len`] long) gains the gradient.
    pub fn back(&self, workspace: &mut Workspace<T>, g: &mut [T]) {
        let Workspace { net, front: own } = workspace;
        let (sums, others) = g.split_at_mut(g.len() - self.rest.n_params());
        self.rest.run_back(net, None, true, others);
        if let (Some(front), Some(own)) = (&self.front, own) {
            front.back(&own.bins, (&net.input, &net.input_bar), sums, &mut own.x_bar, net.blocks);
        }
    }

    /// The cotangent of the inputs that are differentiated, `[pass, lanes]`.
    pub fn in_bar<'a>(&self, workspace: &'a Workspace<T>) -> &'a Tile<T> {
        workspace.front.as_ref().map_or(&workspace.net.input_bar, |front| &front.x_bar)
    }

    /// `out`, `[c, lanes]`, ← the cotangent of the condition, behind [`Dense::back`].
    pub fn condition_back(&self, workspace: &Workspace<T>, out: &mut Tile<T>) {
        match &workspace.front {
            // The only input is the condition.
            Some(front) => {
                (0..workspace.net.blocks).for_each(|block| *out.at_mut(block, 0) = *front.x_bar.at(block, 0))
            }
            None => self.condition.back(self.rest.isa(), &workspace.net, out),
        }
    }

    /// g ← the gradient by θ of what pull-backs gathered.
    pub fn fold(&self, gathered: &[T], g: &mut [T]) {
        let (sums, others) = gathered.split_at(gathered.len() - self.rest.n_params());
        let (own, rest) = g.split_at_mut(g.len() - self.rest.n_params());
        rest.copy_from_slice(others);
        if let Some(front) = &self.front {
            front.fold(sums, own);
        }
    }
}
